"""Routes, all the way: who gets what of a series, in which form, against real peers.

Neither Orthanc nor DCMTK keeps a worklist of Unified Procedure Steps: one of pynetdicom
stands in for such a peer.
"""

import subprocess
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.uid import (
    BasicTextSRStorage,
    Comprehensive3DSRStorage,
    ComprehensiveSRStorage,
    EnhancedSRStorage,
    ExplicitVRLittleEndian,
    SecondaryCaptureImageStorage,
)

from ml.phantom import make_phantom
from node.ledger import State
from tests.e2e.conftest import Series, series_maker
from tests.e2e.peers import (
    Node,
    Orthanc,
    kinds,
    one_set,
    running_node,
    running_orthanc,
    running_storescp,
)
from tests.e2e.worklist import Worklist, running_worklist

DESTINATION = """
[[destinations]]
name = "{name}"
ae_title = "{title}"
host = "127.0.0.1"
port = {port}
{more}
"""

ROUTES = """
[[peers]]
name = "scanner"
ae_title = "SCANNER"
host = "127.0.0.1"
port = {scanner}

[[peers]]
name = "looks-whether-the-node-is-up"
ae_title = "ECHOSCU"

[[routes]]
name = "archive"
to = ["archive"]
kinds = ["sr", "slices", "text"]
senders = ["SCAN*"]

[[routes]]
name = "pictures"
to = ["viewer"]
kinds = ["sc"]

[[routes]]
name = "stroke"
to = ["stroke"]
flagged = "only"

[[routes]]
name = "look"
to = ["worklist"]
flagged = "only"
kinds = ["ups"]

[[routes]]
name = "back"
to = ["sender"]
kinds = ["text"]
descriptions = ["phantom"]

[[routes]]
name = "never"
to = ["stroke"]
senders = ["OTHER"]
"""


@dataclass
class Way:
    """What became of two series, one flagged and one not."""

    node: Node
    flagged: Series
    calm: Series
    archive: Orthanc
    viewer: Orthanc
    stroke: list[pydicom.Dataset]
    scanner: list[pydicom.Dataset]
    worklist: Worklist


@pytest.fixture(scope="module")
def way(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Way]:
    """Two series by all of these routes, to two Orthancs, two storescp and a worklist."""
    folder = tmp_path_factory.mktemp("routes")
    bleeding = make_phantom(8, size=128)
    flagged = series_maker(bleeding, folder / "flagged")()
    calm = series_maker(make_phantom(4, size=128, findings=()), folder / "calm")()
    with (
        running_orthanc(folder / "archive") as archive,
        running_orthanc(folder / "viewer") as viewer,
        running_storescp(folder / "stroke") as stroke,
        running_storescp(folder / "scanner") as scanner,
        running_worklist() as worklist,
    ):
        more = "".join(
            DESTINATION.format(name=name, title=name.upper(), port=port, more=more)
            for name, port, more in (
                ("archive", archive.port, 'structured_report = "enhanced"'),
                ("viewer", viewer.port, 'transfer_syntax = "jpeg-ls"'),
                ("stroke", stroke.port, 'structured_report = "comprehensive"'),
                ("worklist", worklist.port, "ups = true"),
            )
        )
        with running_node(folder, more=more + ROUTES.format(scanner=scanner.port)) as node:
            for series in (flagged, calm):
                node.send(series.files)
            for series in (flagged, calm):
                node.wait_for(series.series, State.DELIVERED)
            yield Way(
                node,
                flagged,
                calm,
                archive,
                viewer,
                stroke.datasets(),
                scanner.datasets(),
                worklist,
            )


def test_kinds_are_split_between_two_archives(way: Way) -> None:
    for series in (way.flagged, way.calm):
        assert kinds(way.archive.instances_of(series.study)) == Counter(
            {EnhancedSRStorage: 2, BasicTextSRStorage: 1}
        )
        assert kinds(way.viewer.instances_of(series.study)) == Counter(
            {SecondaryCaptureImageStorage: 1 + len(series.files)}
        )


def test_who_wants_flagged_series_alone_gets_all_of_one_and_nothing_of_another(way: Way) -> None:
    studies = {str(dataset.StudyInstanceUID) for dataset in way.stroke}
    assert studies == {way.flagged.study}
    assert way.node.revisions(way.flagged.series)[-1].flagged
    assert not way.node.revisions(way.calm.series)[-1].flagged
    whole = one_set(len(way.flagged.files))
    whole[ComprehensiveSRStorage] = whole.pop(Comprehensive3DSRStorage)
    assert kinds(way.stroke) == whole


