"""What a case of bad input is, and how it is made from a good series."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cache
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory

import pydicom
from pydicom.dataset import FileDataset

from ml.labels import Label
from ml.phantom import make_phantom, write_dicom

SLICES = 12
"""Of the good series that all cases are made from."""

BAD = 5
"""The slice that is the bad one, where only one is."""

Images = list[FileDataset]
Change = Callable[[FileDataset, int], object]
"""Alters an image in place; gets its index too."""


class End(Enum):
    """What becomes of a series."""

    ANALYZED = "analyzed"
    WARNED = "analyzed, with a warning"
    SKIPPED = "skipped"
    FAILED = "failed"
    UNREADABLE = "no series found"


@dataclass(frozen=True)
class Case:
    """A series of files, and what has to become of it.

    Parameters
    ----------
    name : str
        Short and unique.
    what : str
        What is bad about it.
    make : callable
        From the images of a good series to the contents of the files.
    end : End
    says : str
        In the reason or in a warning.
    refused : int
        Files that C-STORE does not take: they go to the quarantine.
    is_judged : bool
        By the model; else the series is only read, put in order and decoded.
    """

    name: str
    what: str
    make: Callable[[Images], list[bytes]]
    end: End
    says: str = ""
    refused: int = 0
    is_judged: bool = True


@cache
def _good_files() -> tuple[bytes, ...]:
    """The middle of a small head with a bleed."""
    with TemporaryDirectory() as folder:
        phantom = make_phantom(11, size=64, findings=(Label.INTRAPARENCHYMAL,))
        files = write_dicom(phantom, Path(folder))
        start = (len(files) - SLICES) // 2
        return tuple(path.read_bytes() for path in files[start : start + SLICES])


def good_images() -> Images:
    """The images of a good series, to be altered."""
    return [pydicom.dcmread(BytesIO(content)) for content in _good_files()]


def encode(image: FileDataset) -> bytes:
    """An image as a file."""
    content = BytesIO()
    image.save_as(content)
    return content.getvalue()


def encoded(images: Sequence[FileDataset]) -> list[bytes]:
    """Images as files."""
    return [encode(image) for image in images]


def changed(change: Change) -> Callable[[Images], list[bytes]]:
    """Make every image bad."""

    def make(images: Images) -> list[bytes]:
        for index, image in enumerate(images):
            change(image, index)
        return encoded(images)

    return make


def one_changed(change: Callable[[FileDataset], object]) -> Callable[[Images], list[bytes]]:
    """Make one image bad."""

    def make(images: Images) -> list[bytes]:
        change(images[BAD])
        return encoded(images)

    return make


def rewritten(rewrite: Callable[[bytes], bytes]) -> Callable[[Images], list[bytes]]:
    """Make the encoded form of every image bad."""
    return lambda images: [rewrite(content) for content in encoded(images)]


def one_rewritten(
    rewrite: Callable[[bytes], bytes], before: Change | None = None
) -> Callable[[Images], list[bytes]]:
    """Make the encoded form of one image bad; `before` is done to all."""

    def make(images: Images) -> list[bytes]:
        for index, image in enumerate(images):
            if before is not None:
                before(image, index)
        contents = encoded(images)
        contents[BAD] = rewrite(contents[BAD])
        return contents

    return make


def attributes(**values: object) -> Callable[[Images], list[bytes]]:
    """Set attributes of every image; None deletes one."""

    def change(image: FileDataset, _index: int) -> None:
        for keyword, value in values.items():
            if value is None:
                del image[keyword]
            else:
                setattr(image, keyword, copy.deepcopy(value))

    return changed(change)
