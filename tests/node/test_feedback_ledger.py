"""Readings in the ledger, on SQLite and on PostgreSQL: the newest counts, and each series once."""

import itertools
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ml.labels import LABELS, Label
from node.ledger import (
    DAY_S,
    ENDED,
    Entered,
    Instance,
    JudgingModel,
    Kept,
    Ledger,
    Reading,
    ReadingSource,
    RetentionRule,
    Revision,
    Tally,
    digest_of_accession,
    open_ledger,
    schema,
)
from tests.claiming import claimed
from tests.conftest import Clock

CT = "1.2.840.10008.5.1.4.1.1.2"
MODEL = JudgingModel("phantom", "1", "a" * 64, "balanced")
OTHER = JudgingModel("phantom", "2", "b" * 64, "balanced")
ANY, SDH = Label.ANY, Label.SUBDURAL
BLEEDS = {ANY: True, SDH: True}
CALM = dict.fromkeys(LABELS, False)

_images = itertools.count()


def judge(
    ledger: Ledger,
    series: str,
    *flagged: Label,
    model: JudgingModel | None = MODEL,
    accession: str = "",
    study: str = "1.2",
) -> Revision:
    """A new image comes, and the series is judged."""
    k = next(_images)
    image = Instance(study, series, f"{series}.{k}", CT, f"{k:064d}", Path(f"{k}"), "SCANNER")
    revision_id = ledger.store(image, 0).revision_id
    revision = ledger.revision(revision_id)
    assert revision is not None
    assert ledger.ready(revision, [])
    claim = ledger.claim_next(30)  # of several that judge, one may get what another one has stored
    assert claim is not None
    assert ledger.report(
        claim,
        [],
        [],
        warnings=[],
        maxima={label.value: 0.9 if label in flagged else 0.1 for label in LABELS},
        flagged=flagged,
        model=model,
        accession=digest_of_accession(accession),
    )
    return claim.revision


def say(
    ledger: Ledger,
    series: str | None,
    findings: Mapping[Label, bool],
    *,
    at: float | None = None,
    reader: str = "anna",
    source: ReadingSource = ReadingSource.PAGE,
) -> Entered:
    said_at = ledger.clock() if at is None else at
    return ledger.enter_reading(Reading("1.2", series, source, reader, said_at, findings))


def tally(ledger: Ledger, finding: Label = ANY, model: JudgingModel = MODEL) -> Tally:
    """All that was counted for a finding."""
    (known,) = (known for known in ledger.models() if known.model == model)
    return ledger.tallies(known.id)[finding]


def test_a_series_counts_by_what_the_model_and_the_reader_say(ledger: Ledger) -> None:
    for n, (flags, says) in enumerate([(1, 1), (1, 0), (0, 0), (0, 1)], 1):
        judge(ledger, f"1.{n}", *([ANY, SDH] if flags else []))
        assert say(ledger, f"1.{n}", BLEEDS if says else CALM) is Entered.NEW
    judge(ledger, "1.5", ANY)
    assert tally(ledger) == Tally(5, 3, 1, 1, 1, 1)
    assert tally(ledger, SDH) == Tally(5, 2, 1, 1, 1, 1)
    assert tally(ledger, Label.EPIDURAL) == Tally(5, 0, 0, 0, 2, 0)  # else nothing was said


def test_the_newest_reading_counts_and_none_is_lost(ledger: Ledger, clock: Clock) -> None:
    judge(ledger, "1.1", ANY)
    say(ledger, "1.1", CALM)
    clock.pass_s(60)
    say(ledger, "1.1", BLEEDS, reader="ben", source=ReadingSource.HL7)
    say(ledger, "1.1", CALM, at=clock.now - 3600, reader="csv", source=ReadingSource.CSV)
    assert tally(ledger) == Tally(1, 1, 1, 0, 0, 0)
    assert [r.reader for r in ledger.readings("1.2", "1.1")] == ["ben", "anna", "csv"]


def test_who_cannot_tell_takes_back_what_was_said(ledger: Ledger, clock: Clock) -> None:
    judge(ledger, "1.1", ANY)
    say(ledger, "1.1", BLEEDS)
    clock.pass_s(1)
    say(ledger, "1.1", {})
    assert tally(ledger) == Tally(1, 1, 0, 0, 0, 0)
    assert ledger.unread(None, 10).revisions == ()


