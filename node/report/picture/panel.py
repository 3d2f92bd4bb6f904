"""Beside a slice: what the model says about it."""

from PIL import Image

from ml.labels import SUBTYPES, Label
from ml.windows import BRAIN
from node.judgement import Judgement
from node.report.header import NOT_FOR_CLINICAL_USE
from node.report.picture.curve import mark
from node.report.picture.paint import (
    GREY,
    GROUND,
    NAMES,
    ORANGE,
    PAD,
    PANEL,
    SKY_BLUE,
    SMALLEST,
    TRACK,
    WHITE,
    YELLOW,
    Canvas,
    percent,
)

_WIDTH = PANEL - PAD

CURVE = (_WIDTH, 46)
"""Width and height of the curve at its foot."""

BANNER = 30
"""Height of "not for clinical use"."""


def draw_panel(
    canvas: Canvas, left: float, bottom: float, judgement: Judgement, index: int, curve: Image.Image
) -> None:
    """Write what the model says about a slice.

    Parameters
    ----------
    canvas : Canvas
        What is drawn on.
    left, bottom : float
        The panel's left edge and the picture's lower one.
    judgement : Judgement
        Of the series.
    index : int
        Of the slice, from 0 at the foot.
    curve : PIL.Image.Image
        The course of `any` along the stack, of the size `CURVE`.
    """
    item = judgement.slices[index]
    right = left + _WIDTH
    canvas.text(left, 10, f"Slice {index + 1} / {len(judgement.slices)}", 26)
    canvas.text(right, 14, f"{item.position_mm:+.1f} mm", SMALLEST, GREY, anchor="ra")
    image = "" if item.instance_number is None else f"Image {item.instance_number}"
    canvas.text(left, 44, image, SMALLEST, GREY, room=150)
    canvas.text(right, 44, f"W {BRAIN.width:g} L {BRAIN.level:g}", SMALLEST, GREY, anchor="ra")
    _draw_state(canvas, left, 76, judgement, index)
    for number, label in enumerate((Label.ANY, *SUBTYPES)):
        _draw_finding(canvas, left, 122 + 46 * number, judgement, index, label)
    canvas.text(left, 402, "Any, foot to head", SMALLEST, GREY)
    here = judgement.probability(index, Label.ANY)
    canvas.paste(mark(curve, index, here, len(judgement.slices), canvas.unit), left, 430)
    draw_foot(canvas, left, bottom, judgement)


def draw_foot(canvas: Canvas, left: float, bottom: float, judgement: Judgement) -> None:
    """Write which model it was and what it must not be used for."""
    model = judgement.model
    name = f"{model.name} {model.version} {model.digest[:8]}"
    canvas.text(left, bottom - 76, name, SMALLEST, GREY, room=_WIDTH)
    said = NOT_FOR_CLINICAL_USE.upper()
    canvas.banner(left, bottom - 44, _WIDTH, BANNER, said, YELLOW, 23)


def _draw_state(canvas: Canvas, left: float, y: float, judgement: Judgement, index: int) -> None:
    """Whether the slice is flagged: a word, a colour and a shape."""
    if judgement.model.operating_point is None:
        canvas.outline(left, y, _WIDTH, 34, TRACK)
        canvas.text(left + 10, y + 17, "no thresholds", SMALLEST, GREY, anchor="lm")
    elif index in judgement.flagged_slices():
        canvas.banner(left, y, _WIDTH, 34, "FLAGGED", ORANGE, 24)
    else:
        canvas.outline(left, y, _WIDTH, 34, TRACK)
        canvas.text(left + 10, y + 17, "not flagged", SMALLEST, GREY, anchor="lm")


def _draw_finding(
    canvas: Canvas, left: float, y: float, judgement: Judgement, index: int, label: Label
) -> None:
    """Name, number and bar of a finding, with a tick where its threshold is."""
    value = judgement.probability(index, label)
    flagged = judgement.is_flagged(index, label)
    colour = ORANGE if flagged else SKY_BLUE
    canvas.text(left + (20 if flagged else 0), y, NAMES[label], SMALLEST + 1)
    if flagged:
        canvas.text(left, y, "!", SMALLEST + 3, ORANGE)
    number = percent(value)
    canvas.text(left + _WIDTH, y, number, SMALLEST + 1, ORANGE if flagged else WHITE, anchor="ra")
    canvas.box(left, y + 29, _WIDTH, 8, TRACK)
    canvas.box(left, y + 29, value * _WIDTH, 8, colour)
    threshold = judgement.model.threshold(label)
    if threshold is not None:
        x = left + min(threshold * _WIDTH, _WIDTH - 2)
        canvas.box(x - 3, y + 26, 7, 14, GROUND)
        canvas.box(x - 1, y + 26, 3, 14, WHITE)
