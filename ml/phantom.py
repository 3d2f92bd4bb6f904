"""Synthetic head CT with known bleeds: a pure function of a seed.

A phantom is for showing the way of a series through the node, for testing it,
and for training the model that ships with it. It is drawn in three steps: the
head (`_draw_head`), the bleeds (`_BLEEDS`), the scanner (`_scan`). Everything is
expressed in head coordinates in mm: x to the left, y to the back, z to the
head, the origin between the ventricles.
"""

import math
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from scipy import ndimage

from ml.labels import LABELS, SUBTYPES, Label

Array: TypeAlias = NDArray[np.floating[Any]]
Box: TypeAlias = tuple[slice, slice, slice]
Point: TypeAlias = tuple[float, float, float]

SUBSLICES = 2
"""Planes that are averaged through the thickness of a slice (partial volume)."""

VISIBLE_HU = 8.0
"""A bleed counts where it raises a slice by at least this much before noise, HU."""

VISIBLE_MM2 = 30.0
"""A slice is labelled where a bleed counts on at least this area, mm^2."""

CSF_HU = 7.0
BONE_HU = 1100.0
FAT_HU = -95.0
AIR_HU = -1000.0

_FREQUENCY = {
    Label.EPIDURAL: 0.16,
    Label.INTRAPARENCHYMAL: 0.24,
    Label.INTRAVENTRICULAR: 0.16,
    Label.SUBARACHNOID: 0.22,
    Label.SUBDURAL: 0.22,
}
"""How often each finding is drawn; not how often it is in life."""


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


# -- geometry --------------------------------------------------------------


@dataclass(frozen=True)
class _Gantry:
    """Where the slices lie, in patient coordinates (mm)."""

    pixel_mm: float
    spacing_mm: float
    tilt_deg: float
    origins: tuple[Point, ...]
    orientation: tuple[float, float, float, float, float, float]


class _Grid:
    """The sample points: an affine map from (plane, row, column) to head coordinates.

    Parameters
    ----------
    step : numpy.ndarray
        Shape (3, 3); column a is the way in mm when index a grows by one.
    origin : numpy.ndarray
        Shape (3,), head coordinates of index (0, 0, 0), mm.
    shape : tuple of 3 int
        Planes, rows, columns.
    """

    def __init__(
        self, step: NDArray[np.float64], origin: NDArray[np.float64], shape: tuple[int, int, int]
    ) -> None:
        self.step, self.origin, self.shape = step, origin, shape
        self.inverse = np.linalg.inv(step)
        self.pixel_mm = float(np.linalg.norm(step[:, 2]))
        self.plane_mm = float(np.linalg.norm(step[:, 0]))
        index = [np.arange(n, dtype=np.float32) for n in shape]
        self.x, self.y, self.z = (
            (
                np.float32(origin[axis])
                + (index[0] * np.float32(step[axis, 0]))[:, None, None]
                + (index[1] * np.float32(step[axis, 1]))[None, :, None]
                + (index[2] * np.float32(step[axis, 2]))[None, None, :]
            )
            for axis in range(3)
        )

    @property
    def everywhere(self) -> Box:
        """The box of all sample points."""
        return (slice(0, self.shape[0]), slice(0, self.shape[1]), slice(0, self.shape[2]))

    def box(self, centre: Point, radius: float) -> Box:
        """The indices around a ball, whole slices along the first axis."""
        middle = self.inverse @ (np.asarray(centre) - self.origin)
        reach = radius * np.linalg.norm(self.inverse, axis=1) + 1
        limits = []
        for axis, (at, by, n) in enumerate(zip(middle, reach, self.shape, strict=True)):
            unit = SUBSLICES if axis == 0 else 1
            low = int(np.clip(math.floor((at - by) / unit) * unit, 0, n))
            high = int(np.clip(math.ceil((at + by) / unit) * unit, low, n))
            limits.append(slice(low, high))
        return (limits[0], limits[1], limits[2])

    def below(self, z_mm: float) -> Box:
        """The indices of all planes that reach below a height."""
        lowest = self.z.min(axis=(1, 2))
        planes = int(np.count_nonzero(lowest < z_mm))
        planes = min(math.ceil(planes / SUBSLICES) * SUBSLICES, self.shape[0])
        return (slice(0, planes), slice(0, self.shape[1]), slice(0, self.shape[2]))

    def at(self, box: Box) -> tuple[Array, Array, Array]:
        """Head coordinates of a box, mm."""
        return self.x[box], self.y[box], self.z[box]

    def cover(self, inside_mm: Array, edge_mm: float | None = None) -> Array:
        """How much of each sample lies inside a surface, from the depth below it in mm."""
        edge = max(self.pixel_mm, 0.8) if edge_mm is None else edge_mm
        return np.clip(inside_mm * np.float32(1 / edge) + np.float32(0.5), 0, 1)

    def waves(
        self,
        rng: np.random.Generator,
        wavelength_mm: float,
        box: Box | None = None,
        count: int = 40,
    ) -> Array:
        """A smooth random field of zero mean and unit variance.

        It is a sum of plane waves. Their phase is linear in the index, so each
        is an outer product, and the sum over all is one matrix product.
        """
        direction = rng.normal(size=(count, 3))
        direction /= np.linalg.norm(direction, axis=1, keepdims=True)
        frequency = 2 * np.pi / wavelength_mm * rng.uniform(0.7, 1.3, size=(count, 1))
        wave = direction * frequency
        phase = rng.uniform(0, 2 * np.pi, size=count) + wave @ self.origin
        per_index = wave @ self.step
        parts = []
        for axis, place in enumerate(self.everywhere if box is None else box):
            angle = np.outer(np.arange(place.start, place.stop), per_index[:, axis])
            parts.append(np.exp(1j * (angle + (phase if axis == 0 else 0))).astype(np.complex64))
        left = (parts[0][:, None, :] * parts[1][None]).reshape(-1, count)
        real = np.concatenate([left.real, -left.imag], axis=1)
        right = np.concatenate([parts[2].real, parts[2].imag], axis=1)
        total: Array = (real @ right.T) * np.float32(math.sqrt(2 / count))
        return total.reshape(len(parts[0]), len(parts[1]), len(parts[2]))


