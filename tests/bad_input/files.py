"""Cut files, lengths that lie, bombs, nesting, transfer syntaxes."""

import struct
from collections.abc import Callable, Iterator
from io import BytesIO

from pydicom import dcmwrite
from pydicom.dataset import Dataset, FileDataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    MPEG2MPML,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from tests.bad_input import wire
from tests.bad_input.case import (
    Case,
    End,
    Images,
    one_rewritten,
    rewritten,
)

PRIVATE = struct.pack("<HH", 0x0009, 0x1001)
MEBIBYTE = 1 << 20
DEEP = 10_000


def cases() -> Iterator[Case]:
    """All of them."""
    yield from _cut()
    yield from _lengths()
    yield from _bombs()
    yield from _nesting()
    yield from _syntaxes()


# -- truncations ----------------------------------------------------------


def _cut() -> Iterator[Case]:
    def at(find: Callable[[bytes], int]) -> Callable[[bytes], bytes]:
        return lambda content: content[: find(content)]

    def inside(keyword: str, offset: int) -> Callable[[bytes], bytes]:
        return at(lambda content: wire.place(content, keyword) + offset)

    def with_item(image: FileDataset, _index: int) -> None:
        item = Dataset()
        item.ReferencedSOPInstanceUID = "1.2.3"
        image.ReferencedImageSequence = Sequence([item])

    def compressed(syntax: str) -> Callable[[FileDataset, int], None]:
        return lambda image, _index: image.compress(syntax, generate_instance_uid=False)

    in_item = at(lambda c: c.find(wire.tag("ReferencedSOPInstanceUID"), 400) + 9)
    for name, where, cut in [
        ("empty", "before its first byte", at(lambda _: 0)),
        ("preamble", "inside the preamble", at(lambda _: 100)),
        ("prefix", "behind DICM", at(lambda _: 132)),
        ("meta", "inside the file meta information", at(lambda _: 200)),
        ("tag", "inside a tag", inside("StudyDate", 2)),
        ("vr", "inside a VR", inside("StudyDate", 5)),
        ("length", "inside a length", inside("StudyDate", 7)),
        ("value", "inside a value", inside("StudyDate", 10)),
    ]:
        yield Case(
            f"cut-{name}",
            f"One file is cut {where}",
            one_rewritten(cut),
            End.WARNED,
            "uneven steps",
            refused=1,
        )
    yield Case(
        "cut-item",
        "One file is cut inside an item of a sequence",
        one_rewritten(in_item, with_item),
        End.WARNED,
        "uneven steps",
        refused=1,
    )
    for name, where, cut in [
        (
            "late-value",
            "inside a value behind its identifiers",
            inside("ImageOrientationPatient", 20),
        ),
    ]:
        yield Case(
            f"cut-{name}",
            f"One file is cut {where}",
            one_rewritten(cut),
            End.WARNED,
            "uneven steps",
            refused=1,
        )
    yield Case(
        "cut-late-tag",
        "One file is cut inside a tag behind its identifiers",
        one_rewritten(inside("Rows", 2)),
        End.WARNED,
        "left out: 0 x 0",
    )
    yield Case(
        "cut-pixel-header",
        "One file is cut inside the length of its pixel data",
        one_rewritten(inside("PixelData", 10)),
        End.WARNED,
        "uneven steps",
        refused=1,
    )
    yield Case(
        "cut-pixels",
        "One file is cut inside its pixel data",
        one_rewritten(inside("PixelData", 2000)),
        End.WARNED,
        "left out: pixel data cannot be decoded",
    )
    yield Case(
        "cut-all-pixels",
        "Every file is cut inside its pixel data",
        rewritten(inside("PixelData", 2000)),
        End.FAILED,
        "12 of 12 slices cannot be decoded",
    )
    for syntax in (JPEG2000Lossless, JPEGLSLossless, RLELossless):
        yield Case(
            f"cut-fragment-{syntax.keyword}",
            f"One file is cut inside a fragment: {syntax.name}",
            one_rewritten(lambda content: content[:-900], compressed(syntax)),
            End.WARNED,
            "left out",
        )


# -- lengths ---------------------------------------------------------------


