"""Train stage 2: what stage 1 said around a slice re-calibrates what it said of it.

A part of the patients is not learned from: after each epoch they tell how good
the network is, and the best one is kept. The network of the paper is the
default; ``--kind sequence`` goes beyond it (`ml.fusion.SequenceFusion`).
"""

import argparse
import copy
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

import numpy as np
import torch
from torch import nn

from ml.bundle import AxialSpec, SequenceSpec
from ml.labels import LABELS
from training import cli
from training.errors import TrainingError
from training.measures.calibrate import take
from training.stage2.descriptors import IN_SAMPLE, Descriptors, How
from training.stage2.fuse import TrainedFusion, save_fusion
from training.stage2.samples import Neighbourhoods, Samples, Stacks
from training.store import UNKNOWN


class Kind(StrEnum):
    """The network of stage 2."""

    AXIAL = "axial"
    SEQUENCE = "sequence"


@dataclass(frozen=True)
class Knobs:
    """How stage 2 is trained.

    Parameters
    ----------
    kind : Kind
        The paper's network over seven descriptors, or a recurrent one over features.
    epochs : int
        Rounds over all slices.
    batch_size : int
        Slices per step; series of about as many, for a sequence model.
    learning_rate : float
        Adam's, at the start of the cosine.
    weight_decay : float
        Of Adam.
    noise : float
        Standard deviation of what is added to logits, so that no single value is trusted.
    hidden : int
        Width of a sequence model, each way.
    validation : float
        Share of the patients that choose the epoch.
    seed : int
        Of weights, order, noise and the choice of patients.
    """

    kind: Kind = Kind.AXIAL
    epochs: int = 60
    batch_size: int = 256
    learning_rate: float = 2e-3
    weight_decay: float = 1e-5
    noise: float = 0.2
    hidden: int = 96
    validation: float = 0.15
    seed: int = 0


@dataclass(frozen=True)
class Epoch:
    """What an epoch came to: weighted log loss, where it was learned and where it was not.

    Parameters
    ----------
    number : int
        From 1.
    loss, validation : float
        `validation` is not a number where no patients were left out.
    """

    number: int
    loss: float
    validation: float


