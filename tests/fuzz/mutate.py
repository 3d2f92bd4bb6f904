"""A good file to a bad one: a pure function of a random generator.

Where a file can be taken apart (Explicit VR Little Endian) most changes are made to
its elements: a random byte rarely lands on a length or a VR.
"""

import random
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass

from tests.bad_input import wire

LENGTHS = (
    0,
    1,
    2,
    7,
    8,
    0xFF,
    0x7FFF,
    0xFFFE,
    0xFFFF,
    0x7FFFFFFF,
    0xFFFFFFF0,
    0xFFFFFFFE,
    0xFFFFFFFF,
)
VRS = (
    b"AE AS AT CS DA DS DT FD FL IS LO LT OB OD OF OL OV OW PN SH SL SQ SS ST SV TM UC UI UL UN "
    b"UR US UT UV ZZ xx \0\0 \xff\xff"
).split(b" ")
VALUES = (
    b"",
    b"\0",
    b"nan",
    b"inf\\-inf",
    b"1e308\\-1e308\\1e-308",
    b"-1",
    b"0\\0\\0\\0\\0\\0",
    b"99999999999999999999",
    b"1\\" * 300,
    b"../../etc/passwd",
    b"\x1b$B\x1b(J\x1b$)C",
    b"\xff\xfe\xfd",
    b"A" * 5000,
    b"\xff\xff",
    b"\x00\x80",
    b"ISO 2022 IR 87\\GB18030\\ISO_IR 192",
    b"1.2.840.10008.1.2.1.99",
    b"RGB",
    b"MONOCHROME1",
    b"ORIGINAL\\PRIMARY\\LOCALIZER",
)
KEYWORDS = (
    "SpecificCharacterSet",
    "ImageType",
    "SOPInstanceUID",
    "Modality",
    "PatientID",
    "SeriesInstanceUID",
    "InstanceNumber",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "NumberOfFrames",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "Rows",
    "Columns",
    "BitsAllocated",
    "BitsStored",
    "PixelRepresentation",
    "PixelPaddingValue",
    "RescaleIntercept",
    "RescaleSlope",
    "ConvolutionKernel",
    "ContrastBolusAgentSequence",
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
    "ExtendedOffsetTable",
    "PixelData",
)
CHANGES = (1, 1, 1, 2, 2, 3, 4)


@dataclass(frozen=True)
class Span:
    """Where an element stands: its tag, its length field, its value, its end."""

    start: int
    length: int
    value: int
    end: int


def elements(content: bytes) -> list[Span]:
    """The elements of a good file in Explicit VR Little Endian, and those inside sequences."""
    found = []
    at = wire.dataset_start(content)
    while at + 8 <= len(content):
        if content[at : at + 2] == b"\xfe\xff":  # items and delimiters
            found.append(Span(at, at + 4, at + 8, at + 8))
            at += 8
            continue
        is_long = content[at + 4 : at + 6] in wire.LONG
        field, value = (at + 8, at + 12) if is_long else (at + 6, at + 8)
        (length,) = struct.unpack_from("<I" if is_long else "<H", content, field)
        inside = content[at + 4 : at + 6] == b"SQ" or length == wire.UNDEFINED
        end = value if inside else min(value + length, len(content))  # it may lie by now
        found.append(Span(at, field, value, end))
        at = end
    return found


def mutated(rng: random.Random, seeds: tuple[bytes, ...]) -> bytes:
    """A bad file."""
    content = rng.choice(seeds)
    is_plain = content in seeds[:2]
    structured = [_length, _vr, _value, _twice, _without, _insert, _nested, _overwrite]
    raw: list[Callable[[random.Random, bytes], bytes]] = [_flip, _cut, _splice(seeds), _tail]
    for _ in range(rng.choice(CHANGES)):
        if is_plain and rng.random() < 0.8:
            try:
                content = rng.choice(structured)(rng, content, elements(content))
            except (struct.error, IndexError):  # it is not whole any more
                is_plain = False
        else:
            content = rng.choice(raw)(rng, content)
    if is_plain and rng.random() < 0.1:
        content = _deflated(content)
    return content


