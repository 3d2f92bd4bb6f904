"""A series goes in by C-STORE and its results come back to the PACS."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pydicom
import pytest
from highdicom.legacy import LegacyConvertedEnhancedCTImage
from pydicom.uid import Comprehensive3DSRStorage, SecondaryCaptureImageStorage, generate_uid

from ml.phantom import Phantom
from node.broker import free_port
from node.ledger import State
from tests.e2e.conftest import Series, series_maker
from tests.e2e.peers import (
    Node,
    Orthanc,
    kinds,
    one_set,
    running_node,
    running_storescp,
    storescu,
    wait_for,
)

pytestmark = pytest.mark.long


def test_a_series_comes_back_as_one_sr_and_one_capture_for_each_slice(
    node: Node, orthanc: Orthanc, new_series: Callable[..., Series]
) -> None:
    series = new_series()

    node.send(series.files)
    revision = node.wait_for(series.series, State.DELIVERED)

    results = orthanc.instances_of(series.study)
    assert kinds(results) == one_set(len(series.files))
    source = pydicom.dcmread(series.files[0])
    for keyword in ("PatientID", "PatientName", "PatientBirthDate", "AccessionNumber", "StudyID"):
        assert {str(r.get(keyword)) for r in results} == {str(source.get(keyword))}, keyword
    assert revision.maxima is not None and set(revision.maxima) >= {"any", "epidural"}


def test_a_series_that_is_sent_again_changes_nothing(
    node: Node, orthanc: Orthanc, new_series: Callable[..., Series]
) -> None:
    series = new_series()
    node.send(series.files)
    node.wait_for(series.series, State.DELIVERED)
    before = {r.SOPInstanceUID for r in orthanc.instances_of(series.study)}

    node.send(series.files)
    later = new_series()
    node.send(later.files)
    node.wait_for(later.series, State.DELIVERED)

    assert len(node.revisions(series.series)) == 1
    assert {r.SOPInstanceUID for r in orthanc.instances_of(series.study)} == before


def test_slices_over_two_associations_in_any_order_give_one_result(
    node: Node, orthanc: Orthanc, new_series: Callable[..., Series]
) -> None:
    series = new_series()
    node.send(series.files[::2])
    node.send(series.files[::-1][::2])
    node.send(series.files[1::2][::-1])

    node.wait_for(series.series, State.DELIVERED)

    assert [r.number for r in node.revisions(series.series)] == [1]
    assert kinds(orthanc.instances_of(series.study)) == one_set(len(series.files))


REAL = {
    "ge_hispeed_tilted_28": (),
    "cq500_intraparenchymal_30": ("-xs",),
    "cq500_negative_30": ("-xs",),
    "rsna_labelled_36": (),
    "rsna_subdural_28": (),
}
"""Real series, and how storescu is to propose them."""


@pytest.fixture(scope="module")
def real_sent(node: Node, sendable_series: Callable[[str], Series]) -> dict[str, Series]:
    """All of them sent before any is waited for."""
    series = {name: sendable_series(name) for name in REAL}
    for name, options in REAL.items():
        node.send(series[name].files, *options)
    return series


@pytest.mark.data
@pytest.mark.parametrize("name", REAL)
def test_a_real_series_comes_back_and_sent_again_still_once(
    node: Node, orthanc: Orthanc, real_sent: dict[str, Series], name: str
) -> None:
    series = real_sent[name]
    node.wait_for(series.series, State.DELIVERED)
    node.send(series.files, *REAL[name])

    assert kinds(orthanc.instances_of(series.study)) == one_set(len(series.files))
    assert len(node.revisions(series.series)) == 1


SYNTAXES = {
    "-xv": pydicom.uid.JPEG2000Lossless,
    "-xt": pydicom.uid.JPEGLSLossless,
    "-xr": pydicom.uid.RLELossless,
    "-xb": None,  # explicit VR big endian
    "-xi": None,  # implicit VR little endian
    "-xd": None,  # deflated
}
"""What storescu proposes, and how the images are compressed before."""


@pytest.fixture(scope="module")
def in_syntaxes(
    node: Node, phantom: Phantom, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Series]:
    """A series in each of them, all sent before any is waited for."""
    make = series_maker(phantom, tmp_path_factory.mktemp("syntaxes"))

    def sent(option: str, compression: str | None) -> Series:
        def compress(image: pydicom.Dataset, _index: int) -> None:
            if compression is not None:
                image.compress(compression, generate_instance_uid=False)

        series = make(compress, slices=20)
        node.send(series.files, option)
        return series

    return {option: sent(option, compression) for option, compression in SYNTAXES.items()}


@pytest.mark.parametrize("option", SYNTAXES)
def test_a_series_in_another_transfer_syntax_comes_back(
    node: Node, orthanc: Orthanc, in_syntaxes: dict[str, Series], option: str
) -> None:
    series = in_syntaxes[option]
    revision = node.wait_for(series.series, State.DELIVERED)

    assert kinds(orthanc.instances_of(series.study)) == one_set(len(series.files))
    assert not any("left out" in warning for warning in revision.warnings)


def test_every_destination_is_served_and_one_that_is_down_holds_no_other_up(
    tmp_path: Path, orthanc: Orthanc, new_series: Callable[..., Series]
) -> None:
    port = free_port()
    with (
        running_storescp(tmp_path / "dcmtk") as dcmtk,
        running_storescp(tmp_path / "implicit", None, "+xi") as implicit,
        running_node(
            tmp_path,
            [
                ("down", "DOWN", port),
                ("orthanc", "ORTHANC", orthanc.port),
                ("dcmtk", "STORESCP", dcmtk.port),
                ("implicit", "STORESCP", implicit.port),
            ],
        ) as node,
    ):
        series = new_series(slices=20)
        expected = one_set(len(series.files))
        node.send(series.files)
        for peer in (dcmtk, implicit):
            wait_for(lambda peer=peer: kinds(peer.datasets()) == expected, 60, "storescp")
        wait_for(lambda: kinds(orthanc.instances_of(series.study)) == expected, 60, "Orthanc")
        node.wait_for(series.series, State.REPORTED)
        wait_for(
            lambda: {d.name: d.failures for d in node.ledger.destinations()}["down"] > 1,
            30,
            "attempts",
        )

        with running_storescp(tmp_path / "pacs", port) as pacs:
            node.wait_for(series.series, State.DELIVERED)
            assert kinds(pacs.datasets()) == expected


def test_the_results_are_valid_by_dciodvfy_and_read_by_dsrdump(
    node: Node, orthanc: Orthanc, new_series: Callable[..., Series], tmp_path: Path
) -> None:
    series = new_series()
    node.send(series.files)
    node.wait_for(series.series, State.DELIVERED)

    results = orthanc.instances_of(series.study)
    for uid in (Comprehensive3DSRStorage, SecondaryCaptureImageStorage):
        result = next(r for r in results if r.SOPClassUID == uid)
        path = tmp_path / "result.dcm"
        result.save_as(path)
        checked = subprocess.run(["dciodvfy", path], capture_output=True, text=True, check=False)
        assert "Error" not in checked.stderr, checked.stderr
        assert checked.returncode == 0
        if uid == Comprehensive3DSRStorage:
            read = subprocess.run(
                ["/usr/bin/dsrdump", path], capture_output=True, text=True, check=False
            )
            assert read.returncode == 0, read.stderr
            assert "Probability" in read.stdout


def test_the_demo_shows_the_whole_way(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "node", "demo", "--out", tmp_path / "demo"],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    for state in ("receiving", "ready", "analyzing", "reported", "delivered"):
        assert state in done.stdout
    assert "Not for clinical use" in done.stdout
    assert list((tmp_path / "demo" / "png").rglob("sc-*.png"))
    assert list((tmp_path / "demo" / "pacs" / "Comprehensive3DSRStorage").glob("*.dcm"))


def test_other_sop_classes_are_rejected_and_ct_in_the_same_association_is_not(
    node: Node, new_series: Callable[..., Series], tmp_path: Path
) -> None:
    series = new_series(slices=3)
    mr = pydicom.dcmread(series.files[0])
    mr.SOPClassUID = pydicom.uid.MRImageStorage
    mr.file_meta.MediaStorageSOPClassUID = pydicom.uid.MRImageStorage
    mr.SOPInstanceUID = mr.file_meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid()
    mr.save_as(tmp_path / "mr.dcm")

    alone = storescu(node.port, [tmp_path / "mr.dcm"])
    mixed = storescu(node.port, [tmp_path / "mr.dcm", *series.files], "-nh")

    assert alone.returncode != 0
    assert "No presentation context" in (mixed.stdout + mixed.stderr) or mixed.returncode != 0
    assert len(node.ledger.instances(node.revisions(series.series)[0])) == 3


def test_a_legacy_converted_enhanced_image_comes_back_with_a_capture_for_each_frame(
    node: Node, orthanc: Orthanc, new_series: Callable[..., Series], tmp_path: Path
) -> None:
    slices = [pydicom.dcmread(file) for file in new_series().files]
    series_uid = generate_uid()
    enhanced = LegacyConvertedEnhancedCTImage(slices, series_uid, 1, generate_uid(), 1)
    enhanced.save_as(tmp_path / "enhanced.dcm", enforce_file_format=True)

    node.send([tmp_path / "enhanced.dcm"], "-R")  # else DCMTK does not propose the class
    revision = node.wait_for(str(series_uid), State.DELIVERED)

    assert revision.instances == 1
    results = orthanc.instances_of(str(enhanced.StudyInstanceUID))
    assert kinds(results) == one_set(len(slices))
    frames = {
        result.SourceImageSequence[0].ReferencedFrameNumber
        for result in results
        if result.SOPClassUID == SecondaryCaptureImageStorage and result.InstanceNumber > 0
    }
    assert len(frames) == len(slices)
