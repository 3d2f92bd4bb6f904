"""The stored values of one frame, read from its file within limits."""

import io
import struct
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
from pydicom.dataelem import RawDataElement
from pydicom.dataset import FileDataset
from pydicom.encaps import get_frame
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.utils import as_pixel_options
from pydicom.tag import BaseTag, Tag
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from ml.codestream import declared_size, is_cut_short
from ml.errors import PixelError, SeriesError, first_line
from ml.file import read_up_to_pixels
from ml.limits import MOST_PIXELS

NATIVE = frozenset(
    {
        ImplicitVRLittleEndian,
        ExplicitVRLittleEndian,
        ExplicitVRBigEndian,
        DeflatedExplicitVRLittleEndian,
    }
)
"""Transfer syntaxes whose frames need no decoder (PS3.5, A)."""

_TAGS = (
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "PlanarConfiguration",
    "NumberOfFrames",
    "Rows",
    "Columns",
    "BitsAllocated",
    "BitsStored",
    "PixelRepresentation",
    "ExtendedOffsetTable",
    "ExtendedOffsetTableLengths",
)
"""What pydicom's decoders go by (PS3.3, C.7.6.3)."""

_DIRECT = frozenset({ImplicitVRLittleEndian, ExplicitVRLittleEndian})
"""Transfer syntaxes whose pixels of 16 bits are read as they lie in the file."""

_NUMBERS = {
    Tag(keyword): name
    for keyword, name in {
        "SamplesPerPixel": "samples_per_pixel",
        "Rows": "rows",
        "Columns": "columns",
        "BitsAllocated": "bits_allocated",
        "BitsStored": "bits_stored",
        "PixelRepresentation": "pixel_representation",
    }.items()
}
_PHOTOMETRIC, _FRAMES, _OFFSETS = map(
    Tag, ("PhotometricInterpretation", "NumberOfFrames", "ExtendedOffsetTable")
)

_inflating = threading.Lock()
"""Held while a frame is read from an inflated file, of which all readers have the same one."""

_UNDEFINED = 0xFFFFFFFF
_PIXEL_DATA = (0x7FE0, 0x0010)


@dataclass(frozen=True)
class Pixels:
    """Where the pixel data of a file begins, and how it is to be read."""

    syntax: UID
    options: Mapping[str, Any]
    start: int
    length: int
    inflated: BinaryIO | None

    @property
    def frame_bytes(self) -> int:
        """Of a frame that is not compressed."""
        bits: int = self.options["rows"] * self.options["columns"] * self.options["bits_allocated"]
        return bits // 8

    @property
    def is_direct(self) -> bool:
        """Whether the frames are what pydicom would make of them, but for bits not stored."""
        limits = {
            "rows": (1, 65535),
            "columns": (1, 65535),
            "number_of_frames": (1, MOST_PIXELS),
            "bits_allocated": (16, 16),
            "bits_stored": (1, 16),
            "pixel_representation": (0, 1),
        }
        return (
            self.syntax in _DIRECT
            and all(_is_within(self.options.get(name), *ends) for name, ends in limits.items())
            and self.options.get("photometric_interpretation") in ("MONOCHROME1", "MONOCHROME2")
        )


def _is_within(value: object, least: int, most: int) -> bool:
    return isinstance(value, int) and least <= value <= most


def find_pixels(header: FileDataset, stream: BinaryIO) -> Pixels | None:
    """Where the pixels are that need no decoder, in a file whose header is just read.

    Parameters
    ----------
    header : pydicom.FileDataset
    stream : binary file
        At the pixel data.

    Returns
    -------
    Pixels, optional
        None if they are elsewhere, compressed or wrong: `stored_frame` tells why.
    """
    try:
        options = _plain_options(header)
        pixels = None if options is None else _pixels(header, options, stream, None)
    except Exception:  # whatever an odd header makes of it
        return None
    return pixels if pixels is not None and pixels.is_direct else None


def _plain_options(header: FileDataset) -> dict[str, Any] | None:
    """What `as_pixel_options` gives for a plain header, several times as fast, else None.

    Nothing is decoded that is longer than it should be: the header may be one of thousands.
    """
    if header.file_meta.get("TransferSyntaxUID") not in _DIRECT:
        return None
    if header.get_item(_OFFSETS) is not None:
        return None
    options: dict[str, Any] = {"number_of_frames": 1}
    for tag, name in _NUMBERS.items():
        options[name] = int.from_bytes(_value(header, tag, "US", 2, 2), "little")
    kind = _value(header, _PHOTOMETRIC, "CS", 1, 16)
    options["photometric_interpretation"] = kind.decode("ascii").rstrip(" \0")
    if header.get_item(_FRAMES) is not None:
        options["number_of_frames"] = int(_value(header, _FRAMES, "IS", 1, 12))
    return options


def _value(header: FileDataset, tag: BaseTag, vr: str, least: int, most: int) -> bytes:
    element: object = header.get_item(tag)
    if not isinstance(element, RawDataElement) or element.VR not in (vr, None):
        raise PixelError(f"{tag} is of another kind than it should be")
    value = element.value or b""
    if not least <= len(value) <= most:
        raise PixelError(f"{tag} has {len(value)} bytes")
    return value


