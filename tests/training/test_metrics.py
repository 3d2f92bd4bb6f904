"""The measures agree with values worked out by hand."""

import numpy as np
import pytest

from training.metrics import WEIGHTS, auc, roc, weighted_log_loss


def test_any_weighs_twice_as_much():
    assert WEIGHTS.sum() == pytest.approx(1)
    assert WEIGHTS[-1] == pytest.approx(2 / 7)


def test_the_loss_of_a_coin_is_log_2():
    truth = np.array([[0, 1, 0, 1, 0, 1]])
    assert weighted_log_loss(truth, np.full((1, 6), 0.5)) == pytest.approx(np.log(2))


def test_a_certain_mistake_is_clipped_as_kaggle_does():
    truth = np.zeros((1, 6))
    assert weighted_log_loss(truth, np.ones((1, 6))) == pytest.approx(-np.log(1e-15), rel=1e-3)


def test_auc_counts_pairs_in_the_right_order():
    truth = np.array([0, 0, 1, 1])
    assert auc(truth, np.array([0.1, 0.4, 0.35, 0.8])) == pytest.approx(0.75)
    assert auc(truth, np.array([0.5, 0.5, 0.5, 0.5])) == pytest.approx(0.5)
    assert np.isnan(auc(np.zeros(4), np.arange(4)))


def test_roc_gives_sensitivity_and_specificity_at_each_threshold():
    thresholds, sensitivity, specificity = roc(
        np.array([0, 0, 1, 1]), np.array([0.1, 0.4, 0.35, 0.8])
    )
    assert list(thresholds) == [0.8, 0.4, 0.35, 0.1]
    assert list(sensitivity) == [0.5, 0.5, 1.0, 1.0]
    assert list(specificity) == [1.0, 0.5, 0.5, 0.0]
