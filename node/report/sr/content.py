"""Content items, encoded as they are made.

A series of 40 slices has 2,000 of them, most with one of a dozen codes and of 40 regions.
highdicom and pydicom make and encode each attribute of each by itself, which took ten
times as long; what they are good at, templates, is made with them and `encoded`.

References
----------
DICOM PS3.3: content items (C.17.3), code sequences (8.8); PS3.5: data elements with
explicit VR (7.1.2), items and sequences of defined length (7.5).
"""

import struct
from collections.abc import Iterable, Sequence
from enum import StrEnum
from functools import cache
from typing import NewType

from pydicom.charset import default_encoding
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_sequence_item
from pydicom.sr.coding import Code
from pydicom.valuerep import DS, EXPLICIT_VR_LENGTH_32, VR

Item = NewType("Item", bytes)
"""An item of a Content Sequence, encoded."""

_ITEM = b"\xfe\xff\x00\xe0"


class Relation(StrEnum):
    """How an item belongs to the one that it stands below (C.17.3.2.4)."""

    CONTAINS = "CONTAINS"
    CONTEXT = "HAS OBS CONTEXT"
    MODIFIER = "HAS CONCEPT MOD"
    SELECTED_FROM = "SELECTED FROM"


def text(name: Code, value: str, relation: Relation = Relation.CONTAINS) -> Item:
    """A text of ASCII."""
    return _content("TEXT", relation, name, _element("TextValue", value.encode("ascii")))


def code(name: Code, value: Code, relation: Relation = Relation.CONTAINS) -> Item:
    """A code."""
    return _content("CODE", relation, name, _code_sequence("ConceptCodeSequence", value))


def uid(name: Code, value: str, relation: Relation) -> Item:
    """A unique identifier."""
    return _content("UIDREF", relation, name, _element("UID", value.encode("ascii")))


def number(name: Code, value: float, unit: Code, items: Iterable[Item] = ()) -> Item:
    """A measured number, and what stands below it."""
    measured = (
        _code_sequence("MeasurementUnitsCodeSequence", unit),
        _element("FloatingPointValue", struct.pack("<d", value)),
        _element("NumericValue", str(DS(value, auto_format=True)).encode("ascii")),
    )
    rest = _element("MeasuredValueSequence", _item(*measured)) + _below(items)
    return _content("NUM", Relation.CONTAINS, name, rest)


def image(
    name: Code | None,
    sop_class_uid: str,
    sop_instance_uid: str,
    frame_number: int | None = None,
    relation: Relation = Relation.CONTAINS,
) -> Item:
    """A reference to an image, or to one frame of it."""
    sop = [
        _element("ReferencedSOPClassUID", sop_class_uid.encode("ascii")),
        _element("ReferencedSOPInstanceUID", sop_instance_uid.encode("ascii")),
    ]
    if frame_number is not None:
        sop.append(_element("ReferencedFrameNumber", str(frame_number).encode("ascii")))
    return _content("IMAGE", relation, name, first=_element("ReferencedSOPSequence", _item(*sop)))


def polyline(name: Code, corners: Sequence[tuple[int, int]], shown: Item) -> Item:
    """A line on an image, from corner to corner: columns, rows."""
    values = [float(value) for corner in corners for value in corner]
    rest = (
        _below([shown]),
        _element("GraphicData", struct.pack(f"<{len(values)}f", *values)),
        _element("GraphicType", b"POLYLINE"),
    )
    return _content("SCOORD", Relation.CONTAINS, name, b"".join(rest))


def container(name: Code, items: Iterable[Item], *, template: str | None = None) -> Item:
    """A container of content items.

    Parameters
    ----------
    name : pydicom.sr.coding.Code
        Its concept name.
    items : iterable of Item
        What it contains.
    template : str, optional
        The template (PS3.16) that it follows.
    """
    rest = [_element("ContinuityOfContent", b"SEPARATE")]
    if template is not None:
        rest.append(_template_sequence(template))
    return _content("CONTAINER", Relation.CONTAINS, name, b"".join([*rest, _below(items)]))


def encoded(items: Iterable[Dataset]) -> list[Item]:
    """Content items that were made as datasets; their texts are ASCII."""
    found = []
    for item in items:
        file = DicomBytesIO()
        file.is_implicit_VR, file.is_little_endian = False, True
        write_sequence_item(file, item, [default_encoding])
        found.append(Item(file.getvalue()))
    return found


# -- what items are made of: attributes in the order of their tags -----------------


def _content(
    value_type: str, relation: Relation, name: Code | None, rest: bytes = b"", first: bytes = b""
) -> Item:
    """What every item has, before the rest and behind what has lower tags."""
    return Item(_item(first, _head(value_type, relation, name), rest))


@cache
def _head(value_type: str, relation: Relation, name: Code | None) -> bytes:
    return b"".join(
        (
            _element("RelationshipType", relation.encode("ascii")),
            _element("ValueType", value_type.encode("ascii")),
            b"" if name is None else _code_sequence("ConceptNameCodeSequence", name),
        )
    )


def _below(items: Iterable[Item]) -> bytes:
    content = b"".join(items)
    return _element("ContentSequence", content) if content else b""


@cache
def _code_sequence(keyword: str, value: Code) -> bytes:
    item = _item(
        _element("CodeValue", value.value.encode("ascii")),
        _element("CodingSchemeDesignator", value.scheme_designator.encode("ascii")),
        _element("CodeMeaning", value.meaning.encode("ascii")),
    )
    return _element(keyword, item)


@cache
def _template_sequence(identifier: str) -> bytes:
    item = _item(
        _element("MappingResource", b"DCMR"),
        _element("TemplateIdentifier", identifier.encode("ascii")),
    )
    return _element("ContentTemplateSequence", item)


def _item(*elements: bytes) -> bytes:
    content = b"".join(elements)
    return _ITEM + struct.pack("<L", len(content)) + content


def _element(keyword: str, value: bytes) -> bytes:
    start, length, padding = _form(keyword)
    if len(value) % 2:
        value += padding
    return start + struct.pack(length, len(value)) + value


@cache
def _form(keyword: str) -> tuple[bytes, str, bytes]:
    """How an element begins, how its length is written and how its value is made even."""
    tag = tag_for_keyword(keyword)
    assert tag is not None
    vr = dictionary_VR(tag)
    start = struct.pack("<HH", tag >> 16, tag & 0xFFFF) + vr.encode("ascii")
    padding = b"\0" if vr == VR.UI else b" "
    if vr in EXPLICIT_VR_LENGTH_32:
        return start + b"\0\0", "<L", padding
    return start, "<H", padding
