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


def plan_gantry(rng: np.random.Generator, size: int, height: float) -> Gantry:
    """Draw the tilt, the spacing and the place of every slice, foot to head."""
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
    return Gantry(pixel, spacing, tilt, origins, orientation)


def sample(gantry: Gantry, ratio: int, size: int, rng: np.random.Generator) -> Grid:
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
    return Grid(turn @ step, turn @ (start - shift), (len(gantry.origins) * SUBSLICES, size, size))
