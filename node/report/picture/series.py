"""All pictures of a series, of one size: a summary, and one of each slice."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from PIL import Image

from ml.labels import LABELS, Label
from node.judgement import Judgement
from node.report.orientation import Edges
from node.report.picture.curve import draw_curve
from node.report.picture.paint import GROUND, SIZE, SLICE, Canvas
from node.report.picture.panel import CURVE, draw_panel
from node.report.picture.slice import draw_brain_window, draw_framed
from node.report.picture.summary import draw_summary


@dataclass(frozen=True)
class SeriesPictures:
    """What is drawn of a series.

    Parameters
    ----------
    judgement : Judgement
        What the model says.
    hu : numpy.ndarray
        HU, shape (slices, rows, columns).
    spacing_mm : tuple of 2 float, optional
        Between rows, between columns; square pixels if it is not known.
    """

    judgement: Judgement
    hu: np.ndarray
    spacing_mm: tuple[float, float] | None = None

    def slice(self, index: int, edges: Edges | None = None) -> np.ndarray:
        """A slice with what the model says about it.

        Parameters
        ----------
        index : int
            From 0 at the foot.
        edges : Edges, optional
            Letters for the four edges of the slice.

        Returns
        -------
        numpy.ndarray
            uint8, shape (rows, columns, 3), RGB; both sizes are even.
        """
        canvas = self._canvas()
        image = draw_brain_window(self.hu[index], self.spacing_mm)
        flagged = index in self._flagged
        draw_framed(canvas, image, edges or Edges(), flagged=flagged)
        draw_panel(canvas, self.judgement, index, self._curve, flagged=flagged)
        return np.asarray(canvas.picture)

    def summary(self) -> np.ndarray:
        """The series at a glance, a picture of the same size."""
        canvas = self._canvas()
        draw_summary(canvas, self.judgement, self.hu, self.spacing_mm)
        return np.asarray(canvas.picture)

    @cached_property
    def shape(self) -> tuple[int, int, int]:
        """Rows, columns and colours of every picture."""
        columns, rows = (round(length * self._unit) for length in SIZE)
        return rows + rows % 2, columns + columns % 2, 3

    @cached_property
    def _unit(self) -> float:
        """Pixels for a length: a slice of more than 512 pixels gets larger type with it."""
        return max(1.0, max(draw_brain_window(self.hu[0], self.spacing_mm).size) / SLICE)

    @cached_property
    def _flagged(self) -> frozenset[int]:
        return frozenset(self.judgement.flagged_slices())

    @cached_property
    def _curve(self) -> Image.Image:
        return draw_curve(
            self.judgement.probabilities[:, LABELS.index(Label.ANY)],
            (round(CURVE[0] * self._unit), round(CURVE[1] * self._unit)),
            self._unit,
            self.judgement.model.threshold(Label.ANY),
            flagged=self._flagged,
        )

    def _canvas(self) -> Canvas:
        rows, columns, _ = self.shape
        return Canvas(Image.new("RGB", (columns, rows), GROUND), self._unit)
