"""The scans of CQ500 on a disk, as folders or as the zips they came in, one array for each."""

import re
import shutil
import stat
import tempfile
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from pydicom.dataset import Dataset

from ml.errors import SeriesError, first_line
from ml.frames import Frame, numbers, read_frames, read_header
from ml.series import arrange
from training.datasets.cq500_series import PREFERRED_MM, Candidate, Verdict, choose
from training.errors import TrainingError
from training.files import writing
from training.store.bake import Outcome, Task, bake, renamed
from training.store.headers import Skipped, is_file_name, listed, state

UNPACKED = "unpacked"
"""Folder of the store where a zip is unpacked for as long as it is read."""

_SCAN = re.compile(r"CQ500[-_ ]?CT[-_ ]?(\d+)(?!\d)", re.IGNORECASE)
_MOST_BYTES = 20 * 2**30
_MOST_FILES = 50_000


@dataclass(frozen=True)
class Scan:
    """Where a scan lies.

    Parameters
    ----------
    name : str
        As in ``reads.csv``: ``CQ500-CT-0``.
    places : tuple of pathlib.Path
        Folders, or one zip.
    signature : str
        A digest of names, sizes and times.
    """

    name: str
    places: tuple[Path, ...]
    signature: str


def find_scans(images: Path) -> list[Scan]:
    """Find scans by the names of folders and zips; of both, the folder is taken.

    Returns
    -------
    list of Scan
        By their number.
    """
    folders: dict[int, list[Path]] = defaultdict(list)
    zips: dict[int, list[Path]] = defaultdict(list)
    pending = [images]
    while pending:
        folder = pending.pop()
        for entry in sorted(folder.iterdir()):
            named = _SCAN.search(entry.name)
            if entry.is_dir() and not entry.is_symlink():
                if named:
                    folders[int(named[1])].append(entry)
                else:
                    pending.append(entry)
            elif named and entry.suffix.lower() == ".zip":
                zips[int(named[1])].append(entry)
    scans = []
    for number in sorted({*folders, *zips}):
        places = tuple(folders.get(number) or zips[number][:1])
        files = {
            f"{place.name}/{path}": seen
            for place in places
            for path, seen in (listed(place).items() if place.is_dir() else [("", state(place))])
        }
        digest = zlib.crc32(repr(files).encode(errors="replace"))
        scans.append(Scan(f"CQ500-CT-{number}", places, f"{digest:08x}"))
    return scans


def bake_scan(scan: Scan, store: Path, size: int) -> Outcome:
    """Write the array of the series of a scan that is to be judged.

    A zip is unpacked beside the arrays and removed afterwards.

    Raises
    ------
    TrainingError
        If the disk is full. A scan without a usable series is an outcome.
    """
    if all(place.is_dir() for place in scan.places):
        return _bake_folders(scan, scan.places, store, size)
    space = store / UNPACKED
    with writing(space):
        space.mkdir(exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f"{scan.name}-", dir=space))
    try:
        unpack(scan.places[0], folder)
        return _bake_folders(scan, (folder,), store, size)
    except UnsafeZipError as error:
        return Outcome(None, (Skipped("scan", scan.name, str(error)),))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class UnsafeZipError(TrainingError):
    """A zip is damaged or is not to be unpacked."""


def unpack(path: Path, folder: Path) -> None:
    """Unpack a zip whole, or not at all.

    Raises
    ------
    UnsafeZipError
        If it is damaged or encrypted, or a member is a link, would lie outside
        of the folder, or all together would fill a disk.
    TrainingError
        If the disk is full.
    """
    try:
        with zipfile.ZipFile(path) as packed:
            members = packed.infolist()
            problem = next((p for p in map(_problem, members) if p), "")
            if not problem and sum(m.file_size for m in members) > _MOST_BYTES:
                problem = f"would take more than {_MOST_BYTES // 2**30} GB"
            if not problem and len(members) > _MOST_FILES:
                problem = f"has more than {_MOST_FILES} files"
            if problem:
                raise UnsafeZipError(f"{path.name} is refused: {problem}")
            for member in members:
                with writing(folder):
                    packed.extract(member, folder)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise UnsafeZipError(f"{path.name} cannot be unpacked: {first_line(error)}") from error


