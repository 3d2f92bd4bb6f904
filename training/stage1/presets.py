"""Every knob of the training of stage 1, and named settings of them.

References
----------
- Liu et al., "A ConvNet for the 2020s", 2022 (ConvNeXt).
- Tan and Le, "EfficientNetV2: Smaller Models and Faster Training", 2021.
- Howard et al., "Searching for MobileNetV3", 2019.
"""

import argparse
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, get_type_hints

from training.errors import TrainingError
from training.stage1.augment import AUGMENTATIONS

AMP = ("auto", "off", "bf16", "fp16")


def _knob(default: Any, meaning: str, **more: Any) -> Any:
    return field(default=default, metadata={"help": meaning, **more})


@dataclass(frozen=True, kw_only=True)
class Knobs:
    """What decides how a model of stage 1 comes out; the values are the paper's.

    Each knob is an option of ``python -m training.train_slices`` too, whose
    ``--help`` prints what is said of it here.

    Raises
    ------
    TrainingError
        If a value makes no sense.
    """

    backbone: str = _knob("resnet50", "torchvision classifier")
    weights: str = _knob(
        "imagenet",
        "to begin with: imagenet (torchvision's, downloaded where it is not in its cache), none, "
        "or a file, a torchvision .pth or a .safetensors",
    )
    input_size: int = _knob(512, "pixels of height and width")
    epochs: int = _knob(20, "rounds; in each, every series gives --blocks-per-series blocks")
    block: int = _knob(7, "neighbouring slices that make a block, which is one sample")
    blocks_per_series: int = _knob(1, "random blocks of each series in an epoch")
    batch_size: int = _knob(16, "blocks per step, of all processes together")
    learning_rate: float = _knob(5e-4, "of Adam, at the start of the cosine", option="--lr")
    warmup: float = _knob(0.05, "share of all steps in which the rate grows from 0")
    weight_decay: float = _knob(0.0, "decoupled; norms and biases have none")
    clip: float = _knob(0.0, "largest norm of the gradient; 0 does not clip")
    ema: float = _knob(
        0.999, "decay of the mean of weights that is kept; smaller in the first steps; 0: no mean"
    )
    augmentation: str = _knob("paper", "set of changes to slices", choices=tuple(AUGMENTATIONS))
    cutmix: float = _knob(0.5, "share of slices that get a part of another (Yun 2019)")
    vertical_flip: float = _knob(
        0.0, "probability to turn a slice upside down; hurt in public RSNA results"
    )
    amp: str = _knob("auto", "mixed precision; auto: on a GPU, bf16 where it can", choices=AMP)

    def __post_init__(self) -> None:
        whole = ("input_size", "epochs", "block", "blocks_per_series", "batch_size")
        shares = ("warmup", "cutmix", "vertical_flip", "ema")
        for name in whole:
            if getattr(self, name) < 1:
                raise TrainingError(f"{option(name)} must be a whole number above 0")
        for name in shares:
            if not 0 <= getattr(self, name) <= 1:
                raise TrainingError(f"{option(name)} must be between 0 and 1")
        if not 0 < self.learning_rate < float("inf"):
            raise TrainingError("--lr must be above 0")
        if not (0 <= self.weight_decay < float("inf") and 0 <= self.clip < float("inf")):
            raise TrainingError("--weight-decay and --clip must not be below 0")


PRESETS: Mapping[str, tuple[Knobs, str]] = {
    "paper": (Knobs(), "the recipe of the paper: ResNet-50 at 512 pixels"),
    "convnext": (
        Knobs(
            backbone="convnext_tiny", learning_rate=2e-4, weight_decay=0.05, warmup=0.1, clip=1.0
        ),
        "ConvNeXt-T, with its authors' decay (Liu et al. 2022)",
    ),
    "efficientnet": (
        Knobs(backbone="efficientnet_v2_s", weight_decay=1e-5),
        "EfficientNetV2-S (Tan and Le 2021)",
    ),
    "small": (
        Knobs(
            backbone="mobilenet_v3_small",
            weights="none",
            input_size=160,
            # From nothing and on few series, single slices teach faster than neighbours do.
            block=1,
            blocks_per_series=10,
            batch_size=32,
            learning_rate=1e-3,
            cutmix=0.0,
            clip=5.0,
        ),
        "MobileNetV3-Small on single slices at 160 pixels from nothing, for CPUs and demos "
        "(Howard et al. 2019)",
    ),
}
"""By name; the paper's is the default."""


def option(name: str) -> str:
    """How a knob is called on the command line."""
    known = {one.name: one.metadata.get("option") for one in fields(Knobs)}
    return known[name] or "--" + name.replace("_", "-")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Give a command ``--preset`` and an option for each knob."""
    told = "; ".join(f"{name}: {meaning}" for name, (_, meaning) in PRESETS.items())
    parser.add_argument("--preset", choices=tuple(PRESETS), default="paper", help=told)
    kinds = get_type_hints(Knobs)
    group = parser.add_argument_group("knobs", "any of these goes before what the preset says")
    for one in fields(Knobs):
        group.add_argument(
            option(one.name),
            dest=one.name,
            type=kinds[one.name],
            choices=one.metadata.get("choices"),
            metavar=None if "choices" in one.metadata else kinds[one.name].__name__.upper(),
            default=argparse.SUPPRESS,
            help=f"{one.metadata['help']} (paper: {one.default})".replace("%", "%%"),
        )


def chosen(args: argparse.Namespace) -> Knobs:
    """The knobs of a command line.

    Raises
    ------
    TrainingError
        If a value makes no sense.
    """
    given = {one.name: getattr(args, one.name) for one in fields(Knobs) if hasattr(args, one.name)}
    return replace(PRESETS[args.preset][0], **given)
