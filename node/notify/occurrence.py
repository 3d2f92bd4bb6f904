"""What is told: what came about, and as much of the study as the rule allows."""

import uuid
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from pydicom.dataset import Dataset

from node.settings import Detail, Occasion

NOT_FOR_CLINICAL_USE = "Not for clinical use: the result of a research model, unverified."


@dataclass(frozen=True)
class Subject:
    """The study that an occurrence is about, and whose it is.

    Parameters
    ----------
    study_instance_uid, series_instance_uid : str
    accession_number, study_description : str
        Empty where they are not known.
    patient_id, patient_name, birth_date, sex : str, optional
        As in the header; None where they are not to be told.
    """

    study_instance_uid: str
    series_instance_uid: str
    accession_number: str = ""
    study_description: str = ""
    patient_id: str | None = None
    patient_name: str | None = None
    birth_date: str | None = None
    sex: str | None = None

    def with_header(self, header: Dataset) -> "Subject":
        """With what a header says; what cannot be read is left empty."""
        return replace(
            self,
            accession_number=_text(header, "AccessionNumber"),
            study_description=_text(header, "StudyDescription"),
            patient_id=_text(header, "PatientID"),
            patient_name=_text(header, "PatientName"),
            birth_date=_text(header, "PatientBirthDate"),
            sex=_text(header, "PatientSex"),
        )

    def without_patient(self) -> "Subject":
        """The same without what names the patient."""
        return Subject(
            self.study_instance_uid,
            self.series_instance_uid,
            self.accession_number,
            self.study_description,
        )


KEYWORDS = [
    "SpecificCharacterSet",
    "AccessionNumber",
    "StudyDescription",
    "PatientID",
    "PatientName",
    "PatientBirthDate",
    "PatientSex",
]
"""Attributes that a subject is made of."""


def _text(header: Dataset, keyword: str) -> str:
    try:
        value = str(header.get(keyword, "") or "")
    except Exception:  # a hostile value can raise anything when it is decoded
        return ""
    return "".join(letter for letter in value if letter.isprintable())[:200]


@dataclass(frozen=True)
class Occurrence:
    """Something that came about with a series.

    Parameters
    ----------
    id : str
        The same whenever it is told again, so that a receiver can tell.
    occasion : Occasion
    at : datetime.datetime
        UTC.
    node : str
        AE title of the node.
    number : int
        Of the revision in the ledger.
    probabilities : dict of str to float
        The highest of each finding; empty without a result.
    flagged : tuple of str
        Findings that are flagged.
    reason, detail : str, optional
        Why it was not analyzed, as a word and for people.
    subject : Subject, optional
        None where nothing of the study is to be told.
    """

    id: str
    occasion: Occasion
    at: datetime
    node: str
    number: int
    probabilities: dict[str, float]
    flagged: tuple[str, ...]
    reason: str | None
    detail: str | None
    subject: Subject | None

    def told(self, detail: Detail) -> "Occurrence":
        """As much of it as a rule allows."""
        if detail is Detail.PATIENT:
            return self
        if detail is Detail.STUDY and self.subject is not None:
            return replace(self, subject=self.subject.without_patient())
        return replace(self, subject=None, detail=None)  # it may quote the header


def rehearsal(node: str) -> Occurrence:
    """Something invented, for an administrator who wants to see whether it arrives.

    Parameters
    ----------
    node : str
        AE title of the node.
    """
    return Occurrence(
        id=uuid.uuid4().hex,
        occasion=Occasion.FAILED,
        at=datetime.now(UTC),
        node=node,
        number=0,
        probabilities={},
        flagged=(),
        reason="rehearsal",
        detail="this is no patient: somebody tries whether notifications arrive",
        subject=Subject("2.25.0", "2.25.0", patient_id="REHEARSAL", patient_name="Rehearsal^No"),
    )
