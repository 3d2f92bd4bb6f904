"""Which event of the node is which message of the standard: pure functions.

References
----------
DICOM PS3.15: Application Activity A.5.3.1, Data Export A.5.3.4, DICOM Instances Accessed
A.5.3.6, DICOM Instances Transferred A.5.3.7, Query A.5.3.10, Security Alert A.5.3.11, User
Authentication A.5.3.12. Codes: PS3.16, CID 400 to 405.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import Enum
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import pydicom
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.uid import ExplicitVRLittleEndian

from node.audit.message import (
    Action,
    AuditMessage,
    EventOutcome,
    ObjectKind,
    ObjectRole,
    Participant,
    ParticipantObject,
)

if TYPE_CHECKING:
    from node.judgement import Model

PATIENT_NUMBER = Code("2", "RFC-3881", "Patient Number")
URI = Code("12", "RFC-3881", "URI")

NOT_RECORDED = "(not recorded)"
"""Stands where the schema asks for a patient's identity and the settings forbid it."""

STUDY_KEYWORDS = ["StudyInstanceUID", "PatientID", "AccessionNumber"]
"""Attributes that `Study.of` reads."""


class Alert(Enum):
    """What is worth an alert; the codes are those of CID 403, which is extensible."""

    REFUSED_PEER = codes.DCM.NodeAuthentication
    REFUSED_INSTANCE = Code("refused-instance", "99ICHNODE", "Instance refused and put aside")
    RECORDS_LOST = codes.DCM.AuditRecordingStopped


@dataclass(frozen=True)
class Process:
    """The part of the node that reports.

    Parameters
    ----------
    part : str
        As in ``ichnode receive``.
    ae_title, host : str
    id : int
        Of the process.
    """

    part: str
    ae_title: str
    host: str
    id: int

    @property
    def source(self) -> str:
        """The node, as AuditSourceID: the same for all its parts on a machine."""
        return f"{self.ae_title}@{self.host}"

    def participant(self, role: Code | None = None, *, is_requestor: bool = False) -> Participant:
        """The process, as one that took part; workers log under that name too."""
        return Participant(
            user_id=f"{self.part}-{self.id}@{self.host}",
            ae_title=self.ae_title,
            address=self.host,
            role=role,
            name=f"ichnode {self.part}",
            is_requestor=is_requestor,
        )


@dataclass(frozen=True)
class Peer:
    """Another node.

    Parameters
    ----------
    name : str
        What the configuration calls it; the AE title of a sender.
    ae_title : str
    address : str
    """

    name: str
    ae_title: str
    address: str

    def participant(self, role: Code | None = None, *, is_requestor: bool = False) -> Participant:
        """The node, as one that took part."""
        return Participant(self.name, self.ae_title, self.address, role, is_requestor=is_requestor)


@dataclass(frozen=True)
class Person:
    """Somebody at the web page.

    Parameters
    ----------
    name : str
        As in the configuration, or as a proxy says.
    address : str
        Where from.
    """

    name: str
    address: str

    def participant(self) -> Participant:
        """The person, as the one who began."""
        return Participant(self.name, "", self.address, is_requestor=True)


class Authentication(Enum):
    """What somebody does at the door; the codes are those of CID 401."""

    LOGIN = codes.DCM.Login
    LOGOUT = codes.DCM.Logout


class Medium(Enum):
    """By what data leaves the node; the codes are those of CID 405."""

    EMAIL = codes.DCM.Email
    URI = codes.DCM.URI


@dataclass(frozen=True)
class Study:
    """The study that an event is about, and whose it is.

    Parameters
    ----------
    study_instance_uid, patient_id, accession_number : str
    """

    study_instance_uid: str
    patient_id: str = ""
    accession_number: str = ""

    @classmethod
    def of(cls, header: Dataset) -> "Study":
        """The study of an instance; what cannot be read is left empty."""
        return cls(*(_text(header, keyword) for keyword in STUDY_KEYWORDS))

    def without_identity(self) -> "Study":
        """The same without what names the patient."""
        return replace(self, patient_id=NOT_RECORDED, accession_number="")


def header_of(path: Path) -> Dataset:
    """What a record says of a file; nothing if it cannot be read."""
    tags = ["SOPClassUID", *STUDY_KEYWORDS]
    try:
        return pydicom.dcmread(path, stop_before_pixels=True, specific_tags=tags)
    except Exception:  # what reads a damaged file raises what it likes
        return Dataset()


def _text(header: Dataset, keyword: str) -> str:
    try:
        return str(header.get(keyword, "") or "")
    except Exception:  # a hostile value can raise anything when it is decoded
        return ""


