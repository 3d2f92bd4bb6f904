"""Beside a slice: what the model says about it."""

from PIL import Image

from ml.labels import SUBTYPES, Label, percent
from ml.windows import BRAIN
from node.judgement import Judgement
from node.report.header import NOT_FOR_CLINICAL_USE
from node.report.picture.curve import mark
from node.report.picture.paint import (
    GREY,
    GROUND,
    ORANGE,
    PANEL,
    PANEL_LEFT,
    SIZE,
    SKY_BLUE,
    SMALLEST,
    TRACK,
    WHITE,
    YELLOW,
    Canvas,
    name_in_source,
)

CURVE = (PANEL, 48)
"""Width and height of the curve at its foot."""

BANNER = 30
"""Height of "not for clinical use"."""

_STATE = 34


def draw_panel(
    canvas: Canvas, judgement: Judgement, index: int, curve: Image.Image, *, flagged: bool
) -> None:
    """Write what the model says about a slice.

    Parameters
    ----------
    canvas : Canvas
        What is drawn on.
    judgement : Judgement
        Of the series.
    index : int
        Of the slice, from 0 at the foot.
    curve : PIL.Image.Image
        The course of `any` along the stack, of the size `CURVE`.
    flagged : bool
        Whether the slice is flagged, for whatever finding.
    """
    item = judgement.slices[index]
    left, right = PANEL_LEFT, PANEL_LEFT + PANEL
    canvas.text(left, 10, f"Slice {index + 1} / {len(judgement.slices)}", 26)
    canvas.text(right, 14, f"{item.position_mm:+.1f} mm", SMALLEST, GREY, anchor="ra")
    canvas.text(left, 44, name_in_source(item).capitalize(), SMALLEST, GREY, room=190)
    canvas.text(right, 44, f"W {BRAIN.width:g} L {BRAIN.level:g}", SMALLEST, GREY, anchor="ra")
    _draw_state(canvas, 78, judgement, flagged=flagged)
    for number, label in enumerate((Label.ANY, *SUBTYPES)):
        _draw_finding(canvas, 126 + 46 * number, judgement, index, label)
    canvas.text(left, 406, "Any, foot to head", SMALLEST, GREY)
    here = judgement.probability(index, Label.ANY)
    canvas.paste(mark(curve, index, here, len(judgement.slices), canvas.unit), left, 434)
    draw_foot(canvas, judgement)


def draw_foot(canvas: Canvas, judgement: Judgement) -> None:
    """Write which model it was and what it must not be used for."""
    model = judgement.model
    name = f"{model.name} {model.version} {model.digest[:8]}"
    bottom = SIZE[1]
    canvas.text(PANEL_LEFT, bottom - 76, name, SMALLEST, GREY, room=PANEL)
    said = NOT_FOR_CLINICAL_USE.upper()
    canvas.banner(PANEL_LEFT, bottom - 44, PANEL, BANNER, said, YELLOW, 23)


def _draw_state(canvas: Canvas, y: float, judgement: Judgement, *, flagged: bool) -> None:
    """Whether the slice is flagged: a word, a colour and a shape."""
    if flagged:
        canvas.banner(PANEL_LEFT, y, PANEL, _STATE, "FLAGGED", ORANGE, 24)
        return
    known = judgement.model.operating_point is not None
    canvas.outline(PANEL_LEFT, y, PANEL, _STATE, TRACK)
    word = "not flagged" if known else "no thresholds"
    canvas.text(PANEL_LEFT + PANEL / 2, y + _STATE / 2, word, SMALLEST, GREY, anchor="mm")


def _draw_finding(canvas: Canvas, y: float, judgement: Judgement, index: int, label: Label) -> None:
    """Name, number and bar of a finding, with a tick where its threshold is."""
    left, right = PANEL_LEFT, PANEL_LEFT + PANEL
    value = judgement.probability(index, label)
    flagged = judgement.is_flagged(index, label)
    name_left = left
    if flagged:
        canvas.triangle(left, y + 6, 15, ORANGE)
        name_left += 21
    canvas.text(name_left, y, label.words, SMALLEST + 1)
    number = percent(value)
    canvas.text(right, y, number, SMALLEST + 1, ORANGE if flagged else WHITE, anchor="ra")
    canvas.box(left, y + 29, PANEL, 8, TRACK)
    canvas.box(left, y + 29, value * PANEL, 8, ORANGE if flagged else SKY_BLUE)
    threshold = judgement.model.threshold(label)
    if threshold is not None:
        x = left + min(threshold * PANEL, PANEL - 2)
        canvas.box(x - 3, y + 26, 7, 14, GROUND)
        canvas.box(x - 1, y + 26, 3, 14, WHITE)
