"""The self-check: every result is read back and looked at before it may leave.

What fails it is held, not sent. It looks with other eyes than the code that
built the result: at the file, against the headers of the source and the tables
of the standard. Messages name attributes, never their values.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pydicom
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.sequence import Sequence
from pydicom.tag import Tag
from pydicom.uid import UID

from node.report.check_content import CONTENT, check_content
from node.report.errors import ResultHeld
from node.report.header import COPIED, NOT_FOR_CLINICAL_USE, readable
from node.report.origin import Basis
from node.report.workitem import COPIED as WORKITEM_COPIED

_SAME_AS_BUILT = ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "Modality")

_PIXELS = Tag("PixelData")

_ADDED_TO_SOURCE = ("DeidentificationMethod",)
"""What `node.report.header` fills where the source leaves it out against the standard."""


def check(path: Path, built: Dataset, basis: Basis) -> None:
    """Read a result back and look at it.

    Parameters
    ----------
    path : pathlib.Path
        Its file.
    built : pydicom.Dataset
        What was written to it.
    basis : Basis
        What it is about.

    Raises
    ------
    ResultHeld
        With the first thing that is wrong.
    """
    try:
        read = pydicom.dcmread(path)
        complaint = (
            _identity(read, built, basis)
            or _whole(read, built)
            or _patient_and_study(read, basis)
            or _pixels(read, built)
            or _content(read, built, basis)
        )
    except InvalidDicomError:
        complaint = "does not read back as DICOM"
    except Exception as error:  # parsers raise what they like, and may quote the patient
        complaint = f"does not read back ({type(error).__name__})"
    if complaint is not None:
        raise ResultHeld(f"{path.name}: {complaint}")


def check_workitem(path: Path, built: Dataset, basis: Basis) -> None:
    """Read a workitem back: it belongs to no series and carries nothing but its attributes.

    Raises
    ------
    ResultHeld
        With the first thing that is wrong.
    """
    try:
        read = pydicom.dcmread(path)
        complaint = _patient_and_study(read, basis, WORKITEM_COPIED)
        if complaint is None and read.to_json_dict() != built.to_json_dict():
            complaint = "what was written is not what was built"
        if complaint is None and NOT_FOR_CLINICAL_USE not in read.ProcedureStepLabel:
            complaint = f"ProcedureStepLabel does not say {NOT_FOR_CLINICAL_USE!r}"
    except Exception as error:  # parsers raise what they like, and may quote the patient
        complaint = f"does not read back ({type(error).__name__})"
    if complaint is not None:
        raise ResultHeld(f"{path.name}: {complaint}")


def _identity(read: Dataset, built: Dataset, basis: Basis) -> str | None:
    """Whether a result is the object that was built, and one of its own."""
    for keyword in _SAME_AS_BUILT:
        if read.get(keyword) != built.get(keyword):
            return f"{keyword} is not what was built"
    meta = read.file_meta
    if (meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID) != (
        read.SOPClassUID,
        read.SOPInstanceUID,
    ):
        return "the file meta information names another object"
    for keyword in ("SOPInstanceUID", "SeriesInstanceUID"):
        if not UID(read[keyword].value).is_valid:
            return f"{keyword} is not a valid UID"
    if read.SOPInstanceUID in basis.headers:
        return "SOPInstanceUID is that of a source"
    if read.SeriesInstanceUID == basis.series_instance_uid:
        return "SeriesInstanceUID is that of the source"
    if NOT_FOR_CLINICAL_USE not in read.SeriesDescription:
        return f"SeriesDescription does not say {NOT_FOR_CLINICAL_USE!r}"
    return None


def _whole(read: Dataset, built: Dataset) -> str | None:
    """Whether nothing is lost from the end; `read` has what a file that is cut short holds."""
    for tag in built.keys() - read.keys():
        return f"{built[tag].keyword} is missing"
    last = max(built.keys() - {CONTENT, _PIXELS})  # those are looked at elsewhere
    if built[last].VR != "SQ" and str(read[last].value) != str(built[last].value):
        return f"{built[last].keyword} is cut short"
    return None


def _patient_and_study(read: Dataset, basis: Basis, copied: Iterable[str] = COPIED) -> str | None:
    """Whether patient and study are those of the source, attribute by attribute."""
    if read.get("StudyInstanceUID") != basis.study_instance_uid:
        return "StudyInstanceUID differs from the source"
    for keyword in copied:
        source = readable(basis.template, keyword)
        value = None if source is None or source.is_empty else source.value
        found = None if keyword not in read or read[keyword].is_empty else read[keyword].value
        if not _holds(found, value) and not (value is None and keyword in _ADDED_TO_SOURCE):
            return f"{keyword} differs from the source"
    return None


def _holds(found: Any, value: Any) -> bool:
    """Whether a value is that of the source; items of a sequence may have empty ones besides."""
    if not isinstance(value, Sequence) or not isinstance(found, Sequence):
        return bool(found == value)
    return len(found) == len(value) and all(
        all(e.tag in item and _holds(item[e.tag].value, e.value) for e in source)
        and all(item[tag].is_empty for tag in item.keys() - source.keys())
        for item, source in zip(found, value, strict=True)
    )


def _pixels(read: Dataset, built: Dataset) -> str | None:
    """Whether a picture is whole, and the one that was built."""
    if "PixelData" not in built:
        return None
    frames = int(read.get("NumberOfFrames", 1))
    shape = (read.Rows, read.Columns, 3)
    if read.file_meta.TransferSyntaxUID.is_encapsulated:
        if read.pixel_array.shape != (shape if frames == 1 else (frames, *shape)):
            return "the pixel data decodes to another shape"
    elif len(read.PixelData) != frames * read.Rows * read.Columns * 3:
        return "the pixel data is cut short"
    return None if read.PixelData == built.PixelData else "the pixel data is not what was built"


def _content(read: Dataset, built: Dataset, basis: Basis) -> str | None:
    """Whether a report is right, and the one that was built."""
    if CONTENT not in built:
        return None
    one, other = read.get_item(CONTENT), built.get_item(CONTENT)  # encoded, both
    complaint = check_content(read, basis)
    if complaint is None and one.value != other.value:
        return "the content tree is not what was built"
    return complaint
