"""Weights with what they were made by, in one safetensors file."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open

from ml.bundle import Normalisation
from ml.describe import Preprocess
from ml.windows import PAPER_WINDOWS
from training.errors import TrainingError
from training.files import whole, writing
from training.stage1.presets import Knobs


@dataclass(frozen=True, kw_only=True)
class Recipe(Knobs):
    """How a model of stage 1 was trained: the knobs, and what else decides.

    Parameters
    ----------
    seed : int
    folds : int
        Into how many parts patients were dealt.
    fold : int
        The part that was kept out; -1 for none.
    source : str
        What it was trained on.
    commands : tuple of str
        What was typed, from the data on, in order.
    series : str
        Digest of the series it was trained on and dealt to folds; see `Store.digest`.
    """

    seed: int
    folds: int
    fold: int
    source: str
    commands: tuple[str, ...]
    series: str = ""

    @property
    def name(self) -> str:
        """What the model is called: its folder, and in what is printed."""
        return "all" if self.fold < 0 else f"fold{self.fold}"

    def preprocess(self) -> Preprocess:
        """From HU to what stage 1 takes; the same code as in the node."""
        normalisation = Normalisation()
        return Preprocess(PAPER_WINDOWS, self.input_size, normalisation.mean, normalisation.std)

    def differences(self, other: "Recipe") -> str:
        """What is not the same in another recipe, in words; how it was typed does not count."""
        mine, theirs = asdict(self), asdict(other)
        return "; ".join(
            f"{name} was {mine[name]}, now it is {theirs[name]}"
            for name in mine
            if name != "commands" and mine[name] != theirs[name]
        )

    def to_json(self) -> str:
        """One line, for the metadata of a file."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Recipe":
        """Read what `to_json` wrote.

        Raises
        ------
        ValueError, KeyError, TypeError
            If it is something else.
        """
        told: dict[str, Any] = json.loads(text)
        told["commands"] = tuple(map(str, told["commands"]))
        for one in fields(cls):
            if one.name == "series" and one.name not in told:
                continue  # written before stores had a digest
            if isinstance(one.type, type) and type(told[one.name]) is not one.type:
                raise TypeError(f"{one.name} is {told[one.name]!r}")
        return cls(**told)


def stage1_path(folder: Path, fold: int) -> Path:
    """Where the checkpoint of a fold lies; -1 is the one trained on everything."""
    return folder / ("stage1.safetensors" if fold < 0 else f"stage1-fold{fold}.safetensors")


def save(path: Path, state: Mapping[str, torch.Tensor], told: Mapping[str, str]) -> None:
    """Write weights with text beside them; the file is whole, or the old one stays.

    Raises
    ------
    TrainingError
        If it cannot be written.
    """
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    tensors = {k: v.detach().cpu().contiguous() for k, v in state.items()}
    with whole(path) as file:
        file.write(safetensors.torch.save(tensors, dict(told)))


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
    """Write a checkpoint of stage 1.

    Raises
    ------
    TrainingError
        If it cannot be written.
    """
    save(path, state, {"recipe": recipe.to_json()})


def load_stage1(path: Path) -> tuple[dict[str, torch.Tensor], Recipe]:
    """Read a checkpoint of stage 1.

    Raises
    ------
    TrainingError
        If it is missing or was not made by `save_stage1`.
    """
    state, told = load(path)
    return state, recipe_of(path, told)


def recipe_of(path: Path, told: Mapping[str, str]) -> Recipe:
    """The recipe in the text beside weights.

    Raises
    ------
    TrainingError
        If there is none.
    """
    try:
        return Recipe.from_json(told["recipe"])
    except (KeyError, ValueError, TypeError) as error:
        raise TrainingError(
            f"{path} does not say how it was trained ({type(error).__name__}: {error}); "
            "train it with python -m training.train_slices"
        ) from error
