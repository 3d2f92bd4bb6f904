from dataclasses import replace

import pydicom
import pytest

from node import report
from node.report import Kind, ReportError
from node.report.check import check
from node.report.origin import Origin


def test_results_come_report_first_then_foot_to_head(case, results):
    assert [(result.kind, result.path.name) for result in results] == [
        (Kind.STRUCTURED_REPORT, "sr.dcm"),
        (Kind.SLICE_REPORT, "slices.dcm"),
        (Kind.TEXT_REPORT, "text.dcm"),
        *((Kind.SECONDARY_CAPTURE, f"sc-{number:03d}.dcm") for number in range(5)),
    ]
    for number, (result, slice_) in enumerate(
        zip(results[4:], case.volume.slices, strict=True), start=1
    ):
        capture = pydicom.dcmread(result.path)
        assert capture.InstanceNumber == number
        source = capture.SourceImageSequence[0]
        assert source.ReferencedSOPInstanceUID == slice_.sop_instance_uid


def test_a_result_is_what_it_is_said_to_be(results):
    for result in results:
        dataset = pydicom.dcmread(result.path)
        assert dataset.SOPClassUID == result.sop_class_uid
        assert dataset.SOPInstanceUID == result.sop_instance_uid
        assert dataset.SeriesInstanceUID == result.series_instance_uid
        assert dataset.file_meta.MediaStorageSOPInstanceUID == result.sop_instance_uid


def test_kinds_have_a_series_each(case, results):
    series = {(result.kind, result.series_instance_uid) for result in results}
    assert len(series) == len({result.kind for result in results})
    assert case.judgement.series_instance_uid not in {uid for _, uid in series}


def test_building_again_writes_the_same_bytes(case, results, tmp_path):
    again = replace(case, sources=list(reversed(case.sources))).build(tmp_path)
    assert [r.path.read_bytes() for r in again] == [r.path.read_bytes() for r in results]


def test_reading_the_sources_before_changes_nothing(make_case, tmp_path):
    """pydicom turns what is read from bytes into values."""
    case = make_case(1, PatientName="Müller^Jörg")
    first = [r.path.read_bytes() for r in case.build(tmp_path)]
    str(case.sources[0])
    assert [r.path.read_bytes() for r in case.build(tmp_path)] == first


def test_only_whole_results_are_in_the_folder(case, results):
    assert sorted(p.name for p in results[0].path.parent.iterdir()) == sorted(
        result.path.name for result in results
    )


def test_a_disk_that_takes_nothing_leaves_nothing(case, tmp_path):
    (tmp_path / "sr.dcm").mkdir()
    (tmp_path / "sr.dcm" / "in the way").touch()
    with pytest.raises(ReportError, match=r"sr\.dcm cannot be written"):
        case.build(tmp_path)
    assert not list(tmp_path.glob("sc-*"))


@pytest.mark.parametrize("keyword", ["PatientID", "PatientName", "StudyInstanceUID", "StudyDate"])
def test_a_result_of_another_patient_or_study_is_noticed(case, results, tmp_path, keyword):
    built = pydicom.dcmread(results[0].path)
    origin = Origin.of(case.judgement, case.volume, case.sources)
    check(results[0].path, built, origin)
    built[keyword].value = "19990101" if keyword == "StudyDate" else "1.2.3"
    built.save_as(tmp_path / "other.dcm")
    with pytest.raises(ReportError, match=keyword):
        check(tmp_path / "other.dcm", built, origin)


def test_nothing_is_handed_on_that_was_not_read_back(case, tmp_path, monkeypatch):
    monkeypatch.setattr(report, "write", lambda _dataset, path: path.write_bytes(b"nothing"))
    with pytest.raises(ReportError, match="does not read back"):
        case.build(tmp_path)


@pytest.mark.parametrize("keep", [0.5, 0.02, 0.0])
def test_a_file_cut_short_is_noticed(case, results, tmp_path, keep):
    origin = Origin.of(case.judgement, case.volume, case.sources)
    for result in results[:2]:
        built = pydicom.dcmread(result.path)
        content = result.path.read_bytes()
        (tmp_path / "cut.dcm").write_bytes(content[: int(keep * len(content))])
        with pytest.raises(ReportError):
            check(tmp_path / "cut.dcm", built, origin)
