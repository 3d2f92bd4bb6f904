"""The slice itself: in the brain window, in its true shape, framed by the patient's sides."""

import numpy as np
from PIL import Image

from ml.windows import BRAIN
from node.report.orientation import Edges
from node.report.picture.paint import MARGIN, ORANGE, SLICE, SMALLEST, TRACK, WHITE, Canvas

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


def draw_framed(
    canvas: Canvas,
    image: Image.Image,
    edges: Edges,
    *,
    flagged: bool,
    middle: tuple[float, float] = (MARGIN + SLICE / 2, MARGIN + SLICE / 2),
) -> None:
    """A slice in a line, thick if it is flagged, and the patient's sides outside it.

    Parameters
    ----------
    canvas : Canvas
        What is drawn on.
    image : PIL.Image.Image
        The slice, as `draw_brain_window` draws it.
    edges : Edges
        Letters for its four edges.
    flagged : bool
        Whether it is flagged.
    middle : tuple of 2 float
        Where its middle is.
    """
    width, height = image.width / canvas.unit, image.height / canvas.unit
    x, y = middle[0] - width / 2, middle[1] - height / 2
    thick = 4 if flagged else 1
    canvas.box(
        x - thick,
        y - thick,
        width + 2 * thick,
        height + 2 * thick,
        ORANGE if flagged else TRACK,
    )
    canvas.paste(image.convert("RGB"), x, y)
    away = MARGIN / 2 + 1
    for text, across, down, upright in (
        (edges.left, x - away, y + height / 2, True),
        (edges.right, x + width + away, y + height / 2, True),
        (edges.top, x + width / 2, y - away, False),
        (edges.bottom, x + width / 2, y + height + away, False),
    ):
        # letters one below the other keep a long name inside the side margins
        letters = list(text) if upright else [text]
        for number, part in enumerate(letters):
            canvas.text(
                across,
                down + (number - (len(letters) - 1) / 2) * SMALLEST,
                part,
                SMALLEST,
                WHITE,
                anchor="mm",
            )
