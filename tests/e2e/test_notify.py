"""A team is told of a series that is flagged, by a node that runs."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from node.ledger import State
from tests.e2e.conftest import Series
from tests.e2e.peers import running_node, wait_for
from tests.receivers import hook_server


def test_a_flagged_series_is_told_whoever_is_killed(
    tmp_path: Path, new_series: Callable[..., Series]
) -> None:
    series = new_series()
    with hook_server() as hook:
        hook.status = 503
        more = f'[[notify]]\nname = "team"\nto = "{hook.url}"\ntell = "study"\n'
        with running_node(tmp_path, more=more) as node:
            node.send(series.files)
            revision = node.wait_for(series.series, State.REPORTED)
            assert revision.flagged, "the phantom of this test is one that the model flags"
            wait_for(lambda: hook.got, 30, "the hook to be told")

            for process in node.children()["receive"]:
                os.kill(process, signal.SIGKILL)
            hook.status = 204
            wait_for(lambda: node.ledger.notifications(revision)[0].detail is None, 90, "taken")

            documents = hook.documents()
            assert {d["type"] for d in documents} == {"series.flagged"}
            assert len({headers["webhook-id"] for headers, _ in hook.got}) == 1
            shown = subprocess.run(
                [
                    *(sys.executable, "-m", "node", "show", series.series),
                    *("--config", str(node.config)),
                ],
                capture_output=True,
                text=True,
                check=True,
            ).stdout
            assert "told by team: told" in shown
    log = (tmp_path / "node.log").read_text()
    assert "notification by team: it answers 503" in log
    audited = (node.settings.home / "audit.log").read_text().splitlines()
    exported = [line for line in audited if 'originalText="Export"' in line]
    outcomes = [line.partition('EventOutcomeIndicator="')[2][0] for line in exported]
    assert outcomes[-1] == "0"
    assert set(outcomes[:-1]) == {"4"}
    assert all(series.study in line for line in exported)
