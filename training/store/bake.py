"""One series of DICOM files to one array, as the node reads it, and a note of what came out."""

import zlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from pydicom.dataset import Dataset

from ml.errors import PixelError, SeriesError
from ml.frames import Frame, decode, read_frames, read_header
from ml.geometry import Spacing
from ml.pixels import AIR_HU
from ml.series import MOST_UNDECODABLE, Volume, arrange, load_volume
from training.files import whole
from training.store import Series, array_path
from training.store.headers import Skipped
from training.store.slabs import average_slabs


@dataclass(frozen=True)
class Baked:
    """A series whose array is there: what the tables of the store say of it, but the labels.

    Parameters
    ----------
    task, signature : str
        What was asked for, and a digest of the files that it was made of.
    name, patient, study, scanner : str
    thickness_mm : float
    sop_instance_uids : tuple of str
        Or what the labels call the slices.
    positions_mm : tuple of float
    rows, columns : int
    spacing_mm : tuple of 2 float
    crc32 : int
        Of the bytes of the array.
    file_size : int
        Bytes.
    skipped : tuple of Skipped
        Files and slices that are not in it.
    warnings : tuple of str
    """

    task: str
    signature: str
    name: str
    patient: str
    study: str
    scanner: str
    thickness_mm: float
    sop_instance_uids: tuple[str, ...]
    positions_mm: tuple[float, ...]
    rows: int
    columns: int
    spacing_mm: tuple[float, float]
    crc32: int
    file_size: int
    skipped: tuple[Skipped, ...]
    warnings: tuple[str, ...]

    @classmethod
    def parsed(cls, entry: Mapping[str, Any]) -> Self:
        """From what `asdict` made of it, by way of JSON."""
        values = {k: tuple(v) if isinstance(v, list) else v for k, v in entry.items()}
        values["skipped"] = tuple(Skipped(**one) for one in values["skipped"])
        return cls(**values)

    def entry(self) -> dict[str, Any]:
        """For a journal."""
        return asdict(self)

    def is_there(self, store: Path) -> bool:
        """Whether the array lies in the store with all its bytes."""
        path = array_path(store, self.name)
        return path.is_file() and path.stat().st_size == self.file_size

    def labelled(self, store: Path, labels: np.ndarray, study_labels: np.ndarray) -> Series:
        """A series of a store.

        Parameters
        ----------
        store : pathlib.Path
        labels : numpy.ndarray
            uint8, shape (n, 6).
        study_labels : numpy.ndarray
            uint8, shape (6,).
        """
        return Series(
            name=self.name,
            patient=self.patient,
            study=self.study,
            scanner=self.scanner,
            thickness_mm=self.thickness_mm,
            sop_instance_uids=self.sop_instance_uids,
            positions_mm=self.positions_mm,
            labels=labels,
            study_labels=study_labels,
            path=array_path(store, self.name),
            rows=self.rows,
            columns=self.columns,
            spacing_mm=self.spacing_mm,
            crc32=self.crc32,
        )


@dataclass(frozen=True)
class Outcome:
    """What became of a task.

    Parameters
    ----------
    baked : Baked, optional
        None where there is no array.
    skipped : tuple of Skipped
        Why there is none.
    """

    baked: Baked | None
    skipped: tuple[Skipped, ...] = ()


@dataclass(frozen=True)
class Task:
    """Files that are to become an array.

    Parameters
    ----------
    name : str
        Series Instance UID.
    signature : str
        A digest of the files.
    patient, study : str
    paths : tuple of pathlib.Path
    keys : mapping
        From SOP Instance UID to what the labels call a slice, where that differs.
    slab_mm : float
        Slices thinner than half of it are averaged to this thickness; 0 for never.
    """

    name: str
    signature: str
    patient: str
    study: str
    paths: tuple[Path, ...]
    keys: Mapping[str, str]
    slab_mm: float = 0.0


