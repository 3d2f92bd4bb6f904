"""From the pixels of a file to HU, through its header and its transfer syntax."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import (
    JPEG2000,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from ml.errors import PixelError
from ml.frames import decode, read_frames, read_header, read_image
from ml.pixels import AIR_HU
from ml.series import Volume, load_series
from ml.stored import stored_frame
from tests import ct


def read(out: Dataset, folder: Path) -> Volume:
    return load_series([ct.write(out, folder / "1.dcm")])


# -- what the header says of the pixels ------------------------------------------


def test_slope_and_intercept_of_the_header_are_applied(tmp_path: Path) -> None:
    out = ct.stored(ct.image(), ct.ramp(), bits=16, signed=True)
    out.RescaleSlope, out.RescaleIntercept = "2.5", "-100.5"
    hu = read(out, tmp_path).hu[0]
    assert np.abs(hu - (ct.ramp() * 2.5 - 100.5)).max() <= 0.5


@pytest.mark.parametrize(("bits", "signed"), [(8, False), (12, False), (12, True), (16, False)])
def test_every_depth_and_signedness_is_read(tmp_path: Path, bits: int, signed: bool) -> None:
    values = np.arange(-100 if signed else 0, 92 if signed else 192).reshape(12, 16)
    out = ct.stored(ct.image(), values, bits=bits, signed=signed)
    assert (read(out, tmp_path).hu[0] == (values - 1024).clip(AIR_HU)).all()


@pytest.mark.parametrize("signed", [True, False])
def test_what_stands_in_the_unused_high_bits_does_not_count(tmp_path: Path, signed: bool) -> None:
    """Overlays and rubbish were once kept there (PS3.5, 8.1.1)."""
    values = ct.ramp() + (-1000 if signed else 1000)
    out = ct.stored(ct.image(), values & 0x0FFF, bits=12, signed=False)
    out.PixelRepresentation = int(signed)
    dirty = np.frombuffer(out.PixelData, "<u2") | np.uint16(0x5000)
    out.PixelData = dirty.tobytes()
    assert (read(out, tmp_path).hu[0] == (values - 1024).clip(AIR_HU)).all()


@pytest.mark.parametrize("how", ["SS", "US"])
def test_padding_is_air_even_if_its_value_has_the_wrong_sign(tmp_path: Path, how: str) -> None:
    values = ct.ramp() + np.int16(1024)
    values[0, :4] = -2000
    out = ct.stored(ct.image(), values, bits=16, signed=True)
    out.RescaleIntercept = 2000  # so that padding would not be air by itself
    out.add_new("PixelPaddingValue", how, -2000 if how == "SS" else 63536)
    hu = read(out, tmp_path).hu[0]
    assert (hu[0, :4] == AIR_HU).all()
    assert hu[0, 4] == 4 + 1024 + 2000


def test_a_range_of_padding_values_is_air(tmp_path: Path) -> None:
    values = np.full((12, 16), 1064, np.int16)
    values[0, :3] = -2000, -1700, -1499
    out = ct.stored(ct.image(), values, bits=16, signed=True)
    out.RescaleIntercept = 2000
    out.add_new("PixelPaddingValue", "SS", -2000)
    out.add_new("PixelPaddingRangeLimit", "SS", -1500)
    assert read(out, tmp_path).hu[0, 0, :4].tolist() == [AIR_HU, AIR_HU, 501, 3064]


def test_monochrome1_inverts_the_display_and_not_the_hu(tmp_path: Path) -> None:
    """Stored values go through rescale first; inversion comes after (PS3.3, C.7.6.3.1.2)."""
    out = ct.image()
    out.PhotometricInterpretation = "MONOCHROME1"
    volume = read(out, tmp_path)
    assert (volume.hu[0] == ct.ramp(1)).all()
    assert volume.warnings == ("MONOCHROME1: HU are taken as stored, only the display is inverted",)


def test_rsna_slices_with_the_wrong_intercept_are_mended_and_warned_of(tmp_path: Path) -> None:
    hu = np.array([[-1000, -1, 0, 40], [80, 1500, 3000, -500]])
    out = ct.stored(ct.image(), hu % 4096, bits=12, signed=False)
    out.RescaleIntercept = 0
    volume = read(out, tmp_path)
    assert (volume.hu[0] == hu).all()
    assert "rescale intercept 0 cannot be true for 12 unsigned bits" in volume.warnings[0]


def test_without_rescale_values_stored_ones_are_hu_with_a_warning(tmp_path: Path) -> None:
    out = ct.stored(ct.image(), ct.ramp(), bits=16, signed=True)
    del out.RescaleSlope, out.RescaleIntercept
    volume = read(out, tmp_path)
    assert (volume.hu[0] == ct.ramp()).all()
    assert volume.warnings == ("no rescale slope or intercept: stored values taken as HU",)


def test_a_warning_of_some_slices_says_how_many(tmp_path: Path) -> None:
    def first_two(out: Dataset) -> None:
        if out.InstanceNumber <= 2:
            out.PhotometricInterpretation = "MONOCHROME1"

    volume = load_series(ct.series(tmp_path, [0, 5, 10], first_two))
    assert [text for text in volume.warnings if text.endswith("(2 slices)")]


def test_a_slope_of_zero_is_an_error_that_names_the_slice(tmp_path: Path) -> None:
    out = ct.image()
    out.RescaleSlope = 0
    with pytest.raises(PixelError, match=rf"{ct.uid(1)}.*slope 0"):
        read(out, tmp_path)


def test_the_reason_for_no_hu_is_named_even_where_more_is_odd(tmp_path: Path) -> None:
    out = ct.image()
    out.RescaleSlope = 0
    del out.RescaleIntercept
    with pytest.raises(PixelError, match="rescale slope 0"):
        read(out, tmp_path)


# -- transfer syntaxes ---------------------------------------------------------


@pytest.mark.parametrize(
    "syntax",
    [
        ImplicitVRLittleEndian,
        ExplicitVRLittleEndian,
        ExplicitVRBigEndian,
        DeflatedExplicitVRLittleEndian,
        RLELossless,
        JPEGLSLossless,
        JPEG2000Lossless,
    ],
    ids=lambda uid: uid.keyword,
)
def test_lossless_syntaxes_give_the_same_hu(tmp_path: Path, syntax: str) -> None:
    hu = ct.ramp(-900, 64, 64)
    encapsulated = syntax in (RLELossless, JPEGLSLossless, JPEG2000Lossless)
    out = ct.image(hu=hu, syntax=ExplicitVRLittleEndian if encapsulated else syntax)
    if encapsulated:
        out.compress(syntax, generate_instance_uid=False)
    assert (read(out, tmp_path).hu[0] == hu).all()


@pytest.mark.parametrize(
    ("syntax", "options"),
    [(JPEGLSNearLossless, {"jls_error": 2}), (JPEG2000, {"j2k_cr": [2]})],
    ids=["JPEGLSNearLossless", "JPEG2000"],
)
def test_lossy_syntaxes_give_nearly_the_same_hu(
    tmp_path: Path, syntax: str, options: dict[str, object]
) -> None:
    hu = ct.ramp(-900, 64, 64)
    out = ct.image(hu=hu)
    out.compress(syntax, generate_instance_uid=False, **options)
    assert np.abs(read(out, tmp_path).hu[0] - hu).max() <= 2


@pytest.mark.data
@pytest.mark.parametrize("name", ["CT1", "CT2"])
def test_one_real_ct_is_the_same_in_every_lossless_syntax(
    name: str, real_series: Callable[[str], list[Path]]
) -> None:
    files = {p.name: p for p in real_series("wg04_ct_syntaxes")}
    plain = load_series([files[f"{name}_UNC"]]).hu
    assert plain.std() > 100
    for kind in ("RLE", "JPLL", "JLSL", "J2KR"):
        assert (load_series([files[f"{name}_{kind}"]]).hu == plain).all(), kind
    for kind in ("JLSN", "J2KI"):  # the JPEG 2000 one is compressed 69 and 106 to 1
        lossy = load_series([files[f"{name}_{kind}"]]).hu
        assert np.corrcoef(lossy.ravel(), plain.ravel())[0, 1] > 0.99, kind


# -- multi-frame ---------------------------------------------------------------


@pytest.mark.parametrize("shared", [True, False], ids=["shared", "for each frame"])
def test_an_enhanced_image_is_a_series_of_its_frames(tmp_path: Path, shared: bool) -> None:
    volume = read(ct.enhanced([10, 0, 5], shared_scaling=shared), tmp_path)
    assert [item.frame_number for item in volume.slices] == [2, 3, 1]
    assert [item.position_mm for item in volume.slices] == [0, 5, 10]
    assert volume.hu[:, 0, 0].tolist() == [2, 3, 1]
    assert {item.sop_instance_uid for item in volume.slices} == {ct.uid(1)}
    assert volume.spacing_mm == (0.5, 0.5)
    assert volume.warnings == ()


def test_a_compressed_enhanced_image_is_read_frame_by_frame(tmp_path: Path) -> None:
    out = ct.enhanced([10, 0, 5])
    out.compress(RLELossless, generate_instance_uid=False)
    assert read(out, tmp_path).hu[:, 0, 0].tolist() == [2, 3, 1]


def test_a_localizer_frame_is_left_out_by_its_number(tmp_path: Path) -> None:
    out = ct.enhanced([0, 5, 10])
    out.PerFrameFunctionalGroupsSequence[0].CTImageFrameTypeSequence[0].FrameType = [
        "ORIGINAL",
        "PRIMARY",
        "LOCALIZER",
        "NONE",
    ]
    volume = read(out, tmp_path)
    assert [item.frame_number for item in volume.slices] == [2, 3]
    assert [str(item) for item in volume.left_out] == [
        f"slice {ct.uid(1)} frame 1 left out: a localizer"
    ]


def test_frames_that_a_truncated_image_lacks_fail_it_by_number(tmp_path: Path) -> None:
    path = ct.write(ct.enhanced([0, 5, 10]), tmp_path / "1.dcm")
    path.write_bytes(path.read_bytes()[: -2 * ct.ROWS * ct.COLUMNS])
    with pytest.raises(PixelError, match="frame 3"):
        load_series([path])


@pytest.mark.data
def test_a_real_enhanced_ct_gives_its_frames(real_series: Callable[[str], list[Path]]) -> None:
    path = next(p for p in real_series("wg04_ct_syntaxes") if p.name.startswith("eCT"))
    frames = read_frames(read_header(path), path)
    assert [f.frame_number for f in frames] == [1, 2]
    assert all(f.plane is not None and f.spacing_mm is not None for f in frames)
    assert load_series([path]).hu.shape == (2, 512, 512)


# -- pixels that need no decoder -------------------------------------------------


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("bits_stored", [9, 12, 16])
@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian])
def test_pixels_read_where_the_header_said_are_those_that_pydicom_reads(
    tmp_path: Path, syntax: str, bits_stored: int, signed: bool
) -> None:
    out = ct.image(syntax=syntax)
    noise = np.random.default_rng(3).integers(0, 65536, (ct.ROWS, ct.COLUMNS), np.uint16)
    out.PixelData = noise.tobytes()  # bits that are not stored hold anything
    out.BitsStored, out.HighBit, out.PixelRepresentation = bits_stored, bits_stored - 1, signed
    path = ct.write(out, tmp_path / "1.dcm")
    (frame,) = read_image(path)[1]
    assert frame.pixels is not None
    found = stored_frame(path, 0, frame.pixels)
    expected = pydicom.dcmread(path).pixel_array
    assert found.dtype == expected.dtype
    assert (found == expected).all()


def test_the_header_is_read_once_for_pixels_that_need_no_decoder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = read_image(ct.write(ct.enhanced([10, 0, 5]), tmp_path / "1.dcm"))[1]
    monkeypatch.setattr("ml.stored.read_up_to_pixels", None)
    assert [decode(frame)[0, 0] for frame in frames] == [1, 2, 3]


@pytest.mark.parametrize(
    ("keyword", "value"),
    [("BitsAllocated", 32), ("BitsStored", 0), ("NumberOfFrames", -5), ("PixelRepresentation", 7)],
)
def test_what_is_odd_about_pixels_is_for_pydicom_to_tell(
    tmp_path: Path, keyword: str, value: int
) -> None:
    out = ct.image()
    setattr(out, keyword, value)
    (frame,) = read_image(ct.write(out, tmp_path / "1.dcm"))[1]
    assert frame.pixels is None
    with pytest.raises(PixelError, match=r"cannot be decoded|too short"):
        decode(frame)


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, DeflatedExplicitVRLittleEndian])
def test_many_frames_of_one_file_are_decoded_side_by_side(tmp_path: Path, syntax: str) -> None:
    out = ct.enhanced([5.0 * number for number in range(24)])
    out.file_meta.TransferSyntaxUID = syntax
    assert read(out, tmp_path).hu[:, 0, 0].tolist() == list(range(1, 25))
