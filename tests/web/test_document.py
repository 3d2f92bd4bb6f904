"""What a node wrote beside its results, read back: nothing where it is not as it should be."""

import json
from pathlib import Path
from typing import Any

import pytest

from ml.labels import LABELS, Label
from node.spool import PROBABILITIES
from node.web.document import courses_of, model_of, read_document, slices_of
from node.web.values import Assessment

DOCUMENT: dict[str, Any] = {
    "model": {"name": "phantom", "version": "2", "digest": "ab"},
    "series": [
        {
            "slices": [
                {
                    "sop_instance_uid": f"1.2.{n}",
                    "position_mm": 5.0 * n,
                    "probabilities": {label.value: n / 10 for label in LABELS},
                }
                for n in range(3)
            ]
        }
    ],
    "findings": {label.value: {"threshold": 0.15, "assessment": "present"} for label in LABELS},
}


def read(folder: Path, content: object) -> dict[str, Any]:
    (folder / PROBABILITIES).write_text(json.dumps(content))
    return read_document(folder)


def test_a_document_says_where_each_finding_is_likeliest(tmp_path: Path) -> None:
    document = read(tmp_path, DOCUMENT)
    any_, *_ = courses_of(document, slices_of(document))
    assert (any_.label, any_.slice, any_.maximum) == (Label.ANY, 3, 0.2)
    assert (any_.threshold, any_.assessment) == (0.15, Assessment.PRESENT)
    model = model_of(document)
    assert model is not None
    assert model.digest == "ab"


@pytest.mark.parametrize(
    "findings",
    [None, [], {}, {"any": None}, {"any": {"threshold": "high", "assessment": "present"}}],
)
def test_without_what_the_operating_points_say_the_probabilities_are_shown(
    tmp_path: Path, findings: object
) -> None:
    document = read(tmp_path, DOCUMENT | {"findings": findings})
    any_, *_ = courses_of(document, slices_of(document))
    assert (any_.maximum, any_.threshold, any_.assessment) == (0.2, None, None)


@pytest.mark.parametrize(
    "series",
    [
        None,
        [],
        [{"slices": None}],
        [{"slices": [{"position_mm": 1}]}],
        [{"slices": [{"sop_instance_uid": "1", "position_mm": 1, "probabilities": {"any": 1}}]}],
        [{"slices": [{"sop_instance_uid": "1", "position_mm": 1, "probabilities": [1]}]}],
    ],
)
def test_of_half_a_document_nothing_is_shown(tmp_path: Path, series: object) -> None:
    document = read(tmp_path, DOCUMENT | {"series": series})
    assert slices_of(document) == ()
    assert courses_of(document, ()) == ()


@pytest.mark.parametrize("content", ["", "{", "[1]", "null", '{"model": []}'])
def test_what_is_no_document_is_none(tmp_path: Path, content: str) -> None:
    (tmp_path / PROBABILITIES).write_text(content)
    assert model_of(read_document(tmp_path)) is None
    assert read_document(tmp_path / "gone") == {}
