"""The files of a series to an ordered volume in HU.

Reading goes in two steps, so that a decision can be taken on headers alone:
`read_frames` and `arrange` need no pixel; `load_volume` decodes what was kept.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.pixels.utils import iter_pixels
from pydicom.uid import DeflatedExplicitVRLittleEndian

from ml.errors import GeometryError, PixelError, SeriesError, first_line
from ml.geometry import ImagePlane, Spacing
from ml.pixels import Scaling, padding_range

MOST_UNDECODABLE = 0.1
"""Share of a series' slices that may be missing before it is given up."""


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
    is_deflated : bool
        The whole dataset is compressed, not the frame.
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
    is_deflated: bool = False

    @property
    def name(self) -> str:
        """What a message calls this frame."""
        number = "" if self.frame_number is None else f" frame {self.frame_number}"
        return f"{self.sop_instance_uid}{number}"


@dataclass(frozen=True)
class Slice:
    """One slice of a volume."""

    sop_instance_uid: str
    frame_number: int | None
    instance_number: int | None
    position_mm: float


@dataclass(frozen=True)
class LeftOut:
    """A slice that is not in the volume, and why."""

    name: str
    reason: str

    def __str__(self) -> str:
        return f"slice {self.name} left out: {self.reason}"


@dataclass(frozen=True)
class Arrangement:
    """The frames of a series from foot to head.

    Parameters
    ----------
    frames : tuple of Frame
        Of one orientation and size.
    positions_mm : tuple of float
        Along the normal, growing.
    left_out : tuple of LeftOut
        Frames that do not belong to the stack.
    warnings : tuple of str
        What is odd about the stack.
    """

    frames: tuple[Frame, ...]
    positions_mm: tuple[float, ...]
    left_out: tuple[LeftOut, ...]
    warnings: tuple[str, ...]

    @property
    def spacing(self) -> Spacing:
        """Steps along the normal."""
        return Spacing.of(self.positions_mm)


@dataclass(frozen=True)
class Volume:
    """A series as the model sees it, slices from foot to head.

    Parameters
    ----------
    hu : numpy.ndarray
        int16, shape (n, rows, columns), HU.
    slices : tuple of Slice
        One for each of the n slices.
    spacing_mm : tuple of 2 float, optional
        Between rows, between columns.
    left_out : tuple of LeftOut
        Slices of the series that are not in `hu`.
    warnings : tuple of str
        What a reader of the result has to know.
    """

    hu: np.ndarray
    slices: tuple[Slice, ...]
    spacing_mm: tuple[float, float] | None = None
    left_out: tuple[LeftOut, ...] = ()
    warnings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.hu.ndim != 3 or self.hu.dtype != np.int16 or len(self.hu) != len(self.slices):
            raise SeriesError(
                f"a volume needs int16 HU of shape (n, rows, columns) and n slices, "
                f"not {self.hu.dtype} {self.hu.shape} and {len(self.slices)}"
            )

    def __len__(self) -> int:
        return len(self.slices)


# -- headers ---------------------------------------------------------------


def read_header(path: Path) -> Dataset:
    """Read a file up to its pixel data.

    Raises
    ------
    SeriesError
        If the file is not DICOM or ends inside its header.
    """
    try:
        return pydicom.dcmread(path, stop_before_pixels=True)
    except Exception as error:  # a hostile file can raise anything from the parser
        raise SeriesError(f"{path.name} cannot be read as DICOM: {first_line(error)}") from error


def read_frames(header: Dataset, path: Path) -> list[Frame]:
    """Describe every frame of an image.

    Parameters
    ----------
    header : pydicom.Dataset
        A CT, Enhanced CT or Legacy Converted Enhanced CT image; pixel data is
        not needed.
    path : pathlib.Path
        The file it was read from.

    Raises
    ------
    SeriesError
        If an attribute is of a kind that it cannot be.
    """
    try:
        return _frames(header, path)
    except Exception as error:  # values are decoded when they are asked for
        raise SeriesError(f"{path.name}: odd header: {first_line(error)}") from error


