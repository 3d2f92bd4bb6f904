"""A reading comes in: it is found out which study it is about, entered, and recorded."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from pathlib import Path

from node.audit import Alert, Auditor, Peer, Person, Study, header_of
from node.feedback.said import ReadingError, Subject
from node.ledger import (
    Entered,
    Findings,
    Ledger,
    Reading,
    ReadingSource,
    Revision,
    digest_of_accession,
)
from node.spool import Spool

MOST_UNDER_WAY = 500
"""Series under way whose headers are read for an accession number, the longest due first."""


class UnknownSubjectError(ReadingError):
    """A reading is about something that never came to the node, or about more than one study."""


@dataclass(frozen=True)
class Target:
    """What a reading is about.

    Parameters
    ----------
    study_instance_uid : str
    series_instance_uid : str, optional
        None for every series of the study.
    revision_id : int
        Of one of its series.
    """

    study_instance_uid: str
    series_instance_uid: str | None
    revision_id: int


class Intake:
    """Where readings come in from files and other systems.

    Parameters
    ----------
    ledger : Ledger
    spool : Spool
    auditor : Auditor
    """

    def __init__(self, ledger: Ledger, spool: Spool, auditor: Auditor) -> None:
        self._ledger = ledger
        self._spool = spool
        self._auditor = auditor
        # A file stays as it is, and each label of a study that never came would read it again.
        self._accession_number = lru_cache(4 * MOST_UNDER_WAY)(_accession_number)

    def find(self, subject: Subject) -> Target:
        """What a reading is about.

        Raises
        ------
        UnknownSubjectError
            If that never came to the node, or cannot be told apart.
        """
        study = subject.study_instance_uid or None
        series = subject.series_instance_uid or None
        if study is None and series is None:
            study = self._study_of(subject.accession_number, subject.order_number)
        found = self._ledger.series_of(study=study, series=series)
        if not found:
            what = "series" if series else "study"
            raise UnknownSubjectError(f"no such {what} came to this node")
        if len({one.study_instance_uid for one in found}) > 1:
            raise UnknownSubjectError(
                "two studies have a series of this UID: give the Study Instance UID too"
            )
        return Target(found[0].study_instance_uid, series, found[0].revision_id)

    def enter(
        self,
        target: Target,
        findings: Findings,
        source: ReadingSource,
        reader: str,
        said_at: datetime | None,
        person: Person,
        remark: str | None = None,
        *,
        dry_run: bool = False,
    ) -> bool:
        """Enter what a reader says; False if that was known.

        Parameters
        ----------
        target : Target
        findings : mapping of Label to bool
        source : ReadingSource
        reader : str
        said_at : datetime.datetime, optional
            UTC; None for now.
        person : Person
            Who brings it, for the audit trail.
        remark : str, optional
        dry_run : bool
            Only look whether it is known.

        Raises
        ------
        UnknownSubjectError
            If the series was forgotten meanwhile.
        """
        reading = Reading(
            target.study_instance_uid,
            target.series_instance_uid,
            source,
            reader,
            self._ledger.clock() if said_at is None else said_at.timestamp(),
            findings,
            remark,
        )
        if dry_run:
            return not self._ledger.knows_reading(reading, is_dated=said_at is not None)
        enter = self._ledger.enter_reading
        entered = (self._ledger.enter_undated_reading if said_at is None else enter)(reading)
        if entered is Entered.NOT_THERE:
            raise UnknownSubjectError("the node has forgotten the series")
        if entered is Entered.NEW:
            revision = self._ledger.revision(target.revision_id)
            self._auditor.series_read(
                person, self._study(target, revision), target.series_instance_uid, source
            )
        return entered is Entered.NEW

    def turned_away(self, address: str, why: str) -> None:
        """Record that somebody was not listened to."""
        self._auditor.security_alert(Alert.REFUSED_PEER, why, Peer(address, "", address))

    def _study_of(self, *numbers: str) -> str:
        """The study of an accession number, the first one that any has."""
        for number in filter(None, numbers):
            digest = digest_of_accession(number)
            found = set() if digest is None else set(self._ledger.judged_of_accession(digest))
            found = found or set(self._under_way(number))
            if len(found) > 1:
                raise UnknownSubjectError(
                    f"{len(found)} studies have the accession number: give the Study Instance UID"
                )
            if found:
                return found.pop()
        raise UnknownSubjectError(
            "no series that this node has judged or is about to has the accession number: "
            "give the Study Instance UID"
        )

    def _under_way(self, accession_number: str) -> Iterator[str]:
        """Studies that are not judged yet, as far as their images have an accession number."""
        under_way = self._ledger.under_way()[:MOST_UNDER_WAY]
        firsts = self._ledger.first_instances(under_way) if under_way else {}
        for first in firsts.values():
            if self._accession_number(self._spool.path(first.path)) == accession_number:
                yield first.study_instance_uid

    def _study(self, target: Target, revision: Revision | None) -> Study:
        """The study, and whose it is, as far as an image of it still says so."""
        firsts = {} if revision is None else self._ledger.first_instances([revision])
        if revision is None or revision.id not in firsts:
            return Study(target.study_instance_uid)
        found = Study.of(header_of(self._spool.path(firsts[revision.id].path)))
        return Study(target.study_instance_uid, found.patient_id, found.accession_number)


def _accession_number(path: Path) -> str:
    return Study.of(header_of(path)).accession_number.strip()
