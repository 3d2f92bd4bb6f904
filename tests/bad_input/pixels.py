"""Kinds of pixel data that are not CT, or not what the header says."""

import struct
from collections.abc import Callable, Iterator

import numpy as np
from pydicom.dataset import FileDataset
from pydicom.encaps import encapsulate, get_frame
from pydicom.uid import JPEG2000Lossless, JPEGLosslessSV1, JPEGLSLossless, RLELossless

from tests.bad_input import wire
from tests.bad_input.case import (
    BAD,
    Case,
    Change,
    End,
    Images,
    attributes,
    changed,
    one_changed,
    rewritten,
)

FRAGMENTS = 65_535


def cases() -> Iterator[Case]:
    """All of them."""
    yield from _kinds()
    yield from _scaling()
    yield from _sizes()
    yield from _compressed()


def _kinds() -> Iterator[Case]:
    def colour(photometric: str) -> Callable[[FileDataset, int], None]:
        def change(image: FileDataset, _index: int) -> None:
            image.SamplesPerPixel, image.PlanarConfiguration = 3, 0
            image.PhotometricInterpretation = photometric
            image.BitsAllocated = image.BitsStored = 8
            image.HighBit, image.PixelRepresentation = 7, 0
            image.PixelData = bytes(image.Rows * image.Columns * 3)

        return change

    def floats(keyword: str, kind: str) -> Callable[[FileDataset, int], None]:
        def change(image: FileDataset, _index: int) -> None:
            values = image.pixel_array.astype(kind).tobytes()
            del image.PixelData
            setattr(image, keyword, values)
            image.BitsAllocated = np.dtype(kind).itemsize * 8

        return change

    def bits(allocated: int) -> Callable[[FileDataset, int], None]:
        def change(image: FileDataset, _index: int) -> None:
            image.BitsAllocated = image.BitsStored = allocated
            image.HighBit = allocated - 1
            image.PixelData = bytes(image.Rows * image.Columns * max(allocated, 8) // 8)

        return change

    def eight(image: FileDataset, _index: int) -> None:
        values = (image.pixel_array // 16).clip(0, 255).astype("u1")
        image.BitsAllocated = image.BitsStored = 8
        image.HighBit, image.PixelRepresentation = 7, 0
        image.RescaleSlope, image.RescaleIntercept = 16, image.RescaleIntercept
        image.PixelData = values.tobytes()
        image["PixelData"].VR = "OB"

    def wide(image: FileDataset, _index: int) -> None:
        values = image.pixel_array.astype("<i4")
        image.BitsAllocated = image.BitsStored = 32
        image.HighBit, image.PixelRepresentation = 31, 1
        image.PixelData = values.tobytes()

    def overlay(image: FileDataset, _index: int) -> None:
        image.add_new(0x60000010, "US", image.Rows)
        image.add_new(0x60000011, "US", image.Columns)
        image.add_new(0x60000100, "US", 1)
        image.add_new(0x60003000, "OW", bytes(image.Rows * image.Columns // 8))

    for photometric in ("RGB", "YBR_FULL", "YBR_FULL_422"):
        yield Case(
            f"colour-{photometric}",
            f"Colour: {photometric}",
            changed(colour(photometric)),
            End.FAILED,
            "not grey-scale",
        )
    for photometric in ("PALETTE COLOR", "HSV", "MONOCHROME3", "\xff"):
        yield Case(
            f"photometric-{photometric.replace(' ', '-').encode('unicode_escape').decode()}",
            f"Photometric interpretation {photometric!r}",
            attributes(PhotometricInterpretation=photometric),
            End.FAILED,
            "not grey-scale",
        )
    yield Case(
        "photometric-inverted",
        "MONOCHROME1: shown inverted, the same HU",
        attributes(PhotometricInterpretation="MONOCHROME1"),
        End.WARNED,
        "only the display is inverted",
    )
    yield Case(
        "samples",
        "Three samples a pixel, grey-scale",
        attributes(SamplesPerPixel=3),
        End.FAILED,
        "3 samples per pixel",
    )
    yield Case("bits-8", "Eight bits", changed(eight), End.ANALYZED)
    yield Case("bits-32", "32 bits", changed(wide), End.ANALYZED)
    for allocated in (1, 12, 64):
        yield Case(
            f"bits-{allocated}",
            f"{allocated} bits allocated",
            changed(bits(allocated)),
            End.FAILED,
            f"{allocated} bits allocated",
        )
    yield Case(
        "bits-stored",
        "More bits stored than allocated",
        attributes(BitsStored=20),
        End.FAILED,
        "cannot be decoded",
    )
    yield Case(
        "bits-none",
        "No bits allocated",
        attributes(BitsAllocated=0),
        End.FAILED,
        "cannot be decoded",
    )
    for keyword, kind in (("FloatPixelData", "<f4"), ("DoubleFloatPixelData", "<f8")):
        yield Case(
            f"pixels-{keyword}",
            f"{keyword} in the place of integers",
            changed(floats(keyword, kind)),
            End.FAILED,
            "cannot be decoded",
        )
    yield Case(
        "pixels-none", "No pixel data", attributes(PixelData=None), End.FAILED, "cannot be decoded"
    )
    yield Case("overlay", "Overlays", changed(overlay), End.ANALYZED)
    yield Case(
        "signedness",
        "A pixel representation that cannot be",
        attributes(PixelRepresentation=7),
        End.FAILED,
        "cannot be decoded",
    )


def _scaling() -> Iterator[Case]:
    yield Case(
        "rescale-missing",
        "No rescale slope and intercept",
        attributes(RescaleSlope=None, RescaleIntercept=None),
        End.WARNED,
        "stored values taken as HU",
    )
    for name, slope in [("nan", "nan"), ("infinite", "inf"), ("zero", "0")]:
        yield Case(
            f"rescale-{name}",
            f"Rescale slope {slope}",
            _written("RescaleSlope", slope),
            End.FAILED,
            "give no HU",
        )
    yield Case(
        "rescale-words",
        "A rescale slope in words",
        _written("RescaleSlope", "one "),
        End.WARNED,
        "stored values taken as HU",
    )
    yield Case(
        "rescale-huge",
        "Rescale slope 1e308",
        _written("RescaleSlope", "1e308 "),
        End.SKIPPED,
        "not-a-head",
    )
    yield Case(
        "padding-all",
        "Padding that takes in every value",
        changed(_padded),
        End.SKIPPED,
        "not-a-head",
    )


def _padded(image: FileDataset, _index: int) -> None:
    image.add_new("PixelPaddingValue", "SS", -32768)
    image.add_new("PixelPaddingRangeLimit", "SS", 32767)


def _written(keyword: str, value: str) -> Callable[[Images], list[bytes]]:
    padded = value.encode() + b" " * (len(value) % 2)
    return rewritten(wire.with_value(keyword, b"DS", padded))


def _sizes() -> Iterator[Case]:
    yield Case(
        "size-65535",
        "65,535 x 65,535 pixels, by the header alone",
        attributes(Rows=65535, Columns=65535),
        End.FAILED,
        "pixels are too many",
    )
    yield Case(
        "size-65535-one",
        "One image of 65,535 x 65,535 pixels in a series of 64 x 64",
        one_changed(lambda image: image.update({"Rows": 65535, "Columns": 65535})),
        End.WARNED,
        "65535 x 65535, the stack 64 x 64",
    )
    yield Case(
        "size-line",
        "65,535 rows of one pixel",
        attributes(Rows=65535, Columns=1),
        End.FAILED,
        "is too short for frame 1",
    )
    yield Case("size-none", "No rows", attributes(Rows=0), End.FAILED, "cannot be decoded")
    yield Case(
        "frames-negative",
        "A single-frame image that says it has -5 frames",
        attributes(NumberOfFrames=-5),
        End.FAILED,
        "cannot be decoded",
    )
    for frames in (2, 2_147_483_647, 0):
        yield Case(
            f"frames-{frames}",
            f"A single-frame image that says it has {frames} frames",
            attributes(NumberOfFrames=frames),
            End.ANALYZED,
        )
    yield Case(
        "flat",
        "Nothing but one value",
        changed(lambda image, _: _fill(image, 1024)),
        End.SKIPPED,
        "not-a-head",
    )
    yield Case(
        "noise",
        "Random bytes for pixels",
        changed(_noise),
        End.SKIPPED,
        "not-a-head",
    )


def _fill(image: FileDataset, value: int) -> None:
    image.PixelData = np.full((image.Rows, image.Columns), value, "<i2").tobytes()


def _noise(image: FileDataset, index: int) -> None:
    image.PixelData = np.random.default_rng(index).bytes(image.Rows * image.Columns * 2)


def _compressed() -> Iterator[Case]:
    def squeezed(syntax: str, change: Change | None = None) -> Callable[[FileDataset, int], None]:
        def squeeze(image: FileDataset, index: int) -> None:
            image.compress(syntax, generate_instance_uid=False)
            if change is not None:
                change(image, index)

        return squeeze

    def one(syntax: str, change: Callable[[bytes], bytes]) -> Callable[[FileDataset, int], None]:
        """Alter the codestream of one image; all are compressed."""

        def squeeze(image: FileDataset, index: int) -> None:
            image.compress(syntax, generate_instance_uid=False)
            if index == BAD:
                frame = get_frame(image.PixelData, 0, number_of_frames=1)
                image.PixelData = _encapsulated(change(frame))

        return squeeze

    def j2k_size(rows: int, columns: int) -> Callable[[bytes], bytes]:
        def change(frame: bytes) -> bytes:
            at = frame.find(b"\xff\x4f\xff\x51") + 8
            return frame[:at] + struct.pack(">II", columns, rows) + frame[at + 8 :]

        return change

    def jls_size(rows: int, columns: int) -> Callable[[bytes], bytes]:
        def change(frame: bytes) -> bytes:
            at = frame.find(b"\xff\xf7") + 5
            return frame[:at] + struct.pack(">HH", rows, columns) + frame[at + 4 :]

        return change

    def rows(count: int) -> Change:
        def change(image: FileDataset, index: int) -> None:
            if index == BAD:
                image.Rows, image.Columns = count, 4096 // count

        return change

    def fragments(image: FileDataset, index: int) -> None:
        if index == BAD:
            frame = get_frame(image.PixelData, 0, number_of_frames=1)
            image.PixelData = encapsulate([frame] + [b"\0\0"] * (FRAGMENTS - 1), has_bot=False)

    def other(image: FileDataset, _index: int) -> None:
        image.file_meta.TransferSyntaxUID = JPEG2000Lossless

    lost = (End.WARNED, "left out")
    for syntax in (JPEG2000Lossless, JPEGLSLossless, RLELossless):
        name = syntax.keyword
        yield Case(f"good-{name}", syntax.name, changed(squeezed(syntax)), End.ANALYZED)
        yield Case(
            f"fragments-{name}",
            f"65,535 fragments in a frame: {syntax.name}",
            changed(squeezed(syntax, fragments)),
            End.ANALYZED,
        )
        yield Case(
            f"codestream-empty-{name}",
            f"A frame of no bytes: {syntax.name}",
            changed(one(syntax, lambda _frame: b"")),
            *lost,
        )
        yield Case(
            f"codestream-garbage-{name}",
            f"A frame of other bytes: {syntax.name}",
            changed(one(syntax, lambda frame: b"\xff" * len(frame))),
            *lost,
        )
        yield Case(
            f"codestream-half-{name}",
            f"Half a frame: {syntax.name}",
            changed(one(syntax, lambda frame: frame[: len(frame) // 4 * 2])),
            *lost,
        )
    for name, syntax, resize in [
        ("JPEG2000", JPEG2000Lossless, j2k_size),
        ("JPEGLS", JPEGLSLossless, jls_size),
    ]:
        yield Case(
            f"codestream-huge-{name}",
            f"{name} that says itself it has 65,535 x 65,535 pixels",
            changed(one(syntax, resize(65535, 65535))),
            End.WARNED,
            "the header says 64 x 64",
        )
        yield Case(
            f"codestream-other-{name}",
            f"{name} of another shape than its header says, as many pixels",
            changed(squeezed(syntax, rows(32))),
            End.WARNED,
            "the stack 64 x 64",
        )
        yield Case(
            f"codestream-all-other-{name}",
            f"A whole series of {name} of another shape than said",
            changed(squeezed(syntax, _reshaped)),
            End.FAILED,
            "the header says 32 x 128",
        )
    yield Case(
        "codestream-long-RLE",
        "RLE with more rows than its header says: the decoder panics",
        changed(squeezed(RLELossless, _fewer_rows)),
        End.FAILED,
        "cannot be decoded",
    )
    yield Case(
        "codestream-wrong",
        "RLE in a file that says JPEG 2000",
        changed(squeezed(RLELossless, other)),
        End.FAILED,
        "cannot be decoded",
    )
    yield Case(
        "native-wrong",
        "Plain pixels in a file that says JPEG Lossless",
        rewritten(wire.said(JPEGLosslessSV1)),
        End.FAILED,
        "cannot be decoded",
    )


def _encapsulated(frame: bytes) -> bytes:
    """One fragment behind an empty offset table (PS3.5, A.4)."""
    fragments = (b"", frame + b"\0" * (len(frame) % 2))
    items = [struct.pack("<HHI", 0xFFFE, 0xE000, len(part)) + part for part in fragments]
    return b"".join(items) + wire.SEQUENCE_END


def _reshaped(image: FileDataset, _index: int) -> None:
    image.Rows, image.Columns = 32, 128


def _fewer_rows(image: FileDataset, _index: int) -> None:
    image.Rows = 32
