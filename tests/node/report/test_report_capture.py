"""Secondary captures: what they say of themselves, their numbers, their pixels."""

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.uid import (
    JPEG2000Lossless,
    JPEGLSLossless,
    MultiFrameTrueColorSecondaryCaptureImageStorage,
    RLELossless,
)

from ml.series import Slice
from node.report import Kind
from node.report.capture import capture_numbers, save_overlays
from node.settings import ReportSettings


def captures(case, folder, **settings):
    results = case.build(folder, settings=ReportSettings(**settings))
    return [
        pydicom.dcmread(result.path) for result in results if result.kind is Kind.SECONDARY_CAPTURE
    ]


@pytest.fixture(scope="module")
def made(case, tmp_path_factory):
    return captures(case, tmp_path_factory.mktemp("captures"))


@pytest.fixture(scope="module")
def capture(made):
    return made[1]


def test_there_is_a_summary_and_one_for_each_slice(case, made):
    assert len(made) == 1 + len(case.volume)
    assert [capture.InstanceNumber for capture in made] == [0, 1, 2, 3, 4]
    assert len({capture.SOPInstanceUID for capture in made}) == len(made)
    assert len({capture.SeriesInstanceUID for capture in made}) == 1


def test_a_capture_is_an_rgb_picture(capture):
    assert capture.file_meta.TransferSyntaxUID == pydicom.uid.ExplicitVRLittleEndian
    assert capture.PhotometricInterpretation == "RGB"
    assert capture.pixel_array.shape == (capture.Rows, capture.Columns, 3)
    assert capture.pixel_array.dtype == np.uint8


def test_a_capture_says_where_it_comes_from_and_what_it_is_not_for(case, capture):
    source = case.sources[0]
    (reference,) = capture.SourceImageSequence
    assert reference.ReferencedSOPClassUID == source.SOPClassUID
    assert reference.ReferencedSOPInstanceUID == source.SOPInstanceUID
    assert "ReferencedFrameNumber" not in reference
    assert reference.PurposeOfReferenceCodeSequence[0].CodeValue == "121322"
    assert capture.SeriesDescription == "ichnode ICH overlay - not for clinical use"
    assert capture.DerivationDescription.endswith("not for clinical use")
    assert capture.BurnedInAnnotation == "NO"
    assert capture.ConversionType == "WSD"
    assert capture.BodyPartExamined == "HEAD"


def test_the_summary_comes_from_every_slice(case, made):
    uids = [item.ReferencedSOPInstanceUID for item in made[0].SourceImageSequence]
    assert uids == [item.sop_instance_uid for item in case.volume.slices]
    assert not made[0].PatientOrientation


def test_a_capture_has_no_place_in_the_patient(made):
    """With one it would be stacked with the CT, panel and all."""
    for capture in made:
        for keyword in (
            "ImagePositionPatient",
            "ImageOrientationPatient",
            "PixelSpacing",
            "FrameOfReferenceUID",
        ):
            assert keyword not in capture


def test_captures_of_an_enhanced_image_name_their_frame(make_case, tmp_path):
    _, *made = captures(make_case(3, enhanced=True), tmp_path)
    frames = [capture.SourceImageSequence[0].ReferencedFrameNumber for capture in made]
    assert frames == [1, 2, 3]
    assert [list(capture.PatientOrientation) for capture in made] == 3 * [["L", "P"]]


def test_a_loss_before_is_declared(make_case, tmp_path):
    case = make_case(1, LossyImageCompression="01", LossyImageCompressionRatio="10")
    for capture in captures(case, tmp_path):
        assert capture.LossyImageCompression == "01"
        assert capture.LossyImageCompressionRatio == 10


def test_the_orientation_is_the_slice_s(make_case, tmp_path):
    _, capture = captures(make_case(1, orientation=(-1, 0, 0, 0, 1, 0)), tmp_path)
    assert list(capture.PatientOrientation) == ["R", "P"]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ([1, 2, 3], [1, 2, 3]),
        ([30, 29, 28], [30, 29, 28]),  # head to foot, as many scanners number
        ([5, 7, 12], [5, 7, 12]),
        ([1, 2, 2], [1, 2, 3]),
        ([3, 1, 2], [1, 2, 3]),
        ([0, 1, 2], [1, 2, 3]),
        ([None, 1, 2], [1, 2, 3]),
        ([-3, -2, -1], [1, 2, 3]),
        ([7], [7]),
    ],
)
def test_captures_scroll_in_step_with_the_source(source, expected):
    slices = [Slice(f"1.{n}", None, number, 5.0 * n) for n, number in enumerate(source)]
    assert capture_numbers(slices) == expected


