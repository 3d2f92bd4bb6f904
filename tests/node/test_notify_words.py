"""What a notification says, in each form and with as much of the patient as its rule allows."""

import base64
import json
from dataclasses import replace
from datetime import UTC, datetime
from email import message_from_bytes
from email.policy import default

import hl7
import pytest
from hl7apy.parser import parse_message
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from standardwebhooks import Webhook, WebhookVerificationError

from node.notify.occurrence import NOT_FOR_CLINICAL_USE, Occurrence, Subject
from node.notify.words import as_hl7, as_json, as_mail, signature
from node.settings import Detail, Occasion

SUBJECT = Subject("1.2.3", "1.2.3.4", "A77", "CT HEAD", "ID-55", "Roe^Jane", "19700101", "F")
FLAGGED = Occurrence(
    id="0123456789abcdef0123456789abcdef",
    occasion=Occasion.FLAGGED,
    at=datetime(2026, 11, 25, 12, 30, tzinfo=UTC),
    node="ICHNODE",
    number=17,
    probabilities={"subdural": 0.934, "any": 0.971},
    flagged=("subdural",),
    reason=None,
    detail=None,
    subject=SUBJECT,
)
FAILED = replace(
    FLAGGED,
    occasion=Occasion.FAILED,
    probabilities={},
    flagged=(),
    reason="pixel-data",
    detail="slice 3 of CT HEAD of Roe is broken",
)
OF_THE_PATIENT = ("ID-55", "Roe", "Jane", "19700101")
OF_THE_STUDY = ("1.2.3", "A77", "CT HEAD")


def forms(occurrence: Occurrence) -> list[str]:
    mail = as_mail(occurrence, "node@example", "team@example").as_bytes()
    return [as_json(occurrence).decode(), message_from_bytes(mail, policy=default).as_string()]


@pytest.mark.parametrize("occurrence", [FLAGGED, FAILED])
def test_by_default_nothing_of_the_study_or_the_patient_is_told(occurrence: Occurrence) -> None:
    for text in forms(occurrence.told(Detail.EVENT)):
        for word in (*OF_THE_PATIENT, *OF_THE_STUDY):
            assert word not in text
        assert NOT_FOR_CLINICAL_USE in text


def test_a_rule_may_tell_the_study_without_the_patient() -> None:
    for text in forms(FLAGGED.told(Detail.STUDY)):
        assert all(word in text for word in OF_THE_STUDY)
        assert not any(word in text for word in OF_THE_PATIENT)


def test_a_rule_may_tell_whose_it_is() -> None:
    for text in forms(FLAGGED.told(Detail.PATIENT)):
        assert "ID-55" in text
        assert "Roe^Jane" in text


def test_a_webhook_says_what_was_flagged() -> None:
    document = json.loads(as_json(FLAGGED.told(Detail.EVENT)))

    assert document["type"] == "series.flagged"
    assert document["timestamp"] == "2026-11-25T12:30:00+00:00"
    assert document["data"]["flagged"] == ["subdural"]
    assert document["data"]["probabilities"] == {"subdural": 0.934, "any": 0.971}


def test_a_webhook_is_signed_as_the_standard_says() -> None:
    key = base64.b64encode(b"k" * 24).decode()
    body, now = as_json(FLAGGED), int(datetime.now(UTC).timestamp())
    headers = {
        "webhook-id": FLAGGED.id,
        "webhook-timestamp": str(now),
        "webhook-signature": signature(f"whsec_{key}", FLAGGED.id, now, body),
    }

    assert Webhook(f"whsec_{key}").verify(body, headers) == json.loads(body)
    with pytest.raises(WebhookVerificationError):
        Webhook(f"whsec_{key}").verify(body.replace(b"0.93", b"0.03"), headers)


def test_a_mail_answers_nobody_and_has_one_id() -> None:
    mail = as_mail(FLAGGED, "node@hospital.example", "a@example,b@example")

    assert mail["Auto-Submitted"] == "auto-generated"
    assert mail["Message-ID"] == f"<{FLAGGED.id}@hospital.example>"
    assert "subdural           0.93  flagged" in mail.get_content()


def observations(message: hl7.Message) -> dict[str, hl7.Segment]:
    return {str(row[3][0][0]): row for row in message.segments("OBX")}


def test_an_oru_holds_the_findings_as_the_report_codes_them() -> None:
    text = as_hl7(FLAGGED).to_er7()
    message = hl7.parse(text)

    assert str(message.segment("MSH")[9]) == "ORU^R01^ORU_R01"
    assert str(message.segment("PID")[3]) == "ID-55"
    assert str(message.segment("PID")[5]) == "Roe^Jane"
    assert str(message.segment("OBR")[25]) == "P"
    rows = observations(message)
    subdural = rows["35486000"]
    assert (str(subdural[5]), str(subdural[6]), str(subdural[8])) == ("93.4", "%^Percent^UCUM", "A")
    assert str(rows["1386000"][8]) == ""
    assert str(rows["110180"][5]) == "1.2.3"
    assert str(rows["121106"][5]) == NOT_FOR_CLINICAL_USE
    assert all(str(row[11]) == "P" for row in rows.values())


def test_an_oru_keeps_to_the_structure_of_the_standard() -> None:
    message = parse_message(as_hl7(FLAGGED).to_er7())

    assert message.validate()


@settings(max_examples=50, deadline=None)
@given(st.text(min_size=1, max_size=40), st.text(max_size=60))
def test_no_value_breaks_out_of_its_field(patient_id: str, detail: str) -> None:
    header = Dataset()
    header.PatientID = patient_id.replace("\\", "|")
    subject = Subject("1.2", "1.3").with_header(header)
    said = replace(FAILED, subject=subject, detail=detail)

    parsed = hl7.parse(as_hl7(said).to_er7())

    assert [str(segment[0]) for segment in parsed] == ["MSH", "PID", "OBR", *["OBX"] * 4]
    json.loads(as_json(said))
    as_mail(said, "node@example", "team@example").as_bytes()
