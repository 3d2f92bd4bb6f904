"""A slice, and beside it the same slice with the evidence for a finding over it.

This is the one picture that draws over the patient, which is why the plain slice
stands beside it. Where there is little evidence nothing is drawn.

References
----------
Viridis, which grows evenly in lightness, for people with any colour vision and in
grey: S. van der Walt, N. Smith (2015), in the public domain (CC0).
"""

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from ml.labels import percent
from ml.windows import BRAIN
from node.judgement import Judgement
from node.report.header import NOT_FOR_CLINICAL_USE
from node.report.orientation import Edges
from node.report.picture.paint import (
    GREY,
    GROUND,
    MARGIN,
    PAD,
    SMALLEST,
    YELLOW,
    Canvas,
)
from node.report.picture.slice import draw_brain_window, draw_framed

if TYPE_CHECKING:  # at run time it would bring PyTorch
    from ml.evidence import Evidence

NOT_A_SEGMENTATION = "Aid to understanding the model, not a segmentation."

_VIRIDIS = np.array(
    [
        (68, 1, 84),
        (71, 44, 122),
        (59, 81, 139),
        (44, 113, 142),
        (33, 144, 141),
        (39, 173, 129),
        (92, 200, 99),
        (170, 220, 50),
        (253, 231, 37),
    ],
    dtype=np.float32,
)
"""At even steps from 0 to 1."""

_PLAIN_BELOW = 0.15
_DENSEST = 0.7
"""Of the colour where the evidence is strongest; the slice is seen through it."""

_SIDE = 410
"""The longer side of a slice: two of them leave type that can be read 512 pixels wide."""

_WIDTH = 2 * _SIDE + 4 * MARGIN
_HEAD = 84
_FOOT = 132


def draw_evidence(
    judgement: Judgement,
    evidence: "Evidence",
    hu: np.ndarray,
    spacing_mm: tuple[float, float] | None = None,
    edges: Edges | None = None,
) -> np.ndarray:
    """A slice, plain and with the evidence over it.

    Parameters
    ----------
    judgement : Judgement
        Of the series.
    evidence : Evidence
        Of one of its slices.
    hu : numpy.ndarray
        HU, shape (rows, columns), of the slice.
    spacing_mm : tuple of 2 float, optional
        Between rows, between columns; square pixels if it is not known.
    edges : Edges, optional
        Letters for the four edges of the slice.

    Returns
    -------
    numpy.ndarray
        uint8, shape (rows, columns, 3), RGB; both sizes are even.
    """
    plain = draw_brain_window(hu, spacing_mm).convert("RGB")
    unit = max(plain.size) / _SIDE
    height = _HEAD + plain.height / unit + 2 * MARGIN + _FOOT
    size = (round(length * unit) for length in (_WIDTH, height))
    picture = Image.new("RGB", tuple(length + length % 2 for length in size), GROUND)  # type: ignore[arg-type]
    canvas = Canvas(picture, unit)
    _draw_head(canvas, judgement, evidence)
    y = _HEAD + MARGIN + plain.height / unit / 2
    for number, image in enumerate((plain, overlaid(plain, evidence.heat))):
        middle = ((2 * number + 1) * _WIDTH / 4, y)
        draw_framed(canvas, image, edges or Edges(), flagged=False, middle=middle)
    _draw_foot(canvas, height)
    return np.asarray(picture)


def overlaid(plain: Image.Image, heat: np.ndarray) -> Image.Image:
    """A picture with colours over it.

    Parameters
    ----------
    plain : PIL.Image.Image
        RGB.
    heat : numpy.ndarray
        float32, 0 to 1, of the same field of view.
    """
    there = Image.fromarray(heat.astype(np.float32)).resize(plain.size, Image.Resampling.BILINEAR)
    under = np.asarray(plain, dtype=np.float32)
    return Image.fromarray(_blend(under, np.asarray(there)))


def _blend(under: np.ndarray, heat: np.ndarray) -> np.ndarray:
    steps = np.linspace(0, 1, len(_VIRIDIS))
    colour = np.stack([np.interp(heat, steps, channel) for channel in _VIRIDIS.T], axis=-1)
    above = np.clip((heat - _PLAIN_BELOW) / (1 - _PLAIN_BELOW), 0, 1)
    density = (_DENSEST * np.sqrt(above))[..., None]
    return np.rint(under * (1 - density) + colour * density).astype(np.uint8)


def _draw_head(canvas: Canvas, judgement: Judgement, evidence: "Evidence") -> None:
    """The finding, its probability, the slice and the model."""
    right = _WIDTH - PAD
    item = judgement.slices[evidence.index]
    value = percent(judgement.probability(evidence.index, evidence.label))
    canvas.text(PAD, 10, f"{evidence.label.words} {value}", 30, room=_WIDTH / 2)
    place = f"Slice {evidence.index + 1} / {len(judgement.slices)}"
    canvas.text(right, 14, place, 26, anchor="ra")
    model = judgement.model
    name = f"Evidence map, {model.name} {model.version} {model.digest[:8]}"
    canvas.text(PAD, 52, name, SMALLEST, GREY, room=_WIDTH - 2 * PAD - 190)
    image = "" if item.instance_number is None else f"Image {item.instance_number}"
    canvas.text(right, 52, image, SMALLEST, GREY, anchor="ra")


def _draw_foot(canvas: Canvas, bottom: float) -> None:
    """The window, the colours, and what the picture is not."""
    left, right, y = _WIDTH / 2 + MARGIN, _WIDTH - MARGIN, bottom - _FOOT + 4
    canvas.text(MARGIN, y, f"W {BRAIN.width:g} L {BRAIN.level:g}", SMALLEST, GREY)
    canvas.text(left, y, "low", SMALLEST, GREY)
    canvas.text(right, y, "high", SMALLEST, GREY, anchor="ra")
    width = right - left - 120
    ramp = np.broadcast_to(
        np.linspace(0, 1, canvas.px(width), dtype=np.float32), (canvas.px(18), canvas.px(width))
    )
    under = np.full((*ramp.shape, 3), 110, dtype=np.float32)
    canvas.paste(Image.fromarray(_blend(under, ramp)), left + 55, y + 4)
    told = f"{NOT_A_SEGMENTATION} Scaled to this slice."
    canvas.text(PAD, bottom - 90, told, 24, room=_WIDTH - 2 * PAD)
    said = NOT_FOR_CLINICAL_USE.upper()
    canvas.banner(PAD, bottom - 50, _WIDTH - 2 * PAD, 34, said, YELLOW, 24)