def test_saved_overlays_are_the_captured_pictures(case, made, tmp_path):
    saved = save_overlays(case.judgement, case.volume, case.sources, tmp_path)
    assert [path.name for path in saved][:2] == ["summary.png", "overlay-001.png"]
    for path, capture in zip(saved, made, strict=True):
        with Image.open(path) as image:
            assert np.array_equal(np.asarray(image), capture.pixel_array)


# -- other forms -----------------------------------------------------------


@pytest.mark.parametrize(
    ("compression", "syntax", "colour"),
    [
        ("rle", RLELossless, "RGB"),
        ("jpeg-ls", JPEGLSLossless, "RGB"),
        ("jpeg-2000", JPEG2000Lossless, "YBR_RCT"),
    ],
)
@pytest.mark.parametrize("form", ["single-frame", "multi-frame"])
def test_compression_loses_nothing(case, made, tmp_path, compression, syntax, colour, form):
    packed = captures(case, tmp_path, compression=compression, capture=form)
    plain = [capture.pixel_array for capture in made]
    for number, capture in enumerate(packed):
        assert capture.file_meta.TransferSyntaxUID == syntax
        assert capture.PhotometricInterpretation == colour
        expected = np.stack(plain) if form == "multi-frame" else plain[number]
        assert np.array_equal(capture.pixel_array, expected)
        assert len(capture.PixelData) < expected.nbytes / 3
        if form == "single-frame":
            assert capture.SOPInstanceUID == made[number].SOPInstanceUID


@pytest.mark.parametrize(("compression", "tool"), [("rle", "dcmdrle"), ("jpeg-ls", "dcmdjpls")])
def test_dcmtk_unpacks_the_same_pixels(case, made, tmp_path, compression, tool):
    binary = Path("/usr/bin") / tool
    if not binary.exists():
        pytest.skip("no DCMTK")
    captures(case, tmp_path, compression=compression)
    for number, capture in enumerate(made):
        unpacked = tmp_path / f"{number}.dcm"
        subprocess.run([binary, tmp_path / f"sc-{number:03d}.dcm", unpacked], check=True)
        assert np.array_equal(pydicom.dcmread(unpacked).pixel_array, capture.pixel_array)


def test_a_multi_frame_capture_holds_the_summary_and_the_slices_in_the_source_s_order(
    case, made, tmp_path
):
    slices = tuple(
        replace(item, instance_number=9 - number) for number, item in enumerate(case.volume.slices)
    )
    volume = replace(case.volume, slices=slices)
    turned = replace(case.judged(slices=slices), volume=volume)
    (capture,) = captures(turned, tmp_path / "turned", capture="multi-frame")
    assert capture.SOPClassUID == MultiFrameTrueColorSecondaryCaptureImageStorage
    assert capture.NumberOfFrames == 1 + len(slices)
    assert list(capture.PageNumberVector) == [0, 6, 7, 8, 9]
    singles = captures(turned, tmp_path / "singles")
    for frame, single in zip(capture.pixel_array[1:], singles[:0:-1], strict=True):
        assert np.array_equal(frame, single.pixel_array)
    assert capture.SeriesInstanceUID != singles[0].SeriesInstanceUID


def test_what_is_too_large_for_one_object_comes_in_one_for_each_picture(
    case, made, tmp_path, monkeypatch
):
    pixels = sum(capture.pixel_array.nbytes for capture in made)
    for largest, expected in ((pixels, 1), (pixels - 1, len(made))):
        monkeypatch.setattr("node.report.capture._LARGEST", largest)
        assert len(captures(case, tmp_path / str(largest), capture="multi-frame")) == expected


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="no dciodvfy")
@pytest.mark.parametrize("compression", ["none", "rle", "jpeg-ls", "jpeg-2000"])
@pytest.mark.parametrize(
    ("form", "kind"),
    [("single-frame", "SCImage"), ("multi-frame", "MultiframeTrueColorSCImage")],
)
def test_dciodvfy_has_nothing_to_say(case, tmp_path, compression, form, kind):
    captures(case, tmp_path, compression=compression, capture=form)
    files = sorted(tmp_path.glob("sc*.dcm"))
    assert len(files) == (1 if form == "multi-frame" else 1 + len(case.volume))
    for file in files:
        done = subprocess.run(["dciodvfy", file], check=False, capture_output=True, text=True)
        assert done.stderr.split() == [kind]
        assert done.returncode == 0


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="no dciodvfy")
def test_dciodvfy_would_see_a_fault(capture, tmp_path):
    broken = pydicom.dcmread(capture.filename)
    del broken.ConversionType
    broken.save_as(tmp_path / "broken.dcm")
    done = subprocess.run(
        ["dciodvfy", tmp_path / "broken.dcm"], check=False, capture_output=True, text=True
    )
    assert "ConversionType" in done.stderr