def _problem(member: zipfile.ZipInfo) -> str:
    name = PurePosixPath(member.filename.replace("\\", "/"))
    if name.is_absolute() or ".." in name.parts or ":" in name.parts[0:1]:
        return f"{member.filename} would lie outside of its folder"
    if stat.S_ISLNK(member.external_attr >> 16):
        return f"{member.filename} is a link"
    if member.flag_bits & 1:
        return "it is encrypted"
    return ""


def _bake_folders(scan: Scan, folders: Iterable[Path], store: Path, size: int) -> Outcome:
    skipped: list[Skipped] = []
    series: dict[str, list[tuple[Path, Dataset]]] = defaultdict(list)
    seen: set[str] = set()
    for folder in folders:
        for relative in listed(folder):
            path = folder / relative
            try:
                header = read_header(path)
                name = str(header.get("SeriesInstanceUID") or "")
                uid = str(header.get("SOPInstanceUID") or path)
            except Exception as error:  # a hostile file can raise anything when it is asked
                skipped.append(Skipped("file", f"{scan.name}/{relative}", first_line(error)))
                continue
            if uid not in seen:
                series[name].append((path, header))
                seen.add(uid)
    candidates, unusable = _candidates(series)
    skipped += [Skipped("series", f"{scan.name}: {name}", why) for name, why in unusable]
    best, verdicts = choose(candidates)
    skipped += [_not_chosen(scan, verdict) for verdict in verdicts if verdict is not best]
    if best is None:
        nothing = "no series that is plain axial head CT" if verdicts else "no readable CT series"
        return Outcome(None, (*skipped, Skipped("scan", scan.name, nothing)))
    task = Task(
        name=best.candidate.name,
        signature=scan.signature,
        patient=scan.name,
        study=scan.name,
        paths=tuple(path for path, _ in series[best.candidate.name]),
        keys={},
        slab_mm=PREFERRED_MM,
    )
    outcome = renamed(bake(task, store, size), scan.name, scan.signature, skipped)
    if outcome.baked is None:
        return Outcome(
            None,
            (*outcome.skipped, Skipped("scan", scan.name, "its series cannot be read")),
        )
    return outcome


def _not_chosen(scan: Scan, verdict: Verdict) -> Skipped:
    why = "; ".join(verdict.reasons)
    said = f"another one is better ({why})" if verdict.is_usable else why
    return Skipped("series", f"{scan.name}: {verdict.candidate.called}", said)


def _candidates(
    series: dict[str, list[tuple[Path, Dataset]]],
) -> tuple[list[Candidate], list[tuple[str, str]]]:
    found: list[Candidate] = []
    unusable: list[tuple[str, str]] = []
    for name, members in series.items():
        if not is_file_name(name) or not name:
            unusable.append((name, "its identifier cannot name a file"))
            continue
        frames: list[Frame] = []
        for path, header in members:
            try:
                frames.extend(read_frames(header, path))
            except SeriesError:
                continue  # told of again if the series is chosen
        try:
            found.append(_candidate(name, *members[0], frames))
        except SeriesError as error:
            unusable.append((str(members[0][1].get("SeriesDescription") or name), str(error)))
    return found, unusable


def _candidate(name: str, path: Path, header: Dataset, frames: list[Frame]) -> Candidate:
    arrangement = arrange(frames)
    positions, plane = arrangement.positions_mm, arrangement.frames[0].plane
    image_type = header.get("ImageType") or []
    return Candidate(
        name=name,
        description=str(header.get("SeriesDescription") or "").strip(),
        folder=path.parent.name,
        slices=len(positions),
        spacing_mm=arrangement.spacing.typical_mm,
        extent_mm=positions[-1] - positions[0],
        tilt_deg=plane.tilt_deg if plane else 0.0,
        kernel=str(header.get("ConvolutionKernel") or ""),
        image_type=tuple(
            str(value).upper()
            for value in ([image_type] if isinstance(image_type, str) else image_type)
        ),
        modality=str(header.get("Modality") or ""),
        contrast_agent=str(header.get("ContrastBolusAgent") or ""),
        window_width=(numbers(header, "WindowWidth") or (0.0,))[0],
        number=int((numbers(header, "SeriesNumber") or (0,))[0]),
    )
