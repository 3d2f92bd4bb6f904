"""A store and checkpoints of stage 1 that are made in a moment; nothing in them is learned."""

from functools import cache

import numpy as np
import torch

from ml.describe import build_backbone
from training.stage1.checkpoint import Recipe, save_stage1, stage1_path
from training.store import Series, array_path, load_store, write_store

BACKBONE = "resnet18"
FEATURES = 512
SIZE = 32
TRAINED = "9 tiny heads"
OTHERS = "6 other tiny heads"


def store(folder, patients=9, source=TRAINED, prefix="t", seed=0):
    """One series of each patient, every second with a bleed that is a bright square."""
    rng = np.random.default_rng(seed)
    made = []
    for number in range(patients):
        name, slices = f"{prefix}{number}", 5 + number % 3
        hu = rng.integers(20, 45, (slices, SIZE, SIZE)).astype(np.int16)
        labels = np.zeros((slices, 6), dtype=np.uint8)
        if number % 2:
            labels[1:3] = 1
            hu[1:3, 8:20, 4:12] = 75
        path = array_path(folder, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, hu)
        made.append(
            Series(
                name=name,
                patient=name,
                study=name,
                scanner="Maker Model",
                thickness_mm=5.0,
                sop_instance_uids=tuple(f"{name}.{i}" for i in range(slices)),
                positions_mm=tuple(5.0 * i for i in range(slices)),
                labels=labels,
                study_labels=labels.max(axis=0),
                path=path,
                rows=SIZE,
                columns=SIZE,
            )
        )
    write_store(folder, source, (f"python -m training.prepare {prefix}",), made)
    return load_store(folder)


@cache
def state(seed, backbone=BACKBONE):
    """Random weights of stage 1 that say something else of every slice."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = build_backbone(backbone)
    return model.state_dict()


def recipe(fold=-1, folds=3, source=TRAINED, **changes):
    """How the checkpoints say they were trained."""
    values = {
        "backbone": BACKBONE,
        "input_size": SIZE,
        "weights": "none",
        "seed": 0,
        "folds": folds,
        "fold": fold,
        "source": source,
        "commands": ("python -m training.prepare t", "python -m training.train_slices t models"),
    }
    return Recipe(**{**values, **changes})


def models(folder, folds=3, **changes):
    """A checkpoint on everything and one for each fold; each of other weights."""
    for fold in (-1, *range(folds if folds > 1 else 0)):
        made = recipe(fold, folds, **changes)
        save_stage1(stage1_path(folder, fold), state(fold + 1, made.backbone), made)
    return folder
