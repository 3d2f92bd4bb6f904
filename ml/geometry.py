"""Where slices lie in the patient, and their order from foot to head.

References
----------
Image Plane Module: DICOM PS3.3, C.7.6.2. The patient's axes: +x to the left,
+y to the back, +z to the head (C.7.6.2.1.1).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

POSITION_TOLERANCE_MM = 0.01
"""Closer than this along the normal, two slices share a position."""

ORIENTATION_TOLERANCE = 0.01
"""Largest difference of a direction cosine between slices of one stack."""

GAP_RATIO = 1.5
"""A step longer than this many typical steps is a gap."""


@dataclass(frozen=True)
class ImagePlane:
    """The plane of a slice.

    Parameters
    ----------
    position : tuple of 3 float
        Image Position (Patient), mm.
    orientation : tuple of 6 float
        Image Orientation (Patient), direction cosines of a row and a column.
    """

    position: tuple[float, float, float]
    orientation: tuple[float, float, float, float, float, float]

    @property
    def normal(self) -> np.ndarray:
        """Unit normal of the plane, shape (3,), turned towards the head."""
        row, column = np.array(self.orientation[:3]), np.array(self.orientation[3:])
        normal = np.cross(row, column)
        length = float(np.linalg.norm(normal))
        if not 0.9 < length < 1.1:
            return np.full(3, np.nan)
        return normal / length * (-1.0 if normal[2] < 0 else 1.0)

    @property
    def tilt_deg(self) -> float:
        """Angle between the plane's normal and the patient's axis, degrees."""
        return float(np.degrees(np.arccos(np.clip(self.normal[2], -1, 1))))

    def is_usable(self) -> bool:
        """Whether every number is finite and the cosines span a plane."""
        return bool(np.isfinite([*self.position, *self.normal]).all())

    def is_parallel(self, other: "ImagePlane") -> bool:
        """Whether both planes have the same orientation."""
        difference = np.subtract(self.orientation, other.orientation)
        return bool(np.abs(difference).max() <= ORIENTATION_TOLERANCE)

    def along(self, normal: np.ndarray) -> float:
        """Position along a normal, mm, growing towards the head."""
        return float(np.dot(self.position, normal))


@dataclass(frozen=True)
class Spacing:
    """How the positions of a stack follow each other.

    Parameters
    ----------
    typical_mm : float
        Median step between neighbours that do not share a position.
    least_mm, most_mm : float
        Shortest and longest such step.
    shared : int
        Slices that lie where the one before them lies.
    """

    typical_mm: float
    least_mm: float
    most_mm: float
    shared: int

    @classmethod
    def of(cls, positions_mm: Sequence[float]) -> "Spacing":
        """Measure a stack.

        Parameters
        ----------
        positions_mm : sequence of float
            Sorted, one for each slice.
        """
        steps = np.diff(np.asarray(positions_mm, dtype=float))
        apart = steps[steps > POSITION_TOLERANCE_MM]
        shared = int(len(steps) - len(apart))
        if len(apart) == 0:
            return cls(0.0, 0.0, 0.0, shared)
        return cls(float(np.median(apart)), float(apart.min()), float(apart.max()), shared)

    @property
    def is_even(self) -> bool:
        """Whether no step differs from the typical one by more than a tenth."""
        slack = 0.1 * self.typical_mm
        return (
            self.shared == 0
            and self.typical_mm > 0
            and self.most_mm - self.typical_mm <= slack
            and self.typical_mm - self.least_mm <= slack
        )

    @property
    def has_gap(self) -> bool:
        """Whether a step is so long that a slice seems to be missing."""
        return self.most_mm > GAP_RATIO * self.typical_mm
