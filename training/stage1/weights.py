"""What a backbone begins with."""

import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn
from torchvision.models import get_model_weights

from ml.describe import build_backbone, last_linear
from ml.errors import first_line
from training.errors import TrainingError

IMAGENET, NOTHING = "imagenet", "none"


def initial_backbone(backbone: str, weights: str) -> nn.Module:
    """A backbone with weights from elsewhere in all but its last layer.

    Parameters
    ----------
    backbone : str
        A torchvision classifier.
    weights : str
        ``imagenet``, ``none`` or a file, a torchvision state dict or safetensors.

    Raises
    ------
    TrainingError
        If the weights are not at hand or belong to another architecture.
    """
    model = build_backbone(backbone)
    if weights != NOTHING:
        _fill(model, _read(backbone, weights), backbone, weights)
    return model


def _read(backbone: str, weights: str) -> dict[str, Any]:
    if weights == IMAGENET:
        return _imagenet(backbone)
    path = Path(weights)
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise TrainingError(
            f"--weights {weights}: no such file; give imagenet, none or a file of weights"
        ) from error
    except (pickle.UnpicklingError, RuntimeError, EOFError, SafetensorError, ValueError) as error:
        raise TrainingError(
            f"--weights {weights} is damaged or holds more than tensors: {first_line(error)}"
        ) from error
    return state


def _imagenet(backbone: str) -> dict[str, Any]:
    known = get_model_weights(backbone).DEFAULT
    name = known.url.rpartition("/")[2]
    place = Path(torch.hub.get_dir()) / "checkpoints"
    try:
        state: dict[str, Any] = known.get_state_dict(
            progress=False, check_hash=True, map_location="cpu", weights_only=True
        )
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise TrainingError(
            f"torchvision's ImageNet weights of {backbone} are not at hand ({first_line(error)}): "
            f"put the file {name} into {place}, or give it with --weights FILE, "
            "or begin from nothing with --weights none"
        ) from error
    return state


def _fill(model: nn.Module, state: Mapping[str, Any], backbone: str, weights: str) -> None:
    last = last_linear(model)
    prefix = next(name for name, module in model.named_modules() if module is last) + "."
    # The files of DenseNet are older than the names of its layers.
    renamed = {
        re.sub(r"(denselayer\d+\.(?:norm|conv))\.(?=\d)", r"\1", key): value
        for key, value in state.items()
        if isinstance(value, torch.Tensor)
    }
    kept = {key: value for key, value in renamed.items() if not key.startswith(prefix)}
    needed = model.state_dict()
    wanted = {k for k in needed if not k.startswith(prefix) and "num_batches_tracked" not in k}
    fits = wanted <= kept.keys() <= needed.keys()
    if not fits or any(kept[key].shape != needed[key].shape for key in wanted):
        raise TrainingError(
            f"--weights {weights} is of another architecture than {backbone}: "
            "give the backbone it belongs to, or other weights"
        )
    model.load_state_dict(kept, strict=False)