def _blend(hu: Array, cover: Array, value: Array | float) -> None:
    """Lay a tissue over what is there, in place."""
    hu += cover * (value - hu)


def _ellipsoid(
    at: tuple[Array, Array, Array], centre: Point, semi: Point, turn_deg: float = 0.0
) -> Array:
    """Depth below the surface of an ellipsoid turned about z, mm (approximate)."""
    dx, dy, dz = at[0] - centre[0], at[1] - centre[1], at[2] - centre[2]
    if turn_deg:
        cos, sin = math.cos(math.radians(turn_deg)), math.sin(math.radians(turn_deg))
        dx, dy = dx * cos + dy * sin, dy * cos - dx * sin
    level = np.sqrt((dx / semi[0]) ** 2 + (dy / semi[1]) ** 2 + (dz / semi[2]) ** 2)
    return (1 - level) * min(semi)


def _capsule(
    at: tuple[Array, Array, Array], start: Point, end: Point, radii: tuple[float, float]
) -> Array:
    """Depth below the surface of a tube whose radius changes along it, mm."""
    a, b = np.asarray(start), np.asarray(end)
    way = b - a
    along = sum((c - float(a[i])) * float(way[i]) for i, c in enumerate(at)) / float(way @ way)
    along = np.clip(along, 0, 1)
    squared = sum((c - float(a[i]) - along * float(way[i])) ** 2 for i, c in enumerate(at))
    return radii[0] + along * (radii[1] - radii[0]) - np.sqrt(squared)


def _bell(values: Array, width: float) -> Array:
    return np.exp(-((values * (1 / width)) ** 2))


def _step(values: Array, width: float) -> Array:
    return np.clip(values * (0.5 / width) + 0.5, 0, 1)


# -- the head --------------------------------------------------------------


@dataclass(frozen=True)
class _Anatomy:
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
class _Head:
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

    grid: _Grid
    anatomy: _Anatomy
    rng: np.random.Generator
    hu: Array
    depth: Array
    brain: Array
    csf: Array
    ventricle: Array
    blood: Array


def _draw_anatomy(rng: np.random.Generator, wanted: Sequence[Label]) -> _Anatomy:
    atrophy = rng.beta(1.3, 1.6)
    side = int(rng.choice([-1, 1]))
    extraaxial = Label.SUBDURAL in wanted or Label.EPIDURAL in wanted
    swelling = rng.uniform(0, 1) if extraaxial else 0.0
    return _Anatomy(
        half_width=rng.uniform(66, 76),
        half_length=rng.uniform(86, 99),
        height=rng.uniform(80, 92),
        skull=rng.uniform(4.5, 9.5),
        scalp=rng.uniform(4, 9),
        atrophy=atrophy,
        white=rng.uniform(23, 31),
        contrast=rng.uniform(5, 10),
        midline=-side * swelling * rng.uniform(0, 7) + rng.normal(0, 0.7),
        swelling=swelling,
        side=side,
    )


def _draw_head(grid: _Grid, anatomy: _Anatomy, rng: np.random.Generator) -> _Head:
    a = anatomy
    x, y, z = grid.x, grid.y, grid.z
    surface = _surface_depth(grid, a, rng)
    hu = np.full(grid.shape, AIR_HU, dtype=np.float32)

    # Skin, subcutaneous fat, muscle at the temples and the neck.
    low = grid.below(-15)
    outer = surface + a.scalp * (1 + 0.25 * grid.waves(rng, 90, count=12))
    face = _ellipsoid(grid.at(low), (0, -0.42 * a.half_length, -78), (60, 62, 80))
    outer[low] = np.maximum(outer[low], face)
    _blend(hu, grid.cover(outer), rng.uniform(20, 70))
    _blend(hu, grid.cover(outer - rng.uniform(1.8, 3.2)), FAT_HU)
    temples = _step(np.abs(x) - 0.55 * a.half_width, 6) * _step(5 - z, 12)
    _blend(hu, grid.cover(outer - 3.0) * temples, 55.0)
    _draw_face(grid, a, rng, hu, outer - 6)

    # The vault: two tables with the diploe between them.
    thickness = a.skull * (1 + 0.18 * grid.waves(rng, 70, count=16) + 0.25 * (y / a.half_length))
    thickness = np.maximum(thickness, 2.2)
    depth = surface - thickness
    above = grid.cover(surface) * grid.cover(1.0 - depth) * _step(z + 62 - 0.35 * y, 8)
    diploe = grid.cover(np.minimum(surface - 0.3 * thickness, -depth - 0.3 * thickness))
    marrow = rng.uniform(350, 800)
    bone = rng.uniform(900, 1500)
    _blend(hu, above, bone - (bone - marrow) * diploe)

    # The base: three fossae, one step lower each, with bone below them.
    floor = _base_height(grid.at(low)) + 2.5 * grid.waves(rng, 30, low, 24)
    over = (z[low] - floor) * np.float32(0.85)
    depth[low] = np.minimum(depth[low], over)
    # Thin over the orbits, thick at the back.
    behind = _step(grid.y[low] + 15 + 0.4 * np.abs(grid.x[low]), 5)
    plate = rng.uniform(1.8, 3) + behind * rng.uniform(2, 5)
    plate = grid.cover(surface[low] - 1) * grid.cover(over + plate, 2.0)
    porous = 750 + 260 * grid.waves(rng, 9, low)
    _blend(hu[low], plate * (depth[low] < 1), porous)
    _draw_air_cells(grid, a, rng, hu, surface)

    head = _Head(
        grid=grid,
        anatomy=a,
        rng=rng,
        hu=hu,
        depth=depth,
        brain=grid.cover(depth),
        csf=np.zeros(grid.shape, dtype=np.float32),
        ventricle=np.zeros(grid.shape, dtype=np.float32),
        blood=np.zeros(grid.shape, dtype=np.float32),
    )
    _draw_brain(head)
    return head


