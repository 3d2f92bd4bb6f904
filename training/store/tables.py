"""Training material on disk: series as arrays.

`training.prepare` turns DICOM and labels into a folder that trains fast::

    store/
      store.json        where it came from and the commands that made it
      series.csv        one line per series
      slices.csv        one line per slice, foot to head, in the order of series.csv
      hu/<series>.npy   int16, shape (n, rows, columns), HU; memory-mapped
      skipped.csv       what is not in it, and why
      warnings.csv      what is odd about the series that are
      headers.csv       what was read of each file, to begin again from
      baked.jsonl       the series that are done, to begin again from
"""

import csv
import hashlib
import io
import json
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from ml.errors import first_line
from ml.labels import LABELS
from training.errors import TrainingError
from training.files import whole

ABOUT = "store.json"
SERIES = "series.csv"
SLICES = "slices.csv"
ARRAYS = "hu"
SERIES_COLUMNS = (
    "series",
    "patient",
    "study",
    "scanner",
    "thickness_mm",
    "slices",
    "rows",
    "columns",
    "row_mm",
    "column_mm",
    "crc32",
    *LABELS,
)
SLICE_COLUMNS = ("series", "sop_instance_uid", "position_mm", *LABELS)

UNKNOWN = 255
"""Stands for the label of a slice where only the study was read."""

_VALUES = {"0": 0, "1": 1, str(UNKNOWN): UNKNOWN}
_MAKE = "make it with python -m training.prepare"


@dataclass(frozen=True)
class Series:
    """One series of a store.

    Parameters
    ----------
    name : str
        Series Instance UID.
    patient, study : str
        Folds keep the series of a patient together; findings of CQ500 belong to
        a study, which is named there as in its ``reads.csv``.
    scanner : str
        Manufacturer and model; empty where the headers do not say.
    thickness_mm : float
        Between neighbouring slices, typically; from their positions.
    sop_instance_uids : tuple of str
        Of each of the n slices, foot to head.
    positions_mm : tuple of float
        Along the normal.
    labels : numpy.ndarray
        uint8, shape (n, 6); all `UNKNOWN` where only the study was read.
    study_labels : numpy.ndarray
        uint8, shape (6,): the readers' of the study, or the maximum over the slices.
    path : pathlib.Path
        Its array.
    rows, columns : int
        Size of a slice; 0 where it was not noted.
    spacing_mm : tuple of 2 float
        Between rows, between columns; 0 where it is not known.
    crc32 : int
        Of the bytes of the array; 0 where it was not noted.
    """

    name: str
    patient: str
    study: str
    scanner: str
    thickness_mm: float
    sop_instance_uids: tuple[str, ...]
    positions_mm: tuple[float, ...]
    labels: np.ndarray
    study_labels: np.ndarray
    path: Path
    rows: int = 0
    columns: int = 0
    spacing_mm: tuple[float, float] = (0.0, 0.0)
    crc32: int = 0

    def __len__(self) -> int:
        return len(self.labels)

    def hu(self) -> np.ndarray:
        """The slices, int16, shape (n, rows, columns), HU; read when they are touched.

        Raises
        ------
        TrainingError
            If the array is damaged or does not fit what the store says of it.
        """
        try:
            hu: np.ndarray = np.load(self.path, mmap_mode="r", allow_pickle=False)
        except (ValueError, EOFError) as error:
            raise TrainingError(
                f"{self.path} is damaged ({first_line(error)}); delete it and prepare again"
            ) from error
        expected = (len(self), self.rows or hu.shape[-2], self.columns or hu.shape[-1])
        if hu.dtype != np.int16 or hu.shape != expected:
            raise TrainingError(
                f"{self.path} holds {hu.dtype} {hu.shape}, the store says int16 {expected}; "
                "delete it and prepare again"
            )
        return hu

    def verify(self) -> None:
        """Read the whole array.

        Raises
        ------
        TrainingError
            If it is not the one that was written.
        """
        if zlib.crc32(self.hu()) != self.crc32:
            raise TrainingError(
                f"{self.path} has changed since it was written; delete it and prepare again"
            )


@dataclass(frozen=True)
class Store:
    """A folder made by `training.prepare`.

    Parameters
    ----------
    source : str
        One line on what is in it.
    commands : tuple of str
        What was typed to make it.
    series : tuple of Series
    """

    source: str
    commands: tuple[str, ...]
    series: tuple[Series, ...]

    @property
    def digest(self) -> str:
        """SHA-256 of which series of which patients are in it: folds are dealt by these."""
        told = sorted(f"{one.name}\t{one.patient}" for one in self.series)
        return hashlib.sha256("\n".join(told).encode("utf-8", "replace")).hexdigest()

    @property
    def slices(self) -> int:
        """Number of slices of all series."""
        return sum(len(one) for one in self.series)


