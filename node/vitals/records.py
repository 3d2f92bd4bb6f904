"""How a node is at one time, as values."""

from dataclasses import dataclass
from datetime import datetime

from ml.identity import Identity
from node.hints import Queue
from node.ledger import DestinationState, SourceState, Standing, State


@dataclass(frozen=True)
class Folder:
    """What a folder of the node held when it was last walked through.

    Parameters
    ----------
    name : str
        ``spool``, ``results`` or ``quarantine``.
    files, size : int
        How many, and their bytes.
    at : datetime
        UTC; large folders are walked through rarely.
    """

    name: str
    files: int
    size: int
    at: datetime


@dataclass(frozen=True)
class Disk:
    """The disk of home.

    Parameters
    ----------
    size, free : int
        Bytes.
    least_free : int
        Bytes; with less no image is taken.
    folders : tuple of Folder
        Empty until they were walked through.
    """

    size: int
    free: int
    least_free: int
    folders: tuple[Folder, ...]


@dataclass(frozen=True)
class WaitingQueue:
    """What waits for the workers of a queue.

    Parameters
    ----------
    name : Queue
    messages : int, optional
        Hints in the broker; None if it does not answer. Lost ones are sent again.
    since : datetime, optional
        How long the ledger has something that waits, UTC; None if there is nothing.
    """

    name: Queue
    messages: int | None
    since: datetime | None


@dataclass(frozen=True)
class GPU:
    """A GPU that a worker uses.

    Parameters
    ----------
    name : str
        Of its kind.
    memory, memory_used : int
        Bytes, of all that use it.
    """

    name: str
    memory: int
    memory_used: int


@dataclass(frozen=True)
class WorkerState:
    """A worker that answers.

    Parameters
    ----------
    name : str
        Queue, process id and machine: ``analyze-17@host``.
    queue : Queue
    device : str, optional
        What it judges on, ``cpu`` or ``cuda:0``; None if it does not judge.
    gpu : GPU, optional
        None if it has none.
    """

    name: str
    queue: Queue
    device: str | None
    gpu: GPU | None

    @property
    def machine(self) -> str:
        """The name of its machine."""
        return self.name.rpartition("@")[2]


@dataclass(frozen=True)
class Echo:
    """What a destination answered when it was last asked for a C-ECHO.

    Parameters
    ----------
    destination : str
    at : datetime
        UTC.
    trouble : str, optional
        What was wrong; None if it answered Success.
    """

    destination: str
    at: datetime
    trouble: str | None


@dataclass(frozen=True)
class Vitals:
    """How a node is.

    Parameters
    ----------
    at : datetime
        When it was looked at, UTC.
    disk : Disk
    broker_trouble : str, optional
        Why the broker does not answer; None if it does.
    queues : tuple of WaitingQueue
    workers : tuple of WorkerState, optional
        None if they were not asked yet.
    destinations : tuple of DestinationState
        Each that is configured, and each that anything was ever planned for.
    unsent_since : dict of str to datetime
        Since when the first object that waits for a destination has been there, UTC.
    sources : tuple of SourceState
        Each that is configured, and each that was ever asked.
    echoes : tuple of Echo
        The last of each destination that was asked.
    model : Identity, optional
        None if it cannot be read.
    model_trouble : str, optional
        Why it cannot be read.
    standing : dict of State to Standing
        Revisions under way now, and those that have failed.
    ended_today : dict of State to int
        Revisions that came to their end in the last 24 hours.
    last_received : datetime, optional
        When the last new image came, UTC; None if none ever did.
    """

    at: datetime
    disk: Disk
    broker_trouble: str | None
    queues: tuple[WaitingQueue, ...]
    workers: tuple[WorkerState, ...] | None
    destinations: tuple[DestinationState, ...]
    unsent_since: dict[str, datetime]
    sources: tuple[SourceState, ...]
    echoes: tuple[Echo, ...]
    model: Identity | None
    model_trouble: str | None
    standing: dict[State, Standing]
    ended_today: dict[State, int]
    last_received: datetime | None
