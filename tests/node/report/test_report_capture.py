import numpy as np
import pydicom
import pytest
from PIL import Image

from node.report import save_overlay


def captures(case, folder):
    return [pydicom.dcmread(result.path) for result in case.build(folder)[1:]]


@pytest.fixture(scope="module")
def capture(results):
    return pydicom.dcmread(results[1].path)


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
    assert capture.BurnedInAnnotation == "NO"
    assert capture.ConversionType == "WSD"
    assert capture.FrameOfReferenceUID == source.FrameOfReferenceUID
    assert capture.BodyPartExamined == "HEAD"


def test_a_capture_has_no_place_in_the_patient(capture):
    """With one it would be stacked with the CT, panel and all."""
    for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"):
        assert keyword not in capture


def test_captures_of_an_enhanced_image_name_their_frame(make_case, tmp_path):
    made = captures(make_case(3, enhanced=True), tmp_path)
    frames = [capture.SourceImageSequence[0].ReferencedFrameNumber for capture in made]
    assert frames == [1, 2, 3]
    assert [list(capture.PatientOrientation) for capture in made] == 3 * [["L", "P"]]


def test_a_loss_before_is_declared(make_case, tmp_path):
    case = make_case(1, LossyImageCompression="01", LossyImageCompressionRatio="10")
    (capture,) = captures(case, tmp_path)
    assert capture.LossyImageCompression == "01"
    assert capture.LossyImageCompressionRatio == 10


def test_the_orientation_is_the_slice_s(make_case, tmp_path):
    (capture,) = captures(make_case(1, orientation=(-1, 0, 0, 0, 1, 0)), tmp_path)
    assert list(capture.PatientOrientation) == ["R", "P"]


def test_a_saved_overlay_is_the_captured_picture(case, capture, tmp_path):
    save_overlay(case.judgement, case.volume, case.sources, 0, tmp_path / "overlay.png")
    with Image.open(tmp_path / "overlay.png") as image:
        assert np.array_equal(np.asarray(image), capture.pixel_array)
