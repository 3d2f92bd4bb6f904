"""RSNA Intracranial Hemorrhage Detection (2019), as Kaggle ships it: its CSV files.

One row for each slice and finding, ``ID_28fbab7eb_epidural,0``: 4.5 million rows
in the training file of stage 2. Submissions have the same layout, with
probabilities.

References
----------
Flanders et al., "Construction of a Machine Learning Dataset through
Collaboration: The RSNA 2019 Brain CT Hemorrhage Challenge", Radiology:
Artificial Intelligence 2020, doi:10.1148/ryai.2020190211.
"""

import csv
import io
from array import array
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from ml.labels import LABELS
from training.datasets.tables import probability, rows
from training.errors import TrainingError
from training.files import whole

COLUMNS = ["ID", "Label"]

_PLACE = {str(label): column for column, label in enumerate(LABELS)}
_FINDINGS = len(LABELS)
_ABSENT = -1.0


def read_labels(*paths: Path) -> dict[str, np.ndarray]:
    """Read one or more label files of the challenge into one.

    Rows that repeat another one are allowed: the file of stage 1 repeats 24,
    and that of stage 2 holds all of stage 1.

    Parameters
    ----------
    *paths : pathlib.Path
        CSV with the columns ``ID,Label``; an ID is ``<slice>_<finding>``.

    Returns
    -------
    dict of str to numpy.ndarray
        From the slice to its uint8 labels, shape (6,).

    Raises
    ------
    TrainingError
        If columns, findings or values are not as they should be, a slice lacks
        a finding, or two rows contradict each other.
    """
    table = _Table(_label, "0 or 1", repeats=True)
    for path in paths:
        table.read(path)
    return table.finish(np.uint8)


def read_predictions(path: Path) -> dict[str, np.ndarray]:
    """Read predictions in the format of a submission to the challenge.

    Parameters
    ----------
    path : pathlib.Path
        CSV with the columns ``ID,Label``; a label is a probability.

    Returns
    -------
    dict of str to numpy.ndarray
        From the slice to its float64 probabilities, shape (6,).

    Raises
    ------
    TrainingError
        If columns or findings are not as they should be, a value is not a
        number from 0 to 1, or a row is missing or there twice.
    """
    table = _Table(probability, "a probability", repeats=False)
    table.read(path)
    return table.finish(np.float64)


def write_labels(path: Path, labels: Mapping[str, np.ndarray]) -> None:
    """Write labels as `read_labels` reads them."""
    with whole(path) as file:
        text = io.TextIOWrapper(file, "utf-8", newline="")
        out = csv.writer(text, lineterminator="\n")
        out.writerow(COLUMNS)
        for name, values in labels.items():
            out.writerows(
                (f"{name}_{label}", int(v)) for label, v in zip(LABELS, values, strict=True)
            )
        text.detach()


def _label(text: str) -> float:
    if text not in ("0", "1"):
        raise ValueError(text)
    return float(text)


class _Table:
    """Rows of slice and finding gathered into one row per slice.

    Values stand in one flat array, not in millions of objects.
    """

    def __init__(self, parse: Callable[[str], float], expected: str, *, repeats: bool) -> None:
        self.parse = parse
        self.expected = expected
        self.repeats = repeats
        self.starts: dict[str, int] = {}
        self.values = array("d")
        self.paths: list[Path] = []

    def read(self, path: Path) -> None:
        """Add the rows of a file."""
        self.paths.append(path)
        lines = rows(path)
        header = next(lines, [])
        if header != COLUMNS:
            raise TrainingError(
                f"{path}: columns must be {','.join(COLUMNS)}, not {','.join(header)}"
            )
        starts, values, parse = self.starts, self.values, self.parse
        empty = array("d", [_ABSENT] * _FINDINGS)
        for number, row in enumerate(lines, start=2):
            if not row:
                continue
            try:
                identifier, text = row
                name, _, finding = identifier.rpartition("_")
                column = _PLACE[finding]
                value = parse(text)
            except (ValueError, KeyError):
                raise self._wrong_row(path, number, row) from None
            start = starts.get(name)
            if start is None:
                if not name:
                    raise self._wrong_row(path, number, row)
                start = starts[name] = len(values)
                values.extend(empty)
            place = start + column
            if values[place] != _ABSENT:
                if not self.repeats:
                    raise TrainingError(f"{path}, line {number}: {identifier} is there twice")
                if values[place] != value:
                    raise TrainingError(f"{path}, line {number}: {identifier} is both 0 and 1")
            values[place] = value

    def _wrong_row(self, path: Path, number: int, row: list[str]) -> TrainingError:
        return TrainingError(
            f"{path}, line {number}: expected <slice>_<finding>,{self.expected}, "
            f"not {','.join(row)}"
        )

    def finish(self, dtype: type) -> dict[str, np.ndarray]:
        """From the slice to a row of the table."""
        named = ", ".join(map(str, self.paths))
        if not self.starts:
            raise TrainingError(f"{named}: no rows of slices in it")
        table = np.frombuffer(self.values, dtype=np.float64).reshape(-1, _FINDINGS)
        there = (table != _ABSENT).sum(axis=1)
        for name, count in zip(self.starts, there, strict=True):
            if count != _FINDINGS:
                raise TrainingError(f"{named}: slice {name} has {count} of {_FINDINGS} findings")
        return dict(zip(self.starts, table.astype(dtype), strict=True))
