"""What PS3.15, A.5.1.1, allows in an audit message, as a table; and a check by it.

The standard gives its schema in RELAX NG; this says the same with regular
expressions: over the sequence of an element's children, and over the value of
each attribute.
"""

import re
from base64 import b64decode
from dataclasses import dataclass, field
from xml.etree import ElementTree as ET

ANY = r".*"
BASE64 = r"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?"
BOOLEAN = r"true|false|0|1"
DATE_TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)?"
CODE = {"csd-code": ANY, "codeSystemName": ANY, "originalText": ANY}


@dataclass(frozen=True)
class Rule:
    """What an element may hold."""

    children: str = ""
    required: dict[str, str] = field(default_factory=dict)
    optional: dict[str, str] = field(default_factory=dict)
    text: str | None = None


CODED = Rule(required=CODE, optional={"displayName": ANY})
UID = Rule(required={"UID": ANY})

RULES = {
    "AuditMessage": Rule(
        "EventIdentification,(?:ActiveParticipant,)+AuditSourceIdentification,"
        "(?:ParticipantObjectIdentification,)*"
    ),
    "EventIdentification": Rule(
        "EventID,(?:EventTypeCode,)*(?:EventOutcomeDescription,)?",
        {"EventDateTime": DATE_TIME, "EventOutcomeIndicator": "0|4|8|12"},
        {"EventActionCode": "[CRUDE]"},
    ),
    "EventID": CODED,
    "EventTypeCode": CODED,
    "EventOutcomeDescription": Rule(text=ANY),
    "ActiveParticipant": Rule(
        "(?:RoleIDCode,)*(?:MediaIdentifier,)?",
        {"UserID": ANY, "UserIsRequestor": BOOLEAN},
        {
            "AlternativeUserID": ANY,
            "UserName": ANY,
            "NetworkAccessPointID": ANY,
            "NetworkAccessPointTypeCode": "[1-5]",
        },
    ),
    "RoleIDCode": CODED,
    "MediaIdentifier": Rule("MediaType,"),
    "MediaType": CODED,
    "AuditSourceIdentification": Rule(
        "(?:AuditSourceTypeCode,)*", {"AuditSourceID": ANY}, {"AuditEnterpriseSiteID": ANY}
    ),
    "AuditSourceTypeCode": Rule(required={"csd-code": "[1-9]"}),
    "ParticipantObjectIdentification": Rule(
        "ParticipantObjectIDTypeCode,(?:ParticipantObjectName,|ParticipantObjectQuery,)"
        "(?:ParticipantObjectDetail,)*(?:ParticipantObjectDescription,)*",
        {"ParticipantObjectID": ANY},
        {
            "ParticipantObjectTypeCode": "[1-4]",
            "ParticipantObjectTypeCodeRole": "[1-9]|1[0-9]|2[0-6]",
            "ParticipantObjectDataLifeCycle": "[1-9]|1[0-5]",
            "ParticipantObjectSensitivity": ANY,
        },
    ),
    "ParticipantObjectIDTypeCode": CODED,
    "ParticipantObjectName": Rule(text=ANY),
    "ParticipantObjectQuery": Rule(text=BASE64),
    "ParticipantObjectDetail": Rule(required={"type": ANY, "value": BASE64}),
    "ParticipantObjectDescription": Rule(
        "(?:MPPS,)*(?:Accession,)*(?:SOPClass,)*(?:ParticipantObjectContainsStudy,)?"
        "(?:Encrypted,)?(?:Anonymized,)?"
    ),
    "MPPS": UID,
    "Accession": Rule(required={"Number": ANY}),
    "SOPClass": Rule("(?:Instance,)*", {"NumberOfInstances": r"[+-]?\d+"}, {"UID": ANY}),
    "Instance": UID,
    "ParticipantObjectContainsStudy": Rule("(?:StudyIDs,)*"),
    "StudyIDs": UID,
    "Encrypted": Rule(text=BOOLEAN),
    "Anonymized": Rule(text=BOOLEAN),
}


def faults(element: ET.Element) -> list[str]:
    """What the schema does not allow in an element and what it holds; empty if it is valid."""
    rule = RULES.get(element.tag)
    if rule is None:
        return [f"{element.tag} is not in the schema"]
    found = [f"{element.tag} lacks {n}" for n in rule.required if n not in element.attrib]
    for name, value in element.attrib.items():
        pattern = (rule.required | rule.optional).get(name)
        if pattern is None or not re.fullmatch(pattern, value, re.DOTALL):
            found.append(f"{element.tag}: {name}={value!r}")
    sequence = "".join(f"{child.tag}," for child in element)
    if not re.fullmatch(rule.children, sequence):
        found.append(f"{element.tag} holds {sequence}")
    own_text = (element.text or "") + "".join(child.tail or "" for child in element)
    if not re.fullmatch(rule.text or r"\s*", own_text, re.DOTALL):
        found.append(f"{element.tag} says {own_text!r}")
    return found + [fault for child in element for fault in faults(child)]


def check(record: bytes) -> ET.Element:
    """The message of a record; AssertionError if it is not valid or not one line of ASCII."""
    assert b"\n" not in record.rstrip(b"\n")
    assert record.isascii()
    root = ET.fromstring(record)
    assert root.tag == "AuditMessage"
    assert faults(root) == []
    return root


def detail(item: ET.Element) -> dict[str, str]:
    """The details of an object, decoded."""
    return {
        found.attrib["type"]: b64decode(found.attrib["value"]).decode()
        for found in item.findall("ParticipantObjectDetail")
    }
