"""Results to disk: whole or not at all."""

from io import BytesIO
from pathlib import Path

from pydicom.dataset import Dataset

from node.report.errors import ReportError
from node.spool import write_durably


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
    try:
        write_durably(path, encoded.getvalue())
    except OSError as error:
        raise ReportError(f"{path} cannot be written: {error.strerror}") from error
