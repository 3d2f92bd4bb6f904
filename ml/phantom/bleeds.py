"""The bleeds: which a head has, what each kind looks like, and where it can be seen."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ml.labels import Label
from ml.phantom.anatomy import Head
from ml.phantom.grid import (
    SUBSLICES,
    Array,
    Box,
    Point,
    bell,
    blend,
    ellipsoid,
    ramp,
    through_thickness,
)
from ml.phantom.result import Finding

VISIBLE_HU = 8.0
"""A bleed counts where it raises a slice by at least this much before noise, HU."""

VISIBLE_MM2 = 30.0
"""A slice is labelled where a bleed counts on at least this area, mm^2."""

_FREQUENCY = {
    Label.EPIDURAL: 0.16,
    Label.INTRAPARENCHYMAL: 0.24,
    Label.INTRAVENTRICULAR: 0.16,
    Label.SUBARACHNOID: 0.22,
    Label.SUBDURAL: 0.22,
}
"""How often each finding is drawn; not how often it is in life."""


def draw_findings(rng: np.random.Generator) -> tuple[Label, ...]:
    """Draw which bleeds a head has; about half of all heads have none."""
    if rng.random() < 0.5:
        return ()
    count = int(rng.choice([1, 2, 3], p=[0.6, 0.3, 0.1]))
    kinds = list(_FREQUENCY)
    chosen = rng.choice(len(kinds), size=count, replace=False, p=list(_FREQUENCY.values()))
    return tuple(kinds[i] for i in sorted(chosen))


@dataclass(frozen=True)
class _Bleed:
    """Where a bleed lies: its box and how much of each sample it fills."""

    box: Box
    cover: Array


def _epidural(head: Head, size: float) -> _Bleed:
    """A lens between bone and dura: sharp, bulging inwards, on one side."""
    grid, a, rng = head.grid, head.anatomy, head.rng
    direction = _towards(a.side, rng.uniform(-65, 65), rng.uniform(-15, 50))
    centre = _inner_table(head, direction)
    normal = direction / np.array([a.half_width, a.half_length, a.height]) ** 2 * a.half_width**2
    normal = normal / np.linalg.norm(normal)
    thick, long = 7 + 19 * size, 18 + 26 * size
    box = grid.box((float(centre[0]), float(centre[1]), float(centre[2])), long + 2)
    x, y, z = grid.at(box)
    dx, dy, dz = x - float(centre[0]), y - float(centre[1]), z - float(centre[2])
    along = dx * float(normal[0]) + dy * float(normal[1]) + dz * float(normal[2])
    across = np.maximum(dx * dx + dy * dy + dz * dz - along * along, 0)
    inside = (1 - np.sqrt((along / thick) ** 2 + across / long**2)) * thick
    return _Bleed(box, grid.cover(inside) * head.brain[box])


def _subdural(head: Head, size: float) -> _Bleed:
    """A crescent along the convexity of one side, or a band along the falx."""
    grid, a, rng = head.grid, head.anatomy, head.rng
    x, y, z = grid.x, grid.y, grid.z
    box = grid.everywhere
    thick = 3.5 + 9.5 * size
    if rng.random() < 0.15:
        bend = a.midline * np.clip(1 - (y / a.half_length) ** 2, 0, 1)
        off = (x - bend) * a.side
        low, high = sorted(rng.uniform(-0.75, 0.8, size=2) * a.half_length)
        middle, span = (low + high) / 2, max((high - low) / 2, 22.0)
        level = np.clip(1 - ((y - middle) / span) ** 2 - ((z - 38) / 34) ** 2, 0, 1)
        band = np.minimum(off, 0.5 * thick * np.sqrt(level) - off) * (level > 0)
        return _Bleed(box, grid.cover(band) * (band > -1) * (level > 0) * head.brain)
    pole = [float(c) for c in _towards(a.side, rng.uniform(-50, 50), rng.uniform(5, 50))]
    radius = np.sqrt(x * x + y * y + z * z) + 1e-3
    cosine = (x * pole[0] + y * pole[1] + z * pole[2]) / radius
    reach = math.cos(math.radians(rng.uniform(32, 52) + 24 * size))
    taper = np.sqrt(np.clip((cosine - reach) / (1 - reach), 0, 1))
    ripple = 1 + 0.12 * grid.waves(rng, 45, count=12)
    inside = thick * np.minimum(1.25 * taper, 1) * ripple - head.depth
    cover = grid.cover(inside) * (taper > 0) * ramp(x * a.side - 3, 2) * head.brain
    return _Bleed(box, cover)


def _subarachnoid(head: Head, size: float) -> _Bleed:
    """Blood in the sulci of a region, or in the basal cisterns and fissures."""
    grid, rng = head.grid, head.rng
    if rng.random() < 0.55:
        centre: Point = (rng.normal(0, 12), rng.uniform(-14, 8), -22.0)
        radius = 30 + 32 * size
    else:
        side = int(rng.choice([-1, 1]))
        way = _towards(side, rng.uniform(-65, 65), rng.uniform(-5, 60))
        place = _inner_table(head, way) * 0.92
        centre = (float(place[0]), float(place[1]), float(place[2]))
        radius = 20 + 24 * size
    box = grid.box(centre, radius * 1.3)
    inside = ellipsoid(grid.at(box), centre, (radius, radius, radius))
    inside += 0.2 * radius * grid.waves(rng, radius, box, 24)
    # Blood stains the brain's edge too: a sulcus with blood looks wider than one without.
    stained = np.clip(ndimage.gaussian_filter(head.csf[box], (0, 0.7, 0.7)) * 1.5, 0, 1)
    return _Bleed(box, grid.cover(inside, 8.0) * stained * head.brain[box] * (0.6 + 0.4 * size))


def _intraventricular(head: Head, size: float) -> _Bleed:
    """Blood settling in the occipital horns, or a cast of one or more ventricles."""
    grid, rng = head.grid, head.rng
    box = grid.box((0, 10, 0), 75)
    x, y, z = grid.at(box)
    kind = rng.random()
    if kind < 0.45:
        level = 44 - 26 * size
        filled = grid.cover(y - level + 0.15 * z, 2.0) * ramp(z + 14, 3)
        if rng.random() < 0.4:
            filled *= ramp(x * int(rng.choice([-1, 1])), 1)
    elif kind < 0.8:
        side = int(rng.choice([-1, 1]))
        filled = ramp(x * side + 2, 2) * ramp(z + 24, 3)
        front = rng.uniform(-40, 15) * (1 - size) - 40 * size
        filled = filled * grid.cover(y - front, 4.0)
    else:
        filled = np.maximum(bell(x, 7), ramp(-z - 24, 4))
    clot = ramp(grid.waves(rng, 18, box, 24) + 1.0 + size, 0.7)
    return _Bleed(box, filled * clot * head.ventricle[box])


def _intraparenchymal(head: Head, size: float) -> _Bleed:
    """A clot in the brain with a rim of edema: deep, lobar, or in the posterior fossa."""
    grid, rng = head.grid, head.rng
    side = int(rng.choice([-1, 1]))
    place = rng.random()
    radius = 4.5 + 22 * size**1.3
    if place < 0.45:
        centre: Point = (
            side * rng.uniform(14, 30),
            rng.uniform(-18, 18),
            rng.uniform(-2, 18),
        )
    elif place < 0.85:
        way = _towards(side, rng.uniform(-75, 75), rng.uniform(-12, 60))
        reach = np.linalg.norm(_inner_table(head, way)) - radius * 0.8 - rng.uniform(2, 14)
        at = way * max(float(reach), 20.0)
        centre = (float(at[0]), float(at[1]), float(at[2]))
    else:
        centre = (
            side * rng.uniform(0, 32),
            rng.uniform(20, 58),
            rng.uniform(-60, -38),
        )
        radius = min(radius, 16.0)
    box = grid.box(centre, radius * 2.6)
    semi = (radius * rng.uniform(0.65, 1), radius * rng.uniform(0.8, 1.3), radius)
    inside = ellipsoid(grid.at(box), centre, semi, rng.uniform(-40, 40))
    inside += 0.17 * radius * grid.waves(rng, radius * 1.4, box, 24)
    inside += 0.07 * radius * grid.waves(rng, radius * 0.5 + 2, box, 24)
    rim = rng.uniform(0.05, 0.45) * radius + 1
    parenchyma = head.brain[box] * (1 - head.ventricle[box]) * grid.cover(head.depth[box] - 1)
    edema = grid.cover(inside + rim, 4.0) * parenchyma
    head.hu[box] -= edema * rng.uniform(2, 13)
    return _Bleed(box, grid.cover(inside) * parenchyma)


def _towards(side: int, azimuth_deg: float, up_deg: float) -> NDArray[np.float64]:
    """A unit vector from the centre: from the temple to the back, and upwards."""
    azimuth, up = math.radians(azimuth_deg), math.radians(up_deg)
    flat = math.cos(up)
    return np.array([side * math.cos(azimuth) * flat, math.sin(azimuth) * flat, math.sin(up)])


def _inner_table(head: Head, direction: NDArray[np.float64]) -> NDArray[np.float64]:
    """Where a ray from the centre meets the inner table, mm."""
    a = head.anatomy
    semi = np.array([a.half_width, a.half_length, a.height if direction[2] > 0 else 118.0])
    reach = 1 / float(np.linalg.norm(direction / semi)) - a.skull
    centre: NDArray[np.float64] = direction * reach
    return centre


_BLEEDS: dict[Label, Callable[[Head, float], _Bleed]] = {
    Label.EPIDURAL: _epidural,
    Label.INTRAPARENCHYMAL: _intraparenchymal,
    Label.INTRAVENTRICULAR: _intraventricular,
    Label.SUBARACHNOID: _subarachnoid,
    Label.SUBDURAL: _subdural,
}


def place_bleed(
    head: Head, label: Label, size: float, voxel_ml: float
) -> tuple[Finding, NDArray[np.bool_]]:
    """Draw a bleed and say on which slices it can be seen."""
    grid, rng = head.grid, head.rng
    bleed = _BLEEDS[label](head, size)
    cover = bleed.cover * (1 - head.blood[bleed.box])
    head.blood[bleed.box] += cover
    attenuation = float(rng.uniform(50, 68) + 14 * size * rng.random())
    mottle = rng.uniform(0.5, 4.5) * grid.waves(rng, rng.uniform(6, 20), bleed.box, 24)
    before = head.hu[bleed.box].copy()
    blend(head.hu[bleed.box], cover, attenuation + mottle)
    rise = through_thickness(head.hu[bleed.box] - before)
    area = np.count_nonzero(rise >= VISIBLE_HU, axis=(1, 2)) * grid.pixel_mm**2
    seen = np.zeros(grid.shape[0] // SUBSLICES, dtype=bool)
    first = bleed.box[0].start // SUBSLICES
    seen[first : first + len(area)] = area >= VISIBLE_MM2
    volume = float(cover.sum(dtype=np.float64)) / SUBSLICES * voxel_ml
    return Finding(label, round(attenuation, 1), round(volume, 2)), seen
