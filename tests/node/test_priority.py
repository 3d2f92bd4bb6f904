"""Who goes first: urgent before routine, the oldest first within, and nobody starves."""

import re
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from rich.console import Console

from ml.phantom import make_phantom, write_dicom
from node.assemble import priority_of
from node.hints import Queue
from node.ledger import (
    HINT_S,
    Claim,
    Instance,
    Ledger,
    Priority,
    Result,
    Revision,
    Selection,
    State,
    open_ledger,
    schema,
)
from node.settings import PriorityRule, Settings
from node.show import series
from node.spool import Spool, digest_of
from node.sweep import Sweeper
from tests.bench.filling import CT, SR, Filling
from tests.claiming import claimed as claimed_one
from tests.conftest import Clock

LEASE_S = 30.0
HOUR_S = 3600.0
URGENT = Priority("emergency", HOUR_S)
RULES = (
    PriorityRule(name="emergency", head_start_min=60, places=[r"\bED\b"]),
    PriorityRule(name="stroke", head_start_min=30, descriptions=["stroke"], senders=["CT*"]),
    PriorityRule(name="research", head_start_min=-600, senders=["ARCHIVE"]),
)

_numbers = count(1)


def ready(ledger: Ledger, priority: Priority = Priority()) -> int:  # noqa: B008  a value
    """A series that has come to rest now, by its id."""
    uid = f"1.2.{next(_numbers)}"
    image = Instance("1.2", uid, f"{uid}.1", CT, "a" * 64, Path(uid), "SCANNER")
    revision = found(ledger, ledger.store(image, 30).revision_id)
    assert ledger.ready(revision, [], priority)
    return revision.id


def found(ledger: Ledger, revision_id: int) -> Revision:
    revision = ledger.revision(revision_id)
    assert revision is not None
    return revision


def claimed(ledger: Ledger) -> int | None:
    """What a worker gets that asks now."""
    claim = ledger.claim_next(LEASE_S)
    return None if claim is None else claim.revision.id


def claimed_all(ledger: Ledger) -> list[int]:
    """What a worker gets that asks again and again."""
    return list(iter(lambda: claimed(ledger), None))


# -- which rule fits ------------------------------------------------------------


def header(**values: str) -> Dataset:
    image = Dataset()
    for keyword, value in values.items():
        setattr(image, keyword, value)
    return image


@pytest.mark.parametrize(
    ("sender", "values", "rule", "minutes"),
    [
        ("CT1", {"RequestingService": "ED"}, "emergency", 60),
        ("CT1", {"CurrentPatientLocation": "ed bay 3"}, "emergency", 60),
        ("CT1", {"StudyDescription": "CT HEAD STROKE CODE"}, "stroke", 30),
        ("MR1", {"StudyDescription": "CT HEAD STROKE CODE"}, None, 0),
        ("CT1", {"RequestingService": "ED", "SeriesDescription": "stroke"}, "emergency", 60),
        ("ARCHIVE", {"RequestingService": "ward"}, "research", -600),
        ("CT1", {"RequestingService": "REDUCED"}, None, 0),
        ("CT1", {}, None, 0),
    ],
)
def test_the_first_rule_that_fits_says_how_urgent_a_series_is(
    sender: str, values: dict[str, str], rule: str | None, minutes: float
) -> None:
    assert priority_of([sender], [header(**values)], RULES) == Priority(rule, minutes * 60)


def test_without_rules_every_series_is_routine() -> None:
    assert priority_of(["CT1"], [header(RequestingService="ED")], ()) == Priority()
    assert str(Priority()) == "routine"


# -- who goes first -------------------------------------------------------------


def test_the_urgent_one_goes_first_whatever_waits_and_then_the_oldest(
    ledger: Ledger, clock: Clock
) -> None:
    routine = []
    for _ in range(5):
        routine.append(ready(ledger))
        clock.pass_s(60)
    research = ready(ledger, Priority("research", -HOUR_S))
    clock.pass_s(60)
    first, second = ready(ledger, URGENT), ready(ledger, URGENT)

    assert claimed_all(ledger) == [first, second, *routine, research]
    assert claimed(ledger) is None


def test_what_came_at_the_same_time_goes_in_the_order_in_which_it_came(ledger: Ledger) -> None:
    ids = [ready(ledger) for _ in range(5)]
    assert claimed_all(ledger) == ids


