"""Audit messages: each is valid by the standard's schema, whatever peers put into it."""

from base64 import b64decode
from collections import Counter
from collections.abc import Callable
from copy import deepcopy
from datetime import UTC, datetime, timedelta, timezone
from io import BytesIO
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, SecondaryCaptureImageStorage
from pynetdicom.dsutils import decode

from node.audit import (
    Action,
    Alert,
    Authentication,
    EventOutcome,
    Peer,
    Person,
    Study,
    Tally,
    events,
)
from node.audit.events import NOT_RECORDED, Process
from node.audit.message import LONGEST_VALUE, AuditMessage
from node.judgement import Model
from tests.ct import image
from tests.node.audit_schema import check, detail, faults

AT = datetime(2026, 11, 24, 2, 30, 15, 123456, tzinfo=UTC)
PROCESS = Process("receive", "ICHNODE", "node1", 4711)
SCANNER = Peer("SCANNER", "SCANNER", "10.0.0.9")
READER = Person("anna", "10.0.0.8")
TEAM = Peer("stroke-team", "", "ris.example")
PACS = Peer("pacs", "PACS_AE", "pacs.example")
STUDY = Study("1.2.3", "P 1", "A-7")
MODEL = Model("phantom", "1.0", "ab" * 32, "phantoms", "research")


def tally(study: Study = STUDY, action: Action = Action.CREATE) -> Tally:
    """Two CT images and a capture of one study."""
    counted = Tally()
    counted.add(study, CTImageStorage, action)
    counted.add(study, CTImageStorage, action)
    counted.add(study, SecondaryCaptureImageStorage, action)
    return counted


EVERY = (
    events.application_activity(PROCESS, AT, starts=True),
    events.application_activity(PROCESS, AT, starts=False),
    *events.instances_received(PROCESS, AT, SCANNER, tally()),
    *events.instances_sent(PROCESS, AT, PACS, tally(action=Action.READ)),
    events.queried(PROCESS, AT, PACS, "1.2.840.10008.5.1.4.1.2.2.1", {"AccessionNumber": "A-7"}),
    events.series_judged(PROCESS, AT, STUDY, "1.2.3.4", 2, Counter({"1.2": 30}), MODEL),
    events.series_seen(PROCESS, AT, READER, STUDY, "1.2.3.4"),
    events.series_begun_again(PROCESS, AT, READER, STUDY, "1.2.3.4"),
    events.series_read(PROCESS, AT, READER, STUDY, "1.2.3.4", "page"),
    events.series_read(PROCESS, AT, READER, STUDY, None, "hl7"),
    events.data_exported(
        PROCESS, AT, TEAM, events.Medium.EMAIL, "mailto:a@example", STUDY, succeeded=True
    ),
    events.data_exported(
        PROCESS, AT, TEAM, events.Medium.URI, "mllps://ris:2575", STUDY, succeeded=False
    ),
    events.user_authenticated(PROCESS, AT, READER, Authentication.LOGIN, succeeded=True),
    events.user_authenticated(PROCESS, AT, READER, Authentication.LOGOUT, succeeded=True),
    events.user_authenticated(PROCESS, AT, READER, Authentication.LOGIN, succeeded=False),
    events.security_alert(PROCESS, AT, Alert.REFUSED_PEER, "rejected", SCANNER),
    events.security_alert(PROCESS, AT, Alert.REFUSED_INSTANCE, "bad", SCANNER, Path("/q/ä b")),
    events.security_alert(PROCESS, AT, Alert.RECORDS_LOST, "3 were lost"),
)
"""A message of each kind."""


def only(messages: object) -> ET.Element:
    """The one message there is, checked by the schema."""
    (message,) = messages  # type: ignore[misc]
    return check(message.xml())


