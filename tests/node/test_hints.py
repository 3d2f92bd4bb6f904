"""Hints to the workers: sent if they can be, and no harm if not."""

import logging
import socket
import time
from pathlib import Path

import pytest

from node.hints import Hints, Queue, answering_workers
from node.settings import Settings


@pytest.fixture
def nowhere() -> str:
    """URL of a broker that is not there."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"redis://127.0.0.1:{probe.getsockname()[1]}/0"


def test_a_broker_that_is_away_is_no_error_and_no_long_wait(nowhere: str, tmp_path: Path) -> None:
    hints = Hints(nowhere, Settings(home=tmp_path))
    begin = time.monotonic()
    hints.analyze(1)
    hints.deliver("pacs")
    assert time.monotonic() - begin < 5


def test_a_broker_that_is_away_is_told_of_once(
    nowhere: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    hints = Hints(nowhere, Settings(home=tmp_path))
    with caplog.at_level(logging.WARNING, "node.hints"):
        for number in range(3):
            hints.analyze(number)
    assert len([r for r in caplog.records if r.name == "node.hints"]) == 1


def test_a_queue_that_cannot_be_asked_is_not_called_empty(nowhere: str, tmp_path: Path) -> None:
    """Else the sweeper would count a hint as sent that nobody has."""
    assert Hints(nowhere, Settings(home=tmp_path)).is_empty(Queue.ANALYZE) is False


def test_no_worker_answers_through_a_broker_that_is_away(nowhere: str, tmp_path: Path) -> None:
    assert answering_workers(nowhere, Settings(home=tmp_path), 0.2) == []
