"""Synthetic head CT with known bleeds: a pure function of a seed.

A phantom is for showing the way of a series through the node, for testing it,
and for training the model that ships with it. `make_phantom` draws it in these
steps::

    anatomy.py  the measures of the head, and the maps it is drawn into
    gantry.py   where the slices lie and how the head lies between them
    head.py     skin, skull, base and face, from the outside in
    brain.py    what lies inside the dura, with what looks like blood but is none
    bleeds.py   the findings, each with the slices on which it can be seen
    neck.py     what lies below it: jaw, spine, airway
    scanner.py  partial volume, calibration, kernel, artefacts and noise
    result.py   the phantom: slices, labels, positions
    dicom.py    the phantom as files

All of them draw with the shapes in ``grid.py``. Everything is expressed in head
coordinates in mm: x to the left, y to the back, z to the head, the origin
between the ventricles.
"""

from collections.abc import Sequence

import numpy as np

from ml.labels import LABELS, SUBTYPES, Label
from ml.phantom.anatomy import draw_anatomy
from ml.phantom.bleeds import draw_findings, place_bleed
from ml.phantom.dicom import phantom_uid, write_dicom
from ml.phantom.gantry import plan_gantry, sample
from ml.phantom.head import draw_head
from ml.phantom.result import Finding, Phantom
from ml.phantom.scanner import scan

__all__ = ["Finding", "Phantom", "make_phantom", "phantom_uid", "write_dicom"]


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
        The bleeds to place, clearly visible, in thick slices and with a kernel for
        the brain, as a node gets them; empty for none.
        Drawn at random where it is not given: about half of all heads have
        none, and slices are 0.6 to 7 mm apart.

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
    wanted = draw_findings(rng) if findings is None else tuple(dict.fromkeys(findings))
    anatomy = draw_anatomy(rng, wanted)
    drawn = size // 2 if size >= 384 and size % 2 == 0 else size
    gantry = plan_gantry(rng, size, anatomy.height, usual=findings is not None)
    grid = sample(gantry, size // drawn, drawn, rng)
    grid.warp(rng, rng.uniform(0.6, 1.8), rng.uniform(60, 110))
    head = draw_head(grid, anatomy, rng)

    labels = np.zeros((len(gantry.origins), len(LABELS)), dtype=np.uint8)
    voxel_ml = grid.pixel_mm**2 * gantry.spacing_mm / 1000
    placed = []
    for label in wanted:
        extent = rng.uniform(0.45, 0.9) if findings is not None else rng.beta(1.2, 1.6)
        finding, seen = place_bleed(head, label, extent, voxel_ml)
        labels[:, LABELS.index(label)] = seen
        placed.append(finding)
    labels[:, LABELS.index(Label.ANY)] = labels.max(axis=1)
    hu, kernel = scan(head.hu, gantry, size, rng, usual=findings is not None)
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
