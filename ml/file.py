"""A DICOM file, read within limits.

What a file says of its own lengths is not believed: nothing is read beyond its
end, and what its header takes in memory is counted while it is read. pydicom
makes an object of every element and item, hundreds of times its eight bytes, and
so would let a file of some megabytes take gigabytes.
"""

import io
import zlib
from collections.abc import Sequence
from typing import BinaryIO, cast

import pydicom
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset
from pydicom.filewriter import write_file_meta_info
from pydicom.tag import BaseTag
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian
from pydicom.valuerep import EXPLICIT_VR_LENGTH_32

from ml.errors import SeriesError, first_line
from ml.limits import MOST_HEADER, MOST_INFLATED, MOST_INFLATED_HEADER

LONGEST_SHORT_VALUE = 65534
"""Bytes of a value whose VR has a length of 16 bits (PS3.5, 7.1.2)."""

_READ, _ITEM, _VALUE = 256, 700, 400
"""Bytes that pydicom takes: for each read while it parses (an element is two or three of
them), for each item of a sequence, and for each further number of a value of many."""

_PART = 1 << 20
"""Bytes that are read at once."""

_AHEAD = 1 << 15
"""Bytes that are read before they are asked for: the header of most CT images."""

_DEFLATED = DeflatedExplicitVRLittleEndian.encode()

_ITEM_TAGS = (b"\xfe\xff\x00\xe0", b"\xff\xfe\xe0\x00")
"""(FFFE,E000) in both byte orders."""


