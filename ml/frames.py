"""The files of a series to frames: what a header says of each slice, and its pixels in HU."""

import math
import re
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
import pydicom
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from ml.codec import decode_apart, most_codecs
from ml.errors import PixelError, SeriesError, first_line
from ml.file import Allowance, read_up_to_pixels
from ml.geometry import ImagePlane
from ml.limits import MOST_AHEAD
from ml.pixels import Scaling, padding_range
from ml.stored import NATIVE, Pixels, find_pixels, stored_frame

MOST_BITS = 64
"""Bits Allocated (0028,0100) that pixel data of any kind can have (PS3.5, 8.1.1)."""

LONGEST_NUMBERS = 1024
"""Bytes of an attribute of numbers: the longest that is read here has six of 16 (PS3.5, 6.2)."""

FRAMES_A_PROCESS = 8
"""For how many frames a process to decode them is worth its start, which takes as long as
to decode a dozen JPEG 2000 frames; it stays for the next series."""

FRAMES_A_THREAD = 4
"""For how many frames that need no decoder a thread is worth its start."""


_DECIMAL = rb" *[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)? *"
_DECIMALS = re.compile(rb"%b(\\%b)*" % (_DECIMAL, _DECIMAL))
_INTEGER = re.compile(rb" *[+-]?\d+ *")
"""Values of VR DS and IS as they should be (PS3.5, 6.2)."""


@dataclass(frozen=True)
class Frame:
    """One slice as its header describes it.

    Parameters
    ----------
    path : pathlib.Path
        The file it stands in.
    sop_instance_uid : str
        SOP Instance UID (0008,0018).
    frame_number : int, optional
        From 1 in a multi-frame image; None in a single-frame one.
    instance_number : int, optional
        Instance Number (0020,0013).
    rows, columns : int
        Size in pixels.
    plane : ImagePlane, optional
        None where position or orientation is absent or unusable.
    spacing_mm : tuple of 2 float, optional
        Pixel Spacing (0028,0030): between rows, between columns.
    is_localizer : bool
        The frame's own image type says LOCALIZER.
    scaling : Scaling, optional
        None where the stored values cannot become HU.
    warnings : tuple of str
        What is odd about this frame.
    is_compressed : bool
        It needs a decoder.
    pixels : Pixels, optional
        Where they lie, as far as that was seen when the header was read.
    """

    path: Path
    sop_instance_uid: str
    frame_number: int | None
    instance_number: int | None
    rows: int
    columns: int
    plane: ImagePlane | None
    spacing_mm: tuple[float, float] | None
    is_localizer: bool
    scaling: Scaling | None
    warnings: tuple[str, ...] = ()
    is_compressed: bool = False
    pixels: Pixels | None = field(default=None, compare=False, repr=False)

    @property
    def name(self) -> str:
        """What a message calls this frame."""
        number = "" if self.frame_number is None else f" frame {self.frame_number}"
        return f"{self.sop_instance_uid}{number}"


def read_header(path: Path, allowance: Allowance | None = None) -> Dataset:
    """Read a file up to its pixel data.

    Parameters
    ----------
    path : pathlib.Path
    allowance : Allowance, optional
        Memory that is left to the headers of a series.

    Raises
    ------
    SeriesError
        If the file is not DICOM, ends inside its header or asks for too much memory.
    """
    return _open(path, allowance)[0]


def read_image(path: Path, allowance: Allowance | None = None) -> tuple[Dataset, list[Frame]]:
    """Read a file up to its pixel data and describe every frame.

    As `read_header` and `read_frames` do, but for pixels that need no decoder the frames
    know where they lie: to decode them the header is not read again.
    """
    header, pixels = _open(path, allowance)
    return header, read_frames(header, path, pixels)


def _open(path: Path, allowance: Allowance | None) -> tuple[Dataset, Pixels | None]:
    try:
        with path.open("rb") as file:
            header, stream = read_up_to_pixels(file, allowance=allowance)
            return header, find_pixels(header, stream)
    except OSError as error:
        raise SeriesError(f"{path.name} cannot be read: {error.strerror}") from error
    except SeriesError as error:
        raise SeriesError(f"{path.name}: {error}") from error


def read_frames(header: Dataset, path: Path, pixels: Pixels | None = None) -> list[Frame]:
    """Describe every frame of an image.

    Parameters
    ----------
    header : pydicom.Dataset
        A CT, Enhanced CT or Legacy Converted Enhanced CT image; pixel data is
        not needed.
    path : pathlib.Path
        The file it was read from.
    pixels : Pixels, optional
        Where its pixels are.

    Raises
    ------
    SeriesError
        If an attribute is of a kind that it cannot be.
    """
    try:
        return _frames(header, path, pixels)
    except Exception as error:  # values are decoded when they are asked for
        raise SeriesError(f"{path.name}: odd header: {first_line(error)}") from error