@dataclass
class Tally:
    """What came or went over one association, counted as the records are to say it.

    A record speaks of one patient and one outcome only (PS3.15, A.5.2 and A.5.3.7).
    """

    counts: dict[tuple[Study, Action, EventOutcome], Counter[str]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.counts)

    def add(
        self,
        study: Study,
        sop_class: str,
        action: Action,
        outcome: EventOutcome = EventOutcome.SUCCESS,
    ) -> None:
        """Count one instance."""
        self.counts.setdefault((study, action, outcome), Counter())[sop_class] += 1

    @classmethod
    def of_sent(cls, stored: Iterable[Path], failed: Iterable[Path] = ()) -> "Tally":
        """Count files that were sent. What the receiver had before is not known: R (A.5.3.7)."""
        tally = cls()
        for paths, outcome in (
            (stored, EventOutcome.SUCCESS),
            (failed, EventOutcome.MINOR_FAILURE),
        ):
            for path in paths:
                header = header_of(path)
                tally.add(Study.of(header), _text(header, "SOPClassUID"), Action.READ, outcome)
        return tally


def application_activity(process: Process, at: datetime, *, starts: bool) -> AuditMessage:
    """A part of the node starts or stops."""
    return AuditMessage(
        codes.DCM.ApplicationActivity,
        Action.EXECUTE,
        at,
        process.source,
        (process.participant(codes.DCM.Application),),
        kind=codes.DCM.ApplicationStart if starts else codes.DCM.ApplicationStop,
    )


def instances_received(
    process: Process, at: datetime, sender: Peer, tally: Tally
) -> Iterator[AuditMessage]:
    """An association has brought instances."""
    participants = (
        sender.participant(codes.DCM.SourceRoleID, is_requestor=True),
        process.participant(codes.DCM.DestinationRoleID),
    )
    return _transferred(process, at, participants, tally)


def instances_sent(
    process: Process, at: datetime, receiver: Peer, tally: Tally
) -> Iterator[AuditMessage]:
    """Instances went to a destination, or should have."""
    participants = (
        process.participant(codes.DCM.SourceRoleID, is_requestor=True),
        receiver.participant(codes.DCM.DestinationRoleID),
    )
    return _transferred(process, at, participants, tally)


def queried(
    process: Process, at: datetime, peer: Peer, sop_class: str, keys: Mapping[str, str]
) -> AuditMessage:
    """A source was asked what it has.

    Parameters
    ----------
    process : Process
    at : datetime.datetime
    peer : Peer
    sop_class : str
        UID of the query model.
    keys : mapping of str to str
        Keywords of attributes, and the values that were asked for.
    """
    asked = Dataset()
    for keyword, value in keys.items():
        setattr(asked, keyword, value)
    encoded = DicomBytesIO()
    encoded.is_little_endian, encoded.is_implicit_VR = True, False
    write_dataset(encoded, asked)
    subject = ParticipantObject(
        id=sop_class,
        id_type=codes.DCM.SOPClassUID,
        name="",
        kind=ObjectKind.SYSTEM,
        role=ObjectRole.REPORT,
        details=(("TransferSyntax", str(ExplicitVRLittleEndian)),),
        query=encoded.getvalue(),
    )
    return AuditMessage(
        codes.DCM.Query,
        Action.EXECUTE,
        at,
        process.source,
        (
            process.participant(codes.DCM.SourceRoleID, is_requestor=True),
            peer.participant(codes.DCM.DestinationRoleID),
        ),
        (subject,),
    )


def _transferred(
    process: Process, at: datetime, participants: tuple[Participant, ...], tally: Tally
) -> Iterator[AuditMessage]:
    for (study, action, outcome), instances in tally.counts.items():
        yield AuditMessage(
            codes.DCM.DICOMInstancesTransferred,
            action,
            at,
            process.source,
            participants,
            (_study_object(study, instances), _patient_object(study)),
            outcome,
        )


def series_judged(
    process: Process,
    at: datetime,
    study: Study,
    series_instance_uid: str,
    revision: int,
    instances: Counter[str],
    model: "Model",
) -> AuditMessage:
    """A model has judged a series, and the results are recorded."""
    details = (
        ("Series Instance UID", series_instance_uid),
        ("Revision", str(revision)),
        ("Model Name", model.name),
        ("Model Version", model.version),
        ("Model Digest", model.digest),
        ("Software Version", f"ichnode {version('ichnode')}"),
    )
    return AuditMessage(
        codes.DCM.DICOMInstancesAccessed,
        Action.READ,
        at,
        process.source,
        (process.participant(is_requestor=True),),
        (_study_object(study, instances, details), _patient_object(study)),
    )


def series_seen(
    process: Process, at: datetime, person: Person, study: Study, series_instance_uid: str
) -> AuditMessage:
    """Somebody has looked at a series on the web page."""
    return _by_person(process, at, person, study, series_instance_uid, Action.READ)


