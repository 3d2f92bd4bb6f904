"""The model card of a bundle: what it is, how it was made, how good it is, what it is not for."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from ml.bundle import AxialSpec, Manifest
from ml.labels import LABELS
from training.measures.figures import Figures
from training.measures.report import markdown
from training.stage1.checkpoint import Recipe
from training.stage2.descriptors import How

CARD = "MODEL_CARD.md"

NOT_CLINICAL = "Not for clinical use."
"""Begins what every bundle says of its use."""


@dataclass(frozen=True)
class Origin:
    """What a bundle was made by.

    Parameters
    ----------
    recipe : Recipe
        Of stage 1.
    described : How
        How the descriptors were made that stage 2 learned from.
    learned_from : str
        What stage 2 learned from.
    commands : tuple of str
        Everything that was typed, in order.
    """

    recipe: Recipe
    described: How
    learned_from: str
    commands: tuple[str, ...]


def intended_use(source: str, told: str = "") -> str:
    """What a model may be used for; it always begins with what it may not.

    Parameters
    ----------
    source : str
        What stage 1 was trained on.
    told : str
        By whoever exports it; a cautious sentence if empty.
    """
    if not told:
        told = (
            "Trained on synthetic phantoms only; for demonstrating and testing the node."
            if "phantom" in source.lower()
            else "For research; what it does on patients of other hospitals and scanners is not "
            "known, and its results are no diagnosis."
        )
    return told if told.startswith(NOT_CLINICAL) else f"{NOT_CLINICAL} {told}"


def model_card(manifest: Manifest, origin: Origin, figures: Figures, notes: str = "") -> str:
    """The model card, Markdown.

    Parameters
    ----------
    manifest : Manifest
        Of the bundle.
    origin : Origin
    figures : Figures
        Measured on held-out patients on which nothing was chosen.
    notes : str
        More sections, Markdown.
    """
    sections = (
        (
            f"# Model card: {manifest.name} {manifest.version}",
            "",
            f"**{manifest.intended_use}**",
            "",
            "Written by `python -m training.export`; do not edit.",
        ),
        ("## Model", "", *_model(manifest)),
        ("## Data", "", *_data(origin, figures)),
        ("## Recipe", "", *_recipe(origin.recipe), "", *_typed(origin.commands)),
        ("## Held-out figures", "", markdown(figures).rstrip()),
        ("## Operating points", "", *_points(manifest)),
        ("## Calibration", "", *_calibration(manifest, figures)),
        *([(notes.strip(),)] if notes.strip() else []),
        ("## Limits", "", *_limits(origin, figures)),
    )
    return "\n\n".join("\n".join(section) for section in sections) + "\n"


def _model(manifest: Manifest) -> Sequence[str]:
    windows = ", ".join(f"{w.name} {w.level:g}/{w.width:g}" for w in manifest.windows)
    fusion = manifest.fusion
    second = (
        f"the paper's: two 3 x 3 convolutions ({fusion.channels[0]} and {fusion.channels[1]} "
        f"channels) and one linear layer over {fusion.neighbours} neighbouring descriptors"
        if isinstance(fusion, AxialSpec)
        else f"beyond the paper: a bidirectional recurrent network ({fusion.hidden} wide) over "
        f"{fusion.features} features of every slice of the series"
    )
    both = "; the mean over each slice and its mirror image" if manifest.flip else ""
    return (
        f"- Input: head CT without contrast, axial, one series; windows (level/width, HU): "
        f"{windows}.",
        f"- Stage 1: {manifest.backbone} at {manifest.input_size} x {manifest.input_size} "
        f"pixels{both}; kept in half precision.",
        f"- Stage 2: {second}.",
        f"- Output: the probability of each of {', '.join(LABELS)}, for every slice.",
    )


def _data(origin: Origin, figures: Figures) -> Sequence[str]:
    return (
        f"- Stage 1 learned from: {origin.recipe.source}.",
        f"- Stage 2 learned from {origin.described} descriptors of: {origin.learned_from}.",
        f"- Temperature and operating points were chosen on: {figures.calibration.source} "
        f"({figures.calibration.patients} patients).",
        f"- Figures were measured on: {figures.source} ({figures.patients} patients).",
    )


def _recipe(recipe: Recipe) -> Sequence[str]:
    return [
        f"- {name.replace('_', ' ')}: {value}"
        for name, value in asdict(recipe).items()
        if name not in ("commands", "source", "fold", "series")
    ]


def _typed(commands: Sequence[str]) -> Sequence[str]:
    return ("Commands, in order (folders by their last name):", "", *(f"    {c}" for c in commands))


def _points(manifest: Manifest) -> Sequence[str]:
    points = manifest.operating_points
    return (
        "A finding is called present on a slice from these probabilities on.",
        "",
        "| label | " + " | ".join(point.name for point in points) + " |",
        "|---|" + "---|" * len(points),
        *(
            f"| {label} | " + " | ".join(f"{p.thresholds[label]:.4g}" for p in points) + " |"
            for label in LABELS
        ),
        "",
        *(f"- {point.name}: {point.chosen_on}." for point in points),
    )


def _calibration(manifest: Manifest, figures: Figures) -> Sequence[str]:
    return (
        f"Logits are divided by a temperature of {manifest.temperature:.4f} (Guo et al., 2017), "
        f"fitted on the patients that the operating points were chosen on. Measured on the "
        f"others, weighted log loss is {figures.losses.both.value:.4f} without it and "
        f"{figures.losses.both_tempered.value:.4f} with it; expected calibration errors are "
        "among the figures above.",
    )


def _limits(origin: Origin, figures: Figures) -> Sequence[str]:
    synthetic = "phantom" in origin.recipe.source.lower()
    return (
        "- It has been validated for no clinical use and is no medical device.",
        "- It has not learned from, and says nothing of: contrast-enhanced CT, CT of other body "
        "parts, reformats that are not axial, ischemia, fractures, tumors.",
        "- Held-out heads come from the same generator as those it learned from: the figures say "
        "that the training works, not how good the model is on patients."
        if synthetic
        else "- Held-out patients come from the same collection as those it learned from: on "
        "other hospitals, scanners and protocols it is likely to do worse.",
        f"- {figures.patients} patients were measured, {figures.positive} of {figures.slices} "
        "slices with a bleed; where findings are rarer, more of what it calls present is wrong.",
        "- Operating points hold for slices; a whole series is called present more often than "
        "any of its slices.",
    )
