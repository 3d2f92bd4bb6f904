"""One leg of a campaign: a node, its load, its faults, and what came of it."""

import heapq
import logging
import os
import shutil
import signal
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

import redis

from node.broker import broker_url, free_port
from node.errors import ConfigError
from node.fetch.fetcher import LEASE_S
from node.ledger import DeliveryState, FetchState, Ledger, State
from node.settings.fetch import Retrieve
from tests.postgresql import Postgresql
from tests.soak import verdict
from tests.soak.archive import Illness
from tests.soak.faults import OF_POSTGRESQL, Fault, Planned, plan
from tests.soak.load import Doors, Load, SentSeries, Way
from tests.soak.servers import (
    ARCHIVE,
    ORTHANC,
    ArchiveServer,
    Disk,
    NodeServer,
    OrthancServer,
)
from tests.soak.verdict import Account, Finding, Held, Wrong

log = logging.getLogger(__name__)

SENDERS = 6
MIDST_TIMEOUT_S = 15.0
"""A fault that is to hit something in its midst waits for it for this long, seconds."""

QUIET_LIMIT_S = 300.0
ACKNOWLEDGED_LIMIT_S = 120.0
STILL_S = 4.0
"""What is quiet must stay so for this long: longer than a lease and a pause, seconds."""

HOUR_S = 3600
OFFSETS_S = (-24 * HOUR_S, -HOUR_S, 0, HOUR_S, 24 * HOUR_S)


class LedgerKind(StrEnum):
    """Which database holds the ledger."""

    SQLITE = "sqlite"
    POSTGRESQL = "postgresql"

    @property
    def label(self) -> str:
        """As its makers write it."""
        return "SQLite" if self is LedgerKind.SQLITE else "PostgreSQL"

    @property
    def retrieve(self) -> Retrieve:
        """How this leg fetches: each has another way."""
        return Retrieve.GET if self is LedgerKind.SQLITE else Retrieve.MOVE


@dataclass
class Outcome:
    """What came of a leg."""

    ledger: LedgerKind
    faults: Counter[Fault] = field(default_factory=Counter)
    in_the_midst: Counter[Fault] = field(default_factory=Counter)
    left_out: dict[Fault, str] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    seconds: float = 0.0


Heal = Callable[[], None]


