"""What every picture is drawn with: colours, type, words for numbers."""

from functools import cache

from PIL import ImageFont

from ml.labels import Label

Colour = tuple[int, int, int]

ORANGE: Colour = (230, 159, 0)  # flagged
SKY_BLUE: Colour = (86, 180, 233)  # not flagged
YELLOW: Colour = (240, 228, 66)  # not for clinical use
WHITE: Colour = (240, 240, 240)
GREY: Colour = (165, 165, 170)
TRACK: Colour = (52, 52, 58)
GROUND: Colour = (18, 18, 22)
BLACK: Colour = (0, 0, 0)

NAMES = {
    Label.EPIDURAL: "Epidural",
    Label.INTRAPARENCHYMAL: "Intraparenchymal",
    Label.INTRAVENTRICULAR: "Intraventricular",
    Label.SUBARACHNOID: "Subarachnoid",
    Label.SUBDURAL: "Subdural",
    Label.ANY: "Any hemorrhage",
}

SLICE = 512
"""The size of slice, in pixels, that the lengths below are meant for."""

MARGIN = 24
PANEL = 336
PAD = 16
SMOOTH = 4
"""Curves are drawn this many times as large and then reduced."""


@cache
def font_of(size: int) -> ImageFont.FreeTypeFont:
    """The one typeface, in a size in pixels."""
    font = ImageFont.load_default(size)
    assert isinstance(font, ImageFont.FreeTypeFont)
    return font


def percent(value: float) -> str:
    """A probability in percent, never rounded to certainty."""
    if 0 < value < 0.01:
        return "<1 %"
    if 0.99 < value < 1:
        return ">99 %"
    return f"{value:.0%}".replace("%", " %")


def shorten(text: str, font: ImageFont.FreeTypeFont, width: int) -> str:
    """Text cut to a width, with an ellipsis if something was cut."""
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(f"{text}...") > width:
        text = text[:-1]
    return f"{text}..."
