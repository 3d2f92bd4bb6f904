"""Grey-scale windows on Hounsfield units.

References
----------
Level and width of the three channels: "Slice-level Detection of Intracranial
Hemorrhage on CT Using Deep Descriptors of Adjacent Slices", pre-processing.
The linear function: DICOM PS3.3, C.11.2.1.3.2 ("LINEAR_EXACT").
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np

if TYPE_CHECKING:  # what draws a slice needs no network
    import torch

Array = TypeVar("Array", np.ndarray, "torch.Tensor")


@dataclass(frozen=True)
class Window:
    """A linear window.

    Parameters
    ----------
    name : str
        What radiologists call it.
    level, width : float
        Centre and full width in HU.
    """

    name: str
    level: float
    width: float

    def apply(self, hu: Array) -> Array:
        """Map HU to [0, 1]: the window's lower edge to 0, the upper one to 1.

        Parameters
        ----------
        hu : numpy.ndarray or torch.Tensor
            Floating point values in HU, any shape.
        """
        return ((hu - (self.level - self.width / 2)) / self.width).clip(0, 1)


BRAIN = Window("brain", 40, 80)
SUBDURAL = Window("subdural", 75, 215)
BONE = Window("bone", 600, 2800)
PAPER_WINDOWS: tuple[Window, ...] = (BRAIN, SUBDURAL, BONE)