class Leg:
    """A node with its peers, under load.

    Parameters
    ----------
    seed : str
    folder : pathlib.Path
    ledger : LedgerKind
    most_open : int
        Series that may be under way at the same time.
    """

    def __init__(self, seed: str, folder: Path, ledger: LedgerKind, most_open: int) -> None:
        folder.mkdir(parents=True)
        self.seed = f"{seed} {ledger}"
        self.folder = folder
        self.kind = ledger
        self._most_open = most_open
        self.outcome = Outcome(ledger)
        self._stack = ExitStack()
        self._heals: list[tuple[float, int, Heal]] = []
        self._count = 0

    @contextmanager
    def running(self) -> Iterator["Leg"]:
        """Start everything; end it however this goes."""
        with self._stack:
            self.disk = Disk(self.folder / "disk")
            self._stack.callback(self.disk.remove)
            self.postgresql = None
            if self.kind is LedgerKind.POSTGRESQL:
                self.postgresql = Postgresql()
                self._stack.callback(self.postgresql.remove)
                self.postgresql.create()
            doors = Doors(free_port(), free_port(), free_port())
            self.orthanc = OrthancServer(self.folder / "orthanc", doors.dicom)
            self._stack.callback(lambda: self.orthanc.end(signal.SIGKILL))
            self.source = OrthancServer(self.folder / "source", doors.dicom, doors.source)
            self._stack.callback(lambda: self.source.end(signal.SIGKILL))
            self.archive = ArchiveServer(self.folder / "archive")
            self._stack.callback(lambda: self.archive.end(signal.SIGKILL))
            self.node = NodeServer(
                self.folder,
                self.disk.folder / "home",
                doors,
                self.kind.retrieve,
                {ORTHANC: self.orthanc.peer.port, ARCHIVE: self.archive.port},
                self.postgresql.url if self.postgresql else None,
            )
            self._stack.callback(self._stop_node)
            (self.folder / "series").mkdir()
            self.load = Load(
                self.seed,
                self.folder / "series",
                doors,
                SENDERS,
                self._most_open,
            )
            yield self

    def _stop_node(self) -> None:
        self.node.stop()
        for path in (self.disk.folder / "home").glob("ledger.sqlite*"):
            shutil.copy(path, self.folder)

    @property
    def ledger(self) -> Ledger:
        return self.node.ledger

    # -- faults ------------------------------------------------------------

    def possible(self, kinds: Collection[Fault]) -> set[Fault]:
        """Those of some kinds that this leg can do; it notes why not the others."""
        if not self.disk.is_mounted:
            self.outcome.left_out[Fault.DISK_FULL] = "a file system may not be mounted here"
        if self.postgresql is None:
            for fault in OF_POSTGRESQL:
                self.outcome.left_out[fault] = "the ledger is SQLite"
        return set(kinds) - set(self.outcome.left_out)

    def run(
        self, faults: int, minutes: float, kinds: Collection[Fault], progress: Callable[[], None]
    ) -> None:
        """Do what the plan says, while the load goes on.

        Parameters
        ----------
        faults : int
        minutes : float
        kinds : collection of Fault
        progress : callable
            Called after each fault.
        """
        began = time.monotonic()
        self.load.start()
        possible = self.possible(kinds)
        for planned in plan(self.seed, faults, minutes, possible) if possible else ():
            self._pass(planned.after_s)
            log.info("%s: %s, %s", self.kind, planned.fault.name, planned.fault)
            self._do(planned)
            progress()
        self._pass(5)
        self._heal_all()
        self.outcome.seconds += time.monotonic() - began

    def _pass(self, seconds: float) -> None:
        """Let time go by, and end the faults whose time is over."""
        deadline = time.monotonic() + seconds
        while True:
            now = time.monotonic()
            while self._heals and self._heals[0][0] <= now:
                heapq.heappop(self._heals)[2]()
            self.node.keep_running()
            self._close_series()
            if now >= deadline:
                return
            time.sleep(min(0.3, deadline - now))

    def _close_series(self) -> None:
        states: dict[str, State] = {}
        for revision in sorted(self.ledger.recent(100_000), key=lambda r: r.number):
            states[revision.series_instance_uid] = revision.state
        self.load.close({uid for uid, state in states.items() if state in verdict.ENDED})

    def _after(self, seconds: float, heal: Heal) -> None:
        self._count += 1
        heapq.heappush(self._heals, (time.monotonic() + seconds, self._count, heal))

    def _heal_all(self) -> None:
        while self._heals:
            heapq.heappop(self._heals)[2]()
        self.orthanc.start()
        self.source.start()
        self.archive.start()
        self.archive.fall_ill(Illness.NONE)
        self.disk.free()

    def _do(self, planned: Planned) -> None:
        fault = planned.fault
        match fault:
            case Fault.RECEIVER_KILLED:
                self._wait_for_midst(fault, self._is_receiving)
                self._signal_part("receive", signal.SIGKILL, planned.choice)
            case Fault.ANALYZER_KILLED:
                self._wait_for_midst(fault, self._is_analyzing)
                self._signal_part("analyze", signal.SIGKILL)
            case Fault.DELIVERER_KILLED:
                self._wait_for_midst(fault, self._is_delivering)
                self._signal_part("deliver", signal.SIGKILL)
            case Fault.NODE_KILLED:
                self.node.kill_all()
                self._after(_between(0, 4, planned), self.node.keep_running)
            case Fault.RECEIVER_STALLED:
                self._wait_for_midst(fault, self._is_receiving)
                self._stall_part("receive", _between(2, 8, planned), planned.choice)
            case Fault.ANALYZER_STALLED:
                self._wait_for_midst(fault, self._is_analyzing)
                self._stall_part("analyze", _between(4, 10, planned))
            case Fault.DELIVERER_STALLED:
                self._wait_for_midst(fault, self._is_delivering)
                self._stall_part("deliver", _between(16, 20, planned))
            case Fault.STOW_KILLED:
                self._wait_for_midst(fault, self._is_storing_by_web)
                self._signal_part("dicomweb", signal.SIGKILL)
            case Fault.STOW_STALLED:
                self._wait_for_midst(fault, self._is_storing_by_web)
                self._stall_part("dicomweb", _between(2, 8, planned))
            case Fault.POLLER_KILLED:
                self._wait_for_midst(fault, self._is_fetching)
                self._signal_part("poll", signal.SIGKILL)
            case Fault.POLLER_STALLED:
                self._wait_for_midst(fault, self._is_fetching)
                self._stall_part("poll", _between(LEASE_S + 1, LEASE_S + 5, planned))
            case Fault.SOURCE_KILLED:
                self.source.end(signal.SIGKILL)
                self._after(_between(0, 8, planned), self.source.start)
            case Fault.SOURCE_STALLED:
                self._stall(self.source.process_id, _between(6, 12, planned))
            case Fault.REDIS_KILLED:
                self._signal_part("redis-server", signal.SIGKILL)
            case Fault.REDIS_WIPED:
                with suppress(redis.RedisError, ConfigError):
                    self.node.part("redis-server")
                    redis.Redis.from_url(broker_url(self.node.settings)).flushall()
            case Fault.REDIS_STALLED:
                self._stall_part("redis-server", _between(2, 8, planned))
            case Fault.ORTHANC_RESTARTED | Fault.ORTHANC_KILLED:
                killed = fault is Fault.ORTHANC_KILLED
                self.orthanc.end(signal.SIGKILL if killed else signal.SIGTERM)
                self._after(_between(0, 8, planned), self.orthanc.start)
            case Fault.ARCHIVE_KILLED:
                self.archive.end(signal.SIGKILL)
                self._after(_between(0, 8, planned), self.archive.start)
            case Fault.ORTHANC_STALLED:
                self._stall(self.orthanc.process_id, _between(6, 12, planned))
            case Fault.ARCHIVE_STALLED:
                self._stall(self.archive.process_id, _between(6, 12, planned))
            case Fault.DISK_FULL:
                self.disk.fill()
                self._after(_between(2, 8, planned), self.disk.free)
            case Fault.CLOCK_SET:
                others = [s for s in OFFSETS_S if s != self.node.clock.offset_s]
                self.node.clock.set(others[planned.choice % len(others)])
            case Fault.POSTGRESQL_RESTARTED | Fault.POSTGRESQL_CRASHED:
                assert self.postgresql is not None
                crashed = fault is Fault.POSTGRESQL_CRASHED
                self.postgresql.stop("immediate" if crashed else "fast")
                time.sleep(_between(0, 4, planned))
                self.postgresql.start()
            case _:
                self.archive.fall_ill(_ILLNESSES[fault])
                self._after(_between(3, 10, planned), self._get_well)
        self.outcome.faults[fault] += 1

    def _get_well(self) -> None:
        self.archive.fall_ill(Illness.NONE)

    def _signal_part(self, name: str, number: int, choice: int = 0) -> None:
        with suppress(ProcessLookupError):
            os.kill(self.node.part(name, choice), number)

    def _stall_part(self, name: str, seconds: float, choice: int = 0) -> None:
        self._stall(self.node.part(name, choice), seconds)

    def _stall(self, process_id: int, seconds: float) -> None:
        def go_on() -> None:
            with suppress(ProcessLookupError):
                os.kill(process_id, signal.SIGCONT)

        with suppress(ProcessLookupError):
            os.kill(process_id, signal.SIGSTOP)
            self._after(seconds, go_on)

    def _wait_for_midst(self, fault: Fault, is_there: Callable[[], bool]) -> None:
        """Wait until there is something to hit, but not for ever."""
        deadline = time.monotonic() + MIDST_TIMEOUT_S
        while time.monotonic() < deadline:
            if is_there():
                self.outcome.in_the_midst[fault] += 1
                return
            self._pass(0.05)

    def _is_receiving(self) -> bool:
        return self.load.under_way[Way.C_STORE] > 0

    def _is_storing_by_web(self) -> bool:
        return self.load.under_way[Way.STOW] > 0

    def _is_fetching(self) -> bool:
        return any(
            row.state is FetchState.FETCHING
            for series in self.load.known()[-2 * self._most_open :]
            if series.way in (Way.FETCHED, Way.BOTH)
            for row in self.ledger.find_fetches(series.uid)
        )

    def _is_analyzing(self) -> bool:
        return any(revision.state is State.ANALYZING for revision in self.ledger.recent(50))

    def _is_delivering(self) -> bool:
        before = self.archive.size()
        time.sleep(0.15)
        return self.archive.size() > before

    # -- the end -----------------------------------------------------------

    def settle(self) -> None:
        """With everything well again: wait until nothing is under way, and judge."""
        began = time.monotonic()
        self.load.stop(ACKNOWLEDGED_LIMIT_S)
        deadline = time.monotonic() + QUIET_LIMIT_S
        quiet_since: float | None = None
        while time.monotonic() < deadline:
            self._pass(0.5)
            if not self._is_quiet():
                quiet_since = None
            elif quiet_since is None:
                quiet_since = time.monotonic()
            elif time.monotonic() - quiet_since > STILL_S:
                break
        self._judge()
        self.outcome.seconds += time.monotonic() - began

    def _is_quiet(self) -> bool:
        accounts = self._accounts()
        return all(map(verdict.is_quiet, accounts.values())) and not any(
            verdict.not_come(series, accounts[series.uid]) for series in self.load.known()
        )

    def _accounts(self) -> dict[str, list[Account]]:
        accounts: dict[str, list[Account]] = defaultdict(list)
        revisions = self.ledger.recent(100_000)
        for revision in sorted(revisions, key=lambda r: r.number):
            accounts[revision.series_instance_uid].append(
                Account(
                    revision,
                    tuple(self.ledger.instances(revision)),
                    tuple(self.ledger.results(revision)),
                    tuple(self.ledger.deliveries(revision)),
                )
            )
        return accounts

    def _judge(self) -> None:
        accounts = self._accounts()
        series = self.load.known()
        stored = self.archive.stored()
        held: dict[str, dict[str, list[Held]]] = {
            ARCHIVE: defaultdict(list),
            ORTHANC: {study: self.orthanc.held(study) for study in {s.study for s in series}},
        }
        for item in {(item.study, item.uid): item for item in stored}.values():
            held[ARCHIVE][item.study].append(item)
        wrong: set[str] = set()
        for one in series:
            found = verdict.judge(
                one, accounts[one.uid], {name: held[name].get(one.study, []) for name in held}
            )
            self.outcome.findings += found
            wrong |= {finding.series for finding in found}
        for name, by_study in held.items():
            everything = [item for items in by_study.values() for item in items]
            self.outcome.findings += verdict.strangers(list(accounts.values()), name, everything)
        self.outcome.findings += verdict.altered(ARCHIVE, stored)
        self._count_up(series, accounts, stored, wrong)

    def _count_up(
        self,
        series: list[SentSeries],
        accounts: dict[str, list[Account]],
        stored: list[Held],
        wrong: set[str],
    ) -> None:
        revisions = [account for one in accounts.values() for account in one]
        acknowledged = [one for one in series if one.is_acknowledged]
        self.outcome.counts = {
            "modalities": SENDERS,
            **{f"series by {way}": sum(one.way is way for one in series) for way in Way},
            "series sent": len(series),
            "images": sum(len(one.images) for one in series),
            "associations and requests": self.load.associations,
            "of these failed": self.load.failed_associations,
            "images sent again": self.load.resent,
            "series acknowledged": len(acknowledged),
            "series delivered": sum(one.uid not in wrong for one in acknowledged),
            "series with late images": sum(
                sum(bool(account.results) for account in one) > 1 for one in accounts.values()
            ),
            "times a worker began": sum(account.revision.claims for account in revisions),
            "objects committed by Orthanc": sum(
                delivery.state is DeliveryState.COMMITTED
                for account in revisions
                for delivery in account.deliveries
            ),
            "result objects": sum(len(account.results) for account in revisions),
            "objects stored again under their UID": len(stored)
            - len({(item.study, item.uid) for item in stored}),
            "starts of the node": self.node.starts,
        }
        for wanted in Wrong:
            self.outcome.counts[wanted] = len(
                {f.series for f in self.outcome.findings if f.wrong is wanted}
            )


_ILLNESSES = {
    Fault.ARCHIVE_FULL: Illness.FULL,
    Fault.ARCHIVE_REFUSES: Illness.REFUSES,
    Fault.ARCHIVE_ABORTS: Illness.ABORTS,
    Fault.ARCHIVE_SLOW: Illness.SLOW,
    Fault.ARCHIVE_SILENT: Illness.SILENT,
    Fault.ANSWER_LOST: Illness.ANSWER_LOST,
}


def _between(shortest_s: float, longest_s: float, planned: Planned) -> float:
    return shortest_s + planned.lasts * (longest_s - shortest_s)
