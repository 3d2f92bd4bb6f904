"""An urgent series goes next, whatever waits: with real workers, Redis, SQLite and PostgreSQL."""

import json
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest

from node.broker import EmbeddedBroker
from node.hints import Hints, answering_workers, celery_app
from node.ledger import Ledger, Priority, Revision, State, open_ledger
from node.processes import end_process, start_process
from node.settings import Settings, load_settings
from node.spool import Spool
from node.sweep import Sweeper
from tests.bench.workers import Images
from tests.e2e.peers import ICHNODE, wait_for

ROUTINE, URGENT = 8, Priority("emergency", 3600)
SMALL, LARGE = slice(8, 16), slice(None)
"""Of a head: what is analyzed within a second, and what takes longer."""

DONE = (State.REPORTED, State.DELIVERED)

CONFIG = """
home = {home}
[assemble]
quiet_s = 3600
[analyze]
threads = 1
lease_s = 3
[broker]
url = {broker}
[ledger]
url = {ledger}
"""


@dataclass
class Department:
    """Workers on one queue, and a ledger that series are put into as assemble does."""

    folder: Path
    settings: Settings
    ledger: Ledger
    stack: ExitStack

    def __post_init__(self) -> None:
        assert self.settings.broker.url is not None
        self.url = self.settings.broker.url
        self.images: dict[int | None, Images] = {}
        self.hints = Hints(self.url, self.settings)
        self.spool = Spool(self.settings.home)

    def start_workers(self, count: int) -> None:
        """Start workers and wait until they answer."""
        config = str(self.folder / "ichnode.toml")
        for number in range(count):
            command = [*ICHNODE, "work", "--queue", "analyze", "--config", config]
            process = start_process(command, self.folder / f"{number}.log")
            self.stack.callback(end_process, process, 10)
        wait_for(lambda: len(answering_workers(self.url, self.settings)) == count, 90, "workers")

    def stored(self, which: slice = SMALL) -> Revision:
        """A head that was received, and is not known to be whole."""
        key = which.stop
        if key not in self.images:
            self.images[key] = Images(self.folder / f"phantom{key}", 256, which)
        return self.images[key].stored(self.spool, self.ledger)

    def rest(self, revision: Revision, priority: Priority | None = None) -> Revision:
        """It has come to rest."""
        assert self.ledger.ready(revision, [], priority or Priority())
        return revision

    def now(self, revision: Revision) -> Revision:
        """A revision as it is now."""
        found = self.ledger.revision(revision.id)
        assert found is not None
        return found

    def holder(self) -> int:
        """The process of the one worker that is at work."""
        app = celery_app(self.url, self.settings)
        active = app.control.inspect(timeout=0.5).active() or {}
        (name,) = [name for name, tasks in active.items() if tasks]
        return int(name.partition("@")[0].rpartition("-")[2])

    def begun(self) -> list[int]:
        """Whose analysis was begun, in order."""
        return [id_ for id_, state in self.events() if state == State.ANALYZING]

    def begun_since_ready(self, revision: Revision) -> list[int]:
        """Whose analysis was begun after a revision became ready last, in order."""
        events = self.events()
        last = max(n for n, event in enumerate(events) if event == (revision.id, State.READY))
        return [id_ for id_, state in events[last:] if state == State.ANALYZING]

    def events(self) -> list[tuple[int, str]]:
        """What came about, in order."""
        with self.ledger.reading() as connection:
            return [
                (int(row[0]), str(row[1]))
                for row in connection.exec_driver_sql(
                    "SELECT revision_id, state FROM event ORDER BY id"
                )
            ]

    def all_done(self, revisions: list[Revision]) -> None:
        """Wait until all are reported, once each."""
        wait_for(lambda: all(self.now(r).state in DONE for r in revisions), 120, "the reports")
        for revision in revisions:
            kept = self.ledger.results(self.now(revision))
            assert len({result.sop_instance_uid for result in kept}) == len(kept)


@pytest.fixture
def department(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Department]:
    url = f"sqlite:///{tmp_path}/ledger.sqlite"
    if request.param == "postgresql":
        server: str = request.getfixturevalue("postgresql_url")
        name = f"priority_{os.getpid()}_{abs(hash(request.node.name))}"
        with psycopg.connect(server.replace("+psycopg", ""), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}".encode())
        url = server.replace("/postgres?", f"/{name}?")
    with ExitStack() as stack:
        broker = EmbeddedBroker(tmp_path)
        stack.callback(end_process, broker.start(), 10)
        values = {"home": tmp_path / "home", "broker": broker.url, "ledger": url}
        text = CONFIG.format(**{key: json.dumps(str(v)) for key, v in values.items()})
        (tmp_path / "ichnode.toml").write_text(text)
        ledger = open_ledger(url)
        stack.callback(ledger.close)
        settings = load_settings(tmp_path / "ichnode.toml")
        yield Department(tmp_path, settings, ledger, stack)


def sweeping(department: Department) -> None:
    """Let a sweeper run until the end."""
    sweeper = Sweeper(department.settings, department.spool, department.ledger, department.hints)
    stop = threading.Event()
    thread = threading.Thread(target=sweeper.run, args=(stop,))
    thread.start()
    department.stack.callback(thread.join, 10)
    department.stack.callback(stop.set)


@pytest.mark.parametrize("department", ["postgresql"], indirect=True)
def test_the_urgent_one_is_claimed_next_whatever_waits_and_the_others_in_their_order(
    department: Department,
) -> None:
    routine, urgent = [department.stored() for _ in range(ROUTINE)], department.stored()
    department.start_workers(1)
    for revision in routine:
        department.rest(revision)
        department.hints.analyze(revision.id)
    wait_for(department.begun, 30, "the first one to begin")
    department.rest(urgent, URGENT)
    department.hints.analyze(urgent.id)
    department.all_done([*routine, urgent])

    after = department.begun_since_ready(urgent)
    assert after[0] == urgent.id
    assert len(after) > 2, "nothing waited any more"
    assert [id_ for id_ in department.begun() if id_ != urgent.id] == [r.id for r in routine]


@pytest.mark.parametrize("department", ["sqlite"], indirect=True)
def test_lost_and_doubled_hints_change_neither_what_is_done_nor_its_order(
    department: Department,
) -> None:
    first, second = department.rest(department.stored()), department.rest(department.stored())
    for _ in range(3):
        department.hints.analyze(second.id)
    last = department.rest(department.stored(), Priority("research", -60))
    urgent = department.rest(department.stored(), URGENT)
    sweeping(department)
    department.start_workers(1)
    department.all_done([first, second, last, urgent])

    assert department.begun() == [urgent.id, first.id, second.id, last.id]


@pytest.mark.parametrize("department", ["postgresql"], indirect=True)
def test_an_urgent_one_whose_worker_is_killed_comes_again_before_all_that_waits(
    department: Department,
) -> None:
    urgent, routine = department.stored(LARGE), [department.stored() for _ in range(3 * ROUTINE)]
    sweeping(department)
    department.start_workers(2)
    department.rest(urgent, URGENT)
    department.hints.analyze(urgent.id)
    wait_for(lambda: department.now(urgent).state is State.ANALYZING, 30, "a worker to begin")
    os.kill(department.holder(), signal.SIGKILL)
    assert department.now(urgent).state is State.ANALYZING, "it was done before"
    for revision in routine:
        department.rest(revision)
        department.hints.analyze(revision.id)
    department.all_done([urgent])

    assert department.now(urgent).attempts == 2
    after = department.begun_since_ready(urgent)
    assert after[0] == urgent.id
    assert len(department.begun()) < len(routine), "nothing waited any more"
