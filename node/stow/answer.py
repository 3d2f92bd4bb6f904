"""What became of the instances of a request, and how that is answered: pure.

References
----------
Store Transaction, its status codes: DICOM PS3.18, 10.5.3. Store Instances Response Module and
Failure Reasons: PS3.18, annex I. DICOM JSON: PS3.18, annex F. Native DICOM Model: PS3.19, A.1.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import IntEnum
from xml.etree import ElementTree

from node.dicom import Status
from node.spool import is_uid


class Reason(IntEnum):
    """Failure Reasons beside those that C-STORE has too (`Status`)."""

    PROCESSING_FAILURE = 0x0110
    SOP_CLASS_NOT_SUPPORTED = 0x0122
    TOO_LARGE = 0xA701
    TRANSFER_SYNTAX_NOT_SUPPORTED = 0xC122


@dataclass(frozen=True)
class Reference:
    """An instance, as a sender knows it.

    Parameters
    ----------
    sop_class, instance : str
        UIDs.
    """

    sop_class: str
    instance: str


@dataclass
class Answer:
    """What became of the instances of a request.

    Parameters
    ----------
    stored : list of Reference
    failed : list of tuple
        Instance and Failure Reason.
    others : list of int
        Failure Reasons of what does not say which instance it is.
    trouble : str
        Why the request was not read to its end; empty if it was.
    is_slow : bool
        Whether that was because it did not come.
    """

    stored: list[Reference] = field(default_factory=list)
    failed: list[tuple[Reference, int]] = field(default_factory=list)
    others: list[int] = field(default_factory=list)
    trouble: str = ""
    is_slow: bool = False

    @property
    def count(self) -> int:
        """Instances, stored or not."""
        return len(self.stored) + len(self.failed) + len(self.others)

    def fail(self, sop_class: str, instance: str, reason: int) -> None:
        """Note that an instance was not stored."""
        if is_uid(sop_class) and is_uid(instance):
            self.failed.append((Reference(sop_class, instance), reason))
        else:
            self.others.append(reason)

    def break_off(self, trouble: str, *, is_slow: bool = False) -> None:
        """Note that nothing more is read."""
        self.trouble, self.is_slow = trouble, is_slow
        if self.count:
            self.others.append(Status.CANNOT_UNDERSTAND)

    @property
    def status(self) -> int:
        """Of HTTP (PS3.18, table 10.5.3-1)."""
        reasons = {reason for _, reason in self.failed} | set(self.others)
        if self.stored:
            return 202 if reasons else 200
        if self.is_slow:
            return 408
        if not reasons:
            return 400
        if reasons == {Reason.TOO_LARGE}:
            return 413
        return 503 if reasons == {Status.OUT_OF_RESOURCES} else 409


_Value = str | int | list["_Attributes"] | None
_Attributes = list[tuple[str, str, str, _Value]]
"""Tag, VR, keyword and value of each; None is empty."""

# Type 2, and empty: the node is no archive, nobody retrieves from it.
_RETRIEVE_URL = ("00081190", "UR", "RetrieveURL", None)


def _attributes(answer: Answer) -> _Attributes:
    """The Store Instances Response Module."""
    out: _Attributes = [_RETRIEVE_URL]
    if answer.failed:
        items = [[*_reference(one), _reason(reason)] for one, reason in answer.failed]
        out.append(("00081198", "SQ", "FailedSOPSequence", items))
    if answer.stored:
        stored = [[*_reference(one), _RETRIEVE_URL] for one in answer.stored]
        out.append(("00081199", "SQ", "ReferencedSOPSequence", stored))
    if answer.others:
        others = [[_reason(reason)] for reason in answer.others]
        out.append(("0008119A", "SQ", "OtherFailuresSequence", others))
    return out


def _reference(one: Reference) -> Iterator[tuple[str, str, str, _Value]]:
    yield "00081150", "UI", "ReferencedSOPClassUID", one.sop_class
    yield "00081155", "UI", "ReferencedSOPInstanceUID", one.instance


def _reason(reason: int) -> tuple[str, str, str, _Value]:
    return "00081197", "US", "FailureReason", int(reason)


def as_json(answer: Answer) -> bytes:
    """The answer as application/dicom+json."""
    return json.dumps(_json(_attributes(answer))).encode()


def _json(attributes: _Attributes) -> dict[str, object]:
    out: dict[str, object] = {}
    for tag, vr, _, value in attributes:
        if isinstance(value, list):
            out[tag] = {"vr": vr, "Value": [_json(item) for item in value]}
        else:
            out[tag] = {"vr": vr} if value is None else {"vr": vr, "Value": [value]}
    return out


def as_xml(answer: Answer) -> bytes:
    """The answer as application/dicom+xml."""
    root = ElementTree.Element(
        "NativeDicomModel", {"xmlns": "http://dicom.nema.org/PS3.19/models/NativeDICOM"}
    )
    _add_to(root, _attributes(answer))
    return bytes(ElementTree.tostring(root, encoding="utf-8", xml_declaration=True))


def _add_to(parent: ElementTree.Element, attributes: _Attributes) -> None:
    for tag, vr, keyword, value in attributes:
        attribute = {"tag": tag, "vr": vr, "keyword": keyword}
        element = ElementTree.SubElement(parent, "DicomAttribute", attribute)
        if isinstance(value, list):
            for number, item in enumerate(value, start=1):
                _add_to(ElementTree.SubElement(element, "Item", number=str(number)), item)
        elif value is not None:
            ElementTree.SubElement(element, "Value", number="1").text = str(value)


WRITERS: dict[str, Callable[[Answer], bytes]] = {
    "application/dicom+json": as_json,
    "application/json": as_json,
    "application/dicom+xml": as_xml,
}
"""How an answer is written, by media type; the first one where anything is taken."""
