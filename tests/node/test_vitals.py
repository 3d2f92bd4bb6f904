"""How the node is: counted by the ledger, asked of the broker, seen on the disk."""

import gc
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from node.broker import EmbeddedBroker, find_redis
from node.errors import ConfigError
from node.hints import Asking, Hints, Queue
from node.ledger import Instance, Ledger, Priority, Result, Revision, State
from node.processes import end_process
from node.settings import Settings
from node.vitals import Background, look
from node.vitals.background import Repeated, measure
from tests.claiming import claimed
from tests.conftest import Clock

CT = "1.2.840.10008.5.1.4.1.1.2"
SR = "1.2.840.10008.5.1.4.1.1.88.34"
PEER = {"ae_title": "A", "host": "127.0.0.1", "port": 104}
URGENT = Priority("urgent", 3600)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(
        home=tmp_path,
        destinations=[{"name": "pacs", **PEER}, {"name": "archive", **PEER}],
        broker={"url": "redis://127.0.0.1:1/0"},
    )


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[EmbeddedBroker]:
    """A real Redis."""
    try:
        find_redis()
    except ConfigError as error:
        pytest.skip(str(error))
    embedded = EmbeddedBroker(tmp_path)
    process = embedded.start()
    yield embedded
    end_process(process, 10)


def receive(ledger: Ledger, series: str) -> Revision:
    instance = Instance("1.2", series, f"{series}.1", CT, "a" * 64, Path("x.dcm"), "SCANNER")
    return found(ledger, ledger.store(instance, 30).revision_id)


def found(ledger: Ledger, revision_id: int) -> Revision:
    revision = ledger.revision(revision_id)
    assert revision is not None
    return revision


def report(ledger: Ledger, series: str, destinations: list[str]) -> Revision:
    revision = receive(ledger, series)
    assert ledger.ready(revision, [], URGENT)  # whatever waits
    claim = claimed(ledger, revision.id)
    results = [Result("sr", f"{series}.9", SR, f"{series}.9.{n}", Path("r")) for n in range(2)]
    assert ledger.report(claim, results, destinations, warnings=[], maxima={})
    return found(ledger, revision.id)


def fail(ledger: Ledger, series: str) -> None:
    revision = receive(ledger, series)
    assert ledger.ready(revision, [], URGENT)  # whatever waits
    claim = claimed(ledger, revision.id)
    assert ledger.fail(claim, "pixel-error", "odd")


def counts(ledger: Ledger) -> dict[State, int]:
    return {s.state: s.revisions for s in ledger.standing().values() if s.revisions}


def test_what_is_under_way_is_counted_by_its_state(ledger: Ledger) -> None:
    assert set(ledger.standing()) == {
        *(State.RECEIVING, State.READY, State.ANALYZING, State.REPORTED, State.FAILED)
    }
    assert counts(ledger) == {}
    receive(ledger, "1.1")
    receive(ledger, "1.2")
    assert ledger.ready(receive(ledger, "1.3"), [])
    report(ledger, "1.4", ["pacs"])
    fail(ledger, "1.5")

    assert counts(ledger) == {
        State.RECEIVING: 2,
        State.READY: 1,
        State.REPORTED: 1,
        State.FAILED: 1,
    }


def test_a_revision_is_reported_until_all_of_it_is_sent(ledger: Ledger, clock: Clock) -> None:
    revision = report(ledger, "1.1", ["pacs"])
    first, second = ledger.due_deliveries("pacs")
    ledger.sent([(first, None)])
    ledger.give_up(second, "refused")
    assert counts(ledger) == {State.REPORTED: 1}
    assert ledger.unsent_since() == {}

    assert ledger.retry(revision, ["pacs"])
    assert ledger.unsent_since() == {"pacs": revision.updated_at}
    clock.pass_s(10)
    ledger.sent([(second, None)])
    assert counts(ledger) == {}
    assert ledger.ended_since(clock.now - 5)[State.DELIVERED] == 1
    assert ledger.ended_since(clock.now + 5)[State.DELIVERED] == 0


def test_the_first_that_waits_tells_since_when(ledger: Ledger, clock: Clock) -> None:
    assert ledger.ready(receive(ledger, "1.1"), [])
    first = ledger.standing()[State.READY].since
    clock.pass_s(60)
    assert ledger.ready(receive(ledger, "1.2"), [])
    oldest = report(ledger, "1.3", ["pacs", "archive"])
    clock.pass_s(60)
    newest = report(ledger, "1.4", ["pacs"])
    ledger.sent([(delivery, None) for delivery in ledger.due_deliveries("pacs")[:2]])

    assert ledger.standing()[State.READY].since == first
    assert ledger.unsent_since() == {"archive": oldest.updated_at, "pacs": newest.updated_at}


