"""The measurement reports: findings for readers, slices for software."""

from dataclasses import replace
from datetime import UTC, datetime

import highdicom.sr as hd
import numpy as np
import pydicom
import pytest
from pydicom.sr.coding import Code
from pydicom.uid import Comprehensive3DSRStorage, ComprehensiveSRStorage, EnhancedSRStorage

from ml.labels import LABELS, SUBTYPES, Label
from ml.series import Volume
from node.judgement import Assessment
from node.report import Kind, ResultReference, codes
from node.report.files import write
from node.report.origin import Origin
from node.report.sr import build_findings_report, build_slice_report
from node.report.sr.measurement import head_box
from node.settings import ReportForm

CREATED = datetime(2026, 1, 1, tzinfo=UTC)


def read(case, tmp_path, build, form=ReportForm.COMPREHENSIVE_3D, **more):
    origin = Origin.of(case.judgement, case.volume, case.sources)
    report = build(origin, form, **{"revision": 1, "predecessor": None, "created": CREATED, **more})
    write(report, tmp_path / "sr.dcm")
    return pydicom.dcmread(tmp_path / "sr.dcm")


@pytest.fixture(scope="module")
def findings(case, tmp_path_factory):
    return read(case, tmp_path_factory.mktemp("findings"), build_findings_report)


@pytest.fixture(scope="module")
def slices(case, tmp_path_factory):
    return read(case, tmp_path_factory.mktemp("slices"), build_slice_report)


def groups_of(document):
    """Group, probability and image of every measurement group, by highdicom's reader."""
    content = hd.Comprehensive3DSR.from_dataset(document).content
    for group in content.get_planar_roi_measurement_groups():
        (measurement,) = group.get_measurements(name=codes.PROBABILITY)
        (image,) = group.roi.ContentSequence
        yield group, measurement, image


def with_probabilities(case, **by_label):
    """A case with probabilities for some labels on its slices, 0 for the others."""
    probabilities = np.zeros_like(case.judgement.probabilities)
    for label, values in by_label.items():
        probabilities[:, LABELS.index(Label(label))] = values
    return case.judged(probabilities=probabilities)


# -- every slice -----------------------------------------------------------


def test_every_slice_has_its_six_probabilities_exactly(case, slices):
    found = list(groups_of(slices))[6:]
    assert len(found) == 6 * len(case.volume)
    for number, (group, measurement, image) in enumerate(found):
        index, label = divmod(number, 6)
        assert np.float32(measurement.value / 100) == case.judgement.probabilities[index, label]
        assert group.finding_type == codes.FINDINGS[LABELS[label]]
        assert measurement.unit == Code("%", "UCUM", "Percent")
        assert image.referenced_sop_instance_uid == case.volume.slices[index].sop_instance_uid
        assert image.referenced_frame_numbers is None


def test_the_decimal_string_alone_brings_a_probability_back(case, slices):
    """Many readers know Numeric Value only, not Floating Point Value."""
    values = [
        item.MeasuredValueSequence[0].NumericValue
        for group in measurement_groups(slices)[6:]
        for item in group.ContentSequence
        if item.ValueType == "NUM"
    ]
    read_back = (np.array(values, np.float64) / 100).astype(np.float32)
    assert np.array_equal(read_back, case.judgement.probabilities.ravel())


def measurement_groups(document):
    (container,) = (
        item
        for item in document.ContentSequence
        if item.ConceptNameCodeSequence[0].CodeValue == codes.IMAGING_MEASUREMENTS.value
    )
    return container.ContentSequence


@pytest.mark.parametrize("value", [0.0, 1.0, 1e-30, 1 - 2**-24, 1 / 3])
def test_extreme_probabilities_survive(case, tmp_path, value):
    probabilities = np.full_like(case.judgement.probabilities, value)
    document = read(case.judged(probabilities=probabilities), tmp_path, build_slice_report)
    for _, measurement, _ in groups_of(document):
        assert np.float32(measurement.value / 100) == np.float32(value)


