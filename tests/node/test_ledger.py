"""The ledger, on SQLite and on PostgreSQL: every promise holds on both."""

import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa

from node.errors import ConfigError
from node.ledger import (
    HINT_S,
    Claim,
    Delivery,
    DeliveryState,
    Hold,
    Instance,
    Ledger,
    Outcome,
    Result,
    Revision,
    State,
    open_ledger,
    patiently,
)
from tests.claiming import claimed
from tests.conftest import Clock

STUDY, SERIES = "1.2.3", "1.2.3.4"
QUIET_S, GRACE_S, LEASE_S = 30.0, 2.0, 20.0
MAXIMA = {"any": 0.5}


def instance(number: int, content: str = "a", series: str = SERIES) -> Instance:
    digest = f"{content}{number:063d}"
    path = Path(STUDY) / series / f"{series}.{number}.{content}.dcm"
    return Instance(STUDY, series, f"{series}.{number}", "1.2.840.1", digest, path, "SCANNER")


def receive(ledger: Ledger, numbers: range = range(1, 4), series: str = SERIES) -> Revision:
    for number in numbers:
        stored = ledger.store(instance(number, series=series), QUIET_S)
    return found(ledger, stored.revision_id)


def found(ledger: Ledger, revision_id: int) -> Revision:
    revision = ledger.revision(revision_id)
    assert revision is not None
    return revision


def numbers(ledger: Ledger, revision: Revision) -> list[str]:
    """The instances that count, as number and content."""
    return [
        f"{i.sop_instance_uid.rpartition('.')[2]}{i.digest[0]}" for i in ledger.instances(revision)
    ]


def make_ready(ledger: Ledger, series: str = SERIES) -> Revision:
    revision = receive(ledger, series=series)
    assert ledger.ready(revision, ["odd"])
    return found(ledger, revision.id)


def claim(ledger: Ledger, revision: Revision) -> Claim:
    return claimed(ledger, revision.id, LEASE_S)


def results(count: int = 2, mark: str = "9") -> list[Result]:
    return [
        Result(
            "sr" if n == 0 else "sc",
            f"1.{mark}.{n}",
            "1.2.840.2",
            f"1.{mark}.{n}.1",
            Path(f"{n}.dcm"),
        )
        for n in range(count)
    ]


def report(ledger: Ledger, taken: Claim, *destinations: str, count: int = 2) -> bool:
    return ledger.report(taken, results(count), destinations, warnings=["seen"], maxima=MAXIMA)


def make_reported(ledger: Ledger, *destinations: str, count: int = 2) -> Revision:
    revision = make_ready(ledger)
    assert report(ledger, claim(ledger, revision), *destinations, count=count)
    return found(ledger, revision.id)


def states(ledger: Ledger, revision: Revision) -> list[State]:
    return [event.state for event in ledger.history(revision)]


# -- receive -------------------------------------------------------------------


def test_an_instance_that_cannot_be_entered_is_told_of_and_leaves_nothing(ledger: Ledger) -> None:
    revision = receive(ledger)
    with ledger.engine.begin() as connection:
        connection.execute(sa.text("ALTER TABLE instance RENAME COLUMN sender TO elsewhere"))
    with pytest.raises(sa.exc.DBAPIError):
        ledger.store(instance(9), QUIET_S)
    with ledger.engine.begin() as connection:
        connection.execute(sa.text("ALTER TABLE instance RENAME COLUMN elsewhere TO sender"))

    assert found(ledger, revision.id) == revision
    assert ledger.store(instance(9), QUIET_S).outcome is Outcome.NEW


def test_the_first_instance_begins_revision_one(ledger: Ledger, clock: Clock) -> None:
    stored = ledger.store(instance(1), QUIET_S)
    revision = found(ledger, stored.revision_id)
    assert stored.outcome is Outcome.NEW
    assert (revision.number, revision.state, revision.instances) == (1, State.RECEIVING, 1)
    assert revision.last_instance_at == datetime.fromtimestamp(clock.now, UTC)
    assert revision.released_at is None
    assert revision.maxima is None
    assert ledger.instances(revision) == [instance(1)]


def test_more_instances_join_the_revision_that_still_receives(ledger: Ledger) -> None:
    revision = receive(ledger, range(1, 6))
    assert (revision.number, revision.instances, revision.arrivals) == (1, 5, 5)
    assert states(ledger, revision) == [State.RECEIVING]


def test_the_same_content_again_changes_nothing(ledger: Ledger, clock: Clock) -> None:
    before = receive(ledger)
    clock.pass_s(5)
    stored = ledger.store(instance(2), QUIET_S)
    assert (stored.outcome, stored.revision_id) == (Outcome.DUPLICATE, before.id)
    assert found(ledger, before.id) == before


def test_the_same_content_after_the_report_begins_no_new_revision(ledger: Ledger) -> None:
    revision = make_reported(ledger, "pacs")
    assert ledger.store(instance(2), QUIET_S).outcome is Outcome.DUPLICATE
    assert len(ledger.find(SERIES)) == 1
    assert found(ledger, revision.id).state is State.REPORTED


def test_other_content_of_a_uid_takes_the_place_of_the_old_one(ledger: Ledger) -> None:
    receive(ledger)
    stored = ledger.store(instance(2, "b"), QUIET_S)
    revision = found(ledger, stored.revision_id)
    assert stored.outcome is Outcome.CHANGED
    assert (revision.number, revision.instances) == (1, 3)
    assert numbers(ledger, revision) == ["1a", "3a", "2b"]
    assert ledger.replaced(revision) == 1