def test_a_node_without_a_broker_is_looked_at_all_the_same(
    ledger: Ledger, settings: Settings
) -> None:
    report(ledger, "1.1", ["pacs"])
    vitals = look(settings, ledger, Background(settings))

    assert "does not answer" in (vitals.broker_trouble or "")
    assert [(queue.name, queue.messages) for queue in vitals.queues] == [
        (Queue.ANALYZE, None),
        (Queue.DELIVER, None),
    ]
    assert [(d.name, d.waiting) for d in vitals.destinations] == [("archive", 0), ("pacs", 2)]
    assert vitals.disk.size > vitals.disk.free > 0
    assert vitals.disk.least_free == 1024**3
    assert vitals.workers is None
    assert vitals.last_received == found(ledger, 1).last_instance_at
    assert vitals.model is not None
    assert (vitals.model.name, len(vitals.model.digest)) == ("phantom", 64)


def test_a_model_that_is_gone_is_told_of(
    ledger: Ledger, settings: Settings, tmp_path: Path
) -> None:
    without = settings.model_copy(
        update={"model": settings.model.model_copy(update={"bundle": str(tmp_path / "none")})}
    )
    vitals = look(without, ledger, Background(without))
    assert vitals.model is None
    assert "no model bundle" in (vitals.model_trouble or "")


def test_messages_that_wait_are_counted(
    ledger: Ledger, settings: Settings, broker: EmbeddedBroker
) -> None:
    reached = settings.model_copy(
        update={"broker": settings.broker.model_copy(update={"url": broker.url})}
    )
    hints = Hints(broker.url, reached)
    for number in range(3):
        hints.analyze(number)

    vitals = look(reached, ledger, Background(reached))
    assert vitals.broker_trouble is None
    assert [queue.messages for queue in vitals.queues] == [3, 0]


def test_workers_say_how_they_are(settings: Settings, broker: EmbeddedBroker) -> None:
    config = settings.home / "ichnode.toml"
    config.write_text(f'home = "{settings.home}"\n')
    alone = Settings(home=settings.home)
    background = Background(alone)
    assert background.ask_workers() == ()
    process = subprocess.Popen(
        [sys.executable, "-m", "node", "work", "--queue", "deliver", "--config", str(config)]
    )
    try:
        deadline = time.monotonic() + 60
        while not (workers := background.ask_workers()):
            assert time.monotonic() < deadline
    finally:
        process.terminate()
        process.wait(20)
    (worker,) = workers
    assert (worker.queue, worker.device, worker.gpu) == (Queue.DELIVER, None, None)
    assert worker.name == f"deliver-{process.pid}@{socket.gethostname()}"
    assert worker.machine == socket.gethostname()


def test_a_destination_is_asked_when_somebody_wants_it(settings: Settings) -> None:
    nowhere = settings.destinations[0].model_copy(update={"port": 1})
    background = Background(settings)
    assert background.echoes == ()
    echo = background.echo(nowhere)
    assert (echo.destination, background.echoes) == ("pacs", (echo,))
    assert "127.0.0.1:1" in (echo.trouble or "")


def test_folders_are_walked_through_in_the_background(settings: Settings) -> None:
    for path in ("spool/1/1.1/a.dcm", "spool/1/1.2/b.dcm", "quarantine/x/instance.dcm"):
        (settings.home / path).parent.mkdir(parents=True)
        (settings.home / path).write_bytes(b"0123456789")
    with Background(settings) as background:
        background._folders.thread.join(0.1)
        for _ in range(100):
            if background.folders:
                break
            background._folders.thread.join(0.1)
        assert [(f.name, f.files, f.size) for f in background.folders] == [
            ("spool", 2, 20),
            ("results", 0, 0),
            ("quarantine", 1, 10),
        ]


def test_a_look_that_fails_is_done_again_and_told_of_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    stop, looks = threading.Event(), iter((None, None, 7))

    def look_once() -> int:
        value = next(looks, None)
        if value is None:
            raise OSError("away")
        stop.set()
        return value

    repeated = Repeated(look_once, 0.01, stop)
    repeated.thread.start()
    repeated.thread.join(5)
    assert repeated.value == 7
    assert [record.message for record in caplog.records] == [
        "a look at the node did not succeed: away"
    ]


def test_workers_are_asked_often_without_leaving_anything_behind(
    settings: Settings, broker: EmbeddedBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every app of Celery does, and a page asks every ten seconds for years."""
    background = Background(Settings(home=settings.home))
    monkeypatch.setattr(Asking.ask, "__defaults__", (0.01,))
    background.ask_workers()
    gc.collect()
    before = len(gc.get_objects())
    for _ in range(50):
        background.ask_workers()
    gc.collect()
    assert len(gc.get_objects()) - before < 500


def test_a_walk_ends_when_it_is_told_to(tmp_path: Path) -> None:
    for number in range(1500):
        (tmp_path / f"{number}").touch()
    stop = threading.Event()
    assert measure(tmp_path, stop).files == 1500
    stop.set()
    assert measure(tmp_path, stop).files == 1000


def test_who_only_looks_needs_no_pytorch() -> None:
    code = (
        "import sys; import node.vitals, node.health; "
        "sys.exit(', '.join({'torch', 'torchvision'} & set(sys.modules)) or None)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
