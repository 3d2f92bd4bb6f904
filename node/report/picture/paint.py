"""Colours, type and words that every picture is drawn with."""

from functools import cache

from PIL import Image, ImageDraw, ImageFont

from ml.series import Slice

Colour = tuple[int, int, int]

ORANGE: Colour = (230, 159, 0)  # flagged
SKY_BLUE: Colour = (86, 180, 233)  # not flagged
YELLOW: Colour = (240, 228, 66)  # not for clinical use
WHITE: Colour = (240, 240, 240)
GREY: Colour = (178, 178, 184)
TRACK: Colour = (52, 52, 58)
GROUND: Colour = (18, 18, 22)
BLACK: Colour = (0, 0, 0)

SLICE = 512
"""The larger side of a slice, in the lengths that all layout is in."""

MARGIN = 28
PAD = 16
PANEL = 320
PANEL_LEFT = SLICE + 2 * MARGIN + 8
SIZE = (PANEL_LEFT + PANEL + PAD, SLICE + 2 * MARGIN)
"""Width and height of every picture."""

SMALLEST = 21
"""The smallest type: a capital of it is 8 pixels high where a picture is shown 512 wide."""


@cache
def font_of(size: int) -> ImageFont.FreeTypeFont:
    """The one typeface, in a size in pixels."""
    font = ImageFont.load_default(size)
    assert isinstance(font, ImageFont.FreeTypeFont)
    return font


class Canvas:
    """A picture, drawn on in lengths that are meant for a slice of 512 pixels.

    Parameters
    ----------
    picture : PIL.Image.Image
        What is drawn on.
    unit : float
        Pixels for one of those lengths.
    """

    def __init__(self, picture: Image.Image, unit: float) -> None:
        self.picture = picture
        self.unit = unit
        self._draw = ImageDraw.Draw(picture)

    def px(self, length: float) -> int:
        """A length in pixels."""
        return round(length * self.unit)

    def width(self, text: str, size: float) -> float:
        """Length of a text."""
        return font_of(self.px(size)).getlength(text) / self.unit

    def text(
        self,
        x: float,
        y: float,
        text: str,
        size: float,
        fill: Colour = WHITE,
        *,
        anchor: str = "la",
        room: float | None = None,
    ) -> None:
        """Write a text, shortened to the room there is."""
        font = font_of(self.px(size))
        if room is not None:
            text = shorten(text, font, self.px(room))
        self._draw.text((self.px(x), self.px(y)), text, fill=fill, font=font, anchor=anchor)

    def box(self, x: float, y: float, width: float, height: float, fill: Colour) -> None:
        """Fill a rectangle; one of no width or height is not drawn."""
        left, top = self.px(x), self.px(y)
        right, bottom = self.px(x + width) - 1, self.px(y + height) - 1
        if right >= left and bottom >= top:
            self._draw.rectangle((left, top, right, bottom), fill=fill)

    def outline(self, x: float, y: float, width: float, height: float, line: Colour) -> None:
        """Draw the edge of a rectangle."""
        corners = (self.px(x), self.px(y), self.px(x + width) - 1, self.px(y + height) - 1)
        self._draw.rectangle(corners, outline=line, width=self.px(2))

    def triangle(self, x: float, y: float, side: float, fill: Colour) -> None:
        """A filled triangle on its base; the shape that stands for flagged."""
        left, top = self.px(x), self.px(y)
        side = self.px(side)
        corners = ((left, top + side), (left + side, top + side), (left + side / 2, top))
        self._draw.polygon(corners, fill=fill)

    def banner(
        self, x: float, y: float, width: float, height: float, text: str, fill: Colour, size: float
    ) -> None:
        """A filled rectangle with a text in its middle."""
        self.box(x, y, width, height, fill)
        self.text(x + width / 2, y + height / 2, text, size, BLACK, anchor="mm", room=width)

    def paste(self, picture: Image.Image, x: float, y: float) -> None:
        """Put a picture at a place."""
        self.picture.paste(picture, (self.px(x), self.px(y)))


def name_in_source(item: Slice) -> str:
    """What the source calls a slice: ``image 12``, ``frame 3``, or nothing."""
    if item.frame_number is not None:
        return f"frame {item.frame_number}"
    return "" if item.instance_number is None else f"image {item.instance_number}"


def shorten(text: str, font: ImageFont.FreeTypeFont, width: int) -> str:
    """Text cut to a width, with an ellipsis if something was cut."""
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(f"{text}...") > width:
        text = text[:-1]
    return f"{text}..."


def wrap(text: str, font: ImageFont.FreeTypeFont, width: int, most: int) -> list[str]:
    """Text in lines of a width; the last of the most there may be is shortened."""
    lines: list[str] = []
    words = text.split()
    while words and len(lines) < most - 1:
        count = 1
        while count < len(words) and font.getlength(" ".join(words[: count + 1])) <= width:
            count += 1
        lines.append(shorten(" ".join(words[:count]), font, width))
        words = words[count:]
    return [*lines, shorten(" ".join(words), font, width)] if words else lines