def array_path(folder: Path, name: str) -> Path:
    """Where the array of a series lies."""
    return folder / ARRAYS / f"{name}.npy"


def write_store(
    folder: Path, source: str, commands: Iterable[str], series: Iterable[Series]
) -> None:
    """Write the tables of a store; the arrays are there already.

    Raises
    ------
    TrainingError
        If the disk is full.
    """
    with whole(folder / SERIES) as first, whole(folder / SLICES) as second:
        texts = [io.TextIOWrapper(file, "utf-8", newline="") for file in (first, second)]
        per_series, per_slice = (csv.writer(text, lineterminator="\n") for text in texts)
        per_series.writerow(SERIES_COLUMNS)
        per_slice.writerow(SLICE_COLUMNS)
        for one in series:
            told = (one.name, one.patient, one.study, one.scanner, one.thickness_mm)
            form = (len(one), one.rows, one.columns, *one.spacing_mm, f"{one.crc32:08x}")
            per_series.writerow((*told, *form, *one.study_labels.tolist()))
            per_slice.writerows(
                (one.name, uid, position, *labels)
                for uid, position, labels in zip(
                    one.sop_instance_uids, one.positions_mm, one.labels.tolist(), strict=True
                )
            )
        for text in texts:
            text.detach()
    about = {"source": source, "commands": list(commands)}
    with whole(folder / ABOUT) as file:
        file.write(json.dumps(about, indent=2).encode() + b"\n")


def load_store(folder: Path) -> Store:
    """Read the tables of a store.

    Raises
    ------
    TrainingError
        If it was not made by `training.prepare`, a table is damaged or an array
        is missing.
    """
    if not (folder / ABOUT).is_file():
        raise TrainingError(f"{folder} has no {ABOUT}; {_MAKE}")
    try:
        about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
        source, commands = str(about["source"]), tuple(map(str, about["commands"]))
        series = tuple(_series(folder))
    except FileNotFoundError as error:
        raise TrainingError(f"{error.filename} is not there; {_MAKE}") from error
    except (ValueError, KeyError, TypeError, csv.Error) as error:
        raise TrainingError(
            f"{folder} has a damaged table ({type(error).__name__}: {first_line(error)}); {_MAKE}"
        ) from error
    if not series:
        raise TrainingError(f"{folder / SERIES} names no series")
    there = {path.name for path in (folder / ARRAYS).glob("*.npy")}
    for one in series:
        if one.path.name not in there:
            raise TrainingError(
                f"{folder / SERIES} names series {one.name}, but {one.path} is not there; {_MAKE}"
            )
    return Store(source, commands, series)


def _series(folder: Path) -> Iterator[Series]:
    """The series of both tables, which have the same order."""
    findings = len(LABELS)
    slices = _rows(folder / SLICES, SLICE_COLUMNS)
    for name, patient, study, scanner, thickness, *form in _rows(folder / SERIES, SERIES_COLUMNS):
        count, rows, columns, row_mm, column_mm, crc, *values = form
        lines = list(islice(slices, int(count)))
        if len(lines) != int(count) or any(line[0] != name for line in lines):
            raise ValueError(f"{SLICES} does not go with {SERIES} at series {name}")
        labels = bytearray(_VALUES[value] for line in lines for value in line[3:])
        yield Series(
            name=name,
            patient=patient,
            study=study,
            scanner=scanner,
            thickness_mm=float(thickness),
            sop_instance_uids=tuple(line[1] for line in lines),
            positions_mm=tuple(float(line[2]) for line in lines),
            labels=np.frombuffer(labels, dtype=np.uint8).reshape(-1, findings),
            study_labels=np.array([_VALUES[value] for value in values], dtype=np.uint8),
            path=array_path(folder, name),
            rows=int(rows),
            columns=int(columns),
            spacing_mm=(float(row_mm), float(column_mm)),
            crc32=int(crc, 16),
        )
    if next(slices, None) is not None:
        raise ValueError(f"{SLICES} has slices of no series")


def _rows(path: Path, columns: tuple[str, ...]) -> Iterator[list[str]]:
    with path.open(newline="", encoding="utf-8") as file:
        rows = csv.reader(file)
        if tuple(next(rows, ())) != columns:
            raise TrainingError(
                f"{path}: columns must be {','.join(columns)}; it is of another version, {_MAKE}"
            )
        for row in rows:
            if len(row) != len(columns):
                raise ValueError(f"{path.name} has a line of {len(row)} values")
            yield row
