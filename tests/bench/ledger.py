"""Whether a ledger of a million series is as fast as one of a thousand."""

import random
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from node.ledger import Instance, Ledger, Result, Revision, open_ledger
from node.metrics import Metrics
from node.settings import Settings
from node.spool import Spool
from node.sweep import Sweeper
from node.vitals import Background
from tests.bench.filling import CT, SR, Filling
from tests.bench.row import Comparison, Figure, LeftOut, Row
from tests.bench.turns import in_turns, seconds
from tests.postgresql import Postgresql, binaries

FEW, MANY = 1_000, 1_000_000
GOAL = 0.9
TIMES = 11

_INSTANCES, _RESULTS = 40, 44
"""Of a series that goes through while it is measured."""

_AT_ONCE = 5
"""Series in each turn."""

_LONG_S = 3600.0

_FILLED = {"instances": 2, "results": 1}
"""Of a series that was there before: more would not fit the time."""

_NOTE = (
    f"series there before: {_FILLED['instances']} images and {_FILLED['results']} result each, "
    "sent to two destinations, one of which has committed to it; "
    "commits are synchronised to the disk"
)


class Silent:
    """Stands for the broker: the ledger alone is measured."""

    def is_empty(self, _queue: object) -> bool:
        """Nothing is waited for."""
        return True

    def analyze(self, _revision_id: int) -> None:
        """A hint that nobody takes."""

    deliver = ask_commitment = tell_commitment = analyze


class Bench:
    """One ledger that work is done with.

    Parameters
    ----------
    url : str
    filled : Filling
        What is in it.
    folder : pathlib.Path
    """

    def __init__(self, url: str, filled: Filling, folder: Path) -> None:
        self.ledger: Ledger = open_ledger(url)
        self.filled = filled
        peer = {"ae_title": "A", "host": "127.0.0.1", "port": 104}
        self.settings = Settings(
            home=folder,
            destinations=[{"name": "pacs", **peer}, {"name": "archive", "commit": True, **peer}],
            assemble={"quiet_s": _LONG_S, "grace_s": _LONG_S},  # nothing is due meanwhile
        )
        self._metrics = Metrics(self.settings, self.ledger, Background(self.settings))
        self._sweeper = Sweeper(self.settings, Spool(folder), self.ledger, Silent())
        self._next = filled.series
        self._received: list[int] = []
        chance = random.Random(7)
        self._looked_at = [chance.randint(1, filled.series) for _ in range(30)]

    def receive(self) -> float:
        """Images of new series come in; images/s."""
        series = range(_AT_ONCE)
        return _AT_ONCE * _INSTANCES / seconds(lambda: [self._one_series() for _ in series])

    def _one_series(self) -> None:
        self._next += 1
        study, uid = self.filled.study(self._next), self.filled.uid(self._next)
        for k in range(1, _INSTANCES + 1):
            sop = f"{study}.{k}"
            path = Spool.place(study, uid, sop, "c0ffee" * 4)
            instance = Instance(study, uid, sop, CT, f"{k:064d}", path, "SCANNER")
            stored = self.ledger.store(instance, _LONG_S)
        self.ledger.release([stored.revision_id], _LONG_S)
        self._received.append(stored.revision_id)

    def status(self) -> float:
        """`ichnode status`, and `ichnode show` of a study and a series; times/s."""

        def look() -> None:
            for number in self._looked_at:
                self.ledger.recent(30)
                self.ledger.destinations()
                for uid in (self.filled.study(number), self.filled.uid(number)):
                    for revision in self.ledger.find(uid):
                        self.ledger.history(revision)
                        self.ledger.results(revision)
                        self.ledger.deliveries(revision)

        return len(self._looked_at) / seconds(look)

    def sweep(self) -> float:
        """All that the sweeper asks twice a second while nothing is due; times/s."""
        sweeper, times = self._sweeper, 30

        def sweep() -> None:
            for _ in range(times):
                sweeper.straighten()
                sweeper.assemble()
                sweeper.take_back()
                sweeper.explain()
                sweeper.hint_analyze()
                sweeper.hint_deliver()

        return times / seconds(sweep)

    def scrape(self) -> float:
        """Prometheus asks, with nothing new since it last did and without a broker; times/s."""
        times = 10
        return times / seconds(lambda: [self._metrics.exposition() for _ in range(times)])

    def work(self) -> float:
        """Series that were received are judged and delivered; series/s."""
        taken = [self._received.pop(0) for _ in range(_AT_ONCE)]
        return len(taken) / seconds(lambda: [self._to_its_end(found) for found in taken])

    def _to_its_end(self, revision_id: int) -> None:
        ledger = self.ledger
        revision = ledger.revision(revision_id)
        assert revision is not None
        assert ledger.ready(revision, [])
        claim = ledger.claim_next(60)
        assert claim is not None
        assert claim.revision.id == revision_id
        assert ledger.is_newest(claim.revision)
        assert len(ledger.instances(claim.revision)) == _INSTANCES
        assert ledger.extend(claim, 60)
        assert ledger.predecessor(claim.revision, "sr", "notice") is None
        names = [destination.name for destination in self.settings.destinations]
        assert ledger.report(claim, _results(revision), names, warnings=[], maxima={"any": 0.5})
        for name in names:
            hold = ledger.hold(name, 60)
            assert hold is not None
            deliveries = ledger.due_deliveries(name)
            assert len(deliveries) == _RESULTS
            ledger.sent([(delivery, None) for delivery in deliveries])
            ledger.let_go(hold)
        self._have_committed()

    def _have_committed(self) -> None:
        ledger = self.ledger
        commitment = ledger.take_commitment("archive", 60, 0)
        assert commitment is not None
        uid = ledger.name_transaction(commitment)
        assert uid is not None
        ledger.asked(commitment, 60)
        uids = {reference.sop_instance_uid for reference in commitment.references}
        heard = ledger.hear(uid, uids, {}, float, 3600)
        assert heard is not None
        assert heard.committed == _RESULTS


