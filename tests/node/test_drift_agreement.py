"""How far two models agree: as the textbooks have it, and no surer than the series allow."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn.metrics import cohen_kappa_score

from ml.labels import LABELS, Label
from node.drift import Verdict, agreed_on, furthest_apart, rank_correlation
from node.drift.agreement import Agreement, agreements
from node.ledger import JudgingModel, Shadow, ShadowState, TraitTally
from tests.drift import FIRST, SECOND

SAME = {label.value: 0.2 for label in LABELS}


def of(both: int, first: int, second: int, neither: int) -> Agreement:
    counts = zip(Verdict, (both, neither, first, second, 0), strict=True)
    return Agreement(None, dict(counts), None)


def shadow(said: dict[str, float], other: dict[str, float]) -> Shadow:
    at = datetime(2026, 11, 26, tzinfo=UTC)
    return Shadow(*(1, 1, ShadowState.JUDGED, FIRST, said, (), SECOND, other, (), 1, 1, at, None))


def counted(*series: Sequence[object]) -> list[TraitTally]:
    return [
        TraitTally(1, 2, count.trait, count.bin, 1, count.value) for one in series for count in one
    ]


@pytest.mark.parametrize("table", [(30, 4, 6, 160), (5, 1, 0, 94), (10, 40, 35, 15)])
def test_kappa_is_cohens(table: tuple[int, int, int, int]) -> None:
    both, first, second, neither = table
    one = [1] * (both + first) + [0] * (second + neither)
    other = [1] * both + [0] * first + [1] * second + [0] * neither
    kappa = of(*table).kappa
    assert kappa is not None
    assert kappa.value == pytest.approx(cohen_kappa_score(one, other))
    assert kappa.low < kappa.value < kappa.high


def test_few_series_without_a_difference_make_nobody_certain() -> None:
    few, many = of(3, 0, 0, 20).kappa, of(150, 0, 0, 1000).kappa
    assert few is not None and many is not None
    assert few.value == few.high == many.value == 1
    assert few.low < 0.75 < 0.98 < many.low


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(3)
    shares = np.array([0.12, 0.03, 0.03, 0.82])
    truth = (0.94 - (0.15**2 + 0.85**2)) / (1 - (0.15**2 + 0.85**2))
    within = 0
    for _ in range(200):
        kappa = of(*map(int, rng.multinomial(150, shares))).kappa
        within += kappa is not None and kappa.low <= truth <= kappa.high
    assert 180 <= within <= 198


def test_where_both_always_say_the_same_one_thing_kappa_says_nothing() -> None:
    assert of(0, 0, 0, 500).kappa is None
    assert of(0, 0, 0, 0).kappa is None


@pytest.mark.parametrize("table", [(0, 200, 0, 0), (0, 0, 200, 0), (0, 100, 100, 0)])
def test_of_models_that_never_say_the_same_kappa_says_so(table: tuple[int, int, int, int]) -> None:
    _, first, second, _ = table
    kappa = of(*table).kappa
    assert kappa is not None
    assert kappa.value == pytest.approx(
        cohen_kappa_score([1] * first + [0] * second, [0] * first + [1] * second)
    )
    assert kappa.low <= kappa.value <= kappa.high < 0.1


def test_series_are_counted_by_who_calls_a_finding_present() -> None:
    subdural = SAME | {"subdural": 0.9}
    found = agreements(
        counted(
            agreed_on(subdural, ["subdural"], FIRST, subdural, ["subdural"], SECOND),
            agreed_on(subdural, ["subdural"], FIRST, SAME, [], SECOND),
            agreed_on(SAME, [], FIRST, subdural, ["subdural"], SECOND),
            agreed_on(SAME, [], FIRST, SAME, [], SECOND),
            agreed_on(SAME, [], FIRST, SAME, [], SECOND),
        )
    )
    by_finding = {item.finding: item for item in found}
    for finding in (None, Label.SUBDURAL):
        item = by_finding[finding]
        assert list(item.counts.values()) == [1, 2, 1, 1, 0]
        assert (item.agreed, item.compared) == (3, 5)
    assert by_finding[Label.SUBDURAL].apart == pytest.approx(2 * 0.7 / 5)
    assert by_finding[Label.EPIDURAL].counts[Verdict.NEITHER] == 5


def test_a_model_without_an_operating_point_calls_nothing_absent() -> None:
    without = JudgingModel("none", "1", "c" * 64, "")
    found = agreements(counted(agreed_on(SAME, [], FIRST, SAME, [], without)))
    assert all(item.counts[Verdict.UNKNOWN] == 1 and not item.compared for item in found)


def test_the_rank_correlation_is_spearmans_with_ties() -> None:
    rng = np.random.default_rng(4)
    pairs = [(round(float(x), 1), round(float(x + y), 1)) for x, y in rng.random((80, 2))]
    found = [shadow(SAME | {"any": x}, SAME | {"any": y}) for x, y in pairs]
    expected = spearmanr(*zip(*pairs, strict=True)).statistic
    assert rank_correlation(found, Label.ANY) == pytest.approx(expected)
    assert rank_correlation(found, Label.SUBDURAL) is None  # the same of all
    assert rank_correlation(found[:5], Label.ANY) is None


def test_what_differs_most_is_named_with_its_finding() -> None:
    found = shadow(SAME, SAME | {"any": 0.3, "epidural": 0.9})
    finding, apart = furthest_apart(found)
    assert (finding, apart) == (Label.EPIDURAL, pytest.approx(0.7))
    assert furthest_apart(replace(found, maxima=SAME))[1] == 0