def code(root: ET.Element, path: str) -> tuple[str, str, str]:
    """Value, scheme and meaning of the code at a place."""
    found = root.find(path)
    assert found is not None, path
    return tuple(found.attrib[n] for n in ("csd-code", "codeSystemName", "originalText"))  # type: ignore[return-value]


def participants(root: ET.Element) -> list[dict[str, str]]:
    """The attributes of each participant, with its role."""
    return [
        {**p.attrib, "role": "".join(r.attrib["csd-code"] for r in p.findall("RoleIDCode"))}
        for p in root.findall("ActiveParticipant")
    ]


# -- the schema ------------------------------------------------------------------


@pytest.mark.parametrize("message", EVERY)
def test_a_message_is_valid_by_the_schema(message: AuditMessage) -> None:
    check(message.xml())


def _without(path: str, name: str) -> Callable[[ET.Element], None]:
    return lambda root: root.find(path).attrib.pop(name)  # type: ignore[union-attr, return-value]


def _set(path: str, name: str, value: str) -> Callable[[ET.Element], None]:
    return lambda root: root.find(path).set(name, value)  # type: ignore[union-attr]


def _move_last(root: ET.Element) -> None:
    root.append(root[0])
    root.remove(root[0])


SPOILERS: dict[str, Callable[[ET.Element], None]] = {
    "no time": _without("EventIdentification", "EventDateTime"),
    "a time in words": _set("EventIdentification", "EventDateTime", "yesterday"),
    "an outcome that is none": _set("EventIdentification", "EventOutcomeIndicator", "5"),
    "an action that is none": _set("EventIdentification", "EventActionCode", "X"),
    "the old name of a code": _set("EventIdentification/EventID", "code", "110104"),
    "a code without meaning": _without("EventIdentification/EventID", "originalText"),
    "a participant without a name": _without("ActiveParticipant", "UserID"),
    "a requestor of perhaps": _set("ActiveParticipant", "UserIsRequestor", "perhaps"),
    "no source": _without("AuditSourceIdentification", "AuditSourceID"),
    "an object without an ID": _without("ParticipantObjectIdentification", "ParticipantObjectID"),
    "a number that is none": _set(".//SOPClass", "NumberOfInstances", "some"),
    "another order": _move_last,
    "a stranger": lambda root: root.append(ET.Element("Patient")),
    "text between": lambda root: setattr(root, "text", "hello"),
}


@pytest.mark.parametrize("spoil", SPOILERS.values(), ids=SPOILERS)
def test_what_is_not_valid_is_seen(spoil: Callable[[ET.Element], None]) -> None:
    (message,) = events.instances_received(PROCESS, AT, SCANNER, tally())
    root = deepcopy(ET.fromstring(message.xml()))
    assert faults(root) == []

    spoil(root)

    assert faults(root)


ANYTHING = st.text(max_size=300) | st.text(st.characters(max_codepoint=0x2F), max_size=40)


@given(ANYTHING, ANYTHING, ANYTHING, ANYTHING, ANYTHING)
def test_whatever_a_peer_sends_a_record_is_one_valid_line(
    title: str, address: str, study: str, patient: str, accession: str
) -> None:
    counted = Tally()
    counted.add(Study(study, patient, accession), title, Action.CREATE)

    root = only(events.instances_received(PROCESS, AT, Peer(title, title, address), counted))

    assert all(len(v) <= LONGEST_VALUE for e in root.iter() for v in e.attrib.values())


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        ("CT\r\n<85>1 - forged", "CT\\x0d\\x0a<85>1 - forged"),
        ("CT\0\x1b[31m", "CT\\x00\\x1b[31m"),
        ("Gerät", "Gerät"),
        ("\ud800", "\\xd800"),
        ('"/><AuditMessage>', '"/><AuditMessage>'),
        ("x" * 1000, "x" * (LONGEST_VALUE - 1) + "…"),
    ],
)
def test_control_characters_show_and_markup_stays_text(sent: str, shown: str) -> None:
    root = only(events.instances_received(PROCESS, AT, Peer(sent, "A", "10.0.0.9"), tally()))

    assert participants(root)[0]["UserID"] == shown


