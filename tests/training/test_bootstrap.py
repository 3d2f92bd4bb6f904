"""Intervals come from drawing patients, whole."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from training.measures.bootstrap import Bootstrap


def made(n=60, patients=12, seed=0):
    rng = np.random.default_rng(seed)
    truth = rng.random(n) < 0.4
    value = np.round(truth + rng.normal(0, 1, n), 1)  # with ties
    return truth.astype(np.uint8), value, np.array([f"p{i % patients}" for i in range(n)])


def test_each_draw_has_as_many_patients_as_there_are():
    drawn = Bootstrap.of(made()[2], resamples=50).drawn
    assert drawn.shape == (50, 12)
    assert (drawn.sum(axis=1) == 12).all()


def test_the_same_seed_draws_the_same():
    patients = made()[2]
    a, b, c = (Bootstrap.of(patients, 20, seed).drawn for seed in (1, 1, 2))
    assert np.array_equal(a, b)
    assert not np.array_equal(a, c)


def test_auc_of_a_draw_is_that_of_slices_weighted_by_how_often_their_patient_was_drawn():
    truth, value, patients = made()
    bootstrap = Bootstrap.of(patients, resamples=30)
    expected = [
        roc_auc_score(truth, value, sample_weight=one[bootstrap.place]) for one in bootstrap.drawn
    ]
    assert bootstrap.auc(truth, value) == pytest.approx(np.array(expected))


def test_the_mean_of_a_draw_counts_a_patient_as_often_as_drawn():
    _, value, patients = made()
    bootstrap = Bootstrap.of(patients, resamples=30)
    among = value > 0
    weights = bootstrap.drawn[:, bootstrap.place]
    expected = [np.average(value[among], weights=one[among]) for one in weights]
    assert bootstrap.mean(value, among) == pytest.approx(np.array(expected))


def test_more_slices_that_say_the_same_of_a_patient_make_no_interval_narrower():
    truth, value, patients = made()
    once = Bootstrap.of(patients)
    often = Bootstrap.of(np.repeat(patients, 10))
    few = once.interval(0.8, once.auc(truth, value))
    many = often.interval(0.8, often.auc(np.repeat(truth, 10), np.repeat(value, 10)))
    assert (many.low, many.high) == pytest.approx((few.low, few.high))


def test_some_of_the_slices_keep_the_draws_of_their_patients():
    _, value, patients = made()
    bootstrap = Bootstrap.of(patients, resamples=30)
    chosen = patients < "p5"
    some = bootstrap.select(chosen)
    weights = bootstrap.drawn[:, bootstrap.place][:, chosen]
    with np.errstate(invalid="ignore"):
        expected = (weights @ value[chosen]) / weights.sum(axis=1)
    assert some.mean(value[chosen]) == pytest.approx(expected, nan_ok=True)


def test_the_interval_of_a_mean_is_about_as_wide_as_theory_says():
    rng = np.random.default_rng(0)
    value = rng.normal(0, 1, 400)
    bootstrap = Bootstrap.of(np.arange(400).astype(str), resamples=2000)
    found = bootstrap.interval(float(value.mean()), bootstrap.mean(value))
    error = value.std() / 20
    assert found.low == pytest.approx(value.mean() - 1.96 * error, abs=0.01)
    assert found.high == pytest.approx(value.mean() + 1.96 * error, abs=0.01)


def test_one_patient_gives_no_interval():
    truth, value, _ = made()
    bootstrap = Bootstrap.of(np.full(len(truth), "p"))
    assert np.isnan(bootstrap.interval(0.5, bootstrap.auc(truth, value)).low)


def test_a_finding_of_one_patient_gives_no_interval():
    patients = np.array([f"p{i}" for i in range(20)])
    truth = np.zeros(20)
    truth[0] = 1
    bootstrap = Bootstrap.of(patients)
    found = bootstrap.interval(1.0, bootstrap.auc(truth, np.linspace(1, 0, 20)))
    assert found.value == 1.0
    assert np.isnan(found.low)
