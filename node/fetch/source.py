"""What a source is, whatever it speaks: it is asked what it has, and gives it.

A source tells what it was told; whether that can be, what of it is wanted and what has come is
found out by those who use it.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from typing import Protocol

from node.audit import Peer
from node.intake import Batch
from node.ledger import Way
from node.spool import is_uid


@dataclass(frozen=True)
class Query:
    """What a source is asked for: all that is given has to hold.

    Parameters
    ----------
    study_instance_uid, accession_number : str, optional
    first, last : datetime.date, optional
        Study Date, both included; given together.
    modality : str
    """

    study_instance_uid: str | None = None
    accession_number: str | None = None
    first: date | None = None
    last: date | None = None
    modality: str = "CT"

    def told(self) -> dict[str, str]:
        """The keys that are given and their values, as DICOM has them (PS3.4, C.2.2.2)."""
        dates = f"{self.first:%Y%m%d}-{self.last:%Y%m%d}" if self.first and self.last else ""
        keys = {
            "StudyInstanceUID": self.study_instance_uid or "",
            "AccessionNumber": self.accession_number or "",
            "StudyDate": dates,
            "ModalitiesInStudy": self.modality,
        }
        return {keyword: value for keyword, value in keys.items() if value}

    def is_answered_by(self, study: str, day: str, accession_number: str) -> bool:
        """Whether a study was asked for, and has a UID; what is not told of it is empty."""
        if not is_uid(study) or self.study_instance_uid not in (None, study):
            return False
        if self.accession_number and accession_number not in ("", self.accession_number):
            return False
        if self.first is None or self.last is None or not day:
            return True
        return f"{self.first:%Y%m%d}" <= day.replace(".", "") <= f"{self.last:%Y%m%d}"


@dataclass(frozen=True)
class FoundStudy:
    """A study as a source tells of it, before its series are asked for.

    Parameters
    ----------
    study_instance_uid : str
    images : int, optional
        Number of Study Related Instances; None where it is not told.
    """

    study_instance_uid: str
    images: int | None = None


@dataclass(frozen=True)
class FoundSeries:
    """A series as a source tells of it; a text that it does not tell is empty.

    Parameters
    ----------
    study_instance_uid, series_instance_uid : str
        As they came: they need not be UIDs.
    modality : str
    description, study_description, protocol_name, body_part : str
        Series Description, Study Description, Protocol Name, Body Part Examined.
    study_date, study_time : str
        As DA and TM have them (PS3.5, 6.2).
    accession_number : str
    images : int, optional
        Number of Series Related Instances; None where it is not told.
    """

    study_instance_uid: str
    series_instance_uid: str
    modality: str = ""
    description: str = ""
    study_description: str = ""
    protocol_name: str = ""
    body_part: str = ""
    study_date: str = ""
    study_time: str = ""
    accession_number: str = ""
    images: int | None = None


@dataclass(frozen=True)
class Fetched:
    """What a source says it has given of a series: what came is in the ledger.

    Parameters
    ----------
    given : int
        Instances.
    failed : int
        Instances that it could not give, or that the node did not take.
    remarks : tuple of str
        What a person has to know of it; nothing out of a dataset.
    is_all : bool
        Whether it says that it has given what it can.
    is_elsewhere : bool
        Whether it sends to the node's own port, so that something may be on its way still.
    """

    given: int
    failed: int = 0
    remarks: tuple[str, ...] = ()
    is_all: bool = True
    is_elsewhere: bool = False


def nothing_is_settled(_study: FoundStudy) -> bool:
    """Ask for the series of every study."""
    return False


class Source(Protocol):
    """A system that has series. Its methods may be called from any thread, one at a time."""

    @property
    def peer(self) -> Peer:
        """Who it is, for the audit trail and as the sender of what it gives."""

    @property
    def way(self) -> Way:
        """How what it gives over the connection that asks comes in."""

    def find(
        self, query: Query, is_settled: Callable[[FoundStudy], bool] = nothing_is_settled
    ) -> Iterator[FoundSeries]:
        """Ask what series it has.

        Parameters
        ----------
        query : Query
        is_settled : callable
            Whether a study need not be asked for its series.

        Raises
        ------
        SourceError
            If it does not answer, or not to the end. What was given until then counts.
        """

    def instances(self, found: FoundSeries) -> frozenset[str] | None:
        """SOP Instance UIDs of a series, of classes that the node takes; None: it does not tell.

        None of them where all that it has is of other classes, as reports of the dose are.

        Raises
        ------
        SourceError
            If it does not answer.
        """

    def fetch(self, found: FoundSeries, batch: Batch, progress: Callable[[int], None]) -> Fetched:
        """Have it give a series.

        Parameters
        ----------
        found : FoundSeries
        batch : Batch
            Takes what comes over the connection that asks; the caller ends it. What the source
            sends to the node's own port comes in there.
        progress : callable
            Is told how many instances were given so far. It may wait, and what it raises ends
            the fetch.

        Raises
        ------
        NotFetchedError
            If it does not give this series; others may still be had.
        SourceError
            If it is ill, or breaks off.
        """