# -- what each message says ------------------------------------------------------


@pytest.mark.parametrize(
    ("starts", "kind"),
    [
        (True, ("110120", "DCM", "Application Start")),
        (False, ("110121", "DCM", "Application Stop")),
    ],
)
def test_a_part_that_starts_or_stops_is_application_activity(
    starts: bool, kind: tuple[str, str, str]
) -> None:
    root = only([events.application_activity(PROCESS, AT, starts=starts)])

    assert code(root, "EventIdentification/EventID") == ("110100", "DCM", "Application Activity")
    assert code(root, "EventIdentification/EventTypeCode") == kind
    assert root.find("EventIdentification").attrib == {
        "EventActionCode": "E",
        "EventDateTime": "2026-11-24T02:30:15.123+00:00",
        "EventOutcomeIndicator": "0",
    }
    assert participants(root) == [
        {
            "UserID": "receive-4711@node1",
            "AlternativeUserID": "AETITLES=ICHNODE",
            "UserName": "ichnode receive",
            "UserIsRequestor": "false",
            "NetworkAccessPointID": "node1",
            "NetworkAccessPointTypeCode": "1",
            "role": "110150",
        }
    ]
    assert root.find("AuditSourceIdentification").attrib == {"AuditSourceID": "ICHNODE@node1"}


def test_a_time_of_another_zone_is_recorded_in_utc() -> None:
    at = AT.astimezone(timezone(timedelta(hours=5, minutes=30)))
    root = only([events.application_activity(PROCESS, at, starts=True)])

    assert root.find("EventIdentification").get("EventDateTime") == "2026-11-24T02:30:15.123+00:00"


def test_what_was_received_says_who_sent_how_much_of_whom() -> None:
    root = only(events.instances_received(PROCESS, AT, SCANNER, tally()))

    assert code(root, "EventIdentification/EventID")[0] == "110104"
    sender, receiver = participants(root)
    assert (sender["role"], sender["UserIsRequestor"]) == ("110153", "true")
    assert (sender["AlternativeUserID"], sender["NetworkAccessPointID"]) == (
        "AETITLES=SCANNER",
        "10.0.0.9",
    )
    assert sender["NetworkAccessPointTypeCode"] == "2"
    assert (receiver["role"], receiver["UserIsRequestor"]) == ("110152", "false")
    study, patient = root.findall("ParticipantObjectIdentification")
    assert study.get("ParticipantObjectID") == "1.2.3"
    assert code(study, "ParticipantObjectIDTypeCode")[:2] == ("110180", "DCM")
    assert (study.get("ParticipantObjectTypeCode"), study.get("ParticipantObjectTypeCodeRole")) == (
        "2",
        "3",
    )
    assert {s.get("UID"): s.get("NumberOfInstances") for s in study.iter("SOPClass")} == {
        CTImageStorage: "2",
        SecondaryCaptureImageStorage: "1",
    }
    assert [a.get("Number") for a in study.iter("Accession")] == ["A-7"]
    assert patient.get("ParticipantObjectID") == "P 1"
    assert code(patient, "ParticipantObjectIDTypeCode") == ("2", "RFC-3881", "Patient Number")


def test_patients_actions_and_outcomes_are_kept_apart() -> None:
    counted = Tally()
    other = Study("1.9", "P 2")
    counted.add(STUDY, CTImageStorage, Action.CREATE)
    counted.add(STUDY, CTImageStorage, Action.READ)
    counted.add(STUDY, CTImageStorage, Action.CREATE, EventOutcome.MINOR_FAILURE)
    counted.add(other, CTImageStorage, Action.CREATE)

    roots = [check(m.xml()) for m in events.instances_received(PROCESS, AT, SCANNER, counted)]

    assert [
        (
            root.find("ParticipantObjectIdentification").get("ParticipantObjectID"),
            root.find("EventIdentification").get("EventActionCode"),
            root.find("EventIdentification").get("EventOutcomeIndicator"),
        )
        for root in roots
    ] == [("1.2.3", "C", "0"), ("1.2.3", "R", "0"), ("1.2.3", "C", "4"), ("1.9", "C", "0")]


