"""Processes die, the broker is wiped: still exactly one set of results."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pydicom
import pytest
import redis

from node.broker import broker_url, free_port
from node.hints import Hints
from node.ledger import State
from node.spool import Spool, digest_of
from tests.e2e.conftest import Series
from tests.e2e.peers import Node, Orthanc, kinds, one_set, running_node, wait_for

pytestmark = pytest.mark.long

QUICK = "[analyze]\nlease_s = 3\n[assemble]\ngrace_s = 1\nquiet_s = 4\n"


def _is_one_set(orthanc: Orthanc, series: Series) -> bool:
    return kinds(orthanc.instances_of(series.study)) == one_set(len(series.files))


def _wipe(node: Node) -> None:
    redis.Redis.from_url(broker_url(node.settings)).flushall()


@pytest.fixture(scope="module")
def fragile(tmp_path_factory: pytest.TempPathFactory, orthanc: Orthanc) -> Iterator[Node]:
    """A node that may be broken, and takes a silent worker for dead after 3 seconds."""
    destinations = [("orthanc", "ORTHANC", orthanc.port)]
    with running_node(tmp_path_factory.mktemp("fragile"), destinations, QUICK) as running:
        yield running


def test_a_worker_killed_in_the_middle_of_a_series_and_a_wiped_redis_leave_one_set_of_results(
    fragile: Node, orthanc: Orthanc, new_series: Callable[..., Series]
) -> None:
    series = new_series()
    fragile.send(series.files)
    wait_for(
        lambda: any(r.state is State.ANALYZING for r in fragile.revisions(series.series)),
        60,
        "the worker to begin",
    )
    fragile.kill("analyze")
    _wipe(fragile)

    revision = fragile.wait_for(series.series, State.DELIVERED, timeout_s=120)

    assert revision.attempts >= 2, "the worker was not killed in the middle"
    assert _is_one_set(orthanc, series)


def test_every_part_killed_one_after_the_other_leaves_one_set_of_results(
    fragile: Node, orthanc: Orthanc, new_series: Callable[..., Series]
) -> None:
    series = new_series()
    fragile.send(series.files)
    for part in ("redis-server", "deliver", "receive"):
        fragile.kill(part)

    fragile.wait_for(series.series, State.DELIVERED, timeout_s=120)

    assert _is_one_set(orthanc, series)


def test_a_hint_that_comes_many_times_changes_nothing(
    node: Node, orthanc: Orthanc, new_series: Callable[..., Series]
) -> None:
    series = new_series()
    node.send(series.files)
    revision = node.wait_for(series.series, State.DELIVERED)
    hints = Hints(broker_url(node.settings), node.settings)
    for _ in range(5):
        hints.analyze(revision.id)
        hints.deliver("orthanc")
    later = new_series()
    node.send(later.files)
    node.wait_for(later.series, State.DELIVERED)

    assert _is_one_set(orthanc, series)
    states = [event.state for event in node.ledger.history(revision)]
    assert states == [
        State.RECEIVING,
        State.READY,
        State.ANALYZING,
        State.REPORTED,
        State.DELIVERED,
    ]


def test_a_node_that_was_stopped_goes_on_where_it_was_and_takes_up_what_lies_in_the_spool(
    tmp_path: Path, orthanc: Orthanc, new_series: Callable[..., Series]
) -> None:
    series = new_series()
    (tmp_path / "first").mkdir()
    destinations = [("orthanc", "ORTHANC", orthanc.port)]
    home = f'\n[ledger]\nurl = "sqlite:///{tmp_path}/ledger.sqlite"\n'
    with running_node(tmp_path, destinations, QUICK + home) as node:
        node.send(series.files)
    left = new_series()
    spool = Spool(node.settings.home)
    for file in left.files:  # as a receiver leaves them that is killed before the ledger knows
        content = file.read_bytes()
        uid = str(pydicom.dcmread(file, specific_tags=["SOPInstanceUID"]).SOPInstanceUID)
        spool.keep(left.study, left.series, uid, digest_of(content), content)
    with running_node(tmp_path, destinations, QUICK + home) as node:
        node.wait_for(series.series, State.DELIVERED)
        node.wait_for(left.series, State.DELIVERED)

    assert _is_one_set(orthanc, series)
    assert _is_one_set(orthanc, left)


def test_postgresql_and_a_redis_of_ones_own_do_as_well(
    tmp_path: Path, orthanc: Orthanc, postgresql_url: str, new_series: Callable[..., Series]
) -> None:
    with psycopg.connect(postgresql_url.replace("+psycopg", ""), autocommit=True) as connection:
        connection.execute("CREATE DATABASE whole_way")
    ledger_url = postgresql_url.replace("/postgres?", "/whole_way?")
    port = free_port()
    server = subprocess.Popen(
        [
            "redis-server",
            "--port",
            str(port),
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--dir",
            str(tmp_path),
        ],
        stdout=subprocess.DEVNULL,
    )
    more = QUICK + f'[ledger]\nurl = "{ledger_url}"\n[broker]\nurl = "redis://127.0.0.1:{port}/0"\n'
    try:
        wait_for(lambda: redis.Redis(port=port).ping() if _listens(port) else None, 20, "Redis")
        with running_node(tmp_path, [("orthanc", "ORTHANC", orthanc.port)], more) as node:
            series = new_series()
            node.send(series.files)
            node.wait_for(series.series, State.DELIVERED)
            assert _is_one_set(orthanc, series)
            with psycopg.connect(ledger_url.replace("+psycopg", "")) as connection:
                row = connection.execute("SELECT state FROM revision").fetchone()
            assert row == (State.DELIVERED.value,)
    finally:
        server.terminate()
        server.wait()


def _listens(port: int) -> bool:
    try:
        return bool(redis.Redis(port=port).ping())
    except redis.RedisError:
        return False
