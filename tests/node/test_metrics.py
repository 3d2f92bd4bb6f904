"""What Prometheus is told: counted from the ledger, whoever wrote it, and each thing once."""

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa
from prometheus_client.parser import text_string_to_metric_families

from ml.identity import identify
from ml.labels import Label
from node.hints import Queue
from node.ledger import (
    FetchState,
    Instance,
    JudgingModel,
    Ledger,
    Priority,
    ReadingSource,
    Result,
    Revision,
    State,
    Step,
    Way,
    schema,
)
from node.metrics import Metrics
from node.metrics.following import SPOOL, Counts, Cursor, Histogram, Station, time_at_stations
from node.settings import Settings
from node.spool import Spool
from node.vitals import GPU, Background, WorkerState
from tests.claiming import claimed
from tests.conftest import Clock
from tests.node.test_feedback_ledger import judge, say

CT = "1.2.840.10008.5.1.4.1.1.2"
SR = "1.2.840.10008.5.1.4.1.1.88.34"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(
        home=tmp_path,
        destinations=[{"name": "pacs", "ae_title": "A", "host": "127.0.0.1", "port": 104}],
        broker={"url": "redis://127.0.0.1:1/0"},
    )


@pytest.fixture
def metrics(settings: Settings, ledger: Ledger) -> Metrics:
    return Metrics(settings, ledger, Background(settings))


def values(metrics: Metrics) -> dict[str, float]:
    """Every sample, by its name and labels."""
    return {
        sample.name + "".join(f" {value}" for value in sample.labels.values()): sample.value
        for family in text_string_to_metric_families(metrics.exposition().decode())
        for sample in family.samples
    }


def receive(ledger: Ledger, spool: Spool, series: str, size: int = 1000) -> Revision:
    path = spool.keep("1.2", series, f"{series}.1", "a" * 64, b"x" * size)
    instance = Instance("1.2", series, f"{series}.1", CT, "a" * 64, path, "SCANNER")
    revision = ledger.revision(ledger.store(instance, 30, way=Way.C_STORE).revision_id)
    assert revision is not None
    return revision


def report(ledger: Ledger, clock: Clock, revision: Revision) -> None:
    """Assembled in 3 s, waits for 7 s, judged in 11 s."""
    clock.pass_s(3)
    assert ledger.ready(revision, [])
    clock.pass_s(7)
    claim = claimed(ledger, revision.id)
    clock.pass_s(11)
    uid = revision.series_instance_uid
    results = [Result("sr", f"{uid}.9", SR, f"{uid}.9.{n}", Path("r")) for n in range(2)]
    assert ledger.report(claim, results, ["pacs"], warnings=[], maxima={})


def deliver(ledger: Ledger) -> None:
    hold = ledger.hold("pacs", 30)
    assert hold is not None
    ledger.sent([(delivery, None) for delivery in ledger.due_deliveries("pacs")])
    ledger.let_go(hold)


# -- the ledger is followed --------------------------------------------------------


def test_a_series_is_counted_in_each_state_and_at_each_station(
    ledger: Ledger, clock: Clock, metrics: Metrics, tmp_path: Path
) -> None:
    revision = receive(ledger, Spool(tmp_path), "1.1", size=700)
    clock.pass_s(5)
    second = Instance("1.2", "1.1", "1.1.2", CT, "b" * 64, Path("gone.dcm"), "SCANNER")
    ledger.store(second, 30, way=Way.STOW_RS)
    revision = ledger.revision(revision.id) or revision
    report(ledger, clock, revision)
    clock.pass_s(13)
    waiting = values(metrics)
    deliver(ledger)
    done = values(metrics)

    assert waiting["ichnode_series reported"] == 1
    assert waiting["ichnode_destination_waiting pacs"] == 2
    assert waiting["ichnode_queue_oldest_seconds deliver"] == 13
    assert done["ichnode_series reported"] == 0
    assert done["ichnode_queue_oldest_seconds deliver"] == 0
    for state in (State.RECEIVING, State.READY, State.ANALYZING, State.REPORTED, State.DELIVERED):
        assert done[f"ichnode_series_entered_total {state}"] == 1, state
    times = {"receive": 5, "assemble": 3, "wait": 7, "analyze": 11, "deliver": 13}
    for station, seconds in times.items():
        assert done[f"ichnode_station_seconds_sum {station}"] == pytest.approx(seconds), station
        assert done[f"ichnode_station_seconds_count {station}"] == 1, station
    assert done["ichnode_turnaround_seconds_sum"] == pytest.approx(3 + 7 + 11)
    ways = {way: done[f"ichnode_instances_received_total {way}"] for way in (*Way, SPOOL)}
    assert ways == dict.fromkeys(Way, 0) | {Way.C_STORE: 1, Way.STOW_RS: 1, SPOOL: 0}
    assert done["ichnode_received_bytes_total"] == 700
    assert done["ichnode_last_received_timestamp_seconds"] == clock.now - 3 - 7 - 11 - 13


