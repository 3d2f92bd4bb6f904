"""Inside the dura: grey and white matter, sulci, cisterns, ventricles, falx, calcifications."""

import math

import numpy as np

from ml.phantom.anatomy import CSF_HU, Head
from ml.phantom.grid import (
    Array,
    Box,
    Grid,
    Point,
    Texture,
    bell,
    blend,
    capsule,
    ellipsoid,
    ramp,
)


def draw_brain(head: Head) -> None:
    """Lay the brain, its fluid and its membranes into a head, in place."""
    grid, a, rng = head.grid, head.anatomy, head.rng
    x = grid.x
    gap = 0.4 + 3.0 * a.atrophy**2
    cortex = head.depth - gap
    swollen = 1 - 0.85 * a.swelling * ramp(x * a.side - 2, 4)

    ribbon = rng.uniform(2.0, 3.4)
    sulci, near_sulci = _sulci(head, cortex, swollen, ribbon)
    grey = np.maximum(grid.cover(ribbon - cortex, 2.0), near_sulci)

    # The posterior fossa: cerebellum with its folia, brainstem.
    low = grid.below(0)
    xl, yl, zl = grid.at(low)
    tent = 2 - 0.32 * np.abs(xl) - 0.4 * (yl - 30)
    behind = ramp(yl - (6 + 0.45 * np.abs(xl)), 3)
    cerebellum = grid.cover(tent - zl, 2.0) * behind
    folia = grid.waves(rng, 8, low) * 0.25 + 0.65
    grey[low] += cerebellum * (folia - grey[low])
    sulci[low] *= 1 - cerebellum
    _deep_grey(grid, grey)
    tissue = a.white + a.contrast * grey + rng.uniform(0.6, 2.0) * grid.waves(rng, 40, count=16)
    tissue += rng.uniform(0, 1.6) * grid.waves(rng, rng.uniform(9, 16), count=32)
    _harden(head, tissue)
    _leukoaraiosis(head, tissue)

    falx = _falx(head, sulci, swollen)
    # As wide as the step between planes, or a flat sheet would show up in stripes.
    sheet = bell(tent - zl, 0.6 * grid.plane_mm)
    tentorium = sheet * behind * rng.uniform(0.1, 0.4)
    sulci = np.maximum(sulci, grid.cover(-cortex))
    _cisterns(head, sulci, swollen)
    head.csf = sulci * (head.depth > -1)
    _ventricles(head)
    head.csf *= 1 - head.ventricle

    blend(tissue, np.maximum(head.csf, head.ventricle), CSF_HU + rng.uniform(-3, 3))
    dura = rng.uniform(42, 80)
    blend(tissue, falx, dura)
    blend(tissue[low], tentorium, dura)
    _vessels(head, tissue, tent, behind)
    _calcifications(head, tissue)
    blend(head.hu, head.brain, tissue)
    _petrous_streaks(head)


def _sulci(head: Head, cortex: Array, swollen: Array, ribbon: float) -> tuple[Array, Array]:
    """Sulci, and the grey matter along them.

    They are where a random field vanishes: its zero set folds like gyri do. The
    field is looked up further out than the point lies, so that folds run from
    the surface inwards.

    Returns
    -------
    sulci, grey : numpy.ndarray
        Cover, 0 to 1.
    """
    grid, a, rng = head.grid, head.anatomy, head.rng
    sulci, grey = np.zeros_like(head.depth), np.zeros_like(head.depth)
    planes = np.flatnonzero(grid.z.max(axis=(1, 2)) > -40)
    if not len(planes):
        return sulci, grey
    box = (slice(int(planes[0]), grid.shape[0]), *grid.everywhere[1:])
    x, y, z = grid.at(box)
    depth = cortex[box]
    outwards = 1 + rng.uniform(0.3, 0.8) * np.clip(depth, 0, 40) / np.sqrt(
        x * x + y * y + z * z + 100
    )
    wavelength = rng.uniform(15, 26)
    texture = Texture(rng, wavelength)
    field = texture.at(x * outwards, y * outwards, z * outwards)
    fold = np.abs(field) * np.float32(wavelength / (2 * math.pi))
    deepest = rng.uniform(10, 22) * (1 + 0.4 * grid.waves(rng, 30, box, 12))
    reach = ramp(deepest - depth, 4) * ramp(z + 30 - 0.4 * y, 8)
    open_at_top = 1.25 - 0.5 * np.clip(depth / 15, 0, 1)
    patchy = 1 + 0.35 * grid.waves(rng, 55, box, 10)
    width = (rng.uniform(0.3, 0.9) + 2.2 * a.atrophy**1.5) * open_at_top * patchy * swollen[box]
    sulci[box] = grid.cover(width - fold, 1.6) * reach * ramp(swollen[box] - 0.15, 0.15)
    grey[box] = grid.cover(ribbon + np.maximum(width, 0) - fold, 2.0) * reach
    return sulci, grey


