"""Is it a head? What the pixels of a series say, whatever its header says.

The mark of a head is the skull: bone all around soft tissue, a finger's breadth below
the skin. From the middle of the largest soft region of a slice, rays go out in all
directions; how many of them meet bone, how far out, and how far below the skin, tells
a skull from ribs, a pelvis, a vertebra or a long bone.

Too much is taken for a head rather than too little. A skull may be on a few slices
only, have holes (craniotomy), be cut by the edge of the image, thin (infants) or hidden
behind metal on others. Where none is found the series is still only doubtful, unless
it was seen what it shows instead: nothing but air, no bone, lungs, a trunk, more soft
tissue than fits into a skull, none at all, or bones that enclose nothing.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from scipy import ndimage

MOST_SLICES = 24
"""So many slices are looked at, evenly spread over a series with more."""

CELL_MM = 2.0
"""Size of the cells that a slice is looked at in; bone is looked for in half of it."""

BODY_HU = -300
"""Less is air, foam or a blanket."""

LUNG_HU = -450
"""Less is air or lung."""

SOFT_HU = (-30, 130)
"""Brain, blood, liquor, muscle and organs; neither fat nor bone."""

BRAIN_HU = (8, 80)
"""Median of a large part of a brain, swollen, bled into or of an infant; water is outside."""

BONE_HU = 160
"""More is bone: low, for the skull of an infant and partial volume; also contrast agent."""

RAYS = 72
"""Directions that are looked into: one in 5 degrees."""

USUAL_FIELD_MM = 240.0
"""Taken for the longer side of the image where the pixel spacing is not known."""

FIELD_MM = (100.0, 700.0)
"""Longer side of an image that shows enough of a patient, and not more than a gantry holds."""

LEAST_BODY_CM2 = 4.0
"""What is smaller is not the patient: a tube, a part of the table."""

FEWEST_SLICES = 5
"""Fewer slices with a body are too few to call a series something else."""

LEAST_EXTENT_MM = 40.0
"""Lower stacks may lie beside the brain in a head: above it in the vertex, or below it."""


Size = tuple[float, float]
"""Between rows, between columns, mm."""


class Finding(StrEnum):
    """What a series shows."""

    HEAD = "head"
    DOUBTFUL = "doubtful"
    NOT_A_HEAD = "not a head"


@dataclass(frozen=True)
class Section:
    """What one slice shows; all zero where there is no body.

    Parameters
    ----------
    body_cm2 : float
        Area of the largest body, with what it encloses.
    width_mm : float
        Its longer side, along rows or columns.
    air_cm2 : float
        Air and lung that it encloses.
    bone_cm2 : float
        Bone, calcium, contrast agent and metal in it.
    soft_mm : float
        Radius of the largest circle of soft tissue in it.
    soft_hu : float
        Median of that circle, HU.
    ring : float
        Share of directions from the middle of that circle that meet bone, 0 to 1.
    ring_mm : float
        Median distance of the first bone in them.
    scalp_mm : float
        Median depth of the last bone in them below the skin.
    cut : float
        Share of the image's edge, as an inscribed ellipse, that lies in the body, 0 to 1.
    """

    body_cm2: float = 0.0
    width_mm: float = 0.0
    air_cm2: float = 0.0
    bone_cm2: float = 0.0
    soft_mm: float = 0.0
    soft_hu: float = 0.0
    ring: float = 0.0
    ring_mm: float = 0.0
    scalp_mm: float = 0.0
    cut: float = 0.0

    @property
    def is_skull(self) -> bool:
        """Whether bone surrounds soft tissue of the size of a brain, close to the skin."""
        return (
            self.ring >= 0.7
            and not self.has_lungs
            and self.soft_mm >= 18
            and 20 <= self.ring_mm <= 95
            and self.scalp_mm <= 25
        )

    @property
    def may_be_skull(self) -> bool:
        """Whether it could be one: opened, seen in part, of another size, below a frame."""
        return self.ring >= 0.5 and self.ring_mm >= 12 and self.scalp_mm <= 40

    @property
    def is_closed(self) -> bool:
        """Whether bone surrounds whatever is there, not far below the skin."""
        return self.ring >= 0.85 and self.scalp_mm <= 40

    @property
    def has_lungs(self) -> bool:
        """Whether it encloses more air than sinuses, airways and a head rest do."""
        return self.air_cm2 >= 20 and self.air_cm2 >= 0.15 * self.body_cm2


@dataclass(frozen=True)
class Anatomy:
    """What a series shows.

    Parameters
    ----------
    finding : Finding
    detail : str
        What was seen, a sentence without a full stop.
    slices : int
        Slices looked at that show a body.
    skulls : int
        Those that show a skull.
    width_mm, body_cm2, air_cm2, bone_cm2, soft_mm, soft_hu : float
        Medians of `Section` over these slices; without a pixel spacing they are of an
        image of `USUAL_FIELD_MM`.
    """

    finding: Finding
    detail: str
    slices: int = 0
    skulls: int = 0
    width_mm: float = 0.0
    body_cm2: float = 0.0
    air_cm2: float = 0.0
    bone_cm2: float = 0.0
    soft_mm: float = 0.0
    soft_hu: float = 0.0


def look_at_anatomy(
    hu: np.ndarray,
    spacing_mm: Size | None,
    positions_mm: Sequence[float],
) -> Anatomy:
    """Look whether a series shows a head.

    Parameters
    ----------
    hu : numpy.ndarray
        int16, shape (n, rows, columns), HU, with air at about -1000.
    spacing_mm : tuple of 2 float, optional
        Between rows, between columns; without it a series is never called something else
        than a head.
    positions_mm : sequence of float
        Of the n slices along the normal.
    """
    unknown = _why_unknown(hu.shape, spacing_mm)
    size_mm = (USUAL_FIELD_MM / max(hu.shape[1:]),) * 2
    if spacing_mm is not None and not unknown:
        size_mm = spacing_mm
    looked_at = np.unique(np.linspace(0, len(hu) - 1, min(len(hu), MOST_SLICES)).round())
    sections = [measure(hu[int(index)], size_mm) for index in looked_at]
    bodies = [section for section in sections if section.body_cm2 > 0]
    finding, detail = _judge(bodies, len(sections), _extent_mm(positions_mm))
    if finding is Finding.NOT_A_HEAD and bodies:
        few = f"a body is on {len(bodies)} slices only" if len(bodies) < FEWEST_SLICES else ""
        if doubt := unknown or few:
            finding, detail = Finding.DOUBTFUL, f"{detail}; but {doubt}"
    return Anatomy(
        finding,
        detail,
        len(bodies),
        sum(section.is_skull for section in bodies),
        *(
            _median(bodies, name)
            for name in ("width_mm", "body_cm2", "air_cm2", "bone_cm2", "soft_mm", "soft_hu")
        ),
    )


# -- a series --------------------------------------------------------------


def _judge(bodies: Sequence[Section], seen: int, extent_mm: float) -> tuple[Finding, str]:
    skulls = [section for section in bodies if section.is_skull]
    of_all = f"{len(skulls)} of {len(bodies)} slices looked at"
    if not skulls and (instead := _something_else(bodies, seen, extent_mm)):
        return Finding.NOT_A_HEAD, instead
    if not skulls:
        return Finding.DOUBTFUL, f"no slice of {len(bodies)} looked at shows a skull for certain"
    inside_hu = _median(skulls, "soft_hu")
    if not BRAIN_HU[0] <= inside_hu <= BRAIN_HU[1]:
        return Finding.DOUBTFUL, (
            f"what the bone encloses measures {inside_hu:.0f} HU, other than a brain"
        )
    if len(skulls) < 0.25 * len(bodies):
        return Finding.DOUBTFUL, f"a skull is on {of_all} only"
    return Finding.HEAD, f"a skull is on {of_all}"


def _something_else(bodies: Sequence[Section], seen: int, extent_mm: float) -> str | None:
    """What a series without a skull shows instead, the plainest first; None if that is open."""
    if not bodies:
        return f"nothing but air on {seen} slices looked at"
    width, area, bone = (_median(bodies, name) for name in ("width_mm", "body_cm2", "bone_cm2"))
    soft = _median(bodies, "soft_mm")
    where = f"no skull on {len(bodies)} slices looked at"
    lungs = [section for section in bodies if section.has_lungs and not section.is_closed]
    if len(lungs) >= 0.25 * len(bodies):
        return (
            f"{where}, but {_median(lungs, 'air_cm2'):.0f} cm2 of air or lung in a body "
            f"{width:.0f} mm wide on {len(lungs)} of them"
        )
    if max(section.soft_mm for section in bodies) < 8 and area >= 150:
        return f"{where}, and no soft tissue: the values are noise or not in HU"
    whole = _median(bodies, "cut") < 0.5
    soft_hu = _median(bodies, "soft_hu")
    if (
        whole
        and area >= 50
        and max(section.bone_cm2 for section in bodies) < 1
        and not BRAIN_HU[0] <= soft_hu <= BRAIN_HU[1]
    ):
        return (
            f"no bone on {len(bodies)} slices looked at, but a body {width:.0f} mm wide "
            f"of about {soft_hu:.0f} HU"
        )
    likely = sum(section.may_be_skull for section in bodies)
    if likely < 0.5 * len(bodies) and soft > 95:
        return f"{where}, but soft tissue {2 * soft:.0f} mm across, more than fits into one"
    if likely < 0.5 * len(bodies) and area > 450 and _median(bodies, "cut") < 0.9:
        return f"{where}, but a body {width:.0f} mm wide: a trunk"
    brain_like = max(one.soft_mm for one in bodies) > 45 and BRAIN_HU[0] <= soft_hu <= BRAIN_HU[1]
    if not likely and whole and bone >= 1 and not brain_like and extent_mm >= LEAST_EXTENT_MM:
        return (
            f"{where}, but {bone:.0f} cm2 of bone that encloses nothing in a body "
            f"{width:.0f} mm wide"
        )
    return None


def _why_unknown(shape: tuple[int, ...], spacing_mm: Size | None) -> str:
    """Why the size of a pixel is not known; nothing if it is."""
    if spacing_mm is None or not all(math.isfinite(mm) and mm > 0 for mm in spacing_mm):
        return "the pixel spacing is not known"
    field_mm = max(side * mm for side, mm in zip(shape[1:], spacing_mm, strict=True))
    if not FIELD_MM[0] <= field_mm <= FIELD_MM[1]:
        return f"an image {field_mm:.0f} mm wide tells little"
    return ""


def _extent_mm(positions_mm: Sequence[float]) -> float:
    return float(np.ptp(positions_mm)) if len(positions_mm) else 0.0


def _median(sections: Sequence[Section], name: str) -> float:
    return float(np.median([getattr(one, name) for one in sections])) if sections else 0.0


# -- a slice ---------------------------------------------------------------


def measure(hu: np.ndarray, spacing_mm: Size) -> Section:
    """Measure a slice.

    Parameters
    ----------
    hu : numpy.ndarray
        int16, shape (rows, columns), HU.
    spacing_mm : tuple of 2 float
        Between rows, between columns.
    """
    fine, fine_mm = _mean_of(hu, spacing_mm, CELL_MM / 2)
    mean, cell_mm = _mean_of(fine, fine_mm, CELL_MM)
    bone = np.maximum.reduce(_tiles(fine, fine_mm, CELL_MM)) > BONE_HU
    cm2 = cell_mm[0] * cell_mm[1] / 100

    body = _largest(ndimage.binary_opening(mean > BODY_HU, iterations=2))
    if body.sum() * cm2 < LEAST_BODY_CM2:
        return Section()
    body = _filled(body)
    cut = _cut(body)
    box = ndimage.find_objects(body.astype(np.uint8))[0]
    body, mean, bone = body[box], mean[box], bone[box] & body[box]
    smooth = ndimage.uniform_filter(mean, 3)
    soft = body & (smooth >= SOFT_HU[0]) & (smooth <= SOFT_HU[1])
    depth = ndimage.distance_transform_edt(np.pad(soft, 1), sampling=cell_mm)[1:-1, 1:-1]
    centre = np.unravel_index(int(depth.argmax()), depth.shape)
    radius = float(depth[centre])
    ring, ring_mm, scalp_mm = _look_around(bone, body, centre, cell_mm)
    return Section(
        body_cm2=float(body.sum() * cm2),
        width_mm=max(side * mm for side, mm in zip(body.shape, cell_mm, strict=True)),
        air_cm2=float((body & (mean < LUNG_HU)).sum() * cm2),
        bone_cm2=float(bone.sum() * cm2),
        soft_mm=radius,
        soft_hu=_inside(mean, soft, centre, radius, cell_mm),
        ring=ring,
        ring_mm=ring_mm,
        scalp_mm=scalp_mm,
        cut=cut,
    )


def _tiles(values: np.ndarray, size_mm: Size, to_mm: float) -> list[np.ndarray]:
    """The values that fall into one cell of about `to_mm`, first ones, second ones, ..."""
    down, across = (
        min(max(1, round(to_mm / mm)), side) for mm, side in zip(size_mm, values.shape, strict=True)
    )
    rows, columns = values.shape[0] // down * down, values.shape[1] // across * across
    return [values[i:rows:down, j:columns:across] for i in range(down) for j in range(across)]


def _mean_of(values: np.ndarray, size_mm: Size, to_mm: float) -> tuple[np.ndarray, Size]:
    """Mean of every cell of about `to_mm`, and the size that the cells really have."""
    tiles = _tiles(values, size_mm, to_mm)
    total = tiles[0].astype(np.float32)
    for tile in tiles[1:]:
        total += tile
    down, across = values.shape[0] // len(total), values.shape[1] // total.shape[1]
    return total / len(tiles), (size_mm[0] * down, size_mm[1] * across)


def _largest(mask: np.ndarray) -> np.ndarray:
    parts, _ = ndimage.label(mask)
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    return mask & (parts == sizes.argmax())


def _filled(mask: np.ndarray) -> np.ndarray:
    """A mask with its holes; what is open to the edge of the image is none."""
    parts, _ = ndimage.label(np.pad(~mask, 1, constant_values=True))
    return (parts != parts[0, 0])[1:-1, 1:-1]


def _look_around(
    bone: np.ndarray, body: np.ndarray, centre: tuple[np.intp, ...], cell_mm: Size
) -> tuple[float, float, float]:
    """Share of rays that meet bone, median distance of the first, median depth of the last."""
    step_mm = min(cell_mm)
    angles = np.arange(RAYS) * (2 * math.pi / RAYS)
    reach_mm = math.hypot(*(side * mm for side, mm in zip(bone.shape, cell_mm, strict=True)))
    along_mm = np.arange(0.0, reach_mm, step_mm)
    row, column = (
        np.rint(start + np.outer(turn, along_mm) / mm).astype(np.intp)
        for start, turn, mm in zip(centre, (np.sin(angles), np.cos(angles)), cell_mm, strict=True)
    )
    rows, columns = bone.shape
    outside = (row < 0) | (row >= rows) | (column < 0) | (column >= columns)
    row[outside] = column[outside] = 0
    on_bone, on_body = bone[row, column] & ~outside, body[row, column] & ~outside
    met = on_bone.any(axis=1)
    if not met.any():
        return 0.0, 0.0, 0.0
    first, from_edge = on_bone.argmax(axis=1), on_bone[:, ::-1].argmax(axis=1)
    scalp = (from_edge - on_body[:, ::-1].argmax(axis=1))[met]
    return (
        float(met.mean()),
        float(np.median(first[met])) * step_mm,
        float(np.median(scalp)) * step_mm,
    )


def _inside(
    mean: np.ndarray,
    soft: np.ndarray,
    centre: tuple[np.intp, ...],
    radius_mm: float,
    cell_mm: Size,
) -> float:
    row, column = np.ogrid[: mean.shape[0], : mean.shape[1]]
    away_mm = np.hypot((row - centre[0]) * cell_mm[0], (column - centre[1]) * cell_mm[1])
    inside = mean[soft & (away_mm <= radius_mm)]
    return float(np.median(inside)) if len(inside) else 0.0


def _cut(body: np.ndarray) -> float:
    angles = np.arange(RAYS) * (2 * math.pi / RAYS)
    row, column = (
        np.rint((side - 1) / 2 * (1 + 0.96 * turn)).astype(np.intp)
        for side, turn in zip(body.shape, (np.sin(angles), np.cos(angles)), strict=True)
    )
    return float(body[row, column].mean())