class Allowance:
    """Memory that headers may take.

    Parameters
    ----------
    limit : int
        Bytes.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.left = limit

    def take(self, amount: int) -> None:
        """Take some of it.

        Raises
        ------
        SeriesError
            If there is not enough left.
        """
        self.left -= amount
        if self.left < 0:
            raise SeriesError(
                f"its header is too large: it would take more than {self.limit >> 20} MiB"
            )


class _Inflated(io.RawIOBase):
    """A deflated dataset (PS3.5, A.5) behind the plain part of its file, inflated on demand.

    Parameters
    ----------
    start : bytes
        The plain part.
    file : binary file
        Behind it.
    """

    def __init__(self, start: bytes, file: BinaryIO) -> None:
        self.limit = MOST_INFLATED_HEADER
        self._file = file
        self._inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        self._content = bytearray(start)
        self._at = 0

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset if whence == io.SEEK_SET else self._at + offset
        return self._at

    def read(self, size: int = -1) -> bytes:
        end = self.limit + 1 if size < 0 else self._at + size
        self._inflate_to(end)
        found = bytes(memoryview(self._content)[self._at : end])
        self._at += len(found)
        return found

    def _inflate_to(self, end: int) -> None:
        while len(self._content) < end and not self._inflater.eof:
            packed = self._inflater.unconsumed_tail or self._file.read(1 << 16)
            if not packed:
                return  # it ends too early, as any file may
            self._content += self._inflater.decompress(packed, 1 << 20)
            if len(self._content) > self.limit:
                raise SeriesError(f"it inflates to more than {self.limit >> 20} MiB")


class _Metered:
    """A file to parse from: reads end where it ends, and what they cost is counted.

    pydicom asks for a few bytes at a time, and where they stood: some of the file is held,
    so that this costs no call of the system.
    """

    def __init__(self, file: BinaryIO, allowances: Sequence[Allowance]) -> None:
        self.name = getattr(file, "name", None)
        self.refusal: SeriesError | None = None
        self._allowances = allowances
        self._most = min(allowance.left for allowance in allowances)
        self._cost = 0
        self.turn_to(file)

    def turn_to(self, file: BinaryIO) -> None:
        """Parse from this file from now on."""
        self.file = file
        self._hold(file.tell())

    def mentions(self, value: bytes) -> bool:
        """Whether a value stands in what is held now: the first part of the file."""
        return value in self._held

    def tell(self) -> int:
        return self._start + self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        place = offset if whence == io.SEEK_SET else self.tell() + offset
        self._at = place - self._start
        return place

    def read(self, size: int = -1) -> bytes:
        at = self._at
        end = at + size
        if 0 <= at <= end <= len(self._held):
            found = self._held[at:end]
            self._at = end
        else:
            found = self._read_on(size)
        if len(found) <= 8:  # the tag and length of an element
            self._cost += _READ
        else:
            items = found.count(_ITEM_TAGS[0]) + found.count(_ITEM_TAGS[1])
            self._cost += _READ + len(found) + _ITEM * items + _VALUE * found.count(b"\\")
        if self._cost > self._most:
            self._refuse()
        return found

    def _hold(self, place: int) -> None:
        self._start, self._at, self._held = place, 0, self.file.read(_AHEAD)

    def _read_on(self, size: int) -> bytes:
        """Read what is not held."""
        if size < 0:  # pydicom inflates by itself what stands behind a header of such a length
            raise SeriesError("its file meta information is too long")
        self.file.seek(self.tell())
        if size <= _AHEAD:
            self._hold(self.tell())
            self._at = min(size, len(self._held))
            return self._held[: self._at]
        found = self._read_long(size)
        self._start, self._at, self._held = self.tell() + len(found), 0, b""
        return found

    def _read_long(self, size: int) -> bytes:
        """Gigabytes are not asked of the system at once, which would set them aside."""
        parts, left = [], size
        while left > 0 and (part := self.file.read(min(left, _PART))):
            parts.append(part)
            left -= len(part)
            if left > 0:
                self._cost += len(part)
                if self._cost > self._most:
                    self._refuse()
        return b"".join(parts)

    def _refuse(self) -> None:
        try:
            self.settle()
        except SeriesError as refusal:
            self.refusal = refusal  # pydicom may make another error of it
            raise

    def settle(self) -> None:
        """Take what was counted from what is allowed.

        Raises
        ------
        SeriesError
            If it is more.
        """
        cost, self._cost = self._cost, 0
        for allowance in self._allowances:
            allowance.take(cost)


def read_up_to_pixels(
    file: BinaryIO,
    *,
    allowance: Allowance | None = None,
    most: int = MOST_HEADER,
    tags: Sequence[str] | None = None,
) -> tuple[FileDataset, BinaryIO]:
    """Read a DICOM file up to its pixel data.

    Parameters
    ----------
    file : binary file
        At its start.
    allowance : Allowance, optional
        What is left to the files that this one is one of.
    most : int
        Memory that its header may take, bytes.
    tags : sequence of str, optional
        Keywords of the only elements that are wanted.

    Returns
    -------
    header : pydicom.FileDataset
        What stands before the pixel data.
    stream : binary file
        The whole file, inflated if need be, at its pixel data or its end.

    Raises
    ------
    SeriesError
        If it is not DICOM, ends inside its header, or asks for more than the limits.
    """
    metered = _Metered(file, [Allowance(most), *([allowance] if allowance else [])])
    plain = None
    try:
        if metered.mentions(_DEFLATED) and (plain := _inflated(metered)) is not None:
            metered.turn_to(cast(BinaryIO, plain))
        header = pydicom.dcmread(
            cast(BinaryIO, metered),
            stop_before_pixels=True,
            specific_tags=None if tags is None else list(tags),
        )
        metered.settle()
        metered.file.seek(metered.tell())
        # The header is all read: it must not hold on to the file, nor to the meter.
        header.buffer, header.filename = None, metered.name
        _check(header, metered.file)
        if plain is not None:
            header.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
            plain.limit = MOST_INFLATED
    except SeriesError:
        raise
    except Exception as error:  # a hostile file can raise anything from the parser
        raise metered.refusal or SeriesError(
            f"it cannot be read as DICOM: {first_line(error)}"
        ) from error
    return header, metered.file


def _inflated(metered: _Metered) -> _Inflated | None:
    """A deflated file as a stream that says it is plain; None if it is not deflated."""
    start = metered.tell()
    preamble = metered.read(132)
    meta = FileMetaDataset()
    if preamble[128:] == b"DICM":
        meta = FileMetaDataset(
            read_dataset(
                cast(BinaryIO, metered),
                is_implicit_VR=False,
                is_little_endian=True,
                stop_when=lambda tag, _vr, _length: tag >> 16 != 2,
            )
        )
    if meta.get("TransferSyntaxUID") != DeflatedExplicitVRLittleEndian:
        metered.seek(start)
        return None
    metered.file.seek(metered.tell())
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    plain = DicomBytesIO()
    plain.write(preamble)
    write_file_meta_info(plain, meta, enforce_standard=False)
    return _Inflated(plain.getvalue(), metered.file)


def _check(header: FileDataset, stream: BinaryIO) -> None:
    """Refuse what the parser lets pass and others would stumble over.

    An element that is cut short, a value that is too long for its VR, and a sequence where
    the dictionary has none: asked for its text it would tell all that is nested in it.
    """
    for element in header.values():
        if element.VR == "SQ" and _vr_by_dictionary(element.tag) not in ("SQ", "UN"):
            raise SeriesError(f"{element.tag} is a sequence")
        if not isinstance(element, RawDataElement) or element.value is None:
            continue
        length = len(element.value)
        if element.length != 0xFFFFFFFF and length < element.length:
            raise SeriesError(
                f"it ends inside {element.tag}: {length} bytes of {element.length} are there"
            )
        if (
            length > LONGEST_SHORT_VALUE
            and (element.VR or _vr_by_dictionary(element.tag)) not in EXPLICIT_VR_LENGTH_32
        ):
            raise SeriesError(f"{element.tag} is too long: {length} bytes")
    stream.seek(-1, io.SEEK_CUR)
    if not stream.read(1):
        raise SeriesError("it ends inside an element")


def _vr_by_dictionary(tag: BaseTag) -> str:
    try:
        return dictionary_VR(tag)
    except KeyError:
        return "UN"
