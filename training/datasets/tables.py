"""Read CSV files that others wrote; what is wrong with one is told with file and line."""

import csv
import math
from collections.abc import Iterator
from pathlib import Path

from ml.errors import first_line
from training.errors import TrainingError


def rows(path: Path) -> Iterator[list[str]]:
    """The rows of a CSV file, the header first; empty ones are passed over as they are.

    Parameters
    ----------
    path : pathlib.Path
        UTF-8, with or without a byte order mark.

    Raises
    ------
    TrainingError
        If the file cannot be read as text or as CSV.
    """
    if path.is_dir():
        raise TrainingError(f"{path}: expected a CSV file, this is a folder")
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            yield from csv.reader(file)
    except (UnicodeDecodeError, csv.Error) as error:
        raise TrainingError(
            f"{path}: not a CSV file in UTF-8 ({first_line(error)}); is it still packed?"
        ) from error
    except FileNotFoundError as error:
        raise TrainingError(f"{path} is not there") from error


def probability(text: str) -> float:
    """A number from 0 to 1.

    Raises
    ------
    ValueError
        If it is anything else, NaN among them.
    """
    value = float(text)
    if math.isnan(value):
        raise ValueError(f"{text} is not a number")
    if not 0 <= value <= 1:
        raise ValueError(f"{text} is not between 0 and 1")
    return value
