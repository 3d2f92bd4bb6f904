"""What the ledger remembers of sources: one fetches a series, and what was had is known."""

import threading
from dataclasses import replace
from pathlib import Path

import pytest

from node.ledger import (
    ENDED,
    Count,
    Fetch,
    FetchState,
    Instance,
    Kept,
    Ledger,
    Mark,
    RetentionRule,
    State,
)
from tests.bench.filling import CT
from tests.conftest import Clock

STUDY, SERIES = "1.2", "1.2.3"


def image(number: int, content: str = "a") -> Instance:
    path = Path(STUDY) / SERIES / f"{SERIES}.{number}.{content}.dcm"
    return Instance(STUDY, SERIES, f"{SERIES}.{number}", CT, content * 64, path, "PACS")


def wanted(ledger: Ledger, source: str = "pacs", series: str = SERIES) -> Fetch:
    values = {"state": FetchState.WANTED, "counted": 3, "next_try_at": ledger.clock()}
    ledger.enter_fetches(source, [(STUDY, series, values)])
    (row,) = ledger.fetches(source, [series])
    return row


def test_a_series_that_is_entered_twice_stands_there_once(ledger: Ledger) -> None:
    row = wanted(ledger)
    assert wanted(ledger) == row
    assert wanted(ledger, "other").id != row.id


