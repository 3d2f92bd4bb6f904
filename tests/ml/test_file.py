"""Reading a file within limits: what it says of its own lengths is not believed."""

import io
import resource
import struct
import zlib
from pathlib import Path

import pytest
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian

from ml.errors import SeriesError
from ml.file import _AHEAD, Allowance, read_up_to_pixels
from ml.limits import MOST_INFLATED
from tests import ct
from tests.ml.test_series_bad_input import explicit

MEBIBYTE = 1 << 20


def file_of(dataset: bytes, syntax: str = ExplicitVRLittleEndian) -> io.BytesIO:
    meta = explicit(2, 0x10, b"UI", syntax.encode() + b"\0" * (len(syntax) % 2))
    length = explicit(2, 0, b"UL", struct.pack("<I", len(meta)))
    return io.BytesIO(bytes(128) + b"DICM" + length + meta + dataset)


def deflated(dataset: bytes) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return packer.compress(dataset) + packer.flush()


def peak_mib() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, DeflatedExplicitVRLittleEndian])
def test_the_stream_stands_at_the_pixel_data(tmp_path: Path, syntax: str) -> None:
    path = ct.write(ct.image(syntax=syntax), tmp_path / "1.dcm")
    with path.open("rb") as file:
        header, stream = read_up_to_pixels(file)
        found = stream.read()
    assert header.file_meta.TransferSyntaxUID == syntax
    assert header.InstanceNumber == 1
    assert found.startswith(b"\xe0\x7f\x10\x00OW")
    assert found.endswith(ct.image().PixelData)


def test_a_header_knows_the_name_of_its_file_and_does_not_hold_it_open(tmp_path: Path) -> None:
    path = ct.write(ct.image(), tmp_path / "1.dcm")
    with path.open("rb") as file:
        header, _ = read_up_to_pixels(file)
    assert header.filename == str(path)
    assert header.buffer is None


def test_a_deflate_bomb_is_inflated_no_further_than_its_header_may_go() -> None:
    zeros = explicit(0x0009, 0x1001, b"OB", b"")[:8] + struct.pack("<I", 0xFFFFFFF0)
    bomb = deflated(zeros + bytes(300 * MEBIBYTE))
    assert len(bomb) < MEBIBYTE
    before = peak_mib()
    for tags in (None, ["SOPInstanceUID"]):
        with pytest.raises(SeriesError, match="inflates to more than 64 MiB"):
            read_up_to_pixels(file_of(bomb, DeflatedExplicitVRLittleEndian), tags=tags)
    assert peak_mib() - before < 250


def test_pixels_that_inflate_without_end_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ml.file.MOST_INFLATED", 4 * MEBIBYTE)
    pixels = struct.pack("<HH2s2xI", 0x7FE0, 0x0010, b"OW", 64 * MEBIBYTE)
    bomb = deflated(pixels + bytes(64 * MEBIBYTE))
    _, stream = read_up_to_pixels(file_of(bomb, DeflatedExplicitVRLittleEndian))
    with pytest.raises(SeriesError, match="inflates to more than 4 MiB"):
        stream.read()
    assert MOST_INFLATED >= 2000 * 512 * 512 * 2


def test_a_deflated_file_that_is_cut_short_ends_inside_an_element() -> None:
    whole = deflated(explicit(0x0008, 0x103E, b"LO", bytes(range(64, 96)) * 64))
    with pytest.raises(SeriesError, match=r"it ends inside \(0008,103E\)"):
        read_up_to_pixels(file_of(whole[:-20], DeflatedExplicitVRLittleEndian))


@pytest.mark.parametrize(
    "dataset",
    [
        struct.pack("<HH2s2xI", 0x5200, 0x9230, b"SQ", 0xFFFFFFFF)
        + struct.pack("<HHI", 0xFFFE, 0xE000, 0) * 50_000,
        struct.pack("<HH2s2xI", 0x5200, 0x9230, b"SQ", 400_000)
        + struct.pack("<HHI", 0xFFFE, 0xE000, 0) * 50_000,
        b"".join(explicit(0x0009, number, b"LO", b"") for number in range(0x1000, 0xFFFF)),
        explicit(0x0009, 0x1001, b"OB", bytes(9 * MEBIBYTE)),
        explicit(0x0009, 0x1001, b"UN", b"1\\" * 50_000),
    ],
    ids=["items of a sequence without end", "items", "elements", "bytes", "values"],
)
def test_what_pydicom_would_take_memory_for_is_counted(dataset: bytes) -> None:
    with pytest.raises(SeriesError, match="more than 8 MiB"):
        read_up_to_pixels(file_of(dataset), most=8 * MEBIBYTE)


def test_the_files_of_a_series_share_what_is_allowed(tmp_path: Path) -> None:
    paths = ct.series(tmp_path, [5.0 * number for number in range(100)])
    allowance = Allowance(MEBIBYTE)
    with pytest.raises(SeriesError, match="more than 1 MiB"):
        for path in paths:
            with path.open("rb") as file:
                read_up_to_pixels(file, allowance=allowance)


@pytest.mark.parametrize("tags", [None, ["SOPInstanceUID"]])
@pytest.mark.parametrize("length", [10, 0xFFFFFFF0])
def test_an_element_longer_than_the_file_is_refused(tags: list[str] | None, length: int) -> None:
    cut = struct.pack("<HH2s2xI", 0x0009, 0x1001, b"OB", length) + b"short"
    with pytest.raises(SeriesError, match="it ends inside"):
        read_up_to_pixels(file_of(cut), tags=tags)


def test_a_value_longer_than_its_vr_allows_is_refused() -> None:
    long = struct.pack("<HHI", 0x0020, 0x0032, 70_000) + b"1\\" * 35_000
    with pytest.raises(SeriesError, match=r"\(0020,0032\) is too long: 70000 bytes"):
        read_up_to_pixels(file_of(long, "1.2.840.10008.1.2"))


@pytest.mark.parametrize("length", [_AHEAD - 300, _AHEAD, 5 * _AHEAD, 3 * MEBIBYTE])
def test_a_header_is_read_beyond_what_is_held_of_its_file(length: int) -> None:
    private = explicit(0x0009, 0x1001, b"OB", bytes(length))
    number = explicit(0x0020, 0x0013, b"IS", b"7 ")
    pixels = explicit(0x7FE0, 0x0010, b"OW", b"\1\2")
    header, stream = read_up_to_pixels(file_of(private + number + pixels))
    assert header.InstanceNumber == 7
    assert stream.read() == pixels


def test_a_file_that_only_mentions_the_deflated_syntax_is_plain() -> None:
    mention = explicit(0x0008, 0x2111, b"ST", DeflatedExplicitVRLittleEndian.encode())
    file = file_of(mention)
    header, stream = read_up_to_pixels(file)
    assert header.DerivationDescription == DeflatedExplicitVRLittleEndian
    assert stream is file


def test_nothing_is_inflated_behind_a_meta_information_longer_than_what_is_held() -> None:
    dataset = explicit(0x0008, 0x103E, b"LO", bytes(range(64, 96)))
    content = file_of(deflated(dataset), DeflatedExplicitVRLittleEndian).getvalue()
    private = explicit(0x0002, 0x0102, b"OB", bytes(_AHEAD))
    late = content[:144] + private + content[144:]
    with pytest.raises(SeriesError, match="meta information is too long"):
        read_up_to_pixels(io.BytesIO(late))
