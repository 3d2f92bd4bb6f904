"""Measure a model on held-out patients: from descriptors to `training.measures.figures`."""

from dataclasses import dataclass

import numpy as np

from ml.labels import LABELS, Label
from training.loss import WEIGHTS
from training.measures.bootstrap import RESAMPLES, Bootstrap
from training.measures.calibrate import POINTS, Calibration, check_usable, tempered
from training.measures.figures import (
    AtPoint,
    Discrimination,
    Figures,
    Losses,
    Reliability,
    Subgroup,
    Unit,
)
from training.measures.metrics import (
    Interval,
    auc,
    expected_calibration_error,
    log_losses,
    wilson,
)
from training.measures.smooth import smoothed
from training.measures.subgroups import by_scanner, by_thickness
from training.stage2.descriptors import Descriptors

ANY = LABELS.index(Label.ANY)


@dataclass(frozen=True)
class Judged:
    """Probabilities of every slice with the truth, and the same of every series.

    Parameters
    ----------
    truth : numpy.ndarray
        uint8, shape (n, 6).
    stage1, both, tempered : numpy.ndarray
        float64, shape (n, 6): stage 1 alone; both stages as trained; at their temperature.
    patients : numpy.ndarray
        Text, shape (n,).
    """

    truth: np.ndarray
    stage1: np.ndarray
    both: np.ndarray
    tempered: np.ndarray
    patients: np.ndarray


def judged(
    descriptors: Descriptors, logits: np.ndarray, calibration: Calibration, unit: Unit
) -> Judged:
    """Probabilities beside the truth.

    Parameters
    ----------
    logits : numpy.ndarray
        float32, shape (n, 6): what stage 2 made of the descriptors.
    """
    values = (
        descriptors.labels,
        tempered(descriptors.logits),
        tempered(logits),
        tempered(logits, calibration.temperature),
    )
    if unit is Unit.SLICE:
        return Judged(*values, np.repeat(descriptors.patients, descriptors.lengths))
    starts = np.cumsum(descriptors.lengths) - descriptors.lengths
    return Judged(*(np.maximum.reduceat(v, starts) for v in values), descriptors.patients)


