"""Figures as tables, and a report of them: Markdown with pictures, and JSON for machines."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path

from ml.labels import LABELS, Label
from training.files import whole, writing
from training.measures.calibrate import POINTS
from training.measures.figures import AtPoint, Figures, Unit, why_undefined
from training.measures.metrics import Interval
from training.measures.plots import Drawing
from training.measures.tables import Table, limits, number, with_limits

REPORT = "report.md"
FIGURES = "figures.json"

_UNITS = {Unit.SLICE: "slices", Unit.SERIES: "series"}
_NO_LIMITS = (
    "Without limits (–): the finding stands on too few patients to draw from, or every draw of "
    "patients gives the same value"
)


def tables(figures: Figures) -> tuple[Table, ...]:
    """All that was measured, as tables."""
    return (
        loss_table(figures),
        *(auc_table(figures, unit) for unit in Unit),
        *(point_table(figures, unit) for unit in Unit),
        reliability_table(figures),
        *(subgroup_table(figures, by) for by in dict.fromkeys(one.by for one in figures.subgroups)),
    )


def markdown(figures: Figures, level: int = 3) -> str:
    """All that was measured, as Markdown for a report or a model card.

    Parameters
    ----------
    figures : Figures
        From `training.measures.measure.measure`.
    level : int
        Of the headings of its tables.
    """
    return "\n".join((told(figures), *(table.markdown(level) for table in tables(figures))))


def told(figures: Figures) -> str:
    """On whom figures were measured, and on whom what they depend on was chosen."""
    one = figures.calibration
    return (
        f"Measured on {figures.series} series of {figures.patients} patients, {figures.slices} "
        f"slices, {figures.positive} with a bleed: {figures.source}. Temperature "
        f"({one.temperature:.3f}), the width of smoothing ({one.width:g} slices) and thresholds "
        f"were chosen on other patients: {one.series} series of {one.patients} patients, "
        f"{one.source}. Intervals are of 95 %, by {figures.resamples} draws of patients unless "
        "Wilson's are named.\n"
    )


def loss_table(figures: Figures) -> Table:
    """Weighted log loss with and without stage 2."""
    one = figures.losses
    rows = (
        ("stage 1 alone", one.stage1),
        (f"stage 1, smoothed along the axis ({figures.calibration.width:g} slices)", one.smoothed),
        ("both stages", one.both),
        ("stage 1 alone, at its temperature", one.stage1_tempered),
        ("both stages, at their temperature", one.both_tempered),
    )
    reductions = (
        ("both stages against stage 1: lower by, %", one.reduction),
        ("the same, each at its temperature: lower by, %", one.reduction_tempered),
        ("both stages against smoothed stage 1: lower by, %", one.reduction_smoothed),
    )
    return Table(
        "Weighted log loss",
        ("of slices", "value", "95 %"),
        (
            *((name, number(x.value, 5), limits(x, 5)) for name, x in rows),
            *((name, number(x.value, 1), limits(x, 1)) for name, x in reductions),
        ),
        ("RSNA 2019's: `any` weighs 2/7, every subtype 1/7.",),
    )


def auc_table(figures: Figures, unit: Unit) -> Table:
    """Area under the ROC curve."""
    of_unit = [one for one in figures.discrimination if one.unit is unit]
    rows = tuple(
        (
            one.label,
            f"{one.positive} of {one.count}",
            with_limits(one.stage1),
            with_limits(one.both),
        )
        for one in of_unit
    )
    notes = [f"{one.label}: {one.why_undefined}" for one in of_unit if one.why_undefined]
    notes += _why_no_limits([x for one in of_unit for x in (one.stage1, one.both)])
    if unit is Unit.SERIES:
        notes.insert(0, "A series counts with its highest slice.")
    columns = ("label", f"{_UNITS[unit]} with it", "stage 1 alone", "both stages")
    return Table(f"AUC on {_UNITS[unit]}", columns, rows, tuple(notes))


def point_table(figures: Figures, unit: Unit) -> Table:
    """Sensitivity and specificity at the operating points."""
    of_unit = [one for one in figures.at_points if one.unit is unit]
    rows = tuple(
        (
            one.point.replace("_", " "),
            one.label,
            "–" if math.isnan(one.threshold) else f"{one.threshold:.4g}",
            with_limits(one.sensitivity, 3),
            limits(one.sensitivity_by_patient, 3),
            with_limits(one.specificity, 3),
            limits(one.specificity_by_patient, 3),
        )
        for one in of_unit
    )
    notes = [why for one in of_unit if one.point == POINTS[0] for why in _why_no_rate(one)]
    notes += _why_no_limits(
        [x for one in of_unit for x in (one.sensitivity_by_patient, one.specificity_by_patient)]
    )
    if unit is Unit.SLICE:
        notes.insert(
            0,
            "Slices of a patient are alike: Wilson's limits are too narrow for slices, "
            "those by patient are not.",
        )
    columns = ("operating point", "label", "from", "sensitivity (Wilson)", "by patient",
               "specificity (Wilson)", "by patient")  # fmt: skip
    return Table(f"Operating points on {_UNITS[unit]}", columns, rows, tuple(notes))


def _why_no_limits(intervals: Iterable[Interval]) -> list[str]:
    lacking = any(one.defined and math.isnan(one.low) for one in intervals)
    return [_NO_LIMITS] if lacking else []


def _why_no_rate(one: AtPoint) -> list[str]:
    if math.isnan(one.threshold):
        return [f"{one.label}: no threshold, it is on none or all of the calibration's slices"]
    why = why_undefined(one.positive + one.negative, one.positive, one.unit)
    return [f"{one.label}: {why}"] if why else []


def reliability_table(figures: Figures) -> Table:
    """Expected calibration error."""
    rows = tuple(
        (one.label, number(one.stage1), number(one.before), number(one.after))
        for one in figures.reliability
    )
    columns = ("label", "stage 1 alone", "both stages", "both, at their temperature")
    return Table(
        "Expected calibration error on slices",
        columns,
        rows,
        ("15 bins of equal width (Guo et al. 2017).",),
    )


def subgroup_table(figures: Figures, by: str) -> Table:
    """Loss and AUC of some series."""
    groups = [one for one in figures.subgroups if one.by == by]
    rows = tuple(
        (
            one.name,
            str(one.series),
            f"{one.positive} of {one.slices}",
            number(one.stage1),
            number(one.both),
            *(number(area.value, 3) for area in one.slice_auc[:-1]),
            with_limits(one.slice_auc[-1], 3),
            with_limits(one.series_auc, 3),
        )
        for one in groups
    )
    undefined = [
        f"{one.name}: no slice AUC for {', '.join(missing)}: on none or all of its slices"
        for one in groups
        if (
            missing := [
                label for label, area in zip(LABELS, one.slice_auc, strict=True) if not area.defined
            ]
        )
    ]
    undefined += [
        f"{one.name}: no series AUC: a bleed on none or all of its series"
        for one in groups
        if not one.series_auc.defined
    ]
    undefined += _why_no_limits([x for g in groups for x in (g.slice_auc[-1], g.series_auc)])
    names = [f"{label.abbreviation}" for label in LABELS if label is not Label.ANY]
    columns = (by, "series", "slices with a bleed", "loss, stage 1", "loss, both",
               *(f"AUC {name}" for name in names), "AUC any", "AUC any, series")  # fmt: skip
    return Table(f"By {by}", columns, rows, tuple(undefined))


def plain(value: object) -> object:
    """Figures as JSON knows them; null where there is no value."""
    if is_dataclass(value) and not isinstance(value, type):
        return {one.name: plain(getattr(value, one.name)) for one in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value


def as_json(document: Mapping[str, object]) -> str:
    """One JSON document."""
    return json.dumps(plain(document), indent=2, ensure_ascii=False, allow_nan=False)


def write_report(
    folder: Path,
    title: str,
    text: Sequence[str],
    pictures: Mapping[str, tuple[str, Drawing]],
    document: Mapping[str, object],
) -> None:
    """Write the report, its pictures and the figures for machines.

    Parameters
    ----------
    folder : pathlib.Path
        Made if it is not there.
    title : str
    text : sequence of str
        Markdown, in order.
    pictures : mapping of str to tuple of str and callable
        From the name of a file to what it shows and what draws it.
    document : mapping
        For ``figures.json``.

    Raises
    ------
    TrainingError
        If something cannot be written.
    """
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    for name, (_, draw) in pictures.items():
        with whole(folder / name) as file:
            draw(file)
    shown = [f"![{caption}]({name})\n" for name, (caption, _) in pictures.items()]
    texts = {
        FIGURES: as_json(document) + "\n",
        REPORT: "\n".join((f"# {title}\n", *text, "## Pictures\n", *shown)),
    }
    for name, content in texts.items():
        with whole(folder / name) as file:
            file.write(content.encode())
