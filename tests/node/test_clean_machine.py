"""Whatever happens in whatever order, and wherever the process ends: nothing needed is removed."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from unittest.mock import patch

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from node.ledger import ENDED, DeliveryState, Kept, Revision, Rule, State, open_ledger
from node.settings import Settings
from tests.conftest import Clock
from tests.node.test_clean import PEER, ROOM, Killed, Node, used

NAMES = st.sampled_from("123")
DESTINATIONS = ("pacs", "archive")  # the second one is asked to commit


@contextmanager
def dying_after(steps: int) -> Iterator[None]:
    """End the process at a rename or a deletion of a file."""
    left = iter(range(steps))

    def wrapped(real):  # type: ignore[no-untyped-def]
        def run(self: Path, *args: object, **kwargs: object) -> object:
            if next(left, None) is None:
                raise Killed
            return real(self, *args, **kwargs)

        return run

    with (
        patch.object(Path, "rename", wrapped(Path.rename)),
        patch.object(Path, "unlink", wrapped(Path.unlink)),
        patch.object(Path, "rmdir", wrapped(Path.rmdir)),
        suppress(Killed),
    ):
        yield


class Retention(RuleBasedStateMachine):
    """Series come, end in any way, are late, and are removed."""

    @initialize()
    def begin(self) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="ichnode-clean-"))
        destinations = [
            {"name": name, "commit": name == "archive", **PEER} for name in DESTINATIONS
        ]
        configured = Settings(home=self.home, destinations=destinations)
        ledger = open_ledger(configured.ledger_url)
        clock = ledger.clock = Clock()
        self.node = Node(configured, ledger, clock)

    def teardown(self) -> None:
        if hasattr(self, "node"):
            self.node.ledger.close()
            shutil.rmtree(self.home)

    def newest(self, name: str, *states: State) -> Revision | None:
        found = self.node.ledger.find(f"1.2.{name}")
        return found[-1] if found and found[-1].state in states else None

    @rule(name=NAMES, k=st.integers(0, 3), content=st.sampled_from("ab"))
    def receive(self, name: str, k: int, content: str) -> None:
        self.node.receive(name, range(k, k + 1), content)

    @rule(name=NAMES)
    def report(self, name: str) -> None:
        if revision := self.newest(name, State.RECEIVING, State.READY):
            self.node.report(revision, *DESTINATIONS)

    @rule(name=NAMES, is_explained=st.booleans())
    def skip(self, name: str, is_explained: bool) -> None:
        if revision := self.newest(name, State.RECEIVING):
            assert self.node.ledger.skip(revision, "contrast", "C+", [])
            if is_explained:
                assert self.node.ledger.explain(self.node.found(revision.id), [], [], "")

    @rule(name=NAMES)
    def fail(self, name: str) -> None:
        if revision := self.newest(name, State.RECEIVING):
            assert self.node.ledger.ready(revision, [])
            claim = self.node.ledger.claim(revision.id, 30)
            assert claim is not None
            assert self.node.ledger.fail(claim, "error", "odd")
            assert self.node.ledger.explain(self.node.found(revision.id), [], [], "")

    @rule(destination=st.sampled_from(DESTINATIONS), is_given_up=st.booleans())
    def deliver(self, destination: str, is_given_up: bool) -> None:
        for delivery in self.node.ledger.due_deliveries(destination, 1):
            if is_given_up:
                self.node.ledger.give_up(delivery, "refused")
            else:
                self.node.ledger.sent([(delivery, None)])

    @rule(is_kept=st.booleans())
    def commit(self, is_kept: bool) -> None:
        ledger = self.node.ledger
        if commitment := ledger.take_commitment("archive", 30, 0):
            uid = ledger.name_transaction(commitment)
            assert uid is not None
            uids = [r.sop_instance_uid for r in commitment.references]
            kept, lost = (uids, {}) if is_kept else ([], dict.fromkeys(uids, "lost"))
            ledger.hear(uid, kept, lost, lambda _: 0, 1e9)

    @rule(name=NAMES)
    def retry(self, name: str) -> None:
        for revision in self.node.ledger.find(f"1.2.{name}"):
            self.node.ledger.retry(revision, DESTINATIONS)

    @rule(days=st.sampled_from([0.5, 3, 8, 31]))
    def wait(self, days: float) -> None:
        self.node.days(days)

    @rule(is_full=st.booleans())
    def fill(self, is_full: bool) -> None:
        self.node.disk = used(95) if is_full else ROOM

    @rule()
    def clean(self) -> None:
        self.node.look()

    @rule(steps=st.integers(0, 12))
    def die_cleaning(self, steps: int) -> None:
        with dying_after(steps):
            self.node.look()
        self.node.start()

    @rule(steps=st.integers(0, 12))
    def die_starting(self, steps: int) -> None:
        with dying_after(steps):
            self.node.restart()

    @rule()
    def restart(self) -> None:
        before = self.revisions()
        self.node.restart()
        assert self.revisions() == before, "what was removed was taken up again, or lost"

    @rule(name=NAMES)
    def purge(self, name: str) -> None:
        everything = Rule(dict.fromkeys(ENDED, self.node.clock.now), frozenset(["archive"]))
        for ended in self.node.ledger.series_of(study="1.2", series=f"1.2.{name}"):
            for kept in Kept:
                self.node.cleaner.remove(kept, ended, everything, "purged")

    def revisions(self) -> list[tuple[int, State]]:
        return sorted((r.id, r.state) for r in self.node.ledger.recent(1000))

    @invariant()
    def what_is_needed_is_there(self) -> None:
        if not hasattr(self, "node"):
            return
        node = self.node
        for revision in node.ledger.recent(1000):
            deliveries = node.ledger.deliveries(revision)
            is_open = revision.state not in ENDED or any(
                d.state is DeliveryState.PENDING
                or (d.state is DeliveryState.SENT and d.destination == "archive")
                for d in deliveries
            )
            if is_open:
                assert revision.images_removed_at is None
                assert revision.results_removed_at is None
                for result in node.ledger.results(revision):
                    assert (node.spool.results / result.path).is_file()
            if revision.images_removed_at is None:
                for image in node.ledger.instances(revision):
                    assert node.spool.holds(image.path, image.digest)


TestRetention = Retention.TestCase
TestRetention.settings = settings(max_examples=20, stateful_step_count=30, deadline=None)
