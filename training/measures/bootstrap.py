"""Intervals that respect that slices of one patient are alike: patients are drawn, not slices.

References
----------
Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13: percentile
intervals. Field and Welsh, "Bootstrapping clustered data", 2007: draw whole clusters.
"""

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array

from training.measures.metrics import LEVEL, Interval

RESAMPLES = 1000
"""How often patients are drawn, by default."""

UNDEFINED = 0.05
"""An interval is not given where a larger share of the draws has no value."""

_AT_A_TIME = 4_000_000  # weights held in memory at once


@dataclass(frozen=True)
class Bootstrap:
    """Draws of patients, the same for all that is measured on them, so that differences pair.

    Parameters
    ----------
    place : numpy.ndarray
        int, shape (n,): the patient of each observation, 0 to p - 1.
    drawn : numpy.ndarray
        int, shape (b, p): how often each patient stands in each draw.
    """

    place: np.ndarray
    drawn: np.ndarray

    @classmethod
    def of(cls, patients: np.ndarray, resamples: int = RESAMPLES, seed: int = 0) -> "Bootstrap":
        """Draw as many patients as there are, with replacement.

        Parameters
        ----------
        patients : numpy.ndarray
            Shape (n,): the name of the patient of each observation.
        """
        names, place = np.unique(patients, return_inverse=True)
        count = len(names)
        even = np.full(count, 1 / max(count, 1))
        drawn = np.random.default_rng(seed).multinomial(count, even, size=resamples)
        return cls(place, drawn)

    def select(self, chosen: np.ndarray) -> "Bootstrap":
        """The same draws for some of the observations.

        Parameters
        ----------
        chosen : numpy.ndarray
            bool, shape (n,).
        """
        kept, place = np.unique(self.place[chosen], return_inverse=True)
        return Bootstrap(place, self.drawn[:, kept])

    def mean(self, values: np.ndarray, among: np.ndarray | None = None) -> np.ndarray:
        """Mean of values in each draw.

        Parameters
        ----------
        values : numpy.ndarray
            Shape (n,).
        among : numpy.ndarray, optional
            bool, shape (n,): the observations that count.

        Returns
        -------
        numpy.ndarray
            float64, shape (b,); not a number where a draw has none that counts.
        """
        counted = np.ones(len(values)) if among is None else among.astype(np.float64)
        patients = self.drawn.shape[1]
        total = np.bincount(self.place, values * counted, minlength=patients)
        count = np.bincount(self.place, counted, minlength=patients)
        with np.errstate(invalid="ignore"):
            return (self.drawn @ total) / (self.drawn @ count)

    def auc(self, truth: np.ndarray, probability: np.ndarray) -> np.ndarray:
        """Area under the ROC curve in each draw, ties counted half.

        Parameters
        ----------
        truth, probability : numpy.ndarray
            Shape (n,).

        Returns
        -------
        numpy.ndarray
            float64, shape (b,); not a number where a draw has one class only.
        """
        positive = truth == 1
        scores, rank = np.unique(probability[positive], return_inverse=True)
        if not len(scores):
            return np.full(len(self.drawn), np.nan)
        absent = probability[~positive]
        above = np.searchsorted(scores, absent)  # the first positive score not below it
        tied = scores[np.minimum(above, len(scores) - 1)] == absent
        among, where = above < len(scores), self.place[~positive]
        present = self._count(rank, self.place[positive], len(scores))
        lower = self._count(above[among], where[among], len(scores))
        same = self._count(above[tied], where[tied], len(scores))
        absent_of = np.bincount(where, minlength=self.drawn.shape[1])
        step = max(1, _AT_A_TIME // len(scores))
        parts = []
        for start in range(0, len(self.drawn), step):
            drawn = self.drawn[start : start + step].T.astype(np.float64)
            weight = present @ drawn
            won = np.cumsum(lower @ drawn, axis=0) - (same @ drawn) / 2
            pairs = weight.sum(axis=0) * (absent_of @ drawn)
            with np.errstate(invalid="ignore"):
                parts.append((weight * won).sum(axis=0) / pairs)
        return np.concatenate(parts)

    def _count(self, score: np.ndarray, patient: np.ndarray, scores: int) -> csr_array:
        """How many observations each patient has at each score, shape (scores, p)."""
        shape = (scores, self.drawn.shape[1])
        return csr_array((np.ones(len(score)), (score, patient)), shape=shape)

    def interval(self, value: float, draws: np.ndarray) -> Interval:
        """A value with the percentiles of its draws.

        Parameters
        ----------
        value : float
            On the patients as they are.
        draws : numpy.ndarray
            Shape (b,).

        Returns
        -------
        Interval
            Without limits where there is no value, too many draws have none, or
            all draws have the same: that they do not differ tells nothing of how
            other patients would.
        """
        there = draws[np.isfinite(draws)]
        enough = len(there) >= max(2, (1 - UNDEFINED) * len(draws))
        if np.isnan(value) or not enough or np.ptp(there) == 0:
            return Interval(value)
        tail = 50 * (1 - LEVEL)
        low, high = np.percentile(there, (tail, 100 - tail))
        return Interval(value, float(low), float(high))
