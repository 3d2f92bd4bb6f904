"""Run stage 1 over series and keep its descriptors for stage 2.

With ``--out-of-fold`` each series is described by the model that had not seen
its patient: descriptors of slices that were trained on are over-confident, and
a fusion network learns nothing from them.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from ml.describe import Preprocess, build_backbone
from training import cli
from training.checkpoint import Recipe, load_stage1, stage1_path
from training.data import Baked, folds, load_baked
from training.errors import TrainingError


@dataclass(frozen=True)
class Descriptors:
    """What stage 1 said of the slices of some series.

    Parameters
    ----------
    logits : numpy.ndarray
        float32, shape (n, 6).
    labels : numpy.ndarray
        uint8, shape (n, 6).
    lengths : numpy.ndarray
        int64, slices of each series; they follow each other, foot to head.
    source : str
        What was described.
    command : str
        What was typed.
    """

    logits: np.ndarray
    labels: np.ndarray
    lengths: np.ndarray
    source: str
    command: str = ""

    def split(self, values: np.ndarray) -> list[np.ndarray]:
        """Cut an array of shape (n, ...) into series."""
        return np.split(values, np.cumsum(self.lengths)[:-1])

    def save(self, path: Path) -> None:
        """Write an ``npz`` file."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            np.savez(
                file,
                logits=self.logits,
                labels=self.labels,
                lengths=self.lengths,
                source=np.array(self.source),
                command=np.array(self.command),
            )

    @classmethod
    def load(cls, path: Path) -> "Descriptors":
        """Read what `save` wrote.

        Raises
        ------
        TrainingError
            If it is something else.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                numbers = (file["logits"], file["labels"], file["lengths"])
                return cls(*numbers, str(file["source"]), str(file["command"]))
        except (KeyError, ValueError, OSError) as error:
            raise TrainingError(f"{path} was not made by training.describe: {error}") from error


@torch.inference_mode()
def describe_slices(
    model: nn.Module, preprocess: Preprocess, hu: np.ndarray, batch_size: int = 32
) -> np.ndarray:
    """Logits of the slices of a series.

    Parameters
    ----------
    hu : numpy.ndarray
        int16, shape (n, rows, columns), HU.

    Returns
    -------
    numpy.ndarray
        float32, shape (n, 6).
    """
    parts = [
        model(preprocess(torch.from_numpy(np.array(hu[start : start + batch_size]))))
        for start in range(0, len(hu), batch_size)
    ]
    return torch.cat(parts).float().numpy()


def describe(data: Baked, models: Path, *, out_of_fold: bool, command: str = "") -> Descriptors:
    """Describe every series by the model on everything, or each by its fold's."""
    _, recipe = load_stage1(stage1_path(models, -1))
    dealt = folds(data.series, recipe.folds, recipe.seed) if out_of_fold else {}
    if out_of_fold and (recipe.folds < 2 or recipe.source != data.source):
        raise TrainingError(
            f"{models} cannot describe out of fold: trained with {recipe.folds} folds "
            f"on {recipe.source!r}, this is {data.source!r}"
        )
    logits: dict[str, np.ndarray] = {}
    for fold in range(recipe.folds) if out_of_fold else [-1]:
        model, preprocess = _load(stage1_path(models, fold), recipe)
        for one in data.series:
            if fold < 0 or dealt[one.name] == fold:
                logits[one.name] = describe_slices(model, preprocess, one.hu())
        print(f"{len(logits)} of {len(data.series)} series", flush=True)
    return Descriptors(
        np.concatenate([logits[one.name] for one in data.series]),
        np.concatenate([one.labels for one in data.series]),
        np.array([len(one) for one in data.series]),
        data.source,
        command,
    )


def _load(path: Path, like: Recipe) -> tuple[nn.Module, Preprocess]:
    state, recipe = load_stage1(path)
    if (recipe.backbone, recipe.input_size) != (like.backbone, like.input_size):
        raise TrainingError(f"{path} is of another recipe than the model on everything")
    model = build_backbone(recipe.backbone)
    model.load_state_dict(state)
    return model.to(memory_format=torch.channels_last).eval(), recipe.preprocess()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``python -m training.describe``."""
    typed = list(sys.argv[1:] if arguments is None else arguments)
    parser = cli.parser("describe", "Describe series by stage 1.")
    parser.add_argument("data", type=cli.existing, help="folder made by training.prepare")
    parser.add_argument("models", type=cli.existing, help="folder made by training.train_slices")
    parser.add_argument("out", type=Path, help="descriptors to write (*.npz)")
    parser.add_argument(
        "--out-of-fold",
        action="store_true",
        help="each series by the model that has not seen it; for data that was trained on",
    )
    args = parser.parse_args(typed)

    def step() -> None:
        command = cli.command_line("describe", typed)
        data = load_baked(args.data)
        describe(data, args.models, out_of_fold=args.out_of_fold, command=command).save(args.out)

    return cli.run(step)


if __name__ == "__main__":
    sys.exit(main())
