"""Results to an archive: how many objects in a second, beside DCMTK to the same archive."""

import re
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pydicom
from pydicom.uid import generate_uid

from node.audit import Auditor
from node.deliver import Deliverer
from node.ledger import Instance, Ledger, Result, open_ledger
from node.settings import Settings
from node.spool import Spool
from tests import ct
from tests.bench.row import Comparison, Figure, LeftOut, Row
from tests.bench.turns import in_turns, seconds
from tests.cases import make_case
from tests.claiming import claimed
from tests.e2e.peers import Orthanc, dcmtk, running_orthanc, storescu

COUNT = 200
RESULTS = 44
"""Objects of a usual series: one capture for each slice, the summary, the reports."""

GOAL = 0.5
PACS = "pacs"


def rows(folder: Path) -> Iterator[Row | LeftOut]:
    """Captures as the node makes them, and CT images."""
    works: dict[str, Callable[[Path], None]] = {
        f"{COUNT} captures of 1.5 MB sent to Orthanc": _captures,
        f"{COUNT} images of 512 kB sent to Orthanc": make_images,
    }
    tools = [Path(dcmtk("storescu")), Path("/usr/sbin/Orthanc")]
    if missing := [tool.name for tool in tools if not tool.exists()]:
        for work in works:
            yield LeftOut(work, f"not installed: {', '.join(missing)}")
        return
    for number, (work, make) in enumerate(works.items()):
        home = folder / str(number)
        with running_orthanc(home / "orthanc") as orthanc:
            yield _row(work, make, home, orthanc)


def _row(work: str, make: Callable[[Path], None], home: Path, orthanc: Orthanc) -> Row:
    spool = Spool(home)
    made = spool.results / "made"
    made.mkdir(parents=True)
    make(made)
    results = [result_of(path, spool) for path in sorted(made.iterdir())]
    ledger = open_ledger(f"sqlite:///{home}/ledger.sqlite")
    pacs = {"ae_title": "PACS", "host": "127.0.0.1", "port": orthanc.port}
    node = Node(ledger, spool, results, pacs)
    peer = _Peer([spool.results / result.path for result in results], orthanc)
    log = home / "orthanc" / "orthanc.log"
    associations = {
        side: _associations(orthanc, log, side.send) for side in (node, peer)
    }  # their first turn too, which does not count
    node.cpu_s.clear()
    found = in_turns(
        {"ichnode": lambda: _rate(node, orthanc), "peer": lambda: _rate(peer, orthanc)},
        warm_up=False,
    )
    ledger.close()
    cpu_s = sorted(node.cpu_s)[len(node.cpu_s) // 2] * RESULTS / COUNT
    return Row(
        work,
        Figure("ichnode", found["ichnode"], "objects/s"),
        [Comparison(Figure(f"DCMTK {_version()} storescu", found["peer"], "objects/s"), GOAL)],
        note=f"associations: {associations[node]}, of DCMTK {associations[peer]}; "
        f"the sender's CPU for {RESULTS} objects: {cpu_s:.2f} s",
    )


@dataclass(eq=False)
class Node:
    """Station deliver, over a ledger in which the objects wait to be sent."""

    ledger: Ledger
    spool: Spool
    results: Sequence[Result]
    pacs: Mapping[str, object]
    cpu_s: list[float] = field(default_factory=list)

    def send(self) -> float:
        self._plan()
        settings = Settings(home=self.spool.home, destinations=[{"name": PACS, **self.pacs}])
        deliverer = Deliverer(self.ledger, self.spool, settings, Auditor.silent())
        before_s = time.process_time()
        taken_s = seconds(lambda: deliverer.deliver(PACS))
        self.cpu_s.append(time.process_time() - before_s)
        return taken_s

    def _plan(self) -> None:
        uid = str(generate_uid())
        image = Instance("1.2", uid, f"{uid}.1", "1.2.840.1", "0" * 64, Path(uid) / "1.dcm", "CT")
        revision = self.ledger.revision(self.ledger.store(image, 30).revision_id)
        assert revision is not None
        assert self.ledger.ready(revision, [])
        claim = claimed(self.ledger, revision.id)
        assert self.ledger.report(claim, self.results, [PACS], warnings=[], maxima={"any": 0.5})


@dataclass(eq=False)
class _Peer:
    """DCMTK's sender."""

    files: Sequence[Path]
    orthanc: Orthanc

    def send(self) -> float:
        def run() -> None:
            done = storescu(self.orthanc.port, self.files)
            assert done.returncode == 0, done.stderr

        return seconds(run)


def _rate(side: Node | _Peer, orthanc: Orthanc) -> float:
    return COUNT / stored(orthanc, side.send)


def stored(orthanc: Orthanc, send: Callable[[], float]) -> float:
    """How long it takes until all objects are in the archive, which is empty again after it."""
    taken_s = send()
    assert orthanc.get("/statistics")["CountInstances"] == COUNT
    for patient in orthanc.get("/patients"):
        orthanc.get(f"/patients/{patient}", method="DELETE")
    return taken_s


def _associations(orthanc: Orthanc, log: Path, send: Callable[[], float]) -> int:
    """How many associations the archive counts; it says so only while it tells much."""
    before = log.stat().st_size
    orthanc.get("/tools/log-level", b"verbose", "PUT")
    stored(orthanc, send)
    orthanc.get("/tools/log-level", b"default", "PUT")
    return log.read_bytes()[before:].count(b"Association Received")


def result_of(path: Path, spool: Spool) -> Result:
    header = pydicom.dcmread(path, stop_before_pixels=True)
    return Result(
        "secondary-capture",
        str(header.SeriesInstanceUID),
        str(header.SOPClassUID),
        str(header.SOPInstanceUID),
        path.relative_to(spool.results),
    )


def _captures(folder: Path) -> None:
    """Those of a small head in slices of the usual size, each as often as it takes."""
    made = make_case(9, rows=512, columns=512).build(folder.parent / "once")
    captures = [result for result in made if result.path.name.startswith("sc-")]
    for number in range(COUNT):
        capture = captures[number % len(captures)]
        known = capture.sop_instance_uid.encode()
        new = known[:-4] + f"{1000 + number}".encode()
        content = capture.path.read_bytes()
        (folder / f"{number:03}.dcm").write_bytes(content.replace(known, new))


def make_images(folder: Path) -> None:
    rng = np.random.default_rng(1)
    for number in range(1, COUNT + 1):
        hu = rng.integers(-1000, 1000, (512, 512), dtype=np.int16)
        image = ct.image(number, 5.0 * number, hu=hu)
        image.save_as(folder / f"{number:03}.dcm", enforce_file_format=True)


def _version() -> str:
    version = [dcmtk("storescu"), "--version"]
    done = subprocess.run(version, capture_output=True, text=True, check=False)
    found = re.search(r"v(\d+\.\d+\.\d+)", done.stdout)
    return found[1] if found else ""
