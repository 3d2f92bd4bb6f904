"""What bad input gets: a clear answer, and nothing is lost."""

import json
import shutil
import subprocess
from collections.abc import Callable
from io import BytesIO
from itertools import groupby
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import (
    Comprehensive3DSRStorage,
    CTImageStorage,
    ExplicitVRLittleEndian,
    generate_uid,
)
from pynetdicom import AE
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.dsutils import encode

from ml.bundle import STAGE2, find_bundle
from ml.errors import BundleError, DeviceError
from ml.phantom import Phantom
from node.analyze import Analyzer
from node.broker import free_port
from node.ledger import State
from node.settings import Settings
from tests.anatomy import chest
from tests.e2e.conftest import Series, series_maker
from tests.e2e.peers import ICHNODE, Node, Orthanc, kinds, one_set, wait_for

pytestmark = pytest.mark.long


def store_bytes(port: int, dataset: bytes, uid: str) -> int:
    """C-STORE whatever bytes as a CT image; gives the status of the answer."""
    ae = AE(ae_title="HOSTILE")
    ae.add_requested_context(CTImageStorage, ExplicitVRLittleEndian)
    association = ae.associate("127.0.0.1", port, ae_title="ICHNODE")
    assert association.is_established
    request = C_STORE()
    request.MessageID = 1
    request.AffectedSOPClassUID = CTImageStorage
    request.AffectedSOPInstanceUID = uid
    request.Priority = 2
    request.DataSet = BytesIO(dataset)
    association._reactor_checkpoint.clear()
    association.dimse.send_msg(request, association.accepted_contexts[0].context_id)
    _, answer = association.dimse.get_msg(block=True)
    association._reactor_checkpoint.set()
    association.release()
    assert answer is not None
    return int(answer.Status)


def encoded(image: Dataset) -> bytes:
    content = encode(image, is_implicit_vr=False, is_little_endian=True)
    assert content is not None
    return content


def quarantined(node: Node) -> dict[str, str]:
    """Reason of everything in quarantine, by folder."""
    return {
        folder.name: (folder / "reason.txt").read_text()
        for folder in (node.settings.home / "quarantine").glob("*")
        if (folder / "reason.txt").exists()
    }


def all_files(folder: Path) -> set[Path]:
    return {p for p in folder.rglob("*") if p.is_file() and "broker" not in p.parts}


def test_bytes_that_are_no_dataset_are_refused_and_kept(node: Node) -> None:
    before = quarantined(node)

    status = store_bytes(node.port, b"\x07\x00this is no dataset" * 50, "1.2.3.4")

    assert status >= 0xC000
    (new,) = quarantined(node).keys() - before.keys()
    assert "HOSTILE" in quarantined(node)[new]
    assert (
        b"this is no dataset"
        in (node.settings.home / "quarantine" / new / "instance.dcm").read_bytes()
    )


def test_a_dataset_with_nothing_that_identifies_it_is_refused(node: Node) -> None:
    image = Dataset()
    image.Modality = "CT"

    assert store_bytes(node.port, encoded(image), "1.2.3.5") >= 0xC000