def test_a_late_slice_makes_a_new_revision_with_all_slices(ledger: Ledger) -> None:
    first = make_ready(ledger)
    stored = ledger.store(instance(4), QUIET_S)
    second = found(ledger, stored.revision_id)
    assert (second.number, second.state) == (2, State.RECEIVING)
    assert numbers(ledger, second) == ["1a", "2a", "3a", "4a"]
    assert numbers(ledger, first) == ["1a", "2a", "3a"]
    assert (second.instances, found(ledger, first.id).instances) == (4, 3)
    assert ledger.replaced(second) == 0


def test_a_late_change_counts_for_the_new_revision_alone(ledger: Ledger) -> None:
    first = make_ready(ledger)
    second = found(ledger, ledger.store(instance(2, "b"), QUIET_S).revision_id)
    assert numbers(ledger, first) == ["1a", "2a", "3a"]
    assert numbers(ledger, second) == ["1a", "3a", "2b"]
    assert (ledger.replaced(first), ledger.replaced(second)) == (0, 1)
    assert ledger.is_newest(second)
    assert not ledger.is_newest(first)


def test_the_old_content_coming_back_is_a_change_too(ledger: Ledger) -> None:
    receive(ledger)
    ledger.store(instance(2, "b"), QUIET_S)
    stored = ledger.store(instance(2, "a"), QUIET_S)
    assert stored.outcome is Outcome.CHANGED
    assert numbers(ledger, found(ledger, stored.revision_id)) == ["1a", "3a", "2a"]


@pytest.mark.parametrize("end", [State.SKIPPED, State.FAILED, State.REPORTED])
def test_whatever_became_of_a_revision_a_late_slice_begins_the_next(
    ledger: Ledger, end: State
) -> None:
    if end is State.SKIPPED:
        revision = receive(ledger)
        ledger.skip(revision, "contrast", "C+", [])
    elif end is State.FAILED:
        revision = make_ready(ledger)
        ledger.fail(claim(ledger, revision), "error", "broken")
    else:
        revision = make_reported(ledger)
    assert found(ledger, revision.id).state is end
    later = found(ledger, ledger.store(instance(9), QUIET_S).revision_id)
    assert (later.number, later.state, later.reason) == (2, State.RECEIVING, None)


def test_one_series_uid_in_two_studies_is_two_series(ledger: Ledger) -> None:
    first = receive(ledger)
    other = replace(instance(1), study_instance_uid="9.9.9")
    second = found(ledger, ledger.store(other, QUIET_S).revision_id)
    assert first.id != second.id
    assert [r.id for r in ledger.find(SERIES)] == [first.id, second.id]
    assert [r.id for r in ledger.find("9.9.9")] == [second.id]


def test_a_revision_is_due_when_it_was_quiet_for_long_enough(ledger: Ledger, clock: Clock) -> None:
    revision = receive(ledger)
    clock.pass_s(QUIET_S - 1)
    assert ledger.due(State.RECEIVING) == []
    clock.pass_s(1)
    assert [r.id for r in ledger.due(State.RECEIVING)] == [revision.id]
    assert ledger.due(State.READY) == []


def test_every_slice_moves_the_quiet_end(ledger: Ledger, clock: Clock) -> None:
    receive(ledger)
    clock.pass_s(QUIET_S - 1)
    ledger.store(instance(8), QUIET_S)
    clock.pass_s(QUIET_S - 1)
    assert ledger.due(State.RECEIVING) == []


def test_the_end_of_an_association_makes_a_revision_due_after_the_grace(
    ledger: Ledger, clock: Clock
) -> None:
    revision = receive(ledger)
    clock.pass_s(1)
    ledger.release([revision.id], GRACE_S)
    assert ledger.due(State.RECEIVING) == []
    clock.pass_s(GRACE_S)
    (due,) = ledger.due(State.RECEIVING)
    assert due.released_at == datetime.fromtimestamp(clock.now - GRACE_S, UTC)


def test_a_slice_of_another_association_takes_the_end_of_the_first_one_back(
    ledger: Ledger,
) -> None:
    revision = receive(ledger)
    ledger.release([revision.id], GRACE_S)
    assert found(ledger, revision.id).released_at is not None
    ledger.store(instance(9), QUIET_S)
    assert found(ledger, revision.id).released_at is None


def test_the_end_of_an_association_does_not_touch_what_has_moved_on(ledger: Ledger) -> None:
    revision = make_ready(ledger)
    ledger.release([revision.id], GRACE_S)
    ledger.release([], GRACE_S)
    assert found(ledger, revision.id) == revision


def test_the_longest_due_comes_first(ledger: Ledger, clock: Clock) -> None:
    ids = []
    for number in range(3):
        ids.append(receive(ledger, series=f"1.2.{number}").id)
        clock.pass_s(1)
    clock.pass_s(QUIET_S)
    assert [r.id for r in ledger.due(State.RECEIVING)] == ids
    assert [r.id for r in ledger.recent(2)] == ids[:0:-1]


def test_postponing_holds_until_then(ledger: Ledger, clock: Clock) -> None:
    revision = receive(ledger)
    clock.pass_s(QUIET_S)
    later = datetime.fromtimestamp(clock.now + 7, UTC)
    ledger.postpone(revision, later)
    clock.pass_s(6)
    assert ledger.due(State.RECEIVING) == []
    clock.pass_s(1)
    assert [r.id for r in ledger.due(State.RECEIVING)] == [revision.id]


def test_postponing_is_void_if_a_slice_came_meanwhile(ledger: Ledger, clock: Clock) -> None:
    seen = receive(ledger)
    ledger.store(instance(9), QUIET_S)
    ledger.postpone(seen, datetime.fromtimestamp(clock.now + 999, UTC))
    clock.pass_s(QUIET_S)
    assert [r.id for r in ledger.due(State.RECEIVING)] == [seen.id]