def test_what_waits_and_how_long_it_waited_is_told_by_priority(
    ledger: Ledger, clock: Clock, settings: Settings, tmp_path: Path
) -> None:
    rules = [{"name": "emergency", "head_start_min": 60, "senders": ["ED*"]}]
    ruled = Settings.model_validate(settings.model_dump() | {"priorities": rules})
    metrics = Metrics(ruled, ledger, Background(ruled))
    for series, priority in (("1.1", Priority()), ("1.2", Priority("emergency", 3600))):
        assert ledger.ready(receive(ledger, Spool(tmp_path), series), [], priority)
    clock.pass_s(7)
    waiting = values(metrics)
    assert ledger.claim_next(30) is not None
    begun = values(metrics)

    for name in ("emergency", "routine"):
        assert waiting[f"ichnode_series_waiting {name}"] == 1
        assert waiting[f"ichnode_series_waiting_oldest_seconds {name}"] == 7
        assert waiting[f"ichnode_wait_seconds_count {name}"] == 0
    assert begun["ichnode_series_waiting emergency"] == 0
    assert begun["ichnode_series_waiting_oldest_seconds emergency"] == 0
    assert begun["ichnode_wait_seconds_sum emergency"] == pytest.approx(7)
    assert begun["ichnode_wait_seconds_count routine"] == 0


def test_what_was_there_before_the_process_is_not_counted(
    ledger: Ledger, clock: Clock, settings: Settings, tmp_path: Path
) -> None:
    revision = receive(ledger, Spool(tmp_path), "1.1")
    metrics = Metrics(settings, ledger, Background(settings))
    report(ledger, clock, revision)
    found = values(metrics)
    assert found["ichnode_series_entered_total receiving"] == 0
    assert found["ichnode_series_entered_total ready"] == 1
    assert found["ichnode_instances_received_total c-store"] == 0


def test_nothing_is_counted_twice_however_often_it_is_scraped(
    ledger: Ledger, clock: Clock, metrics: Metrics, tmp_path: Path
) -> None:
    for number in range(3):
        report(ledger, clock, receive(ledger, Spool(tmp_path), f"1.{number + 1}"))
        first, again = values(metrics), values(metrics)
        assert [n for n in first if again[n] != first[n] and "disk_free" not in n] == []
        assert first["ichnode_series_entered_total reported"] == number + 1
        assert first["ichnode_instances_received_total c-store"] == number + 1


def test_a_remark_in_the_history_is_no_step(
    ledger: Ledger, metrics: Metrics, tmp_path: Path
) -> None:
    revision = receive(ledger, Spool(tmp_path), "1.1")
    assert ledger.skip(revision, "contrast", "C+", [])
    skipped = ledger.revision(revision.id)
    assert skipped is not None
    assert ledger.explain(skipped, [], [], "no notice can be made")
    assert values(metrics)["ichnode_series_entered_total skipped"] == 1


def test_a_row_that_appears_late_is_counted_all_the_same(
    ledger: Ledger, metrics: Metrics, tmp_path: Path
) -> None:
    """PostgreSQL gives ids out before it shows rows: a slow transaction is passed over."""
    revision = receive(ledger, Spool(tmp_path), "1.1")
    values(metrics)

    def note(event_id: int, state: State) -> None:
        with ledger.engine.begin() as connection:
            connection.execute(
                sa.insert(schema.event).values(
                    id=event_id, revision_id=revision.id, at=ledger.clock(), state=state
                )
            )

    note(102, State.FAILED)
    assert values(metrics)["ichnode_series_entered_total failed"] == 1
    note(101, State.READY)
    found = values(metrics)
    assert found["ichnode_series_entered_total ready"] == 1
    assert found["ichnode_series_entered_total failed"] == 1


