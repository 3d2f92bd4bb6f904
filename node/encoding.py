"""Objects in another transfer syntax, without loss (PS3.5, A)."""

from io import BytesIO
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset, FileDataset
from pydicom.uid import UID, JPEG2000Lossless


def compress(picture: Dataset, syntax: UID) -> None:
    """Compress an RGB picture.

    Parameters
    ----------
    picture : pydicom.Dataset
        With file meta information and pixels that are not compressed; it is changed.
    syntax : pydicom.uid.UID
        One without loss.
    """
    if syntax == JPEG2000Lossless:  # the reversible colour transform (PS3.5, A.4.4)
        picture.PhotometricInterpretation = "YBR_RCT"
    picture.compress(syntax, generate_instance_uid=False)


def read_as(path: Path, syntax: UID) -> FileDataset:
    """Read an object as it is in another transfer syntax; one that compresses is for pictures.

    Parameters
    ----------
    path : pathlib.Path
    syntax : pydicom.uid.UID
    """
    dataset = pydicom.dcmread(path)
    if dataset.file_meta.TransferSyntaxUID.is_encapsulated:
        dataset.decompress(generate_instance_uid=False)
    if syntax.is_encapsulated:
        compress(dataset, syntax)
    elif dataset.file_meta.TransferSyntaxUID != syntax:
        # By way of its bytes: values that were not decoded yet have the VR of before.
        dataset.file_meta.TransferSyntaxUID = syntax
        encoded = BytesIO()
        dataset.save_as(encoded, implicit_vr=syntax.is_implicit_VR, little_endian=True)
        encoded.seek(0)
        return pydicom.dcmread(encoded)
    return dataset