def measure_losses(
    descriptors: Descriptors,
    logits: np.ndarray,
    calibration: Calibration,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Losses:
    """Weighted log loss of stage 1, of smoothing, and of both stages.

    Parameters
    ----------
    descriptors : Descriptors
        Of patients on which nothing was chosen.
    logits : numpy.ndarray
        float32, shape (n, 6): what stage 2 made of them.
    calibration : Calibration
        Chosen on other patients.
    """
    check_usable(descriptors, logits)
    one = judged(descriptors, logits, calibration, Unit.SLICE)
    probabilities = {
        "stage1": one.stage1,
        "smoothed": smoothed(one.stage1, descriptors.lengths, calibration.width),
        "both": one.both,
        "stage1_tempered": tempered(descriptors.logits, calibration.stage1_temperature),
        "both_tempered": one.tempered,
    }
    bootstrap = Bootstrap.of(one.patients, resamples, seed)
    loss = {name: log_losses(one.truth, p) @ WEIGHTS for name, p in probabilities.items()}
    values = {name: float(of_slices.mean()) for name, of_slices in loss.items()}
    draws = {name: bootstrap.mean(of_slices) for name, of_slices in loss.items()}

    def reduction(both: str, alone: str) -> Interval:
        return bootstrap.interval(
            100 * (1 - values[both] / values[alone]), 100 * (1 - draws[both] / draws[alone])
        )

    return Losses(
        **{name: bootstrap.interval(values[name], draws[name]) for name in values},
        reduction=reduction("both", "stage1"),
        reduction_tempered=reduction("both_tempered", "stage1_tempered"),
        reduction_smoothed=reduction("both", "smoothed"),
    )


def measure(
    descriptors: Descriptors,
    logits: np.ndarray,
    calibration: Calibration,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Figures:
    """Everything that can be said of one model.

    Parameters
    ----------
    descriptors : Descriptors
        Of patients on which nothing was chosen.
    logits : numpy.ndarray
        float32, shape (n, 6): what stage 2 made of them.
    calibration : Calibration
        Chosen on other patients.
    resamples : int
        Draws of patients for each interval.
    seed : int
        Of the draws.

    Raises
    ------
    TrainingError
        If slices have no labels, or a logit is not finite.
    """
    losses = measure_losses(descriptors, logits, calibration, resamples, seed)
    slices = judged(descriptors, logits, calibration, Unit.SLICE)
    series = judged(descriptors, logits, calibration, Unit.SERIES)
    drawn = Bootstrap.of(slices.patients, resamples, seed)
    drawn_series = Bootstrap.of(series.patients, resamples, seed)
    return Figures(
        source=descriptors.source,
        series=len(descriptors.lengths),
        patients=len(set(descriptors.patients)),
        slices=len(slices.truth),
        positive=int(slices.truth[:, ANY].sum()),
        calibration=calibration,
        losses=losses,
        discrimination=(
            *_discrimination(slices, drawn, Unit.SLICE),
            *_discrimination(series, drawn_series, Unit.SERIES),
        ),
        at_points=(
            *_at_points(slices, drawn, calibration, Unit.SLICE),
            *_at_points(series, drawn_series, calibration, Unit.SERIES),
        ),
        reliability=tuple(
            Reliability(
                label,
                *(
                    expected_calibration_error(slices.truth[:, c], p[:, c])
                    for p in (slices.stage1, slices.both, slices.tempered)
                ),
            )
            for c, label in enumerate(LABELS)
        ),
        subgroups=tuple(
            _subgroup(by, name, chosen, descriptors, slices, series, drawn, drawn_series)
            for by, groups in (
                ("slice thickness", by_thickness(descriptors.thickness_mm)),
                ("scanner", by_scanner(descriptors.scanners)),
            )
            for name, chosen in groups.items()
        ),
        resamples=resamples,
    )


def area(bootstrap: Bootstrap, truth: np.ndarray, probability: np.ndarray) -> Interval:
    """AUC of one label with its interval by bootstrap over patients."""
    value = auc(truth, probability)
    if np.isnan(value):
        return Interval(value)
    return bootstrap.interval(value, bootstrap.auc(truth, probability))


def _discrimination(one: Judged, bootstrap: Bootstrap, unit: Unit) -> list[Discrimination]:
    return [
        Discrimination(
            unit=unit,
            label=label,
            count=len(one.truth),
            positive=int(one.truth[:, c].sum()),
            stage1=area(bootstrap, one.truth[:, c], one.stage1[:, c]),
            both=area(bootstrap, one.truth[:, c], one.both[:, c]),
        )
        for c, label in enumerate(LABELS)
    ]


def _at_points(
    one: Judged, bootstrap: Bootstrap, calibration: Calibration, unit: Unit
) -> list[AtPoint]:
    found = []
    for p, point in enumerate(POINTS):
        for c, label in enumerate(LABELS):
            chosen = calibration.thresholds[c]
            present = one.truth[:, c] == 1
            threshold = float("nan") if chosen is None else chosen[p]
            # As the node compares: float32 with float32.
            called = one.tempered[:, c].astype(np.float32) >= np.float32(threshold)
            sides = []
            for among, right in ((present, called), (~present, ~called)):
                count = 0 if chosen is None else int(among.sum())
                rate = wilson(int((right & among).sum()) if count else 0, count)
                by_patient = bootstrap.interval(rate.value, bootstrap.mean(right, among))
                sides.append((rate, by_patient))
            (sensitivity, sensitivity_by), (specificity, specificity_by) = sides
            found.append(
                AtPoint(
                    unit=unit,
                    label=label,
                    point=point,
                    threshold=threshold,
                    sensitivity=sensitivity,
                    specificity=specificity,
                    sensitivity_by_patient=sensitivity_by,
                    specificity_by_patient=specificity_by,
                    positive=int(present.sum()),
                    negative=int((~present).sum()),
                )
            )
    return found


def _subgroup(
    by: str,
    name: str,
    chosen: np.ndarray,
    descriptors: Descriptors,
    slices: Judged,
    series: Judged,
    drawn: Bootstrap,
    drawn_series: Bootstrap,
) -> Subgroup:
    """Measure the chosen series (bool, shape (s,))."""
    within = np.repeat(chosen, descriptors.lengths)
    truth, both = slices.truth[within], slices.both[within]
    some, some_series = drawn.select(within), drawn_series.select(chosen)
    return Subgroup(
        by=by,
        name=name,
        series=int(chosen.sum()),
        patients=len(set(descriptors.patients[chosen])),
        slices=len(truth),
        positive=int(truth[:, ANY].sum()),
        stage1=float(log_losses(truth, slices.stage1[within]).mean(axis=0) @ WEIGHTS),
        both=float(log_losses(truth, both).mean(axis=0) @ WEIGHTS),
        slice_auc=tuple(area(some, truth[:, c], both[:, c]) for c in range(len(LABELS))),
        series_auc=area(some_series, series.truth[chosen, ANY], series.both[chosen, ANY]),
    )
