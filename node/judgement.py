"""What the model says about a series: the value that goes from analyze to report."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np

from ml.labels import LABELS, Label
from ml.series import Slice

if TYPE_CHECKING:  # at run time they would bring PyTorch
    from ml.bundle import Bundle, OperatingPoint


class Assessment(StrEnum):
    """What the operating points of a model say of a finding in a study."""

    PRESENT = "present"
    ABSENT = "absent"
    INDETERMINATE = "indeterminate"


@dataclass(frozen=True)
class Model:
    """Which model judged.

    Parameters
    ----------
    name, version : str
        As in its ``bundle.json``.
    digest : str
        SHA-256 of ``bundle.json``, hexadecimal; it stands for the weights too.
    trained_on, intended_use : str
        In the bundle's own words.
    operating_point : OperatingPoint, optional
        The thresholds in use; None where the bundle has none.
    most_sensitive : OperatingPoint, optional
        Of the bundle's operating points the one with the lowest thresholds: what
        lies between it and the one in use is neither present nor absent.
    """

    name: str
    version: str
    digest: str
    trained_on: str
    intended_use: str
    operating_point: "OperatingPoint | None" = None
    most_sensitive: "OperatingPoint | None" = None

    @classmethod
    def of(cls, bundle: "Bundle", operating_point: str = "balanced") -> "Model":
        """The model of a bundle, with the operating point of that name if it has one."""
        manifest = bundle.manifest
        points = {point.name: point for point in manifest.operating_points}
        return cls(
            manifest.name,
            manifest.version,
            bundle.digest,
            manifest.trained_on,
            manifest.intended_use,
            points.get(operating_point),
            min(points.values(), key=lambda p: sum(p.thresholds.values()), default=None),
        )

    def threshold(self, label: Label) -> float | None:
        """Probability from which on a finding is flagged, None without an operating point."""
        return None if self.operating_point is None else self.operating_point.thresholds[label]


@dataclass(frozen=True)
class Judgement:
    """The probabilities of every slice of a series, and what to know about them.

    Parameters
    ----------
    study_instance_uid, series_instance_uid : str
        Of the series that was judged.
    model : Model
        Which model judged.
    input_digest : str
        Stands for the set of instances that was judged (`digest_of_instances`).
    slices : tuple of Slice
        Foot to head.
    probabilities : numpy.ndarray
        float32, shape (n, 6), columns as `ml.labels.LABELS`.
    warnings : tuple of str
        What a reader of the result has to know.
    """

    study_instance_uid: str
    series_instance_uid: str
    model: Model
    input_digest: str
    slices: tuple[Slice, ...]
    probabilities: np.ndarray
    warnings: tuple[str, ...] = ()

    def maximum(self, label: Label) -> float:
        """Probability of a finding in the study: the maximum over the slices (paper)."""
        return float(self.probabilities[:, LABELS.index(label)].max())

    def key_slice(self, label: Label) -> int:
        """Index of the slice that the maximum comes from."""
        return int(self.probabilities[:, LABELS.index(label)].argmax())

    def probability(self, index: int, label: Label) -> float:
        """Probability of a finding on a slice, by its index from 0 at the foot."""
        return float(self.probabilities[index, LABELS.index(label)])

    def is_flagged(self, index: int, label: Label) -> bool:
        """Whether a slice reaches the threshold of a finding."""
        threshold = self.model.threshold(label)
        return threshold is not None and self.probability(index, label) >= threshold

    def flagged_slices(self, label: Label | None = None) -> list[int]:
        """Indices of the slices that are flagged for a finding, or for any of the six."""
        labels = LABELS if label is None else (label,)
        return [
            index
            for index in range(len(self.slices))
            if any(self.is_flagged(index, label) for label in labels)
        ]

    def assessment(self, label: Label) -> Assessment | None:
        """What the operating points say of a finding in the study, None without any."""
        threshold = self.model.threshold(label)
        if threshold is None:
            return None
        if self.maximum(label) >= threshold:
            return Assessment.PRESENT
        sensitive = self.model.most_sensitive
        if sensitive is not None and self.maximum(label) >= sensitive.thresholds[label]:
            return Assessment.INDETERMINATE
        return Assessment.ABSENT


def digest_of_instances(instances: Iterable[tuple[str, str]]) -> str:
    """One digest for a set of instances, whatever their order.

    Parameters
    ----------
    instances : iterable of tuple of str
        SOP Instance UID and digest of the content of each.
    """
    lines = "\n".join(f"{uid} {content}" for uid, content in sorted(instances))
    return hashlib.sha256(lines.encode()).hexdigest()