def test_a_reading_may_come_before_the_judgement(ledger: Ledger) -> None:
    image = Instance("1.2", "1.1", "1.1.1", CT, "c" * 64, Path("x"), "SCANNER")
    ledger.store(image, 0)
    assert say(ledger, "1.1", BLEEDS) is Entered.NEW
    assert ledger.models() == []
    judge(ledger, "1.1", ANY)
    assert tally(ledger) == Tally(1, 1, 1, 0, 0, 0)


def test_what_is_said_of_a_study_counts_for_each_of_its_series_also_later_ones(
    ledger: Ledger, clock: Clock
) -> None:
    judge(ledger, "1.1", ANY)
    say(ledger, None, BLEEDS)
    judge(ledger, "1.2")
    assert tally(ledger) == Tally(2, 1, 1, 0, 0, 1)
    clock.pass_s(1)
    say(ledger, "1.2", CALM)
    assert tally(ledger) == Tally(2, 1, 1, 0, 1, 0)


def test_of_what_never_came_nothing_is_entered(ledger: Ledger) -> None:
    judge(ledger, "1.1")
    assert say(ledger, "1.9", BLEEDS) is Entered.NOT_THERE
    of_another = Reading("1.3", None, ReadingSource.CSV, "csv", 0, BLEEDS)
    assert ledger.enter_undated_reading(of_another) is Entered.NOT_THERE
    assert ledger.readings("1.2", "1.9") == []


def test_the_same_said_again_changes_nothing(ledger: Ledger, clock: Clock) -> None:
    judge(ledger, "1.1", ANY)
    dated = Reading("1.2", "1.1", ReadingSource.CSV, "anna", clock.now - 60, BLEEDS)
    undated = Reading("1.2", "1.1", ReadingSource.CSV, "ben", clock.now, CALM)
    for expected in (Entered.NEW, Entered.KNOWN):
        assert ledger.enter_reading(dated) is expected
        assert ledger.enter_undated_reading(replace(undated, said_at=clock.now)) is expected
        clock.pass_s(60)
    # But who comes back to what was said before says something new.
    for findings in (BLEEDS, CALM):
        undated = replace(undated, findings=findings, said_at=clock.now)
        assert ledger.enter_undated_reading(undated) is Entered.NEW
        clock.pass_s(60)
    assert len(ledger.readings("1.2", "1.1")) == 4


