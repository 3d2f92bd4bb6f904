"""One record of the audit trail, as the standard's XML.

References
----------
DICOM PS3.15: schema in A.5.1, conventions in A.5.2.
"""

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from ipaddress import ip_address
from xml.etree import ElementTree as ET

from pydicom.sr.coding import Code

LONGEST_VALUE = 256
"""Characters of a value that are kept: peers choose AE titles, UIDs and patient IDs."""

APPLICATION_SERVER = "4"
"""The kind of source that the node is (PS3.15, A.5.1.2.1)."""

_NOT_PLAIN = re.compile("[^ -~\u00a0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class Action(StrEnum):
    """EventActionCode."""

    CREATE = "C"
    READ = "R"
    UPDATE = "U"
    EXECUTE = "E"


class EventOutcome(StrEnum):
    """EventOutcomeIndicator."""

    SUCCESS = "0"
    MINOR_FAILURE = "4"
    SERIOUS_FAILURE = "8"


class ObjectKind(StrEnum):
    """ParticipantObjectTypeCode."""

    PERSON = "1"
    SYSTEM = "2"


class ObjectRole(StrEnum):
    """ParticipantObjectTypeCodeRole."""

    PATIENT = "1"
    REPORT = "3"
    SECURITY_RESOURCE = "13"


@dataclass(frozen=True)
class Participant:
    """A process or a node that took part.

    Parameters
    ----------
    user_id : str
        A process as logs name it, or a node as the administrator does (A.5.2.1).
    ae_title : str
        Empty if not known.
    address : str
        IP address or host name; empty if not known.
    role : pydicom.sr.coding.Code, optional
        Of CID 402.
    name : str
        Of a process.
    is_requestor : bool
        Whether it began.
    medium : pydicom.sr.coding.Code, optional
        Of CID 405: by what data leaves the node.
    """

    user_id: str
    ae_title: str
    address: str = ""
    role: Code | None = None
    name: str = ""
    is_requestor: bool = False
    medium: Code | None = None


@dataclass(frozen=True)
class ParticipantObject:
    """What it was done to.

    Parameters
    ----------
    id : str
    id_type : pydicom.sr.coding.Code
        What kind of identifier that is.
    name : str
    kind : ObjectKind
    role : ObjectRole
    details : tuple of tuple of str
        Name and value of each.
    accession_number : str
        Of a study; empty if it has none.
    instances : mapping of str to int, optional
        Of a study: how many of each SOP class.
    query : bytes, optional
        What was asked: the schema has it instead of a name.
    """

    id: str
    id_type: Code
    name: str
    kind: ObjectKind
    role: ObjectRole
    details: tuple[tuple[str, str], ...] = ()
    accession_number: str = ""
    instances: Mapping[str, int] | None = None
    query: bytes | None = None


@dataclass(frozen=True)
class AuditMessage:
    """One record.

    Parameters
    ----------
    event : pydicom.sr.coding.Code
        Of CID 400.
    action : Action
    at : datetime.datetime
        When it happened; with its time zone.
    source : str
        The system that says so.
    participants : tuple of Participant
        One at least.
    objects : tuple of ParticipantObject
    outcome : EventOutcome
    kind : pydicom.sr.coding.Code, optional
        What is special to the event (CID 401, 403).
    """

    event: Code
    action: Action
    at: datetime
    source: str
    participants: tuple[Participant, ...]
    objects: tuple[ParticipantObject, ...] = ()
    outcome: EventOutcome = EventOutcome.SUCCESS
    kind: Code | None = None

    def xml(self) -> bytes:
        """The record as XML: one line of ASCII, as the schema of PS3.15, A.5.1.1, has it."""
        root = ET.Element("AuditMessage")
        event = _add(
            root,
            "EventIdentification",
            EventActionCode=self.action,
            EventDateTime=self.at.astimezone(UTC).isoformat(timespec="milliseconds"),
            EventOutcomeIndicator=self.outcome,
        )
        _add_code(event, "EventID", self.event)
        if self.kind is not None:
            _add_code(event, "EventTypeCode", self.kind)
        for participant in self.participants:
            _add_participant(root, participant)
        source = _add(root, "AuditSourceIdentification", AuditSourceID=self.source)
        _add(source, "AuditSourceTypeCode", **{"csd-code": APPLICATION_SERVER})
        for item in self.objects:
            _add_object(root, item)
        return bytes(ET.tostring(root, encoding="us-ascii", xml_declaration=False))


def plain(value: str) -> str:
    r"""A value that XML and a log can hold: a line feed, as one example, becomes ``\x0a``."""
    shown = _NOT_PLAIN.sub(lambda found: f"\\x{ord(found[0]):02x}", value.strip())
    return shown if len(shown) <= LONGEST_VALUE else shown[: LONGEST_VALUE - 1] + "…"


def _add(parent: ET.Element, tag: str, **attributes: str) -> ET.Element:
    return ET.SubElement(parent, tag, {name: plain(value) for name, value in attributes.items()})


def _add_code(parent: ET.Element, tag: str, code: Code) -> None:
    attributes = {
        "csd-code": code.value,
        "codeSystemName": code.scheme_designator,
        "originalText": code.meaning,
    }
    _add(parent, tag, **attributes)


def _add_participant(root: ET.Element, participant: Participant) -> None:
    attributes = {
        "UserID": participant.user_id,
        "UserIsRequestor": "true" if participant.is_requestor else "false",
    }
    if participant.ae_title:
        attributes["AlternativeUserID"] = f"AETITLES={participant.ae_title.strip()}"
    if participant.name:
        attributes["UserName"] = participant.name
    if participant.address:
        attributes["NetworkAccessPointID"] = participant.address
        attributes["NetworkAccessPointTypeCode"] = _kind_of_address(participant.address)
    element = _add(root, "ActiveParticipant", **attributes)
    if participant.role is not None:
        _add_code(element, "RoleIDCode", participant.role)
    if participant.medium is not None:
        _add_code(_add(element, "MediaIdentifier"), "MediaType", participant.medium)


def _kind_of_address(address: str) -> str:
    """NetworkAccessPointTypeCode: 1 for a name of a machine, 2 for an IP address."""
    try:
        ip_address(address)
    except ValueError:
        return "1"
    return "2"


def _add_object(root: ET.Element, item: ParticipantObject) -> None:
    element = _add(
        root,
        "ParticipantObjectIdentification",
        ParticipantObjectID=item.id,
        ParticipantObjectTypeCode=item.kind,
        ParticipantObjectTypeCodeRole=item.role,
    )
    _add_code(element, "ParticipantObjectIDTypeCode", item.id_type)
    if item.query is None:
        ET.SubElement(element, "ParticipantObjectName").text = plain(item.name)
    else:
        query = base64.b64encode(item.query).decode()
        ET.SubElement(element, "ParticipantObjectQuery").text = query
    for name, value in item.details:
        encoded = base64.b64encode(plain(value).encode()).decode()
        element.append(ET.Element("ParticipantObjectDetail", type=name, value=encoded))
    if item.instances is not None:
        description = _add(element, "ParticipantObjectDescription")
        if item.accession_number:
            _add(description, "Accession", Number=item.accession_number)
        for sop_class, number in sorted(item.instances.items()):
            _add(description, "SOPClass", UID=sop_class, NumberOfInstances=str(number))
