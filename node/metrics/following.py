"""Counters and latencies, made of what is new in the ledger at each scrape.

A node is many processes on many machines, and the ledger is what they have in common: so the
process that is scraped counts what all of them have written there. It begins at zero, with what
comes after it has started, as Prometheus expects of a counter.
"""

import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from enum import StrEnum

from node.ledger import Arrival, DestinationState, Ledger, Priority, ReadingSource, State, Step, Way
from node.spool import Spool

MOST_AT_ONCE = 10_000
"""Rows that are read at a scrape at most; what is left is read at the next."""

MISSED_S = 60.0
"""A row that was passed over is looked for during this time, seconds."""

_MOST_MISSED = 1_000

SPOOL = "spool"
"""Stands for the way of an image that was found in the spool and taken up."""


class Station(StrEnum):
    """What a series spends its time with."""

    RECEIVE = "receive"
    ASSEMBLE = "assemble"
    WAIT = "wait"
    ANALYZE = "analyze"
    DELIVER = "deliver"


_TIMED = {
    (State.READY, State.ANALYZING): Station.WAIT,
    (State.ANALYZING, State.REPORTED): Station.ANALYZE,
    (State.REPORTED, State.DELIVERED): Station.DELIVER,
}


def time_at_stations(step: Step) -> Iterator[tuple[Station, float]]:
    """How long a revision was at the stations that it has left with a step, seconds."""
    if step.before is None or step.since is None:
        return
    if step.before is State.RECEIVING and step.state in (State.READY, State.SKIPPED):
        last = max(step.since, step.last_instance_at)
        if step.last_instance_at > step.since:  # else it was only looked at again
            yield Station.RECEIVE, last - step.since
        yield Station.ASSEMBLE, max(0.0, step.at - last)
    elif (station := _TIMED.get((step.before, step.state))) is not None:
        yield station, max(0.0, step.at - step.since)


class Histogram:
    """How many values there are up to each of some bounds.

    Parameters
    ----------
    bounds : sequence of float
        Growing.
    """

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.total = 0.0
        self._counts = [0] * (len(bounds) + 1)

    def add(self, value: float) -> None:
        """Count a value."""
        self._counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def buckets(self) -> list[tuple[str, float]]:
        """Each bound as Prometheus writes it, with how many values there are up to it."""
        so_far = 0
        found = []
        for bound, count in zip((*self.bounds, float("inf")), self._counts, strict=True):
            so_far += count
            found.append(("+Inf" if bound == float("inf") else f"{bound:g}", float(so_far)))
        return found


class Cursor:
    """How far a table was read; ids that were passed over are remembered for a time.

    Parameters
    ----------
    newest : int
        Where to begin: rows up to this id are old.
    """

    def __init__(self, newest: int) -> None:
        self.after = newest
        self._missed: dict[int, float] = {}

    @property
    def missed(self) -> list[int]:
        """Ids that were passed over and may be there by now."""
        return list(self._missed)

    def go_back(self, newest: int) -> None:
        """Go back to the newest id that there is, where the rows before it were deleted."""
        if newest < self.after:
            self.after, self._missed = newest, {}

    def go_on(self, ids: Iterable[int], now: float) -> None:
        """Go past rows that were read.

        Parameters
        ----------
        ids : iterable of int
        now : float
            Seconds that never go back.
        """
        for found in sorted(ids):
            self._missed.pop(found, None)
            if found > self.after:
                begin = max(self.after + 1, found - _MOST_MISSED)
                self._missed.update(dict.fromkeys(range(begin, found), now))
                self.after = found
        self._missed = {
            missed: since for missed, since in self._missed.items() if now - since < MISSED_S
        }


SECONDS = (0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600)
"""Bounds of latencies: a series is looked at within seconds, or waits for hours."""


class Counts:
    """What has come since this process began to count.

    Parameters
    ----------
    ledger : Ledger
    spool : Spool
        Where sizes of images are looked up.
    priorities : iterable of str
        That series are known to have; others are counted when there is one.
    """

    def __init__(self, ledger: Ledger, spool: Spool, priorities: Iterable[str] = ()) -> None:
        self.entered: Counter[State] = Counter(dict.fromkeys(State, 0))
        self.stations = {station: Histogram(SECONDS) for station in Station}
        self.waits = {name: Histogram(SECONDS) for name in priorities}
        self.turnaround = Histogram(SECONDS)
        self.instances: Counter[str] = Counter(dict.fromkeys((*Way, SPOOL), 0))
        self.received_bytes = 0
        self.failures: Counter[str] = Counter()
        self.labels: Counter[ReadingSource] = Counter(dict.fromkeys(ReadingSource, 0))
        self._ledger = ledger
        self._spool = spool
        events, instances = ledger.newest_ids()
        self._events, self._arrivals = Cursor(events), Cursor(instances)
        self._readings = Cursor(ledger.newest_reading_id())
        self._failures_before = {d.name: d.failures for d in ledger.destinations()}

    def catch_up(self, destinations: Iterable[DestinationState]) -> None:
        """Count what is new in the ledger.

        Parameters
        ----------
        destinations : iterable of DestinationState
            As they are now.
        """
        now = time.monotonic()
        events, arrivals = self._events, self._arrivals
        for cursor, newest in zip((events, arrivals), self._ledger.newest_ids(), strict=True):
            cursor.go_back(newest)
        steps = self._ledger.steps(events.after, events.missed, MOST_AT_ONCE)
        images = self._ledger.arrivals(arrivals.after, arrivals.missed, MOST_AT_ONCE)
        events.go_on((step.id for step in steps), now)
        arrivals.go_on((image.id for image in images), now)
        for step in steps:
            self._count_step(step)
        self._count_arrivals(images)
        self._count_labels(now)
        for destination in destinations:
            self._count_failures(destination)

    def _count_step(self, step: Step) -> None:
        if step.before is step.state:  # a remark in its history
            return
        self.entered[step.state] += 1
        for station, seconds in time_at_stations(step):
            self.stations[station].add(seconds)
            if station is Station.WAIT:
                priority = str(Priority(step.priority))
                self.waits.setdefault(priority, Histogram(SECONDS)).add(seconds)
        if step.state is State.REPORTED:
            self.turnaround.add(max(0.0, step.at - step.last_instance_at))

    def _count_arrivals(self, images: Sequence[Arrival]) -> None:
        self.instances.update(image.way or SPOOL for image in images)
        for image in images:
            try:
                self.received_bytes += self._spool.path(image.path).stat().st_size
            except OSError:  # taken away already
                continue

    def _count_labels(self, now: float) -> None:
        readings = self._readings
        readings.go_back(self._ledger.newest_reading_id())
        sources = self._ledger.reading_sources(readings.after, readings.missed, MOST_AT_ONCE)
        readings.go_on(sources, now)
        self.labels.update(sources.values())

    def _count_failures(self, destination: DestinationState) -> None:
        """Add what there is more than before of failures in a row; success begins a new row."""
        before = self._failures_before.get(destination.name, 0)
        now = destination.failures
        self.failures[destination.name] += now - before if now >= before else now
        self._failures_before[destination.name] = now
