"""A source that speaks DIMSE: C-FIND, C-MOVE and C-GET of the Study Root model, as SCU.

References
----------
Query/Retrieve Service Class: DICOM PS3.4, C; its status codes C.4.1.1.4, C.4.2.1.5 and
C.4.3.1.4. Roles of who gets instances back by C-GET: PS3.7, D.3.3.4.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from pydicom.dataset import Dataset
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import build_role, evt
from pynetdicom.association import Association
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelMove,
)

from ml.errors import first_line
from node.audit import Peer
from node.dicom import application_entity, why_rejected
from node.errors import ConfigError, NotFetchedError, SourceError
from node.fetch.incoming import Limits, Taking, bound
from node.fetch.rules import as_count
from node.fetch.source import Fetched, FoundSeries, FoundStudy, Query, nothing_is_settled
from node.headers import text
from node.intake import STORAGE_CLASSES, Batch, transfer_syntaxes
from node.ledger import Way
from node.settings import Retrieve, Settings, SourceSettings
from node.spool import is_uid
from node.tls import client_context, why_not

log = logging.getLogger(__name__)

FIND = StudyRootQueryRetrieveInformationModelFind
MOVE = StudyRootQueryRetrieveInformationModelMove
GET = StudyRootQueryRetrieveInformationModelGet

TRANSFER_SYNTAXES = (ExplicitVRLittleEndian, ImplicitVRLittleEndian)
"""Of questions and answers."""

KEYS = {
    "STUDY": (
        *("StudyInstanceUID", "AccessionNumber", "StudyDate", "ModalitiesInStudy"),
        *("StudyTime", "StudyDescription", "NumberOfStudyRelatedInstances"),
    ),
    "SERIES": (
        *("StudyInstanceUID", "SeriesInstanceUID", "Modality", "SeriesDescription"),
        *("ProtocolName", "BodyPartExamined", "NumberOfSeriesRelatedInstances"),
    ),
    "IMAGE": ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID"),
}
"""What is asked of each level; an answer need not have more than the UIDs (PS3.4, C.6.2.1)."""

MOST_ANSWERS = 20_000
"""To one question: a source that gives more is not believed."""

LONGEST_ANSWER = 64 * 1024
"""To a C-FIND, bytes: what is asked for are a few short texts."""

LONGEST_END = 4 * 1024**2
"""Of a C-MOVE, bytes: it has the UIDs of all that was not sent (PS3.4, C.4.2.1.4.2)."""

MOST_WAITING = 8
"""Messages that wait while images come back; a peer that does not wait for answers is left."""

MOVE_S_PER_IMAGE = 1.0
"""Many peers say nothing until a whole series has gone by C-MOVE: so long they may take more."""

UNCOUNTED = 600
"""Images of a series that are expected where a peer does not count them."""

_PENDING = (0xFF00, 0xFF01)
_SUCCESS = 0x0000
_SOME_FAILED = 0xB000

_REASONS = {
    0x0122: "it does not know the service",
    0x0124: "it does not allow this node to",
    0xA700: "it is out of resources",
    0xA701: "it is out of resources: it cannot count what matches",
    0xA702: "it is out of resources: it cannot send, or not to this node",
    0xA801: "it does not know where to send to",
    0xA900: "it does not understand the question",
    0xFE00: "it has cancelled",
}


class PacsSource:
    """A PACS that is asked over associations, one for each question.

    Parameters
    ----------
    settings : Settings
    source : SourceSettings
        With AE title, host and port.
    """

    def __init__(self, settings: Settings, source: SourceSettings) -> None:
        self._settings = settings
        self._source = source
        assert source.ae_title is not None
        assert source.host is not None
        assert source.port is not None
        self._title, self._host, self._port = source.ae_title, source.host, source.port

    way = Way.C_GET

    @property
    def peer(self) -> Peer:
        """Who it is."""
        return Peer(self._source.name, self._title, self._host)

    def find(
        self, query: Query, is_settled: Callable[[FoundStudy], bool] = nothing_is_settled
    ) -> Iterator[FoundSeries]:
        """Ask for studies, then for the series of each: see `Source.find`."""
        with self._calling(FIND) as association:
            for study in self._studies(association, query):
                told = as_count(text(study, "NumberOfStudyRelatedInstances"))
                if not is_settled(FoundStudy(text(study, "StudyInstanceUID"), told)):
                    yield from self._series(association, study, query.modality)

    def _studies(self, association: Association, query: Query) -> list[Dataset]:
        question = _question("STUDY", **query.told())
        try:
            answers = self._ask(association, question)
        except _RefusedQuestion:  # the one key that not every peer knows (PS3.4, table C.6-5)
            del question.ModalitiesInStudy
            answers = self._ask(association, question)
        found: dict[str, Dataset] = {}
        for answer in answers:
            if is_asked_for(answer, query):
                found.setdefault(text(answer, "StudyInstanceUID"), answer)
        if odd := len(answers) - len(found):
            log.warning(
                "%s: %d of %d studies that it answers are there twice, have no UID or were not "
                "asked for",
                self._where,
                odd,
                len(answers),
            )
        return list(found.values())

    def _series(
        self, association: Association, study: Dataset, modality: str
    ) -> Iterator[FoundSeries]:
        uid = text(study, "StudyInstanceUID")
        question = _question("SERIES", StudyInstanceUID=uid, Modality=modality)
        for answer in self._ask(association, question):
            is_other = text(answer, "StudyInstanceUID") not in ("", uid)
            yield FoundSeries(
                "" if is_other else uid,  # which is passed over
                text(answer, "SeriesInstanceUID"),
                text(answer, "Modality"),
                text(answer, "SeriesDescription"),
                text(study, "StudyDescription"),
                text(answer, "ProtocolName"),
                text(answer, "BodyPartExamined"),
                text(study, "StudyDate"),
                text(study, "StudyTime"),
                text(study, "AccessionNumber"),
                as_count(text(answer, "NumberOfSeriesRelatedInstances")),
            )

    def instances(self, found: FoundSeries) -> frozenset[str] | None:
        """Ask for the images of a series: see `Source.instances`."""
        question = _question(
            "IMAGE",
            StudyInstanceUID=found.study_instance_uid,
            SeriesInstanceUID=found.series_instance_uid,
        )
        with self._calling(FIND) as association:
            try:
                answers = self._ask(association, question)
            except _RefusedQuestion:
                return None
        uids = frozenset(
            text(answer, "SOPInstanceUID")
            for answer in answers
            if text(answer, "SOPClassUID") in ("", *STORAGE_CLASSES)
        )
        return uids if answers and all(map(is_uid, uids)) else None

    def _ask(self, association: Association, question: Dataset) -> list[Dataset]:
        """Send a C-FIND and wait for all answers.

        Raises
        ------
        _RefusedQuestion
            If the peer answers with a failure.
        SourceError
            If it breaks off.
        """
        answers: list[Dataset] = []
        for status, answer in _guarded(
            lambda: association.send_c_find(question, FIND), self._where
        ):
            code = status.get("Status")
            if code is None:
                raise SourceError(
                    f"{self._broken(association)} after {len(answers)} answers to a C-FIND"
                )
            if code == _SUCCESS:
                return answers
            if code not in _PENDING:
                raise _RefusedQuestion(f"{self._where} refuses a C-FIND: {_reason(code)}")
            if answer is not None:
                answers.append(answer)
            if len(answers) > MOST_ANSWERS:
                association.abort()
                raise SourceError(
                    f"{self._where} gives more than {MOST_ANSWERS} answers to one C-FIND: "
                    "ask for fewer days"
                )
        raise SourceError(f"{self._where} does not end its answers to a C-FIND")

    def fetch(self, found: FoundSeries, batch: Batch, progress: Callable[[int], None]) -> Fetched:
        """Have a series sent: see `Source.fetch`."""
        wanted = Dataset()
        wanted.QueryRetrieveLevel = "SERIES"
        wanted.StudyInstanceUID = found.study_instance_uid
        wanted.SeriesInstanceUID = found.series_instance_uid
        if self._source.retrieve is Retrieve.MOVE:
            return self._move(wanted, found, progress)
        return self._get(wanted, found, batch, progress)

    def _move(
        self, wanted: Dataset, found: FoundSeries, progress: Callable[[int], None]
    ) -> Fetched:
        silence_s = MOVE_S_PER_IMAGE * (found.images or UNCOUNTED)
        title = self._settings.dicom.ae_title
        with self._calling(MOVE, silence_s) as association:
            end, code = self._suboperations(
                association, lambda: association.send_c_move(wanted, title, MOVE), progress
            )
        given = _number(end, "Completed") + _number(end, "Warning")
        failed = _number(end, "Failed")
        if code not in (_SUCCESS, _SOME_FAILED):
            raise NotFetchedError(f"{self._where} refuses a C-MOVE: {self._refusal(code)}")
        return Fetched(given, failed, self._remarks(end), is_elsewhere=True)

    def _get(
        self,
        wanted: Dataset,
        found: FoundSeries,
        batch: Batch,
        progress: Callable[[int], None],
    ) -> Fetched:
        taking = Taking(found, batch, progress)
        with self._calling(GET, taking=taking) as association:
            try:
                end, code = self._suboperations(
                    association, lambda: association.send_c_get(wanted, GET), lambda _: None
                )
            except SourceError:
                taking.raise_if_stopped()
                raise
            taking.raise_if_stopped()
        if code not in (_SUCCESS, _SOME_FAILED):
            raise NotFetchedError(f"{self._where} refuses a C-GET: {self._refusal(code)}")
        failed = max(_number(end, "Failed"), taking.refused)
        remarks = self._remarks(end)
        if taking.refused:
            remarks = (*remarks, f"{taking.refused} images were refused, see the quarantine")
        return Fetched(taking.taken, failed, remarks)

    def _suboperations(
        self,
        association: Association,
        send: Callable[[], Iterator[tuple[Dataset, Dataset | None]]],
        progress: Callable[[int], None],
    ) -> tuple[Dataset, int]:
        """Wait until a retrieval ends: its last answer, and the status in it."""
        done = 0
        for status, _ in _guarded(send, self._where):
            code = status.get("Status")
            if code is None:
                raise NotFetchedError(self._broken(association))
            done = max(done, _number(status, "Completed") + _number(status, "Warning"))
            if code not in _PENDING:
                return status, code
            progress(done)
        raise NotFetchedError(f"{self._where} does not end its answers")

    def _remarks(self, end: Dataset) -> tuple[str, ...]:
        failed, warned = _number(end, "Failed"), _number(end, "Warning")
        return tuple(
            f"{count} images {what}, as {self._title} says"
            for count, what in ((failed, "could not be sent"), (warned, "went with a warning"))
            if count
        )

    def _refusal(self, code: int) -> str:
        """Why it does not send, and what to do where that is known."""
        if self._source.retrieve is Retrieve.GET or code == 0xFE00:
            return _reason(code)
        dicom = self._settings.dicom
        listens = f"{dicom.ae_title} at this machine's address, port {dicom.port}"
        if code == 0xA801:
            return f"{_reason(code)}: make {listens}, known to it"
        return f"{_reason(code)}: does it reach {listens}, and does the node run?"

    def _broken(self, association: Association) -> str:
        """What became of an association that gives no more answers."""
        messages: Any = association.dimse
        return f"{self._where} {messages.trouble or 'breaks off'}"

    @property
    def _where(self) -> str:
        return f"{self._title} at {self._host}:{self._port}"

    @contextmanager
    def _calling(
        self,
        service: str,
        silence_s: float = 0.0,
        taking: Taking | None = None,
    ) -> Iterator[Association]:
        """Hold an association.

        Raises
        ------
        SourceError
            If the peer cannot be reached, rejects it, or does not accept the service.
        """
        dicom, timeout_s = self._settings.dicom, self._settings.fetch.timeout_s
        ae = application_entity(dicom.ae_title)
        ae.connection_timeout = ae.acse_timeout = timeout_s
        ae.dimse_timeout = timeout_s + silence_s
        ae.network_timeout = None  # what is waited for is an answer
        for abstract, syntax in contexts_of(service):
            ae.add_requested_context(UID(abstract), UID(syntax))
        longest = LONGEST_ANSWER if service == FIND else LONGEST_END
        limits = Limits(longest, "gives an answer that is too long", MOST_ANSWERS)
        if taking is not None:
            largest_mb = dicom.max_instance_mb
            too_large = f"sends an image of more than {largest_mb} MB, see [dicom] max_instance_mb"
            limits = Limits(largest_mb * 1024**2, too_large, MOST_WAITING)
        handlers: list[Any] = [(evt.EVT_CONN_OPEN, bound, [timeout_s, limits])]
        roles: list[Any] = []
        if taking is not None:
            handlers.append((evt.EVT_C_STORE, taking.handle_store))
            roles = [build_role(sop_class, scp_role=True) for sop_class in STORAGE_CLASSES]
        try:
            tls = client_context(self._source)
            association = ae.associate(
                self._host,
                self._port,
                ae_title=self._title,
                max_pdu=0,
                ext_neg=roles or None,
                tls_args=None if tls is None else (tls, self._host),
                evt_handlers=handlers,
            )
        except (OSError, RuntimeError, ValueError, ConfigError) as error:
            raise SourceError(f"{self._where} cannot be reached: {first_line(error)}") from error
        if association.is_rejected:
            why = why_rejected(association.acceptor.primitive)
            raise SourceError(f"{self._where} rejects the association: {why}")
        if not association.is_established:
            complaint = why_not(self._source, timeout_s)
            raise SourceError(
                f"{self._where} does not answer{f': {complaint}' if complaint else ''}"
            )
        if service not in {c.abstract_syntax for c in association.accepted_contexts}:
            association.release()
            raise SourceError(f"{self._where} does not accept {UID(service).name}")
        try:
            yield association
        except BaseException:
            if association.is_established:
                association.abort()
            raise
        if association.is_established:
            association.release()


class _RefusedQuestion(SourceError):
    """The peer answers a C-FIND with a failure."""


def _guarded(
    send: Callable[[], Iterator[tuple[Dataset, Dataset | None]]], where: str
) -> Iterator[tuple[Dataset, Dataset | None]]:
    """Send a request and give the answers.

    Raises
    ------
    SourceError
        If the association has ended, or does not take the request.
    """
    try:
        yield from send()
    except (RuntimeError, ValueError, AttributeError) as error:
        raise SourceError(f"{where} has ended the association: {first_line(error)}") from error


def contexts_of(service: str) -> list[tuple[str, str]]:
    """Abstract and transfer syntaxes that are proposed for a service of Query/Retrieve."""
    own = [(service, str(syntax)) for syntax in TRANSFER_SYNTAXES]
    if service != GET:
        return own
    # A context each: the peer may have an image in any of them.
    syntaxes = transfer_syntaxes()
    return own + [(str(c), str(syntax)) for c in STORAGE_CLASSES for syntax in syntaxes]


def _question(level: str, **given: str) -> Dataset:
    """An identifier: what is asked for, and what is to be told of it (PS3.4, C.4.1.1.3)."""
    question = Dataset()
    question.QueryRetrieveLevel = level
    for keyword in KEYS[level]:
        setattr(question, keyword, given.get(keyword, ""))
    return question


def is_asked_for(answer: Dataset, query: Query) -> bool:
    """Whether a study is one that was asked for, and has a UID."""
    told = ("StudyInstanceUID", "StudyDate", "AccessionNumber")
    return query.is_answered_by(*(text(answer, keyword) for keyword in told))


def _number(status: Dataset, what: str) -> int:
    """A number of sub-operations, whatever a peer puts there."""
    value = status.get(f"NumberOf{what}Suboperations")
    return value if isinstance(value, int) and value > 0 else 0


def _reason(code: int) -> str:
    return f"{_REASONS.get(code, 'it cannot')} (0x{code:04X})"