def test_what_has_waited_for_longer_than_the_head_start_is_not_overtaken(
    ledger: Ledger, clock: Clock
) -> None:
    routine = ready(ledger)
    clock.pass_s(HOUR_S - 1)
    within = ready(ledger, URGENT)
    clock.pass_s(2)
    after = ready(ledger, URGENT)

    assert claimed_all(ledger) == [within, routine, after]


def test_a_claim_says_by_which_rule_and_counts_as_an_attempt(ledger: Ledger) -> None:
    ready(ledger, URGENT)
    claim = ledger.claim_next(LEASE_S)
    assert claim is not None
    assert claim.revision.priority == URGENT
    assert (claim.revision.state, claim.attempt) == (State.ANALYZING, 1)
    assert [event.state for event in ledger.history(claim.revision)] == [
        State.RECEIVING,
        State.READY,
        State.ANALYZING,
    ]


def test_what_waits_after_an_error_is_passed_over_until_its_pause_ends(
    ledger: Ledger, clock: Clock
) -> None:
    urgent = ready(ledger, URGENT)
    claim = ledger.claim_next(LEASE_S)
    assert claim is not None
    assert ledger.yield_claim(claim, "no memory", 10)
    routine, later = ready(ledger), ready(ledger)

    assert claimed(ledger) == routine
    clock.pass_s(10)
    assert claimed(ledger) == urgent, "it keeps its rank"
    assert claimed(ledger) == later


def test_what_a_dead_worker_held_comes_again_first(ledger: Ledger, clock: Clock) -> None:
    urgent = ready(ledger, URGENT)
    assert claimed(ledger) == urgent
    clock.pass_s(LEASE_S)
    ready(ledger)
    assert ledger.take_back(found(ledger, urgent), 3)
    ready(ledger, URGENT)

    assert claimed(ledger) == urgent
    assert found(ledger, urgent).attempts == 2


def test_what_is_tried_again_by_hand_waits_anew_behind_what_came_before(
    ledger: Ledger, clock: Clock
) -> None:
    old = ready(ledger)
    claim = ledger.claim_next(LEASE_S)
    assert claim is not None
    ledger.fail(claim, "error", "broken")
    clock.pass_s(24 * HOUR_S)
    waiting, urgent = ready(ledger), ready(ledger, URGENT)
    clock.pass_s(1)
    assert ledger.retry(found(ledger, old), [])

    assert claimed_all(ledger) == [urgent, waiting, old]


def test_an_urgent_one_that_is_tried_again_is_still_urgent(ledger: Ledger, clock: Clock) -> None:
    urgent = ready(ledger, URGENT)
    claim = ledger.claim_next(LEASE_S)
    assert claim is not None
    ledger.fail(claim, "error", "broken")
    clock.pass_s(24 * HOUR_S)
    routine = ready(ledger)
    assert ledger.retry(found(ledger, urgent), [])

    assert claimed_all(ledger) == [urgent, routine]


def test_of_many_workers_that_ask_at_once_each_gets_another_one_and_the_urgent_go_first(
    ledger: Ledger,
) -> None:
    routine = [ready(ledger) for _ in range(8)]
    urgent = [ready(ledger, URGENT) for _ in range(4)]
    with ThreadPoolExecutor(8) as pool:
        taken = list(pool.map(lambda _: claimed(ledger), range(8)))

    given = {id_ for id_ in taken if id_ is not None}
    assert len(given) == len([id_ for id_ in taken if id_ is not None]), "one went twice"
    assert set(urgent) <= given
    rest = claimed_all(ledger)
    assert given | set(rest) == {*urgent, *routine}
    assert rest == sorted(rest)


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
@pytest.mark.parametrize(("held_s", "goes_first"), [(0.03, "urgent"), (1.0, "routine")])
def test_an_urgent_one_whose_images_come_again_is_waited_for_but_not_for_long(
    ledger: Ledger, held_s: float, goes_first: str
) -> None:
    ids = {"routine": ready(ledger), "urgent": ready(ledger, URGENT)}
    is_urgent = schema.revision.c.id == ids["urgent"]
    with ThreadPoolExecutor(1) as pool:
        with ledger.engine.begin() as storing:
            storing.execute(sa.select(schema.revision.c.id).where(is_urgent).with_for_update())
            claim = pool.submit(claimed, ledger)
            wait([claim], timeout=held_s)
        assert claim.result() == ids[goes_first]


