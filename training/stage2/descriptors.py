"""What stage 1 said of every slice of some series: the input of stage 2 and of evaluation."""

import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from enum import StrEnum
from pathlib import Path
from typing import Self
from zipfile import BadZipFile

import numpy as np

from ml.errors import first_line
from ml.labels import LABELS
from training.errors import TrainingError
from training.files import whole
from training.store import Series


class How(StrEnum):
    """Whether the model that described a patient had learned from that patient."""

    OUT_OF_FOLD = "out-of-fold"
    """No: each patient by the model that was trained without it. For stage 2 to learn from."""
    IN_SAMPLE = "in-sample"
    """Yes: over-confident. For comparison only."""
    HELD_OUT = "held-out"
    """No: patients that stage 1 never saw, by the model on everything. To measure on."""


IN_SAMPLE = (
    "in-sample descriptors are for comparison only: stage 1 is over-confident on slices that it "
    "was trained on, and a stage 2 that learns from them gains nothing on new patients"
)
"""Said where descriptors are made or learned from that nothing should learn from."""


@dataclass(frozen=True)
class Descriptors:
    """Stage 1 on n slices of s series; the slices of a series follow each other, foot to head.

    Parameters
    ----------
    logits : numpy.ndarray
        float32, shape (n, 6).
    features : numpy.ndarray
        float16, shape (n, d): what the backbone gives its last layer; d is 0 where
        they were not asked for.
    labels : numpy.ndarray
        uint8, shape (n, 6); `training.store.UNKNOWN` where only the study was read.
    study_labels : numpy.ndarray
        uint8, shape (s, 6).
    lengths : numpy.ndarray
        int64, shape (s,): slices of each series.
    sop_instance_uids, positions_mm : numpy.ndarray
        Text and float64, shape (n,).
    series, patients, studies, scanners : numpy.ndarray
        Text, shape (s,).
    thickness_mm : numpy.ndarray
        float64, shape (s,).
    source : str
        One line on what was described.
    commands : tuple of str
        What was typed to make it.
    stage1 : str
        SHA-256 of the weights of the model on everything, of this stage 1; empty
        where it is not known.
    how : How
    flip : bool
        Whether the mirror image of each slice was described too.
    """

    logits: np.ndarray
    features: np.ndarray
    labels: np.ndarray
    study_labels: np.ndarray
    lengths: np.ndarray
    sop_instance_uids: np.ndarray
    positions_mm: np.ndarray
    series: np.ndarray
    patients: np.ndarray
    studies: np.ndarray
    scanners: np.ndarray
    thickness_mm: np.ndarray
    source: str
    commands: tuple[str, ...] = ()
    stage1: str = ""
    how: How = How.HELD_OUT
    flip: bool = False

    @classmethod
    def of(
        cls,
        series: Sequence[Series],
        logits: np.ndarray,
        features: np.ndarray,
        source: str,
        commands: Iterable[str] = (),
        *,
        stage1: str = "",
        how: How = How.HELD_OUT,
        flip: bool = False,
    ) -> Self:
        """Join what stage 1 said with what the store knows of the series."""
        return cls(
            logits=logits,
            features=features,
            labels=np.concatenate([one.labels for one in series]),
            study_labels=np.stack([one.study_labels for one in series]),
            lengths=np.array([len(one) for one in series]),
            sop_instance_uids=np.array([uid for one in series for uid in one.sop_instance_uids]),
            positions_mm=np.array([p for one in series for p in one.positions_mm]),
            series=np.array([one.name for one in series]),
            patients=np.array([one.patient for one in series]),
            studies=np.array([one.study for one in series]),
            scanners=np.array([one.scanner for one in series]),
            thickness_mm=np.array([one.thickness_mm for one in series]),
            source=source,
            commands=tuple(commands),
            stage1=stage1,
            how=how,
            flip=flip,
        )

    def split(self, values: np.ndarray) -> list[np.ndarray]:
        """Cut an array of shape (n, ...) into series."""
        return np.split(values, np.cumsum(self.lengths)[:-1])

    def save(self, path: Path) -> None:
        """Write an ``npz`` file.

        Raises
        ------
        TrainingError
            If it cannot be written.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole(path) as file:
            np.savez(file, **{one.name: np.array(getattr(self, one.name)) for one in fields(self)})

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote.

        Raises
        ------
        TrainingError
            If it is something else, cut short, or does not hold together.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                values = {one.name: file[one.name] for one in fields(cls)}
            values["source"] = str(values["source"])
            values["commands"] = tuple(str(one) for one in values["commands"])
            values["stage1"] = str(values["stage1"])
            values["how"] = How(str(values["how"]))
            values["flip"] = bool(values["flip"])
            loaded = cls(**values)
            loaded._check()
        except FileNotFoundError as error:
            raise TrainingError(f"{path} is not there; make it with training.describe") from error
        except (
            KeyError,
            ValueError,
            TypeError,
            AttributeError,
            OSError,
            EOFError,
            MemoryError,
            NotImplementedError,
            BadZipFile,
            zlib.error,
        ) as error:
            raise TrainingError(
                f"{path} was not made by training.describe, or is cut short: {first_line(error)}"
            ) from error
        return loaded

    def _check(self) -> None:
        """Raise ValueError if the arrays do not go together."""
        n, s, findings = len(self.logits), len(self.lengths), len(LABELS)
        shapes = {
            "logits": (n, findings),
            "features": (n, *self.features.shape[1:2]),
            "labels": (n, findings),
            "study_labels": (s, findings),
            **dict.fromkeys(("sop_instance_uids", "positions_mm"), (n,)),
            **dict.fromkeys(
                ("lengths", "series", "patients", "studies", "scanners", "thickness_mm"), (s,)
            ),
        }
        for name, shape in shapes.items():
            if getattr(self, name).shape != shape:
                raise ValueError(f"{name} has shape {getattr(self, name).shape}, expected {shape}")
        if n == 0 or (self.lengths < 1).any() or self.lengths.sum() != n:
            raise ValueError(f"lengths of {s} series do not add up to {n} slices")