def test_software_finds_a_finding_by_its_code(case, slices):
    content = hd.Comprehensive3DSR.from_dataset(slices).content
    groups = content.get_planar_roi_measurement_groups(finding_type=codes.FINDINGS[Label.SUBDURAL])
    assert len(groups) == 1 + len(case.volume)


def test_slices_of_an_enhanced_image_are_named_by_frame(make_case, tmp_path):
    case = make_case(3, enhanced=True)
    document = read(case, tmp_path, build_slice_report)
    found = list(groups_of(document))[6:]
    assert [image.referenced_frame_numbers for _, _, image in found[::6]] == [[1], [2], [3]]
    assert {image.referenced_sop_instance_uid for _, _, image in found} == {
        case.sources[0].SOPInstanceUID
    }
    (study,) = document.CurrentRequestedProcedureEvidenceSequence
    assert len(study.ReferencedSeriesSequence[0].ReferencedSOPSequence) == 1


def test_every_group_has_a_region_inside_its_image(make_case, tmp_path):
    """Viewers find the slice by it; OHIF shows nothing if one group has none."""
    case = make_case(3, rows=48, columns=64)
    for group, _, _ in groups_of(read(case, tmp_path, build_slice_report)):
        points = group.roi.value
        assert points.min() == 0
        assert points.max(axis=0).tolist() == [64, 48]
        assert np.array_equal(points[0], points[-1])
    for group, _, image in groups_of(read(case, tmp_path, build_findings_report)):
        (index,) = (
            i
            for i, item in enumerate(case.volume.slices)
            if item.sop_instance_uid == image.referenced_sop_instance_uid
        )
        rows, columns = np.nonzero(case.volume.hu[index] > -300)
        points = group.roi.value
        assert points.min(axis=0).tolist() == [columns.min(), rows.min()]
        assert points.max(axis=0).tolist() == [columns.max() + 1, rows.max() + 1]


def test_the_head_is_the_largest_body_on_a_slice():
    hu = np.full((40, 50), -1000)
    assert head_box(hu) == ((0, 40), (0, 50))
    hu[35:38] = 200  # a table
    hu[5:30, 10:35] = 40
    assert head_box(hu) == ((5, 30), (10, 35))


def test_a_thin_series_is_whole_for_software_and_short_for_a_reader(make_case, tmp_path):
    case = make_case(210, rows=8, columns=8)
    subdural = np.zeros(210)
    subdural[100:140] = np.linspace(0.5, 0.9, 40)
    subdural[200:203] = 0.6
    case = with_probabilities(case, subdural=subdural)
    assert len(list(groups_of(read(case, tmp_path, build_slice_report)))) == 6 + 6 * 210
    document = read(case, tmp_path, build_findings_report)
    _, *flagged = ((group, image) for group, _, image in groups_of(document))
    assert len(flagged) == 2  # two runs
    assert "of slices 101 to 140" in flagged[0][0].tracking_identifier
    peak = case.volume.slices[139].sop_instance_uid
    assert flagged[0][1].referenced_sop_instance_uid == peak


def test_the_study_has_the_maximum_of_each_finding_and_its_slice(case, slices):
    found = list(groups_of(slices))[:6]
    order = (Label.ANY, *SUBTYPES)
    assert [group.finding_type for group, _, _ in found] == [codes.FINDINGS[x] for x in order]
    for label, (_, measurement, image) in zip(order, found, strict=True):
        column = case.judgement.probabilities[:, LABELS.index(label)]
        assert np.float32(measurement.value / 100) == column.max()
        assert measurement.derivation == codes.MAXIMUM
        key = case.volume.slices[int(column.argmax())]
        assert image.referenced_sop_instance_uid == key.sop_instance_uid


# -- findings --------------------------------------------------------------


