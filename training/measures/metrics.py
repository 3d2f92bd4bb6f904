"""How good probabilities are.

References
----------
Weighted log loss: RSNA Intracranial Hemorrhage Detection challenge (2019);
``any`` counts twice, values are clipped at 1e-15.
"""

from dataclasses import dataclass

import numpy as np
from scipy.stats import binomtest
from sklearn.calibration import calibration_curve
from sklearn.metrics import roc_auc_score, roc_curve

from training.loss import WEIGHTS

CLIP = 1e-15
"""Probabilities are kept this far from 0 and 1, as Kaggle did."""

LEVEL = 0.95
"""Of every interval."""


@dataclass(frozen=True)
class Interval:
    """A value between its limits.

    Parameters
    ----------
    value : float
    low, high : float
        95 % limits; not a number where there are none, and so is `value` where it is undefined.
    """

    value: float
    low: float = float("nan")
    high: float = float("nan")

    @property
    def defined(self) -> bool:
        """Whether there is a value."""
        return not np.isnan(self.value)


def log_losses(truth: np.ndarray, probability: np.ndarray) -> np.ndarray:
    """Log loss of every probability, clipped as Kaggle did.

    Parameters
    ----------
    truth : numpy.ndarray
        0 or 1, shape (n, 6).
    probability : numpy.ndarray
        Shape (n, 6).

    Returns
    -------
    numpy.ndarray
        float64, shape (n, 6).
    """
    p = np.clip(probability.astype(np.float64), CLIP, 1 - CLIP)
    return -np.where(truth.astype(bool), np.log(p), np.log1p(-p))


def weighted_log_loss(truth: np.ndarray, probability: np.ndarray) -> float:
    """RSNA's loss: the mean over slices and labels, ``any`` counted twice.

    Parameters
    ----------
    truth : numpy.ndarray
        0 or 1, shape (n, 6).
    probability : numpy.ndarray
        Shape (n, 6).
    """
    return float(log_losses(truth, probability).mean(axis=0) @ WEIGHTS)


def auc(truth: np.ndarray, probability: np.ndarray) -> float:
    """Area under the ROC curve, ties counted half.

    Parameters
    ----------
    truth, probability : numpy.ndarray
        Shape (n,).

    Returns
    -------
    float
        Not a number where all are of one class.
    """
    if _one_class(truth):
        return float("nan")
    return float(roc_auc_score(truth, probability))


def roc(truth: np.ndarray, probability: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sensitivity and specificity at every threshold that tells two slices apart.

    Returns
    -------
    thresholds : numpy.ndarray
        Falling; "present" means a probability of at least this.
    sensitivity, specificity : numpy.ndarray
        At each threshold.

    Raises
    ------
    ValueError
        If all are of one class: there is no curve.
    """
    if _one_class(truth):
        raise ValueError("a ROC curve needs both classes")
    fallout, sensitivity, thresholds = roc_curve(truth, probability, drop_intermediate=False)
    return thresholds[1:], sensitivity[1:], 1 - fallout[1:]  # the first is infinity: nothing called


def expected_calibration_error(truth: np.ndarray, probability: np.ndarray, bins: int = 15) -> float:
    """How far probabilities are from frequencies, on average over slices.

    Parameters
    ----------
    truth, probability : numpy.ndarray
        Shape (n,).
    bins : int
        Of equal width.

    Returns
    -------
    float
        0 is perfect; not a number where there are no slices.

    References
    ----------
    Guo et al., "On Calibration of Modern Neural Networks", 2017, equation 3.
    """
    if not len(truth):
        return float("nan")
    observed, predicted = calibration_curve(truth, probability, n_bins=bins)
    counts = np.bincount(np.searchsorted(np.linspace(0, 1, bins + 1)[1:-1], probability))
    return float(np.abs(observed - predicted) @ counts[counts > 0] / len(truth))


def wilson(successes: int, trials: int) -> Interval:
    """A proportion with its 95 % interval; undefined where nothing was tried.

    References
    ----------
    Wilson, "Probable Inference, the Law of Succession, and Statistical Inference", 1927.
    """
    if trials == 0:
        return Interval(float("nan"))
    limits = binomtest(successes, trials).proportion_ci(LEVEL, method="wilson")
    return Interval(successes / trials, float(limits.low), float(limits.high))


def _one_class(truth: np.ndarray) -> bool:
    return len(truth) == 0 or bool(truth.min() == truth.max())
