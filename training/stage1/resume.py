"""Where a training stands after an epoch, so that it can go on there."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import torch
from torch import nn
from torch.amp.grad_scaler import GradScaler
from torch.optim import Optimizer
from torch.optim.swa_utils import AveragedModel

from training.errors import TrainingError
from training.stage1.checkpoint import Recipe, load, recipe_of, save
from training.stage1.history import Epoch

LAST = "last.safetensors"


def save_progress(
    folder: Path,
    recipe: Recipe,
    model: nn.Module,
    average: AveragedModel | None,
    optimizer: Optimizer,
    scaler: GradScaler,
    history: tuple[Epoch, ...],
) -> None:
    """Write all that the next epoch depends on.

    Raises
    ------
    TrainingError
        If weights are not finite, so that the file before stays, or it cannot be
        written.
    """
    tensors = {f"model.{key}": value for key, value in model.state_dict().items()}
    if average is not None:
        tensors |= {f"average.{key}": value for key, value in average.state_dict().items()}
    for index, moments in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{key}": value for key, value in moments.items()}
    if not all(torch.isfinite(value).all() for value in tensors.values()):
        raise TrainingError(
            f"{recipe.name}: weights are not finite after epoch {len(history)}; the epoch before "
            "stays: try a lower --lr, --clip 1 or --amp off"
        )
    told = {
        "recipe": recipe.to_json(),
        "history": json.dumps([asdict(one) for one in history]),
        "scaler": json.dumps(scaler.state_dict()),
    }
    save(folder / LAST, tensors, told)


def load_progress(
    folder: Path,
    recipe: Recipe,
    model: nn.Module,
    average: AveragedModel | None,
    optimizer: Optimizer,
    scaler: GradScaler,
) -> tuple[Epoch, ...]:
    """Go back to where `save_progress` was called; to the beginning if it never was.

    Raises
    ------
    TrainingError
        If the file is damaged or of another recipe.
    """
    path = folder / LAST
    if not path.is_file():
        return ()
    tensors, told = load(path)
    same_recipe(path, recipe_of(path, told), recipe)
    try:
        history = tuple(Epoch(**one) for one in json.loads(told["history"]))
        model.load_state_dict(_under("model.", tensors))
        if average is not None:
            average.load_state_dict(_under("average.", tensors))
        state: dict[int, dict[str, torch.Tensor]] = {}
        for key, value in _under("optimizer.", tensors).items():
            index, _, moment = key.partition(".")
            state.setdefault(int(index), {})[moment] = value
        groups = optimizer.state_dict()["param_groups"]
        optimizer.load_state_dict({"state": state, "param_groups": groups})
        scaler.load_state_dict(json.loads(told["scaler"]))
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise TrainingError(f"{path} is damaged; begin anew with --restart") from error
    return history


def same_recipe(path: Path, before: Recipe, now: Recipe) -> None:
    """Check that a file belongs to a recipe.

    Raises
    ------
    TrainingError
        If it does not; the message names what differs.
    """
    if differing := before.differences(now):
        raise TrainingError(
            f"{path} was made otherwise: {differing}; repeat that, give another folder, "
            "or begin anew with --restart"
        )


def _under(prefix: str, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
