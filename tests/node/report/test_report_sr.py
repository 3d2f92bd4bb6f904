from dataclasses import replace
from datetime import UTC, datetime

import highdicom.sr as hd
import numpy as np
import pydicom
import pytest
from pydicom.sr.coding import Code

from ml.labels import LABELS, Label
from ml.series import Volume
from node.report import ResultReference, codes
from node.report.files import write
from node.report.origin import Origin
from node.report.sr import build_report


@pytest.fixture(scope="module")
def document(results):
    return pydicom.dcmread(results[0].path)


def measurements(document):
    """Finding, value, unit, image, frames and derivation of every group."""
    report = hd.Comprehensive3DSR.from_dataset(document)
    for group in report.content.get_image_measurement_groups():
        (measurement,) = group.get_measurements(name=codes.PROBABILITY)
        (image,) = measurement.referenced_images
        yield group, measurement, image


def of_slices(document):
    return [m for m in measurements(document) if m[1].derivation is None]


def of_study(document):
    return [m for m in measurements(document) if m[1].derivation is not None]


def test_every_slice_has_its_six_probabilities_exactly(case, document):
    found = of_slices(document)
    assert len(found) == 6 * len(case.volume)
    for number, (group, measurement, image) in enumerate(found):
        index, label = divmod(number, 6)
        assert np.float32(measurement.value) == case.judgement.probabilities[index, label]
        assert group.finding_type == codes.FINDINGS[LABELS[label]]
        assert measurement.unit == Code("1", "UCUM", "no units")
        assert image.referenced_sop_instance_uid == case.volume.slices[index].sop_instance_uid
        assert image.referenced_frame_numbers is None


def test_the_decimal_string_alone_brings_a_probability_back(case, document):
    """Many readers know Numeric Value only, not Floating Point Value."""
    container = document.ContentSequence[-2].ContentSequence[6:]
    values = [
        item.MeasuredValueSequence[0].NumericValue
        for group in container
        for item in group.ContentSequence
        if item.ValueType == "NUM"
    ]
    assert np.array_equal(np.array(values, np.float32), case.judgement.probabilities.ravel())


@pytest.mark.parametrize("value", [0.0, 1.0, 1e-30, 1 - 2**-24, 1 / 3])
def test_extreme_probabilities_survive(case, tmp_path, value):
    probabilities = np.full_like(case.judgement.probabilities, value)
    results = case.judged(probabilities=probabilities).build(tmp_path)
    for _, measurement, _ in measurements(pydicom.dcmread(results[0].path)):
        assert np.float32(measurement.value) == np.float32(value)


def test_the_study_has_the_maximum_of_each_finding_and_its_slice(case, document):
    found = of_study(document)
    assert [group.finding_type for group, _, _ in found] == [codes.FINDINGS[x] for x in LABELS]
    for label, (_, measurement, image) in zip(LABELS, found, strict=True):
        column = case.judgement.probabilities[:, LABELS.index(label)]
        assert np.float32(measurement.value) == column.max()
        assert measurement.derivation == codes.MAXIMUM
        key = case.volume.slices[int(column.argmax())]
        assert image.referenced_sop_instance_uid == key.sop_instance_uid


def test_a_receiver_finds_a_finding_by_its_code(case, document):
    report = hd.Comprehensive3DSR.from_dataset(document)
    groups = report.content.get_image_measurement_groups(
        finding_type=codes.FINDINGS[Label.SUBDURAL]
    )
    assert len(groups) == 1 + len(case.volume)


def test_slices_of_an_enhanced_image_are_named_by_frame(make_case, tmp_path):
    case = make_case(3, enhanced=True)
    document = pydicom.dcmread(case.build(tmp_path)[0].path)
    found = of_slices(document)
    assert [image.referenced_frame_numbers for _, _, image in found[::6]] == [[1], [2], [3]]
    assert {image.referenced_sop_instance_uid for _, _, image in found} == {
        case.sources[0].SOPInstanceUID
    }
    (study,) = document.CurrentRequestedProcedureEvidenceSequence
    assert len(study.ReferencedSeriesSequence[0].ReferencedSOPSequence) == 1


