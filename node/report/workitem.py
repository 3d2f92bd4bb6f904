"""The workitem: what asks a worklist to have a series looked at, and where its report is.

It is a normalized object: it belongs to no series and has no file of its own anywhere but
in the spool. What it refers to is stored by then; what comes of it, it is not told.

References
----------
DICOM PS3.3: Unified Procedure Step IOD (B.26), its modules (C.30); the macro of references
(10-3b). PS3.4: UPS Push SOP Class, N-CREATE (CC.2.5, table CC.2.5-3).
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime

from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian
from pydicom.valuerep import VR
from pynetdicom.sop_class import UnifiedProcedureStepPush  # type: ignore[attr-defined]

from node.judgement import Judgement
from node.report import codes
from node.report.header import (
    MANUFACTURER,
    NOT_FOR_CLINICAL_USE,
    code_item,
    copy_filled,
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

_IF_THERE = ("SpecificCharacterSet", "PatientID")
"""Type 1C: not there at all rather than empty."""

COPIED = (
    *_IF_THERE,
    "PatientName",
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

_WITHIN = {
    "OtherPatientIDsSequence": ("IssuerOfPatientID", "IssuerOfPatientIDQualifiersSequence"),
    "IssuerOfPatientIDQualifiersSequence": (
        "UniversalEntityID",
        "IdentifierTypeCode",
        "AssigningFacilitySequence",
        "AssigningJurisdictionCodeSequence",
        "AssigningAgencyOrDepartmentCodeSequence",
    ),
}
"""What items of a sequence have, where the source may leave it out (tables CC.2.5-3 and -2e)."""

_REQUEST = (
    "AccessionNumber",
    "IssuerOfAccessionNumberSequence",
    "OrderPlacerIdentifierSequence",
    "OrderFillerIdentifierSequence",
    "RequestedProcedureID",
    "RequestedProcedureDescription",
    "RequestedProcedureCodeSequence",
    "ReferringPhysicianName",
)
"""What is told of a request."""

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
    copy_filled(source, item, *_IF_THERE)
    _fill(item, COPIED[len(_IF_THERE) :], source)
    _fill(item, _EMPTY)
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
    # With its offset: a start that a peer takes for its own time may be hours ahead.
    item.ScheduledProcedureStepStartDateTime = created.strftime("%Y%m%d%H%M%S%z")
    item.ScheduledWorkitemCodeSequence = [code_item(codes.INTERPRETATION)]
    item.CommentsOnTheScheduledProcedureStep = _comment(judgement)
    item.InputReadinessState = "READY"
    item.InputInformationSequence = [*_input(origin, wanted, made)]
    item.StudyInstanceUID = origin.study_instance_uid
    item.ReferencedRequestSequence = [*_requests(origin)]
    if wanted.replaces:
        item.ReplacedProcedureStepSequence = [
            _reference(UnifiedProcedureStepPush, uid) for uid in wanted.replaces
        ]
    return item


def _fill(target: Dataset, keywords: Iterable[str], *sources: Dataset) -> None:
    """Give a dataset attributes of the first that has them; empty where none has."""
    for keyword in keywords:
        found = (readable(source, keyword) for source in sources)
        element = next((one for one in found if one is not None and not one.is_empty), None)
        if element is not None:
            target.add(element)
        else:
            setattr(target, keyword, [] if keyword.endswith("Sequence") else None)
        if keyword in _WITHIN and target[keyword].VR == VR.SQ:
            for item in target[keyword].value:
                _fill(item, _WITHIN[keyword], item)


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
    found = Dataset()
    found.TypeOfInstances = "DICOM"
    found.StudyInstanceUID = origin.study_instance_uid
    found.SeriesInstanceUID = report.series_instance_uid
    found.ReferencedSOPSequence = [_reference(report.sop_class_uid, report.sop_instance_uid)]
    retrieval = Dataset()
    if wanted.retrieve_from.startswith("http"):
        retrieval.RetrieveURL = (
            f"{wanted.retrieve_from}/studies/{origin.study_instance_uid}"
            f"/series/{report.series_instance_uid}/instances/{report.sop_instance_uid}"
        )
        found.WADORSRetrievalSequence = [retrieval]
    else:
        retrieval.RetrieveAETitle = wanted.retrieve_from
        found.DICOMRetrievalSequence = [retrieval]
    return [found]


def _reference(sop_class_uid: str, sop_instance_uid: str) -> Dataset:
    sop = Dataset()
    sop.ReferencedSOPClassUID = sop_class_uid
    sop.ReferencedSOPInstanceUID = sop_instance_uid
    return sop


def _requests(origin: Origin) -> Iterator[Dataset]:
    """The requests that the study answers, as far as it tells (table CC.2.5-3)."""
    told = readable(origin.template, "RequestAttributesSequence")
    for one in (told.value if told is not None and told.VR == VR.SQ else ()) or [Dataset()]:
        request = Dataset()
        request.StudyInstanceUID = origin.study_instance_uid
        _fill(request, _REQUEST, one, origin.template)
        yield request
