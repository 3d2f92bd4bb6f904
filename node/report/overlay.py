"""The picture of a slice: the slice on the left, what the model says on the right.

Nothing is drawn over the patient. Colours are those of Okabe and Ito, which
people with any colour vision can tell apart; what a colour says, a word or a
shape says too.

References
----------
M. Okabe, K. Ito: "Color Universal Design" (2008).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ml.labels import LABELS, SUBTYPES, Label
from ml.windows import BRAIN
from node.judgement import Judgement
from node.report.header import MANUFACTURER, NOT_FOR_CLINICAL_USE
from node.report.orientation import Edges

Colour = tuple[int, int, int]

_ORANGE: Colour = (230, 159, 0)  # flagged
_SKY_BLUE: Colour = (86, 180, 233)  # not flagged
_YELLOW: Colour = (240, 228, 66)  # not for clinical use
_WHITE: Colour = (240, 240, 240)
_GREY: Colour = (165, 165, 170)
_TRACK: Colour = (52, 52, 58)
_GROUND: Colour = (18, 18, 22)
_BLACK: Colour = (0, 0, 0)

_NAMES = {
    Label.EPIDURAL: "Epidural",
    Label.INTRAPARENCHYMAL: "Intraparenchymal",
    Label.INTRAVENTRICULAR: "Intraventricular",
    Label.SUBARACHNOID: "Subarachnoid",
    Label.SUBDURAL: "Subdural",
    Label.ANY: "Any hemorrhage",
}

_SLICE = 512
"""The size of slice, in pixels, that the lengths below are meant for."""

_MARGIN = 24
_PANEL = 336
_PAD = 16
_SMOOTH = 4
"""Curves are drawn this many times as large and then reduced."""

_MOST_ANISOTROPY = 1.01
"""Ratio of the pixel spacings from which on a slice is stretched to its true shape."""


def render(
    hu: np.ndarray,
    judgement: Judgement,
    index: int,
    *,
    spacing_mm: tuple[float, float] | None = None,
    edges: Edges | None = None,
) -> np.ndarray:
    """Draw a slice and what the model says about it.

    Parameters
    ----------
    hu : numpy.ndarray
        The slice in HU, shape (rows, columns).
    judgement : Judgement
        Of the whole series.
    index : int
        Of the slice, from 0 at the foot.
    spacing_mm : tuple of 2 float, optional
        Between rows, between columns; square pixels if it is not known.
    edges : Edges, optional
        Letters for the four edges of the slice.

    Returns
    -------
    numpy.ndarray
        uint8, shape (rows, columns, 3), RGB; both sizes are even.
    """
    slice_ = draw_brain_window(hu, spacing_mm)
    unit = max(1.0, slice_.height / _SLICE)
    margin = round(_MARGIN * unit)
    height = max(slice_.height, round(_SLICE * unit)) + 2 * margin
    left = slice_.width + 2 * margin
    width = left + round(_PANEL * unit)
    picture = Image.new("RGB", (width + width % 2, height + height % 2), _GROUND)

    top = (height - slice_.height) // 2
    picture.paste(slice_, (margin, top))
    box = _Box(margin, top, margin + slice_.width, top + slice_.height)
    flagged = _is_flagged(judgement, index, Label.ANY)
    _draw_frame(picture, box, edges or Edges(), unit, flagged=flagged)
    _Panel(picture, left, unit).draw(judgement, index)
    return np.asarray(picture)


def draw_brain_window(hu: np.ndarray, spacing_mm: tuple[float, float] | None = None) -> Image.Image:
    """A slice in the brain window, in its true shape.

    Every pixel of the slice is kept: the axis with the coarser pixels is
    stretched, and a small slice enlarged by a whole number.

    Parameters
    ----------
    hu : numpy.ndarray
        HU, shape (rows, columns).
    spacing_mm : tuple of 2 float, optional
        Between rows, between columns.
    """
    grey = np.rint(BRAIN.apply(hu.astype(np.float32)) * 255).astype(np.uint8)
    image = Image.fromarray(grey)
    row_mm, column_mm = spacing_mm or (1.0, 1.0)
    width, height = float(image.width), float(image.height)
    if max(row_mm, column_mm) / min(row_mm, column_mm) > _MOST_ANISOTROPY:
        finest = min(row_mm, column_mm)
        width, height = width * column_mm / finest, height * row_mm / finest
    enlarge = max(1, int(_SLICE // max(width, height)))
    size = (round(width * enlarge), round(height * enlarge))
    return image if size == image.size else image.resize(size, Image.Resampling.BICUBIC)


@dataclass(frozen=True)
class _Box:
    left: int
    top: int
    right: int
    bottom: int


def _threshold(judgement: Judgement, label: Label) -> float | None:
    point = judgement.model.operating_point
    return None if point is None else point.thresholds[label]


def _is_flagged(judgement: Judgement, index: int, label: Label) -> bool:
    threshold = _threshold(judgement, label)
    value = float(judgement.probabilities[index, LABELS.index(label)])
    return threshold is not None and value >= threshold


@cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size)
    assert isinstance(font, ImageFont.FreeTypeFont)
    return font


# -- around the slice ------------------------------------------------------


def _draw_frame(
    picture: Image.Image, box: _Box, edges: Edges, unit: float, *, flagged: bool
) -> None:
    """A line around the slice, thick if it is flagged, and the patient's sides outside it."""
    draw = ImageDraw.Draw(picture)
    thick = round((4 if flagged else 1) * unit)
    draw.rectangle(
        (box.left - thick, box.top - thick, box.right + thick - 1, box.bottom + thick - 1),
        outline=_ORANGE if flagged else _TRACK,
        width=thick,
    )
    font = _font(round(17 * unit))
    away = round((_MARGIN / 2 + 1) * unit)
    middle_x, middle_y = (box.left + box.right) // 2, (box.top + box.bottom) // 2
    for text, x, y in (
        (edges.left, box.left - away, middle_y),
        (edges.right, box.right + away, middle_y),
        (edges.top, middle_x, box.top - away),
        (edges.bottom, middle_x, box.bottom + away),
    ):
        # letters one below the other keep a long name inside the side margins
        upright = y == middle_y and len(text) > 1
        draw.multiline_text(
            (x, y),
            "\n".join(text) if upright else text,
            fill=_WHITE,
            font=font,
            anchor="mm",
            align="center",
        )