def test_what_goes_back_gets_to_the_sender(way: Way) -> None:
    assert {str(dataset.StudyInstanceUID) for dataset in way.scanner} == {
        way.flagged.study,
        way.calm.study,
    }
    assert kinds(way.scanner) == Counter({BasicTextSRStorage: 2})


def test_each_destination_has_the_report_in_its_class_as_an_object_of_its_own(
    way: Way, tmp_path: Path
) -> None:
    enhanced = of_class(way.archive.instances_of(way.flagged.study), EnhancedSRStorage)
    comprehensive = of_class(way.stroke, ComprehensiveSRStorage)
    assert len(enhanced) == len(comprehensive) == 2
    assert not {d.SOPInstanceUID for d in enhanced} & {d.SOPInstanceUID for d in comprehensive}
    assert [d.ContentSequence for d in by_series(enhanced)] == [
        d.ContentSequence for d in by_series(comprehensive)
    ]
    for number, report in enumerate([*enhanced, *comprehensive]):
        file = tmp_path / f"{number}.dcm"
        report.save_as(file)
        assert complaints(file) == []


def of_class(datasets: list[pydicom.Dataset], sop_class: str) -> list[pydicom.Dataset]:
    return [dataset for dataset in datasets if dataset.SOPClassUID == sop_class]


def by_series(datasets: list[pydicom.Dataset]) -> list[pydicom.Dataset]:
    return sorted(datasets, key=lambda dataset: dataset.SeriesNumber)


def complaints(file: Path) -> list[str]:
    """What dciodvfy says of an SR: errors and warnings."""
    done = subprocess.run(
        ["/usr/bin/dciodvfy", str(file)], capture_output=True, text=True, check=False
    )
    said = (done.stdout + done.stderr).splitlines()
    return [line for line in said if line.startswith(("Error", "Warning"))]


def test_no_class_is_made_that_nobody_wants(way: Way) -> None:
    made = {r.sop_class_uid for r in way.node.ledger.results(revision_of(way, way.calm))}
    assert EnhancedSRStorage in made
    assert not made & {Comprehensive3DSRStorage, ComprehensiveSRStorage}


def revision_of(way: Way, series: Series):
    return way.node.revisions(series.series)[-1]


def test_pictures_arrive_in_the_transfer_syntax_of_the_destination(
    way: Way, tmp_path: Path
) -> None:
    (plain,) = (d for d in way.stroke if is_capture(d, 3))
    (packed,) = (d for d in way.viewer.instances_of(way.flagged.study) if is_capture(d, 3))
    assert plain.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
    packed.save_as(tmp_path / "packed.dcm")
    assert "=JPEGLSLossless" in dump(tmp_path / "packed.dcm")
    assert plain.SOPInstanceUID == packed.SOPInstanceUID
    assert np.array_equal(plain.pixel_array, packed.pixel_array)


def is_capture(dataset: pydicom.Dataset, number: int) -> bool:
    is_one = dataset.SOPClassUID == SecondaryCaptureImageStorage
    return is_one and dataset.InstanceNumber == number


def dump(file: Path) -> str:
    done = subprocess.run(
        ["/usr/bin/dcmdump", str(file)], capture_output=True, text=True, check=True
    )
    return done.stdout


def test_a_worklist_is_asked_for_a_look_at_what_is_flagged(way: Way) -> None:
    ((uid, item),) = way.worklist.created
    revision = revision_of(way, way.flagged)
    assert item.StudyInstanceUID == way.flagged.study
    assert item.ScheduledProcedureStepPriority == "HIGH"
    (found,) = item.InputInformationSequence
    assert found.DICOMRetrievalSequence[0].RetrieveAETitle == "ARCHIVE"
    stored = way.archive.instances_of(way.flagged.study)
    sop = found.ReferencedSOPSequence[0]
    assert (sop.ReferencedSOPClassUID, sop.ReferencedSOPInstanceUID) in {
        (d.SOPClassUID, d.SOPInstanceUID) for d in of_class(stored, EnhancedSRStorage)
    }
    states = {d.result.sop_instance_uid: d.state for d in way.node.ledger.deliveries(revision)}
    assert states[uid] == "created"


def test_the_history_says_by_which_routes(way: Way) -> None:
    (reported,) = (
        event
        for event in way.node.ledger.history(revision_of(way, way.calm))
        if event.state is State.REPORTED
    )
    assert reported.detail == "archive: archive; pictures: viewer; back: scanner"
