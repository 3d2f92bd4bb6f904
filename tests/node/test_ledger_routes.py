"""What the ledger makes of a plan: what goes first, what goes last, and what goes nowhere."""

from pathlib import Path

import pytest

from node.ledger import (
    NO_ROUTE,
    Delivery,
    DeliveryState,
    Instance,
    Kept,
    Ledger,
    Mark,
    Plan,
    Planned,
    Result,
    RetentionRule,
    Revision,
    State,
)
from tests.claiming import claimed
from tests.conftest import Clock
from tests.reporting import an_image, report

MAXIMA = {"any": 0.5}
SR, WORKITEM = "1.2.840.10008.5.1.4.1.1.88.34", "1.2.840.10008.5.1.4.34.6.1"


def results(mark: str) -> list[Result]:
    """Two objects, and a workitem for a list."""
    stored = [Result("sr", "1.9", SR, f"1.9.{mark}.{n}", Path(f"{mark}/{n}.dcm")) for n in (1, 2)]
    item = Result("ups", "1.9", WORKITEM, f"1.9.{mark}.9", Path(f"{mark}/ups-list.dcm"), "list")
    return [*stored, item]


def plan(mark: str, follows: str | None = "pacs") -> Plan:
    """Both objects to pacs, then the workitem to the list."""
    stored = [Planned(f"1.9.{mark}.{n}", "pacs") for n in (1, 2)]
    return Plan((*stored, Planned(f"1.9.{mark}.9", "list", follows)))


def reported(
    ledger: Ledger, mark: str = "1", where: Plan | None = None, **more: object
) -> Revision:
    where = plan(mark) if where is None else where
    return report(ledger, results(mark), where, image=an_image(series=f"1.2.3.{mark}"), **more)


def found(ledger: Ledger, revision: Revision) -> Revision:
    again = ledger.revision(revision.id)
    assert again is not None
    return again


def due(ledger: Ledger, destination: str) -> list[str]:
    return [d.result.sop_instance_uid for d in ledger.due_deliveries(destination)]


def workitem(ledger: Ledger, revision: Revision) -> Delivery:
    (delivery,) = (d for d in ledger.deliveries(revision) if d.result.kind == "ups")
    return delivery


def test_each_result_goes_where_it_is_planned(ledger: Ledger) -> None:
    where = Plan((Planned("1.9.1.1", "pacs"), Planned("1.9.1.2", "viewer")))
    revision = reported(ledger, where=where)
    assert due(ledger, "pacs") == ["1.9.1.1"]
    assert due(ledger, "viewer") == ["1.9.1.2"]
    ledger.sent([(ledger.due_deliveries("pacs")[0], None)])
    assert found(ledger, revision).state is State.REPORTED
    assert ledger.sent([(ledger.due_deliveries("viewer")[0], None)]) == [revision.id]


def test_what_is_flagged_goes_first_to_a_destination(ledger: Ledger) -> None:
    where = {mark: Plan((Planned(f"1.9.{mark}.1", "pacs"),)) for mark in "1234"}
    for mark, flagged in (("1", []), ("2", ["any"]), ("3", []), ("4", ["subdural"])):
        reported(ledger, mark, where[mark], flagged=flagged)
    assert due(ledger, "pacs") == ["1.9.2.1", "1.9.4.1", "1.9.1.1", "1.9.3.1"]
    assert [d.result.sop_instance_uid for d in ledger.due_deliveries("pacs", 1)] == ["1.9.2.1"]


def test_what_was_not_taken_before_comes_last_whatever_its_rank(
    ledger: Ledger, clock: Clock
) -> None:
    where = {mark: Plan((Planned(f"1.9.{mark}.1", "pacs"),)) for mark in "12"}
    reported(ledger, "1", where["1"], flagged=["any"])
    reported(ledger, "2", where["2"])
    (first, _) = ledger.due_deliveries("pacs")
    ledger.try_again(first, clock.now, "refused")
    assert due(ledger, "pacs") == ["1.9.2.1", "1.9.1.1"]


def test_a_workitem_waits_until_all_that_it_follows_is_stored(ledger: Ledger) -> None:
    revision = reported(ledger)
    assert due(ledger, "list") == []
    assert workitem(ledger, revision).detail == "waits for pacs"
    assert ledger.due_destinations() == ["pacs"]
    one, two = ledger.due_deliveries("pacs")
    ledger.sent([(one, None)])
    assert due(ledger, "list") == []
    assert ledger.sent([(two, None)]) == []
    assert due(ledger, "list") == ["1.9.1.9"]
    assert ledger.due_destinations() == ["list"]
    assert ledger.sent([(workitem(ledger, revision), None)]) == [revision.id]
    assert workitem(ledger, revision).state is DeliveryState.CREATED