# -- beside the slice ------------------------------------------------------


class _Panel:
    """The column of text and bars; lengths are in units of a slice of 512 pixels."""

    def __init__(self, picture: Image.Image, left: int, unit: float) -> None:
        self.picture = picture
        self.canvas = ImageDraw.Draw(picture)
        self.unit = unit
        self.left = left
        self.right = left + round((_PANEL - _PAD) * unit)

    def draw(self, judgement: Judgement, index: int) -> None:
        """Draw everything that the panel says about a slice."""
        count = len(judgement.slices)
        image = judgement.slices[index]
        self._text("Intracranial hemorrhage", 18, 22, _WHITE)
        self._text("probability on this slice", 45, 15, _GREY)
        self._text(f"Slice {index + 1} of {count}", 70, 19, _WHITE)
        self._text(f"{image.position_mm:+.1f} mm", 70, 19, _WHITE, at_right=True)
        self._rule(100)
        self._finding(judgement, index, Label.ANY, y=110, size=22, bar=14)
        for number, label in enumerate(SUBTYPES):
            self._finding(judgement, index, label, y=166 + 43 * number, size=17, bar=9)
        self._rule(384)
        self._text("Any, foot to head", 392, 15, _GREY)
        highest = _percent(judgement.maximum(Label.ANY))
        key = f"max {highest} on slice {judgement.key_slice(Label.ANY) + 1}"
        self._text(key, 392, 15, _GREY, at_right=True)
        self._curve(judgement, index, y=416, height=54)
        self._model(judgement, y=482)

    def _px(self, length: float) -> int:
        return round(length * self.unit)

    def _text(
        self, text: str, y: float, size: float, fill: Colour, *, at_right: bool = False
    ) -> None:
        font = _font(self._px(size))
        text = _shorten(text, font, self.right - self.left)
        x, anchor = (self.right, "ra") if at_right else (self.left, "la")
        self.canvas.text((x, self._px(y)), text, fill=fill, font=font, anchor=anchor)

    def _rule(self, y: float) -> None:
        self.canvas.line((self.left, self._px(y), self.right, self._px(y)), fill=_TRACK)

    def _finding(
        self, judgement: Judgement, index: int, label: Label, *, y: float, size: float, bar: float
    ) -> None:
        """Name, number and bar of a finding, with a tick where its threshold is."""
        value = float(judgement.probabilities[index, LABELS.index(label)])
        flagged = _is_flagged(judgement, index, label)
        colour = _ORANGE if flagged else _SKY_BLUE
        self._text(_NAMES[label], y, size, _WHITE)
        self._text(_percent(value), y, size, colour if flagged else _WHITE, at_right=True)
        if flagged:
            self._flag(y + 0.52 * size)
        top, bottom = self._px(y + 1.42 * size), self._px(y + 1.42 * size + bar)
        width = self.right - self.left
        self.canvas.rectangle((self.left, top, self.right - 1, bottom), fill=_TRACK)
        if value > 0:
            end = self.left + max(0, round(value * width) - 1)
            self.canvas.rectangle((self.left, top, end, bottom), fill=colour)
        threshold = _threshold(judgement, label)
        if threshold is not None:
            x = self.left + min(round(threshold * width), width - 1)
            reach, line, rim = self._px(3), self._px(2), self._px(1)
            tick = (x - line // 2, top - reach, x + (line - 1) // 2, bottom + reach)
            self.canvas.rectangle((tick[0] - rim, tick[1], tick[2] + rim, tick[3]), fill=_GROUND)
            self.canvas.rectangle(tick, fill=_WHITE)

    def _flag(self, middle: float) -> None:
        """A label that says what the colour says."""
        font = _font(self._px(13))
        right = self.right - self._px(66)
        box = (right - self._px(48), self._px(middle - 8), right, self._px(middle + 9))
        self.canvas.rounded_rectangle(box, self._px(3), fill=_ORANGE)
        centre = ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)
        self.canvas.text(centre, "FLAG", fill=_BLACK, font=font, anchor="mm")

    def _curve(self, judgement: Judgement, index: int, *, y: float, height: float) -> None:
        """The course of `any` along the stack, with this slice marked."""
        values = judgement.probabilities[:, LABELS.index(Label.ANY)]
        size = (self.right - self.left, self._px(height))
        strip = _draw_curve(values, index, size, self.unit, _threshold(judgement, Label.ANY))
        self.picture.paste(strip, (self.left, self._px(y)))

    def _model(self, judgement: Judgement, *, y: float) -> None:
        """Which model it was, and what it must not be used for."""
        model = judgement.model
        name = f"{MANUFACTURER}, {model.name} {model.version} ({model.digest[:12]})"
        self._text(name, y, 14, _GREY)
        point = model.operating_point
        notes = [f"tick: threshold ({point.name})" if point else "no thresholds, no flags"]
        if judgement.warnings:
            count = len(judgement.warnings)
            notes.append(f"{count} warning{'s' * (count > 1)}, see report")
        self._text("; ".join(notes), y + 19, 14, _GREY)
        top, bottom = self._px(y + 44), self._px(y + 70)
        self.canvas.rectangle((self.left, top, self.right - 1, bottom), fill=_YELLOW)
        self.canvas.text(
            ((self.left + self.right) / 2, (top + bottom) / 2),
            NOT_FOR_CLINICAL_USE.upper(),
            fill=_BLACK,
            font=_font(self._px(20)),
            anchor="mm",
        )


