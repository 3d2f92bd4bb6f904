"""A source that speaks DICOMweb: QIDO-RS to ask what it has, WADO-RS to be given it.

References
----------
Search transaction: DICOM PS3.18, 10.6. Retrieve transaction: PS3.18, 10.4.
"""

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus

from pynetdicom import AllStoragePresentationContexts

from node.audit import Peer
from node.dicom import Status
from node.dicomweb import DICOMwebError, Match, Web
from node.errors import ConfigError, NotFetchedError, NotStoredError, RefusedInstance, SourceError
from node.fetch.rules import as_count
from node.fetch.source import Fetched, FoundSeries, FoundStudy, Query, nothing_is_settled
from node.intake import STORAGE_CLASSES, Batch, file_content, transfer_syntaxes
from node.ledger import Way
from node.part10 import Part10, take_apart
from node.reading import Identity, check_command
from node.settings import Settings, SourceSettings
from node.spool import is_uid

log = logging.getLogger(__name__)

_LONGEST_SENDER = 16
"""Of an AE title, which stands where the name of a server does (PS3.5, 6.2)."""

MOST_IN_A_ROW = 3
"""Instances that a server does not give, one after the other: then it is not asked for the rest."""

_OTHER_CLASSES = {
    str(context.abstract_syntax) for context in AllStoragePresentationContexts
}.difference(STORAGE_CLASSES)
"""Of objects that peers store elsewhere, and that a series may hold beside its images."""

_GONE = (HTTPStatus.NOT_FOUND, HTTPStatus.GONE)

_STUDY_FIELDS = ("StudyDescription", "NumberOfStudyRelatedInstances")
_SERIES_FIELDS = (
    "SeriesDescription",
    "ProtocolName",
    "BodyPartExamined",
    "NumberOfSeriesRelatedInstances",
)


class WebSource:
    """A PACS that is asked by DICOMweb, over one connection for each question.

    Parameters
    ----------
    settings : Settings
    source : SourceSettings
        With a URL.
    """

    def __init__(self, settings: Settings, source: SourceSettings) -> None:
        self._source = source
        self._timeout_s = settings.fetch.timeout_s
        self._max_mb = settings.dicom.max_instance_mb

    way = Way.WADO_RS

    @property
    def peer(self) -> Peer:
        """Who it is."""
        name = self._source.name
        return Peer(name, name[:_LONGEST_SENDER], self._source.address[0])

    def find(
        self, query: Query, is_settled: Callable[[FoundStudy], bool] = nothing_is_settled
    ) -> Iterator[FoundSeries]:
        """Ask for studies, then for the series of each: see `Source.find`."""
        with self._asking() as web:
            # Of what may be much, no more is held than is told.
            studies = [_told(study) for study in web.studies(_wanted(query), _STUDY_FIELDS)]
            asked = [study for study in studies if _is_asked_for(study, query)]
            if odd := len(studies) - len(asked):
                log.warning(
                    "%s: %d of %d studies that it answers have no UID or were not asked for",
                    self._source.where,
                    odd,
                    len(studies),
                )
            for study in asked:
                uid = study["StudyInstanceUID"]
                told = FoundStudy(uid, as_count(study["NumberOfStudyRelatedInstances"]))
                if not is_settled(told):
                    for series in web.series(uid, {"Modality": query.modality}, _SERIES_FIELDS):
                        yield _found(study, series)

    def instances(self, found: FoundSeries) -> frozenset[str] | None:
        """Ask for the instances of a series: see `Source.instances`."""
        _check(found)
        with self._asking() as web:
            return _instances(web, found)

    def fetch(self, found: FoundSeries, batch: Batch, progress: Callable[[int], None]) -> Fetched:
        """Retrieve a series, and take each instance as it comes: see `Source.fetch`.

        A server that breaks off, or cannot give the whole, is asked for what is left, one by
        one: an instance that it has lost keeps no other back. Where it has given nothing, it is
        ill if it answers no search either; else it is this series that it does not give.
        """
        _check(found)
        taking = _Taking(found, batch, self._max_mb, progress)
        with self._asking() as web:
            try:
                self._retrieve(web, found, taking)
            except DICOMwebError as error:
                if error.status in _GONE:
                    raise self._not_fetched(error, taking) from error
                if not taking.given and not _is_well(web):
                    raise
                self._retrieve_one_by_one(web, found, taking, error)
        return Fetched(taking.given, taking.failed, taking.remarks)

    def _retrieve(
        self, web: Web, found: FoundSeries, taking: "_Taking", instance: str | None = None
    ) -> None:
        study, series = found.study_instance_uid, found.series_instance_uid
        for content in web.retrieve(study, series, self._max_mb * 1024**2, instance):
            taking.take(content)

    def _retrieve_one_by_one(
        self, web: Web, found: FoundSeries, taking: "_Taking", trouble: DICOMwebError
    ) -> None:
        """Ask for each instance that has not come.

        Raises
        ------
        NotFetchedError
            If that is of no use.
        """
        failures = 0
        try:
            told = _instances(web, found)
            for uid in sorted((told or frozenset()) - taking.came):
                try:
                    self._retrieve(web, found, taking, uid)
                    failures = 0
                except DICOMwebError:
                    failures += 1
                    if failures >= MOST_IN_A_ROW:
                        raise
                    taking.lost += 1
        except DICOMwebError as error:
            raise self._not_fetched(error, taking) from error
        if told is None or not taking.given:
            raise self._not_fetched(trouble, taking)

    def _not_fetched(self, error: DICOMwebError, taking: "_Taking") -> NotFetchedError:
        return NotFetchedError(f"{self._source.where}: {error.trouble} after {taking.given} images")

    @contextmanager
    def _asking(self) -> Iterator[Web]:
        """Hold a connection.

        Raises
        ------
        SourceError
            If the server cannot be asked, or does not answer as it should.
        """
        try:
            with Web(self._source, self._timeout_s) as web:
                yield web
        except (ConfigError, DICOMwebError) as error:
            raise SourceError(f"{self._source.where}: {error}") from error


