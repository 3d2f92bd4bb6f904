"""Train stage 1: one slice becomes six logits.

One model is trained for each fold, on the other folds, so that stage 2 can
learn from descriptors of slices that stage 1 had not seen; then one on
everything, which is the one to ship.

References
----------
"Slice-level Detection of Intracranial Hemorrhage on CT Using Deep Descriptors
of Adjacent Slices": Adam from 5e-4, cosine annealing, binary cross entropy on
six labels. RSNA 2019 gives ``any`` twice the weight of the others.
"""

import math
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import repeat
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits

from ml.describe import Preprocess, build_backbone
from training import cli
from training.augment import Augmentation
from training.checkpoint import Recipe, save_stage1, stage1_path
from training.data import Baked, Series, folds, load_baked
from training.jobs import mapped
from training.metrics import WEIGHTS


class Batches:
    """Slices of many series in random order.

    Parameters
    ----------
    series : sequence of Series
    preprocess : Preprocess
    augmentation : Augmentation
    batch_size : int
    seed : int
        Of order and augmentation.
    """

    def __init__(
        self,
        series: Sequence[Series],
        preprocess: Preprocess,
        augmentation: Augmentation,
        batch_size: int,
        seed: int,
    ) -> None:
        self.arrays = [one.hu() for one in series]
        self.labels = [torch.from_numpy(one.labels).float() for one in series]
        self.places = [(s, i) for s, one in enumerate(series) for i in range(len(one))]
        self.preprocess = preprocess
        self.augmentation = augmentation
        self.batch_size = batch_size
        self.rng = np.random.default_rng(seed)
        self.generator = torch.Generator().manual_seed(seed)

    def __len__(self) -> int:
        return math.ceil(len(self.places) / self.batch_size)

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Yield pairs of tensors: (b, 3, size, size) and (b, 6)."""
        order = self.rng.permutation(len(self.places))
        for start in range(0, len(order), self.batch_size):
            chosen = [self.places[i] for i in order[start : start + self.batch_size]]
            prepared = [self._prepare(np.array(self.arrays[s][i])) for s, i in chosen]
            batch = self.augmentation.geometry(torch.cat(prepared), self.generator)
            yield batch, torch.stack([self.labels[s][i] for s, i in chosen])

    def _prepare(self, hu: np.ndarray) -> torch.Tensor:
        changed = self.augmentation.intensity(torch.from_numpy(hu)[None], self.generator)
        return self.preprocess(changed)


def train(series: Sequence[Series], recipe: Recipe, augmentation: Augmentation) -> nn.Module:
    """Train one backbone from nothing.

    Returns
    -------
    torch.nn.Module
        In evaluation mode.
    """
    torch.manual_seed(recipe.seed)
    model = build_backbone(recipe.backbone).to(memory_format=torch.channels_last)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 0.1  # some backbones have 0.01, too slow for a short training
    seed = recipe.seed + 1000 * (recipe.fold + 2)
    batches = Batches(series, recipe.preprocess(), augmentation, recipe.batch_size, seed)
    optimizer = torch.optim.Adam(model.parameters(), lr=recipe.learning_rate)
    steps = recipe.epochs * len(batches)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    weights = torch.from_numpy(WEIGHTS).float() * len(WEIGHTS)
    name = "all" if recipe.fold < 0 else f"fold {recipe.fold + 1}/{recipe.folds}"
    for epoch in range(recipe.epochs):
        model.train()
        total, seen, started = 0.0, 0, time.monotonic()
        for batch, labels in batches:
            if len(batch) == 1 and seen:
                continue  # batch statistics of a single slice mean nothing
            loss = binary_cross_entropy_with_logits(model(batch), labels, weight=weights)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total, seen = total + loss.item() * len(batch), seen + len(batch)
        rate = seen / (time.monotonic() - started)
        print(
            f"{name}: epoch {epoch + 1}/{recipe.epochs}, loss {total / seen:.4f}, "
            f"{rate:.0f} slices/s",
            flush=True,
        )
    return model.eval()


def train_one(data: Baked, out: Path, recipe: Recipe, threads: int) -> None:
    """Train the model that keeps the recipe's fold out, and write it."""
    if threads:
        torch.set_num_threads(threads)
    kept = data.series
    if recipe.fold >= 0:
        dealt = folds(data.series, recipe.folds, recipe.seed)
        kept = tuple(one for one in data.series if dealt[one.name] != recipe.fold)
    state = train(kept, recipe, Augmentation()).state_dict()
    save_stage1(stage1_path(out, recipe.fold), state, recipe)


def train_all(data: Baked, out: Path, recipe: Recipe, jobs: int, threads: int) -> None:
    """Train a model on everything, the longest first, and one for each fold."""
    kept_out = [-1, *range(recipe.folds if recipe.folds > 1 else 0)]
    if recipe.folds > 1:
        folds(data.series, recipe.folds, recipe.seed)  # tells of too few patients at once
    recipes = [replace(recipe, fold=fold) for fold in kept_out]
    for _ in mapped(train_one, repeat(data), repeat(out), recipes, repeat(threads), jobs=jobs):
        pass


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``python -m training.train_slices``."""
    typed = list(sys.argv[1:] if arguments is None else arguments)
    parser = cli.parser("train_slices", "Train stage 1, once per fold and once on everything.")
    parser.add_argument("data", type=cli.existing, help="folder made by training.prepare")
    parser.add_argument("out", type=Path, help="folder for checkpoints")
    parser.add_argument("--backbone", default="resnet50", help="torchvision classifier")
    parser.add_argument("--input-size", type=cli.positive, default=512, help="pixels")
    parser.add_argument("--epochs", type=cli.positive, default=20, help="rounds over all slices")
    parser.add_argument("--batch-size", type=cli.positive, default=32, help="slices per step")
    parser.add_argument("--lr", type=float, default=5e-4, help="initial learning rate")
    parser.add_argument("--folds", type=cli.positive, default=3, help="1 trains no fold models")
    parser.add_argument("--seed", type=int, default=0, help="of weights, order, augmentation")
    parser.add_argument("--jobs", type=cli.positive, default=1, help="models trained at a time")
    parser.add_argument("--threads", type=int, default=0, help="per model; 0 leaves it to torch")
    args = parser.parse_args(typed)

    def step() -> None:
        data = load_baked(args.data)
        recipe = Recipe(
            backbone=args.backbone,
            input_size=args.input_size,
            epochs=args.epochs,
            batch_size=args.batch_size,
            learning_rate=args.lr,
            seed=args.seed,
            folds=args.folds,
            fold=-1,
            source=data.source,
            command=cli.command_line("train_slices", typed),
        )
        train_all(data, args.out, recipe, args.jobs, args.threads)

    return cli.run(step)


if __name__ == "__main__":
    sys.exit(main())
