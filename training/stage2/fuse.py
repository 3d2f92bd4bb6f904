"""Run stage 2 over what stage 1 said of series."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from pydantic import TypeAdapter

from ml.bundle import AxialSpec, FusionSpec, SequenceSpec
from ml.describe import Described
from ml.errors import first_line
from ml.fusion import Fusion
from training.errors import TrainingError
from training.stage1.checkpoint import load, save
from training.stage2.descriptors import Descriptors, How

_SPEC: TypeAdapter[AxialSpec | SequenceSpec] = TypeAdapter(FusionSpec)


@dataclass(frozen=True)
class TrainedFusion:
    """A network of stage 2 with what it was made by.

    Parameters
    ----------
    spec : AxialSpec or SequenceSpec
        Its layers.
    network : Fusion
        In evaluation mode.
    stage1 : str
        SHA-256 of the stage 1 whose descriptors it learned from; empty where it is not known.
    how : How
        How those were made.
    flip : bool
        Whether those were of mirror images too.
    source : str
        What was described.
    commands : tuple of str
        What was typed to make it.
    """

    spec: AxialSpec | SequenceSpec
    network: Fusion
    stage1: str = ""
    how: How = How.OUT_OF_FOLD
    flip: bool = False
    source: str = ""
    commands: tuple[str, ...] = ()


def save_fusion(path: Path, fusion: TrainedFusion) -> None:
    """Write a checkpoint of stage 2."""
    told = {
        "fusion": fusion.spec.model_dump_json(),
        "stage1": fusion.stage1,
        "how": fusion.how.value,
        "flip": str(fusion.flip),
        "source": fusion.source,
        "commands": "\n".join(fusion.commands),
    }
    save(path, fusion.network.state_dict(), told)


def load_fusion(path: Path) -> TrainedFusion:
    """Read a checkpoint of stage 2.

    Raises
    ------
    TrainingError
        If the file was not made by `training.train_fusion`.
    """
    state, told = load(path)
    try:
        spec = _SPEC.validate_json(told["fusion"])
        network = spec.build()
        network.load_state_dict(state)
        how = How(told["how"])
    except (KeyError, ValueError, RuntimeError) as error:
        raise TrainingError(
            f"{path} was not made by training.train_fusion: {first_line(error)}"
        ) from error
    return TrainedFusion(
        spec=spec,
        network=network.eval(),
        stage1=told.get("stage1", ""),
        how=how,
        flip=told.get("flip") == str(True),
        source=told.get("source", ""),
        commands=tuple(filter(None, told.get("commands", "").split("\n"))),
    )


@torch.inference_mode()
def fuse(fusion: TrainedFusion, descriptors: Descriptors) -> np.ndarray:
    """Judge every slice by the descriptors around it.

    Parameters
    ----------
    fusion : TrainedFusion
        From `load_fusion`.
    descriptors : Descriptors
        Of n slices.

    Returns
    -------
    numpy.ndarray
        Logits, float32, shape (n, 6).

    Raises
    ------
    TrainingError
        If the descriptors are of another stage 1, or lack what the network looks at.
    """
    check_fits(fusion, descriptors)
    pairs = zip(
        descriptors.split(descriptors.logits), descriptors.split(descriptors.features), strict=True
    )
    parts = [
        fusion.network.judge(
            Described(torch.from_numpy(logits), torch.from_numpy(features).float())
        ).numpy()
        for logits, features in pairs
    ]
    return np.concatenate(parts)


def check_fits(fusion: TrainedFusion, descriptors: Descriptors) -> None:
    """See that a network can judge descriptors.

    Raises
    ------
    TrainingError
        If they are of another stage 1, or lack what the network looks at.
    """
    wanted, found = fusion.network.features, descriptors.features.shape[1]
    if wanted and found == 0:
        raise TrainingError(
            f"stage 2 looks at {wanted} features of each slice, the descriptors of "
            f"{descriptors.source} have none; describe again with --features"
        )
    if wanted and wanted != found:
        raise TrainingError(
            f"stage 2 looks at {wanted} features of each slice, the descriptors of "
            f"{descriptors.source} have {found}: they are of another backbone"
        )
    if fusion.stage1 and descriptors.stage1 and fusion.stage1 != descriptors.stage1:
        raise TrainingError(
            f"the descriptors of {descriptors.source} are of another stage 1 than those that "
            "stage 2 learned from; describe both with the same models"
        )
    if fusion.flip != descriptors.flip:
        raise TrainingError(
            f"stage 2 learned from descriptors {_made(fusion.flip)}, those of "
            f"{descriptors.source} were made {_made(descriptors.flip)}; describe both alike"
        )


def digest(state: Mapping[str, torch.Tensor]) -> str:
    """SHA-256 of weights, hexadecimal: it tells one stage 1 from another."""
    told = hashlib.sha256()
    for name in sorted(state):
        told.update(f"{name} {state[name].dtype} {tuple(state[name].shape)}\n".encode())
        told.update(state[name].detach().cpu().contiguous().numpy().tobytes())
    return told.hexdigest()


def _made(flip: bool) -> str:
    return "with --flip" if flip else "without --flip"
