"""How many images a second come in: durable C-STORE beside Orthanc and DCMTK's storescp."""

import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pydicom
from pydicom.uid import generate_uid

from ml.phantom import make_phantom, write_dicom
from node.broker import free_port
from node.ledger import open_ledger
from node.settings import load_settings
from tests.bench.row import Comparison, Figure, LeftOut, Row
from tests.bench.turns import in_turns, seconds
from tests.e2e.peers import ICHNODE, dcmtk, running_orthanc, running_storescp, wait_for

IMAGES = 500
TIMES = 3

CONFIG = """
home = "{home}"
[dicom]
port = {port}
[broker]
url = "redis://127.0.0.1:1"
[assemble]
grace_s = 3600
quiet_s = 3600
"""
"""Nothing is assembled while it is measured: that is other work, and needs no broker."""


class Images:
    """CT images of 512 x 512, half a megabyte each, as new ones each time.

    Parameters
    ----------
    folder : pathlib.Path
        Room for the files.
    count : int
        How many at once.
    """

    def __init__(self, folder: Path, count: int = IMAGES) -> None:
        self._folder = folder
        self._count = count
        phantom = make_phantom(3, size=512)
        template = write_dicom(phantom, folder / "phantom")[0]
        header = pydicom.dcmread(template, stop_before_pixels=True)
        self._content = template.read_bytes()
        self._old = [
            str(header[keyword].value).encode()
            for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
        ]

    def fresh(self, series: int) -> list[Path]:
        """Write as many images as are sent at once, in so many series; a folder for each."""
        folders = []
        for number in range(series):
            folder = self._folder / f"series{number}"
            folder.mkdir(exist_ok=True)
            study, uid = self._new(self._old[0]), self._new(self._old[1])
            content = self._content.replace(self._old[0], study).replace(self._old[1], uid)
            for index in range(self._count // series):
                image = content.replace(self._old[2], self._new(self._old[2]))
                (folder / f"{index:04}.dcm").write_bytes(image)
            folders.append(folder)
        return folders

    @staticmethod
    def _new(old: bytes) -> bytes:
        """A UID of the same length."""
        new = generate_uid(prefix="1.2.826.0.1.3680043.8.498.").encode()
        return (new + b"1" * len(old))[: len(old)]


def rows(folder: Path) -> Iterator[Row | LeftOut]:
    """One association, then four."""
    memory = Path("/dev/shm")  # so that the disk is the receivers' alone
    with ExitStack() as peers:
        room = tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else folder)
        images = Images(Path(peers.enter_context(room)))
        ports = {
            "ichnode": peers.enter_context(running_receiver(folder / "node")),
            "Orthanc": peers.enter_context(running_orthanc(folder / "orthanc")).port,
            "DCMTK storescp, which does not fsync": peers.enter_context(
                running_storescp(folder / "storescp", None, "--fork", "--max-pdu", "131072")
            ).port,
        }
        for series, note in ((1, "one association"), (4, "four associations")):
            found = in_turns(
                {name: _sending(images, port, series) for name, port in ports.items()}, TIMES
            )
            ours, orthanc, storescp = (Figure(n, v, "images/s") for n, v in found.items())
            yield Row(
                f"C-STORE of {IMAGES} CT slices of 512 kB, {note}",
                ours,
                [Comparison(orthanc, 1.0), Comparison(storescp, 0.5 if series == 1 else None)],
            )


def _sending(images: Images, port: int, series: int) -> Callable[[], float]:
    def send() -> float:
        folders = images.fresh(series)
        os.sync()  # what others have left to be written is not this receiver's work
        return IMAGES / seconds(lambda: send_all(folders, port))

    return send


def send_all(folders: Sequence[Path], port: int) -> None:
    """Send each folder on an association of its own, all at the same time."""
    senders = [
        subprocess.Popen(
            [
                *(dcmtk("storescu"), "-aet", "SCANNER", "-aec", "ICHNODE", "--max-pdu", "131072"),
                *("+sd", "127.0.0.1", str(port), str(folder)),
            ],
            env={**os.environ, "TCP_NODELAY": "1"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        for folder in folders
    ]
    for sender in senders:
        _, said = sender.communicate(timeout=300)
        assert sender.returncode == 0, said.decode()


@contextmanager
def running_receiver(folder: Path, more: str = "") -> Iterator[int]:
    """The receiving part of a node alone, with more in its configuration; its port."""
    folder.mkdir(parents=True)
    config = folder / "ichnode.toml"
    config.write_text(CONFIG.format(home=folder / "home", port=free_port()) + more)
    settings = load_settings(config)
    with (folder / "node.log").open("wb") as log:
        process = subprocess.Popen(
            [*ICHNODE, "receive", "--config", str(config)], stdout=log, stderr=log
        )
    try:

        def answers() -> bool:
            assert process.poll() is None, (folder / "node.log").read_text()
            command = [dcmtk("echoscu"), "-aec", "ICHNODE", "127.0.0.1", str(settings.dicom.port)]
            return subprocess.run(command, capture_output=True, check=False).returncode == 0

        wait_for(answers, 60, "the node to listen")
        yield settings.dicom.port
        assert open_ledger(settings.ledger_url).recent(1), "nothing was entered in the ledger"
    finally:
        process.terminate()
        process.wait(30)
