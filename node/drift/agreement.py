"""How far two models agree on the same series.

References
----------
J. Cohen: A coefficient of agreement for nominal scales. Educational and Psychological
Measurement 20 (1960).
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from ml.labels import SUBTYPES, Label
from node.drift import traits
from node.ledger import JudgingModel, Shadow, TraitCount, TraitTally

PREFIX = "agree_"
"""Of the names of traits that say how far both agree on a finding."""

ANYTHING = "flagged"
"""Stands for the series as a whole: whether anything is flagged in it."""

AGREED = f"{PREFIX}{ANYTHING}"
"""The trait whose mean is the share of series on which both agree."""

DRAWS = 4000
LEAST_RANKED = 10
"""Of fewer series no rank correlation is told."""


class Verdict(StrEnum):
    """Which of two models call a finding present."""

    BOTH = "both"
    NEITHER = "neither"
    ONLY_PRIMARY = "only_primary"
    ONLY_SHADOW = "only_shadow"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Kappa:
    """Cohen's kappa: 1 is agreement on every series, 0 as much as chance makes.

    Parameters
    ----------
    value : float
    low, high : float
        Between these it lies with a probability of 95 %.
    """

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Agreement:
    """How far two models agree on a finding.

    Parameters
    ----------
    finding : Label, optional
        None: whether anything is flagged.
    counts : mapping of Verdict to int
        Series.
    apart : float, optional
        Mean absolute difference of the highest probabilities; None where there is none.
    """

    finding: Label | None
    counts: Mapping[Verdict, int]
    apart: float | None

    @property
    def compared(self) -> int:
        """Series of which both models say whether it is present."""
        return sum(n for verdict, n in self.counts.items() if verdict is not Verdict.UNKNOWN)

    @property
    def agreed(self) -> int:
        """Of these, those on which both say the same."""
        return self.counts[Verdict.BOTH] + self.counts[Verdict.NEITHER]

    @property
    def kappa(self) -> Kappa | None:
        """None where it says nothing: both models always said the same one thing."""
        if self.compared in (self.counts[Verdict.BOTH], self.counts[Verdict.NEITHER]):
            return None
        order = (Verdict.BOTH, Verdict.ONLY_PRIMARY, Verdict.ONLY_SHADOW, Verdict.NEITHER)
        cells = np.array([self.counts[verdict] for verdict in order], dtype=float)
        # The tables that these counts leave likely, by Jeffreys' prior; always the same draws.
        # A normal approximation would say of thirty series without a difference that it is
        # certain that there is none.
        drawn = np.random.default_rng(1960).dirichlet(cells + 0.5, DRAWS)
        low, high = np.quantile(_kappa(drawn), [0.025, 0.975])
        value = float(_kappa(cells[None])[0])
        return Kappa(value, min(float(low), value), max(float(high), value))


def _kappa(tables: np.ndarray) -> np.ndarray:
    """Of tables with the columns both, only the first, only the second, neither."""
    shares = tables / tables.sum(axis=1, keepdims=True)
    both, first, second, neither = shares.T
    chance = (both + first) * (both + second) + (neither + first) * (neither + second)
    found: np.ndarray = (both + neither - chance) / (1 - chance)
    return found


def agreed_on(
    primary_maxima: Mapping[str, float],
    primary_flagged: Sequence[str],
    primary: JudgingModel,
    maxima: Mapping[str, float],
    flagged: Sequence[str],
    judge: JudgingModel,
) -> tuple[TraitCount, ...]:
    """How far two judges agree on a series, to be counted."""
    can_tell = bool(primary.operating_point and judge.operating_point)

    def count(name: str, by_first: bool, by_second: bool, value: float) -> TraitCount:
        verdict = _verdict(by_first, by_second) if can_tell else Verdict.UNKNOWN
        return TraitCount(f"{PREFIX}{name}", verdict, value)

    # Its value is whether both say the same: what is shown of each day is the mean.
    same = float(bool(primary_flagged) == bool(flagged))
    found = [count(ANYTHING, bool(primary_flagged), bool(flagged), same)]
    for label in traits.MAXIMA:
        name = label.value
        apart = abs(primary_maxima[name] - maxima[name])
        found.append(count(name, name in primary_flagged, name in flagged, apart))
    return tuple(found)


def _verdict(by_first: bool, by_second: bool) -> Verdict:
    if by_first:
        return Verdict.BOTH if by_second else Verdict.ONLY_PRIMARY
    return Verdict.ONLY_SHADOW if by_second else Verdict.NEITHER


def agreements(tallies: Iterable[TraitTally]) -> tuple[Agreement, ...]:
    """What was counted by `agreed_on`: of the series as a whole, then of each finding."""
    by_name: dict[str, list[TraitTally]] = defaultdict(list)
    for tally in tallies:
        if tally.trait.startswith(PREFIX):
            by_name[tally.trait.removeprefix(PREFIX)].append(tally)
    if not by_name:
        return ()
    found = []
    for finding in (None, Label.ANY, *SUBTYPES):
        of_it = by_name[ANYTHING if finding is None else finding.value]
        counts = dict.fromkeys(Verdict, 0)
        for tally in of_it:
            counts[Verdict(tally.bin)] += tally.series
        series = sum(counts.values())
        apart = sum(tally.total for tally in of_it) / series if finding and series else None
        found.append(Agreement(finding, counts, apart))
    return tuple(found)


def furthest_apart(shadow: Shadow) -> tuple[Label, float]:
    """The finding of which both models say the most different, and by how much."""
    assert shadow.maxima is not None
    return max(
        (
            (label, abs(shadow.primary_maxima[label.value] - shadow.maxima[label.value]))
            for label in traits.MAXIMA
        ),
        key=lambda item: item[1],
    )


def rank_correlation(shadows: Sequence[Shadow], finding: Label) -> float | None:
    """Spearman's: whether both models put series in the same order, -1 to 1.

    None for too few series, or where a model says the same of all.
    """
    if len(shadows) < LEAST_RANKED:
        return None
    first = _ranks([shadow.primary_maxima[finding.value] for shadow in shadows])
    second = _ranks([(shadow.maxima or {})[finding.value] for shadow in shadows])
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return None
    return float(np.corrcoef(first, second)[0, 1])


def _ranks(values: Sequence[float]) -> np.ndarray:
    """Equal values share the mean of their ranks."""
    _, which, counts = np.unique(values, return_inverse=True, return_counts=True)
    middles: np.ndarray = np.cumsum(counts) - (counts - 1) / 2
    return middles[which]