def _surface_depth(grid: _Grid, a: _Anatomy, rng: np.random.Generator) -> Array:
    """Depth below the outer table of the vault, mm."""
    x, y, z = grid.x, grid.y, grid.z
    wide = 1 + rng.uniform(0.02, 0.12) * (y / a.half_length)
    tall = np.where(z > 0, np.float32(1 / a.height), np.float32(1 / 118))
    level = np.sqrt((x / (a.half_width * wide)) ** 2 + (y / a.half_length) ** 2 + (z * tall) ** 2)
    radius = np.sqrt(x * x + y * y + z * z)
    depth: Array = radius / np.maximum(level, 1e-3) - radius
    depth += 1.3 * grid.waves(rng, 120, count=12)
    return depth


def _base_height(at: tuple[Array, Array, Array]) -> Array:
    """Height of the skull base under (or over) each point, mm."""
    x, y, _ = at
    lateral = np.abs(x)
    ridge = y - (2 + 0.45 * lateral)
    anterior = _step(-15 - 0.4 * lateral - y, 5)
    posterior = _step(ridge, 5)
    middle = 1 - anterior - posterior
    height = anterior * (-27 + 12 * _bell(lateral - 28, 16) + 0.12 * (y + 45))
    height += middle * (-47 + 16 * _bell(x, 15))
    height += posterior * (-76 + 0.006 * ((y - 38) ** 2 + x * x))
    petrous = 15 * _bell(ridge, 6) * _step(lateral - 14, 5)
    return height + petrous


def _draw_face(grid: _Grid, a: _Anatomy, rng: np.random.Generator, hu: Array, inner: Array) -> None:
    """Below the base: muscle, fat and bone at random, orbits, spine.

    Parameters
    ----------
    inner : numpy.ndarray
        Depth below the subcutaneous fat, mm.
    """
    low = grid.below(-15)
    _, y, z = grid.at(low)
    part, inside = hu[low], grid.cover(inner[low]) * _step(-30 - z + 0.25 * y, 10)
    muscle, bony = grid.waves(rng, 26, low), grid.waves(rng, 34, low)
    _blend(part, inside * _step(muscle + 0.3, 0.25), 58.0)
    _blend(part, inside * _step(0.13 - np.abs(bony), 0.08), 900.0)
    length = a.half_length
    for side in (-1, 1):
        box = grid.box((side * 33, -0.66 * length, -38), 30)
        at = grid.at(box)
        orbit = _ellipsoid(at, (side * 33, -0.65 * length, -38), (22, 27, 20))
        eye = _ellipsoid(at, (side * 33, -0.8 * length, -38), (12, 12, 12))
        nerve = _capsule(
            at, (side * 31, -0.66 * length, -38), (side * 14, -0.4 * length, -36), (2, 2)
        )
        for surface, value in (
            (orbit, BONE_HU),
            (orbit - 3, FAT_HU),
            (eye, 40.0),
            (eye - 1.5, 12.0),
            (nerve, 35.0),
        ):
            _blend(hu[box], grid.cover(surface), value)
    # The foramen magnum and the canal below it.
    box = grid.box((0, 38, -95), 45)
    at = grid.at(box)
    low_enough = _step(-70 - at[2], 3)
    canal = 1 - np.sqrt((at[0] / 15) ** 2 + ((at[1] - 34) / 16) ** 2)
    _blend(hu[box], grid.cover((canal + 0.65) * 15) * low_enough, 950.0)
    _blend(hu[box], grid.cover(canal * 15) * low_enough, CSF_HU)
    _blend(hu[box], grid.cover((canal - 0.4) * 15) * low_enough, 33.0)


def _draw_air_cells(
    grid: _Grid, a: _Anatomy, rng: np.random.Generator, hu: Array, surface: Array
) -> None:
    """Sinuses and mastoids: air in a thin wall of bone."""
    front = -0.78 * a.half_length
    cells: list[tuple[Point, Point, bool]] = [
        ((0, front + 14, -42), (13, 24, 17), True),  # ethmoid and nose
        ((0, -0.3 * a.half_length, -40), (12, 11, 9), False),  # sphenoid
    ]
    for side in (-1, 1):
        cells.append(((side * 30, front + 12, -72), (17, 18, 17), False))  # maxillary
        cells.append(((side * 0.78 * a.half_width, 22, -52), (11, 16, 18), True))  # mastoid
    if rng.random() < 0.8:
        middle = (rng.normal(0, 5), a.skull * 0.75 - a.half_length, -14.0)
        semi = (rng.uniform(12, 26), a.skull * 0.55, rng.uniform(8, 24))
        cells.append((middle, semi, False))  # frontal
    for centre, semi, honeycomb in cells:
        box = grid.box(centre, max(semi) + 3)
        if 0 in hu[box].shape:
            continue
        inside = np.minimum(_ellipsoid(grid.at(box), centre, semi), surface[box] - 1.5)
        _blend(hu[box], grid.cover(inside + 2), 800.0)
        air = grid.cover(inside)
        if honeycomb:
            air = air * _step(grid.waves(rng, 9, box) + 0.5, 0.4)
        _blend(hu[box], air, AIR_HU if rng.random() < 0.85 else 30.0)


