"""Temperature and operating points, from patients that neither stage has learned from.

What is chosen on some patients is measured on others: `halves` deals held-out
patients to those two purposes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import expit

from ml.bundle import OperatingPoint
from ml.labels import LABELS
from training.errors import TrainingError
from training.measures.metrics import roc, weighted_log_loss
from training.measures.smooth import best_width
from training.stage2.descriptors import Descriptors
from training.store import UNKNOWN

TARGET = 0.95
"""Sensitivity or specificity that the outer operating points aim at."""

HOTTEST = 20.0
"""Temperatures are looked for from 1/20 to 20."""

_RULES = {
    "high_sensitivity": f"highest threshold with slice sensitivity of at least {TARGET:.0%}, "
    "not above balanced",
    "balanced": "largest sum of slice sensitivity and specificity (Youden)",
    "high_specificity": f"lowest threshold with slice specificity of at least {TARGET:.0%}, "
    "not below balanced",
}
POINTS = tuple(_RULES)
"""Names of the operating points, by rising threshold."""

Thresholds = tuple[float, float, float]
"""Of one label, for each of `POINTS`."""

_OF_SLICES = ("logits", "features", "labels", "sop_instance_uids", "positions_mm")


def fit_temperature(truth: np.ndarray, logits: np.ndarray) -> float:
    """The one number to divide logits by, so that probabilities become frequencies.

    Parameters
    ----------
    truth : numpy.ndarray
        0 or 1, shape (n, 6).
    logits : numpy.ndarray
        Shape (n, 6).

    Returns
    -------
    float
        Above 0; on these slices its weighted log loss is at most that of 1.

    Raises
    ------
    TrainingError
        If there are no slices.

    References
    ----------
    Guo et al., "On Calibration of Modern Neural Networks", 2017, section 4.2.
    """
    if not len(logits):
        raise TrainingError("no slices to fit a temperature on; hold out more patients")
    cold, hot = -np.log(HOTTEST), np.log(HOTTEST)

    def loss(log_temperature: float) -> float:
        return weighted_log_loss(truth, tempered(logits, float(np.exp(log_temperature))))

    found = minimize_scalar(loss, bounds=(cold, hot), method="bounded")
    return float(np.exp(found.x)) if found.fun < loss(0.0) else 1.0


def tempered(logits: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """Probabilities of logits at a temperature, float64, the same shape."""
    return expit(logits.astype(np.float64) / temperature)


def choose_thresholds(truth: np.ndarray, probability: np.ndarray) -> Thresholds | None:
    """Thresholds of one label for the three ways of working, rising or equal.

    Each stands in the middle between the slice it was chosen by and the next
    below it, so that slight differences in arithmetic change no call, and is a
    float32, as the node's probabilities are.

    Parameters
    ----------
    truth : numpy.ndarray
        0 or 1, shape (n,).
    probability : numpy.ndarray
        float32, shape (n,).

    Returns
    -------
    tuple of float or None
        Of `POINTS`; None where the label is on none or all of the slices.
    """
    if not len(truth) or truth.min() == truth.max():
        return None
    probability = probability.astype(np.float32)
    thresholds, sensitivity, specificity = roc(truth, probability)
    balanced = int(np.argmax(sensitivity + specificity))
    sensitive = int(np.argmax(sensitivity >= TARGET))
    specific = int(np.append(0, np.flatnonzero(specificity >= TARGET))[-1])
    below = np.append(thresholds[1:], np.float32(0)).astype(np.float32)
    middle = ((thresholds.astype(np.float64) + below) / 2).astype(np.float32)
    middle = np.where(middle > below, middle, thresholds)  # two neighbours of float32
    # Thresholds fall along the curve; where balanced is beyond a target already, it stands.
    return (
        float(middle[max(sensitive, balanced)]),
        float(middle[balanced]),
        float(middle[min(specific, balanced)]),
    )


def choose_points(
    truth: np.ndarray, probabilities: np.ndarray, source: str
) -> tuple[OperatingPoint, ...]:
    """Thresholds of all labels for the three ways of working.

    Parameters
    ----------
    truth : numpy.ndarray
        0 or 1, shape (n, 6).
    probabilities : numpy.ndarray
        float32, shape (n, 6), as the node computes them: at the bundle's temperature.
    source : str
        The patients that they are chosen on, for `OperatingPoint.chosen_on`.

    Returns
    -------
    tuple of OperatingPoint
        ``high_sensitivity``, ``balanced``, ``high_specificity``.

    Raises
    ------
    TrainingError
        If a label is never or always present.
    """
    return _points(_per_label(truth, probabilities), source)


def _per_label(truth: np.ndarray, probabilities: np.ndarray) -> tuple[Thresholds | None, ...]:
    columns = range(len(LABELS))
    return tuple(choose_thresholds(truth[:, c], probabilities[:, c]) for c in columns)


def _points(thresholds: Sequence[Thresholds | None], source: str) -> tuple[OperatingPoint, ...]:
    complete = []
    for label, chosen in zip(LABELS, thresholds, strict=True):
        if chosen is None:
            raise TrainingError(
                f"{label} is on none or all of the held-out slices: no threshold can be "
                "chosen; hold out more series"
            )
        complete.append(chosen)
    return tuple(
        OperatingPoint(
            name=name,
            chosen_on=f"{_RULES[name]}, on held-out series: {source}",
            thresholds=dict(zip(LABELS, values, strict=True)),
        )
        for name, values in zip(POINTS, zip(*complete, strict=True), strict=True)
    )


@dataclass(frozen=True)
class Calibration:
    """What was chosen on the patients to calibrate on.

    Parameters
    ----------
    temperature : float
        Of both stages: the fusion network's logits are divided by it.
    stage1_temperature : float
        Of stage 1 alone, so that the two can be compared at their best.
    width : float
        Of the smoothing baseline, in slices.
    thresholds : tuple of 6 (tuple of 3 float, or None)
        Of each label, for each of `POINTS`, on probabilities of both stages at
        `temperature`; None where the label is on none or all of the slices.
    series, patients, slices : int
        How many it was chosen on.
    source : str
        Which.
    """

    temperature: float
    stage1_temperature: float
    width: float
    thresholds: tuple[Thresholds | None, ...]
    series: int
    patients: int
    slices: int
    source: str

    def points(self) -> tuple[OperatingPoint, ...]:
        """The operating points for a bundle.

        Raises
        ------
        TrainingError
            If there are none for a label.
        """
        told = f"{self.source} ({self.series} series of {self.patients} patients)"
        return _points(self.thresholds, told)


def calibrate(descriptors: Descriptors, logits: np.ndarray) -> Calibration:
    """Choose temperature, smoothing and thresholds.

    Parameters
    ----------
    descriptors : Descriptors
        Of held-out patients.
    logits : numpy.ndarray
        float32, shape (n, 6): what stage 2 made of them.

    Raises
    ------
    TrainingError
        If slices have no labels, or a logit is not finite.
    """
    check_usable(descriptors, logits)
    truth = descriptors.labels
    temperature = fit_temperature(truth, logits)
    alone = tempered(descriptors.logits)
    return Calibration(
        temperature=temperature,
        stage1_temperature=fit_temperature(truth, descriptors.logits),
        width=best_width(truth, alone, descriptors.lengths),
        thresholds=_per_label(truth, tempered(logits, temperature).astype(np.float32)),
        series=len(descriptors.lengths),
        patients=len(set(descriptors.patients)),
        slices=len(truth),
        source=descriptors.source,
    )


def check_usable(descriptors: Descriptors, logits: np.ndarray) -> None:
    """See that every slice was read and judged.

    Raises
    ------
    TrainingError
        If only studies were read, or a logit is not finite.
    """
    if (descriptors.labels == UNKNOWN).any():
        raise TrainingError(
            f"{descriptors.source}: slices have no labels, only studies do; "
            "use python -m training.evaluate cq500"
        )
    for stage, values in (("stage 1", descriptors.logits), ("both stages", logits)):
        wrong = int((~np.isfinite(values).all(axis=1)).sum())
        if wrong:
            raise TrainingError(
                f"{descriptors.source}: logits of {stage} are not finite on {wrong} of "
                f"{len(values)} slices; look at the training's loss, then describe again"
            )


@dataclass(frozen=True)
class Split:
    """Held-out series, by what they are for.

    Parameters
    ----------
    calibration : Descriptors
        Temperature and thresholds are chosen on these.
    test : Descriptors
        Figures are measured on these; no patient is in both.
    """

    calibration: Descriptors
    test: Descriptors


def halves(descriptors: Descriptors, seed: int = 0) -> Split:
    """Deal held-out patients to calibration and test, half of each kind of patient.

    Patients with the same set of findings are dealt evenly, so that a rare
    finding stands on both sides where there are two patients with it.

    Raises
    ------
    TrainingError
        If there is one patient only.
    """
    patients, place = np.unique(descriptors.patients, return_inverse=True)
    if len(patients) < 2:
        raise TrainingError(
            f"{descriptors.source}: all series are of one patient, who cannot stand on both "
            "sides; calibrate on other descriptors (--calibrate-on)"
        )
    found = np.zeros((len(patients), len(LABELS)), dtype=bool)
    positive = np.stack([(one == 1).any(axis=0) for one in descriptors.split(descriptors.labels)])
    np.logical_or.at(found, place, positive)
    lot = np.random.default_rng(seed).permutation(len(patients))
    order = np.lexsort((lot, *found.T))
    for_test = np.zeros(len(patients), dtype=bool)
    for_test[order[1::2]] = True
    return Split(take(descriptors, ~for_test[place]), take(descriptors, for_test[place]))


def check_apart(calibration: Descriptors, test: Descriptors) -> Split:
    """Take two sets of descriptors as they are, if they share no patient.

    Raises
    ------
    TrainingError
        If a patient is in both.
    """
    shared = np.intersect1d(calibration.patients, test.patients)
    if len(shared):
        raise TrainingError(
            f"{len(shared)} patients stand both in the descriptors to calibrate on and in those "
            f"to measure on ({shared[0]}, ...); without --calibrate-on one set is split by patient"
        )
    return Split(calibration, test)


def take(descriptors: Descriptors, chosen: np.ndarray) -> Descriptors:
    """Some of the series.

    Parameters
    ----------
    chosen : numpy.ndarray
        bool, shape (s,).
    """
    slices = np.repeat(chosen, descriptors.lengths)
    kept = {
        one.name: value[slices if one.name in _OF_SLICES else chosen]
        for one in fields(descriptors)
        if isinstance(value := getattr(descriptors, one.name), np.ndarray)
    }
    return replace(descriptors, **kept)