def _harden(head: Head, tissue: Array) -> None:
    """Beam hardening and scatter brighten the brain towards the bone, unevenly."""
    grid, rng = head.grid, head.rng
    inward = np.minimum(-head.depth, 0)
    rim = rng.uniform(0, 14) * np.exp(inward * np.float32(1 / rng.uniform(1.5, 6)))
    rim += rng.uniform(0, 12) * np.exp(inward * np.float32(1 / rng.uniform(10, 25)))
    tissue += rim * (1 + 0.35 * grid.waves(rng, 60, count=12))


def _vessels(head: Head, tissue: Array, tent: Array, behind: Array) -> None:
    """Blood that belongs there: dural sinuses and the arteries at the base."""
    grid, a, rng = head.grid, head.anatomy, head.rng
    blood = rng.uniform(42, 66)
    x, y, z = grid.x, grid.y, grid.z
    # The superior sagittal sinus runs along the inner table in the midline, wider at the back.
    width = rng.uniform(1.5, 4.5) * (0.75 + 0.35 * y / a.half_length)
    sagittal = np.minimum(width + 1 - np.abs(x - a.midline * 0.3), width * 1.3 - head.depth)
    blend(tissue, grid.cover(sagittal, 1.5) * ramp(z + 0.25 * y - 2, 6) * (head.depth > -1), blood)
    # The transverse sinuses follow the edge of the tentorium, often one wider than the other.
    low = grid.below(0)
    one = rng.uniform(0.4, 1.0)
    side = np.where(grid.x[low] * a.side > 0, np.float32(1), np.float32(one))
    tube = np.minimum(rng.uniform(2, 5.5) * side - np.abs(tent - grid.z[low]), 6 - head.depth[low])
    blend(tissue[low], grid.cover(tube, 1.5) * behind * (grid.y[low] > 20), blood)
    straight = capsule(
        grid.at(grid.everywhere),
        (a.midline, 33, 2),
        (0, 0.85 * a.half_length, -6),
        (rng.uniform(0.8, 2), rng.uniform(1.2, 3)),
    )
    blend(tissue, grid.cover(straight, 1.2), blood)
    arteries: list[tuple[Point, Point]] = [
        ((0, -1, -46), (0, -7, -30)),
        ((-2, -12, -26), (-38, -12, -14)),
        ((2, -12, -26), (38, -12, -14)),
        ((0, -22, -24), (0, -42, -2)),
    ]
    for start, end in arteries:
        box = grid.box((start[0] / 2 + end[0] / 2, start[1], start[2]), 32)
        tube = capsule(grid.at(box), start, end, (rng.uniform(0.8, 2.2), rng.uniform(0.6, 1.4)))
        blend(tissue[box], grid.cover(tube, 1.0), blood + rng.uniform(-6, 6))


def _deep_grey(grid: Grid, grey: Array) -> None:
    """Caudate, lentiform nucleus and thalamus on both sides."""
    nuclei: list[tuple[Point, Point, float]] = [
        ((13, -22, 8), (5, 9, 9), 0),
        ((25, -6, 4), (6.5, 15, 9), 15),
        ((11, 11, 5), (8, 12, 9), -25),
    ]
    for side in (-1, 1):
        for (cx, cy, cz), semi, turn in nuclei:
            box = grid.box((side * cx, cy, cz), max(semi) + 2)
            inside = ellipsoid(grid.at(box), (side * cx, cy, cz), semi, side * turn)
            grey[box] = np.maximum(grey[box], 0.9 * grid.cover(inside, 4.0))


def _leukoaraiosis(head: Head, tissue: Array) -> None:
    """Dark white matter of age, small old infarcts, and large ones: confounders without blood."""
    grid, rng = head.grid, head.rng
    if rng.random() < 0.35:  # around the ventricles, both sides alike
        for side in (-1, 1):
            box = grid.box((side * 24, 0, 20), 60)
            inside = ellipsoid(grid.at(box), (side * 24, 0, 20), (12, 48, 14))
            tissue[box] -= grid.cover(inside, 9.0) * rng.uniform(2, 9)
    spots = int(rng.integers(1, 4)) if rng.random() < 0.45 else 0
    for _ in range(spots):
        side = int(rng.choice([-1, 1]))
        large = rng.random() < 0.25
        centre = (
            side * rng.uniform(15, 55),
            rng.uniform(-50, 60),
            rng.uniform(-5, 45),
        )
        radius = rng.uniform(24, 44) if large else rng.uniform(4, 22)
        box = grid.box(centre, radius * 1.6)
        inside = ellipsoid(grid.at(box), centre, (radius, radius * rng.uniform(0.8, 1.4), radius))
        inside += 0.25 * radius * grid.waves(rng, radius * 1.2, box, 24)
        # Fresh ones have lost some HU only; old ones are as dark as fluid.
        depth = rng.uniform(12, 24) if rng.random() < 0.25 else rng.uniform(2, 12)
        lost = grid.cover(inside, rng.uniform(2, 9)) * depth
        tissue[box] = np.maximum(tissue[box] - lost, CSF_HU)