def _draw_brain(head: _Head) -> None:
    grid, a, rng = head.grid, head.anatomy, head.rng
    x, y, z = grid.x, grid.y, grid.z
    gap = 0.4 + 3.0 * a.atrophy**2
    cortex = head.depth - gap
    swollen = 1 - 0.85 * a.swelling * _step(x * a.side - 2, 4)

    # Sulci are where a band-limited field vanishes: its zero set folds like gyri do.
    wavelength = rng.uniform(17, 25)
    fold = np.abs(grid.waves(rng, wavelength, count=64)) * np.float32(wavelength / (2 * math.pi))
    depth_of_sulci = rng.uniform(12, 20)
    reach = _step(depth_of_sulci - cortex, 5) * _step(z + 30 - 0.4 * y, 8)
    width = (0.4 + 2.0 * a.atrophy**1.4) * swollen
    sulci = grid.cover(width - fold) * reach * swollen
    ribbon = rng.uniform(2.2, 3.2)
    grey = np.maximum(
        grid.cover(ribbon - cortex, 2.0), grid.cover(ribbon + width - fold, 2.0) * reach
    )

    # The posterior fossa: cerebellum with its folia, brainstem.
    low = grid.below(0)
    xl, yl, zl = grid.at(low)
    tent = 2 - 0.32 * np.abs(xl) - 0.4 * (yl - 30)
    behind = _step(yl - (6 + 0.45 * np.abs(xl)), 3)
    cerebellum = grid.cover(tent - zl, 2.0) * behind
    folia = grid.waves(rng, 8, low) * 0.25 + 0.65
    grey[low] += cerebellum * (folia - grey[low])
    sulci[low] *= 1 - cerebellum
    _deep_grey(grid, grey)
    tissue = a.white + a.contrast * grey + 0.9 * grid.waves(rng, 40, count=16)
    # Beam hardening: bone brightens the brain next to it.
    tissue += rng.uniform(0, 9) * np.exp(np.minimum(-head.depth, 0) * (1 / 5.0))
    _leukoaraiosis(head, tissue)

    falx = _falx(head, sulci, swollen)
    # As wide as the step between planes, or a flat sheet would show up in stripes.
    sheet = _bell(tent - zl, 0.6 * grid.plane_mm)
    tentorium = sheet * behind * rng.uniform(0.1, 0.4)
    sulci = np.maximum(sulci, grid.cover(-cortex))
    _cisterns(head, sulci, swollen)
    head.csf = sulci * (head.depth > -1)
    _ventricles(head)
    head.csf *= 1 - head.ventricle

    _blend(tissue, np.maximum(head.csf, head.ventricle), CSF_HU + rng.uniform(-3, 3))
    dura = rng.uniform(46, 78)
    _blend(tissue, falx, dura)
    _blend(tissue[low], tentorium, dura)
    # Venous sinuses: blood that belongs there.
    for centre, radius in (
        ((a.midline, y_, z_), rng.uniform(2.5, 5))
        for y_, z_ in (
            (0.88 * a.half_length, 10.0),
            (0.86 * a.half_length, -8.0),
            (0.72 * a.half_length, 45.0),
        )
    ):
        box = grid.box(centre, 14)
        sinus = _ellipsoid(grid.at(box), centre, (radius, radius * 1.2, 12))
        _blend(tissue[box], grid.cover(sinus, 1.5), rng.uniform(45, 62))
    _calcifications(head, tissue)
    _blend(head.hu, head.brain, tissue)
    _petrous_streaks(head)


def _deep_grey(grid: _Grid, grey: Array) -> None:
    """Caudate, lentiform nucleus and thalamus on both sides."""
    nuclei: list[tuple[Point, Point, float]] = [
        ((13, -22, 8), (5, 9, 9), 0),
        ((25, -6, 4), (6.5, 15, 9), 15),
        ((11, 11, 5), (8, 12, 9), -25),
    ]
    for side in (-1, 1):
        for (cx, cy, cz), semi, turn in nuclei:
            box = grid.box((side * cx, cy, cz), max(semi) + 2)
            inside = _ellipsoid(grid.at(box), (side * cx, cy, cz), semi, side * turn)
            grey[box] = np.maximum(grey[box], 0.9 * grid.cover(inside, 4.0))


def _leukoaraiosis(head: _Head, tissue: Array) -> None:
    """Dark white matter of age or an old infarct: confounders without blood."""
    grid, rng = head.grid, head.rng
    spots = int(rng.integers(0, 3)) if rng.random() < 0.4 else 0
    for _ in range(spots):
        side = int(rng.choice([-1, 1]))
        centre = (
            side * rng.uniform(15, 50),
            rng.uniform(-45, 55),
            rng.uniform(0, 40),
        )
        radius = rng.uniform(6, 26)
        box = grid.box(centre, radius * 1.6)
        inside = _ellipsoid(grid.at(box), centre, (radius, radius * 1.2, radius))
        inside += 0.25 * radius * grid.waves(rng, radius * 1.5, box, 24)
        tissue[box] -= grid.cover(inside, 5.0) * rng.uniform(3, 15)


def _falx(head: _Head, sulci: Array, swollen: Array) -> Array:
    """The falx, and the cleft on both sides of it."""
    grid, a, rng = head.grid, head.anatomy, head.rng
    x, y, z = grid.x, grid.y, grid.z
    bend = a.midline * np.clip(1 - (y / a.half_length) ** 2, 0, 1)
    off = np.abs(x - bend)
    edge = np.sqrt(((y - 5) / (0.58 * a.half_length)) ** 2 + ((z - 2) / 38) ** 2)
    sheet = _step(edge - 1, 0.06) * _step(z + 18 - 0.1 * np.abs(y), 5)
    cleft = grid.cover(0.5 + 2.2 * a.atrophy * _step(-y, 30) - off) * sheet
    np.maximum(sulci, cleft * (0.4 + 0.6 * swollen), out=sulci)
    strength = rng.uniform(0.45, 1.0)
    thick = rng.uniform(0.4, 1.2)
    falx: Array = grid.cover(thick - off) * sheet * strength
    return falx