def test_a_clock_that_is_set_back_lets_nobody_starve(ledger: Ledger, clock: Clock) -> None:
    before, urgent = ready(ledger), ready(ledger, URGENT)
    clock.pass_s(-24 * HOUR_S)
    assert ledger.straighten(60, 900) == 2
    clock.pass_s(1)
    after = ready(ledger)

    assert claimed_all(ledger) == [urgent, before, after]


# -- nobody starves, whatever comes and whatever the rules ------------------------


@dataclass(frozen=True)
class Coming:
    """A series that comes to rest.

    Parameters
    ----------
    at : int
        When, seconds.
    head_start : int
        What a rule gives it, seconds.
    """

    at: int
    head_start: int

    def goes_before(self, other: "Coming") -> bool:
        """Whether it is work that another one has to wait for."""
        return self.at - other.at <= self.head_start - other.head_start


COMING = st.lists(
    st.builds(Coming, st.integers(0, 60), st.sampled_from([-30, 0, 0, 0, 5, 20, 100])),
    min_size=1,
    max_size=14,
)
FLOOD = st.builds(
    lambda head_start, each: [
        Coming(0, 0),
        *(Coming(at, head_start) for at in range(0, 12 * each, each)),
    ],
    st.integers(0, 30),
    st.integers(1, 4),
)
"""A routine one, and then no end of urgent ones."""


def run(ledger: Ledger, clock: Clock, coming: list[Coming], takes: int) -> dict[Coming, int]:
    """How long each waited for the one worker there is, seconds; equal ones: the longest."""
    begin = clock.now
    arrivals = sorted(enumerate(coming), key=lambda item: item[1].at)
    by_id: dict[int, Coming] = {}
    waited: dict[Coming, int] = {}
    now = 0
    while arrivals or by_id:
        while arrivals and arrivals[0][1].at <= now:
            _, one = arrivals.pop(0)
            clock.now = begin + one.at
            by_id[ready(ledger, Priority("rule", one.head_start))] = one
        clock.now = begin + now
        taken = claimed(ledger)
        if taken is None:
            assert not by_id, "something is ready, and the worker is given nothing"
            now = arrivals[0][1].at
            continue
        one = by_id.pop(taken)
        waited[one] = max(waited.get(one, 0), now - one.at)
        now += takes
    clock.now = begin + now + HOUR_S
    return waited


@given(coming=st.one_of(COMING, FLOOD), takes=st.integers(1, 9))
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_nobody_waits_longer_than_for_what_came_before_or_within_the_difference_of_head_starts(
    ledger: Ledger, clock: Clock, coming: list[Coming], takes: int
) -> None:
    waited = run(ledger, clock, coming, takes)

    for one, seconds in waited.items():
        before = sum(other.goes_before(one) for other in coming) - 1
        assert seconds <= takes * before + takes, "and the one that was running"


@given(coming=COMING, takes=st.integers(1, 9))
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_most_urgent_one_waits_at_most_for_the_one_that_is_running(
    ledger: Ledger, clock: Clock, coming: list[Coming], takes: int
) -> None:
    urgent = Coming(30, 1000)
    waited = run(ledger, clock, [*coming, urgent], takes)

    assert waited[urgent] <= takes


# -- what it costs ----------------------------------------------------------------


def plan(ledger: Ledger) -> str:
    """How the database finds the next one."""
    asked: dict[str, Any] = {}

    def note(_conn: Any, _cursor: Any, text: str, parameters: Any, *_: Any) -> None:
        if "ORDER BY" in text:
            asked.setdefault(text, parameters)

    sa.event.listen(ledger.engine, "before_cursor_execute", note)
    assert claimed(ledger) is not None
    sa.event.remove(ledger.engine, "before_cursor_execute", note)
    text, parameters = next(iter(asked.items()))
    words = {"sqlite": "EXPLAIN QUERY PLAN", "postgresql": "EXPLAIN"}[ledger.engine.dialect.name]
    with ledger.engine.begin() as connection:
        rows = connection.exec_driver_sql(f"{words} {text}", parameters).all()
    return "\n".join(str(row[-1]) for row in rows)


