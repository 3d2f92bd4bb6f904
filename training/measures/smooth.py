"""The simplest way to let neighbours have a say: probabilities averaged along the axis.

A baseline for stage 2, as public solutions of the RSNA 2019 challenge smoothed theirs. It
knows no labels but the one it smooths and learns one number, its width.
"""

import numpy as np
from scipy.ndimage import gaussian_filter1d

from training.measures.metrics import weighted_log_loss

WIDTHS = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0)
"""Standard deviations to choose from, in slices."""


def smoothed(probabilities: np.ndarray, lengths: np.ndarray, width: float) -> np.ndarray:
    """Average each label over neighbouring slices, weighted by a Gaussian.

    Beyond the ends the edge slice is repeated, as stage 2 does.

    Parameters
    ----------
    probabilities : numpy.ndarray
        Shape (n, 6), the slices of a series following each other.
    lengths : numpy.ndarray
        Slices of each series.
    width : float
        Standard deviation, in slices.

    Returns
    -------
    numpy.ndarray
        float64, shape (n, 6).
    """
    series = np.split(probabilities.astype(np.float64), np.cumsum(lengths)[:-1])
    return np.concatenate([gaussian_filter1d(s, width, axis=0, mode="nearest") for s in series])


def best_width(truth: np.ndarray, probabilities: np.ndarray, lengths: np.ndarray) -> float:
    """The one of `WIDTHS` with the lowest weighted log loss."""
    return min(WIDTHS, key=lambda w: weighted_log_loss(truth, smoothed(probabilities, lengths, w)))