def _cisterns(head: _Head, sulci: Array, swollen: Array) -> None:
    grid, a, rng = head.grid, head.anatomy, head.rng
    wide = 0.75 + 0.7 * a.atrophy
    parts: list[tuple[Point, Point, float]] = [
        ((0, -9, -26), (14, 9 * wide, 7), 0),  # suprasellar
        ((0, -3, -44), (15, 3.5 * wide, 13), 0),  # prepontine
        ((0, 33, -14), (10, 4 * wide, 7), 0),  # quadrigeminal
        ((0, 62, -66), (14, 6 * wide, 8), 0),  # cisterna magna
    ]
    for side in (-1, 1):
        parts.append(((side * 41, -4, 2), (1.2 + 2.6 * a.atrophy, 20, 13), side * 12))  # insula
        parts.append(((side * 54, -12, 0), (13, 1.2 + 2.4 * a.atrophy, 11), side * 14))  # Sylvian
        parts.append(((side * 20, -12, -24), (14, 2.4 * wide, 5), side * 20))  # its stem
    for centre, semi, turn in parts:
        box = grid.box(centre, max(semi) + 2)
        jitter = rng.uniform(0.8, 1.2)
        inside = _ellipsoid(grid.at(box), centre, (semi[0] * jitter, semi[1], semi[2]), turn)
        cover = grid.cover(inside, 1.5) * swollen[box]
        np.maximum(sulci[box], cover, out=sulci[box])
    # Around the midbrain and pons: a shell.
    box = grid.box((0, 12, -26), 34)
    at = grid.at(box)
    stem = _ellipsoid(at, (0, 14, -36), (17, 15, 30))
    stem += 2.0 * grid.waves(rng, 32, box, 24)
    patchy = _step(grid.waves(rng, 26, box, 24) + 0.4, 0.5)
    shell = grid.cover(1.6 * wide - np.abs(stem), 1.2) * _step(at[2] + 44, 4) * patchy
    sulci[box] *= 1 - grid.cover(stem - 1)
    np.maximum(sulci[box], shell, out=sulci[box])


def _ventricles(head: _Head) -> None:
    grid, a, rng = head.grid, head.anatomy, head.rng
    size = rng.uniform(0.75, 1.1) + 0.85 * a.atrophy
    if rng.random() < 0.1:
        size *= rng.uniform(1.3, 1.9)  # hydrocephalus
    mid = a.midline

    def stamp(inside: Array, box: Box) -> None:
        np.maximum(head.ventricle[box], grid.cover(inside, 1.2), out=head.ventricle[box])

    tubes: list[tuple[Point, Point, tuple[float, float]]] = [
        ((13, -35, 6), (6.5, -14, 13), (3.6, 4.4)),
        ((6.5, -14, 13), (13, 17, 18), (4.4, 4.8)),
        ((13, 17, 18), (23, 31, 8), (4.8, 6.0)),
        ((23, 31, 8), (23, 54, 3), (5.0, 2.0)),
        ((23, 31, 8), (31, 2, -20), (3.0, 1.6)),
    ]
    for side in (-1, 1):
        squeezed = 1 - 0.55 * a.swelling * (side == a.side)
        one = size * squeezed * rng.uniform(0.88, 1.12)
        for start, end, radii in tubes:
            spread = 1 + 0.16 * (size - 1)
            s = (side * start[0] * spread + mid, start[1], start[2])
            e = (side * end[0] * spread + mid, end[1], end[2])
            centre = tuple((p + q) / 2 for p, q in zip(s, e, strict=True))
            box = grid.box((centre[0], centre[1], centre[2]), math.dist(s, e) / 2 + 16)
            stamp(_capsule(grid.at(box), s, e, (radii[0] * one, radii[1] * one)), box)
    box = grid.box((mid, 4, -1), 18)
    stamp(_ellipsoid(grid.at(box), (mid, 4, -1), (1.6 * size, 13, 10)), box)
    box = grid.box((0, 34, -42), 16)
    stamp(_ellipsoid(grid.at(box), (0, 34, -42), (6 * size, 4.5 * size, 9)), box)


def _calcifications(head: _Head, tissue: Array) -> None:
    """Plexus, pineal, falx, basal ganglia: bright and not blood."""
    grid, a, rng = head.grid, head.anatomy, head.rng
    spots: list[tuple[Point, float, float]] = []
    if rng.random() < 0.65:
        spots.append(((a.midline, 28, 1), rng.uniform(1.2, 3.5), rng.uniform(80, 400)))
    if rng.random() < 0.65:
        for side in (-1, 1):
            spots.append(
                (
                    (side * 23 + a.midline, 34 + rng.normal(0, 2), 9),
                    rng.uniform(1.5, 5),
                    rng.uniform(80, 500),
                )
            )
    if rng.random() < 0.35:
        spots.append(
            (
                (a.midline * 0.5, rng.uniform(-70, -40), rng.uniform(10, 50)),
                rng.uniform(1.5, 4),
                rng.uniform(150, 700),
            )
        )
    if rng.random() < 0.15:
        for side in (-1, 1):
            spots.append(((side * 20, -8, 4), rng.uniform(2, 5), rng.uniform(50, 130)))
    for centre, radius, value in spots:
        box = grid.box(centre, radius * 2)
        inside = _ellipsoid(grid.at(box), centre, (radius, radius * 1.2, radius))
        _blend(tissue[box], grid.cover(inside, 1.5), value)


def _petrous_streaks(head: _Head) -> None:
    """Dark and bright bands between the petrous bones."""
    grid, rng = head.grid, head.rng
    box = grid.box((0, 12, -46), 46)
    x, _, z = grid.at(box)
    bands = grid.waves(rng, 16, box, 10) * _bell(z + 46, 9) * _bell(x, 38)
    head.hu[box] += head.brain[box] * bands * rng.uniform(0, 8)


# -- the bleeds ------------------------------------------------------------


@dataclass(frozen=True)
class _Bleed:
    """Where a bleed lies: its box and how much of each sample it fills."""

    box: Box
    cover: Array


def _epidural(head: _Head, size: float) -> _Bleed:
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


def _towards(side: int, azimuth_deg: float, up_deg: float) -> NDArray[np.float64]:
    """A unit vector from the centre: from the temple to the back, and upwards."""
    azimuth, up = math.radians(azimuth_deg), math.radians(up_deg)
    flat = math.cos(up)
    return np.array([side * math.cos(azimuth) * flat, math.sin(azimuth) * flat, math.sin(up)])


def _inner_table(head: _Head, direction: NDArray[np.float64]) -> NDArray[np.float64]:
    """Where a ray from the centre meets the inner table, mm."""
    a = head.anatomy
    semi = np.array([a.half_width, a.half_length, a.height if direction[2] > 0 else 118.0])
    reach = 1 / float(np.linalg.norm(direction / semi)) - a.skull
    centre: NDArray[np.float64] = direction * reach
    return centre


