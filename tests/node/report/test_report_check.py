"""The self-check sees what is damaged, and says which attribute, never its value."""

import shutil
from collections.abc import Callable
from functools import partial

import pydicom
import pytest
from pydicom.dataset import Dataset

from ml.labels import LABELS
from node.report import Kind, ResultHeld, ResultObject
from node.report.check import check
from node.report.origin import Origin, Unjudged
from tests.cases import Case, make_case
from tests.validators import FORMS, objects

SECRET = "Secret^Somebody"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Case, list[ResultObject]]:
    """Every kind of object there is."""
    case = make_case(3, RescaleSlope=1, RescaleIntercept=-1024, PatientName=SECRET)
    form = FORMS["by default, with all that can be added"]
    return case, objects(case, tmp_path_factory.mktemp("made"), **form)


def look(case: Case, result: ResultObject, path, built: Dataset) -> None:
    judgement = case.judgement
    basis = Origin.of(judgement, case.volume, case.sources)
    if result.kind is Kind.NOTICE:
        names = judgement.study_instance_uid, judgement.series_instance_uid
        basis = Unjudged.of(*names, judgement.input_digest, case.sources)
    check(path, built, basis)


def put(keyword: str, value: object, dataset: Dataset) -> None:
    setattr(dataset, keyword, value)


def drop(keyword: str, dataset: Dataset) -> None:
    delattr(dataset, keyword)


def each(dataset: Dataset, value_type: str) -> list[Dataset]:
    """Content items of a type."""
    found = []
    for item in dataset.get("ContentSequence", []):
        found += [item] if item.ValueType == value_type else []
        found += each(item, value_type)
    return found


def probability(value: str, dataset: Dataset) -> None:
    measured = each(dataset, "NUM")[0].MeasuredValueSequence[0]
    measured.NumericValue = value
    if "FloatingPointValue" in measured:
        del measured.FloatingPointValue


def region(dataset: Dataset) -> None:
    each(dataset, "SCOORD")[0].GraphicData = [0, 0, 9999, 0, 9999, 9999, 0, 0]


def relationship(dataset: Dataset) -> None:
    each(dataset, "SCOORD")[0].RelationshipType = "INFERRED FROM"


def foreign_image(dataset: Dataset) -> None:
    image = each(dataset, "IMAGE")[-1]
    image.ReferencedSOPSequence[0].ReferencedSOPInstanceUID = "1.2.3.4"


def foreign_evidence(dataset: Dataset) -> None:
    study = dataset.CurrentRequestedProcedureEvidenceSequence[0]
    series = study.ReferencedSeriesSequence[0]
    series.ReferencedSOPSequence[0].ReferencedSOPInstanceUID = "1.2.3.4"


def less_evidence(dataset: Dataset) -> None:
    study = dataset.CurrentRequestedProcedureEvidenceSequence[0]
    del study.ReferencedSeriesSequence[0].ReferencedSOPSequence[0]


def long_meaning(dataset: Dataset) -> None:
    dataset.ContentSequence[0].ConceptNameCodeSequence[0].CodeMeaning = 70 * "m"


def no_scheme(dataset: Dataset) -> None:
    del dataset.ContentSequence[0].ConceptNameCodeSequence[0].CodingSchemeDesignator


def value_type(dataset: Dataset) -> None:
    each(dataset, "TEXT")[0].ValueType = "NUM"


def no_value(dataset: Dataset) -> None:
    del each(dataset, "TEXT")[0].TextValue


def template(dataset: Dataset) -> None:
    dataset.ContentTemplateSequence[0].TemplateIdentifier = "1"


def less_content(dataset: Dataset) -> None:
    del dataset.ContentSequence[-1]


def cut_pixels(dataset: Dataset) -> None:
    dataset.PixelData = dataset.PixelData[:1000]


def other_pixels(dataset: Dataset) -> None:
    dataset.PixelData = bytes(len(dataset.PixelData))


