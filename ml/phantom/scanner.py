"""From the drawn head to the stored values: partial volume, holder, kernel, noise."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ml.phantom.anatomy import AIR_HU
from ml.phantom.gantry import Gantry
from ml.phantom.grid import Array, through_thickness


def scan(
    planes: Array, gantry: Gantry, size: int, rng: np.random.Generator
) -> tuple[NDArray[np.int16], str]:
    """Partial volume, kernel, noise, quantisation."""
    slices = through_thickness(planes)
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