def _subdural(head: _Head, size: float) -> _Bleed:
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
    cover = grid.cover(inside) * (taper > 0) * _step(x * a.side - 3, 2) * head.brain
    return _Bleed(box, cover)


def _subarachnoid(head: _Head, size: float) -> _Bleed:
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
    inside = _ellipsoid(grid.at(box), centre, (radius, radius, radius))
    inside += 0.2 * radius * grid.waves(rng, radius, box, 24)
    # Blood stains the brain's edge too: a sulcus with blood looks wider than one without.
    stained = np.clip(ndimage.gaussian_filter(head.csf[box], (0, 0.7, 0.7)) * 1.5, 0, 1)
    return _Bleed(box, grid.cover(inside, 8.0) * stained * head.brain[box] * (0.6 + 0.4 * size))


def _intraventricular(head: _Head, size: float) -> _Bleed:
    """Blood settling in the occipital horns, or a cast of one or more ventricles."""
    grid, rng = head.grid, head.rng
    box = grid.box((0, 10, 0), 75)
    x, y, z = grid.at(box)
    kind = rng.random()
    if kind < 0.45:
        level = 44 - 26 * size
        filled = grid.cover(y - level + 0.15 * z, 2.0) * _step(z + 14, 3)
        if rng.random() < 0.4:
            filled *= _step(x * int(rng.choice([-1, 1])), 1)
    elif kind < 0.8:
        side = int(rng.choice([-1, 1]))
        filled = _step(x * side + 2, 2) * _step(z + 24, 3)
        front = rng.uniform(-40, 15) * (1 - size) - 40 * size
        filled = filled * grid.cover(y - front, 4.0)
    else:
        filled = np.maximum(_bell(x, 7), _step(-z - 24, 4))
    clot = _step(grid.waves(rng, 18, box, 24) + 1.0 + size, 0.7)
    return _Bleed(box, filled * clot * head.ventricle[box])


def _intraparenchymal(head: _Head, size: float) -> _Bleed:
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
    inside = _ellipsoid(grid.at(box), centre, semi, rng.uniform(-40, 40))
    inside += 0.17 * radius * grid.waves(rng, radius * 1.4, box, 24)
    inside += 0.07 * radius * grid.waves(rng, radius * 0.5 + 2, box, 24)
    rim = rng.uniform(0.05, 0.45) * radius + 1
    parenchyma = head.brain[box] * (1 - head.ventricle[box]) * grid.cover(head.depth[box] - 1)
    edema = grid.cover(inside + rim, 4.0) * parenchyma
    head.hu[box] -= edema * rng.uniform(2, 13)
    return _Bleed(box, grid.cover(inside) * parenchyma)


_BLEEDS: dict[Label, Callable[[_Head, float], _Bleed]] = {
    Label.EPIDURAL: _epidural,
    Label.INTRAPARENCHYMAL: _intraparenchymal,
    Label.INTRAVENTRICULAR: _intraventricular,
    Label.SUBARACHNOID: _subarachnoid,
    Label.SUBDURAL: _subdural,
}


