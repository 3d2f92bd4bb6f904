"""Identifiers, attributes of a wrong kind, texts and character sets."""

import struct
from collections.abc import Callable, Iterator

from pydicom.dataset import FileDataset
from pydicom.tag import Tag

from tests.bad_input import wire
from tests.bad_input.case import (
    Case,
    End,
    Images,
    attributes,
    changed,
    encoded,
    rewritten,
)


def cases() -> Iterator[Case]:
    """All of them."""
    yield from _identifiers()
    yield from _kinds()
    yield from _texts()
    yield from _character_sets()


def _identifiers() -> Iterator[Case]:
    def uid(keyword: str, value: str) -> Callable[[Images], list[bytes]]:
        content = value.encode()
        return rewritten(wire.with_value(keyword, b"UI", content + b"\0" * (len(content) % 2)))

    yield Case(
        "uid-path-study",
        "StudyInstanceUID is a path: ../../x",
        uid("StudyInstanceUID", "../../x"),
        End.ANALYZED,
        refused=12,
    )
    yield Case(
        "uid-path-instance",
        "SOPInstanceUID is a path: ../../x",
        uid("SOPInstanceUID", "../../x"),
        End.SKIPPED,
        "copies of images passed over",
        refused=12,
    )
    for name, what, value in [
        ("path", "a path: ../../x", "../../x"),
        ("root", "a path from the root", "/etc/passwd"),
        ("dots", "two dots", "1.2..3"),
        ("long", "longer than 64 characters", "1." * 40 + "1"),
        ("digits", "made of digits of another script", "１.２.３"),
        ("two", "two UIDs in one", "1.2.3\\1.2.4"),
    ]:
        yield Case(
            f"uid-{name}",
            f"SeriesInstanceUID is {what}",
            uid("SeriesInstanceUID", value),
            End.ANALYZED,
            refused=12,
        )
    yield Case(
        "uid-line",
        "SeriesInstanceUID ends with a line feed, which is no part of it",
        uid("SeriesInstanceUID", "1.2.3\n"),
        End.ANALYZED,
    )
    yield Case(
        "uid-empty-series",
        "SeriesInstanceUID is empty",
        attributes(SeriesInstanceUID=""),
        End.UNREADABLE,
        refused=12,
    )
    yield Case(
        "uid-empty-instance",
        "SOPInstanceUID is empty",
        rewritten(wire.with_value("SOPInstanceUID", b"UI", b"")),
        End.ANALYZED,
        refused=12,
    )
    yield Case(
        "uid-leading-zero",
        "A component of SeriesInstanceUID with a leading zero, as devices write it",
        attributes(SeriesInstanceUID="1.2.03.4"),
        End.ANALYZED,
    )
    yield Case(
        "uid-same-instance",
        "Twelve images with one SOPInstanceUID",
        attributes(SOPInstanceUID="1.2.3.4"),
        End.SKIPPED,
        "too-few-slices",
    )


