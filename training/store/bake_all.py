"""Many series to arrays, in several processes; what a kill left undone is done the next time."""

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np

from ml.labels import LABELS
from training import cli
from training.errors import TrainingError
from training.files import PART, Journal, writing
from training.jobs import mapped
from training.store import ARRAYS
from training.store.bake import Baked, Outcome
from training.store.headers import Skipped

JOURNAL = "baked.jsonl"


class Work(Protocol):
    """Something that becomes at most one array."""

    @property
    def name(self) -> str:
        """Unlike that of any other."""

    @property
    def signature(self) -> str:
        """A digest of the files it is made of."""


W = TypeVar("W", bound=Work)


def begin(store: Path, dataset: str, size: int) -> Journal:
    """Make the folder of a store, or go on with one.

    Raises
    ------
    TrainingError
        If it was begun with another data set or size, or is being written.
    """
    journal = Journal(store / JOURNAL, {"data set": dataset, "--size": size or "as it is"})
    arrays = store / ARRAYS
    with writing(arrays):
        arrays.mkdir(exist_ok=True)
        for path in arrays.glob(f"*{PART}"):
            path.unlink()
    return journal


def done(journal: Journal, store: Path) -> dict[str, Baked]:
    """What needs not be done again, by task; what was noted last is true."""
    entries = {one.task: one for one in map(Baked.parsed, journal.entries)}
    return {task: one for task, one in entries.items() if one.is_there(store)}


def bake_all(
    tasks: Sequence[W],
    function: Callable[[W], Outcome],
    journal: Journal,
    store: Path,
    *,
    jobs: int,
    verify: bool,
) -> tuple[list[Baked], list[Skipped]]:
    """Write the arrays that are missing or of other files than now.

    Parameters
    ----------
    tasks : sequence of Work
    function : callable
        Does one; at the top of a module.
    journal : Journal
        Gets a line for each array.
    store : pathlib.Path
    jobs : int
        Processes.
    verify : bool
        Whether arrays that are there are read, and done anew if they are damaged.

    Returns
    -------
    list of Baked
        In the order of the tasks.
    list of Skipped
        Why the other tasks came to nothing.
    """
    there = done(journal, store)
    if verify:
        there = _intact(there, store)
    kept = {t.name for t in tasks if t.name in there and there[t.name].signature == t.signature}
    baked = {name: there[name] for name in kept}
    missing = [task for task in tasks if task.name not in kept]
    if kept:
        print(f"{len(kept)} of {len(tasks)} series are there already")
    lost: list[Skipped] = []
    with cli.progress("Series", len(missing)) as advance:
        for outcome in mapped(function, missing, jobs=jobs):
            advance()
            if outcome.baked is None:
                lost.extend(outcome.skipped)
            else:
                journal.append(outcome.baked.entry())
                baked[outcome.baked.task] = outcome.baked
    return [baked[task.name] for task in tasks if task.name in baked], lost


def _intact(there: Mapping[str, Baked], store: Path) -> dict[str, Baked]:
    nothing = np.zeros(len(LABELS), dtype=np.uint8)
    kept = {}
    with cli.progress("Checksums", len(there)) as advance:
        for task, one in there.items():
            advance()
            labels = np.zeros((len(one.sop_instance_uids), len(LABELS)), dtype=np.uint8)
            try:
                one.labelled(store, labels, nothing).verify()
            except TrainingError as error:
                print(f"done anew: {error}", file=sys.stderr)
            else:
                kept[task] = one
    return kept