def test_postponing_is_void_if_the_association_ended_meanwhile(
    ledger: Ledger, clock: Clock
) -> None:
    seen = receive(ledger)
    ledger.release([seen.id], GRACE_S)
    ledger.postpone(seen, datetime.fromtimestamp(clock.now + QUIET_S, UTC))
    clock.pass_s(GRACE_S)
    (due,) = ledger.due(State.RECEIVING)
    ledger.postpone(due, datetime.fromtimestamp(clock.now + 5, UTC))
    assert ledger.due(State.RECEIVING) == [], "what was seen as released can be postponed"


# -- assemble ------------------------------------------------------------------


def test_ready_keeps_the_warnings_and_is_due_when_its_hint_counts_as_lost(
    ledger: Ledger, clock: Clock
) -> None:
    revision = make_ready(ledger)
    assert (revision.state, revision.warnings) == (State.READY, ("odd",))
    assert states(ledger, revision) == [State.RECEIVING, State.READY]
    clock.pass_s(HINT_S)
    assert [r.id for r in ledger.due(State.READY)] == [revision.id]


def test_a_slice_that_came_meanwhile_keeps_a_revision_from_being_ready(ledger: Ledger) -> None:
    seen = receive(ledger)
    ledger.store(instance(9), QUIET_S)
    assert not ledger.ready(seen, [])
    assert not ledger.skip(seen, "contrast", "C+", [])
    assert found(ledger, seen.id).state is State.RECEIVING


def test_a_skipped_revision_says_why_and_is_due_for_nothing_else(
    ledger: Ledger, clock: Clock
) -> None:
    revision = receive(ledger)
    assert ledger.skip(revision, "contrast", "the description says 'C+'", ["odd"])
    skipped = found(ledger, revision.id)
    assert (skipped.state, skipped.reason) == (State.SKIPPED, "contrast")
    assert skipped.detail == "the description says 'C+'"
    assert skipped.warnings == ("odd",)
    assert ledger.history(revision)[-1].detail == skipped.detail
    assert ledger.explain(skipped, [], [], "")
    clock.pass_s(1e6)
    assert all(ledger.due(state) == [] for state in State)


# -- analyze -------------------------------------------------------------------


def test_of_two_claims_one_wins(ledger: Ledger) -> None:
    revision = make_ready(ledger)
    taken = claim(ledger, revision)
    assert ledger.claim_next(LEASE_S) is None
    assert (taken.attempt, taken.revision.state) == (1, State.ANALYZING)


def test_where_nothing_is_ready_nothing_is_claimed(ledger: Ledger) -> None:
    assert ledger.claim_next(LEASE_S) is None
    receive(ledger)
    assert ledger.claim_next(LEASE_S) is None


def test_of_many_claims_at_the_same_time_one_wins(ledger: Ledger) -> None:
    revision = make_ready(ledger)
    with ThreadPoolExecutor(8) as pool:
        taken = list(pool.map(lambda _: ledger.claim_next(LEASE_S), range(8)))
    assert len([t for t in taken if t is not None]) == 1
    assert found(ledger, revision.id).attempts == 1


def test_a_lease_that_is_extended_does_not_run_out(ledger: Ledger, clock: Clock) -> None:
    taken = claim(ledger, make_ready(ledger))
    clock.pass_s(LEASE_S - 1)
    assert ledger.extend(taken, LEASE_S)
    clock.pass_s(LEASE_S - 1)
    assert ledger.due(State.ANALYZING) == []
    assert not ledger.take_back(taken.revision, 3)


def test_a_silent_worker_loses_its_revision_and_can_say_nothing_more(
    ledger: Ledger, clock: Clock
) -> None:
    lost = claim(ledger, make_ready(ledger))
    clock.pass_s(LEASE_S)
    (due,) = ledger.due(State.ANALYZING)
    assert ledger.take_back(due, 3)
    assert not ledger.take_back(due, 3), "two sweepers take it back once"
    second = claim(ledger, due)
    assert second.attempt == 2
    assert not ledger.extend(lost, LEASE_S)
    assert not report(ledger, lost, "pacs")
    assert not ledger.fail(lost, "error", "late")
    assert not ledger.yield_claim(lost, "late", 1)
    assert ledger.results(due) == []
    assert ledger.deliveries(due) == []
    assert report(ledger, second, "pacs")


def test_after_the_last_attempt_a_silent_worker_leaves_a_failure(
    ledger: Ledger, clock: Clock
) -> None:
    revision = make_ready(ledger)
    for attempt in (1, 2):
        assert claim(ledger, revision).attempt == attempt
        clock.pass_s(LEASE_S)
        assert ledger.take_back(found(ledger, revision.id), 2)
    failed = found(ledger, revision.id)
    assert (failed.state, failed.reason) == (State.FAILED, "worker-lost")
    assert "2 workers" in (failed.detail or "")


def test_a_claim_given_back_is_ready_again_after_a_pause(ledger: Ledger, clock: Clock) -> None:
    taken = claim(ledger, make_ready(ledger))
    assert ledger.yield_claim(taken, "no memory", 10)
    assert found(ledger, taken.revision.id).detail == "no memory"
    clock.pass_s(9)
    assert ledger.due(State.READY) == []
    clock.pass_s(1)
    assert [r.id for r in ledger.due(State.READY)] == [taken.revision.id]


def test_an_old_revision_is_superseded_by_a_newer_one(ledger: Ledger) -> None:
    old = make_ready(ledger)
    ledger.store(instance(9), QUIET_S)
    taken = claim(ledger, old)
    assert ledger.supersede(taken)
    ended = found(ledger, old.id)
    assert (ended.state, ended.reason) == (State.SKIPPED, "superseded")
    assert not ledger.retry(ended, [])


def test_a_report_keeps_results_maxima_and_warnings(ledger: Ledger) -> None:
    revision = make_reported(ledger, "pacs", "archive")
    assert (revision.state, revision.maxima) == (State.REPORTED, MAXIMA)
    assert revision.warnings == ("seen",)
    assert ledger.results(revision) == results()
    assert [(d.destination, d.result) for d in ledger.deliveries(revision)] == [
        (destination, item) for item in results() for destination in ("pacs", "archive")
    ]
    assert states(ledger, revision)[-1] is State.REPORTED


