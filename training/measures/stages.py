"""Both stages against stage 1 alone, over several seeds of either."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import partial

import numpy as np

from training.measures.calibrate import Calibration
from training.measures.figures import Figures, Losses, Unit
from training.measures.measure import judged
from training.measures.plots import Drawing, intervals, reliability, roc_curves
from training.measures.tables import Table, number, with_limits
from training.stage2.descriptors import Descriptors


@dataclass(frozen=True)
class Run:
    """One network of stage 2 on the descriptors of one stage 1.

    Parameters
    ----------
    descriptors, fusion : str
        Names of their files.
    calibration : Calibration
    losses : Losses
    """

    descriptors: str
    fusion: str
    calibration: Calibration
    losses: Losses


@dataclass(frozen=True)
class Comparison:
    """Several runs on the same held-out slices.

    Parameters
    ----------
    runs : tuple of Run
    figures : Figures
        All that was measured of the first.
    """

    runs: tuple[Run, ...]
    figures: Figures

    def mean(self, name: str) -> float:
        """Mean over runs of one of `Losses`."""
        return float(np.mean(self._values(name)))

    def deviation(self, name: str) -> float:
        """Standard deviation over runs; not a number where there is one only."""
        return float(np.std(self._values(name), ddof=1)) if len(self.runs) > 1 else float("nan")

    def _values(self, name: str) -> Sequence[float]:
        return [getattr(one.losses, name).value for one in self.runs]

    def verdict(self) -> str:
        """Whether stage 2 is worth its place, in a sentence."""
        mean, tempered = self.mean("reduction"), self.mean("reduction_tempered")
        count = len(self.runs)
        over = f"mean over {count} runs" if count > 1 else "one run"
        spread = f", standard deviation {self.deviation('reduction'):.1f}" if count > 1 else ""
        return (
            f"Weighted log loss: both stages are {_against(mean)} stage 1 alone "
            f"({over}{spread}); each at its own temperature: {_against(tempered)} it."
        )

    def table(self) -> Table:
        """One line for each run, and their mean."""
        losses = ("stage1", "smoothed", "both", "stage1_tempered", "both_tempered")
        reductions = ("reduction", "reduction_tempered")
        rows = [
            (
                f"{one.descriptors}, {one.fusion}",
                *(number(getattr(one.losses, name).value, 5) for name in losses),
                *(with_limits(getattr(one.losses, name), 1) for name in reductions),
            )
            for one in self.runs
        ]
        if len(self.runs) > 1:
            rows.append(
                (
                    "mean",
                    *(number(self.mean(name), 5) for name in losses),
                    *(number(self.mean(name), 1) for name in reductions),
                )
            )
        columns = ("run", "stage 1", "smoothed", "both", "stage 1 at T", "both at T",
                   "lower by, %", "at T, %")  # fmt: skip
        notes = (
            "Smoothed: stage 1 averaged along the axis by a Gaussian, its width "
            f"{', '.join(f'{w:g}' for w in sorted({one.calibration.width for one in self.runs}))} "
            "slices.",
            "T: each at its own temperature. Lower by: both stages against stage 1 alone, with "
            "95 % limits by bootstrap over patients.",
        )
        return Table("Weighted log loss on held-out slices", columns, tuple(rows), notes)

    def means(self) -> dict[str, float]:
        """Mean over runs of all `Losses`."""
        return {one.name: self.mean(one.name) for one in fields(Losses)}


def _against(reduction: float) -> str:
    return f"{abs(reduction):.1f} % {'below' if reduction >= 0 else 'above'}"


def pictures(
    comparison: Comparison, test: Descriptors, logits: np.ndarray
) -> Mapping[str, tuple[str, Drawing]]:
    """What to draw for a report.

    Parameters
    ----------
    comparison : Comparison
    test : Descriptors
        What the first run was measured on.
    logits : numpy.ndarray
        float32, shape (n, 6): what its stage 2 made of them.

    Returns
    -------
    mapping of str to tuple of str and callable
        From the name of a file to what it shows and what draws it.
    """
    slices, series = (judged(test, logits, comparison.runs[0].calibration, unit) for unit in Unit)
    losses = [
        (f"{run.descriptors}, {run.fusion}: {name}", getattr(run.losses, field))
        for run in comparison.runs
        for name, field in (("stage 1", "stage1"), ("smoothed", "smoothed"), ("both", "both"))
    ]
    groups = [
        (f"{one.by}: {one.name} ({one.series} series)", one.slice_auc[-1])
        for one in comparison.figures.subgroups
    ]
    panels = {
        "slices": (slices.truth, slices.both),
        "series (highest slice)": (series.truth, series.both),
    }
    stages = {
        "stage 1 alone": slices.stage1,
        "both stages": slices.both,
        "both, at their temperature": slices.tempered,
    }
    return {
        "losses.png": (
            "Weighted log loss",
            partial(intervals, title="Weighted log loss, 95 % by patient", named=losses,
                    unit="lower is better", zero=True),
        ),
        "roc.png": ("ROC curves of both stages", partial(roc_curves, panels=panels)),
        "reliability.png": (
            "Reliability",
            partial(reliability, truth=slices.truth, stages=stages),
        ),
        "subgroups.png": (
            "AUC by slice thickness and scanner",
            partial(intervals, title="Any bleed on a slice: AUC of both stages, 95 % by patient",
                    named=groups, unit="AUC"),
        ),
    }  # fmt: skip