def test_a_series_judged_again_counts_once_by_its_newest_judgement(
    ledger: Ledger, clock: Clock
) -> None:
    judge(ledger, "1.1", ANY)
    say(ledger, "1.1", BLEEDS)
    clock.pass_s(2 * DAY_S)
    judge(ledger, "1.1")
    assert tally(ledger) == Tally(1, 0, 0, 0, 0, 1)
    (known,) = ledger.models()
    today = int(clock.now // DAY_S)
    counted = ledger.days(known.id, ANY, 0)
    assert counted == {today - 2: Tally(), today: Tally(1, 0, 0, 0, 0, 1)}
    assert ledger.tallies(known.id, today)[ANY] == Tally(1, 0, 0, 0, 0, 1)
    assert ledger.tallies(known.id, today + 1)[ANY] == Tally()


def test_models_and_their_operating_points_are_never_mixed(ledger: Ledger) -> None:
    sensitive = replace(MODEL, operating_point="sensitive")
    for n, model in enumerate((MODEL, OTHER, sensitive), 1):
        judge(ledger, f"1.{n}", ANY, model=model)
        say(ledger, f"1.{n}", BLEEDS)
    assert [known.model for known in ledger.models()] == [MODEL, OTHER, sensitive]
    for model in (MODEL, OTHER, sensitive):
        assert tally(ledger, model=model) == Tally(1, 1, 1, 0, 0, 0)
    judge(ledger, "1.1", ANY, model=OTHER)
    assert tally(ledger) == Tally()
    assert tally(ledger, model=OTHER) == Tally(2, 2, 2, 0, 0, 0)


def test_what_nobody_noted_the_model_of_counts_nowhere(ledger: Ledger) -> None:
    judge(ledger, "1.1", ANY, model=None)
    assert say(ledger, "1.1", BLEEDS) is Entered.NEW
    assert ledger.models() == []
    assert len(ledger.readings("1.2", "1.1")) == 1


def test_unread_series_come_flagged_first_page_by_page(ledger: Ledger, clock: Clock) -> None:
    for n in range(6):
        judge(ledger, f"1.{n}", *([ANY] if n % 2 else []))
        clock.pass_s(1)
    say(ledger, "1.3", CALM)
    seen, after = [], None
    while True:
        page = ledger.unread(after, 2)
        seen += [revision.series_instance_uid for revision in page.revisions]
        after = page.next
        if after is None:
            break
    assert seen == ["1.5", "1.1", "1.4", "1.2", "1.0"]


def test_a_series_keeps_its_place_among_the_unread_when_it_is_read(
    ledger: Ledger, clock: Clock
) -> None:
    judged = []
    for n in range(3):
        judged.append(judge(ledger, f"1.{n}", *([ANY] if n else [])))
        clock.pass_s(1)
    calm, older, newer = judged

    def behind(revision: Revision) -> list[str]:
        page = ledger.unread(ledger.place_of(revision), 1)
        return [found.series_instance_uid for found in page.revisions]

    assert (behind(newer), behind(older), behind(calm)) == (["1.1"], ["1.0"], [])
    say(ledger, "1.2", CALM)
    assert behind(newer) == ["1.1"]
    assert ledger.place_of(replace(calm, id=999)) is None


def test_a_study_is_found_by_its_accession_number_which_is_not_written_down(
    ledger: Ledger,
) -> None:
    judge(ledger, "1.1", accession=" A-42 ")
    judge(ledger, "1.2")
    digest = digest_of_accession("A-42")
    assert digest is not None
    assert ledger.judged_of_accession(digest) == ["1.2"]
    assert digest_of_accession(" ") is None
    with ledger.reading() as connection:
        rows = connection.execute(sa.select(schema.judged)).all()
    assert "A-42" not in str(rows)


def test_what_was_counted_stays_when_the_series_is_forgotten(ledger: Ledger, clock: Clock) -> None:
    judge(ledger, "1.1", ANY)
    judge(ledger, "1.2")
    say(ledger, "1.1", BLEEDS)
    say(ledger, None, CALM)
    clock.pass_s(10)
    with ledger.engine.begin() as connection:
        connection.execute(sa.update(schema.revision).values(state="delivered", due_at=None))
    rule = RetentionRule(dict.fromkeys(ENDED, clock.now), frozenset())
    before = tally(ledger)
    for series, left in (("1.1", 1), ("1.2", 0)):
        (ended,) = ledger.series_of(study="1.2", series=series)
        for kept in Kept:
            assert ledger.remove(kept, ended, rule, "old")
        assert ledger.forget(ended, rule)
        with ledger.reading() as connection:
            for table in (schema.judged, schema.reading):
                assert len(connection.execute(sa.select(table)).all()) == left
    assert tally(ledger) == before


def test_read_series_come_with_what_was_predicted(ledger: Ledger) -> None:
    judge(ledger, "1.1", ANY)
    judge(ledger, "1.2")
    judge(ledger, "1.3", model=OTHER)
    say(ledger, "1.1", BLEEDS)
    say(ledger, "1.3", {})
    first, second = ledger.read_series()
    assert (first.series_instance_uid, first.model) == ("1.1", MODEL)
    assert (first.flagged, first.findings, first.maxima["any"]) == ({ANY}, BLEEDS, 0.9)
    assert (second.series_instance_uid, second.model, second.findings) == ("1.3", OTHER, {})


def test_readings_and_judgements_of_a_study_that_come_together_are_each_counted_once(
    url: str,
) -> None:
    ledger = open_ledger(url)
    series = [f"1.{n}" for n in range(6)]
    for name in series:
        judge(ledger, name, ANY)

    def work(n: int) -> None:
        mine = open_ledger(url)
        if n % 2:
            for name in series:
                mine.enter_reading(
                    Reading("1.2", name, ReadingSource.CSV, f"r{n}", 1e9 + n, BLEEDS)
                )
            mine.enter_reading(Reading("1.2", None, ReadingSource.CSV, f"r{n}", 1e9 + n, CALM))
        else:
            for name in series[n::4]:
                judge(mine, name)
        mine.close()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    assert counted(ledger) == reference(ledger)
    assert tally(ledger).series == len(series)
    ledger.close()


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
def test_who_stores_a_late_image_and_who_reports_do_not_wait_for_each_other(
    ledger: Ledger,
) -> None:
    """Both hold the series first, then its revision."""
    image = Instance("1.2", "1.1", "1.1.1", CT, "c" * 64, Path("x"), "SCANNER")
    revision = ledger.revision(ledger.store(image, 0).revision_id)
    assert revision is not None
    assert ledger.ready(revision, [])
    claim = claimed(ledger, revision.id)
    with ThreadPoolExecutor() as pool, ledger.engine.begin() as storing:
        storing.execute(sa.select(schema.series.c.id).with_for_update())
        reported = pool.submit(
            ledger.report, claim, [], [], warnings=[], maxima={}, flagged=[ANY], model=MODEL
        )
        time.sleep(0.3)
        storing.execute(sa.text("SET LOCAL lock_timeout = 2000"))
        storing.execute(sa.select(schema.revision.c.id).with_for_update())
        storing.commit()
        assert reported.result(timeout=30)
    assert tally(ledger) == Tally(1, 1, 0, 0, 0, 0)


# -- against a plain reference ---------------------------------------------------------


def counted(ledger: Ledger) -> dict[tuple[JudgingModel, Label], Tally]:
    """What the ledger has counted, of every model."""
    return {
        (known.model, label): tally
        for known in ledger.models()
        for label, tally in ledger.tallies(known.id).items()
        if tally != Tally()
    }


def reference(ledger: Ledger) -> dict[tuple[JudgingModel, Label], Tally]:
    """The same from all judgements and readings, each looked at anew."""
    models = {known.id: known.model for known in ledger.models()}
    found: dict[tuple[JudgingModel, Label], Tally] = {}
    with ledger.reading() as connection:
        rows = connection.execute(
            sa.select(schema.judged, schema.series).join(
                schema.series, schema.series.c.id == schema.judged.c.series_id
            )
        ).all()
    for row in rows:
        said = ledger.readings(row.study_instance_uid, row.series_instance_uid)
        truth = said[0].findings if said else {}
        for label in LABELS:
            flagged, present = label.value in row.flagged, truth.get(label)
            key = models[row.model_id], label
            found[key] = found.get(key, Tally()) + Tally(
                1,
                int(flagged),
                int(flagged and present is True),
                int(flagged and present is False),
                int(not flagged and present is False),
                int(not flagged and present is True),
            )
    return found


_flags = st.sets(st.sampled_from(LABELS), max_size=3)
_steps = st.lists(
    st.one_of(
        st.tuples(st.just("judge"), st.integers(1, 3), _flags, st.booleans()),
        st.tuples(
            st.just("say"),
            st.one_of(st.none(), st.integers(1, 3)),
            st.dictionaries(st.sampled_from(LABELS), st.booleans(), max_size=3),
            st.integers(0, 5),
        ),
    ),
    max_size=14,
)


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=_steps)
def test_whatever_comes_in_whatever_order_the_counts_are_those_of_a_plain_look(
    ledger: Ledger, clock: Clock, steps: list[tuple[object, ...]]
) -> None:
    with ledger.engine.begin() as connection:
        for table in reversed(schema.metadata.sorted_tables):
            connection.execute(sa.delete(table))
    for step in steps:
        clock.pass_s(DAY_S / 3)
        if step[0] == "judge":
            _, n, flagged, is_other = step
            judge(ledger, f"1.{n}", *flagged, model=OTHER if is_other else MODEL)  # type: ignore
        else:
            _, number, findings, age = step
            series = None if number is None else f"1.{number}"
            say(ledger, series, findings, at=clock.now - age * DAY_S)  # type: ignore
    assert counted(ledger) == reference(ledger)