def _results(revision: Revision) -> list[Result]:
    root = f"{revision.series_instance_uid}.9"
    folder = Path(revision.study_instance_uid) / revision.series_instance_uid / "r1"
    return [Result("sr", root, SR, f"{root}.{k}", folder / f"{k}.dcm") for k in range(_RESULTS)]


def rows(folder: Path) -> Iterator[Row | LeftOut]:
    """Receive, work, status and sweep, in both databases."""
    with ExitStack() as stack:
        server = None
        if binaries() is not None:
            # Safe enough to fill, and soon; it is started again as it is by default.
            server = Postgresql(
                "-c fsync=off -c wal_level=minimal -c max_wal_senders=0 -c autovacuum=off"
            )
            stack.callback(server.remove)
            server.create()
        else:
            yield LeftOut("ledger in PostgreSQL", "PostgreSQL's server is not installed")
        filled = {count: Filling(count, **_FILLED, until=time.time() - 60) for count in (FEW, MANY)}
        urls = {"SQLite": {count: f"sqlite:///{folder}/{count}.sqlite" for count in filled}}
        if server is not None:
            urls["PostgreSQL"] = {count: server.create_database(f"of{count}") for count in filled}

        def fill(database: str) -> None:
            for count, url in urls[database].items():
                filled[count].fill(url)

        with ThreadPoolExecutor() as pool:
            list(pool.map(fill, urls))
        if server is not None:
            server.stop("fast")
            server.options = ""
            server.start()
        for database, of_count in urls.items():
            benches = {count: Bench(url, filled[count], folder) for count, url in of_count.items()}
            yield from _compare(database, benches)
            for bench in benches.values():
                bench.ledger.close()


def _compare(database: str, benches: dict[int, Bench]) -> Iterator[Row]:
    works: list[tuple[str, str, Callable[[Bench], float]]] = [
        ("receive", "images/s", Bench.receive),
        ("sweep", "times/s", Bench.sweep),
        ("judged to delivered", "series/s", Bench.work),
        ("status", "times/s", Bench.status),
        ("scrape", "times/s", Bench.scrape),
    ]
    for work, unit, measure in works:
        found = in_turns(
            {str(count): partial(measure, bench) for count, bench in benches.items()}, TIMES
        )
        few, many = (
            Figure(f"{count:,} series in it", found[str(count)], unit) for count in (FEW, MANY)
        )
        yield Row(
            f"ledger of {MANY:,} series in {database}: {work}",
            Figure("ichnode", many.value, unit),
            [Comparison(few, GOAL)],
            note=f"{benches[MANY].filled.rows:,} rows; {_NOTE}",
        )
