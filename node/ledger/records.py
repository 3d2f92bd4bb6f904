"""The states of things, and the values that the ledger gives out."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path

from node.settings import ROUTINE


class State(StrEnum):
    """Where a revision of a series is on its way."""

    RECEIVING = "receiving"
    READY = "ready"
    ANALYZING = "analyzing"
    REPORTED = "reported"
    DELIVERED = "delivered"
    SKIPPED = "skipped"
    FAILED = "failed"


class DeliveryState(StrEnum):
    """Where one object is on its way to one destination."""

    PENDING = "pending"
    SENT = "sent"
    COMMITTED = "committed"
    CREATED = "created"
    REPLACED = "replaced"
    FAILED = "failed"


class FetchState(StrEnum):
    """What became of a series that a source has."""

    WANTED = "wanted"
    FETCHING = "fetching"
    FETCHED = "fetched"
    KNOWN = "known"
    REFUSED = "refused"
    FAILED = "failed"


class Way(StrEnum):
    """How an instance came in."""

    C_STORE = "c-store"
    STOW_RS = "stow-rs"
    C_MOVE = "c-move"
    C_GET = "c-get"
    WADO_RS = "wado-rs"


class Outcome(StrEnum):
    """What an instance was to the ledger."""

    NEW = "new"
    DUPLICATE = "duplicate"
    CHANGED = "changed"
    UNLIKE = "unlike"


@dataclass(frozen=True)
class Priority:
    """How urgent a series is.

    Parameters
    ----------
    rule : str, optional
        The name of the rule that fits it; None: it is routine.
    head_start_s : float
        It goes as if it had become ready so much earlier, seconds.
    """

    rule: str | None = None
    head_start_s: float = 0.0

    def __str__(self) -> str:
        return self.rule or ROUTINE


@dataclass(frozen=True)
class Instance:
    """An instance in the spool.

    Parameters
    ----------
    study_instance_uid, series_instance_uid, sop_instance_uid, sop_class_uid : str
        As in the dataset.
    digest : str
        SHA-256 of the file, hexadecimal.
    path : pathlib.Path
        Relative to the spool.
    sender : str
        Calling AE title.
    """

    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    sop_class_uid: str
    digest: str
    path: Path
    sender: str


@dataclass(frozen=True)
class Current:
    """The content of an instance that counts now; `path` is relative to the spool."""

    digest: str
    path: Path


@dataclass(frozen=True)
class Stored:
    """What became of an instance.

    Parameters
    ----------
    outcome : Outcome
        Unlike: another content of the same UID counts, and nothing was entered.
    revision_id : int
        The revision that it counts for.
    current : Current, optional
        The content that it is unlike.
    """

    outcome: Outcome
    revision_id: int
    current: Current | None = None


@dataclass(frozen=True)
class Count:
    """How many images of a series a source counts.

    Parameters
    ----------
    images : int
    source : str
        Its name in the configuration.
    is_still : bool
        Whether it was asked again, after a while, and counted no more.
    """

    images: int
    source: str
    is_still: bool


@dataclass(frozen=True)
class Revision:
    """One revision of a series.

    Parameters
    ----------
    id : int
    study_instance_uid, series_instance_uid : str
    number : int
        From 1; a late or changed slice makes the next one.
    state : State
    reason : str, optional
        Why it was skipped or failed, as a word.
    detail : str, optional
        The same for people.
    warnings : tuple of str
        What a reader of the result has to know.
    maxima : dict of str to float, optional
        Highest probability of each finding.
    flagged : tuple of str
        The findings that the model's operating point calls present.
    instances : int
        How many count.
    attempts : int
        How often a worker has begun with it, since it was made or tried again.
    claims : int
        How often a worker has begun with it at all: tells claims apart.
    arrivals : int
        How often an instance came for it: tells whether one came meanwhile.
    last_instance_at, updated_at : datetime
        UTC.
    released_at : datetime, optional
        When an association that brought slices ended, UTC; None if one came since.
    images_removed_at, results_removed_at : datetime, optional
        When the files were removed after their time, UTC.
    priority : Priority
        Known when it has been assembled.
    rank : float
        When it became ready less its head start, seconds since 1970: the lowest goes first.
    count : Count, optional
        How many images a source counts.
    """

    id: int
    study_instance_uid: str
    series_instance_uid: str
    number: int
    state: State
    reason: str | None
    detail: str | None
    warnings: tuple[str, ...]
    maxima: dict[str, float] | None
    flagged: tuple[str, ...]
    instances: int
    attempts: int
    claims: int
    arrivals: int
    last_instance_at: datetime
    updated_at: datetime
    released_at: datetime | None
    images_removed_at: datetime | None = None
    results_removed_at: datetime | None = None
    priority: Priority = Priority()
    rank: float = 0.0
    count: Count | None = None


@dataclass(frozen=True)
class Selection:
    """Which revisions a worklist shows, and in which order.

    Parameters
    ----------
    state : State, optional
        Only those that are in it.
    only_flagged : bool
    flagged_first : bool
        Else all in the order in which they moved, newest first.
    since : float
        Only those that moved after it, seconds since 1970.
    priority : str, optional
        Only those that the rule of that name fits.
    """

    state: State | None = None
    only_flagged: bool = False
    flagged_first: bool = True
    since: float = 0.0
    priority: str | None = None


@dataclass(frozen=True)
class Place:
    """A place in a worklist: the row after which it goes on.

    Parameters
    ----------
    is_flagged : bool
        Whether that is among the flagged ones that come first.
    updated_at : float
        Seconds since 1970.
    id : int
    """

    is_flagged: bool
    updated_at: float
    id: int


@dataclass(frozen=True)
class Page:
    """Some rows of a worklist, and where the next ones begin."""

    revisions: tuple[Revision, ...]
    next: Place | None


@dataclass(frozen=True)
class Event:
    """A state that a revision came into."""

    at: datetime
    state: State
    detail: str | None


@dataclass(frozen=True)
class Result:
    """A result object of a revision; its path is relative to the spool's results.

    Parameters
    ----------
    kind, series_instance_uid, sop_class_uid, sop_instance_uid : str
    path : pathlib.Path
    recipient : str, optional
        The only destination that it is for.
    """

    kind: str
    series_instance_uid: str
    sop_class_uid: str
    sop_instance_uid: str
    path: Path
    recipient: str | None = None


@dataclass(frozen=True)
class Planned:
    """A result that is to go to a destination.

    Parameters
    ----------
    sop_instance_uid : str
        Of the result.
    destination : str
    follows : str, optional
        It goes once all that goes to this destination is stored there.
    """

    sop_instance_uid: str
    destination: str
    follows: str | None = None


@dataclass(frozen=True)
class Plan:
    """Which results of a revision go where."""

    deliveries: tuple[Planned, ...] = ()

    @classmethod
    def of(cls, results: Iterable[Result], destinations: "Collection[str] | Plan") -> "Plan":
        """A plan as it is; names of destinations: each gets everything."""
        if isinstance(destinations, Plan):
            return destinations
        return cls(
            tuple(
                Planned(result.sop_instance_uid, destination)
                for result in results
                for destination in destinations
            )
        )

    @property
    def destinations(self) -> tuple[str, ...]:
        """Each that something goes to, once."""
        return tuple(dict.fromkeys(planned.destination for planned in self.deliveries))


@dataclass(frozen=True)
class Delivery:
    """One object on its way to one destination."""

    id: int
    revision_id: int
    destination: str
    state: DeliveryState
    attempts: int
    first_tried_at: datetime | None
    next_try_at: datetime | None
    detail: str | None
    result: Result


@dataclass(frozen=True)
class DestinationState:
    """How a destination is.

    Parameters
    ----------
    name : str
    waiting, given_up : int
        Objects that are to be sent, and that are not sent any more until `retry`.
    failures : int
        How often in a row it could not be sent to.
    rests_until : datetime, optional
        Nothing is sent before, UTC; None if it is well.
    detail : str, optional
        What it is ill with.
    """

    name: str
    waiting: int
    given_up: int
    failures: int
    rests_until: datetime | None
    detail: str | None


@dataclass(frozen=True)
class Fetch:
    """A series that a source has, and what became of it.

    Parameters
    ----------
    id : int
    source : str
        Its name in the configuration.
    study_instance_uid, series_instance_uid : str
    state : FetchState
    counted : int, optional
        How many images the source counted when it was last asked.
    still : int
        How many polls that was the same.
    attempts : int
        How often it was begun to fetch, since it was wanted.
    version : int
        Tells whether it was changed meanwhile.
    next_try_at : datetime, optional
        When it is to be fetched; while that goes on, when who does it counts as dead. UTC.
    updated_at : datetime
        When it changed, or its source told of it, to a day; UTC.
    detail : str, optional
        Why it was refused, has to wait or has failed; a remark on what came.
    """

    id: int
    source: str
    study_instance_uid: str
    series_instance_uid: str
    state: FetchState
    counted: int | None
    still: int
    attempts: int
    version: int
    next_try_at: datetime | None
    updated_at: datetime
    detail: str | None


@dataclass(frozen=True)
class Held:
    """What the ledger has of a series.

    Parameters
    ----------
    instances : frozenset of str
        SOP Instance UIDs of all that came, but for those that were lost from the disk.
    receiving_since : float, optional
        When the last image came, seconds since 1970; None unless more may come at any time.
    """

    instances: frozenset[str]
    receiving_since: float | None


@dataclass(frozen=True)
class SourceState:
    """How a source is.

    Parameters
    ----------
    name : str
    waiting, given_up : int
        Series that are to be fetched, and that are not tried any more until `retry`.
    polled_at, answered_at : datetime, optional
        When it was last asked and when it last answered, UTC.
    failures : int
        How often in a row it did not answer.
    rests_until : datetime, optional
        It is not asked before, UTC; None if it is well.
    detail : str, optional
        What it is ill with.
    fetched, known, failed : int
        Series, ever since.
    images : int
        That came with those that were fetched.
    """

    name: str
    waiting: int = 0
    given_up: int = 0
    polled_at: datetime | None = None
    answered_at: datetime | None = None
    failures: int = 0
    rests_until: datetime | None = None
    detail: str | None = None
    fetched: int = 0
    known: int = 0
    failed: int = 0
    images: int = 0
