"""Table 1 of the paper: area under the ROC curve of studies on CQ500, and a run beside it.

References
----------
"Slice-level Detection of Intracranial Hemorrhage on CT Using Deep Descriptors of
Adjacent Slices", table 1. Its other column is of Chilamkurthy et al., "Deep learning
algorithms for detection of critical findings in head CT scans: a retrospective study",
Lancet 2018, doi:10.1016/S0140-6736(18)31645-3.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ml.labels import LABELS, Label
from training.datasets.cq500 import FINDINGS, Reads
from training.errors import TrainingError
from training.measures.bootstrap import RESAMPLES, Bootstrap
from training.measures.calibrate import tempered
from training.measures.figures import Unit, why_undefined
from training.measures.measure import area
from training.measures.metrics import Interval
from training.measures.tables import NONE, Table, number, with_limits
from training.stage2.descriptors import Descriptors

ORDER = (
    Label.ANY,
    Label.INTRAPARENCHYMAL,
    Label.INTRAVENTRICULAR,
    Label.SUBARACHNOID,
    Label.SUBDURAL,
    Label.EPIDURAL,
)
"""Of the rows of the table."""

CHILAMKURTHY = dict(zip(ORDER, (0.9419, 0.9544, 0.9310, 0.9574, 0.9521, 0.9731), strict=True))
"""Published; also what the published probabilities give against the majority of readers."""

PAPER = dict(zip(ORDER, (0.9612, 0.9691, 0.9832, 0.9596, 0.9694, 0.9814), strict=True))
"""Published."""

_NAMED = 8  # scans left out, in the table; the JSON names all

PAPER_MEAN = 0.9710
"""As printed in the paper; the mean of its six values is 0.9707."""


@dataclass(frozen=True)
class Row:
    """One finding.

    Parameters
    ----------
    label : Label
    count, positive : int
        Scans, and those where at least two of three readers saw it.
    chilamkurthy, paper : float
        Published.
    stage1 : Interval or None
        Of stage 1 alone, where it is known.
    run : Interval
        Of the predictions that were scored, by bootstrap over scans, one for each patient.
    """

    label: Label
    count: int
    positive: int
    chilamkurthy: float
    paper: float
    stage1: Interval | None
    run: Interval


@dataclass(frozen=True)
class Comparison:
    """A run beside the published columns.

    Parameters
    ----------
    scans : tuple of str
        That were scored.
    truth, run : numpy.ndarray
        uint8 and float64, shape (scans, 6).
    rows : tuple of Row
        In the order of the table.
    mean, stage1_mean : float
        Over the findings; not a number where one of them is.
    left_out : tuple of str
        Scans that were read but have no prediction.
    unread : tuple of str
        Scans that have a prediction but were not read.
    """

    scans: tuple[str, ...]
    truth: np.ndarray
    run: np.ndarray
    rows: tuple[Row, ...]
    mean: float
    stage1_mean: float
    left_out: tuple[str, ...]
    unread: tuple[str, ...]

    def table(self) -> Table:
        """Published and run, side by side."""
        with_stage1 = self.rows[0].stage1 is not None

        def row(name: str, *published: float, run: str, stage1: float, positive: str) -> list[str]:
            alone = [number(stage1)] if with_stage1 else []
            return [name, *map(number, published), *alone, run, positive]

        rows = [
            row(
                FINDINGS[one.label],
                one.chilamkurthy,
                one.paper,
                run=with_limits(one.run),
                stage1=one.stage1.value if one.stage1 else float("nan"),
                positive=f"{one.positive} of {one.count}",
            )
            for one in self.rows
        ]
        rows.append(
            row(
                "mean",
                float(np.mean(list(CHILAMKURTHY.values()))),
                PAPER_MEAN,
                run=number(self.mean),
                stage1=self.stage1_mean,
                positive="",
            )
        )
        notes = [
            f"{len(self.scans)} scans. Truth: at least two of three readers.",
            "Chilamkurthy and paper: as published, the paper's mean too "
            f"(that of its six values is {np.mean(list(PAPER.values())):.4f}).",
        ]
        notes += [
            f"{FINDINGS[one.label]}: {why.replace('series', 'scans')}"
            for one in self.rows
            if (why := why_undefined(one.count, one.positive, Unit.SERIES))
        ]
        for what, names in (
            ("read, but without a prediction", self.left_out),
            ("predicted, but not read", self.unread),
        ):
            if names:
                some = ", ".join(names[:_NAMED]) + (", ..." if len(names) > _NAMED else "")
                notes.append(f"{len(names)} scans {what}: {some}")
        columns = ["", "Chilamkurthy", "paper", *(["stage 1 alone"] if with_stage1 else []),
                   "this run (95 %)", "positive"]  # fmt: skip
        title = "CQ500: AUC of studies"
        return Table(title, tuple(columns), tuple(map(tuple, rows)), tuple(notes))


def compare(
    reads: Mapping[str, Reads],
    predictions: Mapping[str, np.ndarray],
    stage1: Mapping[str, np.ndarray] | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Comparison:
    """Score predictions of scans against the majority of readers.

    Parameters
    ----------
    reads : mapping of str to Reads
        From `training.datasets.cq500.read_reads`.
    predictions : mapping of str to numpy.ndarray
        From the name of a scan to six probabilities.
    stage1 : mapping of str to numpy.ndarray, optional
        The same by stage 1 alone.

    Raises
    ------
    TrainingError
        If no scan stands in both.
    """
    scans = tuple(name for name in reads if name in predictions)
    if not scans:
        raise TrainingError(
            f"none of the {len(predictions)} scans with predictions was read "
            f"({next(iter(predictions), NONE)}, ... against {next(iter(reads), NONE)}, ...); "
            "names must be as in reads.csv"
        )
    truth = np.stack([reads[name].majority for name in scans])
    run = np.stack([predictions[name] for name in scans])
    alone = np.stack([stage1[name] for name in scans]) if stage1 else None
    bootstrap = Bootstrap.of(np.array(scans), resamples, seed)
    rows = []
    for label in ORDER:
        c = LABELS.index(label)
        rows.append(
            Row(
                label=label,
                count=len(scans),
                positive=int(truth[:, c].sum()),
                chilamkurthy=CHILAMKURTHY[label],
                paper=PAPER[label],
                stage1=None if alone is None else area(bootstrap, truth[:, c], alone[:, c]),
                run=area(bootstrap, truth[:, c], run[:, c]),
            )
        )
    return Comparison(
        scans=scans,
        truth=truth,
        run=run,
        rows=tuple(rows),
        mean=float(np.mean([one.run.value for one in rows])),
        stage1_mean=float(np.mean([one.stage1.value if one.stage1 else np.nan for one in rows])),
        left_out=tuple(name for name in reads if name not in predictions),
        unread=tuple(name for name in predictions if name not in reads),
    )


def of_studies(
    descriptors: Descriptors, logits: np.ndarray, names: Mapping[str, object]
) -> dict[str, np.ndarray]:
    """Probabilities of studies: the maximum over slices and series.

    Parameters
    ----------
    descriptors : Descriptors
        Of CQ500.
    logits : numpy.ndarray
        Shape (n, 6).
    names : mapping
        With the names of the scans as keys: studies go by these in the store, or else patients.

    Returns
    -------
    dict of str to numpy.ndarray
        float64, shape (6,).

    Raises
    ------
    TrainingError
        If a logit is not finite.
    """
    if not np.isfinite(logits).all():
        raise TrainingError(
            f"{descriptors.source}: logits are not finite; look at the training's loss, "
            "then describe again"
        )
    by_study = any(name in names for name in descriptors.studies)
    keys = descriptors.studies if by_study else descriptors.patients
    found: dict[str, np.ndarray] = {}
    for key, one in zip(keys, descriptors.split(tempered(logits)), strict=True):
        highest = one.max(axis=0)
        found[str(key)] = np.maximum(found.get(str(key), highest), highest)
    return found
