"""Files that are broken, hostile or no CT: each is an error that says what is wrong."""

import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.uid import JPEG2000Lossless, RLELossless

from ml.errors import IchnodeError, PixelError, SeriesError
from ml.frames import numbers, read_frames, read_header
from ml.series import load_series
from tests import ct

pytestmark = pytest.mark.filterwarnings("ignore")  # pydicom tells of what it stumbles over


@pytest.mark.parametrize(
    "content", [b"", b"no DICOM at all", b"\x00" * 132, b"\x00" * 128 + b"DIC", b"%PDF-1.7 " * 99]
)
def test_a_file_that_is_not_dicom_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "odd.dcm"
    path.write_bytes(content)
    with pytest.raises(SeriesError, match=r"odd\.dcm"):
        load_series([path])


def test_a_file_that_is_gone_or_a_folder_is_named(tmp_path: Path) -> None:
    for path in (tmp_path / "gone.dcm", tmp_path):
        with pytest.raises(SeriesError, match=path.name):
            read_header(path)


def test_the_message_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "odd.dcm"
    path.write_bytes(b"")
    with pytest.raises(SeriesError) as caught:
        read_header(path)
    assert len(str(caught.value).splitlines()) == 1


def test_truncated_pixel_data_is_not_filled_up(tmp_path: Path) -> None:
    path = ct.write(ct.image(), tmp_path / "1.dcm")
    path.write_bytes(path.read_bytes()[:-2])
    with pytest.raises(PixelError, match=ct.uid(1)):
        load_series([path])


def test_pixel_data_shorter_than_the_header_says_is_refused(tmp_path: Path) -> None:
    """RSNA's ID_6431af929 is such a slice."""
    out = ct.image()
    out.PixelData = out.PixelData[:-100]
    with pytest.raises(PixelError, match=ct.uid(1)):
        load_series([ct.write(out, tmp_path / "1.dcm")])


def test_a_header_without_pixel_data_is_refused(tmp_path: Path) -> None:
    out = ct.image()
    del out.PixelData
    with pytest.raises(PixelError, match=ct.uid(1)):
        load_series([ct.write(out, tmp_path / "1.dcm")])


@pytest.mark.parametrize("syntax", [JPEG2000Lossless, RLELossless], ids=["JPEG2000", "RLE"])
def test_a_corrupted_frame_is_refused_or_decoded_but_does_not_crash(
    tmp_path: Path, syntax: str
) -> None:
    out = ct.image(hu=ct.ramp(0, 64, 64))
    out.compress(syntax, generate_instance_uid=False)
    path = ct.write(out, tmp_path / "1.dcm")
    content = bytearray(path.read_bytes())
    start = len(content) - len(out.PixelData) + 16
    content[start : start + 200] = b"\xff" * 200
    path.write_bytes(content)
    with pytest.raises(PixelError, match="cannot be decoded"):
        load_series([path])


def test_a_colour_image_is_refused(tmp_path: Path) -> None:
    out = ct.image()
    out.SamplesPerPixel, out.PhotometricInterpretation, out.PlanarConfiguration = 3, "RGB", 0
    ct.stored(out, np.zeros((6, 6), np.uint8), bits=8, signed=False)
    out.PixelData = bytes(6 * 6 * 3)
    with pytest.raises(PixelError, match="RGB pixels are not grey-scale"):
        load_series([ct.write(out, tmp_path / "1.dcm")])


def test_indexes_into_a_palette_are_not_hu(tmp_path: Path) -> None:
    out = ct.image()
    out.PhotometricInterpretation = "PALETTE COLOR"
    with pytest.raises(PixelError, match="PALETTE COLOR pixels are not grey-scale"):
        load_series([ct.write(out, tmp_path / "1.dcm")])


def test_a_header_that_promises_gigabytes_takes_no_memory(tmp_path: Path) -> None:
    def huge(out: Dataset) -> None:
        out.Rows = out.Columns = 65535

    paths = ct.series(tmp_path, [5.0 * n for n in range(60)], huge)
    with pytest.raises(PixelError, match="60 of 60 slices cannot be decoded"):
        load_series(paths)


@pytest.mark.parametrize("keyword", ["Rows", "Columns", "BitsAllocated", "PixelRepresentation"])
def test_pixels_that_the_header_does_not_describe_are_refused(tmp_path: Path, keyword: str) -> None:
    out = ct.image()
    del out[keyword]
    with pytest.raises(PixelError, match=ct.uid(1)):
        load_series([ct.write(out, tmp_path / "1.dcm")])


