"""Real peers: the node itself, DCMTK's tools and Orthanc, each on free ports of loopback."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, TypeVar

import pydicom
from pydicom.errors import InvalidDicomError
from pydicom.uid import BasicTextSRStorage, Comprehensive3DSRStorage, SecondaryCaptureImageStorage

from node.broker import broker_url, free_port
from node.hints import answering_workers
from node.ledger import Ledger, Revision, State, open_ledger
from node.settings import Settings, load_settings

T = TypeVar("T")

REPORTS = Counter({Comprehensive3DSRStorage: 2, BasicTextSRStorage: 1})
"""The structured reports of a series by their SOP class."""


def one_set(slices: int) -> Counter[str]:
    """What a node sends for a series by default: the captures are one more than the slices."""
    return REPORTS + Counter({SecondaryCaptureImageStorage: 1 + slices})


def kinds(datasets: Sequence[pydicom.Dataset]) -> Counter[str]:
    """How many objects there are of each SOP class."""
    return Counter(str(dataset.SOPClassUID) for dataset in datasets)


ICHNODE = [sys.executable, "-m", "node"]
DICOMWEB = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
ENDS = (State.DELIVERED, State.SKIPPED, State.FAILED)


def dcmtk(tool: str) -> str:
    """DCMTK's own tool: a virtual environment has pynetdicom's of the same name."""
    return f"/usr/bin/{tool}"


def wait_for(what: Callable[[], T | None], timeout_s: float = 60, why: str = "") -> T:
    """Wait until a function gives something true."""
    deadline = time.monotonic() + timeout_s
    while True:
        found = what()
        if found:
            return found
        assert time.monotonic() < deadline, f"waited {timeout_s} s in vain: {why or what}"
        time.sleep(0.1)


def storescu(
    peer_port: int, files: Sequence[Path], *options: str
) -> "subprocess.CompletedProcess[str]":
    """Send files with DCMTK."""
    return subprocess.run(
        [
            dcmtk("storescu"),
            "-aet",
            "SCANNER",
            "-aec",
            "ICHNODE",
            *options,
            "127.0.0.1",
            str(peer_port),
            *map(str, files),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "TCP_NODELAY": "1"},
    )


@dataclass
class Node:
    """A node that `ichnode up` runs."""

    config: Path
    settings: Settings
    process: "subprocess.Popen[bytes]"
    ledger: Ledger
    log: Path

    @property
    def port(self) -> int:
        return self.settings.dicom.port

    def send(self, files: Sequence[Path], *options: str) -> None:
        """Send files with DCMTK; every one must be taken."""
        done = storescu(self.port, files, *options)
        assert done.returncode == 0, done.stdout + done.stderr

    def revisions(self, uid: str) -> list[Revision]:
        return self.ledger.find(uid)

    def wait_for(self, uid: str, *states: State, count: int = 1, timeout_s: float = 90) -> Revision:
        """Wait until the newest of `count` revisions is in one of some states."""

        def newest() -> Revision | None:
            found = self.revisions(uid)
            return found[-1] if len(found) >= count and found[-1].state in states else None

        try:
            return wait_for(newest, timeout_s, f"{uid} to become {states}")
        except AssertionError as error:
            story = f"{self.revisions(uid)}\n{self.log.read_text()[-4000:]}"
            raise AssertionError(f"{error}\n{story}") from None

    def children(self) -> dict[str, list[int]]:
        """Process ids of the node's parts, by the command they run."""
        found = defaultdict(list)
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                stat = (entry / "stat").read_text()
                arguments = (entry / "cmdline").read_bytes().decode().split("\0")
            except OSError:
                continue
            if not arguments[0]:  # it has ended
                continue
            if int(stat.rpartition(")")[2].split()[1]) == self.process.pid:
                name = arguments[3] if "-m" in arguments else Path(arguments[0].split()[0]).name
                if name == "work":
                    name = arguments[arguments.index("--queue") + 1]
                found[name].append(int(entry.name))
        return found

    def kill(self, part: str) -> None:
        """Kill every process of a part, as if the machine had lost it."""
        for process_id in self.children()[part]:
            os.kill(process_id, signal.SIGKILL)


