"""Weights with what they were made by, in one safetensors file."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open

from ml.bundle import Normalisation
from ml.describe import Preprocess
from ml.windows import PAPER_WINDOWS
from training.errors import TrainingError


@dataclass(frozen=True)
class Recipe:
    """How stage 1 was trained.

    Parameters
    ----------
    backbone : str
        A torchvision classifier.
    input_size : int
        Pixels.
    epochs, batch_size : int
    learning_rate : float
        At the start of the cosine.
    seed : int
    folds : int
        Into how many parts patients were dealt.
    fold : int
        The part that was kept out; -1 for none.
    source : str
        What it was trained on.
    command : str
        What was typed.
    """

    backbone: str
    input_size: int
    epochs: int
    batch_size: int
    learning_rate: float
    seed: int
    folds: int
    fold: int
    source: str
    command: str

    def preprocess(self) -> Preprocess:
        """From HU to what stage 1 takes; the same code as in the node."""
        normalisation = Normalisation()
        return Preprocess(PAPER_WINDOWS, self.input_size, normalisation.mean, normalisation.std)


def stage1_path(folder: Path, fold: int) -> Path:
    """Where the checkpoint of a fold lies; -1 is the one trained on everything."""
    return folder / ("stage1.safetensors" if fold < 0 else f"stage1-fold{fold}.safetensors")


def save(path: Path, state: Mapping[str, torch.Tensor], told: Mapping[str, str]) -> None:
    """Write weights with text beside them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = {k: v.detach().cpu().contiguous() for k, v in state.items()}
    safetensors.torch.save_file(tensors, path, metadata=dict(told))


def load(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Read weights and the text beside them.

    Raises
    ------
    TrainingError
        If the file is missing or not safetensors.
    """
    try:
        with safe_open(path, framework="pt") as file:
            told = file.metadata() or {}
        return safetensors.torch.load_file(path), told
    except FileNotFoundError as error:
        raise TrainingError(f"{path} is not there; train it first") from error
    except SafetensorError as error:
        raise TrainingError(f"{path} is not a checkpoint: {error}") from error


def save_stage1(path: Path, state: Mapping[str, torch.Tensor], recipe: Recipe) -> None:
    """Write a checkpoint of stage 1."""
    save(path, state, {key: str(value) for key, value in asdict(recipe).items()})


def load_stage1(path: Path) -> tuple[dict[str, torch.Tensor], Recipe]:
    """Read a checkpoint of stage 1.

    Raises
    ------
    TrainingError
        If it is missing or was not made by `save_stage1`.
    """
    state, told = load(path)
    kinds: dict[object, type] = {"int": int, "float": float, "str": str, int: int, float: float}
    try:
        values = {f.name: kinds.get(f.type, str)(told[f.name]) for f in fields(Recipe)}
    except (KeyError, ValueError) as error:
        raise TrainingError(f"{path} does not say how it was trained: {error}") from error
    return state, Recipe(**values)
