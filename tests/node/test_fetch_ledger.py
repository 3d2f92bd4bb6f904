"""What the ledger remembers of sources: one fetches a series, and what was had is known."""

import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from node.ledger import (
    DAY_S,
    ENDED,
    FETCH_DONE,
    Count,
    Fetch,
    FetchState,
    Instance,
    Kept,
    Ledger,
    Mark,
    RetentionRule,
    State,
    schema,
)
from node.ledger.fetching import UNSEEN_S
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
    assert ledger.is_resting("pacs")
    clock.pass_s(6)
    assert not ledger.is_resting("pacs")
    assert ledger.begin_poll("pacs", 60), "at once after its rest"
    assert not ledger.begin_poll("pacs", 60), "and then by one"
    ledger.source_answers("pacs")
    assert not ledger.begin_poll("pacs", 60)
    clock.pass_s(-3600)
    assert ledger.begin_poll("pacs", 60), "the clock was set back"


def test_a_clock_that_was_set_back_keeps_nothing_waiting(ledger: Ledger, clock: Clock) -> None:
    row = wanted(ledger)
    assert ledger.change_fetch(row, next_try_at=clock.now + 60)
    ledger.source_rests("pacs", 1, clock.now + 60, "away")
    assert ledger.due_fetches("pacs", 1800) == []
    assert ledger.is_resting("pacs", 1800)
    clock.pass_s(-86_400)
    assert len(ledger.due_fetches("pacs", 1800)) == 1
    assert not ledger.is_resting("pacs", 1800)


def test_what_failed_is_wanted_again_and_its_source_asked_at_once(
    ledger: Ledger, clock: Clock
) -> None:
    for series in (SERIES, "1.2.4"):
        claimed = ledger.claim_fetch(wanted(ledger, series=series), 3, 30)
        assert claimed is not None
        assert ledger.end_fetch(claimed, FetchState.FAILED, "nothing came")
    ledger.source_rests("pacs", 3, clock.now + 900, "away")
    assert [row.detail for row in ledger.find_fetches(STUDY)] == ["nothing came"] * 2
    assert ledger.retry_fetches(["pacs"], SERIES) == 1
    assert not ledger.is_resting("pacs")
    assert [row.series_instance_uid for row in ledger.due_fetches("pacs")] == [SERIES]
    assert ledger.retry_fetches(["pacs"]) == 1
    assert ledger.retry_fetches(["pacs"]) == 0
    assert ledger.retry_fetches(["pacs"], "1.9") == 0


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


# -- how long what a source has is remembered -----------------------------------


def ended(ledger: Ledger, state: FetchState, series: str = SERIES, source: str = "pacs") -> None:
    row = wanted(ledger, source, series)
    assert ledger.change_fetch(row, state=state, next_try_at=None)


def left(ledger: Ledger, polled: Sequence[str] = ("pacs",), failed_days: float = 30) -> set[str]:
    """The series that are remembered after a look at all of them, one at a time."""
    before, after = ledger.clock() - failed_days * DAY_S, 0
    while True:
        found = ledger.forget_fetches(polled, before, after, 1)
        if found is None:
            return {row.series_instance_uid for row in ledger.find_fetches(STUDY)}
        after = found


def test_a_series_is_remembered_as_long_as_its_source_tells_of_it(
    ledger: Ledger, clock: Clock
) -> None:
    ended(ledger, FetchState.REFUSED)
    for _ in range(10):
        clock.pass_s(DAY_S)
        ledger.still_has("pacs", [STUDY])
        ledger.source_answers("pacs")
        assert left(ledger) == {SERIES}
    clock.pass_s(UNSEEN_S - 1)
    ledger.source_answers("pacs")
    assert left(ledger) == {SERIES}
    clock.pass_s(2)
    ledger.source_answers("pacs")
    assert left(ledger) == set()


def test_a_source_that_does_not_answer_makes_nothing_forgotten(
    ledger: Ledger, clock: Clock
) -> None:
    ended(ledger, FetchState.REFUSED)
    clock.pass_s(10 * UNSEEN_S)
    assert left(ledger) == {SERIES}, "it never answered"
    ended(ledger, FetchState.REFUSED, "1.2.4")
    ledger.source_answers("pacs")
    clock.pass_s(10 * UNSEEN_S)
    assert left(ledger) == {"1.2.4"}, "the days since it answered do not count"


def test_what_another_source_tells_of_is_another_matter(ledger: Ledger, clock: Clock) -> None:
    ended(ledger, FetchState.REFUSED)
    ended(ledger, FetchState.REFUSED, "1.2.4", "other")
    clock.pass_s(2 * UNSEEN_S)
    ledger.still_has("other", [STUDY])
    for source in ("pacs", "other"):
        ledger.source_answers(source)
    assert left(ledger, ["pacs", "other"]) == {"1.2.4"}


@pytest.mark.parametrize("state", FETCH_DONE)
def test_what_was_fetched_is_remembered_as_long_as_the_series_itself(
    ledger: Ledger, clock: Clock, state: FetchState
) -> None:
    stored = ledger.store(image(1), 30)
    assert ledger.move(stored.revision_id, State.RECEIVING, State.DELIVERED, due_at=None)
    ended(ledger, state)
    ended(ledger, state, "1.2.4")  # nothing of it ever came
    ledger.expect(STUDY, "1.2.4", Count(1, "pacs", is_still=True))
    clock.pass_s(400 * DAY_S)
    ledger.source_answers("pacs")
    assert left(ledger) == {SERIES}
    assert series_rows(ledger) == {SERIES}, "what was only expected is gone as well"
    rule = RetentionRule(dict.fromkeys(ENDED, clock.now), frozenset())
    ((found,), _) = ledger.removable(Kept.IMAGES, rule, Mark(), 100)
    for kept in Kept:
        ledger.remove(kept, found, rule, "old")
    ledger.still_has("pacs", [STUDY])
    assert ledger.forget(found, rule)
    assert left(ledger) == {SERIES}, "a poll sees it: it would be fetched again"
    clock.pass_s(UNSEEN_S + 1)
    ledger.source_answers("pacs")
    assert left(ledger) == set()


def series_rows(ledger: Ledger) -> set[str]:
    with ledger.reading() as connection:
        return set(connection.execute(sa.select(schema.series.c.series_instance_uid)).scalars())


def test_what_failed_is_remembered_for_a_time_of_its_own(ledger: Ledger, clock: Clock) -> None:
    ended(ledger, FetchState.FAILED)
    clock.pass_s(29 * DAY_S)
    ledger.source_answers("pacs")
    assert left(ledger) == {SERIES}
    clock.pass_s(2 * DAY_S)
    ledger.source_answers("pacs")
    assert left(ledger) == set()


def test_what_is_still_to_be_fetched_is_never_forgotten_where_somebody_polls(
    ledger: Ledger, clock: Clock
) -> None:
    wanted(ledger)
    claimed = ledger.claim_fetch(wanted(ledger, series="1.2.4"), 3, 30)
    assert claimed is not None
    clock.pass_s(400 * DAY_S)
    ledger.source_answers("pacs")
    assert left(ledger) == {SERIES, "1.2.4"}
    assert left(ledger, polled=()) == set(), "a source that is not in the configuration any more"