def test_of_many_that_begin_one_fetches(ledger: Ledger) -> None:
    row = wanted(ledger)
    begun: list[Fetch | None] = []
    threads = [
        threading.Thread(target=lambda: begun.append(ledger.claim_fetch(row, 3, 30)))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(claim is not None for claim in begun) == 1


def test_who_was_silent_too_long_is_followed_and_changes_nothing_any_more(
    ledger: Ledger, clock: Clock
) -> None:
    dead = ledger.claim_fetch(wanted(ledger), 3, 30)
    assert dead is not None
    clock.pass_s(20)
    assert ledger.extend_fetch(dead, 30)
    clock.pass_s(20)
    assert ledger.due_fetches("pacs") == []
    clock.pass_s(20)
    (due,) = ledger.due_fetches("pacs")
    heir = ledger.claim_fetch(due, 3, 30)
    assert heir is not None
    assert heir.attempts == 2
    assert not ledger.extend_fetch(dead, 30)
    assert not ledger.end_fetch(dead, FetchState.FAILED, "too late")
    assert ledger.end_fetch(heir, FetchState.FETCHED, None, 3)
    (state,) = ledger.sources()
    assert (state.fetched, state.failed, state.images, state.waiting) == (1, 0, 3, 0)


def test_a_count_that_changed_is_not_still(ledger: Ledger) -> None:
    row = wanted(ledger)
    assert ledger.change_fetch(row, still=2)
    (row,) = ledger.fetches("pacs", [SERIES])
    before = replace(row, version=row.version - 1)
    assert not ledger.change_fetch(before, still=5), "it was changed meanwhile"
    claimed = ledger.claim_fetch(row, 4, 30)
    assert claimed is not None
    assert (claimed.counted, claimed.still) == (4, 0)


def test_a_source_is_polled_by_one_and_not_while_it_rests(ledger: Ledger, clock: Clock) -> None:
    assert ledger.begin_poll("pacs", 60)
    assert not ledger.begin_poll("pacs", 60)
    assert ledger.begin_poll("other", 60)
    clock.pass_s(61)
    assert ledger.begin_poll("pacs", 60)
    ledger.source_rests("pacs", 1, clock.now + 5, "away")
    assert not ledger.begin_poll("pacs", 0)
    clock.pass_s(6)
    assert ledger.begin_poll("pacs", 60), "at once after its rest"
    ledger.source_answers("pacs")
    assert not ledger.begin_poll("pacs", 60)
    clock.pass_s(-3600)
    assert ledger.begin_poll("pacs", 60), "the clock was set back"


def test_what_failed_is_wanted_again_and_its_source_asked_at_once(
    ledger: Ledger, clock: Clock
) -> None:
    for series in (SERIES, "1.2.4"):
        claimed = ledger.claim_fetch(wanted(ledger, series=series), 3, 30)
        assert claimed is not None
        assert ledger.end_fetch(claimed, FetchState.FAILED, "nothing came")
    ledger.source_rests("pacs", 3, clock.now + 900, "away")
    assert [row.detail for row in ledger.find_fetches(STUDY)] == ["nothing came"] * 2
    assert ledger.retry_fetches(SERIES) == 1
    assert not ledger.is_resting("pacs")
    assert [row.series_instance_uid for row in ledger.due_fetches("pacs")] == [SERIES]
    assert ledger.retry_fetches() == 1
    assert ledger.retry_fetches() == 0
    assert ledger.retry_fetches("1.9") == 0


def test_a_count_stands_with_a_series_before_and_after_it_came(ledger: Ledger) -> None:
    ledger.expect(STUDY, SERIES, Count(3, "pacs", is_still=False))
    assert ledger.find(SERIES) == []
    ledger.store(image(1), 30)
    assert ledger.find(SERIES)[0].count == Count(3, "pacs", is_still=False)
    ledger.expect(STUDY, SERIES, Count(4, "other", is_still=True))
    assert ledger.find(SERIES)[0].count == Count(4, "other", is_still=True)


def test_what_is_being_received_is_told_from_what_has_come(ledger: Ledger, clock: Clock) -> None:
    assert ledger.held(STUDY, SERIES).instances == frozenset()
    stored = ledger.store(image(1), 30)
    ledger.store(image(2), 30)
    held = ledger.held(STUDY, SERIES)
    assert held.instances == {f"{SERIES}.1", f"{SERIES}.2"}
    assert held.receiving_since == clock.now
    assert ledger.held("1.9", SERIES).instances == frozenset(), "another study's"
    assert ledger.move(stored.revision_id, State.RECEIVING, State.DELIVERED, due_at=None)
    assert ledger.held(STUDY, SERIES).receiving_since is None


def test_images_that_were_removed_after_their_time_count_as_had(
    ledger: Ledger, clock: Clock
) -> None:
    stored = ledger.store(image(1), 30)
    assert ledger.move(stored.revision_id, State.RECEIVING, State.DELIVERED, due_at=None)
    rule = RetentionRule(dict.fromkeys(ENDED, clock.now + 10), frozenset())
    ((ended,), _) = ledger.removable(Kept.IMAGES, rule, Mark(), 100)
    assert ledger.remove(Kept.IMAGES, ended, rule, "old")
    assert ledger.held(STUDY, SERIES).instances == {f"{SERIES}.1"}


def test_images_that_are_lost_from_the_disk_do_not(ledger: Ledger) -> None:
    for number in (1, 2):
        stored = ledger.store(image(number), 30)
    revision = ledger.revision(stored.revision_id)
    assert revision is not None
    assert ledger.lose(revision, [image(2)])
    assert ledger.held(STUDY, SERIES).instances == {f"{SERIES}.1"}


@pytest.mark.parametrize("seen", [None, "a"])
def test_another_content_is_entered_only_instead_of_what_it_was_compared_with(
    ledger: Ledger, seen: str | None
) -> None:
    first = ledger.store(image(1, "a"), 30, None)
    assert ledger.store(image(1, "a"), 30, None).outcome == "duplicate"
    other = ledger.store(image(1, "b"), 30, None if seen is None else seen * 64)
    if seen is None:
        assert other.outcome == "unlike"
        assert other.current is not None
        assert other.current.digest == "a" * 64
        assert ledger.revision(first.revision_id) is not None
        assert ledger.find(SERIES)[0].instances == 1
    else:
        assert other.outcome == "changed"
        again = ledger.store(image(1, "c"), 30, seen * 64)
        assert again.outcome == "unlike", "it is b that counts by now"
