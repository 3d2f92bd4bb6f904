"""Images from an archive: how many a second are fetched, beside the same pushed to the node.

In both the node has each image on the disk and in the ledger before it answers. DCMTK, which
fetches from the same archive, writes files and waits for no disk.
"""

import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pydicom

from node.audit import Auditor
from node.broker import free_port
from node.deliver import store_files
from node.fetch import Fetcher, FoundSeries, Pace, open_source
from node.intake import Intake
from node.ledger import FetchState, Ledger, open_ledger
from node.settings import Destination, Retrieve, Settings
from node.spool import Spool
from tests.archives import running_dcmqrscp
from tests.bench.receive import Images, running_receiver, send_all
from tests.bench.row import Comparison, Figure, LeftOut, Row
from tests.bench.turns import in_turns, seconds
from tests.e2e.peers import dcmtk, running_orthanc, running_storescp

COUNT = 100
TIMES = 3
GOAL = 0.5
PEER = "PEER"

WORK = "C-{} of {} CT slices of 512 kB from {}"


def rows(folder: Path) -> Iterator[Row | LeftOut]:
    """C-GET and C-MOVE, from Orthanc and from dcmqrscp."""
    tools = [Path(dcmtk(name)) for name in ("getscu", "movescu", "storescp", "dcmqrscp")]
    if missing := [tool.name for tool in (*tools, Path("/usr/sbin/Orthanc")) if not tool.exists()]:
        yield LeftOut("fetching", f"not installed: {', '.join(missing)}")
        return
    memory = Path("/dev/shm")  # so that the disk is that of who fetches, and of the archive
    with ExitStack() as stack:
        room = tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else folder)
        images = Images(Path(stack.enter_context(room)), COUNT)
        node_port = stack.enter_context(running_receiver(folder / "node"))
        peer = folder / "peer"
        peer_port = stack.enter_context(running_storescp(peer, free_port(), "-aet", PEER)).port
        dcmqrscp = running_dcmqrscp(folder / "dcmqrscp", node_port, **{PEER: peer_port})
        orthanc = running_orthanc(
            folder / "orthanc",
            DicomModalities={
                "node": ["ICHNODE", "127.0.0.1", node_port],
                "peer": [PEER, "127.0.0.1", peer_port],
            },
            DicomAlwaysAllowGet=True,
            DicomAlwaysAllowMove=True,
        )
        archives = {
            "Orthanc": ("ORTHANC", stack.enter_context(orthanc).port),
            "dcmqrscp": ("QRSCP", stack.enter_context(dcmqrscp).port),
        }
        ledger = open_ledger(f"sqlite:///{folder}/node/home/ledger.sqlite")
        stack.callback(ledger.close)
        for name, (title, port) in archives.items():
            for retrieve in Retrieve:
                archive = _Archive(title, port, retrieve, images)
                node = _Node.beside(archive, folder / "node" / "home", node_port, ledger)
                dcmtks = _Peer(archive, peer, archive.store())
                sides = {
                    "ichnode": node.rate,
                    "pushed": lambda: _push(images, node_port),
                    "peer": dcmtks.rate,
                }
                found = in_turns(sides, TIMES)
                tool = "getscu" if retrieve is Retrieve.GET else "movescu and storescp"
                yield Row(
                    WORK.format(retrieve.upper(), COUNT, name),
                    Figure("ichnode", found["ichnode"], "images/s"),
                    [
                        Comparison(
                            Figure("the same pushed to it", found["pushed"], "images/s"), GOAL
                        ),
                        Comparison(Figure(f"DCMTK {tool}", found["peer"], "images/s")),
                    ],
                    note="DCMTK gets the same series each time, and waits for no disk",
                )


def _push(images: Images, port: int) -> float:
    """Have DCMTK send a series to the node, which the archive has not."""
    folders = images.fresh(1)
    os.sync()
    return COUNT / seconds(lambda: send_all(folders, port))


@dataclass(frozen=True)
class _Archive:
    """A PACS, and how it is to send."""

    title: str
    port: int
    retrieve: Retrieve
    images: Images

    def store(self) -> FoundSeries:
        """Have it store a new series."""
        (fresh,) = self.images.fresh(1)
        files = sorted(fresh.iterdir())
        peer = Destination(name="archive", ae_title=self.title, host="127.0.0.1", port=self.port)
        assert store_files("SCANNER", peer, files, lambda: None) == []
        header = pydicom.dcmread(files[0], stop_before_pixels=True)
        uids = str(header.StudyInstanceUID), str(header.SeriesInstanceUID)
        return FoundSeries(*uids, images=COUNT)


@dataclass(frozen=True)
class _Node:
    """One that fetches, beside a receiver in a process of its own."""

    archive: _Archive
    fetcher: Fetcher

    @classmethod
    def beside(cls, archive: _Archive, home: Path, port: int, ledger: Ledger) -> "_Node":
        address = {"ae_title": archive.title, "host": "127.0.0.1", "port": archive.port}
        name = f"{archive.title}-{archive.retrieve}"
        settings = Settings(
            home=home,
            dicom={"port": port},
            sources=[{"name": name, "retrieve": archive.retrieve, **address}],
            assemble={"grace_s": 3600},  # as the receiver: nothing is assembled
        )
        (rules,) = settings.sources
        intake = Intake(settings, Spool(home), ledger, Auditor.silent())
        source = open_source(settings, rules)
        stop = threading.Event()
        fetcher = Fetcher(source, rules, settings, ledger, intake, Auditor.silent(), Pace(), stop)
        return cls(archive, fetcher)

    def rate(self) -> float:
        """Fetch a series that was never there."""
        found = self.archive.store()
        os.sync()

        def fetch() -> None:
            outcome = self.fetcher.fetch_now(found, None, lambda _: None)
            assert (outcome.state, outcome.images) == (FetchState.FETCHED, COUNT), outcome

        return COUNT / seconds(fetch)


@dataclass(frozen=True)
class _Peer:
    """DCMTK's tools, which get the same series again and again."""

    archive: _Archive
    folder: Path
    found: FoundSeries

    def rate(self) -> float:
        """Have the series sent into an empty folder."""
        shutil.rmtree(self.folder)
        self.folder.mkdir()
        os.sync()
        is_get = self.archive.retrieve is Retrieve.GET
        command = [
            *(dcmtk("getscu" if is_get else "movescu"), "-S", "-aet", PEER),
            *("-aec", self.archive.title),
            *(("-od", str(self.folder)) if is_get else ("-aem", PEER)),
            *("-k", "QueryRetrieveLevel=SERIES"),
            *("-k", f"StudyInstanceUID={self.found.study_instance_uid}"),
            *("-k", f"SeriesInstanceUID={self.found.series_instance_uid}"),
            *("127.0.0.1", str(self.archive.port)),
        ]
        environment = {**os.environ, "TCP_NODELAY": "1"}
        taken_s = seconds(
            lambda: subprocess.run(command, check=True, capture_output=True, env=environment)
        )
        assert len(list(self.folder.iterdir())) == COUNT
        return COUNT / taken_s
