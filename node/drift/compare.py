"""How far a distribution has moved: the population stability index.

References
----------
B. Yurdakul, J. Naranjo: Statistical properties of the population stability index. Journal of
Risk Model Validation 14 (4), 2020: without any change it is distributed as chi-square of one
less than the number of groups, times the sum of the reciprocals of both numbers.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from statistics import NormalDist

import numpy as np

from node.drift.traits import UNSAID

MODERATE, LARGE = 0.1, 0.25
"""From where on a shift is called so; the usual words for this index."""

CHANCE = 0.001
"""How often chance alone makes more than what is called chance: some twenty traits are compared
at each look, and one that has not changed is seldom to be called so."""

GROUPS = 10
"""Into which numbers are joined, of about the same size."""

_SMALL = 0.02
"""Words that fewer series say are taken together."""


class Level(StrEnum):
    """What is to be thought of a shift."""

    TOO_FEW = "too few series"
    STABLE = "stable"
    CHANCE = "may be chance"
    MODERATE = "moderate"
    LARGE = "large"


@dataclass(frozen=True)
class Shift:
    """How far a distribution has moved.

    Parameters
    ----------
    level : Level
    reference, recent : int
        Series on either side.
    psi : float, optional
        The population stability index; None with too few series.
    by_chance : float, optional
        What it reaches without any change in one of a thousand comparisons.
    """

    level: Level
    reference: int
    recent: int
    psi: float | None = None
    by_chance: float | None = None


def shift(
    reference: Mapping[str, int], recent: Mapping[str, int], *, is_number: bool, least: int
) -> Shift:
    """Compare two distributions.

    Parameters
    ----------
    reference, recent : mapping of str to int
        Series in each bin.
    is_number : bool
        Whether bins are lower edges of numbers; else words.
    least : int
        With fewer series on either side nothing is said.
    """
    totals = sum(reference.values()), sum(recent.values())
    if min(totals) < least:
        return Shift(Level.TOO_FEW, *totals)
    group = _numbers if is_number else _words
    groups = np.array(list(group(reference, recent)), dtype=float)
    if len(groups) < 2:
        return Shift(Level.STABLE, *totals, 0.0, 0.0)
    # Half a series more in each group: one that is empty on one side says much, not everything.
    shares = (groups + 0.5) / (groups + 0.5).sum(axis=0)
    before, after = shares.T
    psi = float(((after - before) * np.log(after / before)).sum())
    by_chance = _chi_square(len(groups) - 1) * sum(1 / total for total in totals)
    return Shift(_level(psi, by_chance), *totals, psi, by_chance)


def _chi_square(degrees: int) -> float:
    """What chi-square exceeds by chance, to some hundredths (Wilson and Hilferty 1931).

    SciPy knows it to all digits, and takes 16 MB of every process that looks.
    """
    ninth = 2 / (9 * degrees)
    far = NormalDist().inv_cdf(1 - CHANCE)
    return float(degrees * (1 - ninth + far * ninth**0.5) ** 3)


def _level(psi: float, by_chance: float) -> Level:
    if psi < MODERATE:
        return Level.STABLE
    if psi <= by_chance:
        return Level.CHANCE
    return Level.MODERATE if psi < LARGE else Level.LARGE


def _numbers(
    reference: Mapping[str, int], recent: Mapping[str, int]
) -> Iterator[tuple[float, float]]:
    """Join neighbours until each group holds a tenth of both sides together, taken as equal.

    Of both: what is new would fall into no group of the reference alone. A bin that holds as
    much by itself stays alone: what joined it would change unseen.
    """
    unsaid = reference.get(UNSAID, 0), recent.get(UNSAID, 0)
    if any(unsaid):
        yield unsaid
    totals = sum(reference.values()), sum(recent.values())

    def is_whole(before: int, after: int) -> bool:
        return before / totals[0] + after / totals[1] >= 2 / GROUPS

    before = after = 0
    for name in sorted({*reference, *recent} - {UNSAID}, key=float):
        here = reference.get(name, 0), recent.get(name, 0)
        if is_whole(*here) and (before or after):
            yield before, after
            before = after = 0
        before, after = before + here[0], after + here[1]
        if is_whole(before, after):
            yield before, after
            before = after = 0
    if before or after:
        yield before, after


def _words(
    reference: Mapping[str, int], recent: Mapping[str, int]
) -> Iterator[tuple[float, float]]:
    """Words that are said often enough, and all others together."""
    totals = sum(reference.values()), sum(recent.values())
    rare: Counter[str] = Counter()
    for name in sorted({*reference, *recent}):
        before, after = reference.get(name, 0), recent.get(name, 0)
        if before / totals[0] + after / totals[1] >= 2 * _SMALL:
            yield before, after
        else:
            rare += Counter(before=before, after=after)
    if rare:
        yield rare["before"], rare["after"]
