"""The series at a glance: every finding's curve along the stack, and the top slices."""

from collections.abc import Sequence

import numpy as np
from PIL import Image

from ml.labels import SUBTYPES, Label, percent
from node.judgement import Assessment, Judgement
from node.report.picture.curve import draw_curve, mark
from node.report.picture.paint import (
    GREY,
    ORANGE,
    PAD,
    PANEL,
    PANEL_LEFT,
    SIZE,
    SKY_BLUE,
    SMALLEST,
    WHITE,
    Canvas,
    font_of,
    name_in_source,
    wrap,
)
from node.report.picture.panel import draw_foot
from node.report.picture.slice import draw_brain_window

_CURVES_TOP = 56
_CURVES_LEFT = PAD + 208
_CURVES_RIGHT = PANEL_LEFT - 2 * PAD
_STRIP_HEIGHT = 60

_THUMBNAIL = 136
_THUMBNAILS = 4
_LINE = 24


def draw_summary(
    canvas: Canvas,
    judgement: Judgement,
    hu: np.ndarray,
    spacing_mm: tuple[float, float] | None,
) -> None:
    """Draw the series at a glance.

    Parameters
    ----------
    canvas : Canvas
        What is drawn on.
    judgement : Judgement
        Of the series.
    hu : numpy.ndarray
        HU, shape (slices, rows, columns).
    spacing_mm : tuple of 2 float, optional
        Between rows, between columns.
    """
    count = len(judgement.slices)
    canvas.text(PAD, 14, "ICH probability", 26)
    stack = "1 slice" if count == 1 else f"{count} slices, foot to head"
    canvas.text(_CURVES_RIGHT, 18, stack, SMALLEST, GREY, anchor="ra")
    step = (SIZE[1] - _CURVES_TOP) / (1 + len(SUBTYPES))
    for number, label in enumerate((Label.ANY, *SUBTYPES)):
        _draw_row(canvas, _CURVES_TOP + number * step, judgement, label)
    _draw_thumbnails(canvas, judgement, hu, spacing_mm)
    _draw_warnings(canvas, judgement.warnings)
    draw_foot(canvas, judgement)


def _draw_row(canvas: Canvas, y: float, judgement: Judgement, label: Label) -> None:
    """A finding: name, maximum, what the operating points say, its curve."""
    room = _CURVES_LEFT - PAD - 6
    canvas.text(PAD, y, label.words, SMALLEST + 1, room=room)
    assessment = judgement.assessment(label)
    present = assessment is Assessment.PRESENT
    index, value = judgement.key_slice(label), judgement.maximum(label)
    colour = ORANGE if present else WHITE
    canvas.text(PAD, y + 25, f"{percent(value)}, slice {index + 1}", SMALLEST, colour, room=room)
    if present:
        canvas.triangle(PAD, y + 54, 15, ORANGE)
        canvas.text(PAD + 21, y + 49, str(assessment).upper(), SMALLEST, ORANGE)
    elif assessment is not None:
        canvas.text(PAD, y + 49, str(assessment), SMALLEST, GREY)
    count = len(judgement.slices)
    strip = draw_curve(
        [judgement.probability(i, label) for i in range(count)],
        (canvas.px(_CURVES_RIGHT - _CURVES_LEFT), canvas.px(_STRIP_HEIGHT)),
        canvas.unit,
        judgement.model.threshold(label),
        flagged=judgement.flagged_slices(label),
    )
    canvas.paste(mark(strip, index, value, count, canvas.unit), _CURVES_LEFT, y + 5)


def _draw_thumbnails(
    canvas: Canvas,
    judgement: Judgement,
    hu: np.ndarray,
    spacing_mm: tuple[float, float] | None,
) -> None:
    """The top slices, each with its number here and in the source and its finding."""
    column = PANEL / 2
    for number, (index, label) in enumerate(top_slices(judgement)):
        x = PANEL_LEFT + (number % 2) * column
        y = 14 + (number // 2) * (_THUMBNAIL + 2 * _LINE + 12)
        thumbnail = draw_brain_window(hu[index], spacing_mm)
        side = canvas.px(_THUMBNAIL)
        thumbnail.thumbnail((side, side), Image.Resampling.BOX)
        canvas.paste(thumbnail.convert("RGB"), x, y)
        flagged = judgement.is_flagged(index, label)
        if flagged:
            size = thumbnail.width / canvas.unit, thumbnail.height / canvas.unit
            canvas.outline(x, y, *size, ORANGE)
        y += _THUMBNAIL + 2
        canvas.text(x, y, _place(canvas, judgement, index, column - 8), SMALLEST, WHITE)
        said = f"{label.abbreviation} {percent(judgement.probability(index, label))}"
        colour = ORANGE if flagged else SKY_BLUE
        canvas.text(x, y + _LINE, said, SMALLEST, colour, room=column - 8)


def _place(canvas: Canvas, judgement: Judgement, index: int, room: float) -> str:
    """Number of a slice from the foot, and the source's own: as many words as there is room."""
    name = name_in_source(judgement.slices[index])
    if not name:
        return f"Slice {index + 1}"
    told = f"{index + 1} ({name})"
    fits = canvas.width(told, SMALLEST) <= room
    return told if fits else f"{index + 1} ({name.split()[-1]})"


def _draw_warnings(canvas: Canvas, warnings: Sequence[str]) -> None:
    """What a reader has to know, as far as there is room."""
    if not warnings:
        return
    count = f"{len(warnings)} warning{'s' * (len(warnings) > 1)}"
    said = wrap(
        f"{count}: {'; '.join(warnings)}", font_of(canvas.px(SMALLEST)), canvas.px(PANEL), 3
    )
    for number, line in enumerate(said):
        canvas.text(PANEL_LEFT, 416 + number * _LINE, line, SMALLEST, ORANGE)


def top_slices(judgement: Judgement) -> Sequence[tuple[int, Label]]:
    """The slices to look at first, each with its finding.

    Each finding's likeliest slice, flagged ones first and then by probability;
    a slice is named once.
    """
    by_slice: dict[int, Label] = {}
    order = sorted(
        (Label.ANY, *SUBTYPES),
        key=lambda label: (
            judgement.is_flagged(judgement.key_slice(label), label),
            judgement.maximum(label),
        ),
        reverse=True,
    )
    for label in order:
        by_slice.setdefault(judgement.key_slice(label), label)
    return list(by_slice.items())[:_THUMBNAILS]
