"""What is counted of a series, and in which bins.

Bins of numbers are fine and fixed, so that days can be added up; a comparison joins them
(`node.drift.compare`). They are named by their lower edge: a later node that takes others
still reads what was counted.
"""

import math
from bisect import bisect_right
from dataclasses import dataclass

from ml.labels import SUBTYPES, Label
from node.ledger import TraitCount

UNSAID = ""
"""The bin of series that do not say it."""

FARTHEST = 1e9
"""A number that lies farther from 0 is none: the sum of many has to be one."""

LONGEST = 96
"""Characters of a word that a header says, as many as the ledger keeps."""


@dataclass(frozen=True)
class Trait:
    """Something that a model may be sensitive to, or that it says.

    Parameters
    ----------
    name : str
        In the ledger and in metrics.
    words : str
        For people.
    unit : str
    edges : tuple of float
        Lower edges of its bins; empty for a word.
    digits : int
        How many behind the point are shown.
    """

    name: str
    words: str
    unit: str = ""
    edges: tuple[float, ...] = ()
    digits: int = 1

    @property
    def is_number(self) -> bool:
        """Whether its bins have an order."""
        return bool(self.edges)

    def count(self, value: float | str | None) -> TraitCount:
        """Count a value; None is none, as is a number that is none."""
        if self.is_number:
            if not isinstance(value, (int, float)) or not abs(value) <= FARTHEST:
                return TraitCount(self.name, UNSAID)
            at = bisect_right(self.edges, value) - 1
            lower = -math.inf if at < 0 else self.edges[at]
            return TraitCount(self.name, f"{lower:.6g}", float(value))
        word = " ".join(str(value or "").split())
        # PostgreSQL takes no NUL, and nobody has to read what cannot be printed.
        return TraitCount(self.name, "".join(c for c in word if c.isprintable())[:LONGEST])


def _steps(first: float, last: float, step: float) -> tuple[float, ...]:
    count = round((last - first) / step)
    return tuple(round(first + step * k, 6) for k in range(count + 1))


_COUNTS = (*range(32), *range(32, 64, 2), *range(64, 128, 4), *range(128, 512, 16), 512, 1024)

SLICES = Trait("slices", "Slices", edges=_COUNTS, digits=0)
SPACING = Trait("spacing_mm", "Distance of slices", "mm", _steps(0, 10, 0.125))
THICKNESS = Trait("slice_thickness_mm", "Slice thickness", "mm", _steps(0, 10, 0.125))
PIXEL = Trait("pixel_spacing_mm", "Size of a pixel", "mm", _steps(0.2, 1.2, 0.02), digits=2)
SOFT_MEAN = Trait("soft_tissue_hu", "Soft tissue, mean", "HU", _steps(-10, 80, 1))
SOFT_DEVIATION = Trait(
    "soft_tissue_deviation_hu", "Soft tissue, standard deviation", "HU", _steps(0, 40, 0.5)
)
BONE = Trait("bone_share", "Bone, part of the body", edges=_steps(0, 0.6, 0.01), digits=2)
KVP = Trait("kvp", "Tube voltage (kVp)")
KERNEL = Trait("kernel", "Kernel")
SCANNER = Trait("scanner", "Manufacturer and model")

INPUTS = (
    SLICES,
    SPACING,
    THICKNESS,
    PIXEL,
    SOFT_MEAN,
    SOFT_DEVIATION,
    BONE,
    KVP,
    KERNEL,
    SCANNER,
)
"""Of the series: what a model that has learned from other series may not know."""

_LOW = (0, 0.001, 0.002, 0.005, 0.01, 0.02)
_PROBABILITIES = (*_LOW, *_steps(0.05, 0.95, 0.05), 0.98, 0.99, 0.995, 0.998, 0.999)
"""Models are sure of most series: so the bins are finer at both ends."""

MAXIMA = {
    label: Trait(f"maximum_{label.value}", f"Highest: {label.words}", "", _PROBABILITIES, 3)
    for label in (Label.ANY, *SUBTYPES)
}
FLAGGED = Trait("flagged", "Flagged")
"""Whether the operating point calls any finding present."""

YES, NO = "yes", "no"

OUTPUTS = (*MAXIMA.values(), FLAGGED)
"""What a model says of a series."""