def _wanted(query: Query) -> dict[str, str]:
    wanted = {"ModalitiesInStudy": query.modality}
    if query.study_instance_uid is not None:
        wanted["StudyInstanceUID"] = query.study_instance_uid
    if query.accession_number is not None:
        wanted["AccessionNumber"] = query.accession_number
    if query.first is not None and query.last is not None:
        wanted["StudyDate"] = f"{query.first:%Y%m%d}-{query.last:%Y%m%d}"
    return wanted


def _told(study: Match) -> dict[str, str]:
    keywords = ("StudyInstanceUID", "StudyDate", "StudyTime", "AccessionNumber", *_STUDY_FIELDS)
    return {keyword: study.text(keyword) for keyword in keywords}


def _is_asked_for(study: Mapping[str, str], query: Query) -> bool:
    return query.is_answered_by(
        study["StudyInstanceUID"], study["StudyDate"], study["AccessionNumber"]
    )


def _found(study: Mapping[str, str], series: Match) -> FoundSeries:
    return FoundSeries(
        series.text("StudyInstanceUID") or study["StudyInstanceUID"],
        series.text("SeriesInstanceUID"),
        series.text("Modality"),
        series.text("SeriesDescription"),
        study["StudyDescription"],
        series.text("ProtocolName"),
        series.text("BodyPartExamined"),
        study["StudyDate"],
        study["StudyTime"],
        study["AccessionNumber"],
        as_count(series.text("NumberOfSeriesRelatedInstances")),
    )


def _instances(web: Web, found: FoundSeries) -> frozenset[str] | None:
    matches = web.instances(found.study_instance_uid, found.series_instance_uid)
    told = [(match.text("SOPInstanceUID"), match.text("SOPClassUID")) for match in matches]
    uids = frozenset(uid for uid, sop_class in told if sop_class in ("", *STORAGE_CLASSES))
    return uids if told and all(map(is_uid, uids)) else None


def _is_well(web: Web) -> bool:
    try:
        web.probe()
    except DICOMwebError:
        return False
    return True