def explicit(group: int, element: int, vr: bytes, value: bytes) -> bytes:
    """A data element in Explicit VR Little Endian."""
    if vr in (b"SQ", b"UN", b"OB", b"OW"):
        return struct.pack("<HH2s2xI", group, element, vr, len(value)) + value
    return struct.pack("<HH2sH", group, element, vr, len(value)) + value


def file_of(elements: bytes) -> bytes:
    """A DICOM file with these data elements."""
    meta = explicit(2, 0x10, b"UI", b"1.2.840.10008.1.2.1\x00")
    return (
        b"\x00" * 128
        + b"DICM"
        + explicit(2, 0, b"UL", struct.pack("<I", len(meta)))
        + meta
        + elements
    )


def test_sequences_nested_without_end_are_an_error_and_no_crash(tmp_path: Path) -> None:
    opening = struct.pack("<HH2s2xI", 0x0040, 0x0275, b"SQ", 0xFFFFFFFF) + struct.pack(
        "<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF
    )
    path = tmp_path / "deep.dcm"
    path.write_bytes(file_of(opening * 5000))
    with pytest.raises(SeriesError, match=r"deep\.dcm"):
        load_series([path])


@pytest.mark.parametrize(
    "element",
    [
        explicit(0x5200, 0x9230, b"LO", b"frames"),
        explicit(0x5200, 0x9229, b"LO", b"shared"),
        explicit(0x0008, 0x0008, b"US", b"\x01\x00"),
        explicit(0x0020, 0x0032, b"US", b"\x01\x00\x02\x00\x03\x00"),
        explicit(0x0020, 0x0032, b"FD", b"\x01\x00"),
        explicit(0x0020, 0x0013, b"SQ", b""),
        explicit(0x0020, 0x0013, b"DS", b"nan "),
        explicit(0x0028, 0x0004, b"OB", b"\xff\xfe"),
        explicit(0x0028, 0x1053, b"OB", b"\xff\xfe"),
        explicit(0x0008, 0x0005, b"CS", b"NONSENSE"),
        explicit(0x0020, 0x0037, b"XX", b"1\\0\\0\\0\\1\\0"),
    ],
    ids=lambda element: element[:6].hex(),
)
def test_an_attribute_of_a_wrong_kind_is_no_crash(tmp_path: Path, element: bytes) -> None:
    path = tmp_path / "1.dcm"
    path.write_bytes(file_of(element))
    with pytest.raises(IchnodeError):
        load_series([path])


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    flips=st.lists(st.tuples(st.integers(128, 1500), st.integers(0, 255)), min_size=1, max_size=30),
    cut=st.integers(0, 1800),
)
def test_a_file_with_flipped_bytes_gives_hu_or_an_error_of_ours(
    tmp_path: Path, flips: list[tuple[int, int]], cut: int
) -> None:
    original = tmp_path / "whole.dcm"
    if not original.exists():
        ct.write(ct.enhanced([0, 5]), original)
    content = bytearray(original.read_bytes())
    for place, value in flips:
        content[place % len(content)] = value
    path = tmp_path / "flipped.dcm"
    path.write_bytes(content[: max(len(content) - cut, 0)])
    try:
        assert load_series([path]).hu.dtype == np.int16
    except IchnodeError as error:
        assert str(error)


def test_the_frames_of_an_image_of_another_kind_are_read_without_a_crash(tmp_path: Path) -> None:
    out = Dataset()
    out.SOPInstanceUID = "1.2.3"
    path = tmp_path / "sr.dcm"
    found = read_frames(out, path)
    assert [f.plane for f in found] == [None]


@pytest.mark.parametrize(
    ("vr", "value"),
    [
        (b"DS", b"1.5 "),
        (b"DS", b" -1e3\\+.5\\7."),
        (b"DS", b"1_0 "),
        (b"DS", b"1\\\\2"),
        (b"DS", b"nan "),
        (b"DS", b"1.5\0"),
        (b"IS", b"12"),
        (b"IS", b"1.5 "),
        (b"IS", b"1\\2 "),
        (b"US", b"\x07\x00"),
        (b"US", b"\x07\x00\x08\x00"),
        (b"US", b"\x07"),
        (b"UN", b"12"),
    ],
)
def test_numbers_are_those_that_pydicom_makes_of_them(
    tmp_path: Path, vr: bytes, value: bytes
) -> None:
    path = tmp_path / "1.dcm"
    path.write_bytes(file_of(explicit(0x0020, 0x0013, vr, value)))
    header = read_header(path)
    found = numbers(header, "InstanceNumber")
    try:
        decoded = header.InstanceNumber  # afterwards: what is decoded is remembered
        values = decoded if isinstance(decoded, (MultiValue, list)) else [decoded]
        expected = tuple(float(one) for one in values)
    except Exception:
        expected = None
    assert found == pytest.approx(expected, nan_ok=True)
