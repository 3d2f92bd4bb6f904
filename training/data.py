"""Training material on disk: label files, and series as arrays.

`prepare` turns DICOM and labels into a folder that trains fast::

    baked/
      source.txt        one line on where it came from
      index.csv         series, patient, sop_instance_uid, position_mm and six labels,
                        one line per slice, foot to head
      hu/<series>.npy   int16, shape (n, rows, columns), HU
"""

import csv
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ml.labels import LABELS
from training.errors import TrainingError

INDEX = "index.csv"
SOURCE = "source.txt"
COLUMNS = ("series", "patient", "sop_instance_uid", "position_mm", *LABELS)


@dataclass(frozen=True)
class Series:
    """One series of a baked folder.

    Parameters
    ----------
    name : str
        Series Instance UID.
    patient : str
        Folds keep the series of a patient together.
    sop_instance_uids : tuple of str
        Of each of the n slices, foot to head.
    positions_mm : tuple of float
        Along the normal.
    labels : numpy.ndarray
        uint8, shape (n, 6).
    path : pathlib.Path
        Its array.
    """

    name: str
    patient: str
    sop_instance_uids: tuple[str, ...]
    positions_mm: tuple[float, ...]
    labels: np.ndarray
    path: Path

    def __len__(self) -> int:
        return len(self.labels)

    def hu(self) -> np.ndarray:
        """The slices, int16, shape (n, rows, columns), HU; read when they are touched."""
        return np.load(self.path, mmap_mode="r", allow_pickle=False)


@dataclass(frozen=True)
class Baked:
    """A folder made by `training.prepare`."""

    source: str
    series: tuple[Series, ...]

    @property
    def slices(self) -> int:
        """Number of slices of all series."""
        return sum(len(one) for one in self.series)


def read_labels(path: Path) -> dict[str, np.ndarray]:
    """Read a label file of the RSNA 2019 challenge.

    Parameters
    ----------
    path : pathlib.Path
        CSV with the columns ``ID,Label``; an ID is ``<slice>_<finding>``. Rows
        that repeat another one are allowed, as the challenge's own file has some.

    Returns
    -------
    dict of str to numpy.ndarray
        From the slice to its uint8 labels, shape (6,).

    Raises
    ------
    TrainingError
        If columns, findings or values are not as they should be.
    """
    place = {str(label): i for i, label in enumerate(LABELS)}
    found: dict[str, dict[int, int]] = {}
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = csv.DictReader(file)
        if tuple(rows.fieldnames or ()) != ("ID", "Label"):
            raise TrainingError(
                f"{path}: columns must be ID,Label, not {','.join(rows.fieldnames or ())}"
            )
        for number, row in enumerate(rows, start=2):
            name, _, finding = (row["ID"] or "").rpartition("_")
            if not name or finding not in place or row["Label"] not in ("0", "1"):
                raise TrainingError(
                    f"{path}, line {number}: expected <slice>_<finding>,0 or 1, "
                    f"not {row['ID']},{row['Label']}"
                )
            value = int(row["Label"])
            if found.setdefault(name, {}).setdefault(place[finding], value) != value:
                raise TrainingError(f"{path}, line {number}: {row['ID']} is both 0 and 1")
    for name, values in found.items():
        if len(values) != len(LABELS):
            raise TrainingError(f"{path}: slice {name} has {len(values)} of {len(LABELS)} labels")
    if not found:
        raise TrainingError(f"{path}: no labels in it")
    return {
        name: np.array([values[i] for i in range(len(LABELS))], dtype=np.uint8)
        for name, values in found.items()
    }


def write_labels(path: Path, labels: Mapping[str, np.ndarray]) -> None:
    """Write labels as `read_labels` reads them."""
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(("ID", "Label"))
        for name, values in labels.items():
            rows.writerows(
                (f"{name}_{label}", int(v)) for label, v in zip(LABELS, values, strict=True)
            )


def write_baked(folder: Path, source: str, series: Iterable[Series]) -> None:
    """Write index and source of a baked folder; the arrays are there already."""
    with (folder / INDEX).open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(COLUMNS)
        for one in series:
            for uid, position, labels in zip(
                one.sop_instance_uids, one.positions_mm, one.labels, strict=True
            ):
                rows.writerow((one.name, one.patient, uid, position, *map(int, labels)))
    (folder / SOURCE).write_text(source + "\n", encoding="utf-8")


def load_baked(folder: Path) -> Baked:
    """Read the index of a baked folder.

    Raises
    ------
    TrainingError
        If it was not made by `training.prepare` or an array is missing.
    """
    index = folder / INDEX
    if not index.is_file():
        raise TrainingError(f"{folder} has no {INDEX}; make it with python -m training.prepare")
    grouped: dict[str, list[dict[str, str]]] = {}
    with index.open(newline="", encoding="utf-8") as file:
        rows = csv.DictReader(file)
        if tuple(rows.fieldnames or ()) != COLUMNS:
            raise TrainingError(f"{index}: columns must be {','.join(COLUMNS)}")
        for row in rows:
            grouped.setdefault(row["series"], []).append(row)
    series = []
    for name, lines in grouped.items():
        path = folder / "hu" / f"{name}.npy"
        if not path.is_file():
            raise TrainingError(f"{index} names series {name}, but {path} is not there")
        series.append(
            Series(
                name=name,
                patient=lines[0]["patient"],
                sop_instance_uids=tuple(line["sop_instance_uid"] for line in lines),
                positions_mm=tuple(float(line["position_mm"]) for line in lines),
                labels=np.array([[int(line[c]) for c in LABELS] for line in lines], dtype=np.uint8),
                path=path,
            )
        )
    if not series:
        raise TrainingError(f"{index} names no series")
    source = folder / SOURCE
    told = source.read_text(encoding="utf-8").strip() if source.is_file() else str(folder.name)
    return Baked(told, tuple(series))


def folds(series: Iterable[Series], count: int, seed: int) -> dict[str, int]:
    """Deal patients to folds.

    Returns
    -------
    dict of str to int
        From the series to its fold, 0 to `count` - 1.

    Raises
    ------
    TrainingError
        If there are fewer patients than folds.
    """
    patients = {one.name: one.patient for one in series}
    distinct = sorted(set(patients.values()))
    if len(distinct) < count:
        raise TrainingError(f"{len(distinct)} patients cannot be dealt to {count} folds")
    order = np.random.default_rng(seed).permutation(len(distinct))
    fold = {distinct[i]: int(position) % count for position, i in enumerate(order)}
    return {name: fold[patient] for name, patient in patients.items()}
