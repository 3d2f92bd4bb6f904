"""Whether what comes has changed: found where it has, and not where it has not."""

from collections import Counter

import numpy as np
import pytest

from node.drift import Level
from node.drift.compare import shift
from node.drift.traits import SOFT_MEAN, THICKNESS, UNSAID

LEAST = 100


def hu(mean: float, series: int, seed: int) -> Counter[str]:
    """Soft tissue of some series."""
    values = np.random.default_rng(seed).normal(mean, 3, series)
    return Counter(SOFT_MEAN.count(float(value)).bin for value in values)


def of_numbers(reference: Counter[str], recent: Counter[str]) -> Level:
    return shift(reference, recent, is_number=True, least=LEAST).level


def of_words(reference: dict[str, int], recent: dict[str, int]) -> Level:
    return shift(reference, recent, is_number=False, least=LEAST).level


def test_a_calibration_that_is_off_by_a_few_hu_is_found() -> None:
    assert of_numbers(hu(32, 1600, 1), hu(34, 250, 2)) is Level.LARGE


def test_the_same_scanner_stays_stable_however_often_one_looks() -> None:
    found = Counter(of_numbers(hu(32, 1600, k), hu(32, 250, 1000 + k)) for k in range(300))
    assert found[Level.LARGE] == 0
    assert found[Level.MODERATE] <= 2  # one in a thousand
    assert found[Level.STABLE] > 290


def test_with_few_series_what_chance_makes_is_not_called_a_change() -> None:
    found = Counter(of_numbers(hu(32, 200, k), hu(32, 100, 1000 + k)) for k in range(300))
    assert found[Level.MODERATE] + found[Level.LARGE] <= 2
    assert found[Level.CHANCE] > 30


def test_below_a_number_of_series_nothing_is_said() -> None:
    found = shift(hu(32, 1600, 1), hu(60, LEAST - 1, 2), is_number=True, least=LEAST)
    assert (found.level, found.psi, found.reference, found.recent) == (
        Level.TOO_FEW,
        None,
        1600,
        LEAST - 1,
    )
    assert of_numbers(Counter(), Counter()) is Level.TOO_FEW


@pytest.mark.parametrize(("before", "now"), [(5.0, 2.5), (2.5, 5.0), (5.0, 12.0)])
def test_a_value_that_never_came_before_is_found_where_all_were_the_same(
    before: float, now: float
) -> None:
    counts = [Counter({THICKNESS.count(value).bin: 300}) for value in (before, now)]
    assert of_numbers(*counts) is Level.LARGE
    assert of_numbers(counts[0], counts[0]) is Level.STABLE


@pytest.mark.parametrize("other", [2.5, 10.0])
@pytest.mark.parametrize("had", [0, 10])
def test_what_few_had_and_many_have_now_is_found_on_either_side_of_what_is_usual(
    other: float, had: int
) -> None:
    usual, new = THICKNESS.count(5.0).bin, THICKNESS.count(other).bin
    before, now = Counter({usual: 1000 - had, new: had}), Counter({usual: 170, new: 30})
    assert of_numbers(before, now) is Level.LARGE
    assert of_numbers(now, before) is Level.LARGE


def test_a_number_that_is_not_said_any_more_is_a_change() -> None:
    before = hu(32, 1000, 1)
    assert of_numbers(before, hu(32, 150, 2) + Counter({UNSAID: 100})) is Level.LARGE


def test_another_scanner_is_found_and_rare_ones_are_taken_together() -> None:
    before = {"Ring 1": 900, "Ring 2": 90} | {f"visitor {n}": 1 for n in range(10)}
    assert of_words(before, {"Ring 1": 270, "Ring 2": 27} | {"visitor 11": 3}) is Level.STABLE
    assert of_words(before, {"Ring 1": 100, "Ring 3": 200}) is Level.LARGE


def test_the_index_is_that_of_its_definition() -> None:
    found = shift({"a": 6000, "b": 4000}, {"a": 4000, "b": 6000}, is_number=False, least=LEAST)
    assert found.psi == pytest.approx(2 * 0.2 * np.log(0.6 / 0.4), rel=1e-3)
    # chi-square with one degree of freedom, one in a thousand
    assert found.by_chance == pytest.approx(10.828 * (1 / 10_000 + 1 / 10_000), rel=5e-2)
