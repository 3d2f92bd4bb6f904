"""Part of the self-check: the content tree of a structured report.

References
----------
DICOM PS3.3: value types and relationships of each IOD (A.35.1.3.1, A.35.2.3.1,
A.35.3.3.1, A.35.4.3.1, A.35.13.3.1), content items (C.17.3), code sequences
(8.8), limits of VRs (PS3.5, 6.2).
"""

import math
from collections.abc import Iterator, MutableSequence
from io import BytesIO
from struct import unpack_from

from pydicom.charset import convert_encodings
from pydicom.datadict import keyword_for_tag
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pydicom.tag import BaseTag, Tag
from pydicom.uid import (
    BasicTextSRStorage,
    Comprehensive3DSRStorage,
    ComprehensiveSRStorage,
    EnhancedSRStorage,
    KeyObjectSelectionDocumentStorage,
)

from node.report.origin import Basis

_BASIC = frozenset(
    {"TEXT", "CODE", "DATETIME", "DATE", "TIME", "UIDREF", "PNAME", "COMPOSITE", "IMAGE"}
    | {"WAVEFORM", "CONTAINER"}
)
_VALUE_TYPES = {
    BasicTextSRStorage: _BASIC,
    EnhancedSRStorage: _BASIC | {"NUM", "SCOORD", "TCOORD"},
    ComprehensiveSRStorage: _BASIC | {"NUM", "SCOORD", "TCOORD"},
    Comprehensive3DSRStorage: _BASIC | {"NUM", "SCOORD", "SCOORD3D", "TCOORD"},
    KeyObjectSelectionDocumentStorage: frozenset(
        {"TEXT", "CODE", "UIDREF", "PNAME", "COMPOSITE", "IMAGE", "WAVEFORM", "CONTAINER"}
    ),
}
"""Which content items a document may hold, by its SOP class."""

_TEMPLATES = {
    BasicTextSRStorage: "2000",
    EnhancedSRStorage: "1500",
    ComprehensiveSRStorage: "1500",
    Comprehensive3DSRStorage: "1500",
    KeyObjectSelectionDocumentStorage: "2010",
}
"""The root template that a document of ours follows."""

_VALUES = frozenset({"TEXT", "CODE", "NUM", "DATETIME", "DATE", "TIME", "UIDREF", "PNAME"})
_MODIFIERS = frozenset({"TEXT", "CODE"})
_OF_A_VALUE = {
    "INFERRED FROM": _VALUES | {"IMAGE", "SCOORD", "CONTAINER"},
    "HAS PROPERTIES": _VALUES | {"IMAGE", "SCOORD", "CONTAINER"},
    "HAS OBS CONTEXT": _VALUES | {"COMPOSITE"},
    "HAS CONCEPT MOD": _MODIFIERS,
}
_RELATIONSHIPS = {
    "CONTAINER": {
        "CONTAINS": _VALUES | {"COMPOSITE", "IMAGE", "WAVEFORM", "SCOORD", "CONTAINER"},
        "HAS OBS CONTEXT": _VALUES | {"COMPOSITE"},
        "HAS CONCEPT MOD": _MODIFIERS,
    },
    "SCOORD": {"SELECTED FROM": frozenset({"IMAGE"}), "HAS CONCEPT MOD": _MODIFIERS},
    "TEXT": _OF_A_VALUE,
    "CODE": _OF_A_VALUE,
    "NUM": _OF_A_VALUE,
}
"""What may stand below what, and how (by value; the rows that our documents could use)."""

_VALUE_OF = {
    "TEXT": "TextValue",
    "CODE": "ConceptCodeSequence",
    "NUM": "MeasuredValueSequence",
    "UIDREF": "UID",
    "IMAGE": "ReferencedSOPSequence",
    "SCOORD": "GraphicData",
    "CONTAINER": "ContinuityOfContent",
}

CONTENT = Tag("ContentSequence")
_NAME = Tag("ConceptNameCodeSequence")
_MEASURED = Tag("MeasuredValueSequence")
_UNITS = Tag("MeasurementUnitsCodeSequence")
_SOP = Tag("ReferencedSOPSequence")

_UNNAMED = frozenset({"IMAGE", "SCOORD"})
"""Content items that may go without a concept name (C.17.3.2)."""


def check_content(document: Dataset, basis: Basis) -> str | None:
    """Look at a content tree.

    Parameters
    ----------
    document : pydicom.Dataset
        A structured report.
    basis : Basis
        What it is about.

    Returns
    -------
    str, optional
        The first thing that is wrong, without the values of the patient.
    """
    template = document.get("ContentTemplateSequence")
    expected = _TEMPLATES.get(document.SOPClassUID)
    if expected is None or not template or template[0].TemplateIdentifier != expected:
        return f"the root does not follow TID {expected}"
    evidence = {
        sop.ReferencedSOPInstanceUID: sop.ReferencedSOPClassUID
        for study in document.get("CurrentRequestedProcedureEvidenceSequence") or []
        for series in study.ReferencedSeriesSequence
        for sop in series.ReferencedSOPSequence
    }
    for uid, sop_class in evidence.items():
        if uid not in basis.headers or basis.headers[uid].SOPClassUID != sop_class:
            return "the evidence names an object that is none of the source's"
    allowed = _VALUE_TYPES[document.SOPClassUID]
    items = _Items(document.get("SpecificCharacterSet"))
    for parent, item, where in _walk(document, items):
        complaint = (
            _relation(parent, item, allowed)
            or _value(item, items)
            or _reference(item, evidence, basis, items)
            or _codes(item, items)
        )
        if complaint is not None:
            return f"content item {where}: {complaint}"
    return None


