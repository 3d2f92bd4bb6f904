"""Figures against scipy's, against published values, and at their ends."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from node.feedback.figures import FEW, Figures, Proportion, as_json, trailing
from node.ledger import Tally


@given(st.integers(1, 5000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_an_interval_is_wilsons(pair: tuple[int, int]) -> None:
    hits, of = pair
    expected = binomtest(hits, of).proportion_ci(method="wilson")
    low, high = Proportion(hits, of).interval or (None, None)
    assert (low, high) == pytest.approx((expected.low, expected.high), abs=1e-12)


@pytest.mark.parametrize(
    ("hits", "of", "low", "high"),
    [  # R. G. Newcombe, Statistics in Medicine 17 (1998) 857-872, table I, method 3
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_an_interval_is_the_published_one(hits: int, of: int, low: float, high: float) -> None:
    assert Proportion(hits, of).interval == pytest.approx((low, high), abs=5e-5)


def test_of_none_there_is_no_proportion() -> None:
    nothing = Proportion(0, 0)
    assert (nothing.value, nothing.interval, nothing.is_few) == (None, None, True)
    assert Proportion(FEW, FEW).is_few is False


def test_figures_are_those_of_the_four_fields() -> None:
    figures = Figures(Tally(1000, 120, 90, 10, 380, 20))
    assert figures.sensitivity == Proportion(90, 110)
    assert figures.specificity == Proportion(380, 390)
    assert figures.ppv == Proportion(90, 100)
    assert figures.npv == Proportion(380, 400)
    assert figures.prevalence == Proportion(110, 500)
    assert figures.flagged_read == Proportion(100, 120)
    assert figures.unflagged_read == Proportion(400, 880)
    assert figures.read == 500


counts = st.integers(0, 200)


@given(counts, counts, counts, counts, counts, counts)
def test_figures_are_those_of_a_plain_count(
    tp: int, fp: int, tn: int, fn: int, more_flagged: int, more: int
) -> None:
    flagged = tp + fp + more_flagged
    figures = Figures(Tally(flagged + tn + fn + more, flagged, tp, fp, tn, fn))
    pairs = [(True, True)] * tp + [(True, False)] * fp
    pairs += [(False, False)] * tn + [(False, True)] * fn

    def share(of: list[bool]) -> float | None:
        return sum(of) / len(of) if of else None

    assert figures.sensitivity.value == share([flag for flag, truth in pairs if truth])
    assert figures.specificity.value == share([not flag for flag, truth in pairs if not truth])
    assert figures.ppv.value == share([truth for flag, truth in pairs if flag])
    assert figures.npv.value == share([not truth for flag, truth in pairs if not flag])
    assert figures.prevalence.value == share([truth for _, truth in pairs])
    as_json(figures)
    for adjusted in (figures.adjusted_sensitivity, figures.adjusted_specificity):
        if adjusted is not None:
            assert 0 <= adjusted.low <= adjusted.value <= adjusted.high <= 1


def test_where_all_are_labelled_there_is_nothing_to_adjust() -> None:
    figures = Figures(Tally(500, 100, 90, 10, 380, 20))
    assert not figures.is_one_sided
    sensitivity, specificity = figures.adjusted_sensitivity, figures.adjusted_specificity
    assert sensitivity is not None
    assert specificity is not None
    assert sensitivity.value == pytest.approx(figures.sensitivity.value)
    assert specificity.value == pytest.approx(figures.specificity.value)


def test_labels_of_flagged_series_alone_are_told_of_and_adjusted() -> None:
    """True sensitivity 0.8, specificity 0.9; all flagged ones are labelled, of others a tenth."""
    chance = random.Random(3)
    inside = 0
    for _ in range(200):
        tp = fp = tn = fn = series = flagged = 0
        for _ in range(2000):
            bleeds = chance.random() < 0.2
            flags = chance.random() < (0.8 if bleeds else 0.1)
            series, flagged = series + 1, flagged + flags
            if flags or chance.random() < 0.1:
                tp, fp = tp + (flags and bleeds), fp + (flags and not bleeds)
                tn, fn = tn + (not flags and not bleeds), fn + (not flags and bleeds)
        figures = Figures(Tally(series, flagged, tp, fp, tn, fn))
        assert figures.is_one_sided
        assert figures.sensitivity.value is not None
        adjusted = figures.adjusted_sensitivity
        if adjusted is None:
            continue
        assert adjusted.value < figures.sensitivity.value
        inside += adjusted.low <= 0.8 <= adjusted.high
    assert 180 <= inside <= 200  # of a 95 % interval


def test_an_adjusted_figure_is_the_one_of_begg_and_greenes() -> None:
    """Worked out by their formula: each group weighs as much as it has series."""
    figures = Figures(Tally(1000, 200, 120, 30, 95, 5))
    share, ppv, npv = 200 / 1000, 120 / 150, 95 / 100
    with_finding = share * ppv + (1 - share) * (1 - npv)
    without = share * (1 - ppv) + (1 - share) * npv
    sensitivity, specificity = figures.adjusted_sensitivity, figures.adjusted_specificity
    assert sensitivity is not None
    assert specificity is not None
    assert sensitivity.value == pytest.approx(share * ppv / with_finding)
    assert specificity.value == pytest.approx((1 - share) * npv / without)
    variance = 1 / (1000 * share * (1 - share)) + (1 - ppv) / 120 + npv / 5
    odds = math.log(sensitivity.value / (1 - sensitivity.value)) - 1.959964 * math.sqrt(variance)
    assert sensitivity.low == pytest.approx(1 / (1 + math.exp(-odds)), rel=1e-5)


def test_a_course_sums_the_days_before_each_of_its_days() -> None:
    days = {day: Tally(1, 1, 1) for day in range(100, 131)}
    course = trailing(days, 95, 130, step=10, width=5)
    assert [(day, tally.series) for day, tally in course] == [
        (100, 1),
        (110, 5),
        (120, 5),
        (130, 5),
    ]
