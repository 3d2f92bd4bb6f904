"""Pictures of figures, as PNG.

References
----------
Okabe and Ito, "Color Universal Design", 2008: colours that can be told apart with any
colour vision; line styles and markers tell them apart without colour.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import BinaryIO

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Picture
from sklearn.calibration import calibration_curve
from sklearn.metrics import roc_curve

from ml.labels import LABELS, Label
from training.measures.metrics import Interval, auc

COLOURS = {
    Label.EPIDURAL: "#E69F00",
    Label.INTRAPARENCHYMAL: "#56B4E9",
    Label.INTRAVENTRICULAR: "#009E73",
    Label.SUBARACHNOID: "#0072B2",
    Label.SUBDURAL: "#D55E00",
    Label.ANY: "#000000",
}

STYLES = dict(zip(LABELS, ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), "-"), strict=True))

DPI = 120
BINS = 10


def roc_curves(file: BinaryIO, panels: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> None:
    """Draw the ROC curves of all labels.

    Parameters
    ----------
    file : binary file
        For the PNG.
    panels : mapping of str to tuple of 2 numpy.ndarray
        From the title of each panel to truth and probability, shape (n, 6).
    """
    picture = Picture(figsize=(5.4 * len(panels), 5.2), layout="constrained")
    for axes, (title, (truth, probability)) in zip(
        _row(picture, len(panels)), panels.items(), strict=True
    ):
        axes.plot((0, 1), (0, 1), color="#999999", linewidth=0.8)
        for c, label in enumerate(LABELS):
            area = auc(truth[:, c], probability[:, c])
            if np.isnan(area):
                axes.plot((), (), color=COLOURS[label], label=f"{label} – (one class only)")
                continue
            fallout, sensitivity, _ = roc_curve(truth[:, c], probability[:, c])
            axes.plot(
                fallout,
                sensitivity,
                color=COLOURS[label],
                linestyle=STYLES[label],
                linewidth=2.4 if label is Label.ANY else 1.6,
                label=f"{label} {area:.3f}",
            )
        axes.set(title=title, xlabel="1 − specificity", ylabel="sensitivity", aspect="equal")
        axes.legend(loc="lower right", title="AUC", fontsize=9)
        _quiet(axes)
    picture.savefig(file, dpi=DPI, format="png")


def reliability(file: BinaryIO, truth: np.ndarray, stages: Mapping[str, np.ndarray]) -> None:
    """Draw how often a finding is there against the probability given to it.

    Parameters
    ----------
    file : binary file
        For the PNG.
    truth : numpy.ndarray
        0 or 1, shape (n, 6).
    stages : mapping of str to numpy.ndarray
        From a name, as "before temperature", to probabilities, shape (n, 6); at most 3.
    """
    looks = (("#D55E00", "o", "--"), ("#0072B2", "s", "-"), ("#009E73", "^", ":"))
    picture = Picture(figsize=(11, 7.4), layout="constrained")
    grid = picture.subplots(2, 3, sharex=True, sharey=True)
    for c, (label, axes) in enumerate(zip(LABELS, grid.flat, strict=True)):
        axes.plot((0, 1), (0, 1), color="#999999", linewidth=0.8)
        for (name, probability), (colour, marker, style) in zip(
            stages.items(), looks, strict=False
        ):
            observed, predicted = calibration_curve(truth[:, c], probability[:, c], n_bins=BINS)
            edges = np.linspace(0, 1, BINS + 1)[1:-1]
            counts = np.bincount(np.searchsorted(edges, probability[:, c]))
            axes.plot(predicted, observed, color=colour, linestyle=style, label=name)
            axes.scatter(
                predicted, observed, s=12 * np.log10(counts[counts > 0] + 1) + 6,
                color=colour, marker=marker,
            )  # fmt: skip
        axes.set(title=f"{label} ({int(truth[:, c].sum())} of {len(truth)} slices)")
        _quiet(axes)
    grid[0, 0].legend(loc="upper left", fontsize=9)
    picture.supxlabel(f"probability, mean of each of {BINS} bins (larger marks: more slices)")
    picture.supylabel("share of slices with the finding")
    picture.savefig(file, dpi=DPI, format="png")


def intervals(
    file: BinaryIO, title: str, named: Sequence[tuple[str, Interval]], unit: str, zero: bool = False
) -> None:
    """Draw values with their limits, one below the other.

    Parameters
    ----------
    file : binary file
        For the PNG.
    title, unit : str
        Above and below.
    named : sequence of tuple of str and Interval
        From the top.
    zero : bool
        Whether the axis begins at 0.
    """
    picture = Picture(figsize=(8.4, 1.3 + 0.36 * len(named)), layout="constrained")
    axes = picture.subplots()
    for row, (_, one) in enumerate(named):
        if not one.defined:
            axes.text(0.02, row, "–", transform=axes.get_yaxis_transform(), va="center")
            continue
        axes.plot((one.low, one.high), (row, row), color="#0072B2", linewidth=2)
        axes.plot(one.value, row, "o", color="#D55E00")
    axes.set(title=title, xlabel=unit, ylim=(len(named) - 0.5, -0.5))
    axes.set_yticks(range(len(named)), [name for name, _ in named])
    if zero:
        axes.set_xlim(left=0)
    _quiet(axes)
    picture.savefig(file, dpi=DPI, format="png")


Drawing = Callable[[BinaryIO], None]
"""Something that writes a picture to a file."""


def _row(picture: Picture, count: int) -> list[Axes]:
    return list(picture.subplots(1, count, squeeze=False)[0])


def _quiet(axes: Axes) -> None:
    axes.grid(color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
