"""The secondary captures: every slice beside its probabilities, as viewers show pictures.

References
----------
Secondary Capture Image IOD: DICOM PS3.3, A.8.1; its modules: C.8.6.
"""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import numpy as np
from PIL import Image
from pydicom.dataset import Dataset, FileDataset
from pydicom.uid import SecondaryCaptureImageStorage

from ml.series import Slice, Volume
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
from node.report.identity import Kind
from node.report.orientation import Edges
from node.report.origin import Origin
from node.report.picture.render import render

SERIES = Series(
    Kind.SECONDARY_CAPTURE,
    SecondaryCaptureImageStorage,
    modality="OT",
    offset=1,
    description=f"ichnode ICH overlay - {NOT_FOR_CLINICAL_USE}",
)


def build_capture(origin: Origin, index: int, *, revision: int, created: datetime) -> FileDataset:
    """Build the secondary capture of a slice.

    Parameters
    ----------
    origin : Origin
        The judgement and what it was made from.
    index : int
        Of the slice, from 0 at the foot.
    revision : int
        From 1.
    created : datetime.datetime
        When it was created.
    """
    judgement = origin.judgement
    image = judgement.slices[index]
    header = origin.header(image)
    capture = new_result(origin, SERIES, index + 1, revision=revision, created=created)

    # General Series Module (C.7.3.1): only heads are judged
    capture.BodyPartExamined = "HEAD"
    copy_filled(header, capture, "BodyPartExamined")

    # Frame of Reference Module (C.7.4.1)
    copy_filled(header, capture, "FrameOfReferenceUID")
    if "FrameOfReferenceUID" in capture:
        capture.PositionReferenceIndicator = None
        copy_filled(header, capture, "PositionReferenceIndicator")

    # SC Equipment Module (C.8.6.1) and SC Image Module (C.8.6.2)
    capture.ConversionType = "WSD"
    capture.SecondaryCaptureDeviceManufacturer = MANUFACTURER
    capture.SecondaryCaptureDeviceManufacturerModelName = judgement.model.name
    capture.SecondaryCaptureDeviceSoftwareVersions = capture.SoftwareVersions
    capture.DateOfSecondaryCapture = capture.ContentDate
    capture.TimeOfSecondaryCapture = capture.ContentTime

    # General Image Module (C.7.6.1) and General Reference Module (C.12.4)
    capture.ImageType = ["DERIVED", "SECONDARY"]
    edges = _edges(origin, image)
    capture.PatientOrientation = [edges.right, edges.bottom] if edges.right else None
    capture.BurnedInAnnotation = "NO"  # text there is, but none that identifies the patient
    copy_filled(
        header,
        capture,
        "LossyImageCompression",
        "LossyImageCompressionRatio",
        "LossyImageCompressionMethod",
    )
    model = judgement.model
    capture.DerivationDescription = (
        f"Slice in the brain window, with the probabilities of model {model.name} "
        f"{plain(model.version)} ({model.digest[:12]}) beside it; {NOT_FOR_CLINICAL_USE}"
    )
    capture.SourceImageSequence = [_source_image(header, image)]

    # Image Pixel Module (C.7.6.3)
    picture = draw_slice(origin, index)
    capture.SamplesPerPixel = 3
    capture.PhotometricInterpretation = "RGB"
    capture.PlanarConfiguration = 0
    capture.Rows, capture.Columns = picture.shape[:2]
    capture.BitsAllocated = capture.BitsStored = 8
    capture.HighBit = 7
    capture.PixelRepresentation = 0
    capture.PixelData = picture.tobytes()  # of even length, as rows and columns are
    return capture


def draw_slice(origin: Origin, index: int) -> np.ndarray:
    """The picture of a slice.

    Returns
    -------
    numpy.ndarray
        uint8, shape (rows, columns, 3), RGB.
    """
    return render(
        origin.volume.hu[index],
        origin.judgement,
        index,
        spacing_mm=origin.volume.spacing_mm,
        edges=_edges(origin, origin.judgement.slices[index]),
    )


def save_overlay(
    judgement: Judgement, volume: Volume, sources: Sequence[Dataset], index: int, path: Path
) -> None:
    """Save the picture of a slice as PNG.

    Parameters
    ----------
    judgement, volume, sources
        As `node.report.build` takes them.
    index : int
        Of the slice, from 0 at the foot.
    path : pathlib.Path
        The file to write.

    Raises
    ------
    ReportError
        If the judgement does not belong to the volume and the sources.
    """
    origin = Origin.of(judgement, volume, sources)
    Image.fromarray(draw_slice(origin, index)).save(path, format="PNG")


def _edges(origin: Origin, image: Slice) -> Edges:
    plane = origin.plane(image)
    return Edges() if plane is None else Edges.of(plane.orientation)


def _source_image(header: Dataset, image: Slice) -> Dataset:
    """A reference to the slice (PS3.3, C.12.4)."""
    item = Dataset()
    item.ReferencedSOPClassUID = header.SOPClassUID
    item.ReferencedSOPInstanceUID = image.sop_instance_uid
    if image.frame_number is not None:
        item.ReferencedFrameNumber = image.frame_number
    item.PurposeOfReferenceCodeSequence = [code_item(codes.SOURCE_IMAGE)]
    return item
