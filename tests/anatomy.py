"""Makes CT series of what is no head, and of heads that are hard to tell, by simple shapes."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

AIR, LUNG, FAT, WATER, BRAIN, MUSCLE, ORGAN, SPONGY, BONE = (
    -1000, -850, -100, 0, 34, 50, 55, 250, 900,
)  # fmt: skip
SIZE = 128
"""Rows and columns."""


@dataclass(frozen=True)
class Stack:
    """What `ml.anatomy` takes.

    Parameters
    ----------
    hu : numpy.ndarray
        int16, shape (n, rows, columns).
    spacing_mm : tuple of 2 float
    positions_mm : numpy.ndarray
    """

    hu: np.ndarray
    spacing_mm: tuple[float, float]
    positions_mm: np.ndarray


class Canvas:
    """A slice to draw ellipses on, origin in the middle, mm, y to the back."""

    def __init__(self, field_mm: float) -> None:
        self.pixel_mm = field_mm / SIZE
        axis = (np.arange(SIZE) - (SIZE - 1) / 2) * self.pixel_mm
        self.x, self.y = axis[None, :], axis[:, None]
        self.hu = np.full((SIZE, SIZE), float(AIR))

    def within(self, x: float, y: float, half_x: float, half_y: float) -> np.ndarray:
        """Whether each pixel lies in an ellipse."""
        return ((self.x - x) / half_x) ** 2 + ((self.y - y) / half_y) ** 2 <= 1

    def fill(self, hu: float, x: float, y: float, half_x: float, half_y: float = 0) -> None:
        """Fill an ellipse, or a circle."""
        self.hu[self.within(x, y, half_x, half_y or half_x)] = hu

    def ribs(self, half_x: float, half_y: float, shift: float) -> None:
        """Parts of an elliptical shell; the gaps between them move with `shift`."""
        shell = self.within(0, 0, half_x, half_y) & ~self.within(0, 0, half_x - 9, half_y - 9)
        angle = np.arctan2(self.y, self.x)
        self.hu[shell & (np.sin(9 * angle + shift) > 0.1)] = 500

    def vertebra(self, y: float) -> None:
        """A vertebra, its body in front of y."""
        self.fill(BONE, 0, y - 14, 21, 17)
        self.fill(SPONGY, 0, y - 14, 18, 14)
        self.fill(BONE, 0, y + 14, 32, 6)
        self.fill(BONE, 0, y + 10, 16, 16)
        self.fill(MUSCLE, 0, y + 10, 9)

    def table(self, y: float) -> None:
        """The table, a shell with foam in it."""
        self.hu[self.within(0, y, 220, 25) & (self.hu == AIR)] = -940
        rim = self.within(0, y, 220, 25) & ~self.within(0, y, 217, 22)
        self.hu[rim & (self.hu == -940)] = 60


Draw = Callable[[Canvas, float], object]


def stack(
    draw: Draw, *, field_mm: float, slices: int = 20, step_mm: float = 5.0, noise_hu: float = 12.0
) -> Stack:
    """Draw each slice at 0 to 1 of the way up, then blur by noise as a scanner has it."""
    rng = np.random.default_rng(slices)
    hu = np.empty((slices, SIZE, SIZE), dtype=np.int16)
    canvas = Canvas(field_mm)
    for index in range(slices):
        canvas = Canvas(field_mm)
        draw(canvas, index / max(1, slices - 1))
        hu[index] = (canvas.hu + rng.normal(0, noise_hu, canvas.hu.shape)).clip(-1024, 3071)
    return Stack(hu, (canvas.pixel_mm, canvas.pixel_mm), np.arange(slices) * step_mm)


# -- what is no head ---------------------------------------------------------


def _chest(canvas: Canvas, up: float, scale: float = 1.0) -> None:
    canvas.table(scale * 125 + 20)
    canvas.fill(FAT, 0, 0, scale * 175, scale * 125)
    canvas.fill(MUSCLE, 0, 0, scale * 160, scale * 110)
    canvas.ribs(scale * 150, scale * 100, 12 * up)
    canvas.fill(BONE, 0, scale * -98, scale * 18, scale * 6)
    deep = scale * (40 + 40 * np.sin(np.pi * up))
    for side in (-1, 1):
        canvas.fill(LUNG, side * scale * 78, 0, scale * 56, deep)
    canvas.fill(MUSCLE, scale * 15, scale * -25, scale * 50, scale * 40)
    canvas.vertebra(scale * 70)


def _abdomen(canvas: Canvas, up: float, scale: float = 1.0) -> None:
    canvas.table(scale * 115 + 20)
    canvas.fill(FAT, 0, 0, scale * 170, scale * 115)
    canvas.fill(MUSCLE, 0, 0, scale * 145, scale * 95)
    canvas.fill(FAT, 0, 0, scale * 130, scale * 82)
    if up > 0.6:
        canvas.ribs(scale * 140, scale * 92, 12 * up)
    canvas.fill(ORGAN, scale * -60, scale * -10, scale * 60, scale * 55)
    canvas.fill(ORGAN, scale * 80, 0, scale * 30, scale * 40)
    canvas.fill(AIR, scale * 30, scale * -50, scale * 18, scale * 10)
    canvas.vertebra(scale * 50)


def _pelvis(canvas: Canvas, up: float) -> None:
    canvas.fill(FAT, 0, 0, 185, 120)
    canvas.fill(MUSCLE, 0, 0, 165, 100)
    ring = canvas.within(0, 0, 120, 80) & ~canvas.within(0, 0, 108, 68)
    canvas.hu[ring & (np.abs(canvas.x) > 70 - 50 * up)] = 600
    canvas.fill(SPONGY, 0, 70, 50, 15)
    canvas.fill(8, 0, -20, 40, 32)


def _thigh(canvas: Canvas, _: float) -> None:
    for side in (-1, 1):
        canvas.fill(FAT, side * 95, 0, 85, 90)
        canvas.fill(MUSCLE, side * 95, 0, 70, 75)
        canvas.fill(1200, side * 95, 0, 15)
        canvas.fill(FAT, side * 95, 0, 8)


def _knee(canvas: Canvas, up: float) -> None:
    canvas.fill(FAT, 0, 0, 62, 66)
    canvas.fill(MUSCLE, 0, 0, 56, 60)
    wide = 25 + 20 * np.sin(np.pi * up)
    canvas.fill(BONE, 0, -5, wide, 28)
    canvas.fill(SPONGY, 0, -5, wide - 3, 25)
    canvas.fill(BONE, 0, -52, 20, 9)


def _neck(canvas: Canvas, up: float) -> None:
    wide = 62 + 110 * max(0.0, 0.4 - up)
    canvas.fill(FAT, 0, 0, wide, 62)
    canvas.fill(MUSCLE, 0, 0, wide - 7, 56)
    canvas.fill(AIR, 0, -22, 9, 8)
    canvas.fill(BONE, 0, 8, 13, 9)
    canvas.fill(BONE, 0, 24, 16, 13)
    canvas.fill(MUSCLE, 0, 24, 10, 8)


def _water(canvas: Canvas, _: float) -> None:
    canvas.fill(120, 0, 0, 105)
    canvas.fill(WATER, 0, 0, 100)


def _inserts(canvas: Canvas, _: float) -> None:
    canvas.fill(WATER, 0, 0, 100)
    for number, hu in enumerate((955, -95, 120, -1000, 990)):
        canvas.fill(hu, 60 * np.cos(number), 60 * np.sin(number), 12)


def noise() -> Stack:
    """Every value as likely as any other."""
    hu = np.random.default_rng(1).integers(-1024, 3071, (20, SIZE, SIZE)).astype(np.int16)
    return Stack(hu, (1.3, 1.3), np.arange(20) * 5.0)


def chest(field_mm: float = 400, scale: float = 1.0, slices: int = 20) -> Stack:
    """A chest with lungs, ribs, spine and table; 350 x 250 mm, or a part of that."""
    return stack(lambda canvas, up: _chest(canvas, up, scale), field_mm=field_mm, slices=slices)


NO_HEADS: dict[str, Callable[[], Stack]] = {
    "chest": chest,
    "chest of a child": lambda: chest(260, 0.55),
    "abdomen": lambda: stack(_abdomen, field_mm=400),
    "pelvis": lambda: stack(_pelvis, field_mm=420),
    "thighs": lambda: stack(_thigh, field_mm=420),
    "knee": lambda: stack(_knee, field_mm=180),
    "water cylinder": lambda: stack(_water, field_mm=250, noise_hu=4),
    "water cylinder in a large image": lambda: stack(_water, field_mm=500, noise_hu=4),
    "phantom with inserts": lambda: stack(_inserts, field_mm=250, noise_hu=4),
    "air": lambda: stack(lambda *_: None, field_mm=250),
    "noise": noise,
    "noise of soft tissue": lambda: stack(
        lambda c, _: c.fill(BRAIN, 0, 0, 1000), field_mm=250, noise_hu=20
    ),
}
"""Each has to be skipped."""

UNCLEAR: dict[str, Callable[[], Stack]] = {
    "abdomen of a child": lambda: stack(lambda c, up: _abdomen(c, up, 0.55), field_mm=260),
    "neck": lambda: stack(_neck, field_mm=250),
}
"""What may be skipped or judged with a warning, but not taken for a head."""