def test_a_report_that_comes_twice_writes_once(ledger: Ledger) -> None:
    taken = claim(ledger, make_ready(ledger))
    assert report(ledger, taken, "pacs")
    assert not report(ledger, taken, "pacs")
    assert len(ledger.results(taken.revision)) == 2
    assert len(ledger.deliveries(taken.revision)) == 2


def counted(ledger: Ledger, event: str, work: Callable[[], object]) -> int:
    """How often something happens in the database meanwhile."""
    seen: list[object] = []
    sa.event.listen(ledger.engine, event, lambda *_: seen.append(event))
    work()
    return len(seen)


def test_a_report_takes_as_many_statements_for_many_results_as_for_few(ledger: Ledger) -> None:
    taken = [claim(ledger, make_ready(ledger, series)) for series in ("1.2.3.6", "1.2.3.7")]
    few, many = (
        counted(
            ledger,
            "before_cursor_execute",
            lambda item=item, count=count: report(ledger, item, "pacs", "archive", count=count),
        )
        for item, count in zip(taken, (2, 44), strict=True)
    )
    assert many == few
    assert len(ledger.deliveries(taken[1].revision)) == 88
    assert [d.result for d in take(ledger, "archive")[2:]] == results(44)


def test_the_predecessor_is_the_last_reported_revision_and_no_other(ledger: Ledger) -> None:
    first = make_reported(ledger)
    assert ledger.predecessor(first, "sr") is None
    second = found(ledger, ledger.store(instance(5), QUIET_S).revision_id)
    assert ledger.skip(second, "contrast", "", [])
    third = found(ledger, ledger.store(instance(6), QUIET_S).revision_id)
    assert ledger.predecessor(third, "sr") == results()[0]
    assert ledger.predecessor(third, "pdf") is None
    assert ledger.ready(third, [])
    assert ledger.report(claim(ledger, third), results(mark="7"), [], warnings=[], maxima=MAXIMA)
    fourth = found(ledger, ledger.store(instance(7), QUIET_S).revision_id)
    assert ledger.predecessor(fourth, "sr") == results(mark="7")[0]


# -- explain -------------------------------------------------------------------

NOTICE = Result("notice", "1.8.0", "1.2.840.3", "1.8.0.1", Path("notice.dcm"))


def make_failed(ledger: Ledger) -> Revision:
    taken = claim(ledger, make_ready(ledger))
    assert ledger.fail(taken, "pixel-error", "too many slices cannot be read")
    return found(ledger, taken.revision.id)


def test_what_was_skipped_or_has_failed_is_due_to_be_explained_once(ledger: Ledger) -> None:
    skipped = receive(ledger, series="1.2.3.5")
    assert ledger.skip(skipped, "contrast", "", [])
    failed = make_failed(ledger)
    assert [r.id for r in ledger.due(State.SKIPPED)] == [skipped.id]
    assert [r.id for r in ledger.due(State.FAILED)] == [failed.id]

    assert ledger.explain(failed, [NOTICE], ["pacs", "mirror"], "a notice says so")
    assert not ledger.explain(failed, [NOTICE], ["pacs", "mirror"], "a notice says so")

    assert ledger.due(State.FAILED) == []
    assert found(ledger, failed.id).state is State.FAILED
    assert ledger.results(failed) == [NOTICE]
    assert sorted(d.destination for d in ledger.deliveries(failed)) == ["mirror", "pacs"]
    assert states(ledger, failed).count(State.FAILED) == 2


def test_a_notice_that_was_delivered_leaves_the_series_failed(ledger: Ledger) -> None:
    failed = make_failed(ledger)
    ledger.explain(failed, [NOTICE], ["pacs"], "")
    for delivery in take(ledger):
        ledger.sent([(delivery, None)])
    assert found(ledger, failed.id).state is State.FAILED


def test_a_series_that_goes_on_is_not_explained(ledger: Ledger) -> None:
    failed = make_failed(ledger)
    assert ledger.retry(failed, [])
    assert not ledger.explain(failed, [NOTICE], ["pacs"], "")
    assert ledger.deliveries(failed) == []


def test_a_report_takes_the_place_of_a_notice(ledger: Ledger) -> None:
    failed = make_failed(ledger)
    ledger.explain(failed, [NOTICE], ["pacs"], "")
    assert ledger.retry(failed, [])
    assert ledger.predecessor(failed, "sr") is None
    assert ledger.predecessor(failed, "sr", interim="notice") == NOTICE
    assert report(ledger, claim(ledger, found(ledger, failed.id)), "pacs")
    waiting = {d.result.kind for d in ledger.deliveries(failed)}
    assert waiting == {"sr", "sc"}  # the notice, not sent yet, is not true any more


def test_the_same_notice_is_recorded_once_and_another_one_beside_it(ledger: Ledger) -> None:
    failed = make_failed(ledger)
    ledger.explain(failed, [NOTICE], ["pacs"], "")
    other = replace(NOTICE, sop_instance_uid="1.8.0.2")
    for notice in (NOTICE, other):
        assert ledger.retry(found(ledger, failed.id), [])
        assert ledger.fail(claim(ledger, found(ledger, failed.id)), "error", "")
        assert ledger.explain(found(ledger, failed.id), [notice], ["pacs"], "")
    assert ledger.results(failed) == [NOTICE, other]
    assert len(ledger.deliveries(failed)) == 2


# -- deliver -------------------------------------------------------------------


def take(ledger: Ledger, destination: str = "pacs") -> list[Delivery]:
    return ledger.due_deliveries(destination)


