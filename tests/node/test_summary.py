"""A judgement as JSON, in the form that `ichnode analyze --json` promises."""

import json
from dataclasses import replace

import numpy as np
import pytest

from ml.bundle import OperatingPoint
from ml.labels import LABELS, Label
from ml.series import Slice
from node.judgement import Judgement, Model, digest_of_instances
from node.summary import (
    findings_json,
    flagged,
    maxima,
    model_json,
    series_json,
    skipped_json,
)

MODEL = Model("phantom", "0.1.0", "ab" * 32, "phantoms", "not for clinical use")


def judgement(frame_number: int | None = None) -> Judgement:
    rows = np.array(
        [[0.1, 0.2, 0.3, 0.4, 0.5, 0.6], [0.6, 0.5, 0.4, 0.3, 0.2, 0.1], [0, 0, 0, 0, 0, 1 / 3]],
        np.float32,
    )
    slices = tuple(Slice(f"1.2.{n}", frame_number, n, 5.00049 * n) for n in range(3))
    return Judgement("1.2", "1.2.3", MODEL, "cd" * 32, slices, rows, ("odd",))


def test_a_judged_series_has_the_promised_form() -> None:
    found = series_json(judgement())
    assert list(found) == [
        "study_instance_uid",
        "series_instance_uid",
        "state",
        "reason",
        "warnings",
        "probabilities",
        "slices",
    ]
    assert (found["state"], found["reason"], found["warnings"]) == ("analyzed", None, ["odd"])
    assert list(found["probabilities"]) == [label.value for label in LABELS]
    assert found["slices"][1] == {
        "sop_instance_uid": "1.2.1",
        "position_mm": 5.0,
        "probabilities": {
            "epidural": 0.6,
            "intraparenchymal": 0.5,
            "intraventricular": 0.4,
            "subarachnoid": 0.3,
            "subdural": 0.2,
            "any": 0.1,
        },
    }


def test_slices_stay_foot_to_head() -> None:
    positions = [item["position_mm"] for item in series_json(judgement())["slices"]]
    assert positions == sorted(positions)


def test_a_frame_of_a_multi_frame_image_has_its_number() -> None:
    assert series_json(judgement(7))["slices"][0]["frame_number"] == 7
    assert "frame_number" not in series_json(judgement())["slices"][0]


def test_the_probability_of_a_series_is_the_maximum_over_its_slices() -> None:
    assert maxima(judgement()) == {
        "epidural": 0.6,
        "intraparenchymal": 0.5,
        "intraventricular": 0.4,
        "subarachnoid": 0.4,
        "subdural": 0.5,
        "any": 0.6,
    }
    assert judgement().key_slice(LABELS[0]) == 1


def test_it_is_json_that_comes_back_the_same() -> None:
    for document in (series_json(judgement()), model_json(MODEL)):
        assert json.loads(json.dumps(document, allow_nan=False)) == document


def test_the_model_is_named_by_name_version_and_digest() -> None:
    assert model_json(MODEL) == {"name": "phantom", "version": "0.1.0", "digest": "ab" * 32}


@pytest.mark.parametrize("state", ["skipped", "failed"])
def test_a_series_that_was_not_judged_has_the_same_keys(state: str) -> None:
    found = skipped_json("1.2", "1.2.3", "contrast: C+", ("odd",), state=state)
    assert list(found) == list(series_json(judgement()))
    assert (found["state"], found["reason"]) == (state, "contrast: C+")
    assert (found["probabilities"], found["slices"]) == (None, [])


def test_what_reaches_its_threshold_in_any_slice_is_flagged() -> None:
    points = {
        name: OperatingPoint(
            name=name, chosen_on="phantoms", thresholds=dict.fromkeys(LABELS, threshold)
        )
        for name, threshold in (("balanced", 0.5), ("sensitive", 0.4))
    }
    model = replace(MODEL, operating_point=points["balanced"], most_sensitive=points["sensitive"])
    judged = replace(judgement(), model=model)
    assert flagged(judged) == ["epidural", "intraparenchymal", "subdural", "any"]
    assert findings_json(judged)[Label.INTRAVENTRICULAR] == {
        "threshold": 0.5,
        "assessment": "indeterminate",
    }
    assert flagged(judgement()) == []
    assert findings_json(judgement())["any"] == {"threshold": None, "assessment": None}


def test_the_digest_of_a_set_of_instances_knows_no_order() -> None:
    instances = [("1.2", "aa"), ("1.3", "bb")]
    assert digest_of_instances(instances) == digest_of_instances(reversed(instances))
    assert digest_of_instances(instances) != digest_of_instances([("1.2", "bb"), ("1.3", "aa")])
    assert digest_of_instances(instances) != digest_of_instances(instances[:1])
