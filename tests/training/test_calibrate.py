"""Temperature and thresholds are chosen by rule, and never where they are measured."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml.labels import LABELS
from tests.training.invented import descriptors, without
from training.errors import TrainingError
from training.measures.calibrate import (
    POINTS,
    TARGET,
    calibrate,
    check_apart,
    choose_points,
    choose_thresholds,
    fit_temperature,
    halves,
    tempered,
)
from training.measures.metrics import roc, weighted_log_loss
from training.measures.smooth import best_width, smoothed

# -- temperature --------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.05, 30), st.floats(-3, 3))
def test_a_temperature_is_never_worse_than_none_on_what_it_was_fitted_on(seed, scale, shift):
    rng = np.random.default_rng(seed)
    truth = (rng.random((30, 6)) < 0.3).astype(np.uint8)
    logits = scale * (truth + rng.normal(0, 1, truth.shape)) + shift
    temperature = fit_temperature(truth, logits)
    assert temperature > 0
    fitted, plain = (weighted_log_loss(truth, tempered(logits, t)) for t in (temperature, 1.0))
    assert fitted <= plain


def test_logits_that_are_three_times_too_sure_get_a_temperature_of_three():
    rng = np.random.default_rng(0)
    honest = rng.normal(-1, 2, (20_000, 6))
    truth = (rng.random(honest.shape) < tempered(honest)).astype(np.uint8)
    assert fit_temperature(truth, honest) == pytest.approx(1, abs=0.03)
    assert fit_temperature(truth, 3 * honest) == pytest.approx(3, abs=0.1)


def test_temperature_keeps_the_order_of_slices():
    logits = np.linspace(-8, 8, 50)
    for temperature in (0.5, 5.0):
        assert (np.diff(tempered(logits, temperature)) > 0).all()


def test_no_slices_give_no_temperature():
    with pytest.raises(TrainingError, match="no slices"):
        fit_temperature(np.zeros((0, 6)), np.zeros((0, 6)))


# -- operating points ---------------------------------------------------------


def judged(seed=0, n=400):
    rng = np.random.default_rng(seed)
    truth = (rng.random((n, 6)) < 0.3).astype(np.uint8)
    return truth, tempered(3.0 * truth - 2 + rng.normal(0, 1.5, truth.shape)).astype(np.float32)


def rates(truth, probability, threshold):
    called = probability >= np.float32(threshold)
    return called[truth == 1].mean(), (~called[truth == 0]).mean()


@pytest.mark.parametrize("seed", range(5))
def test_thresholds_keep_what_their_rules_promise(seed):
    truth, probability = (x[:, 0] for x in judged(seed))
    low, middle, high = choose_thresholds(truth, probability)
    assert low <= middle <= high
    _, sensitivity, specificity = roc(truth, probability)
    assert sum(rates(truth, probability, middle)) == pytest.approx(
        (sensitivity + specificity).max()
    )
    assert rates(truth, probability, low)[0] >= TARGET
    assert rates(truth, probability, high)[1] >= TARGET


def test_a_threshold_of_high_sensitivity_is_the_highest_that_keeps_it():
    truth, probability = (x[:, 0] for x in judged())
    low, middle, _ = choose_thresholds(truth, probability)
    above = np.sort(probability[probability >= np.float32(low)])[0]
    assert low < middle
    assert rates(truth, probability, np.nextafter(above, np.float32(1)))[0] < TARGET


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.tuples(st.booleans(), st.floats(0, 1, width=32)), min_size=2, max_size=30).filter(
        lambda pairs: len({present for present, _ in pairs}) == 2
    )
)
def test_thresholds_are_single_precision_and_ordered_whatever_the_slices(pairs):
    truth, probability = (np.array(column) for column in zip(*pairs, strict=True))
    chosen = choose_thresholds(truth.astype(np.uint8), probability.astype(np.float32))
    assert list(chosen) == sorted(chosen)
    assert all(float(np.float32(one)) == one for one in chosen)
    assert all(0 <= one <= 1 for one in chosen)


def test_a_threshold_stands_between_the_slices_that_it_tells_apart():
    truth = np.array([0, 0, 1, 1])
    assert choose_thresholds(truth, np.array([0.1, 0.2, 0.6, 0.9])) == (
        pytest.approx(0.4),
        pytest.approx(0.4),
        pytest.approx(0.4),
    )


def test_a_threshold_between_two_neighbours_of_single_precision_tells_them_apart():
    low = np.float32(0.3)
    high = np.nextafter(low, np.float32(1))
    for threshold in choose_thresholds(np.array([0, 1]), np.array([low, high])):
        assert low < np.float32(threshold) <= high


def test_points_have_a_threshold_for_each_label_and_say_where_they_were_chosen():
    points = choose_points(*judged(), "invented heads")
    assert tuple(point.name for point in points) == POINTS
    assert all(set(point.thresholds) == set(LABELS) for point in points)
    assert all("invented heads" in point.chosen_on for point in points)


def test_a_label_without_positive_slices_has_no_threshold():
    truth, probability = judged()
    truth[:, 2] = 0
    with pytest.raises(TrainingError, match="intraventricular is on none or all"):
        choose_points(truth, probability, "x")
    assert choose_thresholds(truth[:, 2], probability[:, 2]) is None


# -- who is calibrated on and who is measured on ------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_no_patient_is_on_both_sides_and_none_is_lost(seed):
    made = descriptors(patients=15)
    split = halves(made, seed)
    one, other = set(split.calibration.patients), set(split.test.patients)
    assert not one & other
    assert one | other == set(made.patients)
    assert abs(len(one) - len(other)) <= 1


def test_the_slices_of_a_series_stay_with_it():
    made = descriptors(patients=7)
    split = halves(made)
    for side in (split.calibration, split.test):
        for name, logits, labels in zip(
            side.series, side.split(side.logits), side.split(side.labels), strict=True
        ):
            place = list(made.series).index(name)
            assert np.array_equal(logits, made.split(made.logits)[place])
            assert np.array_equal(labels, made.split(made.labels)[place])


def test_a_finding_of_two_patients_stands_on_both_sides():
    made = without(descriptors(patients=30), 0)
    found = made.labels.copy()
    for patient in ("p3", "p20"):
        slices = np.repeat(made.patients == patient, made.lengths)
        found[slices] = (1, 0, 0, 0, 0, 1)
    made = replace(made, labels=found)
    for seed in range(5):
        split = halves(made, seed)
        assert split.calibration.labels[:, 0].any()
        assert split.test.labels[:, 0].any()


def test_the_same_seed_splits_the_same_and_another_does_not():
    made = descriptors(patients=15)
    a, b, c = (halves(made, seed).test.patients for seed in (0, 0, 1))
    assert list(a) == list(b)
    assert set(a) != set(c)


def test_one_patient_cannot_be_split():
    with pytest.raises(TrainingError, match="one patient"):
        halves(descriptors(patients=1))


def test_a_patient_in_both_files_is_told():
    with pytest.raises(TrainingError, match="5 patients stand both"):
        check_apart(descriptors(patients=5), descriptors(patients=9))


def test_slices_without_labels_cannot_be_calibrated_on():
    made = descriptors(patients=3)
    unread = replace(made, labels=np.full_like(made.labels, 255))
    with pytest.raises(TrainingError, match="no labels, only studies"):
        calibrate(unread, unread.logits)


def test_logits_that_are_not_finite_are_told():
    made = descriptors(patients=3)
    broken = made.logits.copy()
    broken[4, 2] = np.nan
    with pytest.raises(TrainingError, match=r"both stages are not finite on 1 of 72"):
        calibrate(made, broken)


# -- the baseline of smoothing ------------------------------------------------


def test_smoothing_averages_neighbours_by_a_gaussian():
    single = np.zeros((7, 6))
    single[3] = 1.0
    weights = np.exp(-0.5 * np.arange(-3, 4) ** 2 / 0.5**2)
    expected = weights / weights.sum()
    found = smoothed(single, np.array([7]), 0.5)
    assert found == pytest.approx(np.tile(expected[:, None], 6), abs=1e-3)


def test_smoothing_does_not_reach_from_one_series_into_the_next():
    values = np.concatenate([np.zeros((5, 6)), np.ones((5, 6))])
    np.testing.assert_allclose(smoothed(values, np.array([5, 5]), 2.0), values, atol=1e-12)


def test_the_width_of_smoothing_is_the_one_of_lowest_loss():
    made = descriptors(noise=6.0)
    probability = tempered(made.logits)
    width = best_width(made.labels, probability, made.lengths)
    loss = {
        w: weighted_log_loss(made.labels, smoothed(probability, made.lengths, w))
        for w in (0.25, 1.0, 2.0, width)
    }
    assert min(loss, key=loss.get) == width
