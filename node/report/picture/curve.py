"""The course of a probability along the stack."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from PIL import Image, ImageDraw

from node.report.picture.paint import GREY, ORANGE, SKY_BLUE, SMOOTH, TRACK, WHITE


def draw_curve(
    values: Sequence[float] | np.ndarray,
    index: int,
    size: tuple[int, int],
    unit: float,
    threshold: float | None,
) -> Image.Image:
    """A curve of probabilities from foot (left) to head (right)."""
    width, height = size[0] * SMOOTH, size[1] * SMOOTH
    line = round(2 * unit * SMOOTH)
    radius = 5 * unit * SMOOTH
    strip = Image.new("RGB", (width, height), TRACK)
    draw = ImageDraw.Draw(strip)

    def point(number: int, value: float) -> tuple[float, float]:
        along = 0.5 if len(values) == 1 else number / (len(values) - 1)
        x = radius + along * (width - 2 * radius)
        return x, height - radius - float(value) * (height - 2 * radius)

    if threshold is not None:
        level = point(0, threshold)[1]
        dash = round(6 * unit * SMOOTH)
        for start in range(0, width, 2 * dash):
            draw.line((start, level, start + dash, level), fill=GREY, width=line // 2)
    curve = [point(number, value) for number, value in enumerate(values)]
    x, y = curve[index]
    draw.line((x, 0, x, height), fill=WHITE, width=line // 2)
    if len(curve) > 1:
        draw.line(curve, fill=SKY_BLUE, width=line, joint="curve")
    for one, other in pairwise(range(len(values))):
        if threshold is not None and min(values[one], values[other]) >= threshold:
            draw.line((curve[one], curve[other]), fill=ORANGE, width=2 * line)
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=WHITE)
    return strip.resize(size, Image.Resampling.BOX)
