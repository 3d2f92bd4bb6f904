"""The secondary captures: a summary and every slice beside its probabilities, as pictures.

They are numbered as the source numbers its images, where it does so in order,
so that both scroll in step; the summary has the number before. Attributes of
the image plane are left out on purpose: with them viewers would stack the
captures with the CT.

References
----------
DICOM PS3.3: Secondary Capture Image IOD (A.8.1), Multi-frame True Color Secondary
Capture Image IOD (A.8.5), their modules (C.8.6).
"""

from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import pairwise
from math import prod
from pathlib import Path

import numpy as np
from PIL import Image
from pydicom.dataset import Dataset, FileDataset
from pydicom.tag import Tag
from pydicom.uid import (
    JPEG2000Lossless,
    JPEGLSLossless,
    MultiFrameTrueColorSecondaryCaptureImageStorage,
    RLELossless,
    SecondaryCaptureImageStorage,
)

from ml.series import Slice, Volume
from node import encoding
from node.judgement import Judgement
from node.report import codes
from node.report.header import (
    MANUFACTURER,
    NOT_FOR_CLINICAL_USE,
    Series,
    code_item,
    copy_filled,
    new_result,
    plain,
)
from node.report.orientation import Edges
from node.report.origin import Origin
from node.report.picture.series import SeriesPictures
from node.settings import CaptureForm, Compression, Kind, ReportSettings

_SINGLE_FRAME = Series(
    Kind.SECONDARY_CAPTURE,
    SecondaryCaptureImageStorage,
    modality="OT",
    offset=1,
    description=f"ichnode ICH overlay - {NOT_FOR_CLINICAL_USE}",
)
_MULTI_FRAME = Series(
    Kind.SECONDARY_CAPTURE,
    MultiFrameTrueColorSecondaryCaptureImageStorage,
    modality="OT",
    offset=1,
    description=f"ichnode ICH overlay - {NOT_FOR_CLINICAL_USE}",
    variant=CaptureForm.MULTI_FRAME,
)

_TRANSFER_SYNTAXES = {
    Compression.RLE: RLELossless,
    Compression.JPEG_LS: JPEGLSLossless,
    Compression.JPEG_2000: JPEG2000Lossless,
}

_LARGEST = 2**31 - 1
"""Bytes of pixels in an object; many readers hold lengths in 32 bits with a sign."""


def build_captures(
    origin: Origin, settings: ReportSettings, *, revision: int, created: datetime
) -> Iterator[tuple[str, FileDataset]]:
    """Build the secondary captures of a judgement.

    Parameters
    ----------
    origin : Origin
        The judgement and what it was made from.
    settings : ReportSettings
        Whether there is one object or one for each picture, and how they are compressed.
        What is too large for one object is in one for each picture all the same.
    revision : int
        From 1.
    created : datetime.datetime
        When they were created.

    Yields
    ------
    tuple of str and pydicom.dataset.FileDataset
        A file's name and content: the summary, then the slices from foot to head.
    """
    drawn = _Drawn(origin)
    fits = drawn.nbytes <= _LARGEST
    if settings.capture is CaptureForm.MULTI_FRAME and fits:
        capture = _multi_frame(drawn, revision=revision, created=created)
        compress(capture, settings.compression)
        yield "sc.dcm", capture
        return
    digits = max(3, len(str(len(origin.volume))))
    for number in range(len(origin.volume) + 1):
        capture = _single_frame(drawn, number, revision=revision, created=created)
        compress(capture, settings.compression)
        yield f"sc-{number:0{digits}}.dcm", capture


def save_overlays(
    judgement: Judgement, volume: Volume, sources: Sequence[Dataset], folder: Path
) -> list[Path]:
    """Save the pictures as PNG: ``summary.png``, ``overlay-001.png`` and so on.

    Parameters
    ----------
    judgement, volume, sources
        As `node.report.build` takes them.
    folder : pathlib.Path
        Where to.

    Raises
    ------
    ReportError
        If the judgement does not belong to the volume and the sources.
    """
    drawn = _Drawn(Origin.of(judgement, volume, sources))
    saved = []
    for number in range(len(volume) + 1):
        name = f"overlay-{number:03d}.png" if number else "summary.png"
        Image.fromarray(drawn.picture(number)).save(folder / name, format="PNG")
        saved.append(folder / name)
    return saved


class _Drawn:
    """The pictures of a judgement: 0 is the summary, then the slices from 1 at the foot."""

    def __init__(self, origin: Origin) -> None:
        self.origin = origin
        self.numbers = capture_numbers(origin.judgement.slices)
        self._pictures = SeriesPictures(
            origin.judgement, origin.volume.hu, origin.volume.spacing_mm
        )

    @property
    def nbytes(self) -> int:
        """Of all pictures together."""
        return prod(self._pictures.shape) * (len(self.numbers) + 1)

    def picture(self, number: int) -> np.ndarray:
        """uint8, shape (rows, columns, 3)."""
        if number == 0:
            return self._pictures.summary()
        return self._pictures.slice(number - 1, self.edges(number))

    def edges(self, number: int) -> Edges:
        """What the edges of a slice show."""
        plane = self.origin.plane(self.origin.judgement.slices[number - 1])
        return Edges() if plane is None else Edges.of(plane.orientation)


def capture_numbers(slices: Sequence[Slice]) -> list[int]:
    """Instance Number of each slice's capture, foot to head; its page where they are one object.

    Those of the source, if they are positive and go one way along the stack;
    else from 1 at the foot.
    """
    numbers = [item.frame_number or item.instance_number or 0 for item in slices]
    steps = [after - before for before, after in pairwise(numbers)]
    if min(numbers) > 0 and (all(s > 0 for s in steps) or all(s < 0 for s in steps)):
        return numbers
    return list(range(1, len(slices) + 1))


