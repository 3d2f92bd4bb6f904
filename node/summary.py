"""A judgement as plain values, for the ledger and for JSON."""

from typing import Any

from ml.labels import LABELS
from node.judgement import Assessment, Judgement, Model

DIGITS = 6


def maxima(judgement: Judgement) -> dict[str, float]:
    """The study's probability of each finding."""
    return {label.value: round(judgement.maximum(label), DIGITS) for label in LABELS}


def flagged(judgement: Judgement) -> list[str]:
    """The findings that the operating point calls present in the study."""
    return [label.value for label in LABELS if judgement.assessment(label) is Assessment.PRESENT]


def findings_json(judgement: Judgement) -> dict[str, dict[str, Any]]:
    """Of each finding its threshold, and what the operating points say of it in the study."""
    return {
        label.value: {
            "threshold": judgement.model.threshold(label),
            "assessment": judgement.assessment(label),
        }
        for label in LABELS
    }


def model_json(model: Model) -> dict[str, str]:
    """The model as `ichnode analyze --json` names it."""
    return {"name": model.name, "version": model.version, "digest": model.digest}


def series_json(judgement: Judgement) -> dict[str, Any]:
    """A judged series as `ichnode analyze --json` prints it, slices foot to head."""
    return {
        "study_instance_uid": judgement.study_instance_uid,
        "series_instance_uid": judgement.series_instance_uid,
        "state": "analyzed",
        "reason": None,
        "warnings": list(judgement.warnings),
        "probabilities": maxima(judgement),
        "slices": [
            {
                "sop_instance_uid": item.sop_instance_uid,
                **({} if item.frame_number is None else {"frame_number": item.frame_number}),
                "position_mm": round(item.position_mm, 3),
                "probabilities": {
                    label.value: round(float(p), DIGITS)
                    for label, p in zip(LABELS, row, strict=True)
                },
            }
            for item, row in zip(judgement.slices, judgement.probabilities, strict=True)
        ],
    }


def skipped_json(
    study: str, series: str, reason: str, warnings: tuple[str, ...], *, state: str = "skipped"
) -> dict[str, Any]:
    """A series that is not judged, in the same form."""
    return {
        "study_instance_uid": study,
        "series_instance_uid": series,
        "state": state,
        "reason": reason,
        "warnings": list(warnings),
        "probabilities": None,
        "slices": [],
    }