def hold(ledger: Ledger, destination: str = "pacs") -> Hold:
    taken = ledger.hold(destination, LEASE_S)
    assert taken is not None
    return taken


def test_one_sender_at_a_time_holds_a_destination(ledger: Ledger) -> None:
    make_reported(ledger, "pacs", "archive")
    assert sorted(ledger.due_destinations()) == ["archive", "pacs"]
    taken = hold(ledger)
    assert ledger.hold("pacs", LEASE_S) is None
    assert ledger.due_destinations() == ["archive"]
    ledger.let_go(taken)
    assert hold(ledger).failures == 0


def test_a_silent_sender_is_replaced_and_can_say_nothing_more(ledger: Ledger, clock: Clock) -> None:
    make_reported(ledger, "pacs")
    silent = hold(ledger)
    clock.pass_s(LEASE_S - 1)
    assert ledger.extend_hold(silent, LEASE_S)
    clock.pass_s(LEASE_S - 1)
    assert ledger.hold("pacs", LEASE_S) is None
    clock.pass_s(1)
    assert ledger.due_destinations() == ["pacs"]
    other = hold(ledger)
    assert not ledger.extend_hold(silent, LEASE_S)
    ledger.let_go(silent)
    ledger.rest(silent, clock.now + 1000, "ill")
    assert ledger.extend_hold(other, LEASE_S)


def test_a_destination_that_is_ill_rests_and_holds_no_other_up(
    ledger: Ledger, clock: Clock
) -> None:
    revision = make_reported(ledger, "pacs", "archive")
    ledger.rest(hold(ledger), clock.now + 40, "does not answer")
    assert ledger.due_destinations() == ["archive"]
    assert ledger.hold("pacs", LEASE_S) is None
    told = {d.destination: d.detail for d in ledger.deliveries(revision)}
    assert told == {"pacs": "does not answer", "archive": None}
    clock.pass_s(40)
    again = hold(ledger)
    assert again.failures == 1
    ledger.rest(again, clock.now + 80, "does not answer")
    clock.pass_s(80)
    well = hold(ledger)
    assert well.failures == 2
    ledger.let_go(well)
    assert hold(ledger).failures == 0


def test_what_a_destination_did_not_take_for_too_long_is_given_up(
    ledger: Ledger, clock: Clock
) -> None:
    revision = make_reported(ledger, "pacs", "archive")
    begin = clock.now
    ledger.rest(hold(ledger), begin, "away")
    assert ledger.give_up_older("pacs", begin, "away") == 0
    clock.pass_s(1)
    assert ledger.give_up_older("pacs", clock.now, "away") == 2
    by_name = {(d.destination, d.state) for d in ledger.deliveries(revision)}
    assert by_name == {("pacs", DeliveryState.FAILED), ("archive", DeliveryState.PENDING)}


def test_results_whose_files_are_gone_are_made_again(ledger: Ledger) -> None:
    revision = make_reported(ledger, "pacs")
    ledger.sent([(take(ledger)[0], None)])
    assert ledger.make_again(revision.id, "gone")
    assert not ledger.make_again(revision.id, "gone")
    assert take(ledger) == []
    assert report(ledger, claim(ledger, found(ledger, revision.id)), "pacs")
    assert len(take(ledger)) == 1, "what was sent is not sent again"
    assert len(ledger.results(revision)) == 2


def test_a_revision_is_delivered_when_the_last_object_was_sent_everywhere(
    ledger: Ledger,
) -> None:
    revision = make_reported(ledger, "pacs", "archive")
    rows = [*take(ledger), *take(ledger, "archive")]
    for row in rows[:-1]:
        ledger.sent([(row, None)])
        assert found(ledger, revision.id).state is State.REPORTED
    ledger.sent([(rows[-1], "stored with warning 0xB000")])
    assert found(ledger, revision.id).state is State.DELIVERED
    assert states(ledger, revision)[-1] is State.DELIVERED
    assert ledger.deliveries(revision)[-1].detail == "stored with warning 0xB000"
    assert take(ledger) == []
    ledger.sent([(rows[-1], None)])
    assert states(ledger, revision).count(State.DELIVERED) == 1


def test_objects_of_several_revisions_are_settled_in_one_transaction(ledger: Ledger) -> None:
    first = make_reported_series(ledger, "1.2.3.6", "pacs")
    second = make_reported_series(ledger, "1.2.3.7", "pacs")
    third = make_reported_series(ledger, "1.2.3.8", "pacs")
    *sent, left = take(ledger)
    remarks = [None, "stored with warning 0xB000", None, None, "stored with warning 0x0107"]

    commits = counted(ledger, "commit", lambda: ledger.sent(list(zip(sent, remarks, strict=True))))

    assert commits == 1
    for revision, state in (
        (first, State.DELIVERED),
        (second, State.DELIVERED),
        (third, State.REPORTED),
    ):
        assert found(ledger, revision.id).state is state
        assert states(ledger, revision).count(State.DELIVERED) == (state is State.DELIVERED)
    settled = [d for r in (first, second, third) for d in ledger.deliveries(r)]
    assert [(d.state, d.detail, d.attempts) for d in settled] == [
        *((DeliveryState.SENT, remark, 1) for remark in remarks),
        (DeliveryState.PENDING, None, 0),
    ]
    assert take(ledger) == [left]


def test_settling_nothing_changes_nothing(ledger: Ledger) -> None:
    revision = make_reported(ledger, "pacs")
    ledger.sent([])
    assert found(ledger, revision.id) == revision


