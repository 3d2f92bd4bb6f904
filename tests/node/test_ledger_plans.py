"""No regular step reads a table from end to end: a ledger stays as fast as it was when new."""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa

from ml.labels import Label
from node.drift import agreed_on
from node.drift.measure import said_of
from node.ledger import (
    DAY_S,
    ENDED,
    Count,
    Entered,
    FetchState,
    Instance,
    JudgingModel,
    Kept,
    Ledger,
    Mark,
    Observed,
    Plan,
    Planned,
    Reading,
    ReadingSource,
    Reference,
    Result,
    RetentionRule,
    Revision,
    Selection,
    State,
    open_ledger,
    schema,
)
from tests import drift as invented
from tests.bench.filling import CT, SR, Filling
from tests.claiming import claimed
from tests.conftest import Clock

NAMES = ["pacs", "archive"]
MODEL = JudgingModel("phantom", "1", "a" * 64, "balanced")
GROWING = {
    *("series", "revision", "instance", "event", "result", "delivery"),
    *("commitment", "commitment_transaction", "owed_report", "notification"),
    *("judged", "reading"),
    *("commitment", "commitment_transaction", "owed_report", "notification", "retrieval"),
    *("shadow", "tally", "trait_tally"),
}
SMALL_INDEXES = {
    *("revision_due", "delivery_due", "commitment_due", "owed_report_due"),
    *(
        "revision_failed",
        "revision_apart",
        "delivery_ranked",
        "delivery_given_up",
        "revision_waiting",
        "delivery_following",
    ),
    *("event_untold", "notification_due", "notification_given_up"),
    *("revision_with_images", "revision_with_results"),
    *("retrieval_due", "retrieval_given_up"),
    *("shadow_due", "shadow_failed"),
}
"""Of rows that something is to be done with: may be read from end to end."""

_KEYS = sa.PrimaryKeyConstraint | sa.UniqueConstraint

IN_ORDER = {
    *("revision_updated", "revision_flagged", "revision_prioritized"),
    *("judged_unread", "judged_read"),
}
"""Read from its end on, as far as a limit."""


@pytest.fixture
def large(url: str, clock: Clock) -> Iterator[Ledger]:
    """A ledger with enough in it that a planner takes it seriously."""
    Filling(3_000, instances=2, results=1, until=clock.now - 60).fill(url)
    opened = open_ledger(url)
    opened.clock = clock
    yield opened
    opened.close()


def statements(ledger: Ledger, work: Callable[[], object]) -> list[tuple[str, Any]]:
    """What is asked of the database meanwhile, with its parameters; each statement once."""
    asked: dict[str, Any] = {}

    def note(_conn: Any, _cursor: Any, text: str, parameters: Any, *_: Any) -> None:
        asked[text] = parameters

    sa.event.listen(ledger.engine, "before_cursor_execute", note)
    work()
    sa.event.remove(ledger.engine, "before_cursor_execute", note)
    return [item for item in asked.items() if re.match("SELECT|UPDATE|DELETE|WITH", item[0])]


def whole_reads(ledger: Ledger, asked: list[tuple[str, Any]]) -> list[str]:
    """Tables and indexes that are read from end to end, each with the statement."""
    explain = {"sqlite": _sqlite_scans, "postgresql": _postgresql_scans}[ledger.engine.dialect.name]
    found = []
    with ledger.reading() as connection:
        for text, parameters in asked:
            found += [f"{scan}: {text}" for scan in explain(connection, text, parameters)]
    return found


def _sqlite_scans(connection: sa.Connection, text: str, parameters: Any) -> Iterator[str]:
    plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}", parameters)
    for row in plan:
        scan = re.match(r"SCAN (\w+?)(?:_\d+)?(?: USING (?:COVERING )?INDEX (\w+))?$", row.detail)
        if scan and scan[1] in GROWING and scan[2] not in SMALL_INDEXES | IN_ORDER:
            yield row.detail


def _postgresql_scans(connection: sa.Connection, text: str, parameters: Any) -> Iterator[str]:
    connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
    plan = connection.exec_driver_sql(f"EXPLAIN (FORMAT JSON) {text}", parameters).scalar_one()
    plan = json.loads(plan) if isinstance(plan, str) else plan
    nodes = [plan[0]["Plan"]]
    while nodes:
        node = nodes.pop()
        nodes += node.get("Plans", [])
        kind, index = node["Node Type"], node.get("Index Name", "")
        if kind == "Seq Scan" and node["Relation Name"] in GROWING:
            yield f"Seq Scan on {node['Relation Name']}"
        if kind in ("Index Scan", "Index Only Scan") and "Index Cond" not in node:
            is_growing = index not in SMALL_INDEXES | IN_ORDER
            if is_growing and _table_of(connection, index) in GROWING:
                yield f"{kind} of all {index}"