def train(
    descriptors: Descriptors, knobs: Knobs, told: Callable[[Epoch], None] = lambda _: None
) -> TrainedFusion:
    """Train a network on descriptors that stage 1 gave of slices it had not seen.

    Parameters
    ----------
    descriptors : Descriptors
    knobs : Knobs
    told : callable
        Called after each epoch.

    Raises
    ------
    TrainingError
        If slices have no labels, features are missing, or the loss is not finite.
    """
    check_labels(descriptors)
    spec = _spec(descriptors, knobs)
    learned, left_out = leave_out(descriptors, knobs.validation, knobs.seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(knobs.seed)
        network = spec.build()
        _fit(network, _samples(learned, spec), left_out and _samples(left_out, spec), knobs, told)
    return TrainedFusion(
        spec=spec,
        network=network.eval(),
        stage1=descriptors.stage1,
        how=descriptors.how,
        flip=descriptors.flip,
        source=descriptors.source,
        commands=descriptors.commands,
    )


def _spec(descriptors: Descriptors, knobs: Knobs) -> AxialSpec | SequenceSpec:
    if knobs.kind is Kind.AXIAL:
        return AxialSpec()
    features = descriptors.features.shape[1]
    if features == 0:
        raise TrainingError(
            f"the descriptors of {descriptors.source} have no features, which a sequence model "
            "looks at; describe again with --features"
        )
    return SequenceSpec(features=features, hidden=knobs.hidden)


def _samples(descriptors: Descriptors, spec: AxialSpec | SequenceSpec) -> Samples:
    if isinstance(spec, AxialSpec):
        return Neighbourhoods(descriptors, spec.neighbours)
    return Stacks(descriptors)


def _fit(
    network: nn.Module,
    samples: Samples,
    checks: Samples | None,
    knobs: Knobs,
    told: Callable[[Epoch], None],
) -> None:
    """Train a network in place; it ends with the weights of its best epoch."""
    per_step = max(1, round(knobs.batch_size * len(samples) / samples.slices()))
    optimizer = torch.optim.Adam(
        network.parameters(), lr=knobs.learning_rate, weight_decay=knobs.weight_decay
    )
    steps = knobs.epochs * math.ceil(len(samples) / per_step)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    best, kept = math.inf, copy.deepcopy(network.state_dict())
    for number in range(1, knobs.epochs + 1):
        network.train()
        total = 0.0
        for chosen in torch.randperm(len(samples)).split(per_step):
            losses = samples.loss(network, chosen, knobs.noise)
            loss = losses.mean()
            if not loss.isfinite():
                raise TrainingError(
                    f"the loss is {loss.item()} in epoch {number}: nothing was written; try a "
                    f"lower learning rate (--lr, was {knobs.learning_rate:g})"
                )
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            total += losses.sum().item()
        mean = total / samples.slices()
        found = Epoch(number, mean, math.nan if checks is None else _check(network, checks))
        told(found)
        now = found.loss if checks is None else found.validation
        # Without patients to choose by, the last epoch is it.
        if checks is None or now < best:
            best, kept = now, copy.deepcopy(network.state_dict())
    network.load_state_dict(kept)


@torch.inference_mode()
def _check(network: nn.Module, checks: Samples) -> float:
    network.eval()
    parts = torch.arange(len(checks)).split(256)
    total = sum(checks.loss(network, chosen, None).sum().item() for chosen in parts)
    return total / checks.slices()


def check_labels(descriptors: Descriptors) -> list[str]:
    """See that there is something to learn from.

    Returns
    -------
    list of str
        What is odd about it.

    Raises
    ------
    TrainingError
        If slices have no labels, or a descriptor is not finite.
    """
    if (descriptors.labels == UNKNOWN).any():
        raise TrainingError(
            f"{descriptors.source}: slices have no labels, only studies do; stage 2 learns from "
            "labels of slices"
        )
    if not np.isfinite(descriptors.logits).all() or not np.isfinite(descriptors.features).all():
        raise TrainingError(f"{descriptors.source}: descriptors are not finite; describe again")
    odd = [
        f"{label} is on none of {len(descriptors.labels)} slices: stage 2 learns to say never"
        for label, there in zip(LABELS, descriptors.labels.any(axis=0), strict=True)
        if not there
    ]
    if descriptors.how is How.IN_SAMPLE:
        odd.append(IN_SAMPLE)
    return odd


def leave_out(
    descriptors: Descriptors, share: float, seed: int
) -> tuple[Descriptors, Descriptors | None]:
    """Deal patients to those learned from and those that choose the epoch.

    Returns
    -------
    learned : Descriptors
    left_out : Descriptors or None
        None where the share comes to nobody, or there is only one patient.
    """
    patients = np.unique(descriptors.patients)
    count = min(round(share * len(patients)), len(patients) - 1)
    if count < 1:
        return descriptors, None
    chosen = np.random.default_rng(seed).choice(patients, count, replace=False)
    among = np.isin(descriptors.patients, chosen)
    return take(descriptors, ~among), take(descriptors, among)


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a share from 0 to below 1")
    return value


def _amount(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 on")
    return value


def _parser() -> argparse.ArgumentParser:
    knobs = Knobs()
    parser = cli.parser("train_fusion", "Train stage 2 on out-of-fold descriptors.")
    parser.add_argument("descriptors", type=cli.existing, help="made by training.describe")
    parser.add_argument("out", type=Path, help="checkpoint to write (*.safetensors)")
    parser.add_argument(
        "--kind",
        choices=[kind.value for kind in Kind],
        default=knobs.kind.value,
        help="axial: the paper's two convolutions over seven descriptors; sequence: beyond the "
        "paper, a recurrent network over the features of the whole series, as public solutions "
        "of the RSNA 2019 challenge had it (needs describe --features)",
    )
    for flag, kind, default, told in (
        ("--epochs", cli.positive, knobs.epochs, "rounds over all slices"),
        ("--batch-size", cli.positive, knobs.batch_size, "slices per step"),
        ("--lr", _amount, knobs.learning_rate, "initial learning rate"),
        ("--weight-decay", _amount, knobs.weight_decay, "of Adam"),
        ("--noise", _amount, knobs.noise, "standard deviation of what is added to logits"),
        ("--hidden", cli.positive, knobs.hidden, "width of a sequence model, each way"),
        ("--validation", _share, knobs.validation, "share of patients that choose the epoch"),
        ("--seed", int, knobs.seed, "of weights, order, noise and the choice of patients"),
    ):
        parser.add_argument(flag, type=kind, default=default, help=told)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``python -m training.train_fusion``."""
    typed = list(sys.argv[1:] if arguments is None else arguments)
    args = _parser().parse_args(typed)
    knobs = Knobs(
        kind=Kind(args.kind),
        epochs=args.epochs,
        batch_size=args.batch_size,
        learning_rate=args.lr,
        weight_decay=args.weight_decay,
        noise=args.noise,
        hidden=args.hidden,
        validation=args.validation,
        seed=args.seed,
    )

    def step() -> None:
        descriptors = Descriptors.load(args.descriptors)
        for odd in check_labels(descriptors):
            print(f"warning: {odd}", file=sys.stderr)
        epochs: list[Epoch] = []
        with cli.progress("train stage 2", knobs.epochs) as advance:

            def told(epoch: Epoch) -> None:
                epochs.append(epoch)
                advance(1, f"loss {epoch.loss:.4f}, validation {epoch.validation:.4f}")

            fusion = train(descriptors, knobs, told)
        commands = (*fusion.commands, cli.command_line("train_fusion", typed))
        save_fusion(args.out, replace(fusion, commands=commands))
        best = min(reversed(epochs), key=lambda epoch: epoch.validation)
        left_out = f", {best.validation:.4f} on patients left out" if best.validation > 0 else ""
        print(f"{args.out}: epoch {best.number}, weighted log loss {best.loss:.4f}{left_out}")

    return cli.run(step)


if __name__ == "__main__":
    sys.exit(main())
