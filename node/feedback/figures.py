"""Sensitivity, specificity and predictive values, each with its 95 % interval.

References
----------
Interval of a proportion: E. B. Wilson, J. Am. Stat. Assoc. 22 (1927) 209-212. Readers who
look at some series more often than at others: C. B. Begg and R. A. Greenes, Biometrics 39
(1983) 207-215.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from node.ledger import Tally

Z = 1.959963984540054
"""Of the standard normal distribution, 2.5 % lie above."""

FEW = 20
"""Of fewer series than this a proportion says little: its interval can be wider than 40 %."""


PROPORTIONS = (
    *("sensitivity", "specificity", "ppv", "npv"),
    *("prevalence", "flagged_read", "unflagged_read"),
)
ESTIMATES = ("adjusted_sensitivity", "adjusted_specificity")


@dataclass(frozen=True)
class Proportion:
    """How many of some are so.

    Parameters
    ----------
    hits, of : int
    """

    hits: int
    of: int

    @property
    def value(self) -> float | None:
        """Between 0 and 1; None of none."""
        return self.hits / self.of if self.of else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """In which the true proportion lies with 95 % confidence, by Wilson's score."""
        if not self.of:
            return None
        n, p = self.of, self.hits / self.of
        middle = p + Z**2 / (2 * n)
        half = Z * math.sqrt(p * (1 - p) / n + Z**2 / (4 * n**2))
        low, high = ((middle + sign * half) / (1 + Z**2 / n) for sign in (-1, 1))
        return (0.0 if self.hits == 0 else low, 1.0 if self.hits == n else high)

    @property
    def is_few(self) -> bool:
        """Whether it is of too few to say much."""
        return self.of < FEW


@dataclass(frozen=True)
class Estimate:
    """A value that was worked out from several proportions, with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Figures:
    """How a model's operating point compares with readers, for one finding.

    Parameters
    ----------
    tally : Tally
    """

    tally: Tally

    @property
    def read(self) -> int:
        """Series of which a reader says something of the finding."""
        return self._flagged_read + self._unflagged_read

    @property
    def sensitivity(self) -> Proportion:
        """Of those with the finding, the flagged ones."""
        t = self.tally
        return Proportion(t.true_positives, t.true_positives + t.false_negatives)

    @property
    def specificity(self) -> Proportion:
        """Of those without the finding, the ones that are not flagged."""
        t = self.tally
        return Proportion(t.true_negatives, t.true_negatives + t.false_positives)

    @property
    def ppv(self) -> Proportion:
        """Of the flagged ones, those with the finding."""
        return Proportion(self.tally.true_positives, self._flagged_read)

    @property
    def npv(self) -> Proportion:
        """Of those that are not flagged, the ones without the finding."""
        return Proportion(self.tally.true_negatives, self._unflagged_read)

    @property
    def prevalence(self) -> Proportion:
        """Of those that were read, the ones with the finding."""
        return Proportion(self.tally.true_positives + self.tally.false_negatives, self.read)

    @property
    def flagged_read(self) -> Proportion:
        """Of the flagged ones, those that were read."""
        return Proportion(self._flagged_read, self.tally.flagged)

    @property
    def unflagged_read(self) -> Proportion:
        """Of those that are not flagged, the ones that were read."""
        return Proportion(self._unflagged_read, self.tally.series - self.tally.flagged)

    @property
    def is_one_sided(self) -> bool:
        """Whether flagged series were read clearly more or less often than others.

        Then sensitivity and specificity of what was read are not those of what was judged.
        """
        flagged, others = self.flagged_read.interval, self.unflagged_read.interval
        if flagged is None or others is None:
            return False
        return flagged[0] > others[1] or others[0] > flagged[1]

    @property
    def adjusted_sensitivity(self) -> Estimate | None:
        """Of all that were judged, if chance chose who was read among flagged and among others."""
        return _share(self._share_flagged, self.ppv, _rest(self.npv))

    @property
    def adjusted_specificity(self) -> Estimate | None:
        """As `adjusted_sensitivity`."""
        return _share(_rest(self._share_flagged), self.npv, _rest(self.ppv))

    @property
    def _share_flagged(self) -> Proportion:
        return Proportion(self.tally.flagged, self.tally.series)

    @property
    def _flagged_read(self) -> int:
        return self.tally.true_positives + self.tally.false_positives

    @property
    def _unflagged_read(self) -> int:
        return self.tally.true_negatives + self.tally.false_negatives


def trailing(
    days: Mapping[int, Tally], first: int, last: int, *, step: int, width: int
) -> list[tuple[int, Tally]]:
    """Sums over the days up to each of some days.

    Parameters
    ----------
    days : mapping of int to Tally
        Since 1970.
    first, last : int
        Days; the sums end on the last one and every `step` days before it.
    step, width : int
        Days.
    """
    ends = range(last, first - 1, -step)[::-1]
    return [
        (end, sum((days[d] for d in range(end - width + 1, end + 1) if d in days), Tally()))
        for end in ends
    ]


def _rest(proportion: Proportion) -> Proportion:
    return Proportion(proportion.of - proportion.hits, proportion.of)


def _share(group: Proportion, inside: Proportion, outside: Proportion) -> Estimate | None:
    """Of all that have something, those in a group.

    Parameters
    ----------
    group : Proportion
        Who is in the group.
    inside, outside : Proportion
        Who has it in the group, and outside of it.

    Returns
    -------
    Estimate, optional
        Its interval by the delta method, on the logarithm of the odds; None where a
        proportion is of none, or 0 or 1 in a way that leaves no odds.
    """
    if not all((group.hits, group.of - group.hits, inside.hits, outside.hits)):
        return None
    p, a, b = (x.hits / x.of for x in (group, inside, outside))
    odds = math.log(p / (1 - p)) + math.log(a) - math.log(b)
    variance = 1 / (group.of * p * (1 - p))
    variance += (1 - a) / inside.hits + (1 - b) / outside.hits
    half = Z * math.sqrt(variance)
    value, low, high = (1 / (1 + math.exp(-o)) for o in (odds, odds - half, odds + half))
    return Estimate(value, low, high)


def as_json(figures: Figures) -> dict[str, Any]:
    """The figures of a finding, for programs."""
    document: dict[str, Any] = {"counts": asdict(figures.tally)}
    for name in PROPORTIONS:
        proportion: Proportion = getattr(figures, name)
        low, high = proportion.interval or (None, None)
        document[name] = {
            "value": proportion.value,
            "low": low,
            "high": high,
            "hits": proportion.hits,
            "of": proportion.of,
            "is_few": proportion.is_few,
        }
    for name in ESTIMATES:
        estimate: Estimate | None = getattr(figures, name)
        document[name] = (
            None
            if estimate is None
            else {"value": estimate.value, "low": estimate.low, "high": estimate.high}
        )
    document["is_one_sided"] = figures.is_one_sided
    return document
