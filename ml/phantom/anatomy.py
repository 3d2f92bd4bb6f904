"""What a head is while it is drawn: its measures, its maps, and its tissues."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ml.labels import Label
from ml.phantom.grid import Array, Grid

CSF_HU = 7.0
"""Cerebrospinal fluid, before what varies from head to head."""

BONE_HU = 1100.0
"""The walls of the orbits."""

FAT_HU = -95.0
"""Under the skin and in the orbits."""

AIR_HU = -1000.0
"""Around the head and in its sinuses."""


@dataclass(frozen=True)
class Anatomy:
    """What is drawn once for a head, mm and HU."""

    half_width: float
    half_length: float
    height: float
    skull: float
    scalp: float
    atrophy: float
    white: float
    contrast: float
    midline: float
    swelling: float
    side: int


@dataclass
class Head:
    """A head while it is drawn.

    Parameters
    ----------
    hu : numpy.ndarray
        float32, HU, shape of the grid.
    depth : numpy.ndarray
        Below the inner table, mm; negative in bone.
    brain, csf, ventricle : numpy.ndarray
        Cover, 0 to 1: of all that lies inside the dura, of sulci and cisterns,
        of the ventricles.
    blood : numpy.ndarray
        Cover of the bleeds so far; they do not overlap.
    """

    grid: Grid
    anatomy: Anatomy
    rng: np.random.Generator
    hu: Array
    depth: Array
    brain: Array
    csf: Array
    ventricle: Array
    blood: Array


def draw_anatomy(rng: np.random.Generator, wanted: Sequence[Label]) -> Anatomy:
    """Draw the measures of a head that is to have the `wanted` bleeds."""
    atrophy = rng.beta(1.3, 1.6)
    side = int(rng.choice([-1, 1]))
    extraaxial = Label.SUBDURAL in wanted or Label.EPIDURAL in wanted
    swelling = rng.uniform(0, 1) if extraaxial else 0.0
    return Anatomy(
        half_width=rng.uniform(62, 78),
        half_length=rng.uniform(80, 101),
        height=rng.uniform(76, 94),
        skull=rng.uniform(3.5, 10.5),
        scalp=rng.uniform(3, 10),
        atrophy=atrophy,
        white=rng.uniform(23, 31),
        contrast=rng.uniform(5, 12),
        midline=-side * swelling * rng.uniform(0, 7) + rng.normal(0, 0.7),
        swelling=swelling,
        side=side,
    )
