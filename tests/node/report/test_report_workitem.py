"""The workitem has what the standard asks of one that is created, and claims no more."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import UID

from node.report import Kind, ResultHeld, ResultObject
from node.report.check import check_workitem
from node.report.origin import Origin
from node.routing import Workitem
from node.settings import ReportForm
from tests.cases import Case, make_case

CREATED = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)

WANTED = Workitem("reading-room", Kind.STRUCTURED_REPORT, ReportForm.COMPREHENSIVE_3D, "ARCHIVE")

TYPE_1 = [
    "ProcedureStepState",
    "ScheduledProcedureStepPriority",
    "ProcedureStepLabel",
    "ScheduledProcedureStepStartDateTime",
    "InputReadinessState",
]
TYPE_2 = [
    "TransactionUID",
    "WorklistLabel",
    "ScheduledProcessingParametersSequence",
    "ScheduledStationNameCodeSequence",
    "ScheduledStationClassCodeSequence",
    "ScheduledStationGeographicLocationCodeSequence",
    "ScheduledWorkitemCodeSequence",
    "CommentsOnTheScheduledProcedureStep",
    "InputInformationSequence",
    "PatientName",
    "PatientID",
    "IssuerOfPatientID",
    "IssuerOfPatientIDQualifiersSequence",
    "OtherPatientIDsSequence",
    "PatientBirthDate",
    "PatientSex",
    "AdmissionID",
    "IssuerOfAdmissionIDSequence",
    "AdmittingDiagnosesDescription",
    "AdmittingDiagnosesCodeSequence",
    "ReferencedRequestSequence",
    "ProcedureStepProgressInformationSequence",
    "UnifiedProcedureStepPerformedProcedureSequence",
]
OF_A_REQUEST = [
    "AccessionNumber",
    "IssuerOfAccessionNumberSequence",
    "RequestedProcedureID",
    "RequestedProcedureDescription",
    "RequestedProcedureCodeSequence",
]
"""What the SCU gives in an N-CREATE, with a value and with one or none (PS3.4, CC.2.5-3)."""

MUST_BE_EMPTY = [
    "TransactionUID",
    "ProcedureStepProgressInformationSequence",
    "UnifiedProcedureStepPerformedProcedureSequence",
]


def built(
    case: Case, folder: Path, wanted: Sequence[Workitem] = (WANTED,), **more: object
) -> tuple[list[ResultObject], list[Dataset]]:
    """All results, and the workitems as they are read back."""
    results = case.build(folder, workitems=wanted, created=CREATED, **more)
    workitems = [result for result in results if result.kind is Kind.WORKITEM]
    assert results[len(results) - len(workitems) :] == workitems, "they come last"
    return results, [pydicom.dcmread(result.path) for result in workitems]


@pytest.fixture(scope="module")
def calm() -> Case:
    case = make_case()
    return case.judged(probabilities=np.zeros_like(case.judgement.probabilities))


@pytest.mark.parametrize("attributes", [{}, {"PatientSex": None, "AccessionNumber": None}])
def test_a_workitem_has_every_attribute_that_is_required(
    tmp_path: Path, attributes: dict[str, None]
) -> None:
    _, (item,) = built(make_case(**attributes), tmp_path)
    for keyword in TYPE_1:
        assert item.get(keyword), keyword
    for keyword in TYPE_2:
        assert keyword in item, keyword
    for keyword in MUST_BE_EMPTY:
        assert item[keyword].is_empty, keyword
    (request,) = item.ReferencedRequestSequence
    assert request.StudyInstanceUID == item.StudyInstanceUID
    assert all(keyword in request for keyword in OF_A_REQUEST)
    assert item.ProcedureStepState == "SCHEDULED"
    assert item.InputReadinessState in ("READY", "INCOMPLETE", "UNAVAILABLE")


def test_a_workitem_refers_to_the_report_and_to_who_has_it(case: Case, tmp_path: Path) -> None:
    results, (item,) = built(case, tmp_path)
    (found,) = item.InputInformationSequence
    (sop,) = found.ReferencedSOPSequence
    report = next(r for r in results if r.kind is Kind.STRUCTURED_REPORT)
    assert (sop.ReferencedSOPInstanceUID, sop.ReferencedSOPClassUID) == (
        report.sop_instance_uid,
        report.sop_class_uid,
    )
    assert found.SeriesInstanceUID == report.series_instance_uid
    assert found.StudyInstanceUID == case.judgement.study_instance_uid
    assert found.TypeOfInstances == "DICOM"
    assert found.DICOMRetrievalSequence[0].RetrieveAETitle == "ARCHIVE"


def test_it_refers_to_the_report_in_the_class_that_is_stored_there(
    case: Case, tmp_path: Path
) -> None:
    wanted = replace(WANTED, form=ReportForm.ENHANCED)
    _, (item,) = built(case, tmp_path, [wanted], further={ReportForm.ENHANCED: {}})
    (sop,) = item.InputInformationSequence[0].ReferencedSOPSequence
    assert sop.ReferencedSOPClassUID == ReportForm.ENHANCED.sop_class_uid


def test_where_nobody_gets_a_report_it_refers_to_none(case: Case, tmp_path: Path) -> None:
    _, (item,) = built(case, tmp_path, [replace(WANTED, kind=None, retrieve_from=None)])
    assert item["InputInformationSequence"].is_empty


def test_it_says_whether_the_series_is_flagged_and_that_it_is_no_finding_of_a_reader(
    case: Case, calm: Case, tmp_path: Path
) -> None:
    _, (flagged,) = built(case, tmp_path / "flagged")
    _, (not_flagged,) = built(calm, tmp_path / "calm", revision=12)
    assert flagged.ScheduledProcedureStepPriority == "HIGH"
    assert not_flagged.ScheduledProcedureStepPriority == "MEDIUM"
    assert flagged.ProcedureStepLabel == "ICH flagged: not for clinical use"
    assert not_flagged.ProcedureStepLabel == "ICH not flagged, revision 12: not for clinical use"
    for item in (flagged, not_flagged):
        assert len(item.ProcedureStepLabel) <= 64
        assert "NOT FOR CLINICAL USE" in item.CommentsOnTheScheduledProcedureStep


def test_the_same_judgement_gives_the_same_workitem_and_each_recipient_has_its_own(
    case: Case, tmp_path: Path
) -> None:
    other = replace(WANTED, recipient="ward")
    results, (one, another) = built(case, tmp_path / "a", [WANTED, other])
    again, _ = built(case, tmp_path / "b", [WANTED])
    assert one.SOPInstanceUID != another.SOPInstanceUID
    assert UID(one.SOPInstanceUID).is_valid
    assert again[-1].path.read_bytes() == results[-2].path.read_bytes()
    assert [result.recipient for result in results[-2:]] == ["reading-room", "ward"]


def put(item: Dataset, keyword: str, value: str) -> None:
    setattr(item, keyword, value)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda item: put(item, "PatientName", "Other^Name"), "PatientName differs"),
        (lambda item: put(item, "StudyInstanceUID", "1.2.3"), "StudyInstanceUID differs"),
        (lambda item: put(item, "WorklistLabel", "another"), "not what was built"),
    ],
)
def test_a_workitem_that_is_damaged_is_held(
    case: Case, tmp_path: Path, damage: Callable[[Dataset], None], said: str
) -> None:
    results, (item,) = built(case, tmp_path)
    damaged = pydicom.dcmread(results[-1].path)
    damage(damaged)
    damaged.save_as(results[-1].path)
    origin = Origin.of(case.judgement, case.volume, case.sources)
    with pytest.raises(ResultHeld, match=said):
        check_workitem(results[-1].path, item, origin)
