"""Descriptors and networks that nobody trained, for tests of what is measured on them."""

from dataclasses import replace

import numpy as np

from ml.labels import LABELS
from training import train_fusion
from training.stage2.descriptors import Descriptors, How

SLICES = 12


def labels(rng):
    """A series with each finding on a run of slices, or not."""
    found = np.zeros((SLICES, len(LABELS)), dtype=np.uint8)
    for column in range(len(LABELS) - 1):
        if rng.random() < 0.3:
            start = rng.integers(0, SLICES - 4)
            found[start : start + rng.integers(2, 5), column] = 1
    found[:, -1] = found[:, :-1].max(axis=1)
    return found


def descriptors(patients=20, seed=0, noise=2.0, prefix="p"):
    """Two series of each patient, with logits that are right more often than not."""
    rng = np.random.default_rng(seed)
    series = 2 * patients
    truth = [labels(rng) for _ in range(series)]
    every = np.concatenate(truth)
    logits = 6.0 * every - 4 + rng.normal(0, noise, every.shape)
    return Descriptors(
        logits=logits.astype(np.float32),
        features=np.zeros((len(every), 0), dtype=np.float16),
        labels=every,
        study_labels=np.stack([one.max(axis=0) for one in truth]),
        lengths=np.full(series, SLICES),
        sop_instance_uids=np.array([f"{prefix}-{seed}-{i}" for i in range(len(every))]),
        positions_mm=np.tile(np.arange(SLICES) * 5.0, series),
        series=np.array([f"{prefix}{i}" for i in range(series)]),
        patients=np.array([f"{prefix}{i // 2}" for i in range(series)]),
        studies=np.array([f"{prefix}{i // 2}" for i in range(series)]),
        scanners=np.array([("A One", "B Two", "")[i % 3] for i in range(series)]),
        thickness_mm=np.array([(1.0, 5.0)[i % 2] for i in range(series)]),
        source="invented heads",
        commands=("python -m training.describe invented",),
    )


def without(made, column):
    """The same descriptors where a finding is on no slice."""
    found = made.labels.copy()
    found[:, column] = 0
    return replace(made, labels=found)


def fusion(folder, seed=0):
    """A network of stage 2 that learned a little, by the command; its file."""
    made, path = folder / "invented.npz", folder / f"stage2-{seed}.safetensors"
    replace(descriptors(seed=99, prefix="t"), how=How.OUT_OF_FOLD).save(made)
    assert train_fusion.main([str(made), str(path), "--epochs", "4", "--seed", str(seed)]) == 0
    return path