@pytest.fixture
def crowded(url: str, clock: Clock) -> Iterator[Ledger]:
    """A ledger with much in it, of which 10,000 series wait."""
    Filling(12_000, instances=1, results=1, until=clock.now - 60).fill(url)
    opened = open_ledger(url)
    opened.clock = clock
    with opened.engine.begin() as connection:
        connection.execute(
            sa.text(
                f"UPDATE revision SET state = 'ready', due_at = {clock.now}, "
                "images_removed_at = NULL WHERE id > 2000"
            )
        )
    if opened.engine.dialect.name == "postgresql":
        with opened.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(sa.text("ANALYZE"))
    yield opened
    opened.close()


def test_the_next_one_is_found_by_its_index_alone_and_nothing_is_sorted(crowded: Ledger) -> None:
    shown = plan(crowded)
    assert "revision_waiting" in shown, shown
    assert not re.search("TEMP B-TREE|Sort|Seq Scan|SCAN (?!revision_1 USING)", shown), shown


def test_the_urgent_one_of_ten_thousand_is_found(crowded: Ledger) -> None:
    urgent = ready(crowded, Priority("emergency", 1e9))
    assert claimed(crowded) == urgent


# -- what else goes in that order ---------------------------------------------------


def results(mark: int) -> list[Result]:
    return [Result("sr", f"1.9.{mark}", SR, f"1.9.{mark}.{n}", Path(f"{n}.dcm")) for n in range(2)]


def report(ledger: Ledger, claim: Claim) -> None:
    made = results(claim.revision.id)
    assert ledger.report(claim, made, ["pacs"], warnings=[], maxima={"any": 0.5})


def test_results_of_urgent_ones_are_sent_first(ledger: Ledger, clock: Clock) -> None:
    first = ready(ledger)
    clock.pass_s(60)
    second, urgent = ready(ledger), ready(ledger, URGENT)
    taken = [claimed_one(ledger, id_) for id_ in (urgent, first, second)]
    for claim in reversed(taken):
        report(ledger, claim)

    order = [delivery.revision_id for delivery in ledger.due_deliveries("pacs")]
    assert order == [urgent, urgent, first, first, second, second]


def test_results_that_are_sent_again_by_hand_wait_behind_those_of_today(
    ledger: Ledger, clock: Clock
) -> None:
    old = ready(ledger)
    report(ledger, claimed_one(ledger, old))
    for delivery in ledger.due_deliveries("pacs"):
        ledger.give_up(delivery, "refused")
    clock.pass_s(24 * HOUR_S)
    today = ready(ledger, URGENT)
    report(ledger, claimed_one(ledger, today))
    assert ledger.retry(found(ledger, old), ["pacs"])

    order = [delivery.revision_id for delivery in ledger.due_deliveries("pacs")]
    assert order == [today, today, old, old]


def test_results_that_an_archive_has_lost_wait_behind_those_of_today(
    ledger: Ledger, clock: Clock
) -> None:
    old = ready(ledger)
    report(ledger, claimed_one(ledger, old))
    ledger.sent([(delivery, None) for delivery in ledger.due_deliveries("pacs")])
    clock.pass_s(24 * HOUR_S)
    commitment = ledger.take_commitment("pacs", LEASE_S, 0)
    assert commitment is not None
    uid = ledger.name_transaction(commitment)
    assert uid is not None
    assert ledger.asked(commitment, 60)
    today = ready(ledger)
    report(ledger, claimed_one(ledger, today))
    clock.pass_s(1)
    lost = [reference.sop_instance_uid for reference in commitment.references]
    assert ledger.hear(uid, [], dict.fromkeys(lost, "lost"), lambda _n: 0, 1e9) is not None

    order = [delivery.revision_id for delivery in ledger.due_deliveries("pacs")]
    assert order == [today, today, old, old]


def test_a_worklist_shows_what_a_rule_fits_alone(ledger: Ledger) -> None:
    ready(ledger)
    urgent = ready(ledger, URGENT)
    shown = ledger.page(Selection(priority="emergency"), None, 10)
    assert [revision.id for revision in shown.revisions] == [urgent]
    assert shown.revisions[0].priority == URGENT


def test_what_waits_is_counted_by_its_priority(ledger: Ledger, clock: Clock) -> None:
    ready(ledger)
    clock.pass_s(10)
    ready(ledger)
    ready(ledger, URGENT)
    counted = ledger.waiting()
    assert {name: waiting.revisions for name, waiting in counted.items()} == {
        "routine": 2,
        "emergency": 1,
    }
    assert counted["routine"].since.timestamp() == clock.now - 10


