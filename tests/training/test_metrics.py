"""The measures agree with values worked out by hand and with other programs'."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import log_loss

from ml.labels import LABELS
from training.loss import WEIGHTS
from training.measures.metrics import (
    auc,
    expected_calibration_error,
    roc,
    weighted_log_loss,
    wilson,
)


def made(n=500, seed=0):
    rng = np.random.default_rng(seed)
    truth = (rng.random((n, len(LABELS))) < 0.2).astype(np.uint8)
    probability = np.clip(0.3 * truth + rng.random((n, len(LABELS))) - 0.1, 0, 1)
    assert (probability == 0).any()
    assert (probability == 1).any()
    return truth, probability


def test_any_weighs_twice_as_much():
    assert WEIGHTS.sum() == pytest.approx(1)
    assert WEIGHTS[-1] == pytest.approx(2 / 7)


def test_the_loss_of_a_coin_is_log_2():
    truth = np.array([[0, 1, 0, 1, 0, 1]])
    assert weighted_log_loss(truth, np.full((1, 6), 0.5)) == pytest.approx(np.log(2))


def test_a_certain_mistake_is_clipped_as_kaggle_does():
    truth = np.zeros((1, 6))
    assert weighted_log_loss(truth, np.ones((1, 6))) == pytest.approx(-np.log(1e-15), rel=1e-3)


def test_the_loss_agrees_with_scikit_learn_s_over_all_rows_of_the_file():
    truth, probability = made()
    rows, given_ = truth.ravel(), np.clip(probability.ravel(), 1e-15, 1 - 1e-15)
    weight = np.tile([1, 1, 1, 1, 1, 2], len(truth))
    expected = log_loss(rows, given_, sample_weight=weight)
    assert abs(weighted_log_loss(truth, probability) - expected) < 1e-9


def test_the_loss_agrees_with_a_loop_in_plain_python():
    truth, probability = made(200, seed=1)
    total = 0.0
    for row, given_ in zip(truth.tolist(), probability.tolist(), strict=True):
        for column, (present, raw) in enumerate(zip(row, given_, strict=True)):
            p = min(max(raw, 1e-15), 1 - 1e-15)
            total -= (2 if column == 5 else 1) / 7 * math.log(p if present else 1 - p)
    assert abs(weighted_log_loss(truth, probability) - total / len(truth)) < 1e-9


def test_single_precision_is_scored_in_double():
    truth, probability = np.ones((1, 6)), np.full((1, 6), 1e-12, dtype=np.float32)
    assert weighted_log_loss(truth, probability) == pytest.approx(12 * math.log(10), rel=1e-6)


def test_auc_counts_pairs_in_the_right_order():
    truth = np.array([0, 0, 1, 1])
    assert auc(truth, np.array([0.1, 0.4, 0.35, 0.8])) == pytest.approx(0.75)
    assert auc(truth, np.array([0.5, 0.5, 0.5, 0.5])) == pytest.approx(0.5)


@pytest.mark.parametrize("truth", [np.zeros(4), np.ones(4), np.zeros(0)])
def test_auc_is_no_number_where_all_are_of_one_class(truth):
    assert np.isnan(auc(truth, np.arange(len(truth))))
    with pytest.raises(ValueError, match="both classes"):
        roc(truth, np.arange(len(truth)))


scored = st.lists(st.tuples(st.booleans(), st.integers(0, 20)), min_size=2, max_size=40).filter(
    lambda pairs: len({present for present, _ in pairs}) == 2
)


@settings(deadline=None)
@given(scored)
def test_auc_is_the_share_of_pairs_in_order_and_ties_count_half(pairs):
    truth, value = (np.array(column) for column in zip(*pairs, strict=True))
    wins = [1.0 if p > n else 0.5 if p == n else 0.0 for p in value[truth] for n in value[~truth]]
    assert auc(truth, value) == pytest.approx(sum(wins) / len(wins))


@settings(deadline=None)
@given(scored)
def test_auc_sees_order_only_and_turns_over_with_it(pairs):
    truth, value = (np.array(column) for column in zip(*pairs, strict=True))
    area = auc(truth, value)
    assert auc(truth, np.exp(value / 5) - 3) == pytest.approx(area)
    assert auc(truth, -value) == pytest.approx(1 - area)
    assert auc(~truth, value) == pytest.approx(1 - area)


def test_roc_gives_sensitivity_and_specificity_at_each_threshold():
    thresholds, sensitivity, specificity = roc(
        np.array([0, 0, 1, 1]), np.array([0.1, 0.4, 0.35, 0.8])
    )
    assert list(thresholds) == [0.8, 0.4, 0.35, 0.1]
    assert list(sensitivity) == [0.5, 0.5, 1.0, 1.0]
    assert list(specificity) == [1.0, 0.5, 0.5, 0.0]


def test_calibration_error_is_the_gap_of_each_bin_weighted_by_its_slices():
    # Two bins: 3 slices said 0.1 of which 1 is there, 1 said 0.9 that is there.
    truth, said = np.array([1, 0, 0, 1]), np.array([0.1, 0.1, 0.1, 0.9])
    expected = 3 / 4 * (1 / 3 - 0.1) + 1 / 4 * (1 - 0.9)
    assert expected_calibration_error(truth, said) == pytest.approx(expected)


def test_calibration_error_is_0_where_probabilities_are_frequencies():
    truth, said = np.array([0, 1] * 10), np.full(20, 0.5)
    assert expected_calibration_error(truth, said) == pytest.approx(0)
    assert expected_calibration_error(np.zeros(5), np.zeros(5)) == pytest.approx(0)
    assert np.isnan(expected_calibration_error(np.zeros(0), np.zeros(0)))


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [  # Newcombe, Statistics in Medicine 1998, table I, method 3
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0000, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_s_interval_agrees_with_published_ones(successes, trials, low, high):
    found = wilson(successes, trials)
    assert found.value == successes / trials
    assert found.low == pytest.approx(low, abs=6e-5)
    assert found.high == pytest.approx(high, abs=6e-5)


def test_a_proportion_of_nothing_is_undefined():
    assert not wilson(0, 0).defined
