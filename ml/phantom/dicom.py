"""A phantom as a series of CT images."""

import uuid
from datetime import datetime
from pathlib import Path

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from ml.phantom.result import Phantom

_UIDS = uuid.UUID("6f0c3f0a-52e1-5d0b-9c55-3c6b0c1a7e11")
_INTERCEPT = -1024


def phantom_uid(phantom: Phantom, what: str) -> str:
    """A unique identifier below 2.25 that depends only on the phantom's key.

    References
    ----------
    UUID-derived identifiers: DICOM PS3.5, B.2.
    """
    return f"2.25.{uuid.uuid5(_UIDS, f'{phantom.key}/{what}').int}"


def write_dicom(
    phantom: Phantom, folder: Path, *, when: datetime = datetime(2024, 1, 1, 12, 0, 0)
) -> list[Path]:
    """Write a phantom as a series of CT images.

    Parameters
    ----------
    phantom : Phantom
    folder : pathlib.Path
        Made if it is not there.
    when : datetime.datetime
        Date and time of the study; fixed unless given, so that the files are
        the same each time.

    Returns
    -------
    list of pathlib.Path
        One file for each slice, foot to head.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for index in range(len(phantom)):
        path = folder / f"{index + 1:04d}.dcm"
        _image(phantom, index, when).save_as(path, enforce_file_format=True)
        paths.append(path)
    return paths


def _image(phantom: Phantom, index: int, when: datetime) -> Dataset:
    """One slice as a CT Image (PS3.3, A.3)."""
    image = Dataset()
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image.SpecificCharacterSet = "ISO_IR 100"
    image.SOPClassUID = CTImageStorage
    image.SOPInstanceUID = phantom_uid(phantom, f"image/{index + 1}")

    image.PatientName = "Phantom^Head"
    image.PatientID = f"PHANTOM-{phantom.seed:06d}"
    image.PatientBirthDate = ""
    image.PatientSex = "O"
    image.StudyInstanceUID = phantom_uid(phantom, "study")
    image.StudyID = str(phantom.seed)
    image.StudyDescription = "Synthetic head CT phantom, no patient"
    image.AccessionNumber = ""
    image.ReferringPhysicianName = ""

    image.Modality = "CT"
    image.SeriesInstanceUID = phantom_uid(phantom, "series")
    image.SeriesNumber = 2
    image.SeriesDescription = "Head plain, synthetic phantom"
    image.BodyPartExamined = "HEAD"
    image.PatientPosition = "HFS"
    image.FrameOfReferenceUID = phantom_uid(phantom, "frame of reference")
    image.PositionReferenceIndicator = ""

    date, time = when.strftime("%Y%m%d"), when.strftime("%H%M%S")
    for moment in ("Study", "Series", "Acquisition", "Content"):
        setattr(image, f"{moment}Date", date)
        setattr(image, f"{moment}Time", time)

    _describe_plane(image, phantom, index)
    image.SamplesPerPixel = 1
    image.PhotometricInterpretation = "MONOCHROME2"
    image.Rows, image.Columns = phantom.hu.shape[1:]
    image.BitsAllocated = image.BitsStored = 16
    image.HighBit = 15
    image.PixelRepresentation = 1
    image.RescaleIntercept = _INTERCEPT
    image.RescaleSlope = 1
    image.RescaleType = "HU"
    image.WindowCenter = 40
    image.WindowWidth = 80
    image.BurnedInAnnotation = "NO"
    image.PixelData = (phantom.hu[index] - _INTERCEPT).astype("<i2").tobytes()
    return image


def _describe_plane(image: Dataset, phantom: Phantom, index: int) -> None:
    """Scanner and place of a slice (PS3.3, C.7.5.1, C.7.6.2, C.8.2.1)."""
    image.Manufacturer = "ichnode"
    image.ManufacturerModelName = f"Synthetic phantom, {phantom.kernel}"
    image.SoftwareVersions = "1"
    image.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    image.KVP = "120"
    image.ConvolutionKernel = phantom.kernel.upper()
    image.GantryDetectorTilt = phantom.tilt_deg
    image.AcquisitionNumber = 1
    image.InstanceNumber = index + 1
    image.ImagePositionPatient = list(phantom.image_positions_mm[index])
    image.ImageOrientationPatient = list(phantom.orientation)
    image.PixelSpacing = [phantom.pixel_spacing_mm] * 2
    image.SliceThickness = phantom.thickness_mm
    image.SliceLocation = phantom.positions_mm[index]
