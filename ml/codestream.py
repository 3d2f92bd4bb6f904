"""What a compressed frame says of its own size, before a decoder believes it.

References
----------
JPEG: ISO/IEC 10918-1, B.2. JPEG-LS: ISO/IEC 14495-1, C.2. JPEG 2000 and
High-Throughput JPEG 2000: ISO/IEC 15444-1, A.5.1.
"""

import struct

_SOC_SIZ = b"\xff\x4f\xff\x51"
_SOI = b"\xff\xd8"
_EOI = b"\xff\xd9"
_SOF = frozenset({*range(0xC0, 0xD0), 0xF7}) - {0xC4, 0xC8, 0xCC}
"""Start of frame in JPEG and JPEG-LS, not: Huffman tables, reserved, arithmetic coding."""

_TRAILING = 1024
"""Bytes among which a frame ends, zeros behind it left out: some writers pad it with others.
What is compressed holds no marker."""

_BOXES = 4096
"""A JPEG 2000 codestream may begin behind the boxes of a JP2 file: within so many bytes."""


def declared_size(frame: bytes) -> tuple[int, int] | None:
    """Rows and columns by a codestream's own header.

    Parameters
    ----------
    frame : bytes
        One compressed frame.

    Returns
    -------
    tuple of 2 int, optional
        None if it has no such header: RLE, or broken.
    """
    try:
        start = frame.find(_SOC_SIZ, 0, _BOXES)
        if start >= 0:
            right, bottom, left, top = struct.unpack_from(">4I", frame, start + 8)
            return bottom - top, right - left
        return _jpeg_size(frame) if frame.startswith(_SOI) else None
    except struct.error:
        return None


def is_cut_short(frame: bytes) -> bool:
    """Whether a JPEG or JPEG-LS frame lacks its end.

    JPEG 2000 is not asked: its decoder finds that out.
    """
    return frame.startswith(_SOI) and _EOI not in frame.rstrip(b"\0")[-_TRAILING:]


def _jpeg_size(frame: bytes) -> tuple[int, int] | None:
    at = 2
    while True:
        fill, marker, length = struct.unpack_from(">BBH", frame, at)
        if fill != 0xFF:
            return None
        if marker in _SOF:
            rows, columns = struct.unpack_from(">HH", frame, at + 5)
            return rows, columns
        at += 1 if marker == 0xFF else 2 + length  # 0xFF may be repeated before a marker
