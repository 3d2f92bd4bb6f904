"""Worklists: what comes first, what a page goes on after, whatever moves meanwhile."""

from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from ml.labels import LABELS
from node.ledger import Instance, Ledger, Result, Revision, Selection, State, open_ledger
from node.show.series import details, details_json
from node.spool import Spool
from tests.bench.filling import CT, SR, Filling
from tests.claiming import claimed
from tests.conftest import Clock

Go = Callable[..., Revision]


@pytest.fixture
def go(ledger: Ledger, clock: Clock) -> Go:
    """Have a series of its own go as far as a state."""
    count = 0

    def series(state: State, *flagged: str) -> Revision:
        nonlocal count
        count += 1
        clock.pass_s(1)
        uid = f"1.2.{count}"
        instance = Instance(uid, f"{uid}.1", f"{uid}.1.1", CT, "a" * 64, Path(uid), "CT1")
        id = ledger.store(instance, 30).revision_id
        revision = ledger.revision(id)
        assert revision is not None
        if state is State.SKIPPED:
            assert ledger.skip(revision, "contrast", "C+", [])
        elif state is not State.RECEIVING:
            assert ledger.ready(revision, [])
            claim = claimed(ledger, id)
            if state is State.FAILED:
                assert ledger.fail(claim, "error", "no")
            if state in (State.REPORTED, State.DELIVERED):
                result = Result("sr", f"{uid}.2", SR, f"{uid}.2.1", Path("sr.dcm"))
                maxima = {"any": 0.5}
                assert ledger.report(
                    claim, [result], ["pacs"], warnings=[], maxima=maxima, flagged=flagged
                )
            if state is State.DELIVERED:
                ledger.sent([(d, None) for d in ledger.deliveries(claim.revision)])
        found = ledger.revision(id)
        assert found is not None and found.state is state
        return found

    return series


def listed(ledger: Ledger, selection: Selection, rows: int = 100) -> list[int]:
    """The ids that a worklist lists, page by page."""
    found: list[int] = []
    after = None
    while True:
        page = ledger.page(selection, after, rows)
        found += [revision.id for revision in page.revisions]
        after = page.next
        if after is None:
            return found


def test_flagged_ones_come_first_and_each_part_newest_first(ledger: Ledger, go: Go) -> None:
    calm, hot = go(State.DELIVERED), go(State.DELIVERED, "any")
    late, skipped = go(State.REPORTED, "any", "subdural"), go(State.SKIPPED)
    assert listed(ledger, Selection()) == [late.id, hot.id, skipped.id, calm.id]
    newest = Selection(flagged_first=False)
    assert listed(ledger, newest) == [skipped.id, late.id, hot.id, calm.id]
    assert listed(ledger, Selection(only_flagged=True)) == [late.id, hot.id]
    assert late.flagged == ("any", "subdural")
    assert calm.flagged == ()


@pytest.mark.parametrize("rows", [1, 2, 3, 7])
def test_pages_together_are_the_worklist(ledger: Ledger, go: Go, clock: Clock, rows: int) -> None:
    for number in range(7):
        go(State.REPORTED, *(["any"] if number % 3 == 0 else []))
        clock.pass_s(-1)  # all at the same time: only their ids tell them apart
    for selection in (Selection(), Selection(flagged_first=False), Selection(only_flagged=True)):
        assert listed(ledger, selection, rows) == listed(ledger, selection)


def test_what_moves_to_the_front_meanwhile_pushes_nothing_out_of_the_next_page(
    ledger: Ledger, go: Go
) -> None:
    ids = [go(State.SKIPPED).id for _ in range(6)]
    first = ledger.page(Selection(), None, 3)
    go(State.REPORTED, "any")
    moved = ledger.revision(ids[4])
    assert moved is not None
    assert ledger.retry(moved, [])
    second = ledger.page(Selection(), first.next, 3)
    assert [revision.id for revision in second.revisions] == [ids[2], ids[1], ids[0]]


@pytest.mark.parametrize("state", [s for s in State if s is not State.READY])
def test_a_state_is_listed_alone(ledger: Ledger, go: Go, state: State) -> None:
    by_state = {s: go(s).id for s in State if s is not State.READY}
    assert listed(ledger, Selection(state=state)) == [by_state[state]]


def test_only_what_moved_since_a_time_is_listed(ledger: Ledger, go: Go, clock: Clock) -> None:
    go(State.DELIVERED, "any")
    clock.pass_s(3600)
    late = go(State.DELIVERED, "any")
    assert listed(ledger, Selection(since=clock.now - 60)) == [late.id]
    assert ledger.flagged_since(clock.now - 60) == 1
    assert ledger.flagged_since(0) == 2


def test_a_series_that_is_judged_again_is_flagged_by_the_last_word(ledger: Ledger, go: Go) -> None:
    revision = go(State.REPORTED, "any")
    assert ledger.make_again(revision.id, "a file is gone")
    claim = claimed(ledger, revision.id)
    assert ledger.report(claim, [], [], warnings=[], maxima={"any": 0.1})
    assert listed(ledger, Selection(only_flagged=True)) == []


def test_the_first_image_of_each_series_is_found(ledger: Ledger, go: Go) -> None:
    revisions = [go(State.SKIPPED), go(State.RECEIVING)]
    firsts = ledger.first_instances(revisions)
    assert [firsts[r.id].series_instance_uid for r in revisions] == [
        r.series_instance_uid for r in revisions
    ]
    (found,) = ledger.series_of_instance(firsts[revisions[0].id].sop_instance_uid)
    assert found.id == revisions[0].id
    assert ledger.siblings(found) == [found]


def test_a_series_of_long_ago_is_shown_with_all_that_is_known_of_it(
    url: str, clock: Clock, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    filling = Filling(2, instances=1, results=1, until=clock.now)
    filling.fill(url)
    ledger = open_ledger(url)
    (revision,) = ledger.find(filling.uid(2))
    entry = details_json(ledger, Spool(tmp_path), revision)
    details(Console(), [entry])
    ledger.close()
    assert set(entry["probabilities"]) == set(LABELS)
    assert "judged in the shadow by second 0" in capsys.readouterr().out
