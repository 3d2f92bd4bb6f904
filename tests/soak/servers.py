"""What a campaign runs and breaks: node, archives, PostgreSQL, disk and clock."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO
from itertools import chain
from pathlib import Path
from typing import Any

import pydicom
from sqlalchemy.exc import SQLAlchemyError

from node.broker import free_port
from node.ledger import Ledger, open_ledger
from node.settings import Settings, load_settings
from node.settings.fetch import Retrieve
from tests.e2e.peers import ICHNODE, Node, Orthanc, dcmtk, start_orthanc, wait_for
from tests.soak.archive import Illness, predecessors_of
from tests.soak.load import Doors

ROOT = Path(__file__).resolve().parents[2]

ARCHIVE, ORTHANC = "archive", "orthanc"
"""Names of the two destinations."""

SOURCE = "source"
"""Name of the archive that is polled."""

CONFIG = """
[assemble]
grace_s = 1
quiet_s = 4
[analyze]
lease_s = 3
max_attempts = 50
[deliver]
first_pause_s = 0.5
longest_pause_s = 2
timeout_s = 5
commit_wait_s = 10
[report]
compression = "rle"
[fetch]
timeout_s = 5
first_pause_s = 0.5
longest_pause_s = 2
max_attempts = 50
[web]
with_up = false
[retention]               # late images come here after the clock has jumped by a day
clean_above = 100
clean_to = 100
"""

LEDGER_PATIENCE_S = 60.0
DISK = "4g"


def end(process: "subprocess.Popen[bytes]", number: int = signal.SIGKILL) -> None:
    """End a process, also one that is stopped."""
    if process.poll() is None:
        process.send_signal(number)
        process.send_signal(signal.SIGCONT)
        try:
            process.wait(40)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


# -- the node --------------------------------------------------------------


class NodeServer:
    """A node by `ichnode up`, which is started again whenever it ends, as a service is.

    Parameters
    ----------
    folder : pathlib.Path
        For its configuration and log.
    home : pathlib.Path
    doors : Doors
        Where it listens, and the archive that it polls.
    retrieve : Retrieve
        How it has that archive give what it holds.
    destinations : mapping of str to int
        Ports of both archives; Orthanc is asked for storage commitment.
    ledger_url : str, optional
        Without it SQLite in the home.
    """

    def __init__(
        self,
        folder: Path,
        home: Path,
        doors: Doors,
        retrieve: Retrieve,
        destinations: Mapping[str, int],
        ledger_url: str | None,
    ) -> None:
        self.clock = Clock(folder / "clock")
        self._config = folder / "ichnode.toml"
        self._config.write_text(
            f'home = "{home}"\n[dicom]\nport = {doors.dicom}\nmin_free_gb = 0\n'
            f"[dicomweb]\nport = {doors.dicomweb}\n"
            f'[[sources]]\nname = "{SOURCE}"\nae_title = "{SOURCE.upper()}"\n'
            f'host = "127.0.0.1"\nport = {doors.source}\nretrieve = "{retrieve}"\n'
            f"poll_s = 1\nlook_back_days = 3\n"
            + CONFIG
            + (f'[ledger]\nurl = "{ledger_url}"\n' if ledger_url else "")
            + "".join(
                f'[[destinations]]\nname = "{name}"\nae_title = "{name.upper()}"\n'
                f'host = "127.0.0.1"\nport = {destinations[name]}\n'
                f"commit = {str(name == ORTHANC).lower()}\n"
                for name in destinations
            )
        )
        self.settings: Settings = load_settings(self._config)
        self.log = folder / "node.log"
        self.starts = 0
        self.node = self._start()
        try:
            wait_for(self._answers, 90, "the node to listen")
        except BaseException:
            self.stop()
            raise
        self.ledger = self.node.ledger

    def _start(self) -> Node:
        self.starts += 1
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                [*ICHNODE, "up", "--config", str(self._config), "--verbose"],
                cwd=ROOT,
                stdout=log,
                stderr=log,
                env={
                    **os.environ,
                    "PYTHONPATH": str(Path(__file__).with_name("shifted_clock")),
                    "SOAK_CLOCK": str(self.clock.file),
                },
            )
        ledger = self.node.ledger if self.starts > 1 else _LaterLedger(self.settings.ledger_url)
        return Node(self._config, self.settings, process, ledger, self.log)

    def _answers(self) -> bool:
        self.keep_running()
        done = subprocess.run(
            [dcmtk("echoscu"), "-aec", "ICHNODE", "127.0.0.1", str(self.settings.dicom.port)],
            capture_output=True,
            check=False,
        )
        return done.returncode == 0

    def keep_running(self) -> None:
        """Start it again if it has ended."""
        if self.node.process.poll() is not None:
            self.node = self._start()

    def part(self, name: str, choice: int = 0, timeout_s: float = 45) -> int:
        """Process id of a part once it runs, or of one of its processes."""

        def running() -> int | None:
            self.keep_running()
            found = sorted(self.node.children().get(name, []))
            return found[choice % len(found)] if found else None

        return wait_for(running, timeout_s, f"{name} to run")

    def kill_all(self) -> None:
        """Kill every process of the node at once."""
        ids = [self.node.process.pid, *chain.from_iterable(self.node.children().values())]
        for process_id in ids:
            with suppress(ProcessLookupError):
                os.kill(process_id, signal.SIGKILL)
        self.node.process.wait()
        wait_for(lambda: not any(map(_is_running, ids)), 20, "killed processes to end")

    def stop(self) -> None:
        """End it in order."""
        end(self.node.process, signal.SIGTERM)


def _is_running(process_id: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False


class _LaterLedger:
    """The ledger as a reader sees it, who waits while its server is away."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._ledger: Ledger | None = None

    def __getattr__(self, name: str) -> Callable[..., object]:
        def patiently(*args: object) -> object:
            deadline = time.monotonic() + LEDGER_PATIENCE_S
            while True:
                try:
                    self._ledger = self._ledger or open_ledger(self._url)
                    return getattr(self._ledger, name)(*args)
                except SQLAlchemyError:
                    if time.monotonic() > deadline:
                        raise
                time.sleep(0.2)

        return patiently


