"""`ichnode purge` as a user meets it."""

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from node.cli import app
from node.ledger import Ledger, State, open_ledger
from node.settings import Settings
from tests.conftest import Clock
from tests.node.test_clean import Node


class AgoClock(Clock):
    """A clock that is behind by a number of days."""

    def __call__(self) -> float:
        return time.time() + self.now

    def __init__(self) -> None:
        self.now = 0.0


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "test.toml"
    file.write_text(
        f'home = "{tmp_path}/home"\n[[destinations]]\nname = "pacs"\nae_title = "PACS"\n'
        'host = "127.0.0.1"\nport = 1\n'
    )
    return file


@pytest.fixture
def node(tmp_path: Path, config: Path) -> Iterator[Node]:
    """Delivered 10 days ago, failed 10 days ago, delivered just now, under way."""
    settings = Settings(home=tmp_path / "home")
    ledger: Ledger = open_ledger(settings.ledger_url)
    clock = ledger.clock = AgoClock()
    made = Node(settings, ledger, clock)
    clock.now = -10 * 86_400
    made.end(State.DELIVERED, "1")
    made.end(State.FAILED, "2")
    clock.now = 0.0
    made.end(State.DELIVERED, "3")
    made.report(made.receive("4"), "pacs")
    yield made
    ledger.close()


@pytest.fixture
def purge(config: Path) -> Any:
    def run(*arguments: str, answer: str | None = None) -> Result:
        return CliRunner().invoke(app, ["purge", "--config", str(config), *arguments], input=answer)

    return run


def left(node: Node) -> str:
    """Which series have images."""
    return "".join(name for name in "1234" if node.images(name))


def test_a_dry_run_shows_what_would_go_and_removes_nothing(node: Node, purge: Any) -> None:
    done = purge("--dry-run")
    assert done.exit_code == 0
    (row,) = [line.split() for line in done.stdout.splitlines() if "delivered" in line]
    assert row[:3] == ["delivered", "1", "4"]
    assert left(node) == "1234"


def test_it_asks_and_does_nothing_without_a_yes(node: Node, purge: Any) -> None:
    assert purge(answer="n\n").exit_code == 0
    assert left(node) == "1234"
    done = purge(answer="y\n")
    assert "4 files" in done.stdout
    assert left(node) == "234"
    assert "nothing to remove" in purge("--yes").stdout


def test_an_age_and_a_state_say_what_goes(node: Node, purge: Any) -> None:
    purge("--older-than", "1d", "--state", "failed", "--yes")
    assert left(node) == "134"
    purge("--older-than", "11d", "--yes")
    assert left(node) == "134"
    purge("--older-than", "0m", "--yes")
    assert left(node) == "4"


def test_a_series_is_removed_by_name_and_one_that_is_not_delivered_stays(
    node: Node, purge: Any
) -> None:
    assert purge("--series", "1.2.3", "--yes").exit_code == 0
    assert left(node) == "124"
    done = purge("--series", "1.2.4", "--yes")
    assert done.exit_code == 1
    assert "1.2.4: revision 1 is reported" in done.stdout
    done = purge("--study", "1.2", "--yes", "--json")
    document = json.loads(done.stdout)
    assert document["refused"] == ["1.2.4: revision 1 is reported"]
    assert {item["series_instance_uid"] for item in document["found"]} == {"1.2.1", "1.2.2"}
    assert document["removed"]["files"] == 3 + 1 + 3
    assert left(node) == "4"
    assert len(node.results("4")) == 1


def test_refused_instances_and_results_of_nobody_count_too(node: Node, purge: Any) -> None:
    refused = node.spool.quarantine(b"odd" * 9, "odd")
    orphan = node.spool.results_folder("1.9", "1.9.9", 1)
    orphan.mkdir(parents=True)
    (orphan / "sr.dcm").write_bytes(b"sr")
    long_ago = time.time() - 40 * 86_400
    os.utime(refused, (long_ago, long_ago))
    os.utime(orphan.parent, (long_ago, long_ago))
    found = json.loads(purge("--dry-run", "--json").stdout)["found"]
    assert [item["what"] for item in found] == ["delivered", "refused", "orphans"]
    assert json.loads(purge("--state", "failed", "--dry-run", "--json").stdout)["found"] == []
    purge("--yes")
    assert not refused.exists()
    assert not orphan.exists()
    assert node.results("3")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--older-than", "soon"], "'soon' is no time"),
        (["--state", "ready"], "only delivered, skipped, failed"),
        (["--series", "1.2.1", "--older-than", "3d"], "without --state"),
        (["--json"], "--dry-run or --yes"),
    ],
)
def test_what_makes_no_sense_is_told(
    node: Node, purge: Any, arguments: list[str], says: str
) -> None:
    done = purge(*arguments)
    assert done.exit_code == 2
    assert says in done.stderr
    assert left(node) == "1234"
