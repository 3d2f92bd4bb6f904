"""What a reader has to know, in sentences and lines that every report shares."""

from collections.abc import Iterator, Sequence

from ml.labels import SUBTYPES, Label
from node.judgement import Assessment, Judgement
from node.report.header import NOT_FOR_CLINICAL_USE, plain

READING_ORDER = (Label.ANY, *SUBTYPES)
"""The order in which findings are told: whether there is a bleed, then which."""

THIN = 80
"""With more slices than this a reader gets runs of slices instead of every one."""


def percent(value: float) -> str:
    """A probability in percent, never rounded to certainty."""
    if 0 < value < 0.001:
        return "<0.1 %"
    if 0.999 < value < 1:
        return ">99.9 %"
    return f"{100 * value:.1f} %"


def place(judgement: Judgement, index: int) -> str:
    """Where a slice stands: ``slice 12 of 30 (+55.0 mm, image 19)``, counted from the foot."""
    item = judgement.slices[index]
    image = "" if item.instance_number is None else f", image {item.instance_number}"
    return f"slice {index + 1} of {len(judgement.slices)} ({item.position_mm:+.1f} mm{image})"


def runs(judgement: Judgement) -> list[list[int]]:
    """The flagged slices, foot to head, as they are shown to a reader.

    One by one in a series of up to `THIN` slices, and by runs of neighbours in
    a longer one.
    """
    found: list[list[int]] = []
    for index in judgement.flagged_slices():
        if len(judgement.slices) > THIN and found and found[-1][-1] == index - 1:
            found[-1].append(index)
        else:
            found.append([index])
    return found


def flagged_for(judgement: Judgement, indices: Sequence[int]) -> list[Label]:
    """The findings that any of some slices is flagged for, `any` first."""
    return [
        label
        for label in READING_ORDER
        if any(judgement.is_flagged(index, label) for index in indices)
    ]


def peak(judgement: Judgement, indices: Sequence[int], label: Label) -> int:
    """That of some slices on which a finding is most probable."""
    return max(indices, key=lambda index: judgement.probability(index, label))


def conclusion(judgement: Judgement) -> str:
    """The result in a sentence: what the study is flagged for."""
    point = judgement.model.operating_point
    if point is None:
        return "The model has no operating point: nothing is flagged, see the probabilities."
    by_assessment: dict[Assessment | None, list[str]] = {a: [] for a in Assessment}
    for label in READING_ORDER:
        name = "any hemorrhage" if label is Label.ANY else str(label)
        by_assessment[judgement.assessment(label)].append(
            f"{name} {percent(judgement.maximum(label))} (slice {judgement.key_slice(label) + 1})"
        )
    present, between = by_assessment[Assessment.PRESENT], by_assessment[Assessment.INDETERMINATE]
    said = f"Flagged for: {', '.join(present)}." if present else "No finding reaches its threshold."
    if between:
        said += f" Undetermined, between two operating points: {', '.join(between)}."
    return said


def maxima(judgement: Judgement) -> Iterator[str]:
    """Each finding's maximum, its slice and what the operating points say of it."""
    for label in READING_ORDER:
        assessment = judgement.assessment(label)
        yield (
            f"{label}: maximum {percent(judgement.maximum(label))}, "
            f"{place(judgement, judgement.key_slice(label))}"
            + (f", {assessment}" if assessment else "")
        )


def remarks(judgement: Judgement) -> Iterator[str]:
    """What a reader of a judgement has to know, a sentence or two at a time."""
    model = judgement.model
    intended = plain(model.intended_use)
    yield f"{NOT_FOR_CLINICAL_USE.upper()}. Intended use of the model: {intended}"
    trained_on, _, _ = plain(model.trained_on).partition(";")  # the model card has the commands
    yield (
        f"Made by software without a reader. Model {model.name} {model.version}, "
        f"digest {model.digest[:12]}, trained on: {trained_on}"
    )
    yield (
        "Each probability stands for one finding on one slice; that of the study is the maximum "
        "over its slices."
    )
    point = model.operating_point
    if point is not None:
        yield f"Thresholds: operating point {point.name} (chosen on: {point.chosen_on})."
    for warning in judgement.warnings:
        yield f"Warning: {plain(warning)}"