def test_a_workitem_that_follows_nothing_goes_at_once(ledger: Ledger) -> None:
    reported(ledger, where=plan("1", follows=None))
    assert due(ledger, "list") == ["1.9.1.9"]


def test_a_workitem_follows_the_objects_of_its_own_series_alone(ledger: Ledger) -> None:
    reported(ledger, "1")
    reported(ledger, "2")
    ledger.sent([(d, None) for d in ledger.due_deliveries("pacs")[:2]])
    assert due(ledger, "list") == ["1.9.1.9"]


def test_a_refusal_that_is_tried_again_holds_the_workitem_back(
    ledger: Ledger, clock: Clock
) -> None:
    reported(ledger)
    one, two = ledger.due_deliveries("pacs")
    ledger.try_again(one, clock.now + 60, "refused")
    ledger.sent([(two, None)])
    assert due(ledger, "list") == []
    clock.now += 60
    ledger.sent([(d, None) for d in ledger.due_deliveries("pacs")])
    assert due(ledger, "list") == ["1.9.1.9"]


@pytest.mark.parametrize("way", ["one is given up", "all that is old is given up"])
def test_a_workitem_is_given_up_with_what_it_follows_and_retry_begins_with_both(
    ledger: Ledger, clock: Clock, way: str
) -> None:
    revision = reported(ledger)
    if way == "one is given up":
        for delivery in ledger.due_deliveries("pacs"):
            ledger.give_up(delivery, "refused")
    else:
        hold = ledger.hold("pacs", 60)
        assert hold is not None
        ledger.rest(hold, clock.now, "away")
        assert ledger.give_up_older("pacs", clock.now + 1, "away") == 2
    given_up = workitem(ledger, revision)
    assert given_up.state is DeliveryState.FAILED
    assert given_up.detail == "pacs did not store the results"
    assert due(ledger, "list") == []

    assert ledger.retry(found(ledger, revision), plan("1"))
    assert len(due(ledger, "pacs")) == 2
    assert due(ledger, "list") == [], "it follows them as before"
    assert workitem(ledger, revision).detail == "waits for pacs"
    ledger.sent([(d, None) for d in ledger.due_deliveries("pacs")])
    assert due(ledger, "list") == ["1.9.1.9"]


def test_a_revision_knows_the_workitems_of_those_before_it_and_they_that_it_is_there(
    ledger: Ledger,
) -> None:
    first = reported(ledger)
    other = reported(ledger, "2")
    late = ledger.revision(
        ledger.store(an_image(series=first.series_instance_uid, number=2), 30).revision_id
    )
    assert late is not None
    assert ledger.workitems_before(late) == {"list": ("1.9.1.9",)}
    assert ledger.workitems_before(first) == {}
    assert not ledger.is_replaced(workitem(ledger, first)), "it is not reported yet"
    again = report(
        ledger,
        results("3"),
        plan("3"),
        image=an_image(series=first.series_instance_uid, number=2),
    )
    assert ledger.is_replaced(workitem(ledger, first))
    assert not ledger.is_replaced(workitem(ledger, again))
    assert not ledger.is_replaced(workitem(ledger, other))
    ledger.give_up(workitem(ledger, again), "refused")
    assert not ledger.is_replaced(workitem(ledger, first)), "somebody has to be asked"


def test_a_workitem_that_is_replaced_holds_its_series_up_no_more(ledger: Ledger) -> None:
    revision = reported(ledger)
    ledger.sent([(d, None) for d in ledger.due_deliveries("pacs")])
    ledger.withdraw(workitem(ledger, revision), "a later one is there")
    assert found(ledger, revision).state is State.DELIVERED
    assert workitem(ledger, revision).state is DeliveryState.REPLACED
    assert due(ledger, "list") == []


def test_no_commitment_is_asked_for_a_workitem_and_none_is_awaited(
    ledger: Ledger, clock: Clock
) -> None:
    revision = reported(ledger, where=plan("1", follows=None))
    ledger.sent([(d, None) for name in ("pacs", "list") for d in ledger.due_deliveries(name)])
    assert found(ledger, revision).state is State.DELIVERED
    assert ledger.destinations_to_ask(["list"], 0) == []
    assert ledger.destinations_to_ask(["pacs"], 0) == ["pacs"]
    clock.now += 100
    assert removable(ledger, clock, frozenset({"list"})) == ["1.2.3.1"]


