"""What hundreds of thousands of files say they are, read once and noted in a table."""

import csv
import io
import os
from dataclasses import astuple, dataclass, fields
from functools import partial
from pathlib import Path
from sys import intern

from ml.errors import SeriesError
from ml.frames import numbers, read_header
from training import cli
from training.errors import TrainingError
from training.files import whole, writing
from training.jobs import mapped

TABLE = "headers.csv"

_SAFE = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")


@dataclass(frozen=True, slots=True)
class Header:
    """What sorts a file into a series.

    Parameters
    ----------
    path : str
        Below the folder of images.
    size, modified : int
        Of the file: bytes, and nanoseconds since the epoch.
    sop_instance_uid, patient, study, series : str
        As the file has them; RSNA's are no valid UIDs.
    modality : str
        Empty where it does not say.
    frames : int
        More than 1 in a multi-frame image.
    rows, columns : int
        0 where it does not say.
    """

    path: str
    size: int
    modified: int
    sop_instance_uid: str
    patient: str
    study: str
    series: str
    modality: str
    frames: int
    rows: int
    columns: int

    @property
    def stem(self) -> str:
        """The name of the file without folder and suffix."""
        return Path(self.path).stem


_COLUMNS = [field.name for field in fields(Header)]


@dataclass(frozen=True, slots=True)
class Skipped:
    """Something that is not in the store.

    Parameters
    ----------
    kind : str
        ``file``, ``slice``, ``series``, ``scan`` or ``label``.
    name, reason : str
    """

    kind: str
    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class State:
    """What tells a file from one that was changed.

    Parameters
    ----------
    size, modified : int
        Bytes, and nanoseconds since the epoch.
    """

    size: int
    modified: int


def is_file_name(identifier: str) -> bool:
    """Whether an identifier from a header can name a file and nothing else."""
    return _SAFE.issuperset(identifier) and not identifier.startswith(".") and len(identifier) < 200


def listed(images: Path) -> dict[str, State]:
    """Every file below a folder, by its path from there.

    Hidden files are left out; links are followed to files only, so that none can
    lead in circles.
    """
    found: dict[str, State] = {}
    folders = [""]
    while folders:
        folder = folders.pop()
        with os.scandir(images / folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                path = f"{folder}{entry.name}"
                if entry.is_dir(follow_symlinks=False):
                    folders.append(f"{path}/")
                elif entry.is_file():
                    found[path] = state(entry)
    return dict(sorted(found.items()))


def state(entry: os.DirEntry[str] | Path) -> State:
    """The state of a file."""
    found = entry.stat()
    return State(found.st_size, found.st_mtime_ns)


def read_one(path: str, state: State, images: Path) -> Header | Skipped:
    """Read what sorts one file into a series, or say why it belongs to none."""
    try:
        if state.size == 0:
            return Skipped("file", path, "empty")
        header = read_header(images / path)
        frames, rows, columns = (
            int((numbers(header, keyword) or (0,))[0])
            for keyword in ("NumberOfFrames", "Rows", "Columns")
        )
        texts = (
            _text(header.get(keyword))
            for keyword in (
                "SOPInstanceUID",
                "PatientID",
                "StudyInstanceUID",
                "SeriesInstanceUID",
                "Modality",
            )
        )
        return Header(path, state.size, state.modified, *texts, frames, rows, columns)
    except SeriesError as error:
        return Skipped("file", path, str(error))
    except Exception as error:  # values are decoded when they are asked for
        return Skipped("file", path, f"odd header: {type(error).__name__}")


def _text(value: object) -> str:
    """One printable line, safe in a table."""
    return "".join(c for c in str(value or "") if c.isprintable()).strip()


def read_headers(images: Path, table: Path, jobs: int) -> tuple[list[Header], list[Skipped]]:
    """Read the header of every file below a folder that the table does not have yet.

    Parameters
    ----------
    images : pathlib.Path
    table : pathlib.Path
        Grows while headers are read; what is there of files that are gone or
        have changed is passed over. Files that cannot be read are not
        noted, so that a mended one is seen.
    jobs : int
        Processes.

    Returns
    -------
    list of Header
        In the order of their paths.
    list of Skipped
        Files that cannot be read.

    Raises
    ------
    TrainingError
        If there is no file, or the table cannot be written.
    """
    files = listed(images)
    if not files:
        raise TrainingError(f"{images}: no files in it")
    known = {
        header.path: header
        for header in _noted(table)
        if files.get(header.path) == State(header.size, header.modified)
    }
    missing = [path for path in files if path not in known]
    skipped = []
    states = (files[path] for path in missing)
    read = mapped(partial(read_one, images=images), missing, states, jobs=jobs, chunk=64)
    with (
        writing(table),
        table.open("a", newline="", encoding="utf-8", errors="surrogateescape") as file,
    ):
        noted = csv.writer(file, lineterminator="\n")
        with cli.progress("Headers", len(missing)) as advance:
            for one in read:
                advance()
                if isinstance(one, Skipped):
                    skipped.append(one)
                else:
                    known[one.path] = one
                    noted.writerow(astuple(one))
    return [known[path] for path in files if path in known], skipped


def _noted(table: Path) -> list[Header]:
    """The lines of the table; one that was cut by a kill is taken off."""
    heading = ",".join(_COLUMNS)
    if table.is_file():
        with table.open("rb+") as file:
            content = file.read()
            kept = content.rfind(b"\n") + 1
            file.truncate(kept)
        text = content[:kept].decode("utf-8", "surrogateescape")
        try:
            if text.startswith(heading):
                rows = csv.reader(io.StringIO(text[len(heading) + 1 :], newline=""))
                return [_parsed(*row) for row in rows]
        except (ValueError, TypeError, csv.Error):
            pass  # it holds nothing that cannot be read again
    with whole(table) as file:
        file.write(heading.encode() + b"\n")
    return []


def _parsed(
    path: str,
    size: str,
    modified: str,
    uid: str,
    patient: str,
    study: str,
    series: str,
    modality: str,
    frames: str,
    rows: str,
    columns: str,
) -> Header:
    names = (intern(text) for text in (patient, study, series, modality))
    return Header(path, int(size), int(modified), uid, *names, int(frames), int(rows), int(columns))
