"""A DICOM file as others write it, taken apart: what it says of itself, and its dataset.

References
----------
File meta information: DICOM PS3.10, 7.1.
"""

import struct
from dataclasses import dataclass

from node.dicom import Status
from node.errors import RefusedInstance

LONGEST_META = 64 * 1024
"""Bytes of file meta information; that of real files has some hundred."""

_PREAMBLE = 128
_LONG_VRS = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())
"""With a reserved field and a length of 32 bits (PS3.5, 7.1.2)."""

_SOP_CLASS, _INSTANCE, _TRANSFER_SYNTAX = 0x0002, 0x0003, 0x0010


@dataclass(frozen=True)
class Part10:
    """A file, taken apart.

    Parameters
    ----------
    sop_class, instance, transfer_syntax : str
        UIDs of its file meta information; empty where it does not say.
    dataset : memoryview
        As it is encoded in that transfer syntax.
    """

    sop_class: str
    instance: str
    transfer_syntax: str
    dataset: memoryview


def take_apart(content: bytes | bytearray) -> Part10:
    """Take a file apart; the beginning of one is enough for its UIDs.

    Raises
    ------
    RefusedInstance
        If it is not DICOM, or its file meta information cannot be read.
    """
    if content[_PREAMBLE : _PREAMBLE + 4] != b"DICM":
        raise _unreadable("it is not a DICOM file: no DICM at byte 128")
    found: dict[int, str] = {}
    at = _PREAMBLE + 4
    try:
        while content[at : at + 2] == b"\x02\x00":
            element, vr = struct.unpack_from("<H2s", content, at + 2)
            if vr in _LONG_VRS:
                (length,) = struct.unpack_from("<L", content, at + 8)
                at += 12
            else:
                (length,) = struct.unpack_from("<H", content, at + 6)
                at += 8
            end = at + length
            if end > min(len(content), LONGEST_META):
                raise _unreadable("its file meta information has no end")
            if element in (_SOP_CLASS, _INSTANCE, _TRANSFER_SYNTAX):
                found[element] = content[at:end].rstrip(b"\x00 ").decode("ascii", "replace")
            at = end
    except struct.error:
        raise _unreadable("its file meta information is cut short") from None
    return Part10(
        found.get(_SOP_CLASS, ""),
        found.get(_INSTANCE, ""),
        found.get(_TRANSFER_SYNTAX, ""),
        memoryview(content)[at:],
    )


def _unreadable(why: str) -> RefusedInstance:
    return RefusedInstance(why, Status.CANNOT_UNDERSTAND)