def _frames(header: Dataset, path: Path, pixels: Pixels | None) -> list[Frame]:
    if "PerFrameFunctionalGroupsSequence" not in header:
        return [_frame(header, path, None, _flat_group(header), pixels)]
    shared = header.get("SharedFunctionalGroupsSequence") or [Dataset()]
    return [
        _frame(header, path, number, _functional_group(per_frame, shared[0]), pixels)
        for number, per_frame in enumerate(header.PerFrameFunctionalGroupsSequence, start=1)
    ]


_Group = Callable[[str], Dataset]
"""From the name of a functional group macro to the attributes it holds."""


def _flat_group(header: Dataset) -> _Group:
    return lambda _macro: header


def _functional_group(per_frame: Dataset, shared: Dataset) -> _Group:
    """Look a macro up: what a frame says goes before what all share (PS3.3, C.7.6.16)."""

    def group(macro: str) -> Dataset:
        for place in (per_frame, shared):
            if place.get(macro):
                return place[macro][0]
        return Dataset()

    return group


def _frame(
    header: Dataset, path: Path, number: int | None, group: _Group, pixels: Pixels | None
) -> Frame:
    warnings: list[str] = []
    scaling: Scaling | None = None
    try:
        scaling = _scaling(header, group("PixelValueTransformationSequence"), warnings)
    except PixelError as error:
        warnings.append(str(error))
    image_type = group("CTImageFrameTypeSequence")
    return Frame(
        path=path,
        sop_instance_uid=str(header.get("SOPInstanceUID", "")) or path.stem,
        frame_number=number,
        instance_number=_integer(header, "InstanceNumber"),
        rows=_integer(header, "Rows") or 0,
        columns=_integer(header, "Columns") or 0,
        plane=_plane(group),
        spacing_mm=_pair(group("PixelMeasuresSequence"), "PixelSpacing"),
        is_localizer="LOCALIZER"
        in [*_values(image_type, "FrameType"), *_values(image_type, "ImageType")],
        scaling=scaling,
        warnings=tuple(warnings),
        is_compressed=_syntax(header) not in NATIVE,
        pixels=pixels,
    )


def _syntax(header: Dataset) -> str | None:
    return getattr(header, "file_meta", Dataset()).get("TransferSyntaxUID")


def _plane(group: _Group) -> ImagePlane | None:
    position = numbers(group("PlanePositionSequence"), "ImagePositionPatient")
    orientation = numbers(group("PlaneOrientationSequence"), "ImageOrientationPatient")
    if position is None or orientation is None or len(position) != 3 or len(orientation) != 6:
        return None
    plane = ImagePlane(
        (position[0], position[1], position[2]),
        (*orientation[:3], *orientation[3:]),
    )
    return plane if plane.is_usable() else None


def _scaling(header: Dataset, transformation: Dataset, warnings: list[str]) -> Scaling:
    slope = numbers(transformation, "RescaleSlope")
    intercept = numbers(transformation, "RescaleIntercept")
    if slope is None or intercept is None:
        warnings.append("no rescale slope or intercept: stored values taken as HU")
    bits_allocated = _integer(header, "BitsAllocated") or 16
    if not 1 <= bits_allocated <= MOST_BITS:
        raise PixelError(f"{bits_allocated} bits allocated, CT has 16")
    signed = _integer(header, "PixelRepresentation") == 1
    scaling = Scaling(
        slope=slope[0] if slope else 1.0,
        intercept=intercept[0] if intercept else 0.0,
        bits_stored=_integer(header, "BitsStored") or bits_allocated,
        signed=signed,
        padding=padding_range(
            _integer(header, "PixelPaddingValue"),
            _integer(header, "PixelPaddingRangeLimit"),
            bits_allocated=bits_allocated,
            signed=signed,
        ),
    )
    if slope is not None and scaling.intercept_is_wrong:
        warnings.append(
            f"rescale intercept {scaling.intercept:g} cannot be true for 12 unsigned bits: "
            "stored values taken as wrapped HU"
        )
    photometric = str(header.get("PhotometricInterpretation") or "MONOCHROME2")
    if photometric not in ("MONOCHROME1", "MONOCHROME2"):
        raise PixelError(f"{photometric} pixels are not grey-scale")
    if photometric == "MONOCHROME1":
        warnings.append("MONOCHROME1: HU are taken as stored, only the display is inverted")
    return scaling