def removable(ledger: Ledger, clock: Clock, committing: frozenset[str] = frozenset()) -> list[str]:
    rule = RetentionRule({State.DELIVERED: clock.now - 50}, committing)
    ended, _ = ledger.removable(Kept.IMAGES, rule, Mark(), 100)
    return [one.series_instance_uid for one in ended]


def test_what_no_route_names_says_so_and_goes_one_day_as_if_it_were_delivered(
    ledger: Ledger, clock: Clock
) -> None:
    revision = reported(ledger, where=Plan(), unsent="no route fits")
    assert (revision.state, revision.reason) == (State.REPORTED, NO_ROUTE)
    assert revision.detail == "no route fits"
    assert removable(ledger, clock) == []
    clock.now += 100
    assert removable(ledger, clock) == ["1.2.3.1"]


def test_what_stays_for_want_of_a_destination_is_kept(ledger: Ledger, clock: Clock) -> None:
    revision = reported(ledger, where=Plan(), said="results stay here")
    assert (revision.state, revision.reason) == (State.REPORTED, None)
    assert ledger.history(revision)[-1].detail == "results stay here"
    clock.now += 1_000_000
    assert removable(ledger, clock) == []


def test_once_a_route_names_somebody_a_retry_sends_what_went_nowhere(ledger: Ledger) -> None:
    revision = reported(ledger, where=Plan(), unsent="no route fits")
    assert not ledger.retry(revision, Plan())
    assert found(ledger, revision).reason == NO_ROUTE
    assert ledger.retry(revision, plan("1"))
    assert (found(ledger, revision).reason, found(ledger, revision).detail) == (None, None)
    assert len(due(ledger, "pacs")) == 2


def test_an_object_that_is_made_again_under_another_name_is_found_there(ledger: Ledger) -> None:
    revision = reported(ledger)
    assert ledger.make_again(revision.id, "gone")
    claim = claimed(ledger, revision.id)
    moved = [Result("sr", "1.9", SR, "1.9.1.1", Path("1/sr-enhanced.dcm"))]
    where = Plan((Planned("1.9.1.1", "pacs"),))
    assert ledger.report(claim, moved, where, warnings=[], maxima=MAXIMA)
    (delivery,) = ledger.due_deliveries("pacs")
    assert delivery.result.path == Path("1/sr-enhanced.dcm")


def test_senders_are_told_each_once_the_first_first(ledger: Ledger) -> None:
    for number, sender in enumerate(("CT2", "CT1", "CT2")):
        path = Path(f"{number}.dcm")
        uid = f"1.2.3.{number}"
        image = Instance("1.2", "1.2.3", uid, "1.2", f"{number}" * 64, path, sender)
        stored = ledger.store(image, 30)
    revision = ledger.revision(stored.revision_id)
    assert revision is not None
    assert ledger.senders(revision) == ("CT2", "CT1")


def test_a_report_replaces_one_of_its_own_class_rather_than_a_later_one(ledger: Ledger) -> None:
    enhanced = "1.2.840.10008.5.1.4.1.1.88.22"
    first = [
        Result("sr", "1.9", SR, "1.9.1.1", Path("sr.dcm")),
        Result("sr", "1.9", enhanced, "1.9.1.2", Path("sr-enhanced.dcm")),
    ]
    path = Path("late.dcm")
    revision = reported(ledger, where=Plan())
    assert ledger.make_again(revision.id, "")
    claim = claimed(ledger, revision.id)
    assert ledger.report(claim, first, Plan(), warnings=[], maxima=MAXIMA)
    image = Instance("1.2", "1.2.3.1", "1.2.3.1.2", "1.2", "e" * 64, path, "CT")
    late = ledger.revision(ledger.store(image, 30).revision_id)
    assert late is not None

    def before(sop_class_uid: str | None) -> str:
        result = ledger.predecessor(late, "sr", "notice", sop_class_uid)
        assert result is not None
        return result.sop_instance_uid

    assert before(enhanced) == "1.9.1.2"
    assert before(SR).startswith("1.9.1.")
    assert before("1.2.840.10008.5.1.4.1.1.88.33") == "1.9.1.2", "the last of another class"
