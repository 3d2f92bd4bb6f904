"""How soon a report is in the archive: what a node adds to the grace period and the model."""

import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TypeVar

import pydicom
from pydicom.uid import generate_uid

from ml.anatomy import look_at_anatomy
from ml.labels import Label
from ml.phantom import make_phantom, write_dicom
from ml.series import load_volume
from node.analyze import Analyzer, analyze
from node.headers import read_headers
from node.ledger import Revision, State
from node.report import Kind, build
from node.settings import load_settings
from tests.bench.row import Figure, LeftOut, Row
from tests.bench.turns import seconds
from tests.e2e.peers import Node, Orthanc, dcmtk, running_node, running_orthanc

T = TypeVar("T")

SERIES = 5
WARM_UP = 1
GRACE_S = 2.0
GOAL_S = 1.0
POLL_S = 0.02
LOOKS = 25
"""At the archive, to one at the ledger: looking must not be what the cores are busy with."""

CONFIG = f"""
[assemble]
grace_s = {GRACE_S}
"""


def rows(folder: Path) -> Iterator[Row | LeftOut]:
    """Series after series from a scanner to an archive, each when the one before is through."""
    # 40 slices; a bleed, so that there is something to report
    phantom = make_phantom(6, size=512, findings=(Label.INTRAPARENCHYMAL,))
    work = f"last of {len(phantom)} slices of 512 x 512 to its report in Orthanc"
    tools = [Path(dcmtk("storescu")), Path("/usr/sbin/Orthanc")]
    if missing := [tool.name for tool in tools if not tool.exists()]:
        yield LeftOut(work, f"not installed: {', '.join(missing)}")
        return
    files = write_dicom(phantom, folder / "series")
    with (
        running_orthanc(folder / "orthanc") as orthanc,
        running_node(folder, [("orthanc", "ORTHANC", orthanc.port)], CONFIG, verbose=False) as node,
    ):
        found = [_way(files, node, orthanc) for _ in range(WARM_UP + SERIES)][WARM_UP:]
        alone = _stations(files, folder)  # the node is idle
    way = {step: statistics.median(one[step] for one in found) for step in found[0]}
    forward_s = alone.pop("the model")
    *parts, total = (f"{step} {value:.2f}" for step, value in way.items())
    stations = ", ".join(f"{step} {value:.2f}" for step, value in alone.items())
    yield Row(
        f"{work}, less {GRACE_S:g} s of grace and the forward pass",
        Figure("ichnode", way["in all"] - forward_s, "s"),
        most=GOAL_S,
        note=f"medians of {SERIES} series in s, the grace taken off: {', '.join(parts)}, {total}, "
        f"of which the forward pass is {forward_s:.2f}; "
        f"a worker's steps alone in one process: {stations}",
    )


def _way(files: Sequence[Path], node: Node, orthanc: Orthanc) -> dict[str, float]:
    """One series through the node: how long each part of its way took, seconds."""
    uid = _renew(files)
    since = int(orthanc.get("/changes?last")["Last"])
    node.send(files)
    came_at: dict[str, float] = {}
    while not (ended := _ended(node, uid)):
        for _ in range(LOOKS):
            since = _note_arrivals(orthanc, since, came_at)
            time.sleep(POLL_S)
    _note_arrivals(orthanc, since, came_at)
    report = next(
        r for r in node.ledger.results(ended) if r.kind == Kind.STRUCTURED_REPORT
    ).sop_instance_uid
    (stored,) = orthanc.get("/tools/lookup", report.encode())
    at = {event.state: event.at.timestamp() for event in node.ledger.history(ended)}
    assert ended.released_at is not None
    released, last = ended.released_at.timestamp(), ended.last_instance_at.timestamp()
    sr_at = came_at[stored["ID"]]
    return {
        "association end": released - last,
        "looked at": at[State.READY] - released - GRACE_S,
        "taken by a worker": at[State.ANALYZING] - at[State.READY],
        "judged and reported": at[State.REPORTED] - at[State.ANALYZING],
        "report sent": sr_at - at[State.REPORTED],
        "in all": sr_at - last - GRACE_S,
    }


def _renew(files: Sequence[Path]) -> str:
    """Give the images of a series new UIDs; gives that of the series."""
    study, series = generate_uid(), generate_uid()
    for file in files:
        image = pydicom.dcmread(file)
        image.StudyInstanceUID, image.SeriesInstanceUID = study, series
        image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        image.save_as(file)
    return str(series)


def _ended(node: Node, uid: str) -> Revision | None:
    """The series' revision, once all of its results are delivered."""
    found = [r for r in node.revisions(uid) if r.state is State.DELIVERED]
    assert not any(r.state in (State.SKIPPED, State.FAILED) for r in node.revisions(uid))
    return found[-1] if found else None


def _note_arrivals(orthanc: Orthanc, since: int, came_at: dict[str, float]) -> int:
    """Note when instances are first seen in the archive; gives how far that is."""
    page = orthanc.get(f"/changes?since={since}&limit=1000")
    for change in page["Changes"]:
        if change["ChangeType"] == "NewInstance":
            came_at[change["ID"]] = time.time()
    return int(page["Last"])


def _stations(files: Sequence[Path], folder: Path) -> dict[str, float]:
    """What a worker does for a series, step by step in this process, seconds."""
    settings = load_settings(folder / "ichnode.toml")
    analyzer = Analyzer.load(settings)
    took: dict[str, list[float]] = defaultdict(list)

    def timed(step: str, work: Callable[[], T]) -> T:
        given: list[T] = []
        took[step].append(seconds(lambda: given.append(work())))
        return given[0]

    for _ in range(1 + SERIES):
        series = timed("headers", partial(read_headers, list(files)))
        arrangement = series.arrangement
        assert arrangement is not None
        volume = timed("decode", partial(load_volume, arrangement))
        positions_mm = [one.position_mm for one in volume.slices]
        timed("anatomy", partial(look_at_anatomy, volume.hu, volume.spacing_mm, positions_mm))
        timed("the model", partial(analyzer.detector.detect, volume))
        judged = analyze(analyzer, series, "0" * 64, ())
        timed(
            "results built and checked",
            partial(
                build,
                judged.judgement,
                judged.volume,
                judged.sources,
                folder / "built",
                settings=settings.report,
                created=datetime.now().astimezone(),
            ),
        )
    return {step: statistics.median(values[1:]) for step, values in took.items()}
