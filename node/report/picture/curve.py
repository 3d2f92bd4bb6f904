"""The course of a probability along the stack, from foot (left) to head (right)."""

from collections.abc import Collection, Sequence
from itertools import pairwise

import numpy as np
from PIL import Image, ImageDraw

from node.report.picture.paint import GREY, ORANGE, SKY_BLUE, TRACK, WHITE

_SMOOTH = 4
"""Curves are drawn this many times as large and then reduced."""

_RADIUS = 5
"""Between a curve and the edge of its strip."""


def draw_curve(
    values: Sequence[float] | np.ndarray,
    size: tuple[int, int],
    unit: float,
    threshold: float | None,
    *,
    flagged: Collection[int] = (),
) -> Image.Image:
    """A curve on a strip, thick and orange where it reaches a threshold.

    Parameters
    ----------
    values : sequence of float
        Probabilities, foot to head.
    size : tuple of 2 int
        Width and height of the strip, pixels.
    unit : float
        Pixels for a length that is meant for a slice of 512 pixels.
    threshold : float, optional
        Where a dashed line is drawn.
    flagged : collection of int
        Slices that get an orange mark at the foot of the strip.
    """
    width, height = size[0] * _SMOOTH, size[1] * _SMOOTH
    line = round(2 * unit * _SMOOTH)
    strip = Image.new("RGB", (width, height), TRACK)
    draw = ImageDraw.Draw(strip)
    if threshold is not None:
        level = _y(threshold, height, unit * _SMOOTH)
        dash = round(6 * unit * _SMOOTH)
        for start in range(0, width, 2 * dash):
            draw.line((start, level, start + dash, level), fill=GREY, width=line // 2)
    curve = [
        (_x(number, len(values), width, unit * _SMOOTH), _y(value, height, unit * _SMOOTH))
        for number, value in enumerate(values)
    ]
    if len(curve) > 1:
        draw.line(curve, fill=SKY_BLUE, width=line, joint="curve")
    reached = [threshold is not None and value >= threshold for value in values]
    for one, other in pairwise(range(len(values))):
        if reached[one] and reached[other]:
            draw.line((curve[one], curve[other]), fill=ORANGE, width=2 * line)
    for number, (x, y) in enumerate(curve):
        alone = not any(reached[max(0, number - 1) : number] + reached[number + 1 : number + 2])
        if len(curve) == 1 or (reached[number] and alone):
            colour = ORANGE if reached[number] else SKY_BLUE
            draw.ellipse((x - line, y - line, x + line, y + line), fill=colour)
    half = max(line, (width - 2 * _RADIUS * unit * _SMOOTH) / max(1, len(values) - 1) / 2)
    for index in flagged:
        x = _x(index, len(values), width, unit * _SMOOTH)
        draw.rectangle((x - half, height - 2 * line, x + half, height), fill=ORANGE)
    return strip.resize(size, Image.Resampling.BOX)


def mark(strip: Image.Image, index: int, value: float, count: int, unit: float) -> Image.Image:
    """A copy of a strip with the place of one slice on it.

    Parameters
    ----------
    strip : PIL.Image.Image
        As `draw_curve` draws it.
    index, count : int
        Which slice of how many.
    value : float
        Its probability.
    unit : float
        As for `draw_curve`.
    """
    marked = strip.copy()
    draw = ImageDraw.Draw(marked)
    width, height = strip.size
    x, y = _x(index, count, width, unit), _y(value, height, unit)
    draw.line((x, 0, x, height), fill=WHITE, width=max(1, round(unit)))
    radius = _RADIUS * unit
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=WHITE)
    return marked


def _x(number: int, count: int, width: int, unit: float) -> float:
    along = 0.5 if count == 1 else number / (count - 1)
    return _RADIUS * unit + along * (width - 2 * _RADIUS * unit)


def _y(value: float, height: int, unit: float) -> float:
    return height - _RADIUS * unit - float(value) * (height - 2 * _RADIUS * unit)
