"""Beside the slice: what the model says about it."""

from PIL import Image, ImageDraw

from ml.labels import LABELS, SUBTYPES, Label
from node.judgement import Judgement
from node.report.header import MANUFACTURER, NOT_FOR_CLINICAL_USE
from node.report.picture.curve import draw_curve
from node.report.picture.paint import (
    BLACK,
    GREY,
    GROUND,
    NAMES,
    ORANGE,
    PAD,
    PANEL,
    SKY_BLUE,
    TRACK,
    WHITE,
    YELLOW,
    Colour,
    font_of,
    percent,
    shorten,
)


class Panel:
    """The column of text and bars; lengths are in units of a slice of 512 pixels."""

    def __init__(self, picture: Image.Image, left: int, unit: float) -> None:
        self.picture = picture
        self.canvas = ImageDraw.Draw(picture)
        self.unit = unit
        self.left = left
        self.right = left + round((PANEL - PAD) * unit)

    def draw(self, judgement: Judgement, index: int) -> None:
        """Draw everything that the panel says about a slice."""
        count = len(judgement.slices)
        image = judgement.slices[index]
        self._text("Intracranial hemorrhage", 18, 22, WHITE)
        self._text("probability on this slice", 45, 15, GREY)
        self._text(f"Slice {index + 1} of {count}", 70, 19, WHITE)
        self._text(f"{image.position_mm:+.1f} mm", 70, 19, WHITE, at_right=True)
        self._rule(100)
        self._finding(judgement, index, Label.ANY, y=110, size=22, bar=14)
        for number, label in enumerate(SUBTYPES):
            self._finding(judgement, index, label, y=166 + 43 * number, size=17, bar=9)
        self._rule(384)
        self._text("Any, foot to head", 392, 15, GREY)
        highest = percent(judgement.maximum(Label.ANY))
        key = f"max {highest} on slice {judgement.key_slice(Label.ANY) + 1}"
        self._text(key, 392, 15, GREY, at_right=True)
        self._curve(judgement, index, y=416, height=54)
        self._model(judgement, y=482)

    def _px(self, length: float) -> int:
        return round(length * self.unit)

    def _text(
        self, text: str, y: float, size: float, fill: Colour, *, at_right: bool = False
    ) -> None:
        font = font_of(self._px(size))
        text = shorten(text, font, self.right - self.left)
        x, anchor = (self.right, "ra") if at_right else (self.left, "la")
        self.canvas.text((x, self._px(y)), text, fill=fill, font=font, anchor=anchor)

    def _rule(self, y: float) -> None:
        self.canvas.line((self.left, self._px(y), self.right, self._px(y)), fill=TRACK)

    def _finding(
        self, judgement: Judgement, index: int, label: Label, *, y: float, size: float, bar: float
    ) -> None:
        """Name, number and bar of a finding, with a tick where its threshold is."""
        value = judgement.probability(index, label)
        flagged = judgement.is_flagged(index, label)
        colour = ORANGE if flagged else SKY_BLUE
        self._text(NAMES[label], y, size, WHITE)
        self._text(percent(value), y, size, colour if flagged else WHITE, at_right=True)
        if flagged:
            self._flag(y + 0.52 * size)
        top, bottom = self._px(y + 1.42 * size), self._px(y + 1.42 * size + bar)
        width = self.right - self.left
        self.canvas.rectangle((self.left, top, self.right - 1, bottom), fill=TRACK)
        if value > 0:
            end = self.left + max(0, round(value * width) - 1)
            self.canvas.rectangle((self.left, top, end, bottom), fill=colour)
        threshold = judgement.model.threshold(label)
        if threshold is not None:
            x = self.left + min(round(threshold * width), width - 1)
            reach, line, rim = self._px(3), self._px(2), self._px(1)
            tick = (x - line // 2, top - reach, x + (line - 1) // 2, bottom + reach)
            self.canvas.rectangle((tick[0] - rim, tick[1], tick[2] + rim, tick[3]), fill=GROUND)
            self.canvas.rectangle(tick, fill=WHITE)

    def _flag(self, middle: float) -> None:
        """A label that says what the colour says."""
        font = font_of(self._px(13))
        right = self.right - self._px(66)
        box = (right - self._px(48), self._px(middle - 8), right, self._px(middle + 9))
        self.canvas.rounded_rectangle(box, self._px(3), fill=ORANGE)
        centre = ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)
        self.canvas.text(centre, "FLAG", fill=BLACK, font=font, anchor="mm")

    def _curve(self, judgement: Judgement, index: int, *, y: float, height: float) -> None:
        """The course of `any` along the stack, with this slice marked."""
        values = judgement.probabilities[:, LABELS.index(Label.ANY)]
        size = (self.right - self.left, self._px(height))
        strip = draw_curve(values, index, size, self.unit, judgement.model.threshold(Label.ANY))
        self.picture.paste(strip, (self.left, self._px(y)))

    def _model(self, judgement: Judgement, *, y: float) -> None:
        """Which model it was, and what it must not be used for."""
        model = judgement.model
        name = f"{MANUFACTURER}, {model.name} {model.version} ({model.digest[:12]})"
        self._text(name, y, 14, GREY)
        point = model.operating_point
        notes = [f"tick: threshold ({point.name})" if point else "no thresholds, no flags"]
        if judgement.warnings:
            count = len(judgement.warnings)
            notes.append(f"{count} warning{'s' * (count > 1)}, see report")
        self._text("; ".join(notes), y + 19, 14, GREY)
        top, bottom = self._px(y + 44), self._px(y + 70)
        self.canvas.rectangle((self.left, top, self.right - 1, bottom), fill=YELLOW)
        self.canvas.text(
            ((self.left + self.right) / 2, (top + bottom) / 2),
            NOT_FOR_CLINICAL_USE.upper(),
            fill=BLACK,
            font=font_of(self._px(20)),
            anchor="mm",
        )