def _falx(head: Head, sulci: Array, swollen: Array) -> Array:
    """The falx, and the cleft on both sides of it."""
    grid, a, rng = head.grid, head.anatomy, head.rng
    x, y, z = grid.x, grid.y, grid.z
    bend = a.midline * np.clip(1 - (y / a.half_length) ** 2, 0, 1)
    off = np.abs(x - bend)
    edge = np.sqrt(((y - 5) / (0.58 * a.half_length)) ** 2 + ((z - 2) / 38) ** 2)
    sheet = ramp(edge - 1, 0.06) * ramp(z + 18 - 0.1 * np.abs(y), 5) * (head.depth > -1)
    cleft = grid.cover(0.5 + 2.2 * a.atrophy * ramp(-y, 30) - off) * sheet
    np.maximum(sulci, cleft * (0.4 + 0.6 * swollen), out=sulci)
    strength = rng.uniform(0.45, 1.0)
    thick = rng.uniform(0.4, 1.5)
    falx: Array = grid.cover(thick - off) * sheet * strength
    return falx


def _cisterns(head: Head, sulci: Array, swollen: Array) -> None:
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
        inside = ellipsoid(grid.at(box), centre, (semi[0] * jitter, semi[1], semi[2]), turn)
        cover = grid.cover(inside, 1.5) * swollen[box]
        np.maximum(sulci[box], cover, out=sulci[box])
    # Around the midbrain and pons: a shell.
    box = grid.box((0, 12, -26), 34)
    at = grid.at(box)
    stem = ellipsoid(at, (0, 14, -36), (17, 15, 30))
    stem += 2.0 * grid.waves(rng, 32, box, 24)
    patchy = ramp(grid.waves(rng, 26, box, 24) + 0.4, 0.5)
    shell = grid.cover(1.6 * wide - np.abs(stem), 1.2) * ramp(at[2] + 44, 4) * patchy
    sulci[box] *= 1 - grid.cover(stem - 1)
    np.maximum(sulci[box], shell, out=sulci[box])


def _ventricles(head: Head) -> None:
    grid, a, rng = head.grid, head.anatomy, head.rng
    size = rng.uniform(0.7, 1.1) + 1.0 * a.atrophy
    if rng.random() < 0.12:
        size *= rng.uniform(1.3, 2.0)  # hydrocephalus
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
            stamp(capsule(grid.at(box), s, e, (radii[0] * one, radii[1] * one)), box)
    box = grid.box((mid, 4, -1), 18)
    stamp(ellipsoid(grid.at(box), (mid, 4, -1), (1.6 * size, 13, 10)), box)
    box = grid.box((0, 34, -42), 16)
    stamp(ellipsoid(grid.at(box), (0, 34, -42), (6 * size, 4.5 * size, 9)), box)


def _calcifications(head: Head, tissue: Array) -> None:
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
    for _ in range(int(rng.poisson(0.7))):  # in the falx
        spots.append(
            (
                (a.midline * 0.5, rng.uniform(-80, 60), rng.uniform(10, 70)),
                rng.uniform(1.2, 4.5),
                rng.uniform(100, 700),
            )
        )
    if rng.random() < 0.06:  # a small calcified mass on the dura
        side, angle = int(rng.choice([-1, 1])), rng.uniform(-1.2, 1.2)
        place = (
            side * 0.85 * a.half_width * math.cos(angle),
            0.85 * a.half_length * math.sin(angle),
            rng.uniform(0, 40),
        )
        spots.append((place, rng.uniform(3, 7), rng.uniform(110, 500)))
    if rng.random() < 0.15:
        for side in (-1, 1):
            spots.append(((side * 20, -8, 4), rng.uniform(2, 5), rng.uniform(50, 130)))
    for centre, radius, value in spots:
        box = grid.box(centre, radius * 2)
        inside = ellipsoid(grid.at(box), centre, (radius, radius * 1.2, radius))
        blend(tissue[box], grid.cover(inside, 1.5), value)


def _petrous_streaks(head: Head) -> None:
    """Dark and bright bands between the petrous bones."""
    grid, rng = head.grid, head.rng
    box = grid.box((0, 12, -46), 46)
    x, _, z = grid.at(box)
    bands = grid.waves(rng, 16, box, 10) * bell(z + 46, 9) * bell(x, 38)
    head.hu[box] += head.brain[box] * bands * rng.uniform(0, 11)