def _kinds() -> Iterator[Case]:
    wrong = [
        ("rows-text", "Rows", b"LO", b"sixtyfour ", End.FAILED, "cannot be decoded"),
        ("rows-empty", "Rows", b"US", b"", End.SKIPPED, "no-pixel-data"),
        ("rows-many", "Rows", b"US", b"\x40\x00\x40\x00", End.FAILED, "cannot be decoded"),
        ("position-binary", "ImagePositionPatient", b"OB", b"\xff" * 24, End.SKIPPED, "geometry"),
        ("position-two", "ImagePositionPatient", b"DS", b"1\\2 ", End.SKIPPED, "geometry"),
        (
            "position-words",
            "ImagePositionPatient",
            b"DS",
            b"left\\right\\up ",
            End.SKIPPED,
            "geometry",
        ),
        (
            "orientation-zero",
            "ImageOrientationPatient",
            b"DS",
            b"0\\0\\0\\0\\0\\0 ",
            End.SKIPPED,
            "geometry",
        ),
        ("spacing-words", "PixelSpacing", b"DS", b"a\\b ", End.ANALYZED, ""),
        ("name-number", "PatientName", b"US", b"\x01\x00", End.ANALYZED, ""),
        ("name-sequence", "PatientName", b"SQ", b"", End.UNREADABLE, ""),
        ("description-sequence", "SeriesDescription", b"SQ", b"", End.UNREADABLE, ""),
        ("modality-bytes", "Modality", b"OB", b"\xff\xfe", End.SKIPPED, "not-ct"),
        ("type-number", "ImageType", b"US", b"\x01\x00", End.ANALYZED, ""),
        ("number-float", "InstanceNumber", b"DS", b"1e300 ", End.ANALYZED, ""),
        ("number-nan", "InstanceNumber", b"DS", b"nan ", End.ANALYZED, ""),
        ("bits-huge", "BitsAllocated", b"IS", b"999999999999", End.FAILED, "cannot be decoded"),
        ("bits-negative", "BitsAllocated", b"SS", b"\xf0\xff", End.FAILED, "cannot be decoded"),
        ("vr-unknown", "StudyDescription", b"ZZ", b"HEAD", End.ANALYZED, ""),
        ("vr-binary", "StudyDescription", b"\x01\x02", b"HEAD", End.UNREADABLE, ""),
    ]
    for name, keyword, vr, value, end, says in wrong:
        yield Case(
            f"kind-{name}",
            f"{keyword} as {vr.decode('ascii').encode('unicode_escape').decode()}: {value[:24]!r}",
            rewritten(wire.with_value(keyword, vr, value)),
            end,
            says,
            refused=12 if name == "vr-binary" else 0,
        )
    for keyword in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
        yield Case(
            f"kind-{keyword}",
            f"{keyword} as text in a single-frame image",
            rewritten(wire.inserted(wire.element(wire.tag(keyword), b"LO", b"frames"))),
            End.ANALYZED if keyword.startswith("Shared") else End.SKIPPED,
            "" if keyword.startswith("Shared") else "geometry",
        )
    yield Case(
        "empty-values",
        "Every attribute empty but identifiers and pixels",
        changed(_emptied),
        End.SKIPPED,
        "geometry",
    )
    yield Case(
        "no-attributes",
        "Nothing but identifiers and pixels",
        changed(_bare),
        End.SKIPPED,
        "no-pixel-data",
    )
    yield Case(
        "twice",
        "An element that stands there twice",
        rewritten(wire.inserted(wire.element(wire.tag("Modality"), b"CS", b"CT"))),
        End.ANALYZED,
    )
    yield Case(
        "order",
        "Elements in a wrong order",
        rewritten(wire.inserted(wire.element(wire.tag("PatientID"), b"LO", b"ab"), "Modality")),
        End.ANALYZED,
    )


_KEPT = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "PixelData")
_PIXEL_MODULE = Tag(0x0028, 0x0000)


def _emptied(image: FileDataset, _index: int) -> None:
    for element in image:
        if element.keyword not in _KEPT and element.tag.group != _PIXEL_MODULE.group:
            element.value = None


def _bare(image: FileDataset, _index: int) -> None:
    for element in list(image):
        if element.keyword not in _KEPT:
            del image[element.tag]


def _texts() -> Iterator[Case]:
    for name, what, keyword, value in [
        (
            "long",
            "A description of 60,000 digits, slow for patterns",
            "SeriesDescription",
            b"1" * 60_000,
        ),
        ("long-name", "A patient name of 60,000 characters", "PatientName", b"Doe^" * 15_000),
        (
            "control",
            "Control characters in a description",
            "SeriesDescription",
            bytes(range(1, 32)) + b" ",
        ),
        ("nul", "NUL in the patient ID", "PatientID", b"a\0b\0c\0"),
        (
            "escape",
            "Terminal escapes in a description",
            "SeriesDescription",
            b"\x1b]0;x\x07\x1b[2J ",
        ),
        ("markup", "Markup in the patient name", "PatientName", b"<script>alert(1)</script>"),
        ("sql", "SQL in the patient ID", "PatientID", b"'; DROP TABLE series; --"),
        ("values", "A body part of 20,000 values", "BodyPartExamined", b"HEAD\\" * 12_000),
    ]:
        padded = value + b" " * (len(value) % 2)
        vr = {"PatientName": b"PN", "BodyPartExamined": b"CS"}.get(keyword, b"LO")
        yield Case(
            f"text-{name}", what, rewritten(wire.with_value(keyword, vr, padded)), End.ANALYZED
        )
    for name, what, values in [
        (
            "dates",
            "Dates and times that cannot be",
            {"StudyDate": b"99999999", "StudyTime": b"noon"},
        ),
        (
            "sex",
            "A patient's sex that cannot be",
            {"PatientSex": b"??", "PatientBirthDate": b"tomorrow"},
        ),
    ]:
        yield Case(f"text-{name}", what, _with_all(values), End.ANALYZED)


_VRS = {"StudyDate": b"DA", "StudyTime": b"TM", "PatientBirthDate": b"DA", "PatientSex": b"CS"}


def _with_all(values: dict[str, bytes]) -> Callable[[Images], list[bytes]]:
    def rewrite(content: bytes) -> bytes:
        for keyword, value in values.items():
            content = wire.with_value(keyword, _VRS[keyword], value)(content)
        return content

    return rewritten(rewrite)