def _lengths() -> Iterator[Case]:
    blob = wire.inserted(wire.element(PRIVATE, b"OB", b"short", 0xFFFFFFF0))
    yield Case(
        "length-4-gigabytes",
        "An element says it has four gigabytes",
        rewritten(blob),
        End.UNREADABLE,
        refused=12,
    )
    yield Case(
        "length-endless",
        "An element of undefined length never ends",
        rewritten(wire.inserted(wire.element(PRIVATE, b"OB", b"", wire.UNDEFINED))),
        End.UNREADABLE,
        refused=12,
    )
    yield Case(
        "length-odd",
        "Values of an odd length",
        rewritten(wire.with_value("StudyDescription", b"LO", b"HEAD ODD!")),
        End.ANALYZED,
    )
    yield Case(
        "length-short",
        "A length that is shorter than its value",
        rewritten(wire.with_value("StudyDescription", b"LO", b"x" * 40, 8)),
        End.UNREADABLE,
        refused=12,
    )
    yield Case(
        "length-sequence",
        "A sequence that is longer than its items",
        rewritten(
            wire.inserted(wire.element(wire.tag("ReferencedImageSequence"), b"SQ", b"\0" * 20))
        ),
        End.ANALYZED,
    )
    yield Case(
        "length-item",
        "An item that is longer than its sequence",
        rewritten(
            wire.inserted(
                wire.element(
                    wire.tag("ReferencedImageSequence"),
                    b"SQ",
                    struct.pack("<HHI", 0xFFFE, 0xE000, 4000) + b"\0" * 8,
                )
            )
        ),
        End.ANALYZED,
    )
    yield Case(
        "length-meta",
        "A group length of the file meta information that is wrong",
        rewritten(lambda c: c.replace(c[132:144], c[132:140] + struct.pack("<I", 9), 1)),
        End.ANALYZED,
    )
    yield Case(
        "length-pixels-long",
        "Pixel data that says it is longer than the file",
        one_rewritten(lambda c: _pixel_length(c, 1 << 31)),
        End.ANALYZED,
    )
    yield Case(
        "length-pixels-short",
        "Pixel data that says it is shorter than a frame, with more behind it",
        one_rewritten(lambda c: _pixel_length(c, 4000)),
        End.WARNED,
        "is too short for frame 1",
    )
    yield Case(
        "length-pixels-none",
        "Pixel data of no length",
        rewritten(lambda c: _pixel_length(c, 0)),
        End.FAILED,
        "is too short for frame 1",
    )
    yield Case(
        "length-too-long-value",
        "Comments of 70,000 bytes, in Implicit VR",
        rewritten(
            wire.in_implicit_vr(
                wire.tag("ImageComments") + struct.pack("<I", 70_000) + b"1\\" * 35_000
            )
        ),
        End.UNREADABLE,
    )
    yield Case(
        "trailing-garbage",
        "Bytes behind the pixel data",
        rewritten(lambda c: c + b"\xff" * 999),
        End.ANALYZED,
    )


def _pixel_length(content: bytes, length: int) -> bytes:
    at = wire.place(content, "PixelData") + 8
    return content[:at] + struct.pack("<I", length) + content[at + 4 :]


# -- bombs -----------------------------------------------------------------


def _bombs() -> Iterator[Case]:
    def bomb(dataset: bytes) -> bytes:
        return wire.element(PRIVATE, b"OB", bytes(80 * MEBIBYTE)) + dataset

    def pixel_bomb(dataset: bytes) -> bytes:
        at = dataset.rfind(wire.tag("PixelData") + b"OW")
        return dataset[: at + 8] + struct.pack("<I", 80 * MEBIBYTE) + bytes(80 * MEBIBYTE)

    yield Case(
        "deflate-bomb",
        "A deflated header of 80 MB in 80 kB",
        one_rewritten(wire.deflated(bomb)),
        End.WARNED,
        "uneven steps",
        refused=1,
    )
    yield Case(
        "deflate-bomb-pixels",
        "Deflated pixel data of 80 MB in 80 kB, behind a frame of 8 kB",
        one_rewritten(wire.deflated(pixel_bomb)),
        End.ANALYZED,
    )
    yield Case(
        "deflate-garbage",
        "A deflated dataset that is none",
        one_rewritten(wire.packed(lambda d: b"\xff" * len(d))),
        End.WARNED,
        "uneven steps",
        refused=1,
    )
    yield Case(
        "deflate-cut",
        "A deflated dataset that is cut inside its pixels",
        one_rewritten(lambda c: wire.deflated()(c)[:-800]),
        End.WARNED,
        "left out",
    )
    yield Case(
        "deflate-twice",
        "A dataset that is deflated twice",
        one_rewritten(wire.packed(lambda d: wire.deflate(wire.deflate(d)))),
        End.WARNED,
        "uneven steps",
        refused=1,
    )
    elements = b"".join(
        wire.element(struct.pack("<HH", 0x000B, number), b"LO", b"")
        for number in range(0x1000, 0x5000)
    )
    yield Case(
        "many-elements",
        "A header of 16,000 empty elements",
        one_rewritten(wire.inserted(elements)),
        End.ANALYZED,
    )


