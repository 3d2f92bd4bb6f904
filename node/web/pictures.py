"""Captures as PNG: what was sent to the archive, for a browser."""

import threading
from functools import lru_cache
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.pixels.utils import pixel_array

from ml.errors import PixelError, SeriesError, first_line
from ml.file import read_up_to_pixels
from ml.limits import MOST_PIXELS

KEPT = 128
"""Pictures that are kept in memory, as PNG; some 80 kB each."""

_AT_ONCE = threading.Semaphore(2)
"""Pictures that are decoded at the same time: each takes some MB meanwhile."""

_TAGS = ("SamplesPerPixel", "Rows", "Columns", "BitsAllocated", "NumberOfFrames")


def png(path: Path, frame: int = 0) -> bytes:
    """A frame of a capture as PNG.

    Parameters
    ----------
    path : pathlib.Path
    frame : int
        From 0.

    Raises
    ------
    FileNotFoundError
        If it is not there any more.
    PixelError
        If it cannot be decoded.
    """
    status = path.stat()
    return _png(path, frame, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=KEPT)
def _png(path: Path, frame: int, _modified: int, _size: int) -> bytes:
    with _AT_ONCE:
        picture = _decode(path, frame)
        encoded = BytesIO()
        Image.fromarray(picture).save(encoded, format="PNG", compress_level=4)
    return encoded.getvalue()


def _decode(path: Path, frame: int) -> np.ndarray:
    try:
        with path.open("rb") as file:
            header, _ = read_up_to_pixels(file, tags=_TAGS)
        _check(header, frame)
        return np.asarray(pixel_array(path, index=frame))
    except (FileNotFoundError, PixelError):
        raise
    except SeriesError as error:
        raise PixelError(str(error)) from error
    except Exception as error:  # decoders raise whatever their C libraries do
        raise PixelError(f"pixel data cannot be decoded ({first_line(error)})") from error


def _check(header: Dataset, frame: int) -> None:
    """Look at what is to be decoded before any memory is taken for it."""
    frames = int(header.get("NumberOfFrames", 1) or 1)
    if not 0 <= frame < frames or header.Rows * header.Columns > MOST_PIXELS:
        raise PixelError(f"frame {frame + 1} of {frames}, {header.Rows} x {header.Columns}")
    if header.SamplesPerPixel != 3 or header.BitsAllocated != 8:
        raise PixelError("this is no colour picture")