def _table_of(connection: sa.Connection, index: str) -> str:
    of_name = sa.text("SELECT tablename FROM pg_indexes WHERE indexname = :name")
    return str(connection.execute(of_name, {"name": index}).scalar_one())


def instance(k: int, content: str = "a") -> Instance:
    path = Path("1.2") / "1.2.3" / f"1.2.3.{k}.{content}.dcm"
    return Instance("1.2", "1.2.3", f"1.2.3.{k}", CT, content * 64, path, "SCANNER")


def results(mark: str) -> list[Result]:
    return [Result("sr", f"1.9.{mark}", SR, f"1.9.{mark}.{n}", Path(f"{n}.dcm")) for n in range(3)]


def found(ledger: Ledger, revision_id: int) -> Revision:
    revision = ledger.revision(revision_id)
    assert revision is not None
    return revision


def receive(ledger: Ledger) -> Revision:
    """New, again, changed: a revision that receives."""
    for image in (instance(1), instance(1), instance(2), instance(2, "b"), instance(3)):
        stored = ledger.store(image, 30)
    ledger.release([stored.revision_id], 2)
    return found(ledger, stored.revision_id)


def report(ledger: Ledger, mark: str = "1") -> Revision:
    """A revision that waits to be delivered."""
    revision = receive(ledger)
    assert ledger.ready(revision, [])
    claim = ledger.claim_next(30)
    assert claim is not None
    assert claim.revision.id == revision.id
    assert ledger.extend(claim, 30)
    assert ledger.is_newest(claim.revision)
    ledger.instances(claim.revision)
    ledger.predecessor(claim.revision, "sr", "notice")
    assert ledger.report(
        claim,
        results(mark),
        NAMES,
        warnings=[],
        maxima={"any": 0.5},
        flagged=["any"],
        model=MODEL,
        accession="d" * 64,
    )
    return found(ledger, revision.id)


def sweep(ledger: Ledger) -> None:
    """All that the sweeper asks."""
    ledger.straighten(60, 900)
    ledger.straighten_commitments(900)
    for state in State:
        ledger.due(state)
    ledger.due_destinations()
    ledger.destinations_to_ask(["archive"], ledger.clock() - 72 * 3600)
    ledger.due_reports()


def set_back(ledger: Ledger, clock: Clock) -> None:
    """The sweeper finds that the clock was set back."""
    report(ledger)
    clock.pass_s(-86_400)
    assert ledger.straighten(60, 900) > 0
    ledger.owe_report("CT", "1.9", [Reference(CT, "1.2.3.1")], pause_s=86_400)
    assert ledger.straighten_commitments(900) > 0


def end_otherwise(ledger: Ledger, clock: Clock) -> None:
    """Postponed, skipped, explained, tried again, taken back, failed, lost."""
    revision = receive(ledger)
    clock.pass_s(40)
    ledger.postpone(revision, revision.updated_at)
    ledger.replaced(revision)
    assert ledger.skip(revision, "contrast", "C+", [])
    skipped = found(ledger, revision.id)
    assert ledger.explain(skipped, results("2"), NAMES, "a notice says so")
    assert ledger.retry(skipped, NAMES)
    assert ledger.ready(found(ledger, revision.id), [])
    claim = claimed(ledger, revision.id)
    clock.pass_s(40)
    assert ledger.take_back(claim.revision, 3)
    claim = claimed(ledger, revision.id)
    assert ledger.yield_claim(claim, "no memory", 1)
    clock.pass_s(1)
    claim = claimed(ledger, revision.id)
    ledger.known_paths([claim.revision.series_instance_uid])
    assert [r.id for r in ledger.under_way()] == [revision.id]
    assert ledger.lose(claim.revision, ledger.instances(claim.revision)[:1])


def deliver(ledger: Ledger) -> None:
    """Sent, refused, given up, made again, and a destination that is ill."""
    revision = report(ledger)
    hold = ledger.hold("pacs", 30)
    assert hold is not None
    assert ledger.extend_hold(hold, 30)
    sent, refused, lost = ledger.due_deliveries("pacs")
    ledger.sent([(sent, None)])
    ledger.try_again(refused, ledger.clock() + 40, "out of resources")
    ledger.give_up(lost, "refused")
    ledger.rest(hold, ledger.clock() + 40, "away")
    ledger.give_up_older("archive", ledger.clock(), "away")
    assert ledger.retry(revision, NAMES)
    assert ledger.make_again(revision.id, "a file is gone")
    hold = ledger.hold("archive", 30)
    assert hold is not None
    ledger.let_go(hold)


