"""Whether two files of one SOP Instance UID are the same image, written in another way.

A PACS sends on what a scanner has sent: in another transfer syntax at times, and with lengths,
padding and order of bytes of its own. That is no other content. What cannot be read within
limits is not the same.
"""

import time
from io import BytesIO
from pathlib import Path

import numpy as np
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset, FileDataset
from pydicom.filewriter import correct_ambiguous_vr
from pydicom.tag import BaseTag, Tag

from ml.codec import decode_apart
from ml.file import read_up_to_pixels
from ml.stored import NATIVE, stored_frame

MOST_S = 20.0
"""Files whose frames take longer to decode are not compared to the end, seconds."""

_OF_ENCODING = frozenset(map(Tag, ("ExtendedOffsetTable", "ExtendedOffsetTableLengths")))
"""They tell where compressed frames lie (PS3.3, C.7.6.3)."""


def is_same_image(one: Path, other: Path) -> bool:
    """Whether two files have the same elements and the same stored values.

    What stands behind the pixel data is not looked at: the node reads none of it.

    Parameters
    ----------
    one, other : pathlib.Path
        Two files of the same SOP Instance UID.
    """
    try:
        headers = _header(one), _header(other)
        return _have_same_elements(*headers) and _have_same_pixels((one, other), headers)
    except Exception:  # whatever an odd file makes of it
        return False


def _header(path: Path) -> FileDataset:
    header, _ = read_up_to_pixels(BytesIO(path.read_bytes()))
    return header


def _have_same_elements(one: Dataset, other: Dataset) -> bool:
    tags = _told(one)
    if tags != _told(other):
        return False
    unequal = [tag for tag in tags if not _are_equal_as_written(one, other, tag)]
    if not unequal:
        return True
    for dataset in (one, other):  # a VR such as "US or SS" depends on others
        correct_ambiguous_vr(dataset, is_little_endian=dataset.original_encoding[1] is not False)
    return all(_are_equal(one, other, tag) for tag in unequal)


def _told(dataset: Dataset) -> set[BaseTag]:
    """Tags of what a dataset tells; lengths of groups are of its encoding (PS3.5, 7.2)."""
    return {tag for tag in dataset.keys() if tag.element != 0 and tag not in _OF_ENCODING}  # noqa: SIM118


def _are_equal_as_written(one: Dataset, other: Dataset, tag: BaseTag) -> bool:
    """Whether two values are the same bytes, whatever VR they are told to have."""
    first: object = one.get_item(tag)
    second: object = other.get_item(tag)
    return (
        isinstance(first, RawDataElement)
        and isinstance(second, RawDataElement)
        and "SQ" not in (first.VR, second.VR)  # whose items may be written in either way
        and first.is_little_endian == second.is_little_endian
        and (first.value or b"") == (second.value or b"")
    )


def _are_equal(one: Dataset, other: Dataset, tag: BaseTag) -> bool:
    first, second = one[tag], other[tag]
    if first.VR != "SQ" or second.VR != "SQ":
        return first.VR == second.VR and bool(first.value == second.value)
    return len(first.value) == len(second.value) and all(
        map(_have_same_elements, first.value, second.value)
    )


def _have_same_pixels(paths: tuple[Path, Path], headers: tuple[FileDataset, FileDataset]) -> bool:
    deadline = time.monotonic() + MOST_S
    for index in range(int(headers[0].get("NumberOfFrames") or 1)):
        first, second = (
            _stored(path, header, index) for path, header in zip(paths, headers, strict=True)
        )
        if not np.array_equal(first, second) or time.monotonic() > deadline:
            return False
    return True


def _stored(path: Path, header: FileDataset, index: int) -> np.ndarray:
    is_native = header.file_meta.get("TransferSyntaxUID") in NATIVE
    return stored_frame(path, index) if is_native else decode_apart(path, index)
