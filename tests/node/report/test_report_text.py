"""The text reports: what a reader is told, and how it looks in lines of one width."""

from datetime import UTC, datetime

import numpy as np
import pydicom
import pytest
from pydicom.uid import BasicTextSRStorage

from ml.labels import LABELS, Label
from node import report
from node.report import Kind, ReportError, ResultReference
from node.report.files import write
from node.report.origin import Origin
from node.report.sr import build_text_report
from node.settings import ReportSettings

CREATED = datetime(2026, 1, 1, tzinfo=UTC)


def sections(document):
    """Every section's texts by its heading."""
    return {
        item.ConceptNameCodeSequence[0].CodeMeaning: [
            text.TextValue.replace("\r\n", "\n") for text in item.ContentSequence
        ]
        for item in document.ContentSequence
        if item.ValueType == "CONTAINER"
    }


def told(case, tmp_path):
    origin = Origin.of(case.judgement, case.volume, case.sources)
    built = build_text_report(origin, revision=1, predecessor=None, created=CREATED)
    write(built, tmp_path / "text.dcm")
    return sections(pydicom.dcmread(tmp_path / "text.dcm"))


def with_any(case, values):
    probabilities = np.zeros_like(case.judgement.probabilities)
    probabilities[:, LABELS.index(Label.ANY)] = values
    return case.judged(probabilities=probabilities)


def test_the_impression_says_first_that_it_is_not_for_clinical_use(case, tmp_path):
    (impression,) = told(with_any(case, [0, 0.7, 0, 0]), tmp_path)["Impressions"]
    assert impression.startswith("NOT FOR CLINICAL USE.")
    assert "Flagged for: any hemorrhage 70.0 % (slice 2)." in impression


def test_nothing_flagged_is_said_without_calling_it_negative(case, tmp_path):
    (impression,) = told(with_any(case, 0.1), tmp_path)["Impressions"]
    assert "No finding reaches its threshold." in impression
    for word in ("negative", "normal", "no hemorrhage", "no bleed"):
        assert word not in impression.lower()


def test_the_tables_hold_every_probability(case, tmp_path):
    study, flagged, every = told(case, tmp_path)["Findings"]
    judgement = case.judgement
    for label in LABELS:
        assert f"{100 * judgement.maximum(label):.1f} %" in study
    rows = every.splitlines()[2:]
    assert len(rows) == len(judgement.slices)
    for index, row in enumerate(rows):
        number, image, _, *cells = row.split()
        assert (int(number), int(image)) == (index + 1, index + 1)
        order = (Label.ANY, *LABELS[:-1])
        assert [cell.rstrip("*") for cell in cells] == [
            f"{100 * judgement.probability(index, label):.1f}" for label in order
        ]
        assert [cell.endswith("*") for cell in cells] == [
            judgement.is_flagged(index, label) for label in order
        ]
    assert len(flagged.splitlines()) == 1 + len(judgement.flagged_slices())


def test_the_columns_stand_below_each_other(case, tmp_path):
    *_, every = told(case, tmp_path)["Findings"]
    _, heading, *rows = every.splitlines()
    ends = {row.rstrip("*").index(row.split()[3].rstrip("*")) for row in rows}
    assert len({len(row.rstrip("* ")) for row in rows}) <= 2
    assert max(ends) < len(heading)


def test_a_thin_series_has_runs_instead_of_every_slice(make_case, tmp_path):
    values = np.zeros(120)
    values[30:60] = 0.9
    found = told(with_any(make_case(120, rows=8, columns=8), values), tmp_path)["Findings"]
    assert len(found) == 2
    assert found[1].splitlines()[1].startswith("slices 31 to 60, most on slice 31 of 120")


def test_warnings_are_told(case, tmp_path):
    said = "\n".join(told(case, tmp_path)["Current Procedure Descriptions"])
    for warning in case.judgement.warnings:
        assert f"Warning: {warning}" in said
    assert case.judgement.model.trained_on in said


@pytest.mark.parametrize("wanted", [True, False])
def test_it_is_sent_by_configuration(case, tmp_path, wanted):
    built = case.build(tmp_path, settings=ReportSettings(text_report=wanted))
    assert any(result.kind is Kind.TEXT_REPORT for result in built) is wanted


# -- notices ---------------------------------------------------------------


def notice(case, folder, **more):
    judgement = case.judgement
    arguments = {
        "study_instance_uid": judgement.study_instance_uid,
        "series_instance_uid": judgement.series_instance_uid,
        "input_digest": judgement.input_digest,
        "reason": "bone-kernel",
        "detail": "ConvolutionKernel is 'BONE'",
        "created": CREATED,
        **more,
    }
    return report.build_notice(case.sources, folder, **arguments)


def test_a_notice_says_that_nothing_was_analyzed_and_why(case, tmp_path):
    (result,) = notice(case, tmp_path)
    assert result.kind is Kind.NOTICE
    document = pydicom.dcmread(result.path)
    assert document.SOPClassUID == BasicTextSRStorage
    assert document.PatientID == case.sources[0].PatientID
    assert "NOT ANALYZED" in document.SeriesDescription
    said = sections(document)
    assert said["Impressions"][0].startswith("This series was NOT ANALYZED")
    assert "says nothing about whether there is one" in said["Impressions"][0]
    assert "bone-kernel (ConvolutionKernel is 'BONE')" in said["Current Procedure Descriptions"][0]


def test_a_notice_names_what_it_replaces_and_has_the_same_name_again(case, results, tmp_path):
    before = ResultReference("1.2.3", BasicTextSRStorage, "1.2.3.4")
    (first,), (again,) = (notice(case, tmp_path / n, predecessor=before) for n in "ab")
    assert first.sop_instance_uid == again.sop_instance_uid
    assert first.path.read_bytes() == again.path.read_bytes()
    assert first.sop_instance_uid not in {result.sop_instance_uid for result in results}
    (study,) = pydicom.dcmread(first.path).PredecessorDocumentsSequence
    sop = study.ReferencedSeriesSequence[0].ReferencedSOPSequence[0]
    assert sop.ReferencedSOPInstanceUID == "1.2.3.4"


def test_a_notice_on_what_cannot_be_referred_to_is_refused(case, tmp_path):
    with pytest.raises(ReportError, match="no header"):
        report.build_notice(
            [],
            tmp_path,
            study_instance_uid="1.2",
            series_instance_uid="1.3",
            input_digest="",
            reason="error",
            detail="",
            created=CREATED,
        )
    with pytest.raises(ReportError, match="StudyInstanceUID"):
        notice(case, tmp_path, study_instance_uid="1.2.3.99")
    assert list(tmp_path.iterdir()) == []