def commit(ledger: Ledger) -> None:
    """A destination is asked, reports, is not asked any more; a sender is told."""
    report(ledger)
    for count in (2, 1):
        ledger.sent([(delivery, None) for delivery in ledger.due_deliveries("archive")])
        commitment = ledger.take_commitment("archive", 30, ledger.clock() - 72 * 3600)
        assert commitment is not None
        uid = ledger.name_transaction(commitment)
        assert uid is not None
        assert ledger.asked(commitment, 60)
        assert ledger.is_awaited(commitment)
        safe, *lost = (r.sop_instance_uid for r in commitment.references)
        if count == 2:
            heard = ledger.hear(uid, [safe], dict.fromkeys(lost, "lost"), lambda _n: 0, 3600)
            assert heard is not None
            assert heard.failed == 2
    assert ledger.stop_asking(commitment, "does not know it")

    report_id = ledger.owe_report("CT", "1.9", [Reference(CT, "1.2.3.1")])
    assert report_id is not None
    owed = ledger.take_report(report_id, 30)
    assert owed is not None
    assert ledger.current_instances(["1.2.3.1"])
    assert ledger.extend_report(owed, 30)
    assert ledger.report_heard(owed)


def clean(ledger: Ledger, clock: Clock) -> None:
    """What ended is found, removed and forgotten; what of it is left is found at the start."""
    revision = receive(ledger)
    ledger.replaced(revision)
    ledger.removed(revision)
    assert ledger.skip(revision, "contrast", "C+", [])
    assert ledger.explain(found(ledger, revision.id), [], [], "")
    rule = RetentionRule(dict.fromkeys(ENDED, clock.now + 1e6), frozenset(["archive"]))
    for kept in Kept:
        (ended,), after = ledger.removable(kept, rule, Mark(), 100)
        assert after is None
        assert ledger.is_removable(ended, rule)
        assert ledger.remove(kept, ended, rule, "old")
        with ledger.nothing_stored(ended.series_id) as unneeded:
            assert unneeded.instances
    assert ledger.marked([ended.series_instance_uid]) == [ended]
    assert ledger.series_of(study="1.2", series=None) == [ended]
    many, _ = ledger.forgettable(rule, Mark(), 100)
    assert len(many) == 100
    assert ledger.forget(ended, rule)


def look(ledger: Ledger) -> None:
    """`ichnode status`, `show` and `retry`."""
    ledger.recent(30)
    ledger.destinations()
    for uid in (Filling.study(17), Filling.uid(17)):
        (revision,) = ledger.find(uid)
        ledger.history(revision)
        ledger.results(revision)
        ledger.deliveries(revision)
    ledger.dead_letters()
    ledger.dead_letters("pacs")


def list_all(ledger: Ledger) -> None:
    """Every worklist of the web page, and what stands beside it."""
    report(ledger)
    for state in (None, *State):
        for only_flagged, flagged_first in ((False, False), (False, True), (True, False)):
            for priority in (None, "emergency"):
                selection = Selection(state, only_flagged, flagged_first, 0, priority)
                first = ledger.page(selection, None, 20)
                if first.next is not None:
                    ledger.page(selection, first.next, 20)
    revisions = list(ledger.page(Selection(), None, 20).revisions)
    ledger.first_instances(revisions)
    ledger.siblings(revisions[0])
    ledger.series_of_instance("1.2.3.1")
    ledger.flagged_since(ledger.clock() - 86_400)


def tell(ledger: Ledger) -> None:
    """What the notifier asks, and `ichnode status` of it."""
    revision = report(ledger)
    for untold in ledger.untold():
        ledger.plan_notifications(untold, ["team", "errors"])
    taken = ledger.due_notifications("team", 1000)[-1]
    assert ledger.claim_notification(taken, 60)
    ledger.told(taken)
    refused = ledger.due_notifications("errors", 1000)[-1]
    assert ledger.claim_notification(refused, 60)
    ledger.not_told(refused, "it answers 500", None)
    assert len(ledger.untaken_notifications()) == 1
    assert ledger.retry_notifications() == 1
    assert len(ledger.notifications(revision)) == 2


