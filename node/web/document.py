"""What a node wrote beside its results, as values; nothing where it is not as it should be."""

import json
from pathlib import Path
from typing import Any

from ml.labels import Label
from node.spool import PROBABILITIES
from node.web import values
from node.web.values import LABELS


def read_document(folder: Path) -> dict[str, Any]:
    """The document in a folder of results; empty where that was cleaned up."""
    try:
        document = json.loads((folder / PROBABILITIES).read_text())
    except (OSError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}


def slices_of(document: dict[str, Any]) -> tuple[values.Slice, ...]:
    """Its slices, foot to head."""
    try:
        return tuple(
            values.Slice(
                number=number,
                position_mm=item["position_mm"],
                sop_instance_uid=item["sop_instance_uid"],
                frame_number=item.get("frame_number"),
                probabilities={label: item["probabilities"][label] for label in LABELS},
            )
            for number, item in enumerate(document["series"][0]["slices"], start=1)
        )
    except (LookupError, TypeError, ValueError):  # of another node, or half of it
        return ()


def courses_of(
    document: dict[str, Any], slices: tuple[values.Slice, ...]
) -> tuple[values.Course, ...]:
    """Each finding along the slices: where it is likeliest, and what the model makes of it."""
    if not slices:
        return ()
    found = []
    for label in LABELS:
        highest = max(slices, key=lambda item: item.probabilities[label])
        threshold, assessment = _by_operating_point(document, label)
        found.append(
            values.Course(
                label=label,
                maximum=highest.probabilities[label],
                slice=highest.number,
                threshold=threshold,
                assessment=assessment,
            )
        )
    return tuple(found)


def _by_operating_point(
    document: dict[str, Any], label: Label
) -> tuple[float | None, values.Assessment | None]:
    """From where on a finding is flagged, and what the model makes of it; older ones say none."""
    try:
        finding = document["findings"][label]
        threshold, assessment = finding["threshold"], finding["assessment"]
        return (
            None if threshold is None else float(threshold),
            None if assessment is None else values.Assessment(assessment),
        )
    except (LookupError, TypeError, ValueError):
        return None, None


def model_of(document: dict[str, Any]) -> values.Model | None:
    """Which model it is of."""
    try:
        return values.Model(**document["model"])
    except (LookupError, TypeError, ValueError):
        return None
