"""The headers of a series as a whole: what assemble decides on and analyze goes on from."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence as DicomSequence

from ml.errors import GeometryError, SeriesError
from ml.file import Allowance
from ml.frames import Frame, read_image
from ml.limits import MOST_HEADERS
from ml.series import Arrangement, arrange

T = TypeVar("T")

LONGEST_TEXT = 1024
"""Characters of an attribute that are looked at: a description has 64 (PS3.5, 6.2)."""


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
    headers: list[Dataset] = []
    files: list[Path] = []
    frames: list[Frame] = []
    warnings: list[str] = []
    allowance = Allowance(MOST_HEADERS)
    for path in paths:
        try:
            header, described = read_image(path, allowance)
        except SeriesError as error:
            warnings.append(str(error))
        else:
            headers.append(header)
            files.append(path)
            frames += described
    try:
        arrangement = arrange(frames)
    except GeometryError:
        arrangement = None
    return SeriesHeaders(tuple(headers), tuple(files), arrangement, tuple(warnings))


def read_headers_beside(paths: Sequence[Path], work: Callable[[], T]) -> tuple[SeriesHeaders, T]:
    """Read the headers of a series while another thread does something else.

    To parse takes Python, to digest takes none: on two cores they go on at the same time.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="beside") as pool:
        done = pool.submit(work)
        return read_headers(paths), done.result()


def text(dataset: Dataset, keyword: str) -> str:
    """An attribute as text, empty where it is absent or cannot be read."""
    try:
        value = dataset.get(keyword)
    except Exception:  # a value that its VR does not allow can raise anything when decoded
        return ""
    if value is None or isinstance(value, DicomSequence):
        return ""
    if isinstance(value, (MultiValue, list, tuple)):
        value = "\\".join(str(item) for item in value)
    # PostgreSQL takes no NUL in a text; and patterns are slow on what was meant to slow them.
    return str(value)[:LONGEST_TEXT].replace("\0", " ").strip()
