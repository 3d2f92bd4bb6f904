"""Thin slices averaged to thick ones, as radiologists read and RSNA's set has them."""

import numpy as np


def average_slabs(
    hu: np.ndarray, positions_mm: np.ndarray, thickness_mm: float
) -> tuple[np.ndarray, np.ndarray, list[int]]:
    """Average the slices that lie in the same stretch of the axis.

    Parameters
    ----------
    hu : numpy.ndarray
        int16, shape (n, rows, columns), HU.
    positions_mm : numpy.ndarray
        Shape (n,), growing; steps may be uneven.
    thickness_mm : float
        Length of a stretch; the first begins at the first slice.

    Returns
    -------
    numpy.ndarray
        int16, shape (m, rows, columns), HU.
    numpy.ndarray
        float64, shape (m,): mean position of the slices of each.
    list of int
        The slice in the middle of each, which names it.
    """
    positions = np.asarray(positions_mm, dtype=float)
    # half a hundredth of a millimetre: positions in headers are rounded
    stretch = np.floor((positions - positions[0] + 0.005) / thickness_mm).astype(int)
    starts = [0, *(np.flatnonzero(np.diff(stretch)) + 1).tolist()]
    ends = [*starts[1:], len(positions)]
    out = np.empty((len(starts), *hu.shape[1:]), dtype=np.int16)
    for slab, (start, end) in enumerate(zip(starts, ends, strict=True)):
        out[slab] = np.rint(hu[start:end].mean(axis=0, dtype=np.float32))
    means = [positions[start:end].mean() for start, end in zip(starts, ends, strict=True)]
    middles = [(start + end - 1) // 2 for start, end in zip(starts, ends, strict=True)]
    return out, np.array(means), middles
