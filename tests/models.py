"""A small two-stage model that is built in a moment; it has learned nothing."""

from functools import cache
from pathlib import Path

import torch

from ml.bundle import Manifest, save_bundle
from ml.describe import build_backbone
from ml.fusion import AxialFusion, SequenceFusion

BACKBONE = "squeezenet1_1"
OTHER_BACKBONE = "shufflenet_v2_x0_5"
INPUT_SIZE = 32
SEQUENCE_BACKBONE = OTHER_BACKBONE  # SqueezeNet has no features to take
SEQUENCE_FEATURES = 1024

torch.set_num_threads(1)  # networks this small only wait for each other on more

State = dict[str, torch.Tensor]


@cache
def weights() -> tuple[State, State]:
    """Random weights of both stages, the same each time."""
    with torch.random.fork_rng():
        torch.manual_seed(7)
        backbone, fusion = build_backbone(BACKBONE), AxialFusion()
        with torch.no_grad():  # else squeezenet says next to the same of every slice
            backbone.classifier[1].weight *= 10  # type: ignore[index,union-attr]
    return dict(backbone.state_dict()), dict(fusion.state_dict())


def write_bundle(folder: Path, stage1: State | None = None, **changes: object) -> Manifest:
    """Write the model as a bundle; `changes` are fields of its manifest."""
    own1, own2 = weights()
    fields: dict[str, object] = {
        "name": "tiny",
        "version": "0.0.1",
        "description": "random weights",
        "trained_on": "nothing",
        "intended_use": "Tests only.",
        "backbone": BACKBONE,
        "input_size": INPUT_SIZE,
    }
    return save_bundle(folder, stage1 or own1, own2, **{**fields, **changes})


def sequence_fusion(features: int) -> SequenceFusion:
    """A sequence model with random weights, its last layer's too, the same each time."""
    with torch.random.fork_rng():
        torch.manual_seed(8)
        fusion = SequenceFusion(features, hidden=8)
        torch.nn.init.normal_(fusion.last.weight)
    return fusion.eval()


def write_sequence_bundle(folder: Path, fusion: SequenceFusion, **changes: object) -> Manifest:
    """Write a bundle whose stage 2 looks at the features of the whole series."""
    with torch.random.fork_rng():
        torch.manual_seed(9)
        backbone = build_backbone(SEQUENCE_BACKBONE)
    fields: dict[str, object] = {
        "name": "tiny",
        "version": "0.0.1",
        "description": "random weights",
        "trained_on": "nothing",
        "intended_use": "Tests only.",
        "backbone": SEQUENCE_BACKBONE,
        "input_size": INPUT_SIZE,
        "fusion": {"kind": "sequence", "features": fusion.features, "hidden": 8},
    }
    state = dict(backbone.state_dict())
    return save_bundle(folder, state, dict(fusion.state_dict()), **{**fields, **changes})