class Told:
    """Stands for the broker: who was said to be ready, in order."""

    def __init__(self) -> None:
        self.ready: list[int] = []

    def analyze(self, revision_id: int) -> None:
        """Note a hint."""
        self.ready.append(revision_id)

    def is_empty(self, _queue: Queue) -> bool:
        """Every hint was lost."""
        return True


@pytest.fixture(scope="module")
def slices(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    """A small head."""
    files = write_dicom(make_phantom(11, size=64), tmp_path_factory.mktemp("head"))
    return [file.read_bytes() for file in files]


@pytest.fixture
def station(tmp_path: Path, clock: Clock) -> Iterator[Callable[..., tuple[Sweeper, Told]]]:
    """Make a node that assembles by rules."""
    ledger = open_ledger(f"sqlite:///{tmp_path}/ledger.sqlite")
    ledger.clock = clock
    told = Told()

    def make(**keys: Any) -> tuple[Sweeper, Told]:
        rules = Settings(home=tmp_path, **keys)
        return Sweeper(rules, Spool(tmp_path), ledger, told), told  # type: ignore[arg-type]

    yield make
    ledger.close()


def receive(sweeper: Sweeper, slices: list[bytes], sender: str) -> int:
    """A head of its own, released at once."""
    spool, ledger = sweeper.spool, sweeper.ledger
    uid = f"1.2.840.{next(_numbers)}"
    for n, content in enumerate(slices):
        digest = digest_of(content)
        path = spool.keep("1.2", uid, f"{uid}.{n}", digest, content)
        stored = ledger.store(Instance("1.2", uid, f"{uid}.{n}", CT, digest, path, sender), 30)
    ledger.release([stored.revision_id], 2)
    return stored.revision_id


BY_SENDER = [{"name": "emergency", "head_start_min": 60, "senders": ["ED*"]}]


def test_of_what_has_come_to_rest_the_urgent_one_is_looked_at_first(
    station: Callable[..., tuple[Sweeper, Told]], slices: list[bytes], clock: Clock
) -> None:
    sweeper, told = station(priorities=BY_SENDER)
    ids = [receive(sweeper, slices, sender) for sender in ("CT1", "CT2", "ED_CT1", "CT1")]
    clock.pass_s(31)
    sweeper.assemble()

    assert told.ready == [ids[2], ids[0], ids[1], ids[3]]
    urgent = found(sweeper.ledger, ids[2])
    assert urgent.priority == URGENT
    assert urgent.rank == clock.now - HOUR_S


def test_what_comes_while_much_is_assembled_does_not_wait_for_all_of_it(
    station: Callable[..., tuple[Sweeper, Told]],
    slices: list[bytes],
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("node.sweep.MOST_AT_ONCE_S", -1.0)  # as if each took that long
    sweeper, told = station(priorities=BY_SENDER)
    routine = [receive(sweeper, slices, "CT1") for _ in range(3)]
    clock.pass_s(31)
    sweeper.assemble()
    assert told.ready == routine[:1]
    urgent = receive(sweeper, slices, "ED_CT1")
    clock.pass_s(31)
    monkeypatch.undo()
    sweeper.assemble()

    assert told.ready == [routine[0], urgent, *routine[1:]]


def test_a_lost_hint_is_sent_again_when_nothing_more_is_written_to_its_series(
    station: Callable[..., tuple[Sweeper, Told]],
    slices: list[bytes],
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sweeper, told = station()
    receive(sweeper, slices, "CT1")
    clock.pass_s(31)
    sweeper.assemble()
    clock.pass_s(HINT_S)
    due: list[list[Revision]] = []
    monkeypatch.setattr(told, "analyze", lambda _id: due.append(sweeper.ledger.due(State.READY)))
    sweeper.hint_analyze()

    assert due == [[]], "a worker that comes at once would find it locked"


# -- what people see of it ----------------------------------------------------------


def test_status_names_the_rule_of_a_series_and_what_waits(
    ledger: Ledger, capsys: pytest.CaptureFixture[str]
) -> None:
    ready(ledger, URGENT)
    console = Console(file=sys.stdout, width=200)
    series.revisions(console, ledger.recent(10))
    series.waiting(console, ledger.waiting())
    printed = capsys.readouterr().out
    assert re.search(r"^ready .* 1 image  emergency", printed)
    assert "1 series waits for a worker: emergency, the first since 20" in printed
    (entry,) = (series.revision_json(revision) for revision in ledger.recent(10))
    assert entry["priority"] == "emergency"