DAMAGE: list[tuple[str, Callable[[Dataset], None], str]] = [
    *(
        (kind, partial(put, keyword, value), keyword)
        for kind in ("sr", "slices", "text", "sc", "ko", "pr", "map", "notice")
        for keyword, value in (
            ("PatientName", "Other^Name"),
            ("PatientID", "1"),
            ("SpecificCharacterSet", "ISO_IR 144"),
            ("StudyInstanceUID", "1.2.3"),
            ("StudyDate", "19990101"),
            ("AccessionNumber", "9"),
            ("StudyDescription", "OTHER"),
            ("SOPInstanceUID", "1.2.3"),
            ("SeriesInstanceUID", "1.2.3"),
            ("Modality", "MR"),
            ("SeriesDescription", "ICH"),
        )
    ),
    ("sr", partial(drop, "PatientAge"), "PatientAge"),
    *(("slices", partial(probability, value), "number") for value in ("101", "-1", "1e30")),
    ("sr", region, "region"),
    ("sr", relationship, "relationship"),
    *((kind, foreign_image, "evidence") for kind in ("sr", "slices", "ko")),
    *((kind, foreign_evidence, "evidence") for kind in ("sr", "text", "ko", "notice")),
    ("ko", less_evidence, "evidence"),
    *((kind, long_meaning, "CodeMeaning") for kind in ("sr", "text", "ko")),
    ("sr", no_scheme, "CodingSchemeDesignator"),
    ("text", value_type, "value type"),
    ("text", no_value, "TextValue"),
    *((kind, template, "TID") for kind in ("sr", "text", "ko")),
    *((kind, less_content, "not what was built") for kind in ("sr", "text", "ko")),
    *((kind, cut_pixels, "pixel") for kind in ("sc", "map")),
    *((kind, other_pixels, "pixel") for kind in ("sc", "map")),
]


def test_what_is_whole_passes(made):
    case, results = made
    assert {result.kind for result in results} == set(Kind) - {Kind.WORKITEM}  # see its own test
    for result in results:
        look(case, result, result.path, pydicom.dcmread(result.path))


@pytest.mark.parametrize(
    ("kind", "damage", "named"),
    DAMAGE,
    ids=[f"{kind}-{getattr(d, '__name__', None) or d.args[0]}-{n}" for kind, d, n in DAMAGE],
)
def test_what_is_damaged_is_held_and_named(made, tmp_path, kind, damage, named):
    case, results = made
    result = next(result for result in results if result.kind == kind)
    damaged = pydicom.dcmread(result.path)
    damage(damaged)
    damaged.save_as(tmp_path / result.path.name)
    with pytest.raises(ResultHeld, match=named) as held:
        look(case, result, tmp_path / result.path.name, pydicom.dcmread(result.path))
    assert str(held.value).startswith(f"{result.path.name}: ")
    for told in ("Secret", "Other", "4711", "OTHER", "19990101"):
        assert told not in str(held.value)


@pytest.mark.parametrize("keep", [0.9, 0.5, 0.1, 0.01, 0.0])
def test_a_file_cut_short_is_held(made, tmp_path, keep):
    case, results = made
    for result in results:
        content = result.path.read_bytes()
        path = tmp_path / result.path.name
        path.write_bytes(content[: int(keep * len(content))])
        with pytest.raises(ResultHeld):
            look(case, result, path, pydicom.dcmread(result.path))


def test_another_file_in_its_place_is_held(made, tmp_path):
    case, results = made
    one, other = (r for r in results if r.path.name in ("sc-001.dcm", "sc-002.dcm"))
    path = shutil.copy(other.path, tmp_path / one.path.name)
    with pytest.raises(ResultHeld, match="SOPInstanceUID is not what was built"):
        look(case, one, path, pydicom.dcmread(one.path))


def test_every_probability_is_looked_at(made, tmp_path):
    case, results = made
    (result,) = (r for r in results if r.kind is Kind.SLICE_REPORT)
    count = len(each(pydicom.dcmread(result.path), "NUM"))
    assert count == len(LABELS) * (1 + len(case.volume))
    for number in (0, count // 2, count - 1):
        damaged = pydicom.dcmread(result.path)
        each(damaged, "NUM")[number].MeasuredValueSequence[0].NumericValue = "100.1"
        damaged.save_as(tmp_path / "slices.dcm")
        with pytest.raises(ResultHeld, match="number"):
            look(case, result, tmp_path / "slices.dcm", pydicom.dcmread(result.path))


def test_an_item_that_is_right_in_one_place_is_looked_at_in_another(made, tmp_path):
    case, results = made
    (result,) = (r for r in results if r.kind is Kind.SLICE_REPORT)
    damaged = pydicom.dcmread(result.path)
    group = each(damaged, "NUM")[-1]
    region = each(damaged, "SCOORD")[-1]
    group.ContentSequence = [region]  # the same to the last byte, but below a number
    damaged.save_as(tmp_path / "slices.dcm")
    with pytest.raises(ResultHeld, match="NUM CONTAINS SCOORD is no relationship"):
        look(case, result, tmp_path / "slices.dcm", pydicom.dcmread(result.path))


def test_a_value_that_is_another_than_was_built_is_held(made, tmp_path):
    case, results = made
    (result,) = (r for r in results if r.kind is Kind.SLICE_REPORT)
    damaged = pydicom.dcmread(result.path)
    each(damaged, "NUM")[-1].MeasuredValueSequence[0].NumericValue = "1"
    damaged.save_as(tmp_path / "slices.dcm")
    with pytest.raises(ResultHeld, match="the content tree is not what was built"):
        look(case, result, tmp_path / "slices.dcm", pydicom.dcmread(result.path))
