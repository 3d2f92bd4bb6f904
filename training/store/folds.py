"""Patients dealt to folds, and those set apart to measure on."""

import hashlib
from collections.abc import Iterable

import numpy as np

from ml.labels import LABELS, Label
from training.errors import TrainingError
from training.store import Series

_ANY = LABELS.index(Label.ANY)


def is_held_out(patient: str, share: float) -> bool:
    """Whether a patient is set apart, from the identifier alone: the same in every store.

    Parameters
    ----------
    patient : str
    share : float
        Of all patients, roughly; 0 to 1.
    """
    drawn = int.from_bytes(hashlib.sha256(patient.encode("utf-8", "replace")).digest()[:8])
    return drawn < share * 2**64


def folds(series: Iterable[Series], count: int, seed: int) -> dict[str, int]:
    """Deal patients to folds, those with a bleed and those without each evenly.

    Parameters
    ----------
    series : iterable of Series
        In any order: what comes out depends on the set only.
    count : int
        Number of folds.
    seed : int
        Of the shuffling.

    Returns
    -------
    dict of str to int
        From the series to its fold, 0 to `count` - 1.

    Raises
    ------
    TrainingError
        If there are fewer patients than folds, or so few with a bleed that a
        fold would have none.
    """
    patients: dict[str, str] = {}
    bleeds: dict[str, bool] = {}
    for one in series:
        patients[one.name] = one.patient
        bleeds[one.patient] = bleeds.get(one.patient, False) or bool(one.study_labels[_ANY] == 1)
    if len(bleeds) < count:
        raise TrainingError(f"{len(bleeds)} patients cannot be dealt to {count} folds")
    positive = sum(bleeds.values())
    if count > 1 and positive < count:
        raise TrainingError(
            f"a fold would have no positive: {positive} of {len(bleeds)} patients have a bleed; "
            f"ask for at most {max(positive, 1)} folds instead of {count}"
        )
    distinct = sorted(bleeds)
    shuffled = [distinct[i] for i in np.random.default_rng(seed).permutation(len(distinct))]
    order = sorted(shuffled, key=lambda patient: not bleeds[patient])
    fold = {patient: position % count for position, patient in enumerate(order)}
    return {name: fold[patient] for name, patient in patients.items()}