def test_all_sources_are_evidence_even_those_with_no_slice(case, tmp_path):
    volume = Volume(case.volume.hu[1:], case.volume.slices[1:], case.volume.spacing_mm)
    judgement = replace(
        case.judgement, slices=volume.slices, probabilities=case.judgement.probabilities[1:]
    )
    results = replace(case, judgement=judgement, volume=volume).build(tmp_path)
    (study,) = pydicom.dcmread(results[0].path).CurrentRequestedProcedureEvidenceSequence
    assert study.StudyInstanceUID == judgement.study_instance_uid
    (series,) = study.ReferencedSeriesSequence
    assert series.SeriesInstanceUID == judgement.series_instance_uid
    assert {
        (sop.ReferencedSOPClassUID, sop.ReferencedSOPInstanceUID)
        for sop in (series.ReferencedSOPSequence)
    } == {(source.SOPClassUID, source.SOPInstanceUID) for source in case.sources}


def test_the_document_is_complete_and_nobody_verified_it(document):
    assert document.CompletionFlag == "COMPLETE"
    assert document.VerificationFlag == "UNVERIFIED"
    assert document.PreliminaryFlag == "PRELIMINARY"
    assert "PredecessorDocumentsSequence" not in document


def test_a_later_revision_names_the_report_before_it(case, results, tmp_path):
    before = results[0]
    later = case.judged(input_digest=64 * "b").build(
        tmp_path, revision=2, predecessor=before.reference
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


def texts(document):
    return [item.TextValue for item in document.ContentSequence[-1].ContentSequence]


def test_a_reader_is_told_what_to_know(case, document):
    told = "\n".join(texts(document))
    model = case.judgement.model
    assert told.startswith("NOT FOR CLINICAL USE.")
    for part in (model.trained_on, model.intended_use, "balanced", *case.judgement.warnings):
        assert part in told


def test_the_flagged_findings_follow_the_thresholds(case, tmp_path):
    probabilities = np.zeros(case.judgement.probabilities.shape)
    probabilities[1, LABELS.index(Label.SUBDURAL)] = 0.4  # its threshold
    probabilities[1, LABELS.index(Label.ANY)] = 0.437  # below its own
    results = case.judged(probabilities=probabilities).build(tmp_path)
    told = "\n".join(texts(pydicom.dcmread(results[0].path)))
    assert "flagged for: subdural." in told


def test_a_model_with_no_operating_point_flags_nothing(case, tmp_path):
    results = case.judged(model=replace(case.judgement.model, operating_point=None)).build(tmp_path)
    assert "flagged" not in "\n".join(texts(pydicom.dcmread(results[0].path)))


def test_the_model_is_named_as_device_algorithm_and_equipment(case, document):
    model = case.judgement.model
    report = hd.Comprehensive3DSR.from_dataset(document)
    (observer,) = report.content.get_observer_contexts(observer_type=codes.DEVICE)
    device = observer.observer_identifying_attributes
    assert device.name == "ichnode"
    assert device.model_name == "phantom 0.1.0"
    assert device.serial_number == model.digest
    group = of_study(document)[0][0][0]
    stated = {
        item.ConceptNameCodeSequence[0].CodeMeaning: item.TextValue
        for item in group.ContentSequence
        if item.ValueType == "TEXT"
    }
    assert stated["Algorithm Name"] == "phantom"
    assert stated["Algorithm Version"] == f"0.1.0 ({model.digest[:12]})"
    scanner, ichnode = document.ContributingEquipmentSequence
    assert (scanner.Manufacturer, scanner.ManufacturerModelName) == ("Scanner Works", "Ring 1")
    assert ichnode.ManufacturerModelName == "phantom"
    assert ichnode.DeviceSerialNumber == model.digest
    assert "0.1.0" in ichnode.SoftwareVersions


def test_a_thin_series_of_320_slices_works(make_case, tmp_path):
    case = make_case(320, rows=8, columns=8)
    origin = Origin.of(case.judgement, case.volume, case.sources)
    document = build_report(
        origin, revision=1, predecessor=None, created=datetime(2026, 1, 1, tzinfo=UTC)
    )
    write(document, tmp_path / "sr.dcm")
    groups = pydicom.dcmread(tmp_path / "sr.dcm").ContentSequence[-2].ContentSequence
    assert len(groups) == 6 + 6 * 320