def _place(
    head: _Head, label: Label, size: float, voxel_ml: float
) -> tuple[Finding, NDArray[np.bool_]]:
    """Draw a bleed and say on which slices it can be seen."""
    grid, rng = head.grid, head.rng
    bleed = _BLEEDS[label](head, size)
    cover = bleed.cover * (1 - head.blood[bleed.box])
    head.blood[bleed.box] += cover
    attenuation = float(rng.uniform(50, 68) + 14 * size * rng.random())
    mottle = rng.uniform(0.5, 4.5) * grid.waves(rng, rng.uniform(6, 20), bleed.box, 24)
    before = head.hu[bleed.box].copy()
    _blend(head.hu[bleed.box], cover, attenuation + mottle)
    rise = _through_thickness(head.hu[bleed.box] - before)
    area = np.count_nonzero(rise >= VISIBLE_HU, axis=(1, 2)) * grid.pixel_mm**2
    seen = np.zeros(grid.shape[0] // SUBSLICES, dtype=bool)
    first = bleed.box[0].start // SUBSLICES
    seen[first : first + len(area)] = area >= VISIBLE_MM2
    volume = float(cover.sum(dtype=np.float64)) / SUBSLICES * voxel_ml
    return Finding(label, round(attenuation, 1), round(volume, 2)), seen


# -- the scanner -----------------------------------------------------------


def _through_thickness(planes: Array) -> Array:
    """Average the planes of each slice."""
    mean: Array = planes.reshape(-1, SUBSLICES, *planes.shape[1:]).mean(axis=1, dtype=np.float32)
    return mean


def _plan(rng: np.random.Generator, size: int, height: float) -> _Gantry:
    tilt = float(rng.choice([0.0, float(round(rng.uniform(-4, 20), 1))], p=[0.5, 0.5]))
    thick = rng.random() < 0.85
    spacing = round(float(rng.uniform(4.5, 7.0) if thick else rng.uniform(3.0, 4.5)), 2)
    pixel = round(rng.uniform(212, 265) / size, 6)
    cos, sin = math.cos(math.radians(tilt)), math.sin(math.radians(tilt))
    orientation = (1.0, 0.0, 0.0, 0.0, round(cos, 6), round(-sin, 6))
    top = height + rng.uniform(0, 12)
    bottom = rng.uniform(-92, -62)
    table = spacing / cos
    count = int(min(max((top - bottom) / table, 24), 44))
    half = pixel * (size - 1) / 2
    origins = tuple(
        (
            round(-half, 4),
            round(-half * cos, 4),
            # The middle of the image, not its first row, climbs from bottom to top.
            round(top - (count - 1 - k) * table + half * sin, 4),
        )
        for k in range(count)
    )
    return _Gantry(pixel, spacing, tilt, origins, orientation)


def _sample(gantry: _Gantry, ratio: int, size: int, rng: np.random.Generator) -> _Grid:
    """Sample points in head coordinates: the head lies turned and shifted in the gantry."""
    yaw, pitch, roll = (math.radians(rng.normal(0, s)) for s in (9, 5, 4))
    # The gantry is tilted to follow the skull base, so most of the tilt is the head's.
    pitch -= math.radians(gantry.tilt_deg) * rng.uniform(0.5, 1.1)
    turn = (
        np.array([[math.cos(yaw), math.sin(yaw), 0], [-math.sin(yaw), math.cos(yaw), 0], [0, 0, 1]])
        @ np.array(
            [
                [1, 0, 0],
                [0, math.cos(pitch), math.sin(pitch)],
                [0, -math.sin(pitch), math.cos(pitch)],
            ]
        )
        @ np.array(
            [[math.cos(roll), 0, math.sin(roll)], [0, 1, 0], [-math.sin(roll), 0, math.cos(roll)]]
        )
    )
    shift = np.array([rng.normal(0, 7), rng.normal(0, 7), rng.normal(0, 2)])
    row, column = np.array(gantry.orientation[:3]), np.array(gantry.orientation[3:])
    first, second = np.array(gantry.origins[0]), np.array(gantry.origins[1])
    # Slices touch each other, so that their planes follow in even steps of the table.
    per_plane = (second - first) / SUBSLICES
    start = first - per_plane * (SUBSLICES - 1) / 2
    pixel = gantry.pixel_mm * ratio
    start = start + (row + column) * gantry.pixel_mm * (ratio - 1) / 2
    step = np.stack([per_plane, column * pixel, row * pixel], axis=1)
    return _Grid(turn @ step, turn @ (start - shift), (len(gantry.origins) * SUBSLICES, size, size))


def _holder(pixel_mm: float, size: int, rng: np.random.Generator) -> Array:
    """The head holder: a thin shell behind the head, HU above air, shape (size, size)."""
    at = (np.arange(size, dtype=np.float32) - (size - 1) / 2) * pixel_mm
    x, y = at[None, :], at[:, None]
    radius, low = rng.uniform(96, 118), rng.uniform(-5, 40)
    wall = np.sqrt(x * x + ((y - 10) * 0.95) ** 2) - radius
    shell = np.clip(1.3 + 0.5 * pixel_mm - np.abs(wall), 0, 1) * np.clip((y - low) / 2, 0, 1)
    strength = rng.uniform(900, 1250) if rng.random() < 0.75 else 0.0
    cover: Array = (shell * strength).astype(np.float32)
    return cover


def _scan(
    planes: Array, gantry: _Gantry, size: int, rng: np.random.Generator
) -> tuple[NDArray[np.int16], str]:
    """Partial volume, kernel, noise, quantisation."""
    slices = _through_thickness(planes)
    holder = _holder(gantry.pixel_mm * size / slices.shape[1], slices.shape[1], rng)
    slices = np.where(slices < AIR_HU + 200, slices + holder, slices)
    while slices.shape[1] < size:
        slices = _double(_double(slices, 1), 2)
    kernel = str(rng.choice(["smooth", "standard", "sharp"], p=[0.35, 0.45, 0.2]))
    blur_mm = {"smooth": 0.55, "standard": 0.35, "sharp": 0.2}[kernel]
    noise = rng.uniform(1.5, 4.5) * {"smooth": 0.8, "standard": 1.0, "sharp": 1.6}[kernel]
    pixel = gantry.pixel_mm
    sigma = blur_mm / pixel
    if sigma > 0.3:
        slices = ndimage.gaussian_filter(slices, (0, sigma, sigma), truncate=2.5)
    grain = rng.standard_normal(slices.shape, dtype=np.float32)
    # Noise of neighbouring pixels is correlated over about a millimetre.
    grain = _smooth3(_smooth3(grain, 1), 2) if pixel < 0.7 and kernel != "sharp" else grain
    grain *= np.float32(noise / max(float(grain[len(grain) // 2].std()), 1e-6))
    slices += grain
    np.clip(slices, -1024, 3071, out=slices)
    return np.rint(slices).astype(np.int16), kernel


def _double(planes: Array, axis: int) -> Array:
    """Twice as many pixels along an axis, interpolated linearly, same extent."""
    first = np.concatenate(
        [planes.take([0], axis), planes.take(range(planes.shape[axis] - 1), axis)], axis
    )
    last = np.concatenate(
        [planes.take(range(1, planes.shape[axis]), axis), planes.take([-1], axis)], axis
    )
    pair = np.stack([0.75 * planes + 0.25 * first, 0.75 * planes + 0.25 * last], axis + 1)
    shape = list(planes.shape)
    shape[axis] *= 2
    return pair.reshape(shape)


def _smooth3(values: Array, axis: int) -> Array:
    return values + 0.6 * (np.roll(values, 1, axis) + np.roll(values, -1, axis))


# -- the whole -------------------------------------------------------------


def make_phantom(seed: int, *, size: int = 256, findings: Sequence[Label] | None = None) -> Phantom:
    """Draw a synthetic head CT.

    Parameters
    ----------
    seed : int
        Not negative; the same seed and arguments give the same bytes.
    size : int
        Rows and columns of a slice, 32 to 1024. From 384 on the head is drawn
        at half the size and interpolated, as its finest parts are wider than a
        pixel; the noise is not.
    findings : sequence of Label, optional
        The bleeds to place, clearly visible; empty for none. Drawn at random
        where it is not given: about half of all heads have none.

    Returns
    -------
    Phantom

    Raises
    ------
    ValueError
        If `seed` or `size` is out of range or a finding is no kind of bleed.
    """
    if seed < 0 or not 32 <= size <= 1024:
        raise ValueError(f"a phantom needs seed >= 0 and size 32 to 1024, not {seed} and {size}")
    if findings is not None and not set(findings) <= set(SUBTYPES):
        raise ValueError(f"findings must be among {', '.join(SUBTYPES)}")
    rng = np.random.default_rng(seed)
    wanted = _draw_findings(rng) if findings is None else tuple(dict.fromkeys(findings))
    anatomy = _draw_anatomy(rng, wanted)
    drawn = size // 2 if size >= 384 and size % 2 == 0 else size
    gantry = _plan(rng, size, anatomy.height)
    grid = _sample(gantry, size // drawn, drawn, rng)
    head = _draw_head(grid, anatomy, rng)

    labels = np.zeros((len(gantry.origins), len(LABELS)), dtype=np.uint8)
    voxel_ml = grid.pixel_mm**2 * gantry.spacing_mm / 1000
    placed = []
    for label in wanted:
        extent = rng.uniform(0.45, 0.9) if findings is not None else rng.beta(1.2, 1.6)
        finding, seen = _place(head, label, extent, voxel_ml)
        labels[:, LABELS.index(label)] = seen
        placed.append(finding)
    labels[:, LABELS.index(Label.ANY)] = labels.max(axis=1)
    hu, kernel = _scan(head.hu, gantry, size, rng)
    normal = np.cross(gantry.orientation[:3], gantry.orientation[3:])
    return Phantom(
        seed=seed,
        hu=hu,
        labels=labels,
        findings=tuple(placed),
        positions_mm=tuple(round(float(np.dot(o, normal)), 4) for o in gantry.origins),
        image_positions_mm=gantry.origins,
        orientation=gantry.orientation,
        pixel_spacing_mm=gantry.pixel_mm,
        spacing_mm=gantry.spacing_mm,
        thickness_mm=gantry.spacing_mm,
        tilt_deg=gantry.tilt_deg,
        kernel=kernel,
        key=f"{seed}/{size}/{'any' if findings is None else '+'.join(wanted) or 'none'}",
    )


def _draw_findings(rng: np.random.Generator) -> tuple[Label, ...]:
    if rng.random() < 0.5:
        return ()
    count = int(rng.choice([1, 2, 3], p=[0.6, 0.3, 0.1]))
    kinds = list(_FREQUENCY)
    chosen = rng.choice(len(kinds), size=count, replace=False, p=list(_FREQUENCY.values()))
    return tuple(kinds[i] for i in sorted(chosen))


# -- as DICOM --------------------------------------------------------------

_UIDS = uuid.UUID("6f0c3f0a-52e1-5d0b-9c55-3c6b0c1a7e11")
_INTERCEPT = -1024


def phantom_uid(phantom: Phantom, what: str) -> str:
    """A unique identifier below 2.25 that depends only on the phantom's key.

    References
    ----------
    UUID-derived identifiers: DICOM PS3.5, B.2.
    """
    return f"2.25.{uuid.uuid5(_UIDS, f'{phantom.key}/{what}').int}"


def write_dicom(
    phantom: Phantom, folder: Path, *, when: datetime = datetime(2024, 1, 1, 12, 0, 0)
) -> list[Path]:
    """Write a phantom as a series of CT images.

    Parameters
    ----------
    phantom : Phantom
    folder : pathlib.Path
        Made if it is not there.
    when : datetime.datetime
        Date and time of the study; fixed unless given, so that the files are
        the same each time.

    Returns
    -------
    list of pathlib.Path
        One file for each slice, foot to head.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for index in range(len(phantom)):
        path = folder / f"{index + 1:04d}.dcm"
        _image(phantom, index, when).save_as(path, enforce_file_format=True)
        paths.append(path)
    return paths


def _image(phantom: Phantom, index: int, when: datetime) -> Dataset:
    """One slice as a CT Image (PS3.3, A.3)."""
    image = Dataset()
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image.SpecificCharacterSet = "ISO_IR 100"
    image.SOPClassUID = CTImageStorage
    image.SOPInstanceUID = phantom_uid(phantom, f"image/{index + 1}")

    image.PatientName = "Phantom^Head"
    image.PatientID = f"PHANTOM-{phantom.seed:06d}"
    image.PatientBirthDate = ""
    image.PatientSex = "O"
    image.StudyInstanceUID = phantom_uid(phantom, "study")
    image.StudyID = str(phantom.seed)
    image.StudyDescription = "Synthetic head CT phantom, no patient"
    image.AccessionNumber = ""
    image.ReferringPhysicianName = ""

    image.Modality = "CT"
    image.SeriesInstanceUID = phantom_uid(phantom, "series")
    image.SeriesNumber = 2
    image.SeriesDescription = "Head plain, synthetic phantom"
    image.BodyPartExamined = "HEAD"
    image.PatientPosition = "HFS"
    image.FrameOfReferenceUID = phantom_uid(phantom, "frame of reference")
    image.PositionReferenceIndicator = ""

    date, time = when.strftime("%Y%m%d"), when.strftime("%H%M%S")
    for moment in ("Study", "Series", "Acquisition", "Content"):
        setattr(image, f"{moment}Date", date)
        setattr(image, f"{moment}Time", time)

    _describe_plane(image, phantom, index)
    image.SamplesPerPixel = 1
    image.PhotometricInterpretation = "MONOCHROME2"
    image.Rows, image.Columns = phantom.hu.shape[1:]
    image.BitsAllocated = image.BitsStored = 16
    image.HighBit = 15
    image.PixelRepresentation = 1
    image.RescaleIntercept = _INTERCEPT
    image.RescaleSlope = 1
    image.RescaleType = "HU"
    image.WindowCenter = 40
    image.WindowWidth = 80
    image.BurnedInAnnotation = "NO"
    image.PixelData = (phantom.hu[index] - _INTERCEPT).astype("<i2").tobytes()
    return image


def _describe_plane(image: Dataset, phantom: Phantom, index: int) -> None:
    """Scanner and place of a slice (PS3.3, C.7.5.1, C.7.6.2, C.8.2.1)."""
    image.Manufacturer = "ichnode"
    image.ManufacturerModelName = "Synthetic phantom"
    image.SoftwareVersions = "1"
    image.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    image.KVP = "120"
    image.ConvolutionKernel = phantom.kernel.upper()
    image.GantryDetectorTilt = phantom.tilt_deg
    image.AcquisitionNumber = 1
    image.InstanceNumber = index + 1
    image.ImagePositionPatient = list(phantom.image_positions_mm[index])
    image.ImageOrientationPatient = list(phantom.orientation)
    image.PixelSpacing = [phantom.pixel_spacing_mm] * 2
    image.SliceThickness = phantom.thickness_mm
    image.SliceLocation = phantom.positions_mm[index]
