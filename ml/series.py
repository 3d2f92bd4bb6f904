"""The frames of a series to an ordered volume in HU.

Reading goes in two steps, so that a decision can be taken on headers alone:
`ml.frames.read_frames` and `arrange` need no pixel; `load_volume` decodes what
was kept.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ml.errors import GeometryError, PixelError, SeriesError
from ml.frames import Frame, decode_frames, read_image
from ml.geometry import ImagePlane, Spacing
from ml.limits import MOST_VOXELS

MOST_UNDECODABLE = 0.1
"""Share of a series' slices that may be missing before it is given up."""


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
    frames = [frame for path in paths for frame in read_image(path)[1]]
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
    with closing(decode_frames(frames)) as all_decoded:
        for index, decoded in enumerate(all_decoded):
            if isinstance(decoded, PixelError):
                lost[index] = str(decoded)
                continue
            if len(hu) == 0:
                if len(frames) * decoded.size > MOST_VOXELS:
                    raise PixelError(
                        f"{len(frames)} slices of {decoded.shape} are too large: "
                        f"at most {MOST_VOXELS} pixels in all"
                    )
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
