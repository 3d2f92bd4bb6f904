"""What can be done to a node, and the plan of a campaign: a function of its seed."""

import random
from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum


class Fault(StrEnum):
    """A kind of fault; its value is what the table says."""

    RECEIVER_KILLED = "receiver killed in the middle of an association"
    ANALYZER_KILLED = "worker killed in the middle of a series"
    DELIVERER_KILLED = "deliverer killed in the middle of sending"
    NODE_KILLED = "every process of the node killed, started again"
    RECEIVER_STALLED = "receiver stopped and continued"
    ANALYZER_STALLED = "worker stopped beyond its lease, then continued"
    DELIVERER_STALLED = "deliverer stopped beyond its lease, then continued"
    STOW_KILLED = "STOW-RS server killed in the middle of a request"
    STOW_STALLED = "STOW-RS server stopped and continued"
    POLLER_KILLED = "poller killed in the middle of a series"
    POLLER_STALLED = "poller stopped beyond its lease, then continued"
    SOURCE_KILLED = "polled archive killed and started again"
    SOURCE_STALLED = "polled archive half-open: accepts, never answers"
    REDIS_KILLED = "Redis killed"
    REDIS_WIPED = "Redis wiped"
    REDIS_STALLED = "Redis stopped and continued"
    ORTHANC_RESTARTED = "Orthanc shut down and started again"
    ORTHANC_KILLED = "Orthanc killed and started again"
    ORTHANC_STALLED = "Orthanc half-open: accepts, never answers"
    ARCHIVE_KILLED = "archive killed and started again"
    ARCHIVE_STALLED = "archive half-open: accepts, never answers"
    ARCHIVE_FULL = "archive answers A700"
    ARCHIVE_REFUSES = "archive answers A900"
    ARCHIVE_ABORTS = "archive aborts the association"
    ARCHIVE_SLOW = "archive slow"
    ARCHIVE_SILENT = "archive takes an object and never answers"
    ANSWER_LOST = "archive stores, and its answer is lost"
    DISK_FULL = "disk full"
    CLOCK_SET = "clock jumps by an hour or a day, forward or back"
    POSTGRESQL_RESTARTED = "PostgreSQL restarted"
    POSTGRESQL_CRASHED = "PostgreSQL crashed and recovered"


OF_POSTGRESQL = frozenset({Fault.POSTGRESQL_RESTARTED, Fault.POSTGRESQL_CRASHED})

AIMED = frozenset(
    {
        Fault.RECEIVER_KILLED,
        Fault.ANALYZER_KILLED,
        Fault.DELIVERER_KILLED,
        Fault.RECEIVER_STALLED,
        Fault.ANALYZER_STALLED,
        Fault.DELIVERER_STALLED,
        Fault.STOW_KILLED,
        Fault.STOW_STALLED,
        Fault.POLLER_KILLED,
        Fault.POLLER_STALLED,
    }
)
"""These wait until there is something that they hit in its midst."""


@dataclass(frozen=True)
class Planned:
    """A fault of the plan.

    Parameters
    ----------
    fault : Fault
    after_s : float
        Since the one before, seconds.
    lasts : float
        From 0 to 1: how long it lasts between the shortest and the longest of its kind.
    choice : int
        What its kind leaves open.
    """

    fault: Fault
    after_s: float
    lasts: float
    choice: int


def plan(seed: str, faults: int, minutes: float, kinds: Collection[Fault]) -> list[Planned]:
    """Draw the faults of a campaign: each kind as often as the others, in random order.

    Parameters
    ----------
    seed : str
    faults : int
        How many.
    minutes : float
        The time that they are spread over.
    kinds : collection of Fault
        Which ones.
    """
    chance = random.Random(f"faults {seed}")
    mean_s = 60 * minutes / max(faults, 1)
    drawn: list[Fault] = []
    while len(drawn) < faults:
        deck = sorted(kinds)
        chance.shuffle(deck)
        drawn += deck
    return [
        Planned(
            fault=fault,
            after_s=chance.uniform(0.2, 1.8) * mean_s,
            lasts=chance.random(),
            choice=chance.randrange(1 << 16),
        )
        for fault in drawn[:faults]
    ]