_NAMES = {
    "": b"Doe^Jane",
    "ISO_IR 100": "Müller^Jörg".encode("latin-1"),
    "ISO_IR 101": "Łódź^Š".encode("iso8859-2"),
    "ISO_IR 109": "Ĥĝ^Ŭ".encode("iso8859-3"),
    "ISO_IR 110": "Āķ^Ž".encode("iso8859-4"),
    "ISO_IR 144": "Люк^сем".encode("iso8859-5"),
    "ISO_IR 127": "قباني^لنزار".encode("iso8859-6"),
    "ISO_IR 126": "Διον^υσιος".encode("iso8859-7"),
    "ISO_IR 138": "שרון^דבורה".encode("iso8859-8"),
    "ISO_IR 148": "Çavuşoğlu^İ".encode("iso8859-9"),
    "ISO_IR 203": "Œuvre^Š".encode("iso8859-15"),
    "ISO_IR 13": "ﾔﾏﾀﾞ^ﾀﾛｳ".encode("shift_jis"),
    "ISO_IR 166": "นามสกุล^ชื่อ".encode("iso8859-11"),
    "ISO_IR 192": "Wang^XiaoDong=王^小東=".encode(),
    "GB18030": "Wang^XiaoDong=王^小东=".encode("gb18030"),
    "GBK": "Wang^XiaoDong=王^小东=".encode("gbk"),
    "\\ISO 2022 IR 87": b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B",
    "ISO 2022 IR 13\\ISO 2022 IR 87": b"\xd4\xcf\xc0\xde^\xc0\xdb\xb3=\x1b$B;3ED\x1b(J",
    "\\ISO 2022 IR 159": b"Yamada^Tarou=\x1b$(D0!\x1b(B",
    "\\ISO 2022 IR 149": b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7",
    "\\ISO 2022 IR 58": b"Zhang^XiaoDong=\x1b$)A\xd5\xc5^\x1b$)A\xd0\xa1\xb6\xab",
    "\\ISO 2022 IR 100\\ISO 2022 IR 144": b"Doe=\x1b-L\xbb\xee\xda",
}
"""Patient names by Specific Character Set (PS3.3, C.12.1.1.2; PS3.5, H to K)."""

_ODD = {
    "unknown": ("ISO_IR 999", b"M\xfcller"),
    "wrong": ("ISO_IR 192", b"M\xfcller^\xff\xfe"),
    "cut-escape": ("\\ISO 2022 IR 87", b"Yamada=\x1b$"),
    "cut-character": ("GB18030", b"Wang=\xcd"),
    "undeclared": ("", b"M\xfcller^\xe4"),
    "undeclared-escape": ("ISO_IR 100", b"\x1b$B;3ED\x1b(B"),
    "mixed": ("ISO_IR 192\\ISO 2022 IR 87", b"\x1b$B;3ED\x1b(B"),
    "nonsense": ("NONSENSE\\\\X", b"Doe^Jane"),
}


def _character_sets() -> Iterator[Case]:
    for declared, name in _NAMES.items():
        label = declared.replace("\\", "+") or "none"
        yield Case(
            f"charset-{label.replace(' ', '_')}",
            f"A patient name in the character set {label}",
            _named(declared, name),
            End.ANALYZED,
        )
    for label, (declared, name) in _ODD.items():
        shown = declared.replace("\\", "+") or "none"
        yield Case(
            f"charset-{label}",
            f"A patient name that is not in its character set ({shown}): {name!r}",
            _named(declared, name),
            End.ANALYZED,
        )


def _named(declared: str, name: bytes) -> Callable[[Images], list[bytes]]:
    def make(images: Images) -> list[bytes]:
        for image in images:
            image.SpecificCharacterSet = "ISO_IR 100"
        contents = encoded(images)
        said = declared.encode()
        for keyword, vr, value in (
            ("SpecificCharacterSet", b"CS", said + b" " * (len(said) % 2)),
            ("PatientName", b"PN", name + b" " * (len(name) % 2)),
        ):
            start = contents[0].find(wire.tag(keyword) + vr)
            assert start > 0
            contents = [_replaced(content, keyword, vr, value) for content in contents]
        return contents

    return make


def _replaced(content: bytes, keyword: str, vr: bytes, value: bytes) -> bytes:
    start = content.find(wire.tag(keyword) + vr)
    (length,) = struct.unpack_from("<H", content, start + 6)
    new = wire.element(wire.tag(keyword), vr, value)
    return content[:start] + new + content[start + 8 + length :]
