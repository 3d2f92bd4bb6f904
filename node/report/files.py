"""Results to disk: whole or not at all, and read back before they are believed."""

import os
from io import BytesIO
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError

from node.report.errors import ReportError
from node.report.origin import Basis

_SAME_AS_SOURCE = (
    "StudyInstanceUID",
    "PatientID",
    "PatientName",
    "IssuerOfPatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyID",
    "AccessionNumber",
    "StudyDate",
    "StudyTime",
)
_SAME_AS_BUILT = ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID")


def write(dataset: Dataset, path: Path) -> None:
    """Write a result to a file, so that it is there entirely or not at all.

    Raises
    ------
    ReportError
        If it cannot be encoded or written.
    """
    encoded = BytesIO()
    try:
        dataset.save_as(encoded, enforce_file_format=True)
    except Exception as error:  # encoders raise whatever a value makes them
        raise ReportError(f"{path.name} cannot be encoded: {error}") from error
    part = path.with_name(f".{path.name}.part")
    try:
        with part.open("wb") as file:
            file.write(encoded.getbuffer())
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        raise ReportError(f"{path} cannot be written: {error.strerror}") from error


def check(path: Path, built: Dataset, origin: Basis) -> None:
    """Read a result back and compare it with what it was built from.

    Raises
    ------
    ReportError
        If it does not parse, or names another patient, study or object.
    """
    try:
        read = pydicom.dcmread(path)
        for keyword, expected in (
            *((keyword, origin.template.get(keyword)) for keyword in _SAME_AS_SOURCE),
            *((keyword, built.get(keyword)) for keyword in _SAME_AS_BUILT),
        ):
            found = read.get(keyword)
            if (found or None) != (expected or None):
                raise ReportError(f"{path}: {keyword} is {found!r}, expected {expected!r}")
        if len(read.get("PixelData", b"")) != len(built.get("PixelData", b"")):
            raise ReportError(f"{path}: the pixel data is cut short")
        if len(read.get("ContentSequence", ())) != len(built.get("ContentSequence", ())):
            raise ReportError(f"{path}: the content tree is cut short")
    except (InvalidDicomError, OSError, ValueError, KeyError, AttributeError) as error:
        raise ReportError(f"{path} does not read back as DICOM: {error}") from error


def _sync_folder(folder: Path) -> None:
    """Make a rename durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