def test_the_likeliest_slice_comes_first_and_then_the_flagged_ones(case, tmp_path):
    case = with_probabilities(case, subdural=[0, 0.4, 0.39, 0.4], any=[0.1, 0, 0.4375, 0.437])
    document = read(case, tmp_path, build_findings_report)
    found = [
        (g.finding_type, i.referenced_sop_instance_uid, m.derivation)
        for g, m, i in groups_of(document)
    ]
    uids = [item.sop_instance_uid for item in case.volume.slices]
    assert found == [
        (codes.FINDINGS[Label.ANY], uids[2], codes.MAXIMUM),
        (codes.FINDINGS[Label.SUBDURAL], uids[1], None),
        (codes.FINDINGS[Label.SUBDURAL], uids[3], None),
    ]


def test_there_is_a_slice_to_show_even_where_nothing_is_flagged(case, tmp_path):
    document = read(with_probabilities(case), tmp_path, build_findings_report)
    ((group, _, _),) = groups_of(document)
    assert "not flagged" in group.tracking_identifier


def test_no_two_groups_for_a_reader_stand_on_one_slice(findings):
    uids = [image.referenced_sop_instance_uid for _, _, image in groups_of(findings)]
    assert len(set(uids)) == len(uids)


def evaluations(document):
    return {
        item.ConceptNameCodeSequence[0].CodeValue: item.ConceptCodeSequence[0].CodeMeaning
        for item in document.ContentSequence[-1].ContentSequence
        if item.ValueType == "CODE"
    }


def test_findings_are_present_absent_or_undetermined_by_the_operating_points(case, tmp_path):
    model = case.judgement.model
    sensitive = model.operating_point.model_copy(
        update={"name": "high sensitivity", "thresholds": dict.fromkeys(LABELS, 0.1)}
    )
    case = with_probabilities(
        case.judged(model=replace(model, most_sensitive=sensitive)),
        subdural=[0, 0.4, 0, 0],  # its threshold
        epidural=[0, 0.1999, 0.1, 0],  # between the two
        any=[0.0999, 0, 0, 0],
    )
    said = evaluations(read(case, tmp_path, build_findings_report))
    assert said[codes.FINDINGS[Label.SUBDURAL].value] == "Present"
    assert said[codes.FINDINGS[Label.EPIDURAL].value] == "Undetermined"
    assert said[codes.FINDINGS[Label.ANY].value] == "Absent"
    assert case.judgement.assessment(Label.EPIDURAL) is Assessment.INDETERMINATE


def test_a_model_with_no_operating_point_calls_nothing(case, tmp_path):
    case = case.judged(model=replace(case.judgement.model, operating_point=None))
    document = read(case, tmp_path, build_findings_report)
    assert evaluations(document) == {}
    assert len(list(groups_of(document))) == 1
    assert "flagged for" not in "\n".join(texts(document))


def texts(document):
    return [
        item.TextValue
        for item in document.ContentSequence[-1].ContentSequence
        if item.ValueType == "TEXT"
    ]


def test_a_reader_is_told_what_to_know(case, findings, slices):
    model = case.judgement.model
    for document in (findings, slices):
        told = "\n".join(texts(document))
        assert told.startswith("NOT FOR CLINICAL USE.")
        for part in (model.trained_on, model.intended_use, "balanced", *case.judgement.warnings):
            assert part in told


# -- the document ----------------------------------------------------------


@pytest.mark.parametrize(
    ("form", "sop_class"),
    [
        (ReportForm.COMPREHENSIVE_3D, Comprehensive3DSRStorage),
        (ReportForm.COMPREHENSIVE, ComprehensiveSRStorage),
        (ReportForm.ENHANCED, EnhancedSRStorage),
    ],
)
def test_an_archive_gets_the_sop_class_that_it_takes(case, tmp_path, form, sop_class):
    usual = read(case, tmp_path, build_findings_report)
    document = read(case, tmp_path, build_findings_report, form)
    assert document.SOPClassUID == sop_class
    assert document.ContentSequence == usual.ContentSequence
    is_another = document.SOPInstanceUID != usual.SOPInstanceUID
    assert is_another == (form is not ReportForm.COMPREHENSIVE_3D)


