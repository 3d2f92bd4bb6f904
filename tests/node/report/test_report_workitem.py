"""The workitem has what the standard asks of one that is created, and claims no more."""

from collections.abc import Callable, Iterator, Sequence
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

TABLE = """
TransactionUID                                 empty
SpecificCharacterSet                           1C
ScheduledProcedureStepPriority                 1
ScheduledProcedureStepModificationDateTime     -
ProcedureStepLabel                             1
WorklistLabel                                  2
ScheduledProcessingParametersSequence          2
ScheduledStationNameCodeSequence               2
ScheduledStationClassCodeSequence              2
ScheduledStationGeographicLocationCodeSequence 2
ScheduledHumanPerformersSequence               2C
ScheduledProcedureStepStartDateTime            1
ExpectedCompletionDateTime                     3
ScheduledProcedureStepExpirationDateTime       3
ScheduledWorkitemCodeSequence                  2
> CodeValue                                    1
> CodingSchemeDesignator                       1
> CodeMeaning                                  1
CommentsOnTheScheduledProcedureStep            2
InputReadinessState                            1
InputInformationSequence                       2
> TypeOfInstances                              1
> StudyInstanceUID                             1
> SeriesInstanceUID                            1
> ReferencedSOPSequence                        1
> > ReferencedSOPClassUID                      1
> > ReferencedSOPInstanceUID                   1
> DICOMRetrievalSequence                       1C
> > RetrieveAETitle                            1
> WADORSRetrievalSequence                      1C
> > RetrieveURL                                1
StudyInstanceUID                               1
OutputDestinationSequence                      3
PatientName                                    2
PatientID                                      1C
IssuerOfPatientID                              2
IssuerOfPatientIDQualifiersSequence            2
> UniversalEntityID                            2
> UniversalEntityIDType                        1C
> IdentifierTypeCode                           2
> AssigningFacilitySequence                    2
> AssigningJurisdictionCodeSequence            2
> AssigningAgencyOrDepartmentCodeSequence      2
OtherPatientIDsSequence                        2
> PatientID                                    1
> IssuerOfPatientID                            2
> IssuerOfPatientIDQualifiersSequence          2
> > UniversalEntityID                          2
> > UniversalEntityIDType                      1C
> > IdentifierTypeCode                         2
> > AssigningFacilitySequence                  2
> > AssigningJurisdictionCodeSequence          2
> > AssigningAgencyOrDepartmentCodeSequence    2
> TypeOfPatientID                              3
PatientBirthDate                               2
PatientSex                                     2
AdmissionID                                    2
IssuerOfAdmissionIDSequence                    2
AdmittingDiagnosesDescription                  2
AdmittingDiagnosesCodeSequence                 2
ReferencedRequestSequence                      2
> StudyInstanceUID                             1
> AccessionNumber                              2
> IssuerOfAccessionNumberSequence              2
> PlacerOrderNumberImagingServiceRequest       3
> OrderPlacerIdentifierSequence                2
> FillerOrderNumberImagingServiceRequest       3
> OrderFillerIdentifierSequence                2
> RequestedProcedureID                         2
> RequestedProcedureDescription                2
> RequestedProcedureCodeSequence               2
> > CodeValue                                  1
> > CodingSchemeDesignator                     1
> > CodeMeaning                                1
> ReferringPhysicianName                       3
ReplacedProcedureStepSequence                  1C
> ReferencedSOPClassUID                        1
> ReferencedSOPInstanceUID                     1
ProcedureStepState                             1
ProcedureStepProgressInformationSequence       empty
UnifiedProcedureStepPerformedProcedureSequence empty
TimezoneOffsetFromUTC                          3
"""
"""What an SCU gives in an N-CREATE (PS3.4, tables CC.2.5-3 and CC.2.5-2a to 2e; PS3.3, 10-3b).

Conditions: a code is a short one here, its input and its Study are known. -: not allowed. Of
attributes that the table leaves to the SCU those that a workitem of the node may have.
"""


def rules() -> dict[tuple[str, ...], str]:
    """By path of an attribute its type."""
    found: dict[tuple[str, ...], str] = {}
    parents: tuple[str, ...] = ()
    for line in TABLE.strip().splitlines():
        *nested, keyword, type_ = line.split()
        parents = (*parents[: len(nested)], keyword)
        found[parents] = type_
    return found


def complaints(item: Dataset, at: tuple[str, ...] = ()) -> Iterator[str]:
    """What a dataset has against the table, and what the table does not know."""
    known = {path[-1]: type_ for path, type_ in rules().items() if path[:-1] == at}
    for keyword, type_ in known.items():
        path = ">".join((*at, keyword))
        if keyword not in item:
            if type_ in ("1", "2", "empty"):
                yield f"{path} is missing"
        elif type_ == "-":
            yield f"{path} is not allowed"
        elif type_ in ("1", "1C") and item[keyword].is_empty:
            yield f"{path} is empty"
        elif type_ == "empty" and not item[keyword].is_empty:
            yield f"{path} is not empty"
    for element in item:
        if element.keyword not in known:
            yield f"{'>'.join((*at, element.keyword))} is not in the table"
        elif element.VR == "SQ":
            for within in element.value:
                yield from complaints(within, (*at, element.keyword))


def of(**attributes: object) -> Dataset:
    dataset = Dataset()
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    return dataset


