"""Score a submission to the RSNA 2019 challenge, as Kaggle did."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ml.labels import LABELS, Label
from training.errors import TrainingError
from training.loss import WEIGHTS
from training.measures.bootstrap import RESAMPLES, Bootstrap
from training.measures.figures import Unit, why_undefined
from training.measures.measure import area
from training.measures.metrics import Interval, auc, expected_calibration_error, log_losses
from training.measures.tables import Table, number, with_limits

PAPER_LOSS = 0.05341
"""Of the paper, on the private test set."""


@dataclass(frozen=True)
class OfLabel:
    """One label.

    Parameters
    ----------
    label : Label
    count, positive : int
        Slices, and those with the finding.
    log_loss : float
        Mean over slices, unweighted.
    auc : Interval
        By bootstrap over patients, where these are known.
    calibration_error : float
        Expected calibration error.
    """

    label: Label
    count: int
    positive: int
    log_loss: float
    auc: Interval
    calibration_error: float


@dataclass(frozen=True)
class Score:
    """What predictions are worth.

    Parameters
    ----------
    weighted_log_loss : Interval
        Kaggle's score; its interval by bootstrap over patients, where these are known.
    slices, patients : int
        How many; 0 patients where they are not known.
    labels : tuple of OfLabel
        In the order of `LABELS`.
    """

    weighted_log_loss: Interval
    slices: int
    patients: int
    labels: tuple[OfLabel, ...]

    def __str__(self) -> str:
        return (
            f"weighted log loss {self._told(self.weighted_log_loss, 5)} on {self.slices} slices "
            f"(the paper's on the challenge's private test set: {PAPER_LOSS})"
        )

    def _told(self, value: Interval, digits: int = 4) -> str:
        return with_limits(value, digits) if self.patients else number(value.value, digits)

    def table(self) -> Table:
        """The labels one by one."""
        rows = tuple(
            (
                one.label,
                f"{one.positive} of {one.count}",
                number(one.log_loss, 5),
                self._told(one.auc),
                number(one.calibration_error),
            )
            for one in self.labels
        )
        notes = [
            f"{one.label}: no AUC, {why}"
            for one in self.labels
            if (why := why_undefined(one.count, one.positive, Unit.SLICE))
        ]
        if not self.patients:
            notes.append(
                "No intervals: these files do not name patients; with --store they are known"
            )
        columns = ("label", "slices with it", "log loss", "AUC", "calibration error")
        return Table("RSNA 2019: slices", columns, rows, tuple(notes))


def align(
    labels: Mapping[str, np.ndarray], predictions: Mapping[str, np.ndarray]
) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Bring labels and predictions into one order.

    Returns
    -------
    slices : list of str
    truth, probability : numpy.ndarray
        uint8 and float64, shape (n, 6).

    Raises
    ------
    TrainingError
        If a slice stands in one of them only.
    """
    for what, some, others in (
        ("labelled slices have no prediction", labels, predictions),
        ("predicted slices have no label", predictions, labels),
    ):
        missing = [name for name in some if name not in others]
        if missing:
            raise TrainingError(
                f"{len(missing)} of {len(some)} {what} ({missing[0]}, ...); "
                "both files must hold the same slices"
            )
    slices = list(labels)
    truth = np.stack([labels[name] for name in slices])
    return slices, truth, np.stack([predictions[name] for name in slices])


def score(
    truth: np.ndarray,
    probability: np.ndarray,
    patients: np.ndarray | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Score:
    """Score predictions of slices.

    Parameters
    ----------
    truth : numpy.ndarray
        0 or 1, shape (n, 6).
    probability : numpy.ndarray
        float64, shape (n, 6).
    patients : numpy.ndarray, optional
        Text, shape (n,); without them there are no intervals.
    """
    losses = log_losses(truth, probability)
    per_label = losses.mean(axis=0)
    total = Interval(float(per_label @ WEIGHTS))
    drawn = None if patients is None else Bootstrap.of(patients, resamples, seed)
    if drawn is not None:
        total = drawn.interval(total.value, drawn.mean(losses @ WEIGHTS))
    return Score(
        weighted_log_loss=total,
        slices=len(truth),
        patients=0 if patients is None else len(set(patients)),
        labels=tuple(
            OfLabel(
                label=label,
                count=len(truth),
                positive=int(truth[:, c].sum()),
                log_loss=float(per_label[c]),
                auc=(
                    Interval(auc(truth[:, c], probability[:, c]))
                    if drawn is None
                    else area(drawn, truth[:, c], probability[:, c])
                ),
                calibration_error=expected_calibration_error(truth[:, c], probability[:, c]),
            )
            for c, label in enumerate(LABELS)
        ),
    )