def test_all_sources_are_evidence_even_those_with_no_slice(case, tmp_path):
    volume = Volume(case.volume.hu[1:], case.volume.slices[1:], case.volume.spacing_mm)
    judgement = replace(
        case.judgement, slices=volume.slices, probabilities=case.judgement.probabilities[1:]
    )
    document = read(
        replace(case, judgement=judgement, volume=volume), tmp_path, build_findings_report
    )
    (study,) = document.CurrentRequestedProcedureEvidenceSequence
    assert study.StudyInstanceUID == judgement.study_instance_uid
    (series,) = study.ReferencedSeriesSequence
    assert series.SeriesInstanceUID == judgement.series_instance_uid
    everything = {(source.SOPClassUID, source.SOPInstanceUID) for source in case.sources}
    for references in (
        series.ReferencedSOPSequence,
        [
            item.ReferencedSOPSequence[0]
            for item in document.ContentSequence[-3].ContentSequence[0].ContentSequence
        ],
    ):
        assert {
            (sop.ReferencedSOPClassUID, sop.ReferencedSOPInstanceUID) for sop in references
        } == everything


def test_the_document_is_complete_and_nobody_verified_it(findings):
    assert findings.CompletionFlag == "COMPLETE"
    assert findings.VerificationFlag == "UNVERIFIED"
    assert findings.PreliminaryFlag == "PRELIMINARY"
    assert "PredecessorDocumentsSequence" not in findings


def test_a_later_revision_names_the_report_before_it(case, results, tmp_path):
    before = results[0]
    assert before.kind is Kind.STRUCTURED_REPORT
    later = case.judged(input_digest=64 * "b").build(
        tmp_path, revision=2, predecessors={before.kind: before.reference}
    )
    document = pydicom.dcmread(later[0].path)
    (study,) = document.PredecessorDocumentsSequence
    assert study.StudyInstanceUID == case.judgement.study_instance_uid
    (series,) = study.ReferencedSeriesSequence
    (sop,) = series.ReferencedSOPSequence
    assert (
        ResultReference(
            series.SeriesInstanceUID, sop.ReferencedSOPClassUID, sop.ReferencedSOPInstanceUID
        )
        == before.reference
    )
    assert document.SOPInstanceUID != before.sop_instance_uid
    assert document.SeriesDescription.endswith("(revision 2)")


def test_the_same_images_once_more_make_no_report_that_replaces_itself(case, results, tmp_path):
    before = results[0]
    again = case.build(tmp_path, revision=2, predecessors={before.kind: before.reference})
    document = pydicom.dcmread(again[0].path)
    assert document.SOPInstanceUID == before.sop_instance_uid
    assert "PredecessorDocumentsSequence" not in document


def test_the_model_is_named_as_device_algorithm_and_equipment(case, findings):
    model = case.judgement.model
    report = hd.Comprehensive3DSR.from_dataset(findings)
    (observer,) = report.content.get_observer_contexts(observer_type=codes.DEVICE)
    device = observer.observer_identifying_attributes
    assert device.name == "ichnode"
    assert device.model_name == "phantom 0.1.0"
    assert device.serial_number == model.digest
    stated = {
        item.ConceptNameCodeSequence[0].CodeMeaning: item.TextValue
        for item in measurement_groups(findings)[0].ContentSequence
        if item.ValueType == "TEXT"
    }
    assert stated["Algorithm Name"] == "phantom"
    assert stated["Algorithm Version"] == f"0.1.0 ({model.digest[:12]})"
    scanner, ichnode = findings.ContributingEquipmentSequence
    assert (scanner.Manufacturer, scanner.ManufacturerModelName) == ("Scanner Works", "Ring 1")
    assert ichnode.ManufacturerModelName == "phantom"
    assert ichnode.DeviceSerialNumber == model.digest
    assert "0.1.0" in ichnode.SoftwareVersions
