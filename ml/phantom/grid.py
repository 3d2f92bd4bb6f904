"""Where the head is sampled, and the shapes that are laid into the samples."""

import math
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Array: TypeAlias = NDArray[np.floating[Any]]
"""Values at the sample points."""

Box: TypeAlias = tuple[slice, slice, slice]
"""A part of the grid: planes, rows, columns."""

Point: TypeAlias = tuple[float, float, float]
"""A place or the semi-axes of a body, mm."""

SUBSLICES = 2
"""Planes that are averaged through the thickness of a slice (partial volume)."""


class Grid:
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
        self.slack_mm = 0.0  # how far warping may have moved a point
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

    def warp(self, rng: np.random.Generator, reach_mm: float, wavelength_mm: float) -> None:
        """Bend the head coordinates smoothly, so that nothing drawn later is a perfect shape.

        Parameters
        ----------
        reach_mm : float
            Standard deviation of the displacement along each axis, mm.
        wavelength_mm : float
            Of the displacement, mm.
        """
        bend = [self.waves(rng, wavelength_mm, count=10) for _ in range(3)]
        self.x, self.y, self.z = (
            at + np.float32(reach_mm) * by
            for at, by in zip(self.at(self.everywhere), bend, strict=True)
        )
        self.slack_mm += 2.5 * reach_mm

    @property
    def everywhere(self) -> Box:
        """The box of all sample points."""
        return (slice(0, self.shape[0]), slice(0, self.shape[1]), slice(0, self.shape[2]))

    def box(self, centre: Point, radius: float) -> Box:
        """The indices around a ball, whole slices along the first axis."""
        middle = self.inverse @ (np.asarray(centre) - self.origin)
        reach = (radius + self.slack_mm) * np.linalg.norm(self.inverse, axis=1) + 1
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
        """How much of each sample lies inside a surface, from the depth below it in mm.

        Where no edge is given it is as wide as the sample is deep along the
        surface's normal: a slice that cuts the vertex at a grazing angle sees
        bone and brain at once (partial volume).
        """
        if edge_mm is not None:
            return np.clip(inside_mm * np.float32(1 / edge_mm) + np.float32(0.5), 0, 1)
        edge = np.float32(max(self.pixel_mm, 0.8))
        if len(inside_mm) < 2:
            return np.clip(inside_mm / edge + np.float32(0.5), 0, 1)
        grazing = np.empty_like(inside_mm)
        np.abs(np.subtract(inside_mm[1:], inside_mm[:-1]), out=grazing[1:])
        grazing[0] = grazing[1]
        np.clip(grazing, edge, np.float32(self.plane_mm), out=grazing)
        return np.clip(inside_mm / grazing + np.float32(0.5), 0, 1)

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


class Texture:
    """A random field of unit variance that can be looked up at any point, not on a grid alone.

    Parameters
    ----------
    wavelength_mm : float
        Typical width of a hill and a valley together, mm.
    """

    SAMPLES = 48
    """Along each axis; the field repeats after a quarter of as many wavelengths."""

    def __init__(self, rng: np.random.Generator, wavelength_mm: float) -> None:
        field = rng.standard_normal((self.SAMPLES,) * 3, dtype=np.float32)
        field = ndimage.gaussian_filter(field, 0.8, mode="wrap")
        self.field = field / field.std()
        self.per_mm = np.float32(4 / wavelength_mm)

    def at(self, x: Array, y: Array, z: Array) -> Array:
        """Values at points, mm."""
        points = np.stack([x * self.per_mm, y * self.per_mm, z * self.per_mm])
        values: Array = ndimage.map_coordinates(self.field, points, order=1, mode="grid-wrap")
        return values


def through_thickness(planes: Array) -> Array:
    """Average the planes of each slice."""
    mean: Array = planes.reshape(-1, SUBSLICES, *planes.shape[1:]).mean(axis=1, dtype=np.float32)
    return mean


def blend(hu: Array, cover: Array, value: Array | float) -> None:
    """Lay a tissue over what is there, in place."""
    hu += cover * (value - hu)


def ellipsoid(
    at: tuple[Array, Array, Array], centre: Point, semi: Point, turn_deg: float = 0.0
) -> Array:
    """Depth below the surface of an ellipsoid turned about z, mm (approximate)."""
    dx, dy, dz = at[0] - centre[0], at[1] - centre[1], at[2] - centre[2]
    if turn_deg:
        cos, sin = math.cos(math.radians(turn_deg)), math.sin(math.radians(turn_deg))
        dx, dy = dx * cos + dy * sin, dy * cos - dx * sin
    level = np.sqrt((dx / semi[0]) ** 2 + (dy / semi[1]) ** 2 + (dz / semi[2]) ** 2)
    return (1 - level) * min(semi)


def capsule(
    at: tuple[Array, Array, Array], start: Point, end: Point, radii: tuple[float, float]
) -> Array:
    """Depth below the surface of a tube whose radius changes along it, mm."""
    a, b = np.asarray(start), np.asarray(end)
    way = b - a
    along = sum((c - float(a[i])) * float(way[i]) for i, c in enumerate(at)) / float(way @ way)
    along = np.clip(along, 0, 1)
    squared = sum((c - float(a[i]) - along * float(way[i])) ** 2 for i, c in enumerate(at))
    return radii[0] + along * (radii[1] - radii[0]) - np.sqrt(squared)


def bell(values: Array, width: float) -> Array:
    """A Gaussian hill: 1 at zero, 1/e at the width."""
    return np.exp(-((values * (1 / width)) ** 2))


def ramp(values: Array, width: float) -> Array:
    """0 below minus the width, 1 above the width, linear between."""
    return np.clip(values * (0.5 / width) + 0.5, 0, 1)
