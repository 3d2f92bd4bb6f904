"""STOW-RS in and out: beside C-STORE of the same node, Orthanc and dicomweb-client."""

import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pydicom
import requests
from dicomweb_client import DICOMwebClient

from node.broker import free_port
from node.ledger import open_ledger
from node.multipart import put_together
from node.spool import Spool
from tests.bench.receive import Images, running_receiver, send_all
from tests.bench.row import Comparison, Figure, LeftOut, Row
from tests.bench.send import COUNT, Node, make_images, result_of, stored
from tests.bench.turns import in_turns, seconds
from tests.e2e.peers import DICOMWEB, ICHNODE, running_orthanc, wait_for

TOGETHER = 20
"""Images in a request."""

IN = f"STOW-RS of {COUNT} CT slices of 512 kB, {TOGETHER} in a request"
OUT = f"{COUNT} images of 512 kB sent to Orthanc by STOW-RS"


def rows(folder: Path) -> Iterator[Row | LeftOut]:
    """Images that come in, and images that go out."""
    if not DICOMWEB.exists():
        yield from (LeftOut(work, "not installed: orthanc-dicomweb") for work in (IN, OUT))
        return
    with running_orthanc(folder / "orthanc", dicomweb=True) as orthanc:
        url = f"http://127.0.0.1:{orthanc.http_port}/dicom-web"
        memory = Path("/dev/shm")  # so that the disk is the receivers' alone
        with (
            tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else folder) as room,
            running_node(folder / "in") as (port, own_url),
        ):
            images = Images(Path(room), COUNT)
            found = in_turns(
                {
                    "ichnode": _stowing(images, own_url),
                    "ichnode by C-STORE": _storing(images, port),
                    "Orthanc": _stowing(images, url),
                }
            )
        ours, by_store, peer = (Figure(who, value, "images/s") for who, value in found.items())
        yield Row(
            IN,
            ours,
            [Comparison(peer, 1.0), Comparison(by_store)],
            note="each image is on the disk and in the ledger before the next one, as by C-STORE; "
            "the sender is requests, by C-STORE DCMTK's storescu",
        )
        for patient in orthanc.get("/patients"):
            orthanc.get(f"/patients/{patient}", method="DELETE")

        spool = Spool(folder / "out")
        made = spool.results / "made"
        made.mkdir(parents=True)
        make_images(made)
        results = [result_of(path, spool) for path in sorted(made.iterdir())]
        ledger = open_ledger(f"sqlite:///{spool.home}/ledger.sqlite")
        by_stow = Node(ledger, spool, results, {"url": url})
        dimse = {"ae_title": "PACS", "host": "127.0.0.1", "port": orthanc.port}
        sides: dict[str, Callable[[], float]] = {
            "ichnode": by_stow.send,
            "dicomweb-client": lambda: seconds(lambda: _by_library(url, made)),
            "ichnode by C-STORE": Node(ledger, spool, results, dimse).send,
        }
        found = in_turns({who: lambda s=s: COUNT / stored(orthanc, s) for who, s in sides.items()})
        ledger.close()
        ours, library, by_store = (Figure(who, value, "objects/s") for who, value in found.items())
        yield Row(
            OUT,
            ours,
            [Comparison(library, 1.0), Comparison(by_store)],
            note="the node notes in its ledger what is stored, and the library does not",
        )


def _stowing(images: Images, url: str) -> Callable[[], float]:
    def send() -> float:
        [folder] = images.fresh(1)
        contents = [path.read_bytes() for path in sorted(folder.iterdir())]
        bodies = [
            put_together(contents[first : first + TOGETHER]) for first in range(0, COUNT, TOGETHER)
        ]
        os.sync()  # what others have left to be written is not this receiver's work
        return COUNT / seconds(lambda: _post(url, bodies))

    return send


def _post(url: str, bodies: list[tuple[bytes, str]]) -> None:
    with requests.Session() as session:
        for body, kind in bodies:
            headers = {"Content-Type": kind, "Accept": "application/dicom+json"}
            response = session.post(f"{url}/studies", data=body, headers=headers, timeout=60)
            assert response.status_code == requests.codes.ok, response.text


def _storing(images: Images, port: int) -> Callable[[], float]:
    def send() -> float:
        folders = images.fresh(1)
        os.sync()
        return COUNT / seconds(lambda: send_all(folders, port))

    return send


def _by_library(url: str, folder: Path) -> None:
    client = DICOMwebClient(url)
    paths = sorted(folder.iterdir())
    for first in range(0, COUNT, TOGETHER):
        client.store_instances([pydicom.dcmread(p) for p in paths[first : first + TOGETHER]])


@contextmanager
def running_node(folder: Path) -> Iterator[tuple[int, str]]:
    """The receiving parts of a node: its DICOM port, and where its DICOMweb begins."""
    web = free_port()
    with running_receiver(folder, f"[dicomweb]\nport = {web}\n") as port:
        command = [*ICHNODE, "dicomweb", "--config", str(folder / "ichnode.toml")]
        with (folder / "dicomweb.log").open("wb") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            wait_for(lambda: _answers(web), 60, "the service to be there")
            yield port, f"http://127.0.0.1:{web}/dicom-web"
        finally:
            process.terminate()
            process.wait(30)


def _answers(port: int) -> bool:
    try:
        return requests.get(f"http://127.0.0.1:{port}/health/live", timeout=5).ok
    except requests.ConnectionError:
        return False