def _check(found: FoundSeries) -> None:
    """See that what was found can stand in an address."""
    if not is_uid(found.study_instance_uid) or not is_uid(found.series_instance_uid):
        raise NotFetchedError("its Study or Series Instance UID is none")


class _Taking:
    """Takes what comes of a series, and counts it.

    Parameters
    ----------
    found : FoundSeries
        What was asked for.
    batch : Batch
    max_mb : int
        What one may have.
    progress : callable
        Is told how many were taken.
    """

    def __init__(
        self, found: FoundSeries, batch: Batch, max_mb: int, progress: Callable[[int], None]
    ) -> None:
        self._asked = found.study_instance_uid, found.series_instance_uid
        self._batch = batch
        self._max_mb = max_mb
        self._syntaxes = frozenset(map(str, transfer_syntaxes()))
        self._progress = progress
        self.came: set[str] = set()
        """SOP Instance UIDs of what was taken."""
        self.lost = 0
        """Instances that the server has and did not give."""
        self._again = self._refused = self._larger = self._other = 0

    @property
    def given(self) -> int:
        """How many instances were taken, each once."""
        return len(self.came)

    @property
    def failed(self) -> int:
        """How many were not."""
        return self.lost + self._refused + self._larger

    @property
    def remarks(self) -> tuple[str, ...]:
        """What a person has to know."""
        remarks = (
            (self.lost, "images it does not give"),
            (self._refused, "images were refused, see the quarantine"),
            (self._larger, f"images have more than {self._max_mb} MB: see [dicom] max_instance_mb"),
            (self._again, "images came more than once"),
            (self._other, "objects are of classes that the node does not take"),
        )
        return tuple(f"{count} {what}" for count, what in remarks if count)

    def take(self, content: bytes | None) -> None:
        """Take what should be an instance.

        Raises
        ------
        NotFetchedError
            If it cannot be stored now: the next one would fare no better.
        """
        if content is None:
            self._larger += 1
            return
        try:
            uid = self._taken(content)
        except RefusedInstance:
            self._refused += 1
            return
        except NotStoredError as error:
            raise NotFetchedError(str(error)) from error
        if uid is None:
            self._other += 1
        else:
            self._again += uid in self.came
            self.came.add(uid)
            self._progress(self.given)

    def _taken(self, content: bytes) -> str | None:
        """Take a file as if its dataset had come by C-STORE: the same bytes, the same checks.

        What nobody would send by C-STORE, since no presentation context is accepted for it,
        as a report of the dose, is let go: None.
        """
        try:
            file = take_apart(content)
            if file.sop_class in _OTHER_CLASSES:
                return None
            self._check_decodable(file)
        except RefusedInstance as refusal:
            self._batch.take(content, _refuse(refusal))  # puts it aside
            raise
        made = file_content(file.sop_class, file.instance, file.transfer_syntax, file.dataset)

        def check(identity: Identity) -> None:
            check_command(identity, file.sop_class, file.instance, file.sop_class)
            if identity.sop_class not in STORAGE_CLASSES:
                raise RefusedInstance(
                    f"SOPClassUID is {identity.sop_class}, which the node does not take",
                    Status.DOES_NOT_MATCH_SOP_CLASS,
                )
            if (identity.study, identity.series) != self._asked:
                raise RefusedInstance(
                    "it is of another series than the one that was asked for",
                    Status.DOES_NOT_MATCH_SOP_CLASS,
                )

        self._batch.take(made, check)
        return file.instance

    def _check_decodable(self, file: Part10) -> None:
        if file.transfer_syntax not in self._syntaxes:
            raise RefusedInstance(
                f"its transfer syntax, {file.transfer_syntax[:64]!r}, cannot be decoded",
                Status.CANNOT_UNDERSTAND,
            )


def _refuse(refusal: RefusedInstance) -> Callable[[Identity], None]:
    """A check that lets nothing pass: what is refused is put aside."""

    def check(_: Identity) -> None:
        raise refusal

    return check