@pytest.mark.parametrize("keyword", ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"])
@pytest.mark.parametrize(
    "uid", ["../../x", "", None, "1.2..3", "1." * 40 + "1", "/etc/passwd", "1.2.3\\4.5.6", "ID_1"]
)
def test_invalid_uids_are_refused_and_nothing_is_written_outside_the_spool(
    node: Node, new_series: Callable[..., Series], keyword: str, uid: str | None
) -> None:
    image = pydicom.dcmread(new_series(slices=1).files[0])
    if uid is None:
        del image[keyword]
    else:
        image[keyword].value = uid
    around = node.settings.home.parent
    outside = all_files(around) - all_files(node.settings.home)
    spooled = all_files(node.settings.home / "spool")
    before = quarantined(node)

    status = store_bytes(node.port, encoded(image), str(generate_uid()))

    assert 0xA900 <= status <= 0xCFFF
    (new,) = quarantined(node).keys() - before.keys()
    assert keyword in quarantined(node)[new]
    assert all_files(around) - all_files(node.settings.home) == outside
    assert all_files(node.settings.home / "spool") == spooled


@pytest.mark.parametrize("also_in_dataset", [False, True])
@pytest.mark.parametrize("uid", ["../../x", "/etc/passwd", "a b c"])
def test_a_command_with_an_invalid_uid_is_refused(
    node: Node, new_series: Callable[..., Series], uid: str, also_in_dataset: bool
) -> None:
    image = pydicom.dcmread(new_series(slices=1).files[0])
    if also_in_dataset:
        image.SOPInstanceUID = uid
    before = all_files(node.settings.home / "spool")

    assert 0xA900 <= store_bytes(node.port, encoded(image), uid) <= 0xCFFF
    assert all_files(node.settings.home / "spool") == before


def test_a_dataset_of_another_instance_than_the_command_says_is_refused(
    node: Node, new_series: Callable[..., Series]
) -> None:
    image = pydicom.dcmread(new_series(slices=1).files[0])

    assert store_bytes(node.port, encoded(image), "1.2.3.99") == 0xA900


def test_one_truncated_slice_is_left_out_and_the_result_says_so(
    node: Node, orthanc: Orthanc, new_series: Callable[..., Series]
) -> None:
    def cut(image: Dataset, index: int) -> None:
        if index == 9:
            image.PixelData = image.PixelData[: len(image.PixelData) // 3]

    series = new_series(cut)
    cut_uid = str(pydicom.dcmread(series.files[9]).SOPInstanceUID)
    node.send(series.files)

    revision = node.wait_for(series.series, State.DELIVERED)

    assert any(cut_uid in warning and "left out" in warning for warning in revision.warnings)
    results = orthanc.instances_of(series.study)
    assert kinds(results) == one_set(len(series.files) - 1)
    report = next(r for r in results if r.SOPClassUID == Comprehensive3DSRStorage)
    assert "left out" in report.to_json()


def test_truncated_neighbours_fail_the_series_by_name_and_the_archive_is_told(
    node: Node, orthanc: Orthanc, new_series: Callable[..., Series]
) -> None:
    def cut(image: Dataset, index: int) -> None:
        if index in (9, 10):
            image.PixelData = image.PixelData[:100]

    series = new_series(cut)
    cut_uid = str(pydicom.dcmread(series.files[9]).SOPInstanceUID)
    node.send(series.files)

    revision = node.wait_for(series.series, State.FAILED)

    assert revision.detail is not None and cut_uid in revision.detail
    (notice,) = wait_for(lambda: orthanc.instances_of(series.study), 30, "the notice")
    assert "NOT ANALYZED" in notice.SeriesDescription
    assert cut_uid in notice.to_json()
    assert notice.PatientID == pydicom.dcmread(series.files[0]).PatientID


def test_a_series_that_failed_can_be_tried_again_by_command(
    node: Node, new_series: Callable[..., Series]
) -> None:
    def cut(image: Dataset, _index: int) -> None:
        image.PixelData = image.PixelData[:100]

    series = new_series(cut)
    node.send(series.files)
    node.wait_for(series.series, State.FAILED)

    done = ichnode("retry", series.series, "--config", str(node.config))

    assert done.returncode == 0, done.stderr
    wait_for(lambda: len(states(node, series)) >= 7, 60, "a second failure")
    assert states(node, series)[3:] == ["failed", "ready", "analyzing", "failed"]


def states(node: Node, series: Series) -> list[str]:
    """The states that a series went through; what is noted in one of them is left out."""
    history = node.ledger.history(node.revisions(series.series)[0])
    return [state for state, _ in groupby(event.state.value for event in history)]


def test_the_same_uid_with_other_content_makes_a_revision_and_a_warning(
    node: Node, orthanc: Orthanc, new_series: Callable[..., Series]
) -> None:
    series = new_series()
    node.send(series.files)
    node.wait_for(series.series, State.DELIVERED)
    image = pydicom.dcmread(series.files[5])
    image.PixelData = bytes(reversed(image.PixelData))
    image.save_as(series.files[5])

    node.send([series.files[5]])
    revision = node.wait_for(series.series, State.DELIVERED, count=2)

    assert revision.number == 2
    assert any("other content" in warning for warning in revision.warnings)
    results = orthanc.instances_of(series.study)
    assert kinds(results) == one_set(len(series.files)) + one_set(len(series.files))
    reports = [r for r in results if "ICH findings" in r.SeriesDescription]
    assert len(reports) == 2
    first, second = sorted(reports, key=lambda r: "PredecessorDocumentsSequence" in r)
    named = second.PredecessorDocumentsSequence[0].ReferencedSeriesSequence[0]
    assert named.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == first.SOPInstanceUID


def test_a_late_slice_makes_a_revision(node: Node, new_series: Callable[..., Series]) -> None:
    series = new_series()
    node.send(series.files[:-1])
    node.wait_for(series.series, State.DELIVERED)

    node.send(series.files[-1:])
    revision = node.wait_for(series.series, State.DELIVERED, count=2)

    assert (revision.number, revision.instances) == (2, len(series.files))


UNFIT: list[tuple[str, dict[str, Any]]] = [
    ("not-ct", {"Modality": "MR"}),
    ("localizer", {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}),
    ("derived", {"ImageType": ["DERIVED", "SECONDARY", "MPR"]}),
    ("contrast", {"ContrastBolusAgent": "IOHEXOL"}),
    ("contrast", {"SeriesDescription": "4cc sec 150cc D3D on"}),
    ("bone-kernel", {"ConvolutionKernel": "BONEPLUS"}),
    (
        "not-a-head",
        {"BodyPartExamined": "CHEST", "SeriesDescription": "CHEST", "StudyDescription": ""},
    ),
    ("not-axial", {"ImageOrientationPatient": [1, 0, 0, 0, 0, -1]}),
    ("geometry", {"ImagePositionPatient": None}),
]
"""Why a series is not for the model, and what its images say then."""


@pytest.fixture(scope="module")
def unfit(
    node: Node, phantom: Phantom, tmp_path_factory: pytest.TempPathFactory
) -> dict[int, Series]:
    """A series of each kind, all sent before any is waited for."""
    make = series_maker(phantom, tmp_path_factory.mktemp("unfit"))

    def sent(changes: dict[str, Any]) -> Series:
        def change(image: Dataset, _index: int) -> None:
            for keyword, value in changes.items():
                setattr(image, keyword, value)

        series = make(change)
        node.send(series.files)
        return series

    return {number: sent(changes) for number, (_, changes) in enumerate(UNFIT)}


@pytest.mark.parametrize(("number", "reason"), [(n, reason) for n, (reason, _) in enumerate(UNFIT)])
def test_a_series_that_is_not_for_the_model_is_skipped_with_the_reason(
    node: Node, unfit: dict[int, Series], number: int, reason: str
) -> None:
    series = unfit[number]

    revision = node.wait_for(series.series, State.SKIPPED)

    assert revision.reason == reason
    listed = ichnode("status", "--json", "--config", str(node.config))
    entry = next(
        e for e in json.loads(listed.stdout)["series"] if e["series_instance_uid"] == series.series
    )
    assert (entry["state"], entry["reason"]) == ("skipped", reason)


def test_a_chest_whose_header_says_nothing_is_skipped_by_its_pixels(
    node: Node, orthanc: Orthanc, new_series: Callable[..., Series]
) -> None:
    body = chest()

    def change(image: Dataset, index: int) -> None:
        image.BodyPartExamined = image.SeriesDescription = image.StudyDescription = ""
        image.Rows, image.Columns = body.hu.shape[1:]
        image.PixelSpacing = [f"{mm:.6f}" for mm in body.spacing_mm]
        image.PixelRepresentation, image.BitsStored, image.HighBit = 1, 16, 15
        image.RescaleIntercept, image.RescaleSlope = 0, 1
        image.PixelData = body.hu[index].astype("<i2").tobytes()

    series = new_series(change, slices=len(body.hu))
    node.send(series.files)

    revision = node.wait_for(series.series, State.SKIPPED)

    assert (revision.reason, "lung" in (revision.detail or "")) == ("not-a-head", True)
    assert orthanc.instances_of(series.study) == []


def test_too_few_slices_are_skipped(node: Node, new_series: Callable[..., Series]) -> None:
    series = new_series(slices=4)
    node.send(series.files)

    assert node.wait_for(series.series, State.SKIPPED).reason == "too-few-slices"


def test_a_spool_that_cannot_be_written_answers_a700_and_the_sender_can_try_again(
    node: Node, orthanc: Orthanc, new_series: Callable[..., Series]
) -> None:
    series = new_series()
    spool, aside = node.settings.home / "spool", node.settings.home / "spool.aside"
    image = pydicom.dcmread(series.files[0])
    spool.rename(aside)
    spool.write_text("a file, where a folder has to be")
    try:
        status = store_bytes(node.port, encoded(image), image.SOPInstanceUID)
    finally:
        spool.unlink()
        aside.rename(spool)

    assert status == 0xA700
    node.send(series.files)
    node.wait_for(series.series, State.DELIVERED)


def ichnode(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*ICHNODE, *arguments], capture_output=True, text=True, timeout=120, check=False
    )


@pytest.mark.parametrize(
    ("toml", "said"),
    [
        ("[dicom]\nprot = 104\n", "dicom.prot"),
        ("[dicom]\nport = 'abc'\n", "dicom.port"),
        ("[model]\nbundle = 'nowhere'\n", "no model bundle 'nowhere'"),
        ("[ledger]\nurl = 'postgresql+psycopg://127.0.0.1:1/x'\n", "ledger"),
        ("[broker]\nurl = 'redis://127.0.0.1:1/0'\n", "broker"),
    ],
)
def test_up_stops_at_start_with_a_clear_line(tmp_path: Path, toml: str, said: str) -> None:
    config = tmp_path / "ichnode.toml"
    port = "" if toml.startswith("[dicom]") else f"[dicom]\nport = {free_port()}\n"
    config.write_text(f'home = "{tmp_path / "home"}"\n{port}{toml}')

    done = ichnode("up", "--config", str(config))

    assert done.returncode == 2, done.stderr
    assert any(line.startswith("ichnode:") and said in line for line in done.stderr.splitlines())
    assert "Traceback" not in done.stderr


def test_a_worker_does_not_begin_with_a_bundle_that_was_altered(tmp_path: Path) -> None:
    """Here in the worker's own words; that the node then stops is seen above."""
    bundle = tmp_path / "bundle"
    shutil.copytree(find_bundle("phantom"), bundle)
    content = bytearray((bundle / STAGE2).read_bytes())
    content[-1] ^= 1
    (bundle / STAGE2).write_bytes(content)

    with pytest.raises(BundleError, match="digest"):
        Analyzer.load(Settings(home=tmp_path, model={"bundle": str(bundle)}))


def test_a_worker_does_not_begin_on_a_gpu_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="no GPU"):
        Analyzer.load(Settings(home=tmp_path, analyze={"device": "cuda:7"}))
