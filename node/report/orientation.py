"""Which side of the patient an edge of a slice shows.

References
----------
Patient Orientation (0020,0020): DICOM PS3.3, C.7.6.1.1.1. The patient's axes:
+x to the left, +y to the back, +z to the head (C.7.6.2.1.1).
"""

from collections.abc import Sequence
from dataclasses import dataclass

_AXES = (("L", "R"), ("P", "A"), ("H", "F"))

_LEAST_COSINE = 0.5
"""An axis is named if it lies within 60 degrees of the direction.

A gantry tilt of 20 degrees then still reads P, an oblique of 45 degrees LP. The
longest component of a direction is at least 0.57, so that one is always named.
"""


def letters(direction: Sequence[float]) -> str:
    """Name a direction in the patient, the nearest axis first.

    Parameters
    ----------
    direction : sequence of 3 float
        Direction cosines.
    """
    named = sorted(
        (-abs(cosine), axis[int(cosine < 0)])
        for cosine, axis in zip(direction, _AXES, strict=True)
        if abs(cosine) >= _LEAST_COSINE
    )
    return "".join(letter for _, letter in named)


@dataclass(frozen=True)
class Edges:
    """What the four edges of a slice show, empty where it is not known."""

    left: str = ""
    right: str = ""
    top: str = ""
    bottom: str = ""

    @classmethod
    def of(cls, orientation: Sequence[float]) -> "Edges":
        """The edges of a slice.

        Parameters
        ----------
        orientation : sequence of 6 float
            Image Orientation (Patient): directions of a row and of a column.
        """
        row, column = list(orientation[:3]), list(orientation[3:])
        return cls(
            left=letters([-c for c in row]),
            right=letters(row),
            top=letters([-c for c in column]),
            bottom=letters(column),
        )
