"""The series at a glance: every finding's curve along the stack, and the top slices."""

from collections.abc import Sequence

import numpy as np
from PIL import Image

from ml.labels import SUBTYPES, Label
from node.judgement import Assessment, Judgement
from node.report.picture.curve import draw_curve, mark
from node.report.picture.paint import (
    GREY,
    NAMES,
    ORANGE,
    PAD,
    PANEL,
    SHORT_NAMES,
    SKY_BLUE,
    SMALLEST,
    WHITE,
    Canvas,
    percent,
)
from node.report.picture.panel import draw_foot
from node.report.picture.slice import draw_brain_window

_NAMES_WIDTH = 206
_STRIP_HEIGHT = 58
_THUMBNAIL = 156
_THUMBNAILS = 4


def draw_summary(
    canvas: Canvas,
    left: float,
    size: tuple[float, float],
    judgement: Judgement,
    hu: np.ndarray,
    spacing_mm: tuple[float, float] | None,
) -> None:
    """Draw the series at a glance.

    Parameters
    ----------
    canvas : Canvas
        What is drawn on.
    left : float
        Left edge of the column with the thumbnails.
    size : tuple of 2 float
        Width and height of the picture.
    judgement : Judgement
        Of the series.
    hu : numpy.ndarray
        HU, shape (slices, rows, columns).
    spacing_mm : tuple of 2 float, optional
        Between rows, between columns.
    """
    count = len(judgement.slices)
    canvas.text(PAD, 12, f"ICH probability, {count} slice{'s' * (count > 1)}", 26, room=left - PAD)
    room = size[1] - 54
    for number, label in enumerate((Label.ANY, *SUBTYPES)):
        _draw_row(canvas, 54 + number * room / 6, left - 2 * PAD, judgement, label)
    _draw_thumbnails(canvas, left, judgement, hu, spacing_mm)
    warnings = len(judgement.warnings)
    if warnings:
        told = f"{warnings} warning{'s' * (warnings > 1)}: see report"
        canvas.text(left, size[1] - 106, told, SMALLEST, ORANGE, room=PANEL - PAD)
    draw_foot(canvas, left, size[1], judgement)


def _draw_row(canvas: Canvas, y: float, right: float, judgement: Judgement, label: Label) -> None:
    """A finding: name, maximum, what the operating point says, its curve."""
    assessment = judgement.assessment(label)
    flagged = assessment is Assessment.PRESENT
    canvas.text(PAD, y, NAMES[label], SMALLEST + 1, room=_NAMES_WIDTH - 8)
    top = judgement.key_slice(label)
    colour = ORANGE if flagged else WHITE
    said = f"{percent(judgement.maximum(label))}, slice {top + 1}"
    canvas.text(PAD, y + 25, said, SMALLEST, colour, room=_NAMES_WIDTH - 8)
    if assessment is not None:
        word = "FLAGGED" if flagged else str(assessment)
        canvas.text(PAD, y + 49, word, SMALLEST, colour if flagged else GREY)
    x = PAD + _NAMES_WIDTH
    strip = draw_curve(
        [judgement.probability(i, label) for i in range(len(judgement.slices))],
        (canvas.px(right - x), canvas.px(_STRIP_HEIGHT)),
        canvas.unit,
        judgement.model.threshold(label),
    )
    value = judgement.maximum(label)
    canvas.paste(mark(strip, top, value, len(judgement.slices), canvas.unit), x, y + 4)


def _draw_thumbnails(
    canvas: Canvas,
    left: float,
    judgement: Judgement,
    hu: np.ndarray,
    spacing_mm: tuple[float, float] | None,
) -> None:
    """The top slices, each with the finding that it is shown for."""
    for number, (index, label) in enumerate(top_slices(judgement)):
        x = left + (number % 2) * (_THUMBNAIL + 8)
        y = 14 + (number // 2) * (_THUMBNAIL + 40)
        thumbnail = draw_brain_window(hu[index], spacing_mm)
        side = canvas.px(_THUMBNAIL)
        thumbnail.thumbnail((side, side), Image.Resampling.BOX)
        canvas.paste(thumbnail.convert("RGB"), x, y)
        flagged = judgement.is_flagged(index, label)
        if flagged:
            canvas.outline(
                x, y, thumbnail.width / canvas.unit, thumbnail.height / canvas.unit, ORANGE
            )
        name, value = SHORT_NAMES[label], percent(judgement.probability(index, label))
        canvas.text(
            x,
            y + _THUMBNAIL + 4,
            f"{index + 1}: {name} {value}",
            SMALLEST,
            ORANGE if flagged else SKY_BLUE,
            room=_THUMBNAIL,
        )


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
