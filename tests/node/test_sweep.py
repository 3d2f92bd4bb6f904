"""The sweeper goes on, whatever happens to it."""

import logging
import threading
import time
from collections import Counter
from pathlib import Path

import pytest
import sqlalchemy as sa

from node.ledger import Revision, State, open_ledger
from node.settings import Destination, Settings
from node.spool import Spool
from node.sweep import INTERVAL_S, RESTS, Sweeper
from tests.conftest import Clock
from tests.e2e.peers import wait_for
from tests.node.conftest import Heard
from tests.node.test_clean import Node


def test_a_database_that_is_away_is_told_of_once_and_swept_again_when_it_is_back(
    tmp_path: Path, heard: Heard, caplog: pytest.LogCaptureFixture
) -> None:
    settings = Settings(home=tmp_path)
    ledger = open_ledger(settings.ledger_url)
    sweeper = Sweeper(settings, Spool(tmp_path), ledger, heard)
    with ledger.engine.begin() as connection:
        connection.execute(sa.text("ALTER TABLE revision RENAME TO elsewhere"))
    stop = threading.Event()
    thread = threading.Thread(target=sweeper.run, args=(stop,))
    with caplog.at_level(logging.INFO, "node.sweep"):
        thread.start()
        stop.wait(5 * INTERVAL_S)
        complaints = [r.message for r in caplog.records if "(assemble)" in r.message]
        with ledger.engine.begin() as connection:
            connection.execute(sa.text("ALTER TABLE elsewhere RENAME TO revision"))
        stop.wait(3 * INTERVAL_S)
        stop.set()
        thread.join(10)
    ledger.close()

    assert len(complaints) == 1
    assert "no such table" in complaints[0]
    assert "sweeping (assemble) works again" in [r.message for r in caplog.records]


def test_what_has_ended_long_ago_is_removed_beside_the_sweeping(
    tmp_path: Path, heard: Heard
) -> None:
    settings = Settings(home=tmp_path, retention={"skipped_days": 1e-6})
    ledger = open_ledger(settings.ledger_url)
    node = Node(settings, ledger, Clock())
    ledger.clock = time.time
    node.end(State.SKIPPED)
    assert len(node.images()) == 3
    stop = threading.Event()
    thread = threading.Thread(target=Sweeper(settings, node.spool, ledger, heard).run, args=(stop,))
    thread.start()
    try:
        wait_for(lambda: not node.images(), 20, "the images are removed")
    finally:
        stop.set()
        thread.join(10)
        ledger.close()


def test_what_has_come_to_rest_is_looked_at_between_two_sweeps(
    tmp_path: Path, heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(home=tmp_path)
    ledger = open_ledger(settings.ledger_url)
    looks: Counter[State] = Counter()
    due = ledger.due

    def counted(state: State) -> list[Revision]:
        looks[state] += 1
        return due(state)

    monkeypatch.setattr(ledger, "due", counted)
    stop = threading.Event()
    thread = threading.Thread(
        target=Sweeper(settings, Spool(tmp_path), ledger, heard).run, args=(stop,)
    )
    began = time.monotonic()
    thread.start()
    wait_for(lambda: looks[State.READY] >= 4)
    stop.set()
    thread.join(10)
    ledger.close()

    assert looks[State.READY] <= 2 + (time.monotonic() - began) / INTERVAL_S
    assert looks[State.RECEIVING] >= 2 * looks[State.READY]


def test_a_long_look_for_what_no_commitment_was_asked_for_is_followed_by_a_long_rest(
    tmp_path: Path, heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    pacs = Destination(name="pacs", ae_title="PACS", host="127.0.0.1", port=104, commit=True)
    settings = Settings(home=tmp_path, destinations=[pacs])
    ledger = open_ledger(settings.ledger_url)
    looks: list[list[str]] = []

    def look(committing: list[str], _since: float) -> list[str]:
        looks.append(committing)
        time.sleep(0.02 if committing else 0)
        return []

    monkeypatch.setattr(ledger, "destinations_to_ask", look)
    sweeper = Sweeper(settings, Spool(tmp_path), ledger, heard)
    sweeper.hint_deliver()
    sweeper.hint_deliver()
    assert looks == [["pacs"], []]

    later = time.monotonic() + 100 * RESTS
    monkeypatch.setattr(time, "monotonic", lambda: later)
    sweeper.hint_deliver()
    ledger.close()
    assert looks[-1] == ["pacs"]
