"""The page as a part of `ichnode up`: with everything embedded, kept running."""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from node.broker import free_port
from tests.e2e.peers import Node, running_node, wait_for
from tests.web.test_door import ask

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(not Path("/usr/bin/echoscu").exists(), reason="not installed: dcmtk"),
]


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A node with its page."""
    folder = tmp_path_factory.mktemp("node")
    with running_node(folder, more=f"[web]\nport = {free_port()}\n") as running:
        yield running


def answers(node: Node, path: str = "/health/live") -> bool:
    try:
        return ask(f"http://127.0.0.1:{node.settings.web.port}{path}").status == 200
    except OSError:
        return False


def test_up_serves_the_page_and_the_node_is_ready(node: Node) -> None:
    wait_for(lambda: answers(node, "/health/ready"), 30, "the page to say that all is well")
    address = f"http://127.0.0.1:{node.settings.web.port}"

    def workers() -> list[str]:
        found = json.loads(ask(f"{address}/api/system").body)["workers"] or []
        return sorted(worker["queue"] for worker in found)

    wait_for(lambda: workers() == ["analyze", "deliver"], 30, "the workers to show up")
    assert json.loads(ask(f"{address}/api/system").body)["broker_trouble"] is None


def test_a_page_that_is_killed_comes_back_and_the_node_goes_on(node: Node) -> None:
    wait_for(lambda: answers(node), 30)
    before = node.children()
    os.kill(before["web"][0], signal.SIGKILL)
    wait_for(lambda: node.children()["web"] not in ([], before["web"]), 30, "the page to restart")
    wait_for(lambda: answers(node), 30, "the page to answer")
    after = node.children()
    assert {part: after[part] for part in before if part != "web"} == {
        part: before[part] for part in before if part != "web"
    }
