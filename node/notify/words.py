"""An occurrence in the words of each receiver: pure functions.

References
----------
Webhooks: the "Standard Webhooks" specification. ORU^R01: HL7 2.5.1, chapter 7.3.1; the
observations are coded as in the structured report.
"""

import base64
import hashlib
import hmac
import json
from collections.abc import Iterator
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from typing import Any

from hl7apy.core import Message
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from ml.labels import Label
from node.notify.occurrence import NOT_FOR_CLINICAL_USE, Occurrence, Subject
from node.report.codes import COMMENT, FINDINGS
from node.settings import Occasion

_TITLES = {
    Occasion.FLAGGED: "a series is flagged",
    Occasion.FAILED: "a series could not be analyzed",
    Occasion.SKIPPED: "a series was skipped",
}


def as_json(occurrence: Occurrence) -> bytes:
    """The body of a webhook."""
    subject = occurrence.subject
    document = {
        "type": f"series.{occurrence.occasion}",
        "timestamp": occurrence.at.isoformat(),
        "data": {
            "node": occurrence.node,
            "number": occurrence.number,
            "flagged": list(occurrence.flagged),
            "probabilities": occurrence.probabilities,
            "reason": occurrence.reason,
            "detail": occurrence.detail,
            "study": None if subject is None else _study(subject),
            "patient": None if subject is None else _patient(subject),
            "remark": NOT_FOR_CLINICAL_USE,
        },
    }
    return json.dumps(document, ensure_ascii=False).encode()


def _study(subject: Subject) -> dict[str, str]:
    return {
        "study_instance_uid": subject.study_instance_uid,
        "series_instance_uid": subject.series_instance_uid,
        "accession_number": subject.accession_number,
        "study_description": subject.study_description,
    }


def _patient(subject: Subject) -> dict[str, str | None] | None:
    if subject.patient_id is None:
        return None
    return {
        "id": subject.patient_id,
        "name": subject.patient_name,
        "birth_date": subject.birth_date,
        "sex": subject.sex,
    }


SECRET_PREFIX = "whsec_"  # noqa: S105  what a secret begins with


def signature(secret: str, message_id: str, timestamp: int, body: bytes) -> str:
    """The signature of a webhook: ``v1,`` and HMAC-SHA256 in base64.

    Parameters
    ----------
    secret : str
        ``whsec_`` and the key in base64.
    message_id : str
    timestamp : int
        When it is sent, seconds since 1970.
    body : bytes
    """
    key = base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
    signed = f"{message_id}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()


def as_mail(occurrence: Occurrence, sender: str, people: str) -> EmailMessage:
    """A message for people.

    Parameters
    ----------
    occurrence : Occurrence
    sender, people : str
        Addresses; of several people with commas.
    """
    mail = EmailMessage(policy=SMTP)
    mail["Subject"] = f"{occurrence.node}: {_TITLES[occurrence.occasion]} (not for clinical use)"
    mail["From"], mail["To"] = sender, people
    mail["Date"] = format_datetime(occurrence.at)
    mail["Message-ID"] = f"<{occurrence.id}@{sender.rpartition('@')[2]}>"
    mail["Auto-Submitted"] = "auto-generated"  # RFC 3834: no answers, please
    mail.set_content("\n".join(_lines(occurrence)) + "\n")
    return mail


def _lines(occurrence: Occurrence) -> list[str]:
    lines = [
        NOT_FOR_CLINICAL_USE,
        "",
        f"{occurrence.node}: {_TITLES[occurrence.occasion]}.",
        f"Time: {occurrence.at:%Y-%m-%d %H:%M:%S} UTC",
        f"Number in the ledger: {occurrence.number}",
    ]
    if occurrence.reason:
        lines.append(f"Reason: {occurrence.reason}")
    if occurrence.detail:
        lines.append(f"Detail: {occurrence.detail}")
    for name, probability in occurrence.probabilities.items():
        mark = "  flagged" if name in occurrence.flagged else ""
        lines.append(f"{name:<18} {probability:.2f}{mark}")
    subject = occurrence.subject
    if subject is not None:
        told = {
            "Accession number": subject.accession_number,
            "Study": subject.study_description,
            "Study Instance UID": subject.study_instance_uid,
            "Series Instance UID": subject.series_instance_uid,
            "Patient ID": subject.patient_id,
            "Patient name": subject.patient_name,
        }
        lines += ["", *(f"{name}: {value}" for name, value in told.items() if value)]
    return lines


