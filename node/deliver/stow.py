"""Objects to a DICOMweb server: STOW-RS.

References
----------
Store transaction: DICOM PS3.18, 10.5. Failure Reasons: PS3.18, I.2.2.
"""

from collections.abc import Sequence
from http import HTTPStatus
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import pydicom
import pydicom.filereader
from pydicom.errors import InvalidDicomError

from ml.errors import first_line
from node.deliver.association import BrokenOffError, NotTakenError
from node.deliver.syntax import wanted_by
from node.dicomweb import DICOMwebError, StoreAnswer, Web
from node.encoding import read_as
from node.errors import ConfigError, DeliveryError
from node.settings import DeliverSettings, Destination

MOST_TOGETHER = 20
"""Objects in one request at most."""

MOST_BYTES = 16 * 1024**2
"""A request that holds so much takes no further object."""

DUPLICATE = 0x0111
"""Failure Reason of an object that is there already."""

_OF_AN_OBJECT = (
    HTTPStatus.BAD_REQUEST,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    HTTPStatus.UNPROCESSABLE_ENTITY,
)
"""Answers to a request that may be for one object in it; so is 500, unless the next gets it too."""


class _File(NamedTuple):
    """An object to store."""

    path: Path
    content: bytes
    study: str
    series: str
    uid: str


class StowSender:
    """Many objects over one connection, several in a request, as a context.

    Parameters
    ----------
    peer : Destination
        One with a URL.
    paths : sequence of pathlib.Path
        What will be sent, in that order.
    rules : DeliverSettings
    """

    def __init__(self, peer: Destination, paths: Sequence[Path], rules: DeliverSettings) -> None:
        self._peer = peer
        self._paths = list(paths)
        self._timeout_s = rules.timeout_s
        self._outcomes: dict[Path, str | NotTakenError | None] = {}
        self._alone: set[Path] = set()  # of a request that was refused as a whole
        self._is_full = False
        self._errors_in_a_row = 0

    def __enter__(self) -> "StowSender":
        try:
            self._web = Web(self._peer, self._timeout_s)
        except ConfigError as error:
            raise DeliveryError(f"{self._peer.where} cannot be reached: {error}") from error
        return self

    def __exit__(self, *_: object) -> None:
        self._web.__exit__()

    def send(self, path: Path) -> str | None:
        """Store one object; those after it may go with it, and their answers wait here.

        Parameters
        ----------
        path : pathlib.Path
            Its file.

        Returns
        -------
        str, optional
            A remark where it is stored, and not without one.

        Raises
        ------
        NotTakenError
            If the server answers that it has not stored it, or does not say that it has.
        BrokenOffError
            If it goes away or says nothing when it is given this object alone.
        DeliveryError
            If it is ill: other objects would fare no better.
        """
        while path not in self._outcomes:
            if self._is_full:
                raise DeliveryError(f"{self._peer.where} is out of resources")
            self._store(self._together(path))
        outcome = self._outcomes.pop(path)
        if isinstance(outcome, NotTakenError):
            raise outcome
        return outcome

    def _together(self, path: Path) -> list[Path]:
        """An object, and those after it that go in the same request."""
        if path in self._alone:
            return [path]
        start = self._paths.index(path)
        chosen, size = [path], _size(path)
        for other in self._paths[start + 1 : start + MOST_TOGETHER]:
            size += _size(other)
            if size > MOST_BYTES or other in self._alone:
                break
            chosen.append(other)
        return chosen

    def _store(self, paths: Sequence[Path]) -> None:
        """Send one request, and note what comes of each object in it."""
        files: list[_File] = []
        for path in paths:
            try:
                files.append(_read(path, self._peer))
            except (OSError, LookupError, AttributeError, InvalidDicomError) as error:
                what = f"{path.name} cannot be sent: {first_line(error)}"
                self._outcomes[path] = NotTakenError(what)
        if not files:
            return
        try:
            answer = self._web.store([file.content for file in files])
        except DICOMwebError as error:
            self._refused([file.path for file in files], error)
            return
        self._errors_in_a_row = 0
        for file in files:
            is_told = file.uid in answer.stored or file.uid in answer.failed
            if answer.status == HTTPStatus.CONFLICT and not is_told and len(files) > 1:
                self._alone.add(file.path)  # one of them is at fault, and it does not say which
            else:
                self._outcomes[file.path] = self._outcome(file, answer)

    def _refused(self, paths: Sequence[Path], error: DICOMwebError) -> None:
        """See whether one object is at fault, or the server is ill.

        Raises
        ------
        BrokenOffError
            If it goes away for one object.
        DeliveryError
            If it is ill.
        """
        what = f"{self._peer.where}: {error}"
        if error.has_broken_off:
            if len(paths) == 1:
                raise BrokenOffError(what) from error
            self._alone.update(paths)
            return
        is_error = error.status == HTTPStatus.INTERNAL_SERVER_ERROR
        if is_error and len(paths) == 1:
            self._errors_in_a_row += 1
        if error.status not in _OF_AN_OBJECT and (not is_error or self._errors_in_a_row > 1):
            raise DeliveryError(what, error.after_s, paths[1:]) from error
        if len(paths) > 1:
            self._alone.update(paths)
        else:
            self._outcomes[paths[0]] = NotTakenError(what)

    def _outcome(self, file: _File, answer: StoreAnswer) -> str | NotTakenError | None:
        """What an answer says of an object; where that is nothing, what a search says."""
        if file.uid in answer.stored:
            warning = answer.stored[file.uid]
            return None if warning is None else f"stored with warning 0x{warning:04X}"
        reason = answer.failed.get(file.uid)
        if reason is None:
            return self._looked_for(file, f"answers {answer.status} and nothing of the object")
        if reason == DUPLICATE:
            return self._looked_for(file, "answers that it is there")
        refusal = NotTakenError(f"{self._peer.where} answers 0x{reason:04X}", reason)
        if refusal.is_out_of_resources:
            # What was answered for in the same request is noted first; then it rests.
            self._is_full = True
            return NotTakenError(str(refusal))
        return refusal

    def _looked_for(self, file: _File, what: str) -> str | NotTakenError:
        where = self._peer.where
        try:
            found = self._web.instances(file.study, file.series, {"SOPInstanceUID": file.uid})
            if any(match.text("SOPInstanceUID") == file.uid for match in found):
                return f"stored: it {what}, and a search finds it"
        except DICOMwebError as error:
            return NotTakenError(f"{where} {what}, and no search is answered: {error}")
        return NotTakenError(f"{where} {what}, and a search does not find it")


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # told when it is read
        return 0


def _read(path: Path, peer: Destination) -> _File:
    """An object as it goes to a server: in the transfer syntax that is wanted there."""
    content = path.read_bytes()
    meta = pydicom.filereader.read_file_meta_info(path)
    wanted = wanted_by(peer, meta.MediaStorageSOPClassUID)
    if wanted is not None and wanted != meta.TransferSyntaxUID:
        encoded = BytesIO()
        read_as(path, wanted).save_as(encoded, enforce_file_format=True)
        content = encoded.getvalue()
    keywords = ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"]
    header = pydicom.dcmread(BytesIO(content), stop_before_pixels=True, specific_tags=keywords)
    return _File(path, content, *(str(header[keyword].value) for keyword in keywords))