SOURCES = {
    "with all that is usual": {},
    "with hardly anything": {
        "PatientID": "",
        "PatientSex": None,
        "PatientBirthDate": None,
        "AccessionNumber": None,
        "ReferringPhysicianName": None,
        "SpecificCharacterSet": None,
    },
    "with all of the patient and the request": {
        "TimezoneOffsetFromUTC": "-0500",
        "IssuerOfPatientID": "HOSPITAL",
        "IssuerOfPatientIDQualifiersSequence": [
            of(UniversalEntityID="1.2.3", UniversalEntityIDType="ISO")
        ],
        "OtherPatientIDsSequence": [
            of(PatientID="O1", TypeOfPatientID="TEXT"),
            of(
                PatientID="O2",
                TypeOfPatientID="TEXT",
                IssuerOfPatientID="OTHER",
                IssuerOfPatientIDQualifiersSequence=[of(IdentifierTypeCode="MR")],
            ),
        ],
        "AdmissionID": "AD1",
        "AdmittingDiagnosesDescription": "Fall",
        "RequestAttributesSequence": [
            of(
                RequestedProcedureID="RP1",
                AccessionNumber="A7",
                RequestedProcedureDescription="CT Head",
                RequestedProcedureCodeSequence=[
                    of(CodeValue="H1", CodingSchemeDesignator="L", CodeMeaning="CT Head")
                ],
                ScheduledProcedureStepID="SPS1",
            ),
            of(RequestedProcedureID="RP2", ScheduledProcedureStepID="SPS2"),
        ],
    },
}


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


@pytest.mark.parametrize("source", SOURCES)
def test_a_workitem_is_as_the_table_of_the_standard_asks(tmp_path: Path, source: str) -> None:
    wanted = [
        WANTED,
        replace(
            WANTED, recipient="web", retrieve_from="https://pacs/rs", replaces=("1.2.3", "1.2.4")
        ),
    ]
    _, items = built(make_case(2, **SOURCES[source]), tmp_path, wanted)
    for item in items:
        del item.SOPClassUID, item.SOPInstanceUID  # those are in the command
        assert list(complaints(item)) == []
        assert item.ProcedureStepState == "SCHEDULED"
        assert item.InputReadinessState == "READY"
    assert "ReplacedProcedureStepSequence" not in items[0]
    replaced = items[1].ReplacedProcedureStepSequence
    assert [one.ReferencedSOPInstanceUID for one in replaced] == ["1.2.3", "1.2.4"]


def test_the_table_tells_a_workitem_that_is_wrong(case: Case, tmp_path: Path) -> None:
    _, (item,) = built(case, tmp_path)
    item.TransactionUID = "1.2.3"
    item.ScheduledProcedureStepModificationDateTime = "20260304"
    del item.ReferencedRequestSequence[0].OrderPlacerIdentifierSequence
    item.InputInformationSequence[0].TypeOfInstances = ""
    assert set(complaints(item)) == {
        "TransactionUID is not empty",
        "ScheduledProcedureStepModificationDateTime is not allowed",
        "ReferencedRequestSequence>OrderPlacerIdentifierSequence is missing",
        "InputInformationSequence>TypeOfInstances is empty",
        "SOPClassUID is not in the table",
        "SOPInstanceUID is not in the table",
    }


def test_each_request_that_the_study_answers_is_named(tmp_path: Path) -> None:
    _, (item,) = built(make_case(2, **SOURCES["with all of the patient and the request"]), tmp_path)
    told = [(r.RequestedProcedureID, r.AccessionNumber) for r in item.ReferencedRequestSequence]
    assert told == [("RP1", "A7"), ("RP2", "A1")]
    assert {r.StudyInstanceUID for r in item.ReferencedRequestSequence} == {item.StudyInstanceUID}


@pytest.mark.parametrize(
    ("zone", "start"), [(None, "20260304050607+0000"), ("-0500", "20260304000607-0500")]
)
def test_the_start_is_no_other_time_to_a_peer_in_another_zone(
    tmp_path: Path, zone: str | None, start: str
) -> None:
    attributes = {} if zone is None else {"TimezoneOffsetFromUTC": zone}
    _, (item,) = built(make_case(2, **attributes), tmp_path)
    assert item.ScheduledProcedureStepStartDateTime == start


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


def test_of_a_server_it_tells_where_the_report_itself_is(case: Case, tmp_path: Path) -> None:
    _, (item,) = built(case, tmp_path, [replace(WANTED, retrieve_from="https://pacs/dicom-web")])
    (found,) = item.InputInformationSequence
    (sop,) = found.ReferencedSOPSequence
    assert found.WADORSRetrievalSequence[0].RetrieveURL == (
        f"https://pacs/dicom-web/studies/{found.StudyInstanceUID}"
        f"/series/{found.SeriesInstanceUID}/instances/{sop.ReferencedSOPInstanceUID}"
    )


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
        (
            lambda item: put(item.OtherPatientIDsSequence[0], "PatientID", "1"),
            "OtherPatientIDsSequence differs",
        ),
        (
            lambda item: put(item.OtherPatientIDsSequence[0], "IssuerOfPatientID", "X"),
            "OtherPatientIDsSequence differs",
        ),
        (lambda item: put(item, "WorklistLabel", "another"), "not what was built"),
    ],
)
def test_a_workitem_that_is_damaged_is_held(
    tmp_path: Path, damage: Callable[[Dataset], None], said: str
) -> None:
    case = make_case(2, OtherPatientIDsSequence=[of(PatientID="O1", TypeOfPatientID="TEXT")])
    results, (item,) = built(case, tmp_path)
    damaged = pydicom.dcmread(results[-1].path)
    damage(damaged)
    damaged.save_as(results[-1].path)
    origin = Origin.of(case.judgement, case.volume, case.sources)
    with pytest.raises(ResultHeld, match=said):
        check_workitem(results[-1].path, item, origin)