def compare(ledger: Ledger, clock: Clock) -> None:
    """A reader says something of a series and of a study; what all said is looked at."""
    report(ledger)
    said = Reading("1.2", "1.2.3", ReadingSource.PAGE, "anna", clock.now, {Label.ANY: True})
    assert ledger.enter_reading(said) is Entered.NEW
    whole = replace(said, series_instance_uid=None)
    assert ledger.enter_undated_reading(whole) is Entered.NEW
    assert ledger.readings("1.2", "1.2.3") == [whole, said]
    page = ledger.unread(None, 20)
    assert page.next is not None
    assert len(ledger.unread(page.next, 20).revisions) == 20
    assert ledger.place_of(page.revisions[-1]) == page.next
    assert ledger.judged_of_accession("d" * 64) == ["1.2"]
    newest = ledger.newest_reading_id()
    assert len(ledger.reading_sources(newest - 2, [newest - 1], 1000)) == 2
    for known in ledger.models():
        ledger.tallies(known.id, 3)
        ledger.days(known.id, Label.ANY, 3)
    assert sum(1 for _ in ledger.read_series()) == 1


def count(ledger: Ledger, clock: Clock) -> None:
    """How the node is, while something is under way, has failed, waits and was given up."""
    report(ledger)
    ledger.give_up(ledger.due_deliveries("pacs")[0], "refused")
    ledger.standing()
    ledger.waiting()
    ledger.ended_since(clock.now - 3600)
    ledger.unsent_since()
    ledger.last_received()
    ledger.check_writable()
    events, images = ledger.newest_ids()
    assert ledger.steps(events - 3, [events - 5], 1000)
    assert ledger.arrivals(images - 3, [images - 5], 1000)


def route(ledger: Ledger) -> None:
    """A plan with something that follows; what is replaced, by class; a retry by other routes."""
    revision = receive(ledger)
    assert ledger.senders(revision) == ("SCANNER",)
    assert ledger.ready(revision, [])
    claim = claimed(ledger, revision.id)
    made = results("1")
    uids = [result.sop_instance_uid for result in made]
    plan = Plan((Planned(uids[0], "pacs"), Planned(uids[1], "archive", "pacs")))
    assert ledger.report(claim, made, plan, warnings=[], maxima={"any": 0.5}, flagged=["any"])
    ledger.sent([(delivery, None) for delivery in ledger.due_deliveries("pacs")])
    ledger.give_up(ledger.due_deliveries("archive")[0], "refused")
    assert ledger.retry(found(ledger, revision.id), plan)
    ledger.predecessor(revision, "sr", "notice", SR)
    hold = ledger.hold("archive", 30)
    assert hold is not None
    ledger.rest(hold, ledger.clock(), "away")
    assert ledger.give_up_older("archive", ledger.clock() + 1, "away")


def fetch(ledger: Ledger) -> None:
    """What pollers, `ichnode fetch` and those who look ask of the ledger."""
    revision = receive(ledger)
    uids = revision.study_instance_uid, revision.series_instance_uid
    with ledger.engine.begin() as connection:  # what was fetched long ago
        series = "SELECT study_instance_uid, series_instance_uid FROM series"
        connection.execute(
            sa.text(
                "INSERT INTO retrieval (source, study_instance_uid, series_instance_uid, state, "
                "still, attempts, version, updated_at) SELECT 'pacs', s.study_instance_uid, "
                f"s.series_instance_uid, 'fetched', 0, 0, 0, 1 FROM ({series}) s"
            )
        )
        connection.execute(sa.text("DELETE FROM retrieval WHERE series_instance_uid = '1.2.3'"))
    wanted = {"state": FetchState.WANTED, "counted": 3, "next_try_at": ledger.clock()}
    ledger.enter_fetches("pacs", [(*uids, wanted)])
    assert ledger.begin_poll("pacs", 60)
    (row,) = ledger.fetches("pacs", [revision.series_instance_uid])
    assert ledger.due_fetches("pacs", 1800) == [row]
    claimed = ledger.claim_fetch(row, 3, 30)
    assert claimed is not None
    assert ledger.extend_fetch(claimed, 30)
    ledger.expect(*uids, Count(3, "pacs", is_still=True))
    assert ledger.held(*uids).instances
    assert ledger.end_fetch(claimed, FetchState.FAILED, "nothing came")
    ledger.source_rests("pacs", 1, ledger.clock() + 60, "away")
    assert ledger.is_resting("pacs")
    assert [(s.waiting, s.given_up) for s in ledger.sources()] == [(0, 1)]
    assert ledger.find_fetches(revision.study_instance_uid)
    assert len(ledger.given_up_fetches(5)) == 1
    ledger.still_has("pacs", [revision.study_instance_uid])
    ledger.source_answers("pacs")
    assert ledger.forget_fetches(["pacs"], ledger.clock(), 5, 100) is not None
    assert ledger.retry_fetches(["pacs"], revision.study_instance_uid) == 1
    ledger.retry_fetches(["pacs"])