class _Items:
    """The items of sequences, each read once: of most there are hundreds, equal to the last byte.

    Parameters
    ----------
    character_set : str or sequence of str, optional
        Specific Character Set of the document.
    """

    def __init__(self, character_set: str | MutableSequence[str] | None) -> None:
        self._encodings = convert_encodings(character_set)
        self._read: dict[bytes, Dataset] = {}
        self.codes_seen: set[tuple[BaseTag, int]] = set()

    def of(self, parent: Dataset, tag: BaseTag) -> list[Dataset]:
        """The items of a sequence, none where it is not there; equal ones are the same."""
        if tag not in parent:
            return []
        element = parent.get_item(tag)
        if not element.is_raw:  # it was looked at before, or has no length
            return list(element.value or ())
        return [self._item(encoded) for encoded in _cut(element.value or b"")]

    def _item(self, encoded: bytes) -> Dataset:
        item = self._read.get(encoded)
        if item is None:
            item = read_dataset(BytesIO(encoded), False, True, parent_encoding=self._encodings)
            self._read[encoded] = item
        return item


def _cut(sequence: bytes) -> Iterator[bytes]:
    """The items of a sequence, with explicit VR and of defined length, without their heads."""
    at = 0
    while at < len(sequence):
        group, element, length = unpack_from("<HHL", sequence, at)
        at += 8
        if (group, element) != (0xFFFE, 0xE000) or at + length > len(sequence):
            raise ValueError("no item, or one that is cut short")
        yield sequence[at : at + length]
        at += length


def _walk(
    item: Dataset,
    items: _Items,
    where: str = "1",
    parent: Dataset | None = None,
    seen: set[tuple[str | None, int]] | None = None,
) -> Iterator[tuple[Dataset | None, Dataset, str]]:
    """Content items with what they stand below and their place, as ``1.4.2``.

    Of equal ones below the same kind of item the first: it answers for the others.
    """
    yield parent, item, where
    seen = set() if seen is None else seen
    value_type = item.get("ValueType")
    for number, child in enumerate(items.of(item, CONTENT), start=1):
        if (value_type, id(child)) not in seen:
            seen.add((value_type, id(child)))
            yield from _walk(child, items, f"{where}.{number}", item, seen)


def _relation(parent: Dataset | None, item: Dataset, allowed: frozenset[str]) -> str | None:
    value_type = item.get("ValueType")
    if value_type not in allowed:
        return f"value type {value_type} does not belong here"
    if parent is None:
        return None if value_type == "CONTAINER" else "the root is no container"
    relation = item.get("RelationshipType")
    rows = _RELATIONSHIPS.get(parent.ValueType, {})
    if value_type not in rows.get(relation, ()):
        return f"{parent.ValueType} {relation} {value_type} is no relationship of the standard"
    return None


def _value(item: Dataset, items: _Items) -> str | None:
    value_type = item.ValueType
    if value_type not in _UNNAMED and not items.of(item, _NAME):
        return "has no concept name"
    keyword = _VALUE_OF.get(value_type)
    if keyword is not None and not _is_filled(item, keyword):
        return f"has no {keyword}"
    if value_type == "NUM":
        measured = items.of(item, _MEASURED)[0]
        number = float(measured.NumericValue)
        unit = items.of(measured, _UNITS)[0].CodeValue
        if not math.isfinite(number) or (unit == "%" and not 0 <= number <= 100):
            return "its number is none that a probability can be"
    return None


def _is_filled(item: Dataset, keyword: str) -> bool:
    """Whether an attribute is there and has more than padding for a value."""
    element = item.get_item(keyword) if keyword in item else None
    if element is not None and element.is_raw:
        return bool((element.value or b"").strip(b" \0"))
    return element is not None and bool(element.value)


def _reference(item: Dataset, evidence: dict[str, str], basis: Basis, items: _Items) -> str | None:
    if item.ValueType == "IMAGE":
        sop = items.of(item, _SOP)[0]
        if evidence.get(sop.ReferencedSOPInstanceUID) != sop.ReferencedSOPClassUID:
            return "refers to an object that is not in the evidence"
    if item.ValueType == "SCOORD":
        image = items.of(item, CONTENT)[0]
        uid = items.of(image, _SOP)[0].ReferencedSOPInstanceUID
        header = basis.headers.get(uid, Dataset())
        across, down = item.GraphicData[::2], item.GraphicData[1::2]
        columns, rows = header.get("Columns"), header.get("Rows")
        if min(across) < 0 or min(down) < 0:
            return "its region begins outside the image"
        if (columns and max(across) > columns) or (rows and max(down) > rows):
            return "its region ends outside the image"
    return None


def _codes(item: Dataset, items: _Items) -> str | None:
    """Look at the codes of a content item, but not at those of the items below it."""
    for tag in item.keys() - {CONTENT}:
        if item.get_item(tag).VR != "SQ":
            continue
        keyword = keyword_for_tag(tag)
        for one in items.of(item, tag):
            if (tag, id(one)) in items.codes_seen:
                continue
            items.codes_seen.add((tag, id(one)))
            complaint = _code(one, keyword) if keyword.endswith("CodeSequence") else None
            if complaint := complaint or _codes(one, items):
                return complaint
    return None


def _code(code: Dataset, keyword: str) -> str | None:
    limits = (("CodeValue", 16), ("CodingSchemeDesignator", 16), ("CodeMeaning", 64))
    for part, limit in limits:
        value = str(code.get(part) or "")
        if not value and part == "CodeValue" and code.get("LongCodeValue"):
            continue
        if not 0 < len(value) <= limit:
            return f"a code in {keyword} has a {part} of {len(value)} characters"
    return None