# -- changes to elements -------------------------------------------------------

Change = Callable[[random.Random, bytes, list[Span]], bytes]


def _length(rng: random.Random, content: bytes, spans: list[Span]) -> bytes:
    span = rng.choice(spans)
    size = span.value - span.length
    (old,) = struct.unpack("<I" if size == 4 else "<H", content[span.length : span.value])
    new = rng.choice((*LENGTHS, old + 1, old - 1, old * 2)) % (1 << 8 * size)
    return content[: span.length] + new.to_bytes(size, "little") + content[span.value :]


def _vr(rng: random.Random, content: bytes, spans: list[Span]) -> bytes:
    span = rng.choice(spans)
    return content[: span.start + 4] + rng.choice(VRS) + content[span.start + 6 :]


def _value(rng: random.Random, content: bytes, spans: list[Span]) -> bytes:
    """Another value, its length true."""
    span = rng.choice(spans)
    value = rng.choice(VALUES)
    value += b" " * (len(value) % 2)
    size = span.value - span.length
    length = len(value).to_bytes(size, "little")
    return content[: span.length] + length + value + content[span.end :]


def _overwrite(rng: random.Random, content: bytes, spans: list[Span]) -> bytes:
    """Random bytes over a value."""
    span = rng.choice(spans)
    return content[: span.value] + rng.randbytes(span.end - span.value) + content[span.end :]


def _twice(rng: random.Random, content: bytes, spans: list[Span]) -> bytes:
    span, place = rng.choice(spans), rng.choice(spans).start
    return content[:place] + content[span.start : span.end] + content[place:]


def _without(rng: random.Random, content: bytes, spans: list[Span]) -> bytes:
    span = rng.choice(spans)
    return content[: span.start] + content[span.end :]


def _insert(rng: random.Random, content: bytes, spans: list[Span]) -> bytes:
    place = rng.choice(spans).start
    value = rng.choice(VALUES)
    new = wire.element(
        wire.tag(rng.choice(KEYWORDS)),
        rng.choice(VRS),
        value,
        rng.choice((None, None, *LENGTHS[:9])),
    )
    return content[:place] + new + content[place:]


def _nested(rng: random.Random, content: bytes, spans: list[Span]) -> bytes:
    place = rng.choice(spans).start
    opening = wire.element(wire.tag(rng.choice(KEYWORDS)), b"SQ", b"", wire.UNDEFINED) + wire.ITEM
    closing = wire.ITEM_END + wire.SEQUENCE_END
    levels = rng.choice((1, 3, 50, 2000))
    return content[:place] + opening * levels + closing * rng.choice((levels, 0)) + content[place:]


# -- changes to bytes ------------------------------------------------------------


def _flip(rng: random.Random, content: bytes) -> bytes:
    changed = bytearray(content)
    begin = rng.choice((0, 128, len(content) // 2)) if content else 0
    for _ in range(rng.randint(1, 30) if content else 0):
        changed[rng.randrange(min(begin, len(content) - 1), len(content))] = rng.randrange(256)
    return bytes(changed)


def _cut(rng: random.Random, content: bytes) -> bytes:
    return content[: rng.randint(0, len(content))]


def _tail(rng: random.Random, content: bytes) -> bytes:
    return content + rng.choice((b"\0", wire.SEQUENCE_END, wire.ITEM * 50, rng.randbytes(40)))


def _splice(seeds: tuple[bytes, ...]) -> Callable[[random.Random, bytes], bytes]:
    def splice(rng: random.Random, content: bytes) -> bytes:
        other = rng.choice(seeds)
        return content[: rng.randint(0, len(content))] + other[rng.randint(0, len(other)) :]

    return splice


def _deflated(content: bytes) -> bytes:
    try:
        return wire.deflated()(content)
    except (AssertionError, struct.error, zlib.error):  # its meta information was hit
        return content