def test_what_was_sent_says_where_to() -> None:
    root = only(events.instances_sent(PROCESS, AT, PACS, tally(action=Action.READ)))

    sender, receiver = participants(root)
    assert (sender["UserID"], sender["role"], sender["UserIsRequestor"]) == (
        "receive-4711@node1",
        "110153",
        "true",
    )
    assert (receiver["UserID"], receiver["AlternativeUserID"], receiver["role"]) == (
        "pacs",
        "AETITLES=PACS_AE",
        "110152",
    )
    assert receiver["NetworkAccessPointTypeCode"] == "1"


def test_what_was_told_says_to_whom_and_by_what() -> None:
    """PS3.15, table A.5.3.4-1."""
    told = events.data_exported(
        PROCESS, AT, TEAM, events.Medium.URI, "mllps://ris.example:2575", STUDY, succeeded=False
    )
    root = only([told])

    assert code(root, "EventIdentification/EventID") == ("110106", "DCM", "Export")
    assert root.find("EventIdentification").get("EventActionCode") == "R"
    assert root.find("EventIdentification").get("EventOutcomeIndicator") == "4"
    assert [(p["UserID"], p["role"], p["UserIsRequestor"]) for p in participants(root)] == [
        ("receive-4711@node1", "110153", "true"),
        ("stroke-team", "110152", "false"),
        ("mllps://ris.example:2575", "110154", "false"),
    ]
    medium = root.findall("ActiveParticipant")[2]
    assert code(medium, "MediaIdentifier/MediaType") == ("110037", "DCM", "URI")
    study, patient = root.findall("ParticipantObjectIdentification")
    assert study.get("ParticipantObjectID") == "1.2.3"
    assert [a.get("Number") for a in study.iter("Accession")] == ["A-7"]
    assert patient.get("ParticipantObjectID") == "P 1"


def test_files_are_counted_by_study_and_outcome_and_one_that_is_gone_is_no_error(
    tmp_path: Path,
) -> None:
    for number in (1, 2, 3):
        dataset = image(number)
        dataset.AccessionNumber = "A-7"
        dataset.save_as(tmp_path / f"{number}.dcm", enforce_file_format=True)
    gone = tmp_path / "gone.dcm"

    counted = Tally.of_sent([tmp_path / "1.dcm", tmp_path / "2.dcm"], [tmp_path / "3.dcm", gone])

    study = Study("1.2.826.0.1.1", "T1", "A-7")
    assert counted.counts == {
        (study, Action.READ, EventOutcome.SUCCESS): Counter({CTImageStorage: 2}),
        (study, Action.READ, EventOutcome.MINOR_FAILURE): Counter({CTImageStorage: 1}),
        (Study(""), Action.READ, EventOutcome.MINOR_FAILURE): Counter({"": 1}),
    }


def test_a_judged_series_says_by_which_model() -> None:
    judged = events.series_judged(PROCESS, AT, STUDY, "1.2.3.4", 2, Counter({"1.2": 30}), MODEL)
    root = only([judged])

    assert code(root, "EventIdentification/EventID") == (
        "110103",
        "DCM",
        "DICOM Instances Accessed",
    )
    study, _patient = root.findall("ParticipantObjectIdentification")
    said = detail(study)
    assert said.pop("Software Version").startswith("ichnode ")
    assert said == {
        "Series Instance UID": "1.2.3.4",
        "Revision": "2",
        "Model Name": "phantom",
        "Model Version": "1.0",
        "Model Digest": "ab" * 32,
    }
    assert [s.get("NumberOfInstances") for s in study.iter("SOPClass")] == ["30"]