def test_rows_that_are_deleted_do_not_stop_the_counting(
    ledger: Ledger, metrics: Metrics, tmp_path: Path
) -> None:
    """SQLite gives the ids of the newest rows again."""
    receive(ledger, Spool(tmp_path), "1.1")
    values(metrics)
    with ledger.engine.begin() as connection:
        for table in (schema.event, schema.revision, schema.instance, schema.series):
            connection.execute(sa.delete(table))
    values(metrics)
    receive(ledger, Spool(tmp_path), "1.2")
    assert values(metrics)["ichnode_instances_received_total c-store"] == 2


def test_more_than_a_scrape_may_read_is_read_at_the_next(
    ledger: Ledger, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("node.metrics.following.MOST_AT_ONCE", 2)
    counts = Counts(ledger, Spool(tmp_path))
    for number in range(5):
        receive(ledger, Spool(tmp_path), f"1.{number + 1}")
    seen = []
    for _ in range(4):
        counts.catch_up([])
        seen.append((counts.entered[State.RECEIVING], counts.instances.total()))
    assert seen == [(2, 2), (4, 4), (5, 5), (5, 5)]


def test_failures_in_a_row_are_added_up_over_rows(
    ledger: Ledger, clock: Clock, metrics: Metrics, tmp_path: Path
) -> None:
    report(ledger, clock, receive(ledger, Spool(tmp_path), "1.1"))
    seen = []
    for well in (False, False, True, False):
        hold = ledger.hold("pacs", 30)
        assert hold is not None
        if well:
            ledger.let_go(hold)
        else:
            ledger.rest(hold, clock.now + 5, "away")
        clock.pass_s(10)
        found = values(metrics)
        seen.append(
            (
                found["ichnode_delivery_failures_total pacs"],
                found["ichnode_destination_failures pacs"],
            )
        )
    assert seen == [(1, 1), (2, 2), (2, 0), (3, 1)]


def test_labels_are_counted_by_source_and_the_configured_models_by_what_they_say(
    ledger: Ledger, clock: Clock, settings: Settings
) -> None:
    found = identify("phantom")
    model = JudgingModel(found.name, found.version, found.digest, "balanced")
    judge(ledger, "1.1", Label.ANY, model=model)
    judge(ledger, "1.2", Label.ANY, model=replace(model, operating_point="sensitive"))
    say(ledger, "1.1", {Label.ANY: True})
    metrics = Metrics(settings, ledger, Background(settings))
    say(ledger, "1.1", {Label.ANY: False}, at=clock.now + 1, source=ReadingSource.HL7)
    say(ledger, "1.2", {Label.ANY: True})
    for _ in range(2):
        told = values(metrics)
        assert {name: told[f"ichnode_labels_total {name}"] for name in ReadingSource} == {
            ReadingSource.PAGE: 1,
            ReadingSource.CSV: 0,
            ReadingSource.HL7: 1,
        }
        outcomes = {name: value for name, value in told.items() if "outcomes" in name}
        assert len(outcomes) == 6 * 4
        assert {name for name, value in outcomes.items() if value} == {
            "ichnode_outcomes any false_positive"
        }


def test_what_is_fetched_is_counted_by_source_and_outcome(
    ledger: Ledger, clock: Clock, metrics: Metrics
) -> None:
    ledger.source_answers("archive")
    for number, state in enumerate((FetchState.FETCHED, FetchState.KNOWN, FetchState.FAILED)):
        wanted = {"state": FetchState.WANTED, "counted": 3, "next_try_at": clock.now}
        ledger.enter_fetches("archive", [("1.2", f"1.2.{number}", wanted)])
        (row,) = ledger.due_fetches("archive")
        claimed = ledger.claim_fetch(row, 3, 30)
        assert claimed is not None
        ledger.end_fetch(claimed, state, None, 3 if state is FetchState.FETCHED else 0)
    ledger.enter_fetches("archive", [("1.2", "1.2.9", wanted)])
    found = {name: value for name, value in values(metrics).items() if "_fetch_" in name}
    assert found == {
        "ichnode_fetch_waiting archive": 1,
        "ichnode_fetch_given_up archive": 1,
        "ichnode_fetch_failures archive": 0,
        "ichnode_fetch_answered_timestamp_seconds archive": clock.now,
        "ichnode_fetch_series_total fetched archive": 1,
        "ichnode_fetch_series_total known archive": 1,
        "ichnode_fetch_series_total failed archive": 1,
        "ichnode_fetch_images_total archive": 3,
    }


def test_ids_that_never_come_are_forgotten() -> None:
    cursor = Cursor(10)
    cursor.go_on([11, 14], now=0)
    assert (cursor.after, cursor.missed) == (14, [12, 13])
    cursor.go_on([13], now=59)
    assert (cursor.after, cursor.missed) == (14, [12])
    cursor.go_on([], now=61)
    assert cursor.missed == []
    cursor.go_on([1_000_000], now=61)
    assert len(cursor.missed) == 1000


@pytest.mark.parametrize(
    ("step", "times"),
    [
        (Step(1, None, None, State.RECEIVING, 10, 10), {}),
        (
            Step(1, State.RECEIVING, 10, State.SKIPPED, 25, 20),
            {Station.RECEIVE: 10, Station.ASSEMBLE: 5},
        ),
        # looked at again by `retry`: no image came
        (Step(1, State.RECEIVING, 100, State.READY, 101, 20), {Station.ASSEMBLE: 1}),
        (Step(1, State.ANALYZING, 10, State.FAILED, 25, 5), {}),
        # clocks of two machines differ
        (Step(1, State.READY, 10, State.ANALYZING, 9, 5), {Station.WAIT: 0}),
    ],
)
def test_a_step_tells_how_long_a_station_took(step: Step, times: dict[Station, float]) -> None:
    assert dict(time_at_stations(step)) == times


def test_a_histogram_counts_up_to_each_bound() -> None:
    histogram = Histogram((1, 2.5))
    for value in (0, 1, 1.5, 99):
        histogram.add(value)
    assert histogram.buckets() == [("1", 2), ("2.5", 3), ("+Inf", 4)]
    assert histogram.total == 101.5


# -- what else there is ------------------------------------------------------------


def test_a_node_whose_ledger_is_away_still_says_what_it_can(
    ledger: Ledger, metrics: Metrics, tmp_path: Path
) -> None:
    receive(ledger, Spool(tmp_path), "1.1")
    with ledger.engine.begin() as connection:
        connection.execute(sa.text("ALTER TABLE event RENAME TO away"))
        connection.execute(sa.text("ALTER TABLE destination RENAME TO gone"))
    found = values(metrics)
    assert found["ichnode_ready ledger"] == 0
    assert found["ichnode_ready spool"] == 1
    assert found["ichnode_ready broker"] == 0
    assert found["ichnode_disk_free_bytes"] > 0
    assert not [name for name in found if name.startswith("ichnode_series")]


def test_counting_begins_when_the_ledger_is_back(
    ledger: Ledger, settings: Settings, tmp_path: Path
) -> None:
    with ledger.engine.begin() as connection:
        connection.execute(sa.text("ALTER TABLE destination RENAME TO gone"))
    metrics = Metrics(settings, ledger, Background(settings))
    with ledger.engine.begin() as connection:
        connection.execute(sa.text("ALTER TABLE gone RENAME TO destination"))
    assert values(metrics)["ichnode_instances_received_total c-store"] == 0
    receive(ledger, Spool(tmp_path), "1.1")
    assert values(metrics)["ichnode_instances_received_total c-store"] == 1


def test_workers_and_their_gpus_are_told_of(settings: Settings, ledger: Ledger) -> None:
    background = Background(settings)
    metrics = Metrics(settings, ledger, background)
    assert "ichnode_workers analyze" not in values(metrics)

    gpu = GPU("NVIDIA L4", 24_000, 6_000)
    background._workers.value = (
        WorkerState("analyze-1@one", Queue.ANALYZE, "cuda:0", gpu),
        WorkerState("analyze-2@one", Queue.ANALYZE, "cuda:0", gpu),
        WorkerState("analyze-3@two", Queue.ANALYZE, "cpu", None),
    )
    found = values(metrics)
    assert (found["ichnode_workers analyze"], found["ichnode_workers deliver"]) == (3, 0)
    assert found["ichnode_gpu_memory_used_bytes cuda:0 NVIDIA L4 one"] == 6_000
    assert len([name for name in found if "gpu_memory_bytes" in name]) == 1


def test_promtool_finds_nothing_to_complain_of(
    ledger: Ledger, clock: Clock, metrics: Metrics, tmp_path: Path
) -> None:
    if shutil.which("promtool") is None:
        pytest.skip("promtool is not installed (Debian package prometheus)")
    report(ledger, clock, receive(ledger, Spool(tmp_path), "1.1"))
    checked = subprocess.run(
        ["promtool", "check", "metrics"],
        input=metrics.exposition(),
        capture_output=True,
        check=False,
    )
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, b"")
