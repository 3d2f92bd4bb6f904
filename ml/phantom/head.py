"""The head around the brain: skin, swellings of it, vault, skull base, face, air cells."""

import numpy as np

from ml.phantom.anatomy import AIR_HU, BONE_HU, FAT_HU, Anatomy, Head
from ml.phantom.brain import draw_brain
from ml.phantom.grid import Array, Grid, Point, bell, blend, capsule, ellipsoid, ramp
from ml.phantom.neck import draw_jaw, draw_spine, neck_depth


def draw_head(grid: Grid, anatomy: Anatomy, rng: np.random.Generator) -> Head:
    """A head without blood, from the skin inwards."""
    a = anatomy
    x, y, z = grid.x, grid.y, grid.z
    surface = _surface_depth(grid, a, rng)
    hu = np.full(grid.shape, AIR_HU, dtype=np.float32)

    # Skin, subcutaneous fat, muscle at the temples and the neck.
    low = grid.below(-15)
    outer = surface + a.scalp * (1 + 0.25 * grid.waves(rng, 90, count=12))
    face = ellipsoid(grid.at(low), (0, -0.42 * a.half_length, -78), (60, 62, 80))
    outer[low] = np.maximum(np.maximum(outer[low], face), neck_depth(grid.at(low), rng))
    swollen = _swelling(grid, a, rng) if rng.random() < 0.25 else None
    if swollen is not None:
        outer = outer + swollen
    blend(hu, grid.cover(outer), rng.uniform(20, 70))
    blend(hu, grid.cover(outer - rng.uniform(1.8, 3.2)), FAT_HU)
    temples = ramp(np.abs(x) - 0.55 * a.half_width, 6) * ramp(5 - z, 12)
    blend(hu, grid.cover(outer - 3.0) * temples, 55.0)
    if swollen is not None:
        # Blood under the scalp is no finding: it lies outside the skull.
        clot = grid.cover(np.minimum(outer - 2.5, swollen - 1.5)) * grid.cover(-surface)
        blend(hu, clot, rng.uniform(30, 75) + 6 * grid.waves(rng, 12, count=12))
    _draw_face(grid, a, rng, hu, outer - 6)
    draw_jaw(grid, a, hu, rng)
    draw_spine(grid, hu, rng)

    # The vault: two tables with the diploe between them.
    thickness = a.skull * (1 + 0.18 * grid.waves(rng, 70, count=16) + 0.25 * (y / a.half_length))
    thickness = np.maximum(thickness, 2.2)
    depth = surface - thickness
    above = grid.cover(surface) * grid.cover(1.0 - depth) * ramp(z + 62 - 0.35 * y, 8)
    diploe = grid.cover(np.minimum(surface - 0.3 * thickness, -depth - 0.3 * thickness))
    marrow = rng.uniform(350, 800)
    bone = rng.uniform(900, 1500)
    blend(hu, above, bone - (bone - marrow) * diploe)

    # The base: three fossae, one step lower each, with bone below them.
    floor = _base_height(grid.at(low)) + 2.5 * grid.waves(rng, 30, low, 24)
    over = (z[low] - floor) * np.float32(0.85)
    depth[low] = np.minimum(depth[low], over)
    # Thin over the orbits, thick at the back.
    behind = ramp(grid.y[low] + 15 + 0.4 * np.abs(grid.x[low]), 5)
    plate = rng.uniform(1.8, 3) + behind * rng.uniform(2, 5)
    plate = grid.cover(surface[low] - 1) * grid.cover(over + plate, 2.0)
    porous = 750 + 260 * grid.waves(rng, 9, low)
    blend(hu[low], plate * (depth[low] < 1), porous)
    _draw_air_cells(grid, a, rng, hu, surface)

    head = Head(
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
    draw_brain(head)
    return head


def _surface_depth(grid: Grid, a: Anatomy, rng: np.random.Generator) -> Array:
    """Depth below the outer table of the vault, mm."""
    x, y, z = grid.x, grid.y, grid.z
    wide = 1 + rng.uniform(0.02, 0.12) * (y / a.half_length)
    tall = np.where(z > 0, np.float32(1 / a.height), np.float32(1 / 118))
    level = np.sqrt((x / (a.half_width * wide)) ** 2 + (y / a.half_length) ** 2 + (z * tall) ** 2)
    radius = np.sqrt(x * x + y * y + z * z)
    depth: Array = radius / np.maximum(level, 1e-3) - radius
    depth += 1.3 * grid.waves(rng, 120, count=12)
    return depth


def _swelling(grid: Grid, a: Anatomy, rng: np.random.Generator) -> Array:
    """By how much the scalp is lifted by a hematoma or an edema, mm."""
    pole = rng.normal(size=3) * (1, 1, 0.5)
    pole[2] = abs(pole[2])
    pole *= 1 / np.linalg.norm(pole)
    radius = np.sqrt(grid.x * grid.x + grid.y * grid.y + grid.z * grid.z) + 1e-3
    cosine = (grid.x * float(pole[0]) + grid.y * float(pole[1]) + grid.z * float(pole[2])) / radius
    reach = np.float32(rng.uniform(0.06, 0.35))
    swollen: Array = np.float32(rng.uniform(4, 15)) * np.clip(1 - (1 - cosine) / reach, 0, 1)
    return swollen * (grid.z > -25)


def _base_height(at: tuple[Array, Array, Array]) -> Array:
    """Height of the skull base under (or over) each point, mm."""
    x, y, _ = at
    lateral = np.abs(x)
    ridge = y - (2 + 0.45 * lateral)
    anterior = ramp(-15 - 0.4 * lateral - y, 5)
    posterior = ramp(ridge, 5)
    middle = 1 - anterior - posterior
    height = anterior * (-27 + 12 * bell(lateral - 28, 16) + 0.12 * (y + 45))
    height += middle * (-47 + 16 * bell(x, 15))
    height += posterior * (-76 + 0.006 * ((y - 38) ** 2 + x * x))
    petrous = 15 * bell(ridge, 6) * ramp(lateral - 14, 5)
    return height + petrous


def _draw_face(grid: Grid, a: Anatomy, rng: np.random.Generator, hu: Array, inner: Array) -> None:
    """Below the base: muscle, fat and bone at random, orbits.

    Parameters
    ----------
    inner : numpy.ndarray
        Depth below the subcutaneous fat, mm.
    """
    low = grid.below(-15)
    _, y, z = grid.at(low)
    part, inside = hu[low], grid.cover(inner[low]) * ramp(-30 - z + 0.25 * y, 10)
    muscle, bony = grid.waves(rng, 26, low), grid.waves(rng, 34, low)
    blend(part, inside * ramp(muscle + 0.3, 0.25), rng.uniform(45, 72))
    bony = np.abs(bony) + 0.3 * ramp(-85 - z, 25)  # fewer bones in the neck
    blend(part, inside * ramp(0.13 - bony, 0.08), rng.uniform(500, 1300))
    length = a.half_length
    for side in (-1, 1):
        box = grid.box((side * 33, -0.66 * length, -38), 30)
        at = grid.at(box)
        orbit = ellipsoid(at, (side * 33, -0.65 * length, -38), (22, 27, 20))
        eye = ellipsoid(at, (side * 33, -0.8 * length, -38), (12, 12, 12))
        nerve = capsule(
            at, (side * 31, -0.66 * length, -38), (side * 14, -0.4 * length, -36), (2, 2)
        )
        for surface, value in (
            (orbit, BONE_HU),
            (orbit - rng.uniform(1.2, 2.6), FAT_HU),
            (eye, 40.0),
            (eye - 1.5, 12.0),
            (nerve, 35.0),
        ):
            blend(hu[box], grid.cover(surface), value)


def _draw_air_cells(
    grid: Grid, a: Anatomy, rng: np.random.Generator, hu: Array, surface: Array
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
        inside = np.minimum(ellipsoid(grid.at(box), centre, semi), surface[box] - 1.5)
        blend(hu[box], grid.cover(inside + 2), 800.0)
        air = grid.cover(inside)
        if honeycomb:
            air = air * ramp(grid.waves(rng, 9, box) + 0.5, 0.4)
        blend(hu[box], air, AIR_HU if rng.random() < 0.85 else 30.0)
