"""How long an urgent series waits for a worker behind routine ones, with a rule and without."""

import json
import statistics
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from node.broker import EmbeddedBroker
from node.hints import Hints, answering_workers
from node.ledger import Ledger, Priority, Revision, State, open_ledger
from node.processes import end_process, start_process
from node.settings import load_settings
from node.spool import Spool
from tests.bench.row import Comparison, Figure, Row
from tests.bench.workers import CONFIG, Images
from tests.e2e.peers import ICHNODE, wait_for

ROUTINE = 8
"""Series that wait before the urgent one comes."""

TIMES = 3
DONE = (State.REPORTED, State.DELIVERED)


class Queue:
    """A worker, and series that wait for it.

    Parameters
    ----------
    ledger : Ledger
    spool : Spool
    hints : Hints
    images : Images
    """

    def __init__(self, ledger: Ledger, spool: Spool, hints: Hints, images: Images) -> None:
        self._ledger, self._spool, self._hints, self._images = ledger, spool, hints, images

    def wait(self, priority: Priority) -> float:
        """How long one waits that comes while the first of many runs, in analyses."""
        stored = [self._images.stored(self._spool, self._ledger) for _ in range(ROUTINE + 1)]
        *routine, urgent = stored
        for revision in routine:
            self._come(revision, Priority())
        wait_for(lambda: self._time(routine[0], State.ANALYZING), 30, "the first to begin")
        self._come(urgent, priority)
        wait_for(lambda: all(self._is_done(one) for one in stored), 120, "the reports")
        since, until = self._at(urgent, State.READY), self._at(urgent, State.ANALYZING)
        spans = [(self._at(r, State.ANALYZING), self._at(r, State.REPORTED)) for r in routine]
        analysis_s = statistics.mean(
            end - begin for begin, end in spans if begin < until and end > since
        )
        return (until - since) / analysis_s

    def _come(self, revision: Revision, priority: Priority) -> None:
        assert self._ledger.ready(revision, [], priority)
        self._hints.analyze(revision.id)

    def _is_done(self, revision: Revision) -> bool:
        found = self._ledger.revision(revision.id)
        assert found is not None
        assert found.state not in (State.FAILED, State.SKIPPED), found.detail
        return found.state in DONE

    def _at(self, revision: Revision, state: State) -> float:
        found = self._time(revision, state)
        assert found is not None
        return found

    def _time(self, revision: Revision, state: State) -> float | None:
        """When it came into a state, seconds since 1970."""
        events = self._ledger.history(revision)
        return next((event.at.timestamp() for event in events if event.state is state), None)


def rows(folder: Path) -> Iterator[Row]:
    """An urgent series among routine ones, one worker."""
    images = Images(folder / "phantom")
    with ExitStack() as stack:
        broker = EmbeddedBroker(folder)
        stack.callback(end_process, broker.start(), 10)
        config = folder / "ichnode.toml"
        url = f"sqlite:///{folder / 'ledger.sqlite'}"
        values = {"home": folder / "home", "broker": broker.url, "ledger": url}
        config.write_text(CONFIG.format(**{key: json.dumps(str(v)) for key, v in values.items()}))
        settings = load_settings(config)
        ledger = open_ledger(url)
        stack.callback(ledger.close)
        command = [*ICHNODE, "work", "--queue", "analyze", "--config", str(config)]
        stack.callback(end_process, start_process(command, folder / "worker.log"), 20)
        wait_for(lambda: answering_workers(broker.url, settings), 90, "the worker")
        queue = Queue(ledger, Spool(settings.home), Hints(broker.url, settings), images)
        without = queue.wait(Priority())
        urgent = [queue.wait(Priority("emergency", 3600)) for _ in range(TIMES)]
    yield Row(
        f"an urgent series comes while one of {ROUTINE} routine ones runs: its wait",
        Figure("ichnode", max(urgent), "analyses"),
        [Comparison(Figure("the same without a rule", without, "analyses"))],
        most=1.1,
        note=f"one worker, {len(images)} slices each; 1 is what those took, from claim to report, "
        f"that it waited for; the longest of {TIMES}",
    )
