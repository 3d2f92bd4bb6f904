"""The spool: received instances as files, one folder for each study and series.

::

    spool/<Study Instance UID>/<Series Instance UID>/<SOP Instance UID>.<digest>.dcm
    quarantine/<time>-<id>/{instance.dcm, reason.txt}

A file is complete when it has its name: it is written and synchronised under
another one first. The digest in the name keeps two contents of one UID apart.
"""

import errno
import hashlib
import os
import re
import secrets
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from node.errors import SpoolError

PROBABILITIES = "probabilities.json"
"""The file beside a revision's result objects that holds every slice's probabilities."""

SHADOW = "shadow.json"
"""Beside it: those of the second model, which nothing is ever made from that leaves the node."""

_UID = re.compile(r"[0-9]+(\.[0-9]+)*")


def is_uid(value: str) -> bool:
    """Whether a value is made like a UID (PS3.5, 9.1): digits and dots, 64 at most.

    Components with a leading zero are taken, though the standard forbids them:
    devices in use write them.
    """
    return len(value) <= 64 and _UID.fullmatch(value) is not None


def digest_of(content: bytes) -> str:
    """SHA-256, hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def write_durably(path: Path, content: bytes) -> None:
    """Write a file so that it is either whole under its name or not there.

    Raises
    ------
    OSError
        If the disk does not take it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name[:64]}.{secrets.token_hex(4)}.part")
    try:
        with part.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError:
        with suppress(OSError):
            part.unlink()
        raise
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _is_there(path: Path, content: bytes) -> bool:
    """Whether a file holds a content already; one that was altered is written again."""
    try:
        return path.read_bytes() == content
    except FileNotFoundError:
        return False


@dataclass(frozen=True)
class Spool:
    """The files of a node.

    Parameters
    ----------
    home : pathlib.Path
        The node's folder.
    """

    home: Path

    @property
    def folder(self) -> Path:
        """Where received instances lie."""
        return self.home / "spool"

    @property
    def results(self) -> Path:
        """Where result objects lie."""
        return self.home / "results"

    @property
    def quarantined(self) -> Path:
        """Where refused instances lie."""
        return self.home / "quarantine"

    def keep(self, study: str, series: str, instance: str, digest: str, content: bytes) -> Path:
        """Put an instance on the disk.

        Parameters
        ----------
        study, series, instance : str
            UIDs for which `is_uid` holds.
        digest : str
            What tells this content from another one of the same UID.
        content : bytes
            A DICOM file.

        Returns
        -------
        pathlib.Path
            Relative to `folder`; synchronised to the disk.

        Raises
        ------
        SpoolError
            If the disk does not take it.
        """
        for uid in (study, series, instance):
            if not is_uid(uid):
                raise SpoolError(f"not a UID: {uid[:80]!r}")
        relative = self.place(study, series, instance, digest)
        try:
            try:
                self._write(relative, content)
            except FileNotFoundError:  # a folder was empty, and was removed meanwhile
                self._write(relative, content)
        except OSError as error:
            raise SpoolError(
                f"the spool {self.folder} cannot be written: {error.strerror}"
            ) from error
        return relative

    def _write(self, relative: Path, content: bytes) -> None:
        study, series, _ = relative.parts
        folders = (self.folder, self.folder / study, self.folder / study / series)
        fresh = [folder for folder in folders if not folder.exists()]
        if not _is_there(self.folder / relative, content):
            write_durably(self.folder / relative, content)
            for folder in fresh:
                _sync_folder(folder.parent)

    @staticmethod
    def place(study: str, series: str, instance: str, digest: str) -> Path:
        """Where an instance lies, relative to `folder`."""
        return Path(study) / series / f"{instance}.{digest[:16]}.dcm"

    def quarantine(self, content: bytes, reason: str) -> Path:
        """Put a refused instance aside, with the reason.

        Returns
        -------
        pathlib.Path
            The folder that it lies in now.

        Raises
        ------
        SpoolError
            If the disk does not take it.
        """
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S")
        folder = self.quarantined / f"{stamp}-{secrets.token_hex(4)}"
        try:
            write_durably(folder / "instance.dcm", content)
            write_durably(folder / "reason.txt", f"{reason}\n".encode(errors="backslashreplace"))
        except OSError as error:
            raise SpoolError(f"{self.quarantined} cannot be written: {error.strerror}") from error
        return folder

    def path(self, relative: Path) -> Path:
        """Where an instance lies."""
        return self.folder / relative

    def holds(self, relative: Path, digest: str) -> bool:
        """Whether a file holds what was received; False if it is gone or altered.

        Parameters
        ----------
        relative : pathlib.Path
        digest : str
            SHA-256 of the file.

        Raises
        ------
        SpoolError
            If that cannot be told: the spool as a whole is not there, or not to be read.
        """
        if not self.folder.is_dir():
            raise SpoolError(f"the spool {self.folder} is not there: is its disk mounted?")
        try:
            content = self.path(relative).read_bytes()
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.EIO):
                return False
            raise SpoolError(
                f"{relative} cannot be read from the spool: {error.strerror}"
            ) from error
        return digest_of(content) == digest

    def results_folder(self, study: str, series: str, revision: int) -> Path:
        """Where the results of a revision lie."""
        return self.results / study / series / f"r{revision}"
