"""How good probabilities are.

References
----------
Weighted log loss: RSNA Intracranial Hemorrhage Detection challenge (2019);
``any`` counts twice, values are clipped at 1e-15.
"""

import numpy as np
from scipy.stats import rankdata

from ml.labels import LABELS, Label

WEIGHTS = np.array([2.0 if label is Label.ANY else 1.0 for label in LABELS]) / (len(LABELS) + 1)
"""Share of each label in the loss, sum 1."""


def weighted_log_loss(truth: np.ndarray, probability: np.ndarray) -> float:
    """RSNA's loss.

    Parameters
    ----------
    truth : numpy.ndarray
        0 or 1, shape (n, 6).
    probability : numpy.ndarray
        Shape (n, 6).
    """
    p = np.clip(probability.astype(np.float64), 1e-15, 1 - 1e-15)
    loss = -(truth * np.log(p) + (1 - truth) * np.log(1 - p)).mean(axis=0)
    return float(loss @ WEIGHTS)


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
    positive = truth.astype(bool)
    n1, n0 = int(positive.sum()), int((~positive).sum())
    if n1 == 0 or n0 == 0:
        return float("nan")
    ranks = rankdata(probability)
    return float((ranks[positive].sum() - n1 * (n1 + 1) / 2) / (n1 * n0))


def roc(truth: np.ndarray, probability: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sensitivity and specificity at every threshold that tells two slices apart.

    Returns
    -------
    thresholds : numpy.ndarray
        Falling; "present" means a probability of at least this.
    sensitivity, specificity : numpy.ndarray
        At each threshold.
    """
    positive = truth.astype(bool)
    thresholds = np.unique(probability)[::-1]
    called = np.sort(probability[positive]), np.sort(probability[~positive])
    below = [np.searchsorted(values, thresholds, side="left") for values in called]
    sensitivity = 1 - below[0] / max(len(called[0]), 1)
    specificity = below[1] / max(len(called[1]), 1)
    return thresholds, sensitivity, specificity
