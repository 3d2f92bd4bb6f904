"""The workitem: what asks a worklist to have a series looked at, and where its report is.

It is a normalized object: it belongs to no series and has no file of its own anywhere but
in the spool. What it refers to is stored by then; what comes of it, it is not told.

References
----------
DICOM PS3.3: Unified Procedure Step IOD (B.26), its modules (C.30); the macro of references
(10-3b). PS3.4: UPS Push SOP Class, N-CREATE (CC.2.5, table CC.2.5-3).
"""

from collections.abc import Sequence
from datetime import datetime

from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian
from pynetdicom.sop_class import UnifiedProcedureStepPush  # type: ignore[attr-defined]

from node.judgement import Judgement
from node.report import codes
from node.report.header import (
    MANUFACTURER,
    NOT_FOR_CLINICAL_USE,
    code_item,
    in_zone_of,
    plain,
    readable,
)
from node.report.identity import instance_uid
from node.report.origin import Origin
from node.report.result import ResultObject
from node.report.sr.words import conclusion
from node.routing import Workitem
from node.settings import IN_FORMS, Kind

COPIED = (
    "SpecificCharacterSet",
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "IssuerOfPatientID",
    "IssuerOfPatientIDQualifiersSequence",
    "OtherPatientIDsSequence",
    "AdmissionID",
    "IssuerOfAdmissionIDSequence",
    "AdmittingDiagnosesDescription",
    "AdmittingDiagnosesCodeSequence",
)
"""What a workitem has from the source (C.30.4); empty where that has nothing."""

_EMPTY = (
    # Scheduled Procedure Information (C.30.2): who does it, and where, is for the worklist
    "ScheduledProcessingParametersSequence",
    "ScheduledStationNameCodeSequence",
    "ScheduledStationClassCodeSequence",
    "ScheduledStationGeographicLocationCodeSequence",
    # Progress and Performed Procedure Information (C.30.1, C.30.3): there is none yet
    "TransactionUID",
    "ProcedureStepProgressInformationSequence",
    "UnifiedProcedureStepPerformedProcedureSequence",
)


def build_workitem(
    origin: Origin,
    wanted: Workitem,
    made: Sequence[ResultObject],
    *,
    revision: int,
    created: datetime,
) -> FileDataset:
    """Build the workitem that asks for a look at a series.

    Parameters
    ----------
    origin : Origin
        The judgement and what it was made from.
    wanted : Workitem
        For whom, and what it refers to.
    made : sequence of ResultObject
        The results of the judgement.
    revision : int
        From 1.
    created : datetime.datetime
        When it was created; it is to be done from then on.
    """
    # Each recipient has its own: where it is told to retrieve from is a part of it.
    variant = f" {wanted.recipient} {wanted.retrieve_from or ''} {wanted.form}"
    uid = instance_uid(origin, Kind.WORKITEM, variant=variant)
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = UID(UnifiedProcedureStepPush)
    meta.MediaStorageSOPInstanceUID = UID(uid)
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    item = FileDataset("", {}, preamble=bytes(128), file_meta=meta)
    source, judgement = origin.template, origin.judgement
    for keyword in COPIED:
        element = readable(source, keyword)
        if element is not None:
            item.add(element)
    for keyword in (*COPIED[1:], *_EMPTY):
        if keyword not in item:
            setattr(item, keyword, [] if keyword.endswith("Sequence") else None)
    created = in_zone_of(source, item, created)
    item.SOPClassUID, item.SOPInstanceUID = UnifiedProcedureStepPush, uid

    is_flagged = bool(judgement.flagged_slices())
    again = "" if revision == 1 else f", revision {revision}"
    word = (
        "flagged" if is_flagged else "not flagged" if judgement.model.operating_point else "judged"
    )
    item.ProcedureStepState = "SCHEDULED"
    item.ScheduledProcedureStepPriority = "HIGH" if is_flagged else "MEDIUM"
    item.ProcedureStepLabel = f"ICH {word}{again}: {NOT_FOR_CLINICAL_USE}"
    item.WorklistLabel = MANUFACTURER
    item.ScheduledProcedureStepStartDateTime = created.strftime("%Y%m%d%H%M%S")
    item.ScheduledWorkitemCodeSequence = [code_item(codes.INTERPRETATION)]
    item.CommentsOnTheScheduledProcedureStep = _comment(judgement)
    item.InputReadinessState = "READY"
    item.InputInformationSequence = [*_input(origin, wanted, made)]
    item.StudyInstanceUID = origin.study_instance_uid
    item.ReferencedRequestSequence = [_request(origin)]
    return item


def _comment(judgement: Judgement) -> str:
    """What the model says, in no more than a long text takes (PS3.5, 6.2, LT)."""
    said = f"{NOT_FOR_CLINICAL_USE.upper()}. {conclusion(judgement)}"
    return plain(said)[:10240]


def _input(origin: Origin, wanted: Workitem, made: Sequence[ResultObject]) -> list[Dataset]:
    """The report that is to be read, and who has it (PS3.3, table 10-3b)."""
    reports = [
        result
        for result in made
        if result.kind == wanted.kind
        and (wanted.kind not in IN_FORMS or result.sop_class_uid == wanted.form.sop_class_uid)
    ]
    if not reports or wanted.retrieve_from is None:
        return []
    report = reports[0]
    sop = Dataset()
    sop.ReferencedSOPClassUID = report.sop_class_uid
    sop.ReferencedSOPInstanceUID = report.sop_instance_uid
    found = Dataset()
    found.TypeOfInstances = "DICOM"
    found.StudyInstanceUID = origin.study_instance_uid
    found.SeriesInstanceUID = report.series_instance_uid
    found.ReferencedSOPSequence = [sop]
    retrieval = Dataset()
    if wanted.retrieve_from.startswith("http"):
        retrieval.RetrieveURL = wanted.retrieve_from
        found.WADORSRetrievalSequence = [retrieval]
    else:
        retrieval.RetrieveAETitle = wanted.retrieve_from
        found.DICOMRetrievalSequence = [retrieval]
    return [found]


def _request(origin: Origin) -> Dataset:
    """The request that the study answers, as far as the study tells (table CC.2.5-3)."""
    request = Dataset()
    request.StudyInstanceUID = origin.study_instance_uid
    for keyword in ("AccessionNumber", "IssuerOfAccessionNumberSequence", "ReferringPhysicianName"):
        element = readable(origin.template, keyword)
        if element is not None:
            request.add(element)
        else:
            setattr(request, keyword, [] if keyword.endswith("Sequence") else None)
    request.RequestedProcedureID = request.RequestedProcedureDescription = None
    request.RequestedProcedureCodeSequence = []
    return request