def bake(task: Task, store: Path, size: int) -> Outcome:
    """Write the array of one series.

    Parameters
    ----------
    task : Task
    store : pathlib.Path
    size : int
        Longest side of a slice in pixels, larger ones are averaged; 0 keeps all.

    Raises
    ------
    TrainingError
        If the array cannot be written. A series that cannot be read is an outcome.
    """
    skipped: list[Skipped] = []
    frames: list[Frame] = []
    header = Dataset()
    for path in task.paths:
        try:
            header = read_header(path)
            frames.extend(read_frames(header, path))
        except SeriesError as error:
            skipped.append(Skipped("file", path.name, str(error)))
    try:
        volume, broken = read_volume(frames)
    except SeriesError as error:
        return Outcome(None, (*skipped, Skipped("series", task.name, str(error))))
    skipped.extend(broken)
    skipped.extend(Skipped("slice", left.name, left.reason) for left in volume.left_out)

    hu = volume.hu
    positions = np.array([one.position_mm for one in volume.slices])
    uids = [task.keys.get(one.sop_instance_uid, one.sop_instance_uid) for one in volume.slices]
    warnings = [*volume.warnings[: len(volume.warnings) - len(volume.left_out)], *oddities(hu)]
    typical = Spacing.of(positions.tolist()).typical_mm
    if 0 < typical < task.slab_mm / 2:
        hu, positions, middles = average_slabs(hu, positions, task.slab_mm)
        uids = [uids[index] for index in middles]
        warnings.append(f"slices {typical:.2f} mm apart averaged to {task.slab_mm:g} mm")
    row_mm, column_mm = volume.spacing_mm or (0.0, 0.0)
    if 0 < size < max(hu.shape[1:]):
        scale = max(hu.shape[1:]) / size
        hu, row_mm, column_mm = reduced(hu, size), row_mm * scale, column_mm * scale

    hu = np.ascontiguousarray(hu)
    target = array_path(store, task.name)
    with whole(target) as file:
        # numpy.save would hand the file to C, which does not say why a write fails
        np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(hu))
        file.write(hu.data)
    return Outcome(
        Baked(
            task=task.name,
            signature=task.signature,
            name=task.name,
            patient=task.patient,
            study=task.study,
            scanner=scanner(header),
            thickness_mm=round(Spacing.of(positions.tolist()).typical_mm, 4),
            sop_instance_uids=tuple(uids),
            positions_mm=tuple(round(float(p), 4) for p in positions),
            rows=hu.shape[1],
            columns=hu.shape[2],
            spacing_mm=(round(row_mm, 6), round(column_mm, 6)),
            crc32=zlib.crc32(hu),
            file_size=target.stat().st_size,
            skipped=tuple(skipped),
            warnings=tuple(warnings),
        )
    )


def read_volume(frames: list[Frame]) -> tuple[Volume, list[Skipped]]:
    """Decode a series for training, where a slice may be lost at its end too.

    The node refuses to judge a series without its first or last slice; to learn
    from the others does no harm. A gap is bearable up to `MOST_UNDECODABLE`, and
    one slice always.

    Raises
    ------
    SeriesError
        If more than that cannot be decoded, or there is no order.
    """
    arrangement = arrange(frames)
    try:
        return load_volume(arrangement), []
    except PixelError:
        broken = {id(frame): reason for frame in frames if (reason := _undecodable(frame))}
        stack = sum(id(frame) in broken for frame in arrangement.frames)
        if stack > max(1, MOST_UNDECODABLE * len(arrangement.frames)) or len(broken) == len(frames):
            raise
    volume = load_volume(arrange([frame for frame in frames if id(frame) not in broken]))
    lost = [Skipped("slice", f.name, broken[id(f)]) for f in frames if id(f) in broken]
    return volume, lost


def _undecodable(frame: Frame) -> str:
    try:
        decode(frame)
    except PixelError as error:
        return str(error)
    return ""


def oddities(hu: np.ndarray) -> list[str]:
    """What in the values speaks against head CT in HU; each as a sentence.

    Parameters
    ----------
    hu : numpy.ndarray
        int16, shape (n, rows, columns).
    """
    least, most = int(hu.min()), int(hu.max())
    said = []
    if least > AIR_HU // 2:
        said.append(f"nothing is darker than {least} HU: no air; is the intercept right?")
    if most < 300:
        said.append(f"nothing is brighter than {most} HU: no bone")
    return said


def reduced(hu: np.ndarray, size: int) -> np.ndarray:
    """Average areas, so that the longest side of a slice gets `size` pixels.

    Parameters
    ----------
    hu : numpy.ndarray
        int16, shape (n, rows, columns), HU.
    size : int
        Less than the longest side.

    Returns
    -------
    numpy.ndarray
        int16, HU, of the same proportions.
    """
    rows, columns = hu.shape[1:]
    longest = max(rows, columns)
    down = _shares(rows, max(1, round(rows * size / longest)))
    across = _shares(columns, max(1, round(columns * size / longest))).T
    out = np.empty((len(hu), down.shape[0], across.shape[1]), dtype=np.int16)
    for index, one in enumerate(hu):
        out[index] = np.rint(down @ one.astype(np.float32) @ across)
    return out


def _shares(before: int, after: int) -> np.ndarray:
    """How much of each old pixel stands in each new one, shape (after, before)."""
    edges = np.arange(after + 1) * (before / after)
    low, high = edges[:-1, None], edges[1:, None]
    pixel = np.arange(before)[None]
    overlap = np.clip(np.minimum(high, pixel + 1) - np.maximum(low, pixel), 0, None)
    return (overlap * (after / before)).astype(np.float32)


def scanner(header: Dataset) -> str:
    """Manufacturer and model, empty where the header does not say."""
    parts = (str(header.get(k) or "").strip() for k in ("Manufacturer", "ManufacturerModelName"))
    return " ".join(part for part in parts if part)


def renamed(outcome: Outcome, task: str, signature: str, more: Iterable[Skipped]) -> Outcome:
    """The same outcome as that of another task, with more that was skipped on the way."""
    if outcome.baked is None:
        return Outcome(None, (*outcome.skipped, *more))
    skipped = (*outcome.baked.skipped, *more)
    return Outcome(replace(outcome.baked, task=task, signature=signature, skipped=skipped))
