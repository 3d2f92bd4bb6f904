"""Files that are whole or not there, and journals that survive a kill."""

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

from ml.errors import first_line
from training.errors import TrainingError

PART = ".part"
"""Ends the name of a file that is not whole yet."""


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Tell what to do when something cannot be written, a full disk above all.

    Raises
    ------
    TrainingError
        In place of an OSError.
    """
    try:
        yield
    except OSError as error:
        raise TrainingError(
            f"{path} cannot be written: {_why(error)}; what is there already stays, "
            "make room and run the same command again"
        ) from error


def _why(error: BaseException) -> str:
    """What the system says; pydicom hides it behind an error of its own."""
    inner: BaseException | None = error
    while inner is not None:
        if isinstance(inner, OSError) and inner.errno:
            return os.strerror(inner.errno)
        inner = inner.__cause__
    return first_line(error)


@contextmanager
def whole(path: Path) -> Iterator[BinaryIO]:
    """A file to write to that gets its name only when it is whole.

    Parameters
    ----------
    path : pathlib.Path
        Until then it is called so with ``.part`` at the end.

    Raises
    ------
    TrainingError
        If it cannot be written.
    """
    part = path.with_name(path.name + PART)
    with writing(path):
        try:
            with part.open("wb") as file:
                yield file
            part.replace(path)
        except BaseException:
            part.unlink(missing_ok=True)
            raise


class Journal:
    """A file that grows by one line of JSON for each thing that is done.

    The first line says what the things have in common. A line that was cut by a
    kill is taken off when the journal is opened again.

    Parameters
    ----------
    path : pathlib.Path
        Made if it is not there.
    about : mapping
        What all things have in common.

    Raises
    ------
    TrainingError
        If it was begun with something else in common, cannot be read or
        written, or another process has it open.
    """

    def __init__(self, path: Path, about: Mapping[str, object]) -> None:
        self.path = path
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self.file = path.open("a+b")
        try:
            fcntl.flock(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self.file.close()
            raise TrainingError(f"{path.parent} is being written by another process") from error
        try:
            self.entries = self._recover(dict(about))
        except BaseException:
            self.file.close()
            raise

    def _recover(self, about: dict[str, object]) -> list[dict[str, Any]]:
        self.file.seek(0)
        content = self.file.read()
        kept = content.rfind(b"\n") + 1
        if kept < len(content):
            with writing(self.path):
                self.file.truncate(kept)
        try:
            begun, *entries = [json.loads(line) for line in content[:kept].splitlines()] or [None]
        except ValueError as error:
            raise TrainingError(
                f"{self.path} is damaged; delete it, and all is done anew"
            ) from error
        if begun is None:
            self.append(about)
        elif begun != about:
            differing = [k for k in {*begun, *about} if begun.get(k) != about.get(k)]
            told = "; ".join(
                f"{k} was {begun.get(k)}, now it is {about.get(k)}" for k in sorted(differing)
            )
            raise TrainingError(
                f"{self.path.parent} was begun otherwise: {told}; give another folder, "
                "or delete this one to begin anew"
            )
        return entries

    def append(self, entry: Mapping[str, object]) -> None:
        """Add a line; it is in the file when this returns."""
        with writing(self.path):
            self.file.write(json.dumps(entry, separators=(",", ":")).encode() + b"\n")
            self.file.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.file.close()
