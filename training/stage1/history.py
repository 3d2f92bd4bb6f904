"""What every epoch came to, as a table and as curves."""

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from matplotlib.figure import Figure

from training.files import whole

TABLE, CURVES = "history.csv", "curves.png"


@dataclass(frozen=True)
class Epoch:
    """One epoch.

    Parameters
    ----------
    epoch : int
        From 1.
    loss : float
        Mean over slices as they were changed, of all processes.
    val_loss : float
        RSNA's weighted log loss on series that were kept out; not a number where
        none were looked at.
    learning_rate : float
        Of the last step.
    slices : int
        That were trained on.
    seconds, images_per_s : float
        By the clock, so not the same again; validation not counted.
    """

    epoch: int
    loss: float
    val_loss: float
    learning_rate: float
    slices: int
    seconds: float
    images_per_s: float


CLOCK = ("seconds", "images_per_s")
"""Columns that differ from run to run; the others are a function of the recipe."""


def write_history(folder: Path, epochs: Sequence[Epoch]) -> None:
    """Write ``history.csv`` and ``curves.png``.

    Raises
    ------
    TrainingError
        If they cannot be written.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(one.name for one in fields(Epoch))
    for epoch in epochs:
        writer.writerow("" if math.isnan(value) else value for value in asdict(epoch).values())
    with whole(folder / TABLE) as file:
        file.write(text.getvalue().encode())
    with whole(folder / CURVES) as file:
        curves(epochs).savefig(file, format="png", dpi=100)


def curves(epochs: Sequence[Epoch]) -> Figure:
    """Loss and learning rate over epochs."""
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.add_subplot()
    at = [one.epoch for one in epochs]
    axes.plot(at, [one.loss for one in epochs], marker=".", label="training (changed slices)")
    if any(not math.isnan(one.val_loss) for one in epochs):
        axes.plot(at, [one.val_loss for one in epochs], marker=".", label="held-out fold")
    axes.set(xlabel="epoch", ylabel="weighted log loss", ylim=(0, None))
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.grid(alpha=0.3)
    rate = axes.twinx()
    rate.plot(at, [one.learning_rate for one in epochs], ":", color="gray", label="learning rate")
    rate.set(ylabel="learning rate", ylim=(0, None))
    lines = [*axes.get_lines(), *rate.get_lines()]
    axes.legend(lines, [str(line.get_label()) for line in lines])
    return figure
