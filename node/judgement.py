"""What the model says about a series: the value that goes from analyze to report."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from ml.bundle import Bundle, OperatingPoint
from ml.labels import LABELS, Label
from ml.series import Slice


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
    """

    name: str
    version: str
    digest: str
    trained_on: str
    intended_use: str
    operating_point: OperatingPoint | None = None

    @classmethod
    def of(cls, bundle: Bundle, operating_point: str = "balanced") -> "Model":
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
        )


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


def digest_of_instances(instances: Iterable[tuple[str, str]]) -> str:
    """One digest for a set of instances, whatever their order.

    Parameters
    ----------
    instances : iterable of tuple of str
        SOP Instance UID and digest of the content of each.
    """
    lines = "\n".join(f"{uid} {content}" for uid, content in sorted(instances))
    return hashlib.sha256(lines.encode()).hexdigest()