def _draw_curve(
    values: Sequence[float] | np.ndarray,
    index: int,
    size: tuple[int, int],
    unit: float,
    threshold: float | None,
) -> Image.Image:
    """A curve of probabilities from foot (left) to head (right)."""
    width, height = size[0] * _SMOOTH, size[1] * _SMOOTH
    line = round(2 * unit * _SMOOTH)
    radius = 5 * unit * _SMOOTH
    strip = Image.new("RGB", (width, height), _TRACK)
    draw = ImageDraw.Draw(strip)

    def point(number: int, value: float) -> tuple[float, float]:
        along = 0.5 if len(values) == 1 else number / (len(values) - 1)
        x = radius + along * (width - 2 * radius)
        return x, height - radius - float(value) * (height - 2 * radius)

    if threshold is not None:
        level = point(0, threshold)[1]
        dash = round(6 * unit * _SMOOTH)
        for start in range(0, width, 2 * dash):
            draw.line((start, level, start + dash, level), fill=_GREY, width=line // 2)
    curve = [point(number, value) for number, value in enumerate(values)]
    x, y = curve[index]
    draw.line((x, 0, x, height), fill=_WHITE, width=line // 2)
    if len(curve) > 1:
        draw.line(curve, fill=_SKY_BLUE, width=line, joint="curve")
    for one, other in pairwise(range(len(values))):
        if threshold is not None and min(values[one], values[other]) >= threshold:
            draw.line((curve[one], curve[other]), fill=_ORANGE, width=2 * line)
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=_WHITE)
    return strip.resize(size, Image.Resampling.BOX)


def _percent(value: float) -> str:
    """A probability in percent, never rounded to certainty."""
    if 0 < value < 0.01:
        return "<1 %"
    if 0.99 < value < 1:
        return ">99 %"
    return f"{value:.0%}".replace("%", " %")


def _shorten(text: str, font: ImageFont.FreeTypeFont, width: int) -> str:
    """Text cut to a width, with an ellipsis if something was cut."""
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(f"{text}...") > width:
        text = text[:-1]
    return f"{text}..."
