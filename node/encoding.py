"""Objects in another transfer syntax, without loss (PS3.5, A)."""

from pydicom.dataset import Dataset
from pydicom.uid import UID, JPEG2000Lossless


def encode(dataset: Dataset, syntax: UID) -> None:
    """Bring an object into another transfer syntax; pixels stay what they are.

    Parameters
    ----------
    dataset : pydicom.Dataset
        With file meta information; pictures in RGB. It is changed.
    syntax : pydicom.uid.UID
        One that compresses is for an object with pixels alone.
    """
    if dataset.file_meta.TransferSyntaxUID.is_encapsulated:
        dataset.decompress(generate_instance_uid=False)
    if not syntax.is_encapsulated:
        dataset.file_meta.TransferSyntaxUID = syntax
        return
    if syntax == JPEG2000Lossless:  # the reversible colour transform (PS3.5, A.4.4)
        dataset.PhotometricInterpretation = "YBR_RCT"
    dataset.compress(syntax, generate_instance_uid=False)