def test_an_object_that_was_not_taken_waits_for_its_time(ledger: Ledger, clock: Clock) -> None:
    revision = make_reported(ledger, "pacs", count=1)
    (row,) = take(ledger)
    ledger.try_again(row, clock.now + 40, "PACS answers 0xA700")
    (waiting,) = ledger.deliveries(revision)
    assert (waiting.state, waiting.detail) == (DeliveryState.PENDING, "PACS answers 0xA700")
    clock.pass_s(39)
    assert take(ledger) == []
    clock.pass_s(1)
    (again,) = take(ledger)
    assert again.attempts == 1
    assert again.first_tried_at == waiting.first_tried_at, (
        "the time to give up counts from the first"
    )


def test_an_object_given_up_keeps_the_revision_from_being_delivered(
    ledger: Ledger, clock: Clock
) -> None:
    revision = make_reported(ledger, "pacs")
    sent, lost = take(ledger)
    ledger.give_up(lost, "refused for 72 hours")
    ledger.sent([(sent, None)])
    assert found(ledger, revision.id).state is State.REPORTED
    clock.pass_s(1e6)
    assert take(ledger) == []
    ledger.sent([(lost, None)])
    assert ledger.deliveries(revision)[1].state is DeliveryState.FAILED


def test_a_report_without_destinations_waits_for_nothing(ledger: Ledger) -> None:
    revision = make_reported(ledger)
    assert take(ledger) == []
    assert ledger.deliveries(revision) == []


# -- retry ---------------------------------------------------------------------


def test_a_failed_revision_begins_again_with_all_its_attempts(ledger: Ledger, clock: Clock) -> None:
    taken = claim(ledger, make_ready(ledger))
    ledger.fail(taken, "PixelError", "broken")
    assert ledger.retry(found(ledger, taken.revision.id), [])
    again = found(ledger, taken.revision.id)
    assert (again.state, again.reason, again.detail) == (State.READY, None, None)
    assert [r.id for r in ledger.due(State.READY)] == [again.id]
    for _ in range(2):
        claim(ledger, again)
        clock.pass_s(LEASE_S)
        ledger.take_back(found(ledger, again.id), 3)
        assert found(ledger, again.id).state is State.READY


def test_a_worker_from_before_a_retry_cannot_speak_for_the_one_after_it(
    ledger: Ledger, clock: Clock
) -> None:
    before = claim(ledger, make_ready(ledger))
    clock.pass_s(LEASE_S)
    ledger.take_back(found(ledger, before.revision.id), 1)  # failed: that was the last attempt
    ledger.retry(found(ledger, before.revision.id), [])
    after = claim(ledger, found(ledger, before.revision.id))
    assert not ledger.fail(before, "error", "late")
    assert not report(ledger, before, "pacs")
    assert report(ledger, after, "pacs")


def test_a_skipped_revision_is_looked_at_again(ledger: Ledger) -> None:
    revision = receive(ledger)
    ledger.skip(revision, "contrast", "C+", [])
    assert ledger.retry(found(ledger, revision.id), [])
    (due,) = ledger.due(State.RECEIVING)
    assert (due.id, due.reason) == (revision.id, None)


def test_what_was_not_delivered_is_sent_again_also_to_new_destinations(
    ledger: Ledger, clock: Clock
) -> None:
    revision = make_reported(ledger, "pacs", count=1)
    (row,) = take(ledger)
    ledger.give_up(row, "gone")
    clock.pass_s(100)
    assert ledger.retry(found(ledger, revision.id), ["pacs", "archive"])
    assert len(take(ledger, "archive")) == 1
    (again,) = take(ledger)
    assert again.first_tried_at is None, "the time to give up begins anew"


def test_what_was_sent_is_not_sent_again(ledger: Ledger) -> None:
    revision = make_reported(ledger, "pacs")
    first, second = take(ledger)
    ledger.sent([(first, None)])
    ledger.give_up(second, "gone")
    assert ledger.retry(found(ledger, revision.id), ["pacs"])
    assert [d.id for d in take(ledger)] == [second.id]


def test_dead_letters_are_what_has_failed_or_was_given_up(ledger: Ledger) -> None:
    make_reported_series(ledger, "1.2.3.6", "pacs")
    failed = make_ready(ledger, "1.2.3.7")
    ledger.fail(claim(ledger, failed), "pixel-error", "broken")
    lost = make_ready(ledger, "1.2.3.8")
    ledger.lose(lost, ledger.instances(lost)[:1])
    given_up = make_reported_series(ledger, "1.2.3.9", "pacs", "archive")
    ledger.give_up(ledger.deliveries(given_up)[-1], "refused")

    assert [r.id for r in ledger.dead_letters()] == [failed.id, given_up.id]
    assert [r.id for r in ledger.dead_letters("archive")] == [given_up.id]
    assert ledger.dead_letters("pacs") == []


def test_the_state_of_a_destination_is_told(ledger: Ledger, clock: Clock) -> None:
    revision = make_reported(ledger, "pacs", "archive", count=3)
    ledger.sent([(take(ledger)[0], None)])
    ledger.rest(hold(ledger, "archive"), clock.now + 40, "does not answer")
    ledger.give_up(ledger.deliveries(revision)[-1], "refused")
    archive, pacs = ledger.destinations()
    assert (pacs.name, pacs.waiting, pacs.given_up, pacs.rests_until) == ("pacs", 2, 0, None)
    assert (archive.waiting, archive.given_up, archive.failures) == (2, 1, 1)
    assert archive.detail == "does not answer"
    assert archive.rests_until == datetime.fromtimestamp(clock.now + 40, UTC)


def test_images_that_were_lost_and_sent_again_are_not_called_changed(ledger: Ledger) -> None:
    lost = receive(ledger)
    assert ledger.lose(lost, ledger.instances(lost)[:2])
    again = receive(ledger)
    assert (again.number, again.instances) == (2, 3)
    assert ledger.replaced(again) == 0