def shadow(ledger: Ledger, clock: Clock) -> None:
    """A second model judges, gives way and fails; its page and its metrics."""
    today = int(clock.now // DAY_S)
    invented.fill(ledger, range(today - 3, today), 20, invented.Site())
    revision = receive(ledger)
    assert ledger.ready(revision, [])
    claim = claimed(ledger, revision.id)
    said = invented.maxima(np.random.default_rng(1), bleeds=True)
    observed = Observed(said=said_of(said, [], invented.FIRST), is_shadowed=True)
    assert ledger.report(
        claim,
        results("1"),
        NAMES,
        warnings=[],
        maxima=said,
        model=invented.FIRST,
        observed=observed,
    )
    for _ in range(2):
        assert not ledger.is_primary_busy()
        ledger.straighten_shadows(60)
        assert ledger.take_back_shadows(3) == 0
        (due,) = ledger.due_shadows()
        ledger.postpone_shadow(due)
        held = ledger.claim_shadow(due, 30)
        assert held is not None
        assert ledger.extend_shadow(held, 30)
        assert ledger.fail_shadow(held, "odd")
        ledger.shadows_standing()
        assert ledger.retry_shadows() == 1
    held = ledger.claim_shadow(due, 30)
    assert held is not None
    clock.pass_s(60)
    assert ledger.take_back_shadows(5) == 1
    ledger.shadow_waits_since()
    held = ledger.claim_shadow(due, 30)
    assert held is not None
    agreed = agreed_on(said, [], invented.FIRST, said, [], invented.SECOND)
    assert ledger.shadow_judged(held, invented.SECOND, said, [], observed.said, agreed)
    assert ledger.shadow_of(revision.id) is not None
    judges = ledger.model_id(invented.FIRST), ledger.model_id(invented.SECOND)
    assert ledger.trait_tallies(today - 1, today, *judges)
    assert ledger.daily(today - 1, today, *judges, [""])
    assert ledger.forget_traits(0, today - 3)
    assert ledger.judged_by_both(*judges, (today - 1) * DAY_S, 10)


WORKS: dict[str, Callable[[Ledger, Clock], object]] = {
    "receive": lambda ledger, _: receive(ledger),
    "report": lambda ledger, _: report(ledger),
    "sweep": lambda ledger, _: sweep(ledger),
    "set-back": set_back,
    "end-otherwise": end_otherwise,
    "deliver": lambda ledger, _: deliver(ledger),
    "clean": clean,
    "commit": lambda ledger, _: commit(ledger),
    "route": lambda ledger, _: route(ledger),
    "compare": compare,
    "count": count,
    "shadow": shadow,
    "look": lambda ledger, _: look(ledger),
    "list": lambda ledger, _: list_all(ledger),
    "tell": lambda ledger, _: tell(ledger),
    "fetch": lambda ledger, _: fetch(ledger),
}


def test_no_table_that_grows_is_read_from_end_to_end(large: Ledger, clock: Clock) -> None:
    read = {}
    for name, work in WORKS.items():
        asked = statements(large, lambda work=work: work(large, clock))
        assert asked
        read[name] = whole_reads(large, asked)
        with large.engine.begin() as connection:
            connection.execute(sa.text("UPDATE revision SET due_at = NULL, state = 'delivered'"))
            connection.execute(
                sa.text("UPDATE delivery SET next_try_at = NULL, state = 'committed'")
            )
            connection.execute(sa.text("DELETE FROM instance WHERE sender = 'SCANNER'"))
    assert {name: scans for name, scans in read.items() if scans} == {}


def test_rows_that_point_to_another_one_are_found_when_it_is_deleted() -> None:
    for table in schema.metadata.sorted_tables:
        keys = [index.columns for index in table.indexes]
        keys += [c.columns for c in table.constraints if isinstance(c, _KEYS)]
        begins = {next(iter(key)).name for key in keys}
        assert {key.parent.name for key in table.foreign_keys} <= begins, table.name


def test_a_read_from_end_to_end_is_seen(large: Ledger) -> None:
    def ask() -> None:
        with large.reading() as connection:
            connection.execute(sa.text("SELECT id FROM delivery WHERE detail = 'x'"))

    (scan,) = whole_reads(large, statements(large, ask))
    assert "delivery" in scan
