"""Part of the self-check: the content tree of a structured report.

References
----------
DICOM PS3.3: value types and relationships of each IOD (A.35.1.3.1, A.35.2.3.1,
A.35.3.3.1, A.35.4.3.1, A.35.13.3.1), content items (C.17.3), code sequences
(8.8), limits of VRs (PS3.5, 6.2).
"""

import math
from collections.abc import Iterator

from pydicom.dataset import Dataset
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
    for parent, item, where in walk(document):
        complaint = (
            _relation(parent, item, allowed) or _value(item) or _reference(item, evidence, basis)
        )
        if complaint is not None:
            return f"content item {where}: {complaint}"
    return _codes(document)


def walk(
    item: Dataset, where: str = "1", parent: Dataset | None = None
) -> Iterator[tuple[Dataset | None, Dataset, str]]:
    """Every content item with what it stands below and its place, as ``1.4.2``."""
    yield parent, item, where
    for number, child in enumerate(item.get("ContentSequence") or [], start=1):
        yield from walk(child, f"{where}.{number}", item)


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


def _value(item: Dataset) -> str | None:
    value_type = item.ValueType
    if value_type not in _UNNAMED and not item.get("ConceptNameCodeSequence"):
        return "has no concept name"
    keyword = _VALUE_OF.get(value_type)
    if keyword is not None and not item.get(keyword):
        return f"has no {keyword}"
    if value_type == "NUM":
        measured = item.MeasuredValueSequence[0]
        number = float(measured.NumericValue)
        unit = measured.MeasurementUnitsCodeSequence[0].CodeValue
        if not math.isfinite(number) or (unit == "%" and not 0 <= number <= 100):
            return "its number is none that a probability can be"
    return None


def _reference(item: Dataset, evidence: dict[str, str], basis: Basis) -> str | None:
    if item.ValueType == "IMAGE":
        sop = item.ReferencedSOPSequence[0]
        if evidence.get(sop.ReferencedSOPInstanceUID) != sop.ReferencedSOPClassUID:
            return "refers to an object that is not in the evidence"
    if item.ValueType == "SCOORD":
        uid = item.ContentSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID
        header = basis.headers.get(uid, Dataset())
        across, down = item.GraphicData[::2], item.GraphicData[1::2]
        columns, rows = header.get("Columns"), header.get("Rows")
        if min(across) < 0 or min(down) < 0:
            return "its region begins outside the image"
        if (columns and max(across) > columns) or (rows and max(down) > rows):
            return "its region ends outside the image"
    return None


def _codes(document: Dataset) -> str | None:
    for element in document.iterall():
        if element.VR != "SQ" or not element.keyword.endswith("CodeSequence"):
            continue
        for code in element.value:
            limits = (("CodeValue", 16), ("CodingSchemeDesignator", 16), ("CodeMeaning", 64))
            for keyword, limit in limits:
                value = str(code.get(keyword) or "")
                if not value and keyword == "CodeValue" and code.get("LongCodeValue"):
                    continue
                if not 0 < len(value) <= limit:
                    return f"a code in {element.keyword} has a {keyword} of {len(value)} characters"
    return None