@pytest.mark.parametrize("state", [State.RECEIVING, State.READY, State.ANALYZING, State.DELIVERED])
def test_what_is_on_its_way_or_done_is_left_alone(ledger: Ledger, state: State) -> None:
    revision = receive(ledger)
    if state is not State.RECEIVING:
        ledger.ready(revision, [])
    if state in (State.ANALYZING, State.DELIVERED):
        taken = claim(ledger, revision)
    if state is State.DELIVERED:
        report(ledger, taken, "pacs", count=1)
        ledger.sent([(take(ledger)[0], None)])
    before = found(ledger, revision.id)
    assert before.state is state
    assert not ledger.retry(before, ["pacs"])
    assert found(ledger, revision.id) == before


def test_the_history_tells_every_state_with_its_time(ledger: Ledger, clock: Clock) -> None:
    start = datetime.fromtimestamp(clock.now, UTC)
    revision = receive(ledger)
    clock.pass_s(3)
    ledger.ready(revision, [])
    clock.pass_s(4)
    ledger.fail(claim(ledger, revision), "error", "broken")
    events = ledger.history(revision)
    assert [(e.state, e.at - start) for e in events] == [
        (State.RECEIVING, timedelta(seconds=0)),
        (State.READY, timedelta(seconds=3)),
        (State.ANALYZING, timedelta(seconds=7)),
        (State.FAILED, timedelta(seconds=7)),
    ]
    assert events[-1].detail == "broken"


# -- many at once --------------------------------------------------------------


def test_many_threads_storing_one_series_make_one_revision(ledger: Ledger) -> None:
    with ThreadPoolExecutor(8) as pool:
        stored = list(pool.map(lambda n: ledger.store(instance(n), QUIET_S), range(40)))
    assert {s.outcome for s in stored} == {Outcome.NEW}
    (revision,) = ledger.find(SERIES)
    assert (revision.instances, revision.arrivals, revision.number) == (40, 40, 1)


def test_one_instance_stored_many_times_at_once_is_one_instance(ledger: Ledger) -> None:
    with ThreadPoolExecutor(8) as pool:
        stored = list(pool.map(lambda _: ledger.store(instance(1), QUIET_S), range(16)))
    assert [s.outcome for s in stored].count(Outcome.NEW) == 1
    (revision,) = ledger.find(SERIES)
    assert revision.instances == 1


def test_of_many_senders_one_holds_a_destination(ledger: Ledger) -> None:
    make_reported(ledger, "pacs", count=10)
    with ThreadPoolExecutor(8) as pool:
        taken = list(pool.map(lambda _: ledger.hold("pacs", LEASE_S), range(8)))
    assert sum(hold is not None for hold in taken) == 1


def test_a_retry_wakes_a_destination_that_rests(ledger: Ledger, clock: Clock) -> None:
    revision = make_reported(ledger, "pacs")
    ledger.rest(hold(ledger), clock.now + 1000, "away")
    assert ledger.retry(revision, ["pacs"])
    assert hold(ledger).failures == 0


def pausing_first_commit(
    ledger: Ledger, work: Callable[[], object]
) -> tuple[threading.Thread, threading.Event]:
    """Do something in a thread that stops right before its commit, until it is told to go on."""
    arrived, go_on = threading.Event(), threading.Event()

    def run() -> None:
        me = threading.get_ident()

        def pause(_connection: object) -> None:
            if threading.get_ident() == me and not arrived.is_set():
                arrived.set()
                assert go_on.wait(20)

        sa.event.listen(ledger.engine, "commit", pause)
        work()

    thread = threading.Thread(target=run)
    thread.start()
    assert arrived.wait(20)
    return thread, go_on


def meanwhile(ledger: Ledger, first: Callable[[], object], second: Callable[[], object]) -> None:
    """Begin the second while the first has not committed yet, then let both end."""
    thread, go_on = pausing_first_commit(ledger, first)
    other = threading.Thread(target=second)
    other.start()
    other.join(0.3)
    go_on.set()
    thread.join(20)
    other.join(20)
    assert not thread.is_alive()
    assert not other.is_alive()


def test_the_last_two_objects_sent_at_the_same_time_make_a_revision_delivered(
    ledger: Ledger,
) -> None:
    revision = make_reported(ledger, "pacs", "archive", count=1)
    (one,), (two,) = take(ledger), take(ledger, "archive")
    meanwhile(ledger, lambda: ledger.sent([(one, None)]), lambda: ledger.sent([(two, None)]))
    assert found(ledger, revision.id).state is State.DELIVERED


def test_a_slice_that_comes_while_a_revision_becomes_ready_is_not_lost(ledger: Ledger) -> None:
    revision = receive(ledger)
    meanwhile(
        ledger,
        lambda: ledger.ready(revision, []),
        lambda: ledger.store(instance(9), QUIET_S),
    )
    ready = found(ledger, revision.id)
    assert ready.state is State.READY
    assert numbers(ledger, ready) == ["1a", "2a", "3a"]
    first, second = ledger.find(SERIES)
    assert first == ready
    assert (second.number, second.state, second.instances) == (2, State.RECEIVING, 4)


def test_a_revision_does_not_become_ready_while_a_slice_is_being_stored(ledger: Ledger) -> None:
    revision = receive(ledger)
    outcomes: list[bool] = []
    meanwhile(
        ledger,
        lambda: ledger.store(instance(9), QUIET_S),
        lambda: outcomes.append(ledger.ready(revision, [])),
    )
    assert outcomes == [False]
    (only,) = ledger.find(SERIES)
    assert (only.state, only.instances) == (State.RECEIVING, 4)


