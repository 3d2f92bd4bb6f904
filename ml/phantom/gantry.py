"""Where the slices lie, and how the head lies in the gantry."""

import math
from dataclasses import dataclass

import numpy as np

from ml.phantom.grid import SUBSLICES, Grid, Point


@dataclass(frozen=True)
class Gantry:
    """Where the slices lie, in patient coordinates (mm)."""

    pixel_mm: float
    spacing_mm: float
    tilt_deg: float
    origins: tuple[Point, ...]
    orientation: tuple[float, float, float, float, float, float]


@dataclass(frozen=True)
class _Protocol:
    """A way of scanning heads: how often, steps in mm, the most slices."""

    share: float
    spacing_mm: tuple[float, float]
    most: int


_THICK = _Protocol(0.8, (3.0, 7.0), 48)
_PROTOCOLS = (_THICK, _Protocol(0.14, (1.5, 3.0), 90), _Protocol(0.06, (0.6, 1.5), 150))


def plan_gantry(rng: np.random.Generator, size: int, height: float, *, usual: bool) -> Gantry:
    """Draw the tilt, the spacing and the place of every slice, foot to head.

    Parameters
    ----------
    usual : bool
        Thick slices from the base to the vertex, as most heads are scanned.
    """
    tilt = float(rng.choice([0.0, float(round(rng.uniform(-4, 20), 1))], p=[0.5, 0.5]))
    way = int(rng.choice(len(_PROTOCOLS), p=[one.share for one in _PROTOCOLS]))
    protocol = _THICK if usual else _PROTOCOLS[way]
    spacing = round(float(rng.uniform(*protocol.spacing_mm)), 2)
    pixel = round(rng.uniform(212, 265) / size, 6)
    cos, sin = math.cos(math.radians(tilt)), math.sin(math.radians(tilt))
    orientation = (1.0, 0.0, 0.0, 0.0, round(cos, 6), round(-sin, 6))
    top = height + rng.uniform(0, 12)
    # Some scans take in the jaw and the neck, or leave out the base.
    bottom = rng.uniform(-92, -62) if usual or rng.random() < 0.6 else rng.uniform(-185, -55)
    table = spacing / cos
    count = int(min(max((top - bottom) / table, 20), protocol.most))
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
    return Gantry(pixel, spacing, tilt, origins, orientation)


def sample(gantry: Gantry, ratio: int, size: int, rng: np.random.Generator) -> Grid:
    """Sample points in head coordinates: the head lies turned and shifted in the gantry."""
    yaw, pitch, roll = (math.radians(rng.normal(0, s)) for s in (13, 6, 5))
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
    return Grid(turn @ step, turn @ (start - shift), (len(gantry.origins) * SUBSLICES, size, size))
