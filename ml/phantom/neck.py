"""Below the skull: neck, jaw, spine, airway. None of it bleeds, all of it is scanned at times."""

import math

import numpy as np

from ml.phantom.anatomy import AIR_HU, CSF_HU, Anatomy
from ml.phantom.grid import Array, Grid, blend, ramp


def neck_depth(at: tuple[Array, Array, Array], rng: np.random.Generator) -> Array:
    """Depth below the skin of the neck, mm; negative outside."""
    x, y, z = at
    wide, deep, middle = rng.uniform(50, 68), rng.uniform(55, 70), rng.uniform(10, 26)
    level = np.sqrt((x / wide) ** 2 + ((y - middle) / deep) ** 2)
    shoulders = 1 + 1.2 * ramp(-165 - z, 20)
    return np.minimum((shoulders - level) * min(wide, deep), -62 - z)


def draw_spine(grid: Grid, hu: Array, rng: np.random.Generator) -> None:
    """The foramen magnum and, below it, vertebrae around the canal."""
    box = grid.below(-66)
    x, y, z = grid.at(box)
    if not x.size:
        return
    part = hu[box]
    below = ramp(-70 - z, 3)
    canal = np.sqrt((x / 15) ** 2 + ((y - 34) / 16) ** 2)
    blend(part, grid.cover((1.6 - canal) * 15) * below, 950.0)
    disc = ramp(np.sin(z * (2 * math.pi / rng.uniform(16, 21)) + rng.uniform(0, 6)) + 0.6, 0.3)
    body = 1 - np.sqrt((x / rng.uniform(11, 15)) ** 2 + ((y - 9) / 11) ** 2)
    arms = np.minimum(9 - np.abs(y - 26), 32 - np.abs(x))
    spur = np.minimum(4 - np.abs(x), 16 - np.abs(y - 60))
    bony = np.maximum(np.maximum(body * 11, arms * 0.6), spur) + 2 * grid.waves(rng, 14, box, 16)
    blend(part, grid.cover(bony) * ramp(-88 - z, 4) * (0.25 + 0.75 * disc), rng.uniform(350, 900))
    blend(part, grid.cover((1 - canal) * 15) * below, CSF_HU)
    blend(part, grid.cover((0.6 - canal) * 15) * below, rng.uniform(30, 42))


def draw_jaw(grid: Grid, anatomy: Anatomy, hu: Array, rng: np.random.Generator) -> None:
    """Mandible, teeth and airway."""
    box = grid.below(-80)
    x, y, z = grid.at(box)
    if not x.size:
        return
    part = hu[box]
    front, length = -0.42 * anatomy.half_length, rng.uniform(46, 56)
    arch = np.sqrt((x / rng.uniform(42, 52)) ** 2 + ((y - front + 8) / length) ** 2)
    thick = rng.uniform(4, 7)
    bow = np.minimum(thick - np.abs(arch - 0.9) * 48, -5 - y)
    height = np.minimum(-88 - z, z + 132 + 0.15 * (y - front))
    mandible = np.minimum(bow, height)
    marrow = grid.cover(mandible - 2.2)
    blend(part, grid.cover(mandible), rng.uniform(1000, 1500))
    blend(part, marrow, rng.uniform(150, 600))
    teeth = np.minimum(np.minimum(bow, -28 - y), np.minimum(-92 - z, z + 112))
    crowns = ramp(np.sin(np.arctan2(x, -(y - front)) * rng.uniform(14, 20)) + 0.5, 0.4)
    blend(part, grid.cover(teeth) * crowns, rng.uniform(1500, 2800))
    half_width, half_depth = rng.uniform(6, 14), rng.uniform(4, 9)
    middle = rng.uniform(-16, -6)
    airway = (1 - np.sqrt((x / half_width) ** 2 + ((y - middle) / half_depth) ** 2)) * half_depth
    blend(part, grid.cover(airway) * ramp(-72 - z, 6), AIR_HU)