def as_hl7(occurrence: Occurrence) -> Any:
    """An unsolicited observation message (ORU^R01), preliminary.

    Returns
    -------
    hl7apy.core.Message
    """
    subject = occurrence.subject
    assert subject is not None, "an ORU is about a patient"
    time = occurrence.at.strftime("%Y%m%d%H%M%S+0000")
    message = Message("ORU_R01", version="2.5.1")
    header = message.msh
    header.msh_3, header.msh_7 = "ICHNODE", time
    header.msh_4.hd_1 = _escaped(occurrence.node)
    header.msh_9, header.msh_10 = "ORU^R01^ORU_R01", occurrence.id[:20]
    header.msh_11, header.msh_12 = "P", "2.5.1"
    header.msh_18 = "UNICODE UTF-8"
    result = message.add_group("ORU_R01_PATIENT_RESULT")
    patient = result.add_group("ORU_R01_PATIENT").add_segment("PID")
    patient.pid_3.cx_1 = _escaped(subject.patient_id)
    family, _, rest = (subject.patient_name or "").partition("=")[0].partition("^")
    patient.pid_5.xpn_1.fn_1 = _escaped(family)
    patient.pid_5.xpn_2 = _escaped(rest.partition("^")[0])
    patient.pid_7 = _escaped(subject.birth_date)
    patient.pid_8 = _escaped(subject.sex)
    observation = result.add_group("ORU_R01_ORDER_OBSERVATION")
    request = observation.add_segment("OBR")
    request.obr_1 = "1"
    request.obr_3.ei_1 = _escaped(subject.accession_number)
    request.obr_4 = "18748-4^Diagnostic Imaging Report^LN"
    request.obr_7 = request.obr_22 = time
    request.obr_25 = "P"
    rows = enumerate(_observations(occurrence, subject), 1)
    for number, (kind, code, value, units, is_abnormal) in rows:
        row = observation.add_group("ORU_R01_OBSERVATION").add_segment("OBX")
        row.obx_1, row.obx_2, row.obx_11 = str(number), kind, "P"
        row.obx_3.ce_1, row.obx_3.ce_2, row.obx_3.ce_3 = (
            code.value,
            code.meaning,
            code.scheme_designator,
        )
        row.obx_5 = _escaped(value)
        if units:
            row.obx_6 = units
        if is_abnormal:
            row.obx_8 = "A"  # table 0078
    return message


_Observation = tuple[str, Code, str, str | None, bool]
"""Value type, code, value, units, whether it is abnormal."""


def _observations(occurrence: Occurrence, subject: Subject) -> Iterator[_Observation]:
    yield "TX", COMMENT, NOT_FOR_CLINICAL_USE, None, False
    yield "ST", codes.DCM.StudyInstanceUID, subject.study_instance_uid, None, False
    yield "ST", codes.DCM.SeriesInstanceUID, subject.series_instance_uid, None, False
    for name, probability in occurrence.probabilities.items():
        value, is_flagged = f"{100 * probability:.1f}", name in occurrence.flagged
        yield "NM", FINDINGS[Label(name)], value, "%^Percent^UCUM", is_flagged
    if occurrence.reason:
        why = ": ".join(filter(None, (occurrence.reason, occurrence.detail)))
        yield "TX", COMMENT, f"{_TITLES[occurrence.occasion]}: {why}", None, False


# HL7 2.5.1, chapter 2.7.1.
_ESCAPES = str.maketrans({"\\": "\\E\\", "|": "\\F\\", "^": "\\S\\", "&": "\\T\\", "~": "\\R\\"})


def _escaped(text: str | None) -> str:
    """Text whose delimiters are none, on one line."""
    shown = "".join(letter if letter.isprintable() else " " for letter in text or "")
    return shown.translate(_ESCAPES)
