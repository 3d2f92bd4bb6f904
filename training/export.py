"""Put both stages into a bundle, with figures and thresholds from held-out series.

Everything that the bundle says about itself is computed here; nothing is
written by hand.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ml.bundle import OperatingPoint, save_bundle
from ml.fusion import AxialFusion, neighbourhoods
from ml.labels import LABELS
from training import cli
from training.checkpoint import Recipe, load, load_stage1, stage1_path
from training.describe import Descriptors
from training.errors import TrainingError
from training.metrics import auc, roc, weighted_log_loss

TARGET = 0.95
"""Sensitivity or specificity that the outer operating points aim at."""

INTENDED_USE = (
    "Not for clinical use. Trained on synthetic phantoms only; "
    "for demonstrating and testing the node."
)


@dataclass(frozen=True)
class Figures:
    """How both stages did on held-out series.

    Parameters
    ----------
    series, slices, positive : int
        How many there were; `positive` slices with any bleed.
    slice_auc, series_auc : tuple of float
        Of both stages, one for each label; a series counts with its maximum.
    log_loss_stage1, log_loss : float
        RSNA's weighted log loss of stage 1 alone and of both stages.
    """

    series: int
    slices: int
    positive: int
    slice_auc: tuple[float, ...]
    series_auc: tuple[float, ...]
    log_loss_stage1: float
    log_loss: float

    def __str__(self) -> str:
        return (
            f"{self.series} held-out series, {self.slices} slices ({self.positive} with a bleed): "
            f"weighted log loss {self.log_loss_stage1:.4f} by stage 1 alone, "
            f"{self.log_loss:.4f} by both stages; slice AUC "
            + ", ".join(f"{k} {v:.3f}" for k, v in zip(LABELS, self.slice_auc, strict=True))
        )


@torch.inference_mode()
def fuse(fusion: AxialFusion, descriptors: Descriptors) -> np.ndarray:
    """Probabilities of both stages, float32, shape (n, 6)."""
    parts = [
        fusion(neighbourhoods(torch.from_numpy(one), fusion.neighbours)).sigmoid().numpy()
        for one in descriptors.split(descriptors.logits)
    ]
    return np.concatenate(parts)


def measure(descriptors: Descriptors, probabilities: np.ndarray) -> Figures:
    """Compare probabilities with labels."""
    truth = descriptors.labels
    alone = 1 / (1 + np.exp(-descriptors.logits.astype(np.float64)))
    series_truth = np.stack([one.max(axis=0) for one in descriptors.split(truth)])
    series_probability = np.stack([one.max(axis=0) for one in descriptors.split(probabilities)])
    columns = range(len(LABELS))
    return Figures(
        series=len(descriptors.lengths),
        slices=len(truth),
        positive=int(truth[:, -1].sum()),
        slice_auc=tuple(auc(truth[:, c], probabilities[:, c]) for c in columns),
        series_auc=tuple(auc(series_truth[:, c], series_probability[:, c]) for c in columns),
        log_loss_stage1=weighted_log_loss(truth, alone),
        log_loss=weighted_log_loss(truth, probabilities),
    )


def choose_points(
    truth: np.ndarray, probabilities: np.ndarray, source: str
) -> tuple[OperatingPoint, ...]:
    """Thresholds per label for three ways of working.

    Raises
    ------
    TrainingError
        If a label is never or always present in the held-out series.
    """
    chosen: dict[str, list[float]] = {
        "high_sensitivity": [],
        "balanced": [],
        "high_specificity": [],
    }
    for column, label in enumerate(LABELS):
        if truth[:, column].min() == truth[:, column].max():
            raise TrainingError(
                f"{label} is on none or all of the held-out slices: no threshold can be "
                "chosen; hold out more series"
            )
        thresholds, sensitivity, specificity = roc(truth[:, column], probabilities[:, column])
        balanced = int(np.argmax(sensitivity + specificity))
        sensitive = int(np.argmax(sensitivity >= TARGET))
        specific = int(np.append(0, np.flatnonzero(specificity >= TARGET))[-1])
        # Thresholds fall along the curve; where balanced is beyond a target already, it stands.
        picks = {
            "high_sensitivity": max(sensitive, balanced),
            "balanced": balanced,
            "high_specificity": min(specific, balanced),
        }
        for name, pick in picks.items():
            # Rounded down, so that the slice it was chosen by stays above it.
            chosen[name].append(float(np.floor(thresholds[pick] * 1e4) / 1e4))
    rules = {
        "high_sensitivity": f"highest threshold with slice sensitivity of at least {TARGET:.0%}, "
        "not above balanced",
        "balanced": "largest sum of slice sensitivity and specificity (Youden)",
        "high_specificity": f"lowest threshold with slice specificity of at least {TARGET:.0%}, "
        "not below balanced",
    }
    return tuple(
        OperatingPoint(
            name=name,
            chosen_on=f"{rules[name]}, on held-out series: {source}",
            thresholds=dict(zip(LABELS, values, strict=True)),
        )
        for name, values in chosen.items()
    )


def model_card(
    *,
    name: str,
    version: str,
    recipe: Recipe,
    commands: Sequence[str],
    figures: Figures,
    points: Sequence[OperatingPoint],
    held_out: str,
) -> str:
    """The model card, Markdown."""
    lines = [
        f"# Model card: {name} {version}",
        "",
        f"**{INTENDED_USE}**",
        "",
        "Written by `python -m training.export`; do not edit.",
        "",
        f"- Stage 1: {recipe.backbone}, {recipe.input_size} x {recipe.input_size}, "
        f"{recipe.epochs} epochs, Adam from {recipe.learning_rate:g}, seed {recipe.seed}.",
        f"- Stage 2: the fusion network of `ml/fusion.py`, on out-of-fold descriptors "
        f"({recipe.folds} folds by patient).",
        f"- Trained on: {recipe.source}.",
        f"- Held out: {held_out}.",
        "",
        "Commands:",
        "",
        *(f"    {command}" for command in commands),
        "",
        "## Held-out figures",
        "",
        f"{figures.series} series, {figures.slices} slices, {figures.positive} with a bleed.",
        "",
        "| label | slice AUC | series AUC |",
        "|---|---|---|",
        *(
            f"| {label} | {one:.4f} | {whole:.4f} |"
            for label, one, whole in zip(LABELS, figures.slice_auc, figures.series_auc, strict=True)
        ),
        "",
        f"Weighted log loss: stage 1 alone {figures.log_loss_stage1:.4f}, "
        f"both stages {figures.log_loss:.4f}.",
        "",
        "The held-out heads come from the same generator as those trained on, and the",
        "thresholds below were chosen on them too: the figures say that the training works,",
        "not how good the model is on patients.",
        "",
        "## Operating points",
        "",
        "| label | " + " | ".join(point.name for point in points) + " |",
        "|---|" + "---|" * len(points),
        *(
            f"| {label} | " + " | ".join(f"{p.thresholds[label]:.4f}" for p in points) + " |"
            for label in LABELS
        ),
        "",
    ]
    return "\n".join(lines)


def export(
    models: Path, fusion_path: Path, held_out: Descriptors, out: Path, *, name: str, version: str
) -> Figures:
    """Write the bundle and its model card."""
    backbone, recipe = load_stage1(stage1_path(models, -1))
    state, told = load(fusion_path)
    fusion = AxialFusion()
    try:
        fusion.load_state_dict(state)
    except RuntimeError as error:
        raise TrainingError(f"{fusion_path} is no fusion network: {error}") from error
    probabilities = fuse(fusion.eval(), held_out)
    figures = measure(held_out, probabilities)
    points = choose_points(held_out.labels, probabilities, held_out.source)
    commands = [recipe.command, *told.get("commands", "").split("\n"), held_out.command]
    save_bundle(
        out,
        backbone,
        state,
        name=name,
        version=version,
        description=f"Two-stage model with {recipe.backbone} at {recipe.input_size} pixels. "
        f"{figures}.",
        trained_on=f"{recipe.source}; by: {'; '.join(commands)}",
        intended_use=INTENDED_USE,
        backbone=recipe.backbone,
        input_size=recipe.input_size,
        operating_points=points,
    )
    card = model_card(
        name=name,
        version=version,
        recipe=recipe,
        commands=commands,
        figures=figures,
        points=points,
        held_out=held_out.source,
    )
    (out / "MODEL_CARD.md").write_text(card, encoding="utf-8")
    return figures


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``python -m training.export``."""
    parser = cli.parser("export", "Put both stages into a bundle and measure it.")
    parser.add_argument("models", type=cli.existing, help="folder made by training.train_slices")
    parser.add_argument("fusion", type=cli.existing, help="made by training.train_fusion")
    parser.add_argument(
        "held_out", type=cli.existing, help="descriptors of held-out series (*.npz)"
    )
    parser.add_argument("out", type=Path, help="folder to write to")
    parser.add_argument("--name", default="phantom", help="name of the model")
    parser.add_argument("--model-version", default="1.0", help="its version")
    args = parser.parse_args(arguments)

    def step() -> None:
        held_out = Descriptors.load(args.held_out)
        figures = export(
            args.models,
            args.fusion,
            held_out,
            args.out,
            name=args.name,
            version=args.model_version,
        )
        print(figures)

    return cli.run(step)


if __name__ == "__main__":
    sys.exit(main())
