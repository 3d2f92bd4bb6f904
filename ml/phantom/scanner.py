"""From the drawn head to the stored values: what a scanner adds to the anatomy."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ml.phantom.anatomy import AIR_HU
from ml.phantom.gantry import Gantry
from ml.phantom.grid import Array, through_thickness


@dataclass(frozen=True)
class _Kernel:
    """A reconstruction kernel: how far it blurs, how far it enhances edges, how it takes noise."""

    name: str
    blur_mm: tuple[float, float]
    edge: float
    noise: float


_KERNELS = (
    _Kernel("smooth", (0.55, 0.95), 0.0, 0.75),
    _Kernel("standard", (0.35, 0.65), 0.25, 1.0),
    _Kernel("sharp", (0.2, 0.4), 0.7, 1.6),
)

_ANY = (0.35, 0.45, 0.2)
_BRAIN = (0.4, 0.6, 0.0)
"""How often each kernel is taken."""


def scan(
    planes: Array, gantry: Gantry, size: int, rng: np.random.Generator, *, usual: bool
) -> tuple[NDArray[np.int16], str]:
    """Partial volume, calibration, holder, kernel, artefacts, noise, quantisation.

    Parameters
    ----------
    usual : bool
        A kernel for the brain, not one for bone.
    """
    slices = through_thickness(planes)
    _calibrate(slices, rng)
    holder = _holder(gantry.pixel_mm * size / slices.shape[1], slices.shape[1], rng)
    np.copyto(slices, slices + holder, where=slices < AIR_HU + 200)
    while slices.shape[1] < size:
        slices = _double(_double(slices, 1), 2)
    kernel = _KERNELS[int(rng.choice(len(_KERNELS), p=_BRAIN if usual else _ANY))]
    slices = _reconstruct(slices, kernel, gantry.pixel_mm, rng)
    if rng.random() < 0.08:
        _move(slices, rng)
    if rng.random() < 0.12:
        _streak(slices, gantry.pixel_mm, rng)
    slices += _grain(slices.shape, kernel, gantry, rng)
    np.clip(slices, -1024, 3071, out=slices)
    return np.rint(slices).astype(np.int16), kernel.name


def _calibrate(slices: Array, rng: np.random.Generator) -> None:
    """Scanners differ by some HU, and beam hardening lifts or lowers the middle of the head."""
    level, gain, cup = rng.normal(0, 3.5), rng.uniform(0.96, 1.05), rng.uniform(-5, 5)
    at = np.linspace(-1, 1, slices.shape[1], dtype=np.float32)
    bowl = np.float32(cup) * (at[:, None] ** 2 + at[None, :] ** 2 - np.float32(0.4))
    tissue = slices > AIR_HU + 200
    np.copyto(slices, slices * np.float32(gain) + np.float32(level) + bowl, where=tissue)


def _reconstruct(
    slices: Array, kernel: _Kernel, pixel_mm: float, rng: np.random.Generator
) -> Array:
    """Blur, then enhance edges: a sharp kernel rims the skull with a dark and a bright band."""
    sigma = rng.uniform(*kernel.blur_mm) / pixel_mm
    if sigma > 0.25:
        slices = ndimage.gaussian_filter(slices, (0, sigma, sigma), truncate=2.5)
    edge = kernel.edge * rng.random()
    if edge > 0.1:
        wide = ndimage.gaussian_filter(slices, (0, 1.2 / pixel_mm, 1.2 / pixel_mm), truncate=2.0)
        slices += np.float32(edge) * (slices - wide)
    return slices


def _grain(
    shape: tuple[int, ...], kernel: _Kernel, gantry: Gantry, rng: np.random.Generator
) -> Array:
    """Noise: correlated over a pixel or so, stronger in thin slices, streaky at the base."""
    strength = math.exp(rng.uniform(math.log(1.2), math.log(6.0))) * kernel.noise
    strength = min(strength * math.sqrt(4.5 / min(gantry.spacing_mm, 4.5)), 16.0)
    grain = rng.standard_normal(shape, dtype=np.float32)
    sigma = rng.uniform(0.2, 0.8) * (0.4 if kernel.name == "sharp" else 1.0)
    if sigma > 0.3:
        grain = ndimage.gaussian_filter(grain, (0, sigma, sigma), truncate=2.0)
    if rng.random() < 0.5:  # rays along the shoulders and the petrous bones see more bone
        low = max(len(grain) // 3, 1)
        streaks = ndimage.gaussian_filter1d(grain[:low], 5.0, axis=2, truncate=2.0)
        fade = np.linspace(rng.uniform(0, 4), 0, low, dtype=np.float32)
        grain[:low] += fade[:, None, None] * streaks
    middle = grain[len(grain) // 2 :].std()
    grain *= np.float32(strength / max(float(middle), 1e-6))
    return grain


def _move(slices: Array, rng: np.random.Generator) -> None:
    """The head moved during some slices: each is laid over a shifted copy of itself."""
    start = int(rng.integers(len(slices)))
    for index in range(start, min(start + int(rng.integers(1, 6)), len(slices))):
        by = rng.uniform(-0.02, 0.02, size=2) * slices.shape[1]
        share = np.float32(rng.uniform(0.2, 0.5))
        ghost = ndimage.shift(slices[index], by, order=1, mode="nearest")
        slices[index] += share * (ghost - slices[index])


def _streak(slices: Array, pixel_mm: float, rng: np.random.Generator) -> None:
    """Metal in the teeth or on the skin: rays of dark and bright through some slices."""
    size = slices.shape[1]
    at = (np.arange(size, dtype=np.float32) - size / 2) * np.float32(pixel_mm)
    angle, distance = rng.uniform(0, 2 * math.pi), rng.uniform(40, 85)
    dx = at[None, :] - np.float32(distance * math.cos(angle))
    dy = at[:, None] - np.float32(distance * math.sin(angle))
    way = np.arctan2(dy, dx)
    rays = sum(
        np.cos(way * int(rng.integers(3, 24)) + rng.uniform(0, 2 * math.pi)) for _ in range(4)
    )
    away = np.sqrt(dx * dx + dy * dy)
    field = rays * np.float32(rng.uniform(20, 160)) * np.exp(-away / np.float32(35))
    centre = rng.uniform(0, len(slices) * (1 if rng.random() < 0.3 else 0.3))
    reach = rng.uniform(1, 5)
    for index in range(len(slices)):
        fade = math.exp(-(((index - centre) / reach) ** 2))
        if fade > 0.02:
            slices[index] += np.float32(fade) * field
            slices[index][away < 2.5 * fade] = 3000


def _holder(pixel_mm: float, size: int, rng: np.random.Generator) -> Array:
    """The head holder: a shell behind the head or two straight walls, HU above air."""
    at = (np.arange(size, dtype=np.float32) - (size - 1) / 2) * pixel_mm
    x, y = at[None, :], at[:, None]
    width = 1.0 + 0.5 * pixel_mm + rng.exponential(0.8)
    low = rng.uniform(-5, 60)
    if rng.random() < 0.5:
        radius = rng.uniform(96, 118)
        wall = np.sqrt(x * x + ((y - 10) * 0.95) ** 2) - radius
    else:
        radius, floor = rng.uniform(88, 112), rng.uniform(100, 125)
        lean = 1 + rng.uniform(0, 0.12)
        wall = np.maximum(np.abs(x) - radius + (y - 40) * np.float32(lean - 1), y - floor)
    shell = np.clip(width - np.abs(wall), 0, 1) * np.clip((y - low) / 2, 0, 1)
    strength = rng.uniform(600, 1250) if rng.random() < 0.8 else 0.0
    pad = np.clip(rng.uniform(4, 14) + wall, 0, 1) * (wall < 0) * np.clip((y - low) / 2, 0, 1)
    cover = shell * strength + pad * (rng.uniform(10, 120) if rng.random() < 0.4 else 0.0)
    return cover.astype(np.float32)


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
