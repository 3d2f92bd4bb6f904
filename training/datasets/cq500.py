"""CQ500, as qure.ai ships it: its readers' votes, and published predictions for it.

References
----------
Chilamkurthy et al., "Deep learning algorithms for detection of critical
findings in head CT scans: a retrospective study", Lancet 2018,
doi:10.1016/S0140-6736(18)31645-3.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ml.labels import LABELS, Label
from training.datasets.tables import probability, rows
from training.errors import TrainingError

FINDINGS = {
    Label.EPIDURAL: "EDH",
    Label.INTRAPARENCHYMAL: "IPH",
    Label.INTRAVENTRICULAR: "IVH",
    Label.SUBARACHNOID: "SAH",
    Label.SUBDURAL: "SDH",
    Label.ANY: "ICH",
}
"""What the files call a finding."""

READERS = ("R1", "R2", "R3")


@dataclass(frozen=True)
class Reads:
    """What three radiologists said of one scan.

    Parameters
    ----------
    name : str
        Of the scan, as ``CQ500-CT-0``.
    votes : numpy.ndarray
        uint8, shape (3, 6): readers, findings in the order of `LABELS`.
    """

    name: str
    votes: np.ndarray

    @property
    def majority(self) -> np.ndarray:
        """uint8, shape (6,): a finding is there if at least two readers saw it."""
        agreeing = np.count_nonzero(self.votes, axis=0)
        return np.asarray(agreeing > len(READERS) // 2, dtype=np.uint8)


def read_reads(path: Path) -> dict[str, Reads]:
    """Read the readers' votes, ``reads.csv``.

    Returns
    -------
    dict of str to Reads
        By the name of the scan, in the order of the file.

    Raises
    ------
    TrainingError
        If a column is missing, a vote is not 0 or 1, or a scan is there twice.
    """
    columns = [f"{reader}:{FINDINGS[label]}" for reader in READERS for label in LABELS]
    shape = (len(READERS), len(LABELS))
    return {
        name: Reads(name, np.array(votes, dtype=np.uint8).reshape(shape))
        for name, votes in _table(path, columns, _vote).items()
    }


def read_predictions(path: Path) -> dict[str, np.ndarray]:
    """Read predictions for scans.

    Parameters
    ----------
    path : pathlib.Path
        CSV with the columns ``name``, ``ICH``, ``IPH``, ``IVH``, ``SDH``,
        ``EDH`` and ``SAH``, as those that Chilamkurthy et al. published; others
        are passed over.

    Returns
    -------
    dict of str to numpy.ndarray
        From the name of the scan to its float64 probabilities, shape (6,), in
        the order of `LABELS`.

    Raises
    ------
    TrainingError
        If a column is missing, a value is not a number from 0 to 1, or a scan
        is there twice.
    """
    columns = [FINDINGS[label] for label in LABELS]
    return {
        name: np.array(values, dtype=np.float64)
        for name, values in _table(path, columns, probability).items()
    }


def _vote(text: str) -> int:
    if text not in ("0", "1"):
        raise ValueError(f"{text!r} is not 0 or 1")
    return int(text)


def _table(path: Path, columns: list[str], parse: Callable[[str], float]) -> dict[str, list[float]]:
    """The named columns of a file with a line for each scan."""
    lines = rows(path)
    header = next(lines, [])
    missing = [column for column in ("name", *columns) if column not in header]
    if missing:
        raise TrainingError(f"{path}: no column {', '.join(missing)} among {','.join(header)}")
    at_name, places = header.index("name"), [header.index(column) for column in columns]
    found: dict[str, list[float]] = {}
    for number, row in enumerate(lines, start=2):
        if not row:
            continue
        where = f"{path}, line {number}"
        if len(row) != len(header):
            raise TrainingError(f"{where}: {len(row)} values, the header has {len(header)}")
        name = row[at_name].strip()
        if not name:
            raise TrainingError(f"{where}: no name of a scan")
        if name in found:
            raise TrainingError(f"{where}: scan {name} is there twice")
        values = []
        for column, place in zip(columns, places, strict=True):
            try:
                values.append(parse(row[place]))
            except ValueError as error:
                raise TrainingError(f"{where}: {column} of {name}: {error}") from error
        found[name] = values
    if not found:
        raise TrainingError(f"{path}: no scans in it")
    return found
