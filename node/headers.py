"""The headers of a series as a whole: what assemble decides on and analyze goes on from."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydicom.dataset import Dataset

from ml.errors import GeometryError, SeriesError
from ml.file import Allowance
from ml.frames import read_frames, read_header
from ml.limits import MOST_HEADERS
from ml.series import Arrangement, arrange


@dataclass(frozen=True)
class SeriesHeaders:
    """The headers of a series, read once.

    Parameters
    ----------
    headers : tuple of pydicom.Dataset
        One for each readable file, without pixel data.
    files : tuple of pathlib.Path
        The files that these were read from.
    arrangement : Arrangement, optional
        None if the slices cannot be ordered.
    warnings : tuple of str
        Files that could not be read.
    """

    headers: tuple[Dataset, ...]
    files: tuple[Path, ...]
    arrangement: Arrangement | None
    warnings: tuple[str, ...] = ()


def read_headers(paths: Sequence[Path]) -> SeriesHeaders:
    """Read the headers of a series and put its slices in order."""
    headers, files, frames, warnings = [], [], [], []
    allowance = Allowance(MOST_HEADERS)
    for path in paths:
        try:
            header = read_header(path, allowance)
            frames += read_frames(header, path)
        except SeriesError as error:
            warnings.append(str(error))
        else:
            headers.append(header)
            files.append(path)
    try:
        arrangement = arrange(frames)
    except GeometryError:
        arrangement = None
    return SeriesHeaders(tuple(headers), tuple(files), arrangement, tuple(warnings))