def _single_frame(drawn: _Drawn, number: int, *, revision: int, created: datetime) -> FileDataset:
    origin = drawn.origin
    capture = new_result(origin, _SINGLE_FRAME, number, revision=revision, created=created)
    slices = origin.judgement.slices
    shown = slices if number == 0 else slices[number - 1 : number]
    capture.InstanceNumber = 0 if number == 0 else drawn.numbers[number - 1]
    what = "Summary of the series" if number == 0 else "Slice"
    fill_capture(capture, origin, shown, _derivation(origin, what))
    edges = Edges() if number == 0 else drawn.edges(number)
    capture.PatientOrientation = [edges.right, edges.bottom] if edges.right else None
    fill_pixels(capture, drawn.picture(number))
    return capture


def _multi_frame(drawn: _Drawn, *, revision: int, created: datetime) -> FileDataset:
    """One object: the summary, then the slices in the order of the source."""
    origin = drawn.origin
    capture = new_result(origin, _MULTI_FRAME, 1, revision=revision, created=created)
    slices = origin.judgement.slices
    fill_capture(capture, origin, slices, _derivation(origin, "Summary and slices"))
    capture.PatientOrientation = None
    fill_pixels(capture, drawn.picture(0))
    # Multi-frame (C.7.6.6), SC Multi-frame Image (C.8.6.3), SC Multi-frame Vector (C.8.6.4)
    capture.NumberOfFrames = 1 + len(slices)
    capture.FrameIncrementPointer = Tag("PageNumberVector")
    capture.PageNumberVector = [0, *sorted(drawn.numbers)]
    frames = (drawn.picture(index + 1).tobytes() for index in np.argsort(drawn.numbers))
    capture.PixelData = b"".join([capture.PixelData, *frames])
    return capture


def _derivation(origin: Origin, what: str) -> str:
    model = origin.model
    return (
        f"{what} in the brain window, with the probabilities of model {model.name} "
        f"{plain(model.version)} ({model.digest[:12]}) beside; {NOT_FOR_CLINICAL_USE}"
    )


# -- shared with other captures --------------------------------------------


def fill_capture(
    capture: FileDataset, origin: Origin, shown: Sequence[Slice], derivation: str
) -> None:
    """Everything of a secondary capture but its pixels and orientation.

    Parameters
    ----------
    capture : pydicom.dataset.FileDataset
        As `node.report.header.new_result` makes it.
    origin : Origin
        What it is about.
    shown : sequence of Slice
        What it shows.
    derivation : str
        How it came about.
    """
    header = origin.header(shown[0])

    # General Series Module (C.7.3.1): only heads are judged
    capture.BodyPartExamined = "HEAD"
    copy_filled(header, capture, "BodyPartExamined")

    # SC Equipment Module (C.8.6.1) and SC Image Module (C.8.6.2)
    capture.ConversionType = "WSD"
    capture.SecondaryCaptureDeviceManufacturer = MANUFACTURER
    capture.SecondaryCaptureDeviceManufacturerModelName = origin.model.name
    capture.SecondaryCaptureDeviceSoftwareVersions = capture.SoftwareVersions
    capture.DateOfSecondaryCapture = capture.ContentDate
    capture.TimeOfSecondaryCapture = capture.ContentTime

    # General Image Module (C.7.6.1) and General Reference Module (C.12.4)
    capture.ImageType = ["DERIVED", "SECONDARY"]
    capture.BurnedInAnnotation = "NO"  # text there is, but none that identifies the patient
    copy_filled(
        header,
        capture,
        "LossyImageCompression",
        "LossyImageCompressionRatio",
        "LossyImageCompressionMethod",
    )
    capture.DerivationDescription = derivation
    capture.SourceImageSequence = [_source_image(origin.header(item), item) for item in shown]


def fill_pixels(capture: FileDataset, picture: np.ndarray) -> None:
    """The Image Pixel Module (C.7.6.3) of a picture.

    Parameters
    ----------
    capture : pydicom.dataset.FileDataset
        What gets it.
    picture : numpy.ndarray
        uint8, shape (rows, columns, 3), RGB, both sizes even.
    """
    capture.SamplesPerPixel = 3
    capture.PhotometricInterpretation = "RGB"
    capture.PlanarConfiguration = 0
    capture.Rows, capture.Columns = picture.shape[:2]
    capture.BitsAllocated = capture.BitsStored = 8
    capture.HighBit = 7
    capture.PixelRepresentation = 0
    capture.PixelData = picture.tobytes()  # of even length, as rows and columns are


def compress(capture: FileDataset, compression: Compression) -> None:
    """Compress a capture without loss (PS3.5, A.4)."""
    syntax = _TRANSFER_SYNTAXES.get(compression)
    if syntax is not None:
        encoding.compress(capture, syntax)


def _source_image(header: Dataset, image: Slice) -> Dataset:
    """A reference to a slice (PS3.3, C.12.4)."""
    item = Dataset()
    item.ReferencedSOPClassUID = header.SOPClassUID
    item.ReferencedSOPInstanceUID = image.sop_instance_uid
    if image.frame_number is not None:
        item.ReferencedFrameNumber = image.frame_number
    item.PurposeOfReferenceCodeSequence = [code_item(codes.SOURCE_IMAGE)]
    return item
