"""What comes out: the slices, their labels, and where they lie."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ml.labels import Label
from ml.phantom.grid import Point


@dataclass(frozen=True)
class Finding:
    """A bleed that was placed.

    Parameters
    ----------
    label : Label
        Its kind.
    hu : float
        Attenuation, HU.
    volume_ml : float
        Volume in the scanned slices, ml.
    """

    label: Label
    hu: float
    volume_ml: float


@dataclass(frozen=True)
class Phantom:
    """A synthetic head CT, slices from foot to head.

    Parameters
    ----------
    seed : int
        What it was drawn from.
    hu : numpy.ndarray
        int16, shape (n, rows, columns), HU.
    labels : numpy.ndarray
        uint8, shape (n, 6), columns as `ml.labels.LABELS`; ``any`` is the
        maximum of the others.
    findings : tuple of Finding
        The bleeds, empty in a negative head.
    positions_mm : tuple of float
        Of each slice along the normal, growing.
    image_positions_mm : tuple of tuple of 3 float
        Image Position (Patient) of each slice, mm.
    orientation : tuple of 6 float
        Image Orientation (Patient).
    pixel_spacing_mm : float
        Between rows and between columns.
    spacing_mm, thickness_mm : float
        Between neighbouring slices along the normal; through one slice.
    tilt_deg : float
        Gantry tilt, degrees.
    kernel : str
        ``smooth``, ``standard`` or ``sharp``.
    key : str
        Names the seed and the arguments; unique identifiers come from it.
    """

    seed: int
    hu: NDArray[np.int16] = field(repr=False)
    labels: NDArray[np.uint8] = field(repr=False)
    findings: tuple[Finding, ...]
    positions_mm: tuple[float, ...] = field(repr=False)
    image_positions_mm: tuple[Point, ...] = field(repr=False)
    orientation: tuple[float, float, float, float, float, float]
    pixel_spacing_mm: float
    spacing_mm: float
    thickness_mm: float
    tilt_deg: float
    kernel: str
    key: str

    def __len__(self) -> int:
        return len(self.hu)
