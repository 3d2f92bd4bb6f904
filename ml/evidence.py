"""Where on a slice the evidence for a finding lies: an aid to understanding the model.

The number that is explained is the one that is reported: the logit of a finding
on a slice after both stages, with the mirror image and the temperature where the
model has them. The slice is faded in from a blurred copy of itself, which has no
detail to bleed, and the gradient of that logit is summed up on the way: Integrated
Gradients. Their sum over all places is how much the logit differs between the slice
and its blurred copy, up to the error of a sum of a few steps, so that each place has
its share in it. A map shows the shares in cells of 1/32 of the slice, those that
raise the logit; places that lower it are cut off.

What a map is not:

- A segmentation. It shows what the model reacts to, right or wrong.
- A measure. It is scaled by its own maximum: two maps cannot be compared, and a
  map is as bright where there is little evidence as where there is much.
- The whole reason. Neighbouring slices take part in the logit; where they say the
  same, a slice may add little of its own. The map shows this slice alone.

Class activation maps of the last feature maps (Grad-CAM, HiResCAM) were tried first.
In networks that gate their channels by a mean over the whole slice, such as
MobileNetV3, a place of these maps knows of all others: on phantoms the strongest
place was mostly not at the bleed.

References
----------
M. Sundararajan, A. Taly, Q. Yan: "Axiomatic Attribution for Deep Networks" (2017).
R. L. Draelos, L. Carin: "Use HiResCAM instead of Grad-CAM for faithful explanations
of convolutional neural networks" (2020, arXiv:2011.08891).
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn.functional import interpolate

from ml.describe import Described, onto_slice
from ml.detector import Detector
from ml.errors import IchnodeError
from ml.labels import LABELS, Label

MOST_SLICES = 12
"""No more slices of a series are explained, as each takes much longer than to judge one."""

STEPS = 4
"""Between the blurred slice and the slice itself; with 8 the maps are hardly better."""

CELLS = 32
"""Of a map, along each side of what the network sees."""

_BLURRED = 4
"""Values that a blurred slice has along each side."""

_ROUNDING = 1e-5
"""Less is no detail of a window but what resizing leaves, and is not to fill a map."""


@dataclass(frozen=True)
class Evidence:
    """Where on a slice the evidence for a finding lies.

    Parameters
    ----------
    index : int
        Of the slice, from 0 at the foot.
    label : Label
        The finding.
    heat : numpy.ndarray
        float32, shape (rows, columns) of the slice: from 0 for none to 1 where it is
        strongest; 0 everywhere if no place speaks for the finding.
    """

    index: int
    label: Label
    heat: np.ndarray


def worth_explaining(
    probabilities: np.ndarray, thresholds: Mapping[Label, float], most: int = MOST_SLICES
) -> tuple[tuple[int, Label], ...]:
    """The flagged slices, each with the finding to explain.

    That is the subtype whose logit is furthest above that of its threshold, and
    ``any`` only where no subtype is flagged.

    Parameters
    ----------
    probabilities : numpy.ndarray
        Shape (n, 6), columns as `ml.labels.LABELS`.
    thresholds : mapping of Label to float
        From which on a finding is flagged.
    most : int
        If more are flagged, the likeliest to have any hemorrhage.

    Returns
    -------
    tuple of (int, Label)
        From foot to head.
    """
    chosen: dict[int, Label] = {}
    for index, row in enumerate(probabilities):
        above = {
            label: _logit(p) - _logit(thresholds[label])
            for label, p in zip(LABELS, row, strict=True)
            if p >= thresholds[label]
        }
        if above:
            chosen[index] = max(above, key=lambda label: (label is not Label.ANY, above[label]))
    any_column = probabilities[:, LABELS.index(Label.ANY)]
    likeliest = sorted(chosen, key=lambda index: -any_column[index])[:most]
    return tuple((index, chosen[index]) for index in sorted(likeliest))


def _logit(probability: float) -> float:
    """Of 0 and 1 too, which rounding and thresholds may be."""
    kept = min(max(float(probability), 1e-9), 1 - 1e-9)
    return math.log(kept / (1 - kept))


def explain(
    detector: Detector,
    hu: np.ndarray,
    described: Described,
    wanted: Sequence[tuple[int, Label]],
    progress: Callable[[int], None] | None = None,
) -> tuple[Evidence, ...]:
    """Find the evidence for findings on some slices of a series.

    Parameters
    ----------
    detector : Detector
        The model that judged the series; nothing of it is changed.
    hu : numpy.ndarray
        int16, shape (n, rows, columns), HU, foot to head.
    described : Described
        What stage 1 says of the series (`Detector.describe`).
    wanted : sequence of (int, Label)
        Slices and findings (`worth_explaining`).
    progress : callable, optional
        Called with the number of maps done so far.

    Raises
    ------
    IchnodeError
        If a map has a value that is not a number.
    """
    found = []
    for done, (index, label) in enumerate(wanted, start=1):
        shares = attributions(detector, hu[index], described, index, label)
        if not shares.isfinite().all():
            raise IchnodeError(f"the evidence on slice {index + 1} is not a number")
        heat = _heat(shares, *hu.shape[1:]).cpu().numpy()
        found.append(Evidence(index, label, heat))
        if progress is not None:
            progress(done)
    return tuple(found)


def attributions(
    detector: Detector, hu: np.ndarray, described: Described, index: int, label: Label
) -> torch.Tensor:
    """The share of each place of a slice in the logit of a finding.

    Parameters
    ----------
    detector : Detector
        The model that judged the series.
    hu : numpy.ndarray
        int16, shape (rows, columns), HU: the slice.
    described : Described
        What stage 1 says of the series.
    index : int
        Of the slice in the series.
    label : Label
        The finding.

    Returns
    -------
    torch.Tensor
        Shape (height, width) of what the network sees.
    """
    # Copies: what was computed without gradients cannot take part in finding one.
    series = Described(described.logits.clone(), described.features.clone())
    windowed = detector.window(hu[None])
    start = blurred(windowed)
    detail = windowed - start
    detail[detail.abs() < _ROUNDING] = 0
    gradients = torch.zeros_like(windowed)
    for step in range(STEPS):
        part = (start + detail * (step + 0.5) / STEPS).requires_grad_()
        with torch.enable_grad():
            here = detector.describe_windowed(part)
            replaced = Described(
                _with_row(series.logits, index, here.logits),
                _with_row(series.features, index, here.features),
            )
            # cuDNN's recurrent layers have no gradient in evaluation mode.
            with torch.backends.cudnn.flags(enabled=False):
                logit = detector.logits(replaced)[index, LABELS.index(label)]
            gradients += torch.autograd.grad(logit, part)[0] / STEPS
    return (gradients * detail).sum(dim=1)[0]


def blurred(windowed: torch.Tensor) -> torch.Tensor:
    """Slices without detail, shape as given: (n, channels, height, width)."""
    coarse = interpolate(
        windowed, size=(_BLURRED, _BLURRED), mode="bilinear", align_corners=False, antialias=True
    )
    return interpolate(coarse, size=windowed.shape[-2:], mode="bilinear", align_corners=False)


def _heat(shares: torch.Tensor, rows: int, columns: int) -> torch.Tensor:
    """A map of the slice from the shares of places, 0 to 1."""
    cells = interpolate(
        shares[None, None],
        size=(CELLS, CELLS),
        mode="bilinear",
        align_corners=False,
        antialias=True,
    )[0]
    heat = onto_slice(cells.relu(), rows, columns)[0]
    peak = heat.max()
    return heat / peak if peak > 0 else heat


def _with_row(rows: torch.Tensor, index: int, row: torch.Tensor) -> torch.Tensor:
    return torch.cat([rows[:index], row, rows[index + 1 :]])