def _frames(header: Dataset, path: Path) -> list[Frame]:
    if "PerFrameFunctionalGroupsSequence" not in header:
        return [_frame(header, path, None, _flat_group(header))]
    shared = header.get("SharedFunctionalGroupsSequence") or [Dataset()]
    return [
        _frame(header, path, number, _functional_group(per_frame, shared[0]))
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


def _frame(header: Dataset, path: Path, number: int | None, group: _Group) -> Frame:
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
        is_deflated=_syntax(header) == DeflatedExplicitVRLittleEndian,
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
    many = value if isinstance(value, (list, tuple, pydicom.multival.MultiValue)) else [value]
    return [str(v) for v in many]


def numbers(dataset: Dataset, keyword: str) -> tuple[float, ...] | None:
    """The numbers of an attribute, or None where it is absent, empty or not numeric."""
    try:
        value = dataset.get(keyword)
        if value is None or value == "":
            return None
        values = value if isinstance(value, (list, tuple, pydicom.multival.MultiValue)) else [value]
        return tuple(float(v) for v in values) or None
    except Exception:  # a value that its VR does not allow can raise anything when decoded
        return None


def _integer(dataset: Dataset, keyword: str) -> int | None:
    values = numbers(dataset, keyword)
    return int(values[0]) if values and math.isfinite(values[0]) else None


def _pair(dataset: Dataset, keyword: str) -> tuple[float, float] | None:
    values = numbers(dataset, keyword)
    if values is None or len(values) != 2 or not all(math.isfinite(v) and v > 0 for v in values):
        return None
    return values[0], values[1]


# -- order -----------------------------------------------------------------


def arrange(frames: Sequence[Frame]) -> Arrangement:
    """Order the frames of a series from foot to head.

    The stack is what shares the most common orientation and size; frames of
    another one (a localizer, a stray reformat) are left out by name.

    Raises
    ------
    GeometryError
        If no frame has a usable position and orientation.
    """
    left_out: list[LeftOut] = []
    kept: list[tuple[Frame, ImagePlane]] = []
    for frame in frames:
        if frame.is_localizer:
            left_out.append(LeftOut(frame.name, "a localizer"))
        elif frame.plane is None:
            left_out.append(LeftOut(frame.name, "no usable image position or orientation"))
        else:
            kept.append((frame, frame.plane))
    if not kept:
        raise GeometryError(
            "no slice has a usable Image Position (Patient) and Image Orientation (Patient)"
        )

    main = _most_common_plane([plane for _, plane in kept])
    sizes = Counter((f.rows, f.columns) for f, plane in kept if plane.is_parallel(main))
    size = sizes.most_common(1)[0][0]
    stack: list[tuple[float, Frame]] = []
    for frame, plane in kept:
        if not plane.is_parallel(main):
            left_out.append(LeftOut(frame.name, "another orientation than the stack"))
        elif (frame.rows, frame.columns) != size:
            left_out.append(
                LeftOut(
                    frame.name, f"{frame.rows} x {frame.columns}, the stack {size[0]} x {size[1]}"
                )
            )
        else:
            stack.append((plane.along(main.normal), frame))
    stack.sort(key=lambda item: (item[0], item[1].instance_number or 0, item[1].name))

    positions = tuple(position for position, _ in stack)
    ordered = tuple(frame for _, frame in stack)
    return Arrangement(
        ordered,
        positions,
        tuple(left_out),
        (*_frame_warnings(ordered), *_spacing_warnings(positions)),
    )


def _most_common_plane(planes: Sequence[ImagePlane]) -> ImagePlane:
    rounded = Counter(tuple(round(c, 2) + 0.0 for c in plane.orientation) for plane in planes)
    most_common = rounded.most_common(1)[0][0]
    return next(p for p in planes if tuple(round(c, 2) + 0.0 for c in p.orientation) == most_common)


def _frame_warnings(frames: Sequence[Frame]) -> list[str]:
    counts = Counter(warning for frame in frames for warning in frame.warnings)
    return [text if n == len(frames) else f"{text} ({n} slices)" for text, n in counts.items()]


def _spacing_warnings(positions_mm: Sequence[float]) -> list[str]:
    spacing = Spacing.of(positions_mm)
    warnings = []
    if spacing.shared:
        warnings.append(f"{spacing.shared} slices share a position with another one")
    if spacing.has_gap:
        warnings.append(
            f"uneven steps: {spacing.least_mm:.1f} to {spacing.most_mm:.1f} mm, "
            f"typically {spacing.typical_mm:.1f} mm; slices may be missing"
        )
    return warnings


# -- pixels ----------------------------------------------------------------


def load_series(paths: Iterable[Path]) -> Volume:
    """Read the files of one series into a volume.

    Raises
    ------
    SeriesError
        If the series cannot be ordered, or too much of it cannot be decoded.
    """
    frames = [frame for path in paths for frame in read_frames(read_header(path), path)]
    return load_volume(arrange(frames))


def load_volume(arrangement: Arrangement) -> Volume:
    """Decode the frames of an arrangement.

    A slice that cannot be decoded is left out and named as long as both its
    neighbours are there and at most `MOST_UNDECODABLE` of the stack is lost.

    Raises
    ------
    PixelError
        If more is lost than that.
    """
    frames = arrangement.frames
    # No memory before the first slice is there: the header alone may say 65535 x 65535.
    hu = np.empty((0, 0, 0), dtype=np.int16)
    lost: dict[int, str] = {}
    for index, frame in enumerate(frames):
        try:
            decoded = decode(frame)
        except PixelError as error:
            lost[index] = str(error)
            continue
        if len(hu) == 0:
            hu = np.empty((len(frames), *decoded.shape), dtype=np.int16)
        hu[index] = decoded
    left_out = [LeftOut(frames[index].name, reason) for index, reason in lost.items()]
    if not is_bearable(lost.keys(), len(frames)):
        names = "; ".join(str(item) for item in left_out[:5])
        more = f"; and {len(left_out) - 5} more" if len(left_out) > 5 else ""
        raise PixelError(f"{len(lost)} of {len(frames)} slices cannot be decoded: {names}{more}")

    kept = [index for index in range(len(frames)) if index not in lost]
    left_out = [*arrangement.left_out, *left_out]
    return Volume(
        hu=hu[kept] if lost else hu,
        slices=tuple(
            Slice(
                frames[i].sop_instance_uid,
                frames[i].frame_number,
                frames[i].instance_number,
                arrangement.positions_mm[i],
            )
            for i in kept
        ),
        spacing_mm=frames[0].spacing_mm,
        left_out=tuple(left_out),
        warnings=(*arrangement.warnings, *(str(item) for item in left_out)),
    )


def is_bearable(lost: Iterable[int], total: int) -> bool:
    """Whether a stack of `total` slices can be judged without the slices `lost`."""
    missing = set(lost)
    lonely = all(
        0 <= neighbour < total and neighbour not in missing
        for index in missing
        for neighbour in (index - 1, index + 1)
    )
    return lonely and len(missing) <= MOST_UNDECODABLE * total


def decode(frame: Frame) -> np.ndarray:
    """Decode one frame.

    Returns
    -------
    numpy.ndarray
        int16, shape (rows, columns), HU.

    Raises
    ------
    PixelError
        If the pixel data is missing, short, broken or not grey-scale.
    """
    if frame.scaling is None:
        raise PixelError(frame.warnings[-1] if frame.warnings else "no usable rescale values")
    index = (frame.frame_number or 1) - 1
    try:
        # Frames are found in the file itself, but not in one that is deflated as a whole.
        source = pydicom.dcmread(frame.path) if frame.is_deflated else frame.path
        stored = next(iter_pixels(source, indices=[index]))
    except Exception as error:  # decoders raise whatever their C libraries do
        raise PixelError(f"pixel data cannot be decoded ({first_line(error)})") from error
    if stored.shape != (frame.rows, frame.columns) or stored.dtype.kind not in "iu":
        raise PixelError(
            f"decoded to {stored.dtype} {stored.shape}, "
            f"the header says integers {(frame.rows, frame.columns)}"
        )
    return frame.scaling.to_hu(stored)