def stored_frame(path: Path, index: int, pixels: Pixels | None = None) -> np.ndarray:
    """Read one frame.

    Parameters
    ----------
    path : pathlib.Path
        A CT image.
    index : int
        Of the frame in its file, from 0.
    pixels : Pixels, optional
        What `find_pixels` has found in it; without it the header is read again.

    Returns
    -------
    numpy.ndarray
        Integers as stored, shape (rows, columns).

    Raises
    ------
    PixelError
        If the pixel data is missing, short, broken, no plain grey-scale, too large, or of
        another size than the header says.
    """
    try:
        if pixels is None:
            status = path.stat()
            pixels = _locate(path, status.st_mtime_ns, status.st_size)
        if pixels.inflated is not None:
            with _inflating:
                return _read(pixels, pixels.inflated, index)
        with path.open("rb") as file:
            return _read(pixels, file, index)
    except PixelError:
        raise
    except SeriesError as error:
        raise PixelError(f"pixel data cannot be decoded: {error}") from error
    except Exception as error:  # decoders raise whatever their C libraries do
        raise PixelError(f"pixel data cannot be decoded ({first_line(error)})") from error


@lru_cache(maxsize=1)  # the frames of an image come one after the other
def _locate(path: Path, _modified: int, _size: int) -> Pixels:
    with path.open("rb") as file:
        header, stream = read_up_to_pixels(file, tags=_TAGS)
        if stream is file:
            return _pixels(header, as_pixel_options(header), stream, None)
    header, stream = read_up_to_pixels(io.BytesIO(path.read_bytes()), tags=_TAGS)
    return _pixels(header, as_pixel_options(header), stream, stream)


def _pixels(
    header: FileDataset, options: dict[str, Any], stream: BinaryIO, inflated: BinaryIO | None
) -> Pixels:
    _check_options(options)
    is_implicit, is_little_endian = header.original_encoding
    order = "<" if is_little_endian else ">"
    group, element = struct.unpack(f"{order}HH", stream.read(4))
    if (group, element) != _PIXEL_DATA:
        raise PixelError("there is no pixel data of integers")
    if not is_implicit:
        options["pixel_vr"] = stream.read(4)[:2].decode("ascii")
    (length,) = struct.unpack(f"{order}L", stream.read(4))
    return Pixels(
        UID(header.file_meta.TransferSyntaxUID),
        options | {"pixel_keyword": "PixelData"},
        stream.tell(),
        length,
        inflated,
    )


def _check_options(options: Mapping[str, Any]) -> None:
    """Look at what is to be decoded before any memory is taken for it."""
    sizes = [options.get(name) for name in ("rows", "columns", "bits_allocated")]
    if not all(isinstance(size, int) and size > 0 for size in sizes):
        raise PixelError(f"rows, columns and bits allocated are {sizes}")
    rows, columns, bits = cast(list[int], sizes)
    if rows * columns > MOST_PIXELS:
        raise PixelError(f"{rows} x {columns} pixels are too many: at most {MOST_PIXELS}")
    if bits not in (8, 16, 32):
        raise PixelError(f"{bits} bits allocated, CT has 16")
    if options.get("samples_per_pixel") != 1:
        raise PixelError(f"{options.get('samples_per_pixel')} samples per pixel, CT has one")


def _read(pixels: Pixels, stream: BinaryIO, index: int) -> np.ndarray:
    stream.seek(pixels.start)
    if pixels.syntax in NATIVE:
        end = (index + 1) * pixels.frame_bytes
        if pixels.length == _UNDEFINED or end > pixels.length:
            raise PixelError(
                f"pixel data of {pixels.length} bytes is too short for frame {index + 1}"
            )
        if pixels.is_direct and (found := _read_direct(pixels, stream, index)) is not None:
            return found
    else:
        _check_codestream(pixels, stream, index)
    array, _ = get_decoder(pixels.syntax).as_array(stream, index=index, **pixels.options)
    return array


def _read_direct(pixels: Pixels, stream: BinaryIO, index: int) -> np.ndarray | None:
    """Read a frame into the array that it becomes; None if it is not there, for pydicom to tell."""
    options = pixels.options
    if index >= options["number_of_frames"]:
        return None
    kind = "<i2" if options["pixel_representation"] else "<u2"
    stored = np.empty((options["rows"], options["columns"]), kind)
    stream.seek(pixels.start + index * pixels.frame_bytes)
    if stream.readinto(stored.data) < stored.nbytes:  # type: ignore[attr-defined]
        stream.seek(pixels.start)
        return None
    if unused := 16 - options["bits_stored"]:  # they may hold anything (PS3.5, 8.1.1)
        stored <<= unused
        stored >>= unused
    return stored


def _check_codestream(pixels: Pixels, stream: BinaryIO, index: int) -> None:
    """Refuse a frame that says itself that it is of another size than the header says."""
    frame = get_frame(
        stream,
        index,
        number_of_frames=pixels.options["number_of_frames"],
        extended_offsets=pixels.options.get("extended_offsets"),
    )
    if is_cut_short(frame):  # the decoder of JPEG-LS makes up what is missing
        raise PixelError("the compressed frame is cut short")
    size = declared_size(frame)
    if size is not None and size != (pixels.options["rows"], pixels.options["columns"]):
        raise PixelError(
            f"the compressed frame is {size[0]} x {size[1]}, "
            f"the header says {pixels.options['rows']} x {pixels.options['columns']}"
        )