def test_images_of_one_process_take_turns_and_do_not_sleep_for_the_lock_of_sqlite(
    tmp_path: Path,
) -> None:
    ledger = open_ledger(f"sqlite:///{tmp_path}/ledger.sqlite")
    receive(ledger)
    begun: list[int] = []
    sa.event.listen(ledger.engine, "checkout", lambda *_: begun.append(1))
    others: list[threading.Thread] = []

    def begin_another(_connection: sa.Connection) -> None:
        if not others:
            others.append(threading.Thread(target=ledger.store, args=(instance(8), QUIET_S)))
            others[0].start()
            others[0].join(0.3)
            begun.append(-len(begun))

    sa.event.listen(ledger.engine, "commit", begin_another)
    ledger.store(instance(9), QUIET_S)
    others[0].join(20)
    sa.event.remove(ledger.engine, "commit", begin_another)

    assert begun == [1, -1, 1]
    (only,) = ledger.find(SERIES)
    assert only.instances == 5
    ledger.close()


# -- opening -------------------------------------------------------------------


def test_what_was_written_is_there_when_the_ledger_is_opened_again(url: str) -> None:
    first = open_ledger(url)
    revision = make_ready(first)
    first.close()
    second = open_ledger(url)
    assert found(second, revision.id) == revision
    second.close()


def test_many_parts_that_open_an_empty_ledger_at_once_do_not_race(url: str) -> None:
    with ThreadPoolExecutor(4) as pool:
        opened = list(pool.map(lambda _: open_ledger(url), range(4)))
    for ledger in opened:
        assert ledger.recent(1) == []
        ledger.close()


def test_two_ledgers_on_one_database_see_each_other(url: str, clock: Clock) -> None:
    one, two = open_ledger(url), open_ledger(url)
    one.clock = two.clock = clock
    revision = make_ready(one)
    assert claim(two, revision)
    assert one.claim_next(LEASE_S) is None
    one.close()
    two.close()


@pytest.mark.parametrize(
    "url",
    [
        "postgresql+psycopg://ichnode:secret@127.0.0.1:1/ledger?connect_timeout=2",
        "sqlite:////proc/nowhere/ledger.sqlite",
    ],
)
def test_a_ledger_that_cannot_be_opened_is_named_without_its_password(url: str) -> None:
    with pytest.raises(ConfigError, match="cannot be opened") as caught:
        open_ledger(url)
    assert "secret" not in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    (tmp_path / "ledger.sqlite").write_bytes(b"no database at all" * 99)
    with pytest.raises(ConfigError, match="cannot be opened"):
        open_ledger(f"sqlite:///{tmp_path}/ledger.sqlite")


# -- the clock and the server --------------------------------------------------


def test_what_waits_within_the_rules_is_left_alone(ledger: Ledger) -> None:
    receive(ledger)
    make_reported(ledger, "pacs")
    assert ledger.straighten(QUIET_S + 1, 900) == 0


@pytest.mark.parametrize("back_s", [3_600, 86_400])
def test_a_clock_that_is_set_back_stops_nothing(
    ledger: Ledger, clock: Clock, back_s: float
) -> None:
    receiving = receive(ledger, series="1.2.3.5")
    ledger.release([receiving.id], GRACE_S)
    reported = make_reported(ledger, "pacs")
    ledger.rest(hold(ledger), clock.now + 40, "away")
    held = make_reported_series(ledger, "1.2.3.6", "archive")
    hold(ledger, "archive")
    clock.pass_s(-back_s)
    assert ledger.due(State.RECEIVING) == []
    assert ledger.due_destinations() == []

    assert ledger.straighten(QUIET_S, 900) > 0

    (due,) = ledger.due(State.RECEIVING)
    now = datetime.fromtimestamp(clock.now, UTC)
    assert (due.id, due.last_instance_at, due.released_at) == (receiving.id, now, now)
    assert sorted(ledger.due_destinations()) == ["archive", "pacs"]
    assert {d.revision_id for d in take(ledger)} == {reported.id}
    assert {d.revision_id for d in take(ledger, "archive")} == {held.id}
    assert ledger.straighten(QUIET_S, 900) == 0


def make_reported_series(ledger: Ledger, series: str, *destinations: str) -> Revision:
    revision = make_ready(ledger, series)
    taken = claim(ledger, revision)
    mark = series.rpartition(".")[2]
    assert ledger.report(taken, results(2, mark), destinations, warnings=[], maxima=MAXIMA)
    return found(ledger, revision.id)


def test_an_attempt_that_was_no_fault_of_the_series_does_not_count(
    ledger: Ledger, clock: Clock
) -> None:
    revision = make_ready(ledger)
    for _ in range(5):
        taken = claim(ledger, revision)
        assert taken.attempt == 1
        assert ledger.yield_claim(taken, "No space left on device", 10, counts=False)
        clock.pass_s(10)
    assert found(ledger, revision.id).attempts == 0


def test_a_claimed_revision_can_turn_out_to_be_none_for_the_model(ledger: Ledger) -> None:
    taken = claim(ledger, make_ready(ledger))
    assert ledger.skip_claimed(taken, "not-a-head", "lungs")
    (skipped,) = ledger.due(State.SKIPPED)
    assert (skipped.reason, skipped.detail) == ("not-a-head", "lungs")


class Away:
    """Work that fails as long as a database server is away."""

    def __init__(self, times: int, cause: Exception) -> None:
        self.left, self.cause = times, cause

    def __call__(self) -> str:
        self.left -= 1
        if self.left >= 0:
            raise sa.exc.OperationalError("", {}, self.cause)
        return "done"


def test_a_server_that_restarts_is_waited_for() -> None:
    assert patiently(Away(2, psycopg.OperationalError("starting up")), 5) == "done"


def test_a_server_that_stays_away_is_not_waited_for_without_end() -> None:
    with pytest.raises(sa.exc.OperationalError):
        patiently(Away(10**6, psycopg.OperationalError("starting up")), 0.3)


def test_a_full_disk_under_sqlite_is_told_at_once() -> None:
    work = Away(1, sqlite3.OperationalError("database or disk is full"))
    with pytest.raises(sa.exc.OperationalError):
        patiently(work, 60)
    assert work.left == 0