@contextmanager
def running_node(
    folder: Path,
    destinations: Sequence[tuple[str, str, int]] = (),
    more: str = "",
    *,
    verbose: bool = True,
    dicom_port: int | None = None,
    processes: int = 1,
) -> Iterator[Node]:
    """Run `ichnode up` with a configuration of its own.

    Parameters
    ----------
    folder : pathlib.Path
        For its home, configuration and log.
    destinations : sequence of tuple
        Name, AE title and port of each, on loopback.
    more : str
        Further TOML.
    verbose : bool
        Whether it logs tracebacks.
    dicom_port : int, optional
        Where it listens; else on a free port.
    processes : int
        That receive; a node by itself has more, and nodes share this machine.
    """
    config = folder / "ichnode.toml"
    config.write_text(
        f'home = "{folder / "home"}"\n'
        f"[dicom]\nport = {dicom_port or free_port()}\nprocesses = {processes}\n"
        + "".join(
            f'[[destinations]]\nname = "{name}"\nae_title = "{ae_title}"\n'
            f'host = "127.0.0.1"\nport = {port}\n'
            for name, ae_title, port in destinations
        )
        + ("" if "[assemble]" in more else "[assemble]\ngrace_s = 1\nquiet_s = 4\n")
        + ("" if "[deliver]" in more else "[deliver]\nfirst_pause_s = 1\nlongest_pause_s = 2\n")
        + ("" if "[web]" in more else "[web]\nwith_up = false\n")  # nodes share this machine
        + more
    )
    settings = load_settings(config)
    log = folder / "node.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*ICHNODE, "up", "--config", str(config), *(["--verbose"] if verbose else [])],
            stdout=output,
            stderr=output,
        )
    try:

        def answers() -> bool:
            assert process.poll() is None, log.read_text()
            done = subprocess.run(
                [dcmtk("echoscu"), "-aec", "ICHNODE", "127.0.0.1", str(settings.dicom.port)],
                capture_output=True,
                check=False,
            )
            return done.returncode == 0

        wait_for(answers, 60, "the node to listen")
        wait_for(lambda: len(answering_workers(broker_url(settings), settings)) >= 2, 90, "workers")
        ledger = open_ledger(settings.ledger_url)
        yield Node(config, settings, process, ledger, log)
        ledger.close()
    finally:
        process.terminate()
        try:
            process.wait(40)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@dataclass
class Storescp:
    """DCMTK's storescp, which writes what it gets to a folder."""

    port: int
    folder: Path

    def datasets(self) -> list[pydicom.Dataset]:
        """What it has got; not what it is just writing."""
        found = []
        for path in sorted(self.folder.iterdir()):
            with suppress(InvalidDicomError, EOFError):
                found.append(pydicom.dcmread(path))
        return found


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


@contextmanager
def running_storescp(folder: Path, port: int | None = None, *options: str) -> Iterator[Storescp]:
    """Run DCMTK's storescp."""
    folder.mkdir(parents=True, exist_ok=True)
    port = port or free_port()
    process = subprocess.Popen(
        [dcmtk("storescp"), "-od", str(folder), *options, str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "TCP_NODELAY": "1"},
    )
    try:
        wait_for(lambda: _listens(port), 20, "storescp to listen")
        yield Storescp(port, folder)
    finally:
        process.kill()
        process.wait()


@dataclass
class Orthanc:
    """An Orthanc of its own."""

    port: int
    http_port: int

    def get(self, path: str, body: bytes | None = None, method: str | None = None) -> Any:
        """GET, or POST where there is a body; JSON is parsed."""
        url = f"http://127.0.0.1:{self.http_port}{path}"
        request = urllib.request.Request(url, body, method=method)
        with urllib.request.urlopen(request, timeout=60) as answer:
            content = answer.read()
            is_json = answer.headers["Content-Type"].startswith("application/json")
        return json.loads(content) if is_json else content

    def instances_of(self, study: str) -> list[pydicom.Dataset]:
        """Every object of a study."""
        found = self.get("/tools/lookup", study.encode())
        ids = [item["ID"] for item in found if item["Type"] == "Study"]
        return [
            pydicom.dcmread(BytesIO(self.get(f"/instances/{entry['ID']}/file")))
            for study_id in ids
            for entry in self.get(f"/studies/{study_id}/instances")
        ]


@contextmanager
def running_orthanc(
    folder: Path, *, dicomweb: bool = False, **configuration: object
) -> Iterator[Orthanc]:
    """Run an Orthanc that takes whatever is sent to it, unless configured otherwise."""
    peer = Orthanc(free_port(), free_port())
    process = start_orthanc(folder, peer, dicomweb=dicomweb, **configuration)
    try:
        yield peer
    finally:
        process.kill()  # it takes seconds to end, and nobody needs what it has any more
        process.wait()


def start_orthanc(
    folder: Path, peer: Orthanc, *, dicomweb: bool = False, **configuration: object
) -> "subprocess.Popen[bytes]":
    """Start an Orthanc, over what it has stored in a folder, and wait until it answers."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "orthanc.json").write_text(
        json.dumps(
            {
                "Name": "test",
                "StorageDirectory": str(folder / "storage"),
                "IndexDirectory": str(folder / "storage"),
                "DicomAet": "ORTHANC",
                "DicomPort": peer.port,
                "HttpPort": peer.http_port,
                "RemoteAccessAllowed": False,
                "AuthenticationEnabled": False,
                "Plugins": [str(DICOMWEB)] if dicomweb else [],
                "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
                "DicomCheckCalledAet": False,
                "DicomAlwaysAllowStore": True,
            }
            | configuration
        )
    )
    binary = shutil.which("Orthanc") or "/usr/sbin/Orthanc"
    with (folder / "orthanc.log").open("wb") as log:
        process = subprocess.Popen(
            [binary, str(folder / "orthanc.json")],
            stdout=log,
            stderr=log,
            cwd=folder,
            env={**os.environ, "TCP_NODELAY": "1"},
        )

    def answers() -> bool:
        assert process.poll() is None, (folder / "orthanc.log").read_text()
        try:
            return bool(peer.get("/system"))
        except urllib.error.HTTPError:  # it asks who that is
            return True
        except (urllib.error.URLError, OSError):
            return False

    try:
        wait_for(answers, 60, "Orthanc to answer")
    except BaseException:
        process.kill()
        process.wait()
        raise
    return process