# -- nesting ---------------------------------------------------------------


def _nesting() -> Iterator[Case]:
    opening = wire.element(PRIVATE, b"SQ", b"", wire.UNDEFINED) + wire.ITEM
    closing = wire.ITEM_END + wire.SEQUENCE_END
    yield Case(
        "deep-open",
        "Sequences in sequences, 10,000 levels deep",
        one_rewritten(wire.inserted(opening * DEEP + closing * DEEP)),
        End.WARNED,
        "uneven steps",
        refused=1,
    )
    for name, what, keyword, end, says in [
        ("deep-unused", "that nobody asks for", "ReferencedImageSequence", End.ANALYZED, ""),
        (
            "deep-used",
            "that decides",
            "ContrastBolusAgentSequence",
            End.ANALYZED,
            "",
        ),
        (
            "deep-frames",
            "in the place of functional groups",
            "PerFrameFunctionalGroupsSequence",
            End.WARNED,
            "",
        ),
    ]:
        yield Case(
            name,
            f"Sequences of known length, 2,000 levels deep, {what}",
            one_rewritten(wire.inserted(_nested(wire.tag(keyword), 2_000))),
            end,
            says,
        )


def _nested(where: bytes, levels: int) -> bytes:
    value = b""
    for _ in range(levels):
        value = wire.element(where, b"SQ", struct.pack("<HHI", 0xFFFE, 0xE000, len(value)) + value)
    return value


# -- transfer syntaxes -----------------------------------------------------


def _syntaxes() -> Iterator[Case]:
    def written_as(syntax: str) -> Callable[[Images], list[bytes]]:
        def change(image: FileDataset, _index: int) -> None:
            for element in image:
                _ = element.value  # to be written in another byte order
            if syntax == ExplicitVRBigEndian:
                swapped = memoryview(image.PixelData).cast("H").tolist()
                image.PixelData = struct.pack(f">{len(swapped)}H", *swapped)
            image.file_meta.TransferSyntaxUID = syntax

        def make(images: Images) -> list[bytes]:
            contents = []
            for index, image in enumerate(images):
                change(image, index)
                out = BytesIO()
                dcmwrite(
                    out,
                    image,
                    implicit_vr=syntax == ImplicitVRLittleEndian,
                    little_endian=syntax != ExplicitVRBigEndian,
                )
                contents.append(out.getvalue())
            return contents

        return make

    for name, what, syntax in [
        ("big-endian", "Explicit VR Big Endian (retired)", ExplicitVRBigEndian),
        ("implicit", "Implicit VR Little Endian", ImplicitVRLittleEndian),
        ("deflated", "Deflated Explicit VR Little Endian", DeflatedExplicitVRLittleEndian),
    ]:
        yield Case(f"syntax-{name}", what, written_as(syntax), End.ANALYZED)
    for name, what, said in [
        ("private", "A private transfer syntax", "1.3.46.670589.33.1.4.1"),
        ("unknown", "A transfer syntax that nobody knows", "1.2.3.4.5"),
        ("video", "A transfer syntax of video", MPEG2MPML),
    ]:
        yield Case(
            f"syntax-{name}", what, rewritten(wire.said(said)), End.FAILED, "cannot be decoded"
        )
    yield Case(
        "syntax-no-uid",
        "A transfer syntax that is no UID",
        rewritten(wire.said("../../etc/passwd")),
        End.FAILED,
        "cannot be decoded",
    )
    yield Case(
        "syntax-none",
        "No transfer syntax at all",
        rewritten(_without_syntax),
        End.FAILED,
        "cannot be decoded",
    )
    yield Case(
        "syntax-wrong-vr",
        "Explicit VR in a file that says Implicit VR",
        rewritten(wire.said(ImplicitVRLittleEndian)),
        End.ANALYZED,
    )
    yield Case(
        "no-preamble",
        "A dataset without preamble and file meta information",
        rewritten(lambda c: c[wire.dataset_start(c) :]),
        End.UNREADABLE,
        refused=12,
    )


def _without_syntax(content: bytes) -> bytes:
    start = content.find(b"\x02\x00\x10\x00UI")
    (length,) = struct.unpack_from("<H", content, start + 6)
    return content[:start] + content[start + 8 + length :]