@dataclass
class Clock:
    """The wall clock of the node's processes: see shifted_clock/sitecustomize.py."""

    file: Path
    offset_s: int = 0

    def set(self, offset_s: int) -> None:
        """Move it to so many seconds off the true time."""
        self.offset_s = offset_s
        part = self.file.with_suffix(".part")
        part.write_text(str(offset_s))
        part.replace(self.file)


# -- archives --------------------------------------------------------------


@dataclass(frozen=True)
class Held:
    """An object that an archive holds."""

    study: str
    uid: str
    sop_class: str
    predecessors: tuple[str, ...]
    digest: str = ""


class OrthancServer:
    """An Orthanc that can be ended and started again over what it has stored.

    Parameters
    ----------
    folder : pathlib.Path
    node_port : int
        Where it reports storage commitment to, and sends what it is asked to move.
    port : int, optional
        Where it listens.
    """

    def __init__(self, folder: Path, node_port: int, port: int | None = None) -> None:
        self.folder = folder
        self.peer = Orthanc(port or free_port(), free_port())
        self._node_port = node_port
        self._process = self._start()

    def _start(self) -> "subprocess.Popen[bytes]":
        process = start_orthanc(
            self.folder, self.peer, DicomAlwaysAllowFind=True, DicomAlwaysAllowMove=True
        )
        node = {"AET": "ICHNODE", "Host": "127.0.0.1", "Port": self._node_port}
        self.peer.get("/modalities/ichnode", json.dumps(node).encode(), "PUT")
        return process

    @property
    def process_id(self) -> int:
        return self._process.pid

    def end(self, number: int) -> None:
        end(self._process, number)

    def start(self) -> None:
        if self._process.poll() is not None:
            self._process = self._start()

    def held(self, study: str) -> list[Held]:
        """All that it holds of a study."""
        found = self.peer.get("/tools/lookup", study.encode())
        return [
            self._held(study, entry, is_report=series["MainDicomTags"]["Modality"] == "SR")
            for item in found
            if item["Type"] == "Study"
            for series in self.peer.get(f"/studies/{item['ID']}/series")
            for entry in self.peer.get(f"/series/{series['ID']}/instances")
        ]

    def _held(self, study: str, entry: dict[str, Any], *, is_report: bool) -> Held:
        path = f"/instances/{entry['ID']}"
        uid = entry["MainDicomTags"]["SOPInstanceUID"]
        sop_class = self.peer.get(f"{path}/metadata/SopClassUid").decode()
        if not is_report:
            return Held(study, uid, sop_class, ())
        dataset = pydicom.dcmread(BytesIO(self.peer.get(f"{path}/file")))
        return Held(study, uid, sop_class, predecessors_of(dataset))


class ArchiveServer:
    """`tests.soak.archive` as a process."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.port = free_port()
        self.journal = folder / "journal.jsonl"
        self._illness = folder / "illness"
        self._log = folder / "archive.log"
        self._process = self._start()

    def _start(self) -> "subprocess.Popen[bytes]":
        with self._log.open("ab") as log:
            return subprocess.Popen(
                [
                    *(sys.executable, "-m", "tests.soak.archive"),
                    *(str(self.port), str(self.journal), str(self._illness)),
                ],
                cwd=ROOT,
                stdout=log,
                stderr=log,
            )

    @property
    def process_id(self) -> int:
        return self._process.pid

    def end(self, number: int) -> None:
        end(self._process, number)

    def start(self) -> None:
        if self._process.poll() is not None:
            self._process = self._start()

    def fall_ill(self, illness: Illness) -> None:
        part = self._illness.with_suffix(".part")
        part.write_text(illness)
        part.replace(self._illness)

    def size(self) -> int:
        """Grows with each object that it stores."""
        return self.journal.stat().st_size if self.journal.exists() else 0

    def stored(self) -> list[Held]:
        """Every object each time that it was stored, in order."""
        lines = self.journal.read_text().splitlines() if self.journal.exists() else []
        entries = [json.loads(line) for line in lines]
        return [Held(**{**e, "predecessors": tuple(e["predecessors"])}) for e in entries]


# -- disk ------------------------------------------------------------------


class Disk:
    """A file system of the node's own, in memory, that can be full.

    Parameters
    ----------
    folder : pathlib.Path
        Where it is mounted, if that is allowed.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.folder = folder
        self.is_mounted = self._mount("-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", str(folder))

    def fill(self) -> None:
        """Leave no room: as small as what is on it."""
        counts = os.statvfs(self.folder)
        used_kib = (counts.f_blocks - counts.f_bfree) * counts.f_frsize // 1024
        self._mount("-o", f"remount,size={used_kib}k", str(self.folder))

    def free(self) -> None:
        """Give all the room back."""
        if self.is_mounted:
            self._mount("-o", f"remount,size={DISK}", str(self.folder))

    def remove(self) -> None:
        if self.is_mounted:
            subprocess.run(["umount", "-l", str(self.folder)], check=False)

    @staticmethod
    def _mount(*arguments: str) -> bool:
        done = subprocess.run(["mount", *arguments], capture_output=True, check=False)
        return done.returncode == 0
