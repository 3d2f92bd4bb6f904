"""Makes CT series of every odd kind, small enough for hundreds of tests."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence as Items
from pydicom.uid import (
    CTImageStorage,
    EnhancedCTImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
)

AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
STUDY = "1.2.826.0.1.1"
SERIES = "1.2.826.0.1.1.2"
ROWS, COLUMNS = 12, 16

Change = Callable[[Dataset], object]


def uid(number: int) -> str:
    """SOP Instance UID of the slice with that number."""
    return f"{SERIES}.{number}"


def ramp(number: int = 0, rows: int = ROWS, columns: int = COLUMNS) -> np.ndarray:
    """HU that tell one slice from another: the first pixel is the slice's number."""
    return np.arange(rows * columns, dtype=np.int16).reshape(rows, columns) + np.int16(number)


def image(
    number: int = 1,
    z_mm: float = 0.0,
    *,
    hu: np.ndarray | None = None,
    intercept: int = -1024,
    orientation: Sequence[float] = AXIAL,
    position: Sequence[float] | None = None,
    syntax: str = ExplicitVRLittleEndian,
) -> Dataset:
    """A CT image with a plain header and signed 16 bit pixels."""
    hu = ramp(number) if hu is None else hu
    out = Dataset()
    out.file_meta = FileMetaDataset()
    out.file_meta.TransferSyntaxUID = syntax
    out.SOPClassUID = CTImageStorage
    out.SOPInstanceUID = uid(number)
    out.StudyInstanceUID, out.SeriesInstanceUID = STUDY, SERIES
    out.PatientName, out.PatientID = "Test^Head", "T1"
    out.Modality = "CT"
    out.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    out.SeriesDescription = "CT Plain"
    out.BodyPartExamined = "HEAD"
    out.ConvolutionKernel = "STANDARD"
    out.InstanceNumber = number
    out.ImagePositionPatient = [-120.0, -110.0, z_mm] if position is None else list(position)
    out.ImageOrientationPatient = list(orientation)
    out.PixelSpacing = [0.5, 0.5]
    out.SliceThickness = 5
    out.SamplesPerPixel = 1
    out.PhotometricInterpretation = "MONOCHROME2"
    out.Rows, out.Columns = hu.shape
    out.BitsAllocated = out.BitsStored = 16
    out.HighBit = 15
    out.PixelRepresentation = 1
    out.RescaleIntercept, out.RescaleSlope = intercept, 1
    order = ">" if syntax == ExplicitVRBigEndian else "<"
    out.PixelData = (hu.astype(np.int32) - intercept).astype(f"{order}i2").tobytes()
    out["PixelData"].VR = "OW"
    return out


def stored(out: Dataset, values: np.ndarray, *, bits: int, signed: bool) -> Dataset:
    """Put stored values of another depth or signedness into an image."""
    allocated = 8 if bits <= 8 else 16
    out.BitsAllocated, out.BitsStored, out.HighBit = allocated, bits, bits - 1
    out.PixelRepresentation = int(signed)
    out.Rows, out.Columns = values.shape
    kind = f"<{'i' if signed else 'u'}{allocated // 8}"
    out.PixelData = values.astype(kind).tobytes()
    out["PixelData"].VR = "OB" if allocated == 8 else "OW"
    return out


def write(out: Dataset, path: Path) -> Path:
    """Write an image as a DICOM file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    out.save_as(path, enforce_file_format=True)
    return path


def series(
    folder: Path,
    positions_mm: Sequence[float],
    change: Change | None = None,
    *,
    orientation: Sequence[float] = AXIAL,
) -> list[Path]:
    """Write one image for each position; numbers run from 1, `change` may alter each."""
    paths = []
    for number, z_mm in enumerate(positions_mm, start=1):
        out = image(number, z_mm, orientation=orientation)
        if change is not None:
            change(out)
        paths.append(write(out, folder / f"{number:04d}.dcm"))
    return paths


def enhanced(positions_mm: Sequence[float], *, shared_scaling: bool = True) -> Dataset:
    """An Enhanced CT image; its rescale values are shared or said for each frame.

    Where they are said for each frame, the shared ones are there too, and wrong.
    """
    out = image()
    for keyword in (
        "ImagePositionPatient",
        "ImageOrientationPatient",
        "PixelSpacing",
        "SliceThickness",
        "RescaleIntercept",
        "RescaleSlope",
        "BodyPartExamined",
        "ConvolutionKernel",
    ):
        del out[keyword]
    out.SOPClassUID = EnhancedCTImageStorage
    out.NumberOfFrames = len(positions_mm)
    shared = Dataset()
    shared.PlaneOrientationSequence = _item(ImageOrientationPatient=list(AXIAL))
    shared.PixelMeasuresSequence = _item(PixelSpacing=[0.5, 0.5], SliceThickness=5)
    shared.PixelValueTransformationSequence = _item(
        RescaleIntercept=-1024 if shared_scaling else 7, RescaleSlope=1, RescaleType="HU"
    )
    shared.CTReconstructionSequence = _item(ConvolutionKernel="STANDARD")
    region = _item(CodeValue="69536005", CodingSchemeDesignator="SCT", CodeMeaning="Head")
    shared.FrameAnatomySequence = _item(FrameLaterality="U", AnatomicRegionSequence=region)
    out.SharedFunctionalGroupsSequence = Items([shared])
    frames = []
    for z_mm in positions_mm:
        frame = Dataset()
        frame.PlanePositionSequence = _item(ImagePositionPatient=[-120.0, -110.0, z_mm])
        frame.CTImageFrameTypeSequence = _item(FrameType=["ORIGINAL", "PRIMARY", "AXIAL", "NONE"])
        if not shared_scaling:
            frame.PixelValueTransformationSequence = _item(RescaleIntercept=-1024, RescaleSlope=1)
        frames.append(frame)
    out.PerFrameFunctionalGroupsSequence = Items(frames)
    stack = np.stack([ramp(number) for number in range(1, len(positions_mm) + 1)])
    out.PixelData = (stack.astype(np.int32) + 1024).astype("<i2").tobytes()
    return out


def _item(**values: object) -> Items:
    item = Dataset()
    for keyword, value in values.items():
        setattr(item, keyword, value)
    return Items([item])
