"""Whatever happens in whatever order, and wherever the process ends: nothing needed is removed."""

import random
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from unittest.mock import patch

import pytest

from node.ledger import (
    ENDED,
    Claim,
    DeliveryState,
    Kept,
    RetentionRule,
    Revision,
    State,
    open_ledger,
)
from node.settings import Settings
from tests.conftest import Clock
from tests.node.test_clean import PEER, ROOM, Killed, Node, used

DESTINATIONS = ("pacs", "archive")  # the second one is asked to commit
STEPS = 400


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


class Campaign:
    """Series come, end in any way, are late, and are removed.

    Parameters
    ----------
    home : pathlib.Path
    seed : int
    """

    def __init__(self, home: Path, seed: int) -> None:
        self.chance = random.Random(seed)
        self.series = 1
        destinations = [
            {"name": name, "commit": name == "archive", **PEER} for name in DESTINATIONS
        ]
        configured = Settings(home=home, destinations=destinations)
        ledger = open_ledger(configured.ledger_url)
        clock = ledger.clock = Clock()
        self.node = Node(configured, ledger, clock)

    def step(self) -> None:
        """Let something happen."""
        chance = self.chance
        actions = {
            self.receive: 6,
            self.report: 6,
            self.skip: 3,
            self.explain: 3,
            self.fail: 2,
            self.deliver: 8,
            self.commit: 4,
            self.retry: 2,
            self.wait: 4,
            self.fill: 1,
            self.clean: 4,
            self.die_cleaning: 4,
            self.die_starting: 2,
            self.restart: 2,
            self.purge: 1,
        }
        (action,) = chance.choices(list(actions), list(actions.values()))
        action()

    def name(self) -> str:
        """One of the last series."""
        return str(max(1, self.series - self.chance.randrange(4)))

    def newest(self, *states: State) -> Revision | None:
        found = self.node.ledger.find(f"1.2.{self.name()}")
        return found[-1] if found and found[-1].state in states else None

    def receive(self) -> None:
        k = self.chance.randrange(2)
        content = self.chance.choice("aaab")
        if self.chance.random() < 0.5:
            self.series += 1
        self.node.receive(self.name(), range(k, k + 1), content)

    def claimed(self) -> Claim | None:
        """What a worker gets: a series that has come to rest, or that waited before."""
        ledger = self.node.ledger
        if revision := self.newest(State.RECEIVING):
            assert ledger.ready(revision, [])
        while (claim := ledger.claim_next(30)) and not ledger.is_newest(claim.revision):
            assert ledger.supersede(claim)
        return claim

    def report(self) -> None:
        if claim := self.claimed():
            self.node.report_claimed(claim, *DESTINATIONS)

    def skip(self) -> None:
        if revision := self.newest(State.RECEIVING):
            assert self.node.ledger.skip(revision, "contrast", "C+", [])

    def explain(self) -> None:
        for revision in self.node.ledger.due(State.SKIPPED):
            assert self.node.ledger.explain(revision, [], [], "")

    def fail(self) -> None:
        if claim := self.claimed():
            assert self.node.ledger.fail(claim, "error", "odd")
            assert self.node.ledger.explain(self.node.found(claim.revision.id), [], [], "")

    def deliver(self) -> None:
        destination = self.chance.choice(DESTINATIONS)
        for delivery in self.node.ledger.due_deliveries(destination, 4):
            if self.chance.random() < 0.05:
                self.node.ledger.give_up(delivery, "refused")
            else:
                self.node.ledger.sent([(delivery, None)])

    def commit(self) -> None:
        ledger = self.node.ledger
        if commitment := ledger.take_commitment("archive", 30, 0):
            uid = ledger.name_transaction(commitment)
            assert uid is not None
            uids = [r.sop_instance_uid for r in commitment.references]
            lost = dict.fromkeys(uids, "lost") if self.chance.random() < 0.2 else {}
            ledger.hear(uid, uids, lost, lambda _: 0, 1e9)

    def retry(self) -> None:
        for revision in self.node.ledger.find(f"1.2.{self.name()}"):
            self.node.ledger.retry(revision, DESTINATIONS)

    def wait(self) -> None:
        self.node.days(self.chance.choice([3, 8, 31]))

    def fill(self) -> None:
        self.node.disk = self.chance.choice([used(95), ROOM, ROOM])

    def clean(self) -> None:
        self.node.look()

    def die_cleaning(self) -> None:
        with dying_after(self.chance.randrange(8)):
            self.node.look()
        self.node.start()

    def die_starting(self) -> None:
        with dying_after(self.chance.randrange(8)):
            self.node.restart()

    def restart(self) -> None:
        before = self.revisions()
        self.node.restart()
        assert self.revisions() == before, "what was removed was taken up again, or lost"

    def purge(self) -> None:
        everything = RetentionRule(
            dict.fromkeys(ENDED, self.node.clock.now), frozenset(["archive"])
        )
        for ended in self.node.ledger.series_of(study="1.2", series=f"1.2.{self.name()}"):
            for kept in Kept:
                self.node.cleaner.remove(kept, ended, everything, "purged")

    def revisions(self) -> list[tuple[int, State]]:
        return sorted((r.id, r.state) for r in self.node.ledger.recent(1000))

    def what_is_needed_is_there(self) -> None:
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


@pytest.mark.parametrize("seed", range(2))
def test_nothing_that_is_needed_is_removed(tmp_path: Path, seed: int) -> None:
    campaign = Campaign(tmp_path, seed)
    for _ in range(STEPS):
        campaign.step()
        campaign.what_is_needed_is_there()
    removed = [r for r in campaign.node.ledger.recent(1000) if r.images_removed_at]
    campaign.node.ledger.close()
    assert len(removed) >= 5, "or it says little"
