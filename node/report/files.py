"""Results to disk: whole or not at all."""

import os
from io import BytesIO
from pathlib import Path

from pydicom.dataset import Dataset

from node.report.errors import ReportError


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


def _sync_folder(folder: Path) -> None:
    """Make a rename durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
