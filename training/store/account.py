"""What came into a store and what did not: tables beside it, a check, and a summary."""

import csv
import io
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from ml.labels import LABELS
from training import cli
from training.errors import TrainingError
from training.files import whole
from training.store import UNKNOWN, Series, Store, load_store, write_store
from training.store.bake import Baked
from training.store.headers import Skipped

SKIPPED = "skipped.csv"
WARNINGS = "warnings.csv"


def close(
    folder: Path,
    source: str,
    commands: Sequence[str],
    series: Sequence[Series],
    baked: Sequence[Baked],
    skipped: Sequence[Skipped],
) -> list[str]:
    """Write the tables of a store, open every array, and say what is in it.

    Parameters
    ----------
    folder : pathlib.Path
    source : str
        One line on where the images come from.
    commands : sequence of str
    series : sequence of Series
    baked : sequence of Baked
        The same series, with what was odd about them.
    skipped : sequence of Skipped

    Returns
    -------
    list of str
        Lines to print.

    Raises
    ------
    TrainingError
        If there is no series, or an array is damaged.
    """
    skipped = [*skipped, *(one for each in baked for one in each.skipped)]
    rows = [(one.kind, one.name, one.reason) for one in skipped]
    _write(folder / SKIPPED, ("kind", "name", "reason"), rows)
    warnings = [(one.name, text) for one in baked for text in one.warnings]
    _write(folder / WARNINGS, ("series", "warning"), warnings)
    if not series:
        raise TrainingError(
            f"{folder}: no series is usable; {folder / SKIPPED} says why of each, as "
            f"{skipped[0].name}: {skipped[0].reason}"
        )
    try:
        before = load_store(folder)
    except TrainingError:
        before = None
    write_store(folder, source, commands, series)
    store = load_store(folder)
    check(store)
    return [
        *([] if before is None else _changes(before, store)),
        *_contents(store, folder),
        *_skipped(skipped, folder),
        *([f"  {len(warnings)} warnings are in {folder / WARNINGS}"] if warnings else []),
    ]


def check(store: Store, *, verify: bool = False) -> None:
    """Open every array.

    Parameters
    ----------
    store : Store
    verify : bool
        Whether to read it whole and compare its checksum.

    Raises
    ------
    TrainingError
        If one is not as the tables say.
    """
    with cli.progress("Check", len(store.series)) as advance:
        for one in store.series:
            advance()
            if verify:
                one.verify()
            else:
                one.hu()


def _write(path: Path, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    with whole(path) as file:
        text = io.TextIOWrapper(file, "utf-8", errors="replace", newline="")
        out = csv.writer(text, lineterminator="\n")
        out.writerow(columns)
        out.writerows(rows)
        text.detach()


def _changes(before: Store, now: Store) -> list[str]:
    labels = {one.name: one.labels for one in before.series}
    changed = sum(
        one.name in labels and not np.array_equal(one.labels, labels[one.name])
        for one in now.series
    )
    gone = len(labels.keys() - {one.name for one in now.series})
    said = []
    if changed:
        said.append(f"labels of {changed} series are not as they were; the tables have the new")
    if gone:
        said.append(f"{gone} series are no longer in the tables; their arrays are still there")
    return said


def _contents(store: Store, folder: Path) -> list[str]:
    labels = np.concatenate([one.labels for one in store.series])
    studies = np.stack([one.study_labels for one in store.series])
    patients = len({one.patient for one in store.series})
    size = sum(one.path.stat().st_size for one in store.series)
    lines = [
        f"{folder}: {len(store.series)} series of {patients} patients, {store.slices} slices, "
        f"{size / 1e9:.2f} GB"
    ]
    by_slice = bool((labels != UNKNOWN).any())
    for label, n, m in zip(
        LABELS, (studies == 1).sum(axis=0), (labels == 1).sum(axis=0), strict=True
    ):
        lines.append(f"  {label:<16} {n:>7} series" + (f" {m:>8} slices" if by_slice else ""))
    return lines


def _skipped(skipped: Sequence[Skipped], folder: Path) -> list[str]:
    counts = Counter((one.kind, _kind(one.reason)) for one in skipped)
    lines = [
        f"  skipped: {kind}, {reason}: {count}" for (kind, reason), count in counts.most_common(12)
    ]
    if len(counts) > 12:
        lines.append(f"  skipped for {len(counts) - 12} more reasons")
    if skipped:
        lines.append(f"  each is named in {folder / SKIPPED}")
    return lines


def _kind(reason: str) -> str:
    """A reason without the part that differs from one to the next."""
    for mark in (":", " (", " as "):
        reason = reason.partition(mark)[0]
    return "".join("#" if c.isdigit() else c for c in reason)
