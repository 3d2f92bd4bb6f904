"""How both stages do on held-out patients: the figures that reports and model cards print.

Everything here is measured on patients that took no part in training and on
which nothing was chosen; see `training.measures.calibrate`.
"""

from dataclasses import dataclass
from enum import StrEnum

from ml.labels import Label
from training.measures.calibrate import Calibration
from training.measures.metrics import Interval


class Unit(StrEnum):
    """What is judged as one; a series counts with its highest slice."""

    SLICE = "slice"
    SERIES = "series"


@dataclass(frozen=True)
class Losses:
    """Weighted log loss of one run; the intervals are by bootstrap over patients.

    Parameters
    ----------
    stage1, both : Interval
        Stage 1 alone, and both stages, as trained.
    smoothed : Interval
        The baseline of `training.measures.smooth` on stage 1.
    stage1_tempered, both_tempered : Interval
        Each at its own temperature.
    reduction, reduction_tempered : Interval
        By how many per cent both stages are below stage 1, as trained and each
        at its temperature; paired over patients.
    reduction_smoothed : Interval
        The same, as trained, against the baseline of smoothing.
    """

    stage1: Interval
    smoothed: Interval
    both: Interval
    stage1_tempered: Interval
    both_tempered: Interval
    reduction: Interval
    reduction_tempered: Interval
    reduction_smoothed: Interval


@dataclass(frozen=True)
class Discrimination:
    """Area under the ROC curve for one label.

    Parameters
    ----------
    unit : Unit
    label : Label
    count, positive : int
        Slices or series, and those with the finding.
    stage1, both : Interval
        Of stage 1 alone and of both stages, by bootstrap over patients.
    """

    unit: Unit
    label: Label
    count: int
    positive: int
    stage1: Interval
    both: Interval

    @property
    def why_undefined(self) -> str:
        """Why there is no value; empty where there is one."""
        return why_undefined(self.count, self.positive, self.unit)


@dataclass(frozen=True)
class AtPoint:
    """Both stages at one threshold.

    Parameters
    ----------
    unit : Unit
    label : Label
    point : str
        One of `training.measures.calibrate.POINTS`.
    threshold : float
        Not a number where none could be chosen.
    sensitivity, specificity : Interval
        Wilson's intervals; for slices they are too narrow, as slices of a patient are alike.
    sensitivity_by_patient, specificity_by_patient : Interval
        By bootstrap over patients.
    positive, negative : int
        Slices or series with and without the finding.
    """

    unit: Unit
    label: Label
    point: str
    threshold: float
    sensitivity: Interval
    specificity: Interval
    sensitivity_by_patient: Interval
    specificity_by_patient: Interval
    positive: int
    negative: int


@dataclass(frozen=True)
class Reliability:
    """Expected calibration error of one label, on slices.

    Parameters
    ----------
    label : Label
    stage1, before, after : float
        Of stage 1 alone, of both stages as trained, and at their temperature.
    """

    label: Label
    stage1: float
    before: float
    after: float


@dataclass(frozen=True)
class Subgroup:
    """Some of the series.

    Parameters
    ----------
    by, name : str
        What series were told apart by, and which these are.
    series, patients, slices, positive : int
        How many; `positive` slices with any bleed.
    stage1, both : float
        Weighted log loss of stage 1 alone and of both stages.
    slice_auc : tuple of 6 Interval
        Of both stages.
    series_auc : Interval
        Of both stages, for any bleed.
    """

    by: str
    name: str
    series: int
    patients: int
    slices: int
    positive: int
    stage1: float
    both: float
    slice_auc: tuple[Interval, ...]
    series_auc: Interval


@dataclass(frozen=True)
class Figures:
    """How a model did on held-out patients.

    Parameters
    ----------
    source : str
        Which they are.
    series, patients, slices, positive : int
        How many; `positive` slices with any bleed.
    calibration : Calibration
        What was chosen, on other patients.
    losses : Losses
    discrimination : tuple of Discrimination
        Slices, then series; each in the order of `LABELS`.
    at_points : tuple of AtPoint
        Slices, then series; points by rising threshold; labels in order.
    reliability : tuple of Reliability
        In the order of `LABELS`.
    subgroups : tuple of Subgroup
        By slice thickness, then by scanner.
    resamples : int
        Draws of patients behind each bootstrap interval.
    """

    source: str
    series: int
    patients: int
    slices: int
    positive: int
    calibration: Calibration
    losses: Losses
    discrimination: tuple[Discrimination, ...]
    at_points: tuple[AtPoint, ...]
    reliability: tuple[Reliability, ...]
    subgroups: tuple[Subgroup, ...]
    resamples: int

    def __str__(self) -> str:
        slice_auc = ", ".join(
            f"{one.label} {one.both.value:.3f}" if one.both.defined else f"{one.label} –"
            for one in self.discrimination
            if one.unit is Unit.SLICE
        )
        return (
            f"{self.series} held-out series, {self.slices} slices ({self.positive} with a bleed): "
            f"weighted log loss {self.losses.stage1.value:.4f} by stage 1 alone, "
            f"{self.losses.both.value:.4f} by both stages; slice AUC {slice_auc}"
        )


def why_undefined(count: int, positive: int, unit: Unit) -> str:
    """Why neither AUC nor sensitivity and specificity exist together; empty where they do."""
    units = "slices" if unit is Unit.SLICE else "series"
    if count == 0:
        return f"no {units}"
    if positive == 0:
        return f"on none of {count} {units}"
    return f"on all of {count} {units}" if positive == count else ""
