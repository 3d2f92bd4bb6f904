"""Storage commitment in the ledger: every step once, whoever else tries it."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from node.ledger import (
    Commitment,
    DeliveryState,
    Instance,
    Ledger,
    OwedReport,
    Reference,
    Result,
    Revision,
    State,
)
from tests.claiming import claimed
from tests.conftest import Clock

LEASE_S, WAIT_S, PAUSE_S, GIVE_UP_S = 10.0, 60.0, 5.0, 1000.0
CT = "1.2.840.10008.5.1.4.1.1.2"
ASKED = [Reference(CT, f"1.2.3.{n}") for n in range(3)]


def make_sent(ledger: Ledger, *destinations: str, series: str = "1.2.4", sent: int = 3) -> Revision:
    """A series of whose three results some were stored in destinations."""
    instance = Instance("1.2", series, f"{series}.1", CT, "0" * 64, Path("1.dcm"), "CT")
    revision = found(ledger, ledger.store(instance, 30).revision_id)
    assert ledger.ready(revision, [])
    claim = claimed(ledger, revision.id)
    results = [
        Result("sc", f"{series}.9", "1.2.840.7", f"{series}.9.{n}", Path(f"{n}.dcm"))
        for n in range(3)
    ]
    assert ledger.report(claim, results, destinations, warnings=[], maxima={"any": 0.5})
    for destination in destinations:
        for delivery in ledger.due_deliveries(destination)[:sent]:
            ledger.sent([(delivery, None)])
    return found(ledger, revision.id)


def found(ledger: Ledger, revision_id: int) -> Revision:
    revision = ledger.revision(revision_id)
    assert revision is not None
    return revision


def take(ledger: Ledger, destination: str = "pacs") -> Commitment:
    commitment = ledger.take_commitment(destination, LEASE_S, 0)
    assert commitment is not None
    return commitment


def ask(ledger: Ledger, destination: str = "pacs") -> tuple[Commitment, str]:
    """Ask, as if a destination had taken the request."""
    commitment = take(ledger, destination)
    uid = ledger.name_transaction(commitment)
    assert uid is not None
    assert ledger.asked(commitment, WAIT_S)
    return commitment, uid


def hear(ledger: Ledger, uid: str, committed: list[str], failed: list[str]) -> tuple[int, int]:
    heard = ledger.hear(
        uid, committed, dict.fromkeys(failed, "lost"), lambda n: PAUSE_S * n, GIVE_UP_S
    )
    assert heard is not None
    return heard.committed, heard.failed


def uids(commitment: Commitment) -> list[str]:
    return [reference.sop_instance_uid for reference in commitment.references]


def states(ledger: Ledger, revision: Revision) -> list[DeliveryState]:
    return [delivery.state for delivery in ledger.deliveries(revision)]


def test_a_revision_is_asked_for_as_a_whole_once_all_of_it_is_sent(ledger: Ledger) -> None:
    make_sent(ledger, "pacs", sent=2)
    assert ledger.destinations_to_ask(["pacs"], 0) == []
    assert ledger.take_commitment("pacs", LEASE_S, 0) is None

    ledger.sent([(ledger.due_deliveries("pacs")[0], None)])

    assert ledger.destinations_to_ask(["pacs"], 0) == ["pacs"]
    assert uids(take(ledger)) == [f"1.2.4.9.{n}" for n in range(3)]
    assert ledger.destinations_to_ask(["pacs"], 0) == []


def test_a_destination_that_is_not_to_be_asked_is_not(ledger: Ledger) -> None:
    make_sent(ledger, "pacs", "viewer")
    assert ledger.destinations_to_ask(["viewer"], 0) == ["viewer"]
    assert ledger.take_commitment("pacs", LEASE_S, None) is None


def test_what_was_sent_long_ago_is_not_asked_for(ledger: Ledger, clock: Clock) -> None:
    make_sent(ledger, "pacs")
    assert ledger.destinations_to_ask(["pacs"], clock.now + 1) == []
    assert ledger.take_commitment("pacs", LEASE_S, clock.now + 1) is None


def test_what_is_committed_to_is_committed_and_the_revision_stays_delivered(
    ledger: Ledger,
) -> None:
    revision = make_sent(ledger, "pacs")
    commitment, uid = ask(ledger)

    assert hear(ledger, uid, uids(commitment), []) == (3, 0)

    assert set(states(ledger, revision)) == {DeliveryState.COMMITTED}
    assert found(ledger, revision.id).state is State.DELIVERED
    assert not ledger.is_awaited(commitment)
    assert ledger.destinations_to_ask(["pacs"], 0) == []


def test_what_is_not_committed_to_is_sent_and_asked_for_again(ledger: Ledger, clock: Clock) -> None:
    revision = make_sent(ledger, "pacs")
    commitment, uid = ask(ledger)

    assert hear(ledger, uid, uids(commitment)[1:], uids(commitment)[:1]) == (2, 1)

    assert found(ledger, revision.id).state is State.REPORTED
    said = ledger.history(revision)[-1]
    assert (said.state, said.detail) == (State.REPORTED, "pacs did not commit to 1 objects")
    lost = ledger.deliveries(revision)[0]
    assert (lost.state, lost.detail) == (DeliveryState.PENDING, "not committed: lost")
    assert ledger.due_deliveries("pacs") == []
    clock.pass_s(PAUSE_S)
    (again,) = ledger.due_deliveries("pacs")
    ledger.sent([(again, None)])
    assert found(ledger, revision.id).state is State.DELIVERED
    assert uids(take(ledger)) == uids(commitment)[:1]


def test_what_is_never_committed_to_fails_in_the_end(ledger: Ledger, clock: Clock) -> None:
    revision = make_sent(ledger, "pacs")
    commitment, uid = ask(ledger)
    clock.pass_s(GIVE_UP_S + 1)

    assert hear(ledger, uid, [], uids(commitment)) == (0, 3)

    assert set(states(ledger, revision)) == {DeliveryState.FAILED}
    assert found(ledger, revision.id).state is State.REPORTED
    assert ledger.retry(found(ledger, revision.id), ["pacs"])
    assert len(ledger.due_deliveries("pacs")) == 3


def test_a_report_that_comes_twice_changes_nothing(ledger: Ledger) -> None:
    revision = make_sent(ledger, "pacs")
    commitment, uid = ask(ledger)
    hear(ledger, uid, uids(commitment), [])

    assert hear(ledger, uid, uids(commitment), []) == (0, 0)
    assert hear(ledger, uid, [], uids(commitment)) == (0, 0)

    assert set(states(ledger, revision)) == {DeliveryState.COMMITTED}


def test_a_failure_that_is_told_twice_is_sent_again_once(ledger: Ledger) -> None:
    revision = make_sent(ledger, "pacs")
    commitment, uid = ask(ledger)
    hear(ledger, uid, [], uids(commitment))
    before = ledger.deliveries(revision)

    assert hear(ledger, uid, [], uids(commitment)) == (0, 0)

    assert ledger.deliveries(revision) == before


def test_a_transaction_that_the_node_did_not_begin_is_unknown(ledger: Ledger) -> None:
    revision = make_sent(ledger, "pacs")
    commitment, _ = ask(ledger)
    heard = ledger.hear("1.2.3", uids(commitment), {}, lambda _n: PAUSE_S, GIVE_UP_S)
    assert heard is None
    assert set(states(ledger, revision)) == {DeliveryState.SENT}


def test_a_report_speaks_only_of_what_was_asked_under_its_transaction(ledger: Ledger) -> None:
    first = make_sent(ledger, "pacs", series="1.2.4")
    mine, uid = ask(ledger)
    second = make_sent(ledger, "pacs", series="1.2.5")
    other, _ = ask(ledger)

    assert hear(ledger, uid, [*uids(mine), *uids(other)], []) == (3, 0)

    assert set(states(ledger, first)) == {DeliveryState.COMMITTED}
    assert set(states(ledger, second)) == {DeliveryState.SENT}


def test_what_a_report_leaves_out_is_asked_for_again(ledger: Ledger, clock: Clock) -> None:
    make_sent(ledger, "pacs")
    commitment, uid = ask(ledger)
    hear(ledger, uid, uids(commitment)[:2], [])
    assert ledger.destinations_to_ask(["pacs"], 0) == []

    clock.pass_s(WAIT_S)

    assert ledger.destinations_to_ask([], 0) == ["pacs"]
    assert uids(take(ledger)) == uids(commitment)[2:]


def test_a_report_that_does_not_come_is_asked_for_under_a_new_transaction_and_both_count(
    ledger: Ledger, clock: Clock
) -> None:
    revision = make_sent(ledger, "pacs")
    commitment, first = ask(ledger)
    clock.pass_s(WAIT_S)
    again, second = ask(ledger)

    assert again.references == commitment.references
    assert (again.id, first != second) == (commitment.id, True)
    assert hear(ledger, first, uids(again)[:1], []) == (1, 0)
    assert hear(ledger, second, uids(again), []) == (2, 0)
    assert set(states(ledger, revision)) == {DeliveryState.COMMITTED}


def test_one_that_died_while_asking_is_followed_by_another_one(
    ledger: Ledger, clock: Clock
) -> None:
    make_sent(ledger, "pacs")
    dead = take(ledger)
    uid = ledger.name_transaction(dead)
    assert uid is not None
    assert ledger.take_commitment("pacs", LEASE_S, 0) is None

    clock.pass_s(LEASE_S)
    alive = take(ledger)

    assert alive.references == dead.references
    assert ledger.name_transaction(dead) is None
    assert not ledger.asked(dead, WAIT_S)
    assert not ledger.ask_later(dead, PAUSE_S, "")
    assert not ledger.stop_asking(dead, "")
    assert hear(ledger, uid, uids(dead), []) == (3, 0), "it had been asked after all"


def test_of_many_that_ask_at_once_one_does(ledger: Ledger) -> None:
    make_sent(ledger, "pacs")
    with ThreadPoolExecutor(8) as pool:
        taken = list(pool.map(lambda _: ledger.take_commitment("pacs", LEASE_S, 0), range(8)))
    assert [len(t.references) for t in taken if t is not None] == [3]


def test_one_who_is_not_asked_any_more_keeps_what_was_sent(ledger: Ledger, clock: Clock) -> None:
    revision = make_sent(ledger, "pacs")
    commitment = take(ledger)

    assert ledger.stop_asking(commitment, "sent; it does not know it")

    assert {(d.state, d.detail) for d in ledger.deliveries(revision)} == {
        (DeliveryState.SENT, "sent; it does not know it")
    }
    clock.pass_s(10 * WAIT_S)
    assert ledger.destinations_to_ask(["pacs"], 0) == []
    assert found(ledger, revision.id).state is State.DELIVERED


def owed(ledger: Ledger, report_id: int) -> OwedReport:
    report = ledger.take_report(report_id, LEASE_S)
    assert report is not None
    return report


def owe(ledger: Ledger, references: list[Reference] = ASKED, requestor: str = "CT") -> int | None:
    return ledger.owe_report(requestor, "1.9", references)


def test_a_report_is_owed_until_it_is_heard(ledger: Ledger, clock: Clock) -> None:
    report_id = owe(ledger)
    assert ledger.due_reports() == [report_id]
    first = owed(ledger, report_id)
    assert (first.requestor, first.transaction_uid) == ("CT", "1.9")
    assert list(first.references) == ASKED
    assert ledger.due_reports() == []
    assert ledger.report_later(first, PAUSE_S, "away")
    clock.pass_s(PAUSE_S)
    second = owed(ledger, report_id)
    assert second.attempts == 2
    assert ledger.report_heard(second)
    clock.pass_s(10 * LEASE_S)
    assert ledger.due_reports() == []


def test_one_that_died_while_reporting_is_followed_by_another_one(
    ledger: Ledger, clock: Clock
) -> None:
    report_id = owe(ledger)
    dead = owed(ledger, report_id)
    assert ledger.take_report(report_id, LEASE_S) is None
    clock.pass_s(LEASE_S)
    alive = owed(ledger, report_id)
    assert not ledger.report_heard(dead)
    assert not ledger.extend_report(dead, LEASE_S)
    assert ledger.report_heard(alive)


def test_of_many_that_report_at_once_one_does(ledger: Ledger) -> None:
    report_id = owe(ledger)
    with ThreadPoolExecutor(8) as pool:
        taken = list(pool.map(lambda _: ledger.take_report(report_id, LEASE_S), range(8)))
    assert len([report for report in taken if report is not None]) == 1


def test_the_same_request_again_is_one_report(ledger: Ledger) -> None:
    assert owe(ledger) == owe(ledger)
    assert len(ledger.due_reports()) == 1


def test_a_sender_that_asks_again_after_it_was_told_is_told_again(ledger: Ledger) -> None:
    report_id = owe(ledger)
    ledger.report_heard(owed(ledger, report_id))
    assert owe(ledger) == report_id
    assert list(owed(ledger, report_id).references) == ASKED


def test_other_instances_under_a_transaction_in_use_are_refused(ledger: Ledger) -> None:
    assert owe(ledger)
    assert owe(ledger, ASKED[:1]) is None
    assert owe(ledger, ASKED[:1], requestor="MR") is not None, "another sender's transaction"


def test_a_report_that_is_given_up_is_not_due(ledger: Ledger, clock: Clock) -> None:
    assert ledger.drop_report(owed(ledger, owe(ledger)), "away")
    clock.pass_s(10 * LEASE_S)
    assert ledger.due_reports() == []


@pytest.mark.parametrize("what", ["commitment", "report"])
def test_a_clock_that_is_set_back_makes_nobody_wait(
    ledger: Ledger, clock: Clock, what: str
) -> None:
    if what == "commitment":
        make_sent(ledger, "pacs")
        ask(ledger)
    else:
        report_id = owe(ledger)
        ledger.report_later(owed(ledger, report_id), WAIT_S, "away")
    assert ledger.straighten_commitments(WAIT_S) == 0
    clock.pass_s(-3600)
    assert ledger.straighten_commitments(WAIT_S) == 1
    assert ledger.destinations_to_ask([], 0) + ledger.due_reports() != []


def test_an_instance_is_found_by_its_uid_with_the_content_that_counts(ledger: Ledger) -> None:
    def store(series: str, digest: str) -> Instance:
        instance = Instance("1.2", series, "1.2.3.1", CT, digest * 64, Path(f"{digest}.dcm"), "CT")
        ledger.store(instance, 30)
        return instance

    store("1.2.7", "a")
    changed, other = store("1.2.7", "b"), store("1.2.8", "c")

    assert ledger.current_instances(["1.2.3.1", "1.2.3.2"]) == {"1.2.3.1": [changed, other]}