def series_begun_again(
    process: Process, at: datetime, person: Person, study: Study, series_instance_uid: str
) -> AuditMessage:
    """Somebody has asked to judge a series again, or to send its results again."""
    return _by_person(process, at, person, study, series_instance_uid, Action.UPDATE)


def series_read(
    process: Process,
    at: datetime,
    person: Person,
    study: Study,
    series_instance_uid: str | None,
    source: str,
) -> AuditMessage:
    """A reader's label of a series, or of a whole study, was entered; `source` says how it came."""
    return _by_person(
        process, at, person, study, series_instance_uid, Action.UPDATE, (("Label", source),)
    )


def _by_person(
    process: Process,
    at: datetime,
    person: Person,
    study: Study,
    series_instance_uid: str | None,
    action: Action,
    further: tuple[tuple[str, str], ...] = (),
) -> AuditMessage:
    series = () if series_instance_uid is None else (("Series Instance UID", series_instance_uid),)
    details = (*series, *further)
    return AuditMessage(
        codes.DCM.DICOMInstancesAccessed,
        action,
        at,
        process.source,
        (person.participant(), process.participant()),
        (_study_object(study, None, details), _patient_object(study)),
    )


def data_exported(
    process: Process,
    at: datetime,
    receiver: Peer,
    medium: Medium,
    to: str,
    study: Study,
    *,
    succeeded: bool,
) -> AuditMessage:
    """Something was told of a study, or should have been.

    Parameters
    ----------
    process : Process
    at : datetime.datetime
    receiver : Peer
    medium : Medium
    to : str
        Its address, as a URI.
    study : Study
    succeeded : bool
        Whether the receiver has taken it; else it may have got it all the same.
    """
    return AuditMessage(
        codes.DCM.Export,
        Action.READ,
        at,
        process.source,
        (
            process.participant(codes.DCM.SourceRoleID, is_requestor=True),
            receiver.participant(codes.DCM.DestinationRoleID),
            Participant(to, "", receiver.address, codes.DCM.DestinationMedia, medium=medium.value),
        ),
        (_study_object(study, Counter()), _patient_object(study)),
        EventOutcome.SUCCESS if succeeded else EventOutcome.MINOR_FAILURE,
    )


def user_authenticated(
    process: Process, at: datetime, person: Person, what: Authentication, *, succeeded: bool
) -> AuditMessage:
    """Somebody has logged in or out, or has tried to."""
    return AuditMessage(
        codes.DCM.UserAuthentication,
        Action.EXECUTE,
        at,
        process.source,
        (person.participant(), process.participant()),
        outcome=EventOutcome.SUCCESS if succeeded else EventOutcome.MINOR_FAILURE,
        kind=what.value,
    )


def security_alert(
    process: Process,
    at: datetime,
    alert: Alert,
    description: str,
    peer: Peer | None = None,
    resource: Path | None = None,
) -> AuditMessage:
    """Something was refused or has gone wrong that a security officer should see.

    Parameters
    ----------
    process : Process
    at : datetime.datetime
    alert : Alert
    description : str
        For people; nothing out of a dataset.
    peer : Peer, optional
        Who did it.
    resource : pathlib.Path, optional
        What was put aside, or could not be written; else the alert is about the peer.
    """
    about = peer.address if peer is not None else process.host
    subject = ParticipantObject(
        id=about if resource is None else resource.absolute().as_uri(),
        id_type=codes.DCM.NodeID if resource is None else URI,
        name=alert.value.meaning,
        kind=ObjectKind.SYSTEM,
        role=ObjectRole.SECURITY_RESOURCE,
        details=(("Alert Description", description),),
    )
    return AuditMessage(
        codes.DCM.SecurityAlert,
        Action.EXECUTE,
        at,
        process.source,
        (process.participant(), *([peer.participant()] if peer is not None else [])),
        (subject,),
        EventOutcome.SERIOUS_FAILURE if alert is Alert.RECORDS_LOST else EventOutcome.MINOR_FAILURE,
        alert.value,
    )


def _study_object(
    study: Study, instances: Counter[str] | None, details: tuple[tuple[str, str], ...] = ()
) -> ParticipantObject:
    return ParticipantObject(
        id=study.study_instance_uid,
        id_type=codes.DCM.StudyInstanceUID,
        name=study.study_instance_uid,
        kind=ObjectKind.SYSTEM,
        role=ObjectRole.REPORT,
        details=details,
        accession_number=study.accession_number,
        instances=instances,
    )


def _patient_object(study: Study) -> ParticipantObject:
    """The patient; the schema asks for a name, and the trail holds none."""
    return ParticipantObject(
        id=study.patient_id,
        id_type=PATIENT_NUMBER,
        name=NOT_RECORDED,
        kind=ObjectKind.PERSON,
        role=ObjectRole.PATIENT,
    )
