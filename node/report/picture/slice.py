"""The slice itself: in the brain window, in its true shape, framed by the patient's sides."""

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from ml.windows import BRAIN
from node.report.orientation import Edges
from node.report.picture.paint import MARGIN, ORANGE, SLICE, TRACK, WHITE, font_of

_MOST_ANISOTROPY = 1.01
"""Ratio of the pixel spacings from which on a slice is stretched to its true shape."""


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
    enlarge = max(1, int(SLICE // max(width, height)))
    size = (round(width * enlarge), round(height * enlarge))
    return image if size == image.size else image.resize(size, Image.Resampling.BICUBIC)


@dataclass(frozen=True)
class Box:
    """Where something stands in a picture, pixels."""

    left: int
    top: int
    right: int
    bottom: int


def draw_frame(picture: Image.Image, box: Box, edges: Edges, unit: float, *, flagged: bool) -> None:
    """A line around the slice, thick if it is flagged, and the patient's sides outside it."""
    draw = ImageDraw.Draw(picture)
    thick = round((4 if flagged else 1) * unit)
    draw.rectangle(
        (box.left - thick, box.top - thick, box.right + thick - 1, box.bottom + thick - 1),
        outline=ORANGE if flagged else TRACK,
        width=thick,
    )
    font = font_of(round(17 * unit))
    away = round((MARGIN / 2 + 1) * unit)
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
            fill=WHITE,
            font=font,
            anchor="mm",
            align="center",
        )