@pytest.mark.parametrize(
    ("alert", "kind", "outcome"),
    [
        (Alert.REFUSED_PEER, ("110126", "DCM", "Node Authentication"), "4"),
        (
            Alert.REFUSED_INSTANCE,
            ("refused-instance", "99ICHNODE", "Instance refused and put aside"),
            "4",
        ),
        (Alert.RECORDS_LOST, ("110133", "DCM", "Audit Recording Stopped"), "8"),
    ],
)
def test_an_alert_says_what_kind_and_how_bad(
    alert: Alert, kind: tuple[str, str, str], outcome: str
) -> None:
    root = only([events.security_alert(PROCESS, AT, alert, "see there", SCANNER)])

    assert code(root, "EventIdentification/EventID") == ("110113", "DCM", "Security Alert")
    assert code(root, "EventIdentification/EventTypeCode") == kind
    assert root.find("EventIdentification").get("EventOutcomeIndicator") == outcome
    reporter, performer = participants(root)
    assert reporter["UserID"] == "receive-4711@node1"
    assert (performer["UserID"], performer["UserIsRequestor"]) == ("SCANNER", "false")
    (subject,) = root.findall("ParticipantObjectIdentification")
    assert detail(subject) == {"Alert Description": "see there"}
    assert subject.get("ParticipantObjectID") == "10.0.0.9"
    assert code(subject, "ParticipantObjectIDTypeCode") == ("110182", "DCM", "Node ID")


def test_an_alert_about_a_file_names_it_as_a_uri() -> None:
    alert = Alert.REFUSED_INSTANCE
    root = only([events.security_alert(PROCESS, AT, alert, "bad", SCANNER, Path("/q/ä b"))])

    (subject,) = root.findall("ParticipantObjectIdentification")
    assert subject.get("ParticipantObjectID") == "file:///q/%C3%A4%20b"
    assert code(subject, "ParticipantObjectIDTypeCode") == ("12", "RFC-3881", "URI")


# -- whose it is -----------------------------------------------------------------


def test_a_study_is_read_from_a_header_without_the_name() -> None:
    header = image()
    header.AccessionNumber = None

    study = Study.of(header)

    assert study == Study("1.2.826.0.1.1", "T1", "")
    assert "Head" not in repr(study)


def test_a_header_that_says_nothing_or_cannot_be_decoded_gives_empty_values() -> None:
    class Hostile(Dataset):
        def get(self, *_: object) -> object:
            raise ValueError("not to be decoded")

    assert Study.of(Dataset()) == Study("") == Study.of(Hostile())


def test_without_identity_the_study_stays_and_the_patient_does_not() -> None:
    assert STUDY.without_identity() == Study("1.2.3", NOT_RECORDED, "")


def test_a_question_is_recorded_as_a_data_set() -> None:
    asked = {"StudyDate": "20260101-20260102", "ModalitiesInStudy": "CT"}
    root = check(events.queried(PROCESS, AT, PACS, "1.2.3", asked).xml())
    assert code(root, "EventIdentification/EventID") == ("110112", "DCM", "Query")
    (item,) = root.findall("ParticipantObjectIdentification")
    assert item.attrib["ParticipantObjectID"] == "1.2.3"
    assert detail(item)["TransferSyntax"] == ExplicitVRLittleEndian
    encoded = item.findtext("ParticipantObjectQuery")
    assert encoded is not None
    question = decode(BytesIO(b64decode(encoded)), is_implicit_vr=False, is_little_endian=True)
    assert {element.keyword: str(element.value) for element in question} == asked
    by_role = {
        p.attrib["UserIsRequestor"]: p.attrib["UserID"] for p in root.iter("ActiveParticipant")
    }
    assert by_role["true"].startswith("receive-4711")
    assert by_role["false"] == "pacs"
