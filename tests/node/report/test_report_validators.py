"""Judges that do not know this project have nothing to say, and would have had.

Every case in every form is looked at by `make validate`; here are the cases that
differ most, and for each validator damaged objects that it must complain of.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pydicom
import pytest
from pydicom.dataset import Dataset

from node.report import Kind
from tests import cases, validators
from tests.validators import (
    FORMS,
    VALIDATORS,
    Validator,
    fill_table,
    markdown,
    objects,
    source_complaints,
)
from tests.validators import cases as all_cases

BY_NAME = {validator.name: validator for validator in VALIDATORS}


def there(name: str) -> Validator:
    validator = BY_NAME[name]
    if not validator.is_there:
        pytest.skip(f"not installed: {validator.package}")
    return validator


def complaints(case: cases.Case, folder: Path, **settings: object) -> list[tuple[str, str, str]]:
    """What the quick validators say of every object: file, validator, complaint."""
    known = source_complaints(case, folder)
    return [
        (result.path.name, name, complaint)
        for result in objects(case, folder, **settings)
        for name in QUICK
        if result.kind in there(name).kinds
        for complaint in there(name).complaints(result.path)
        if complaint not in known
    ]


QUICK = ("dciodvfy", "dsrdump", "DCMTK picture", "pydicom, highdicom")
CHOSEN = ("SIEMENS", "Japanese", "Cyrillic", "optional attributes missing", "511 x 513")


@pytest.mark.parametrize("name", [*CHOSEN, "Enhanced CT"])
def test_a_case_is_clean(tmp_path, name):
    case = dict(all_cases())[name]
    everything = FORMS["by default, with all that can be added"]
    assert complaints(case, tmp_path, **everything) == []


@pytest.mark.parametrize("form", FORMS)
def test_a_form_is_clean(tmp_path, form):
    case = cases.make_case(2, RescaleSlope=1, RescaleIntercept=-1024)
    assert complaints(case, tmp_path, **FORMS[form]) == []


def test_empty_names_are_complained_of_as_in_the_source(tmp_path):
    case = cases.make_case(2, PatientName="", PatientID="", StudyID="", StudyDate="")
    assert source_complaints(case, tmp_path)
    assert complaints(case, tmp_path) == []


@pytest.mark.parametrize(
    "kind", [Kind.STRUCTURED_REPORT, Kind.SLICE_REPORT, Kind.TEXT_REPORT, Kind.NOTICE]
)
def test_pixelmed_finds_the_template_and_no_fault(tmp_path, kind):
    pixelmed = there("PixelMed")
    (result,) = (r for r in objects(cases.make_case(1), tmp_path) if r.kind is kind)
    assert pixelmed.complaints(result.path) == []


@pytest.mark.data
def test_results_of_real_series_are_valid(real_case, tmp_path):
    assert complaints(real_case, tmp_path) == []


# -- each validator would have seen a fault --------------------------------


def without(keyword: str, dataset: Dataset) -> None:
    delattr(dataset, keyword)


def with_value(keyword: str, value: object, dataset: Dataset) -> None:
    setattr(dataset, keyword, value)


def broken_relationship(dataset: Dataset) -> None:
    dataset.ContentSequence[-1].RelationshipType = "SELECTED FROM"


def cut_pixels(dataset: Dataset) -> None:
    dataset.PixelData = dataset.PixelData[: len(dataset.PixelData) // 2 & ~1]


def another_item(dataset: Dataset) -> None:
    dataset.ContentSequence[-1].ContentSequence[0].ConceptNameCodeSequence[0].CodeValue = "999"
    dataset.ContentSequence[1].ConceptNameCodeSequence[0].CodeValue = "999"


def unnamed_finding(dataset: Dataset) -> None:
    groups = dataset.ContentSequence[-2].ContentSequence
    del groups[0].ContentSequence[-1].MeasuredValueSequence[0].MeasurementUnitsCodeSequence


_EVIDENCE = "CurrentRequestedProcedureEvidenceSequence"

FAULTS: list[tuple[str, str, str, Callable[[Dataset], None]]] = [
    ("dciodvfy", "sr.dcm", "no completion flag", partial(without, "CompletionFlag")),
    ("dciodvfy", "sr.dcm", "wrong sex", partial(with_value, "PatientSex", "X")),
    ("dciodvfy", "slices.dcm", "no verification", partial(without, "VerificationFlag")),
    ("dciodvfy", "text.dcm", "no content date", partial(without, "ContentDate")),
    ("dciodvfy", "sc-001.dcm", "no conversion type", partial(without, "ConversionType")),
    (
        "dciodvfy",
        "sc-001.dcm",
        "a frame of reference",
        partial(with_value, "FrameOfReferenceUID", "1.2"),
    ),
    (
        "dciodvfy",
        "ko.dcm",
        "no evidence",
        partial(without, "CurrentRequestedProcedureEvidenceSequence"),
    ),
    ("dciodvfy", "pr-001.dcm", "no window's shape", partial(without, "PresentationLUTShape")),
    ("PixelMed", "sr.dcm", "items of no template", another_item),
    ("dsrdump", "sr.dcm", "a relationship of no table", broken_relationship),
    ("dsrdump", "text.dcm", "no root", partial(without, "ConceptNameCodeSequence")),
    ("DCMTK picture", "sc-001.dcm", "no rows", partial(without, "Rows")),
    ("pydicom, highdicom", "sc-001.dcm", "half the pixels", cut_pixels),
    ("pydicom, highdicom", "sr.dcm", "no unit", unnamed_finding),
]


@pytest.mark.parametrize(
    ("validator", "name", "damage"),
    [(validator, name, damage) for validator, name, _, damage in FAULTS],
    ids=[f"{validator}-{name}-{fault}" for validator, name, fault, _ in FAULTS],
)
def test_a_validator_sees_the_fault(tmp_path, validator, name, damage):
    judge = there(validator)
    case = cases.make_case(2, RescaleSlope=1, RescaleIntercept=-1024)
    objects(case, tmp_path, **FORMS["by default, with all that can be added"])
    assert judge.complaints(tmp_path / name) == []
    dataset = pydicom.dcmread(tmp_path / name)
    damage(dataset)
    dataset.save_as(tmp_path / name)
    assert judge.complaints(tmp_path / name) != []


# -- the table -------------------------------------------------------------


def test_the_table_tells_what_was_said(tmp_path, monkeypatch):
    monkeypatch.setattr(validators, "cases", lambda: [("plain", cases.make_case(1))])
    grumbler = Validator("dciodvfy", lambda _: ["Error - so"], frozenset({Kind.NOTICE}), True, "")
    cells, said = fill_table(tmp_path, [grumbler])
    assert said
    table = markdown(cells, said)
    assert "complaints" in next(line for line in table.splitlines() if "notice" in line)
    assert "dciodvfy: Error - so" in table