def _values(dataset: Dataset, keyword: str) -> list[str]:
    """The values of an attribute as text, be it one or many."""
    value = dataset.get(keyword) or []
    if isinstance(value, pydicom.Sequence):  # which would tell all that is nested in it
        return []
    many = value if isinstance(value, (list, tuple, pydicom.multival.MultiValue)) else [value]
    return [str(v) for v in many]


def numbers(dataset: Dataset, keyword: str) -> tuple[float, ...] | None:
    """The numbers of an attribute, or None where it is absent, empty or not numeric."""
    try:
        element: object = dataset.get_item(_tag(keyword))
        if isinstance(element, RawDataElement) and element.value:
            if len(element.value) > LONGEST_NUMBERS:
                return None
            if (found := _plain_numbers(element, keyword)) is not None:
                return found
        value = dataset.get(keyword)
        if value is None or value == "":
            return None
        values = value if isinstance(value, (list, tuple, pydicom.multival.MultiValue)) else [value]
        return tuple(float(v) for v in values) or None
    except Exception:  # a value that its VR does not allow can raise anything when decoded
        return None


def _plain_numbers(element: RawDataElement, keyword: str) -> tuple[float, ...] | None:
    """What pydicom makes of an encoded value, several times as fast; None where it is not plain."""
    value = element.value or b""
    vr = element.VR or _vr(keyword)
    if vr == "DS" and _DECIMALS.fullmatch(value):
        return tuple(map(float, value.decode("ascii").split("\\")))
    if vr == "IS" and _INTEGER.fullmatch(value):
        return (float(value),)
    if vr == "US" and len(value) == 2:
        return (float(int.from_bytes(value, "little" if element.is_little_endian else "big")),)
    return None


_tag = cache(Tag)
_vr = cache(dictionary_VR)


def _integer(dataset: Dataset, keyword: str) -> int | None:
    values = numbers(dataset, keyword)
    return int(values[0]) if values and math.isfinite(values[0]) else None


def _pair(dataset: Dataset, keyword: str) -> tuple[float, float] | None:
    values = numbers(dataset, keyword)
    if values is None or len(values) != 2 or not all(math.isfinite(v) and v > 0 for v in values):
        return None
    return values[0], values[1]


def decode(frame: Frame) -> np.ndarray:
    """Decode one frame.

    Returns
    -------
    numpy.ndarray
        int16, shape (rows, columns), HU.

    Raises
    ------
    PixelError
        If the pixel data is missing, short, broken, too large or not grey-scale.
    """
    if frame.scaling is None:
        raise PixelError(frame.warnings[-1] if frame.warnings else "no usable rescale values")
    index = (frame.frame_number or 1) - 1
    if frame.is_compressed:
        stored = decode_apart(frame.path, index)
    else:
        stored = stored_frame(frame.path, index, frame.pixels)
    if stored.shape != (frame.rows, frame.columns) or stored.dtype.kind not in "iu":
        raise PixelError(
            f"decoded to {stored.dtype} {stored.shape}, "
            f"the header says integers {(frame.rows, frame.columns)}"
        )
    return frame.scaling.to_hu(stored)


def decode_frames(frames: Sequence[Frame]) -> Generator[np.ndarray | PixelError, None, None]:
    """Decode frames on all cores.

    While the caller takes its time the next ones are decoded, of `ml.limits.MOST_AHEAD`
    pixels at most.

    Yields
    ------
    numpy.ndarray or PixelError
        As `decode` returns or raises it, in the order of the frames.
    """
    largest = max((frame.rows * frame.columns for frame in frames), default=0)
    most = MOST_AHEAD // max(largest, 1)
    compressed = sum(frame.is_compressed for frame in frames)
    worth = -(-compressed // FRAMES_A_PROCESS) if compressed else len(frames) // FRAMES_A_THREAD
    at_once = min(most_codecs(), most, worth)
    if at_once <= 1:
        yield from map(_attempt, frames)
        return
    # While a process decodes there is a frame in HU to be made of what it gave before.
    threads = at_once + 1 if compressed else at_once
    pool = ThreadPoolExecutor(threads, thread_name_prefix="decode")
    ahead: deque[Future[np.ndarray | PixelError]] = deque()
    try:
        for frame in frames:
            if len(ahead) >= min(most, 2 * at_once + 1):
                yield ahead.popleft().result()
            ahead.append(pool.submit(_attempt, frame))
        while ahead:
            yield ahead.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _attempt(frame: Frame) -> np.ndarray | PixelError:
    try:
        return decode(frame)
    except PixelError as error:
        return error
