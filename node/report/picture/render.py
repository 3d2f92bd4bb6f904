"""The picture of a slice: the slice on the left, what the model says on the right.

Nothing is drawn over the patient. Colours are those of Okabe and Ito, which
people with any colour vision can tell apart; what a colour says, a word or a
shape says too.

References
----------
M. Okabe, K. Ito: "Color Universal Design" (2008).
"""

import numpy as np
from PIL import Image

from ml.labels import Label
from node.judgement import Judgement
from node.report.orientation import Edges
from node.report.picture.paint import GROUND, MARGIN, PANEL, SLICE
from node.report.picture.panel import Panel
from node.report.picture.slice import Box, draw_brain_window, draw_frame


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
    unit = max(1.0, slice_.height / SLICE)
    margin = round(MARGIN * unit)
    height = max(slice_.height, round(SLICE * unit)) + 2 * margin
    left = slice_.width + 2 * margin
    width = left + round(PANEL * unit)
    picture = Image.new("RGB", (width + width % 2, height + height % 2), GROUND)

    top = (height - slice_.height) // 2
    picture.paste(slice_, (margin, top))
    box = Box(margin, top, margin + slice_.width, top + slice_.height)
    flagged = judgement.is_flagged(index, Label.ANY)
    draw_frame(picture, box, edges or Edges(), unit, flagged=flagged)
    Panel(picture, left, unit).draw(judgement, index)
    return np.asarray(picture)
