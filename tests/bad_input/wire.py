"""Data elements as bytes, right or wrong (PS3.5, 7)."""

import struct
import zlib
from collections.abc import Callable

from pydicom import dcmread
from pydicom.datadict import tag_for_keyword
from pydicom.filebase import DicomBytesIO
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

UNDEFINED = 0xFFFFFFFF
ITEM = struct.pack("<HHI", 0xFFFE, 0xE000, UNDEFINED)
ITEM_END = struct.pack("<HHI", 0xFFFE, 0xE00D, 0)
SEQUENCE_END = struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)

LONG = (b"OB", b"OW", b"OF", b"OD", b"SQ", b"UN", b"UT")


def tag(keyword: str) -> bytes:
    """The tag of an attribute in Little Endian."""
    number = tag_for_keyword(keyword)
    assert number is not None
    return struct.pack("<HH", number >> 16, number & 0xFFFF)


def element(where: bytes, vr: bytes, value: bytes, length: int | None = None) -> bytes:
    """A data element in Explicit VR Little Endian, its length true or not."""
    said = len(value) if length is None else length
    form = "2xI" if vr in LONG else "H"
    return where + vr + struct.pack(f"<{form}", said) + value


def dataset_start(content: bytes) -> int:
    """Where the dataset begins: behind the file meta information (PS3.10, 7.1)."""
    return 144 + int(struct.unpack_from("<I", content, 140)[0])


def place(content: bytes, keyword: str) -> int:
    """Where an element begins in a file in Explicit VR Little Endian."""
    found = content.find(tag(keyword), dataset_start(content))
    assert found > 0, keyword
    return found


def with_value(
    keyword: str, vr: bytes, value: bytes, length: int | None = None
) -> Callable[[bytes], bytes]:
    """Put another element in the place of one."""

    def rewrite(content: bytes) -> bytes:
        start = place(content, keyword)
        own_vr, short = content[start + 4 : start + 6], content[start + 6 : start + 8]
        if own_vr in LONG:
            end = start + 12 + struct.unpack_from("<I", content, start + 8)[0]
        else:
            end = start + 8 + struct.unpack("<H", short)[0]
        return content[:start] + element(tag(keyword), vr, value, length) + content[end:]

    return rewrite


def inserted(more: bytes, before: str = "PatientName") -> Callable[[bytes], bytes]:
    """Put bytes in front of an element."""

    def rewrite(content: bytes) -> bytes:
        start = place(content, before)
        return content[:start] + more + content[start:]

    return rewrite


def in_implicit_vr(more: bytes) -> Callable[[bytes], bytes]:
    """The dataset in Implicit VR Little Endian, with bytes in front of it."""

    def rewrite(content: bytes) -> bytes:
        image = dcmread(DicomBytesIO(content))
        image.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
        out = DicomBytesIO()
        image.save_as(out, implicit_vr=True, little_endian=True)
        whole = out.getvalue()
        at = dataset_start(whole)
        return whole[:at] + more + whole[at:]

    return rewrite


def deflated(change: Callable[[bytes], bytes] = bytes) -> Callable[[bytes], bytes]:
    """The dataset deflated (PS3.5, A.5), changed before."""
    return packed(lambda dataset: deflate(change(dataset)))


def packed(change: Callable[[bytes], bytes]) -> Callable[[bytes], bytes]:
    """A file that says it is deflated, with whatever comes of its dataset."""

    def rewrite(content: bytes) -> bytes:
        start = dataset_start(content)
        packed = content[:start] + change(content[start:])
        return said(DeflatedExplicitVRLittleEndian)(packed)

    return rewrite


def deflate(dataset: bytes) -> bytes:
    """Raw deflate, as PS3.5, A.5 wants it."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return packer.compress(dataset) + packer.flush()


def said(syntax: str) -> Callable[[bytes], bytes]:
    """Name another transfer syntax than the one that the dataset is in."""

    def rewrite(content: bytes) -> bytes:
        old = element(b"\x02\x00\x10\x00", b"UI", _even(ExplicitVRLittleEndian))
        assert old in content
        new = element(b"\x02\x00\x10\x00", b"UI", _even(UID(syntax)))
        at = content.find(b"\x02\x00\x00\x00UL\x04\x00") + 8
        length = struct.unpack_from("<I", content, at)[0] + len(new) - len(old)
        content = content[:at] + struct.pack("<I", length) + content[at + 4 :]
        return content.replace(old, new, 1)

    return rewrite


def _even(uid: str) -> bytes:
    return uid.encode() + b"\0" * (len(uid) % 2)
