"""What is counted is counted once; what waits for the shadow holds nothing up and is not lost."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import sqlalchemy as sa

from ml.labels import LABELS
from node.drift import agreed_on
from node.drift.measure import said_of
from node.drift.traits import KERNEL, KVP, THICKNESS
from node.ledger import (
    DAY_S,
    ENDED,
    NOBODY,
    OTHER,
    Claim,
    Instance,
    Kept,
    Ledger,
    Mark,
    Observed,
    Result,
    RetentionRule,
    Revision,
    Shadow,
    ShadowState,
    State,
    schema,
)
from tests.claiming import claimed
from tests.conftest import Clock
from tests.drift import FIRST, SECOND

CT, SR = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.88.34"
SAID = {label.value: 0.7 for label in LABELS}
OTHERS = SAID | {"any": 0.1}


def observed(kernel: str = "H31s", *, shadowed: bool = True) -> Observed:
    traits = KERNEL.count(kernel), KVP.count("120")
    return Observed(traits, said_of(SAID, ["any"], FIRST), is_shadowed=shadowed)


def store(ledger: Ledger, series: str, number: int = 1) -> Revision:
    path = Path("1.2") / series / f"{number}.dcm"
    image = Instance("1.2", series, f"{series}.{number}", CT, f"{number}" * 64, path, "CT")
    revision = ledger.revision(ledger.store(image, 0).revision_id)
    assert revision is not None
    return revision


def claim(ledger: Ledger, revision: Revision) -> Claim:
    now = ledger.revision(revision.id)
    assert now is not None
    assert now.state is State.READY or ledger.ready(now, [])
    return claimed(ledger, revision.id)


def report(ledger: Ledger, revision: Revision, told: Observed | None = None) -> Revision:
    return report_claimed(ledger, claim(ledger, revision), told)


def report_claimed(ledger: Ledger, held: Claim, told: Observed | None = None) -> Revision:
    uid = f"1.9.{held.revision.id}"
    result = Result("sr", uid, SR, f"{uid}.1", Path("sr.dcm"))
    assert ledger.report(
        held,
        [result],
        ["pacs"],
        warnings=[],
        maxima=SAID,
        flagged=["any"],
        model=FIRST,
        observed=told or observed(),
    )
    found = ledger.revision(held.revision.id)
    assert found is not None
    return found


def waiting(ledger: Ledger) -> Shadow:
    (due,) = ledger.due_shadows()
    found = ledger.claim_shadow(due, 30)
    assert found is not None
    return found


def judge(ledger: Ledger, shadow: Shadow) -> bool:
    agreed = agreed_on(
        shadow.primary_maxima, shadow.primary_flagged, shadow.primary, OTHERS, [], SECOND
    )
    return ledger.shadow_judged(shadow, SECOND, OTHERS, [], said_of(OTHERS, [], SECOND), agreed)


def tallied(
    ledger: Ledger, primary: int = NOBODY, shadow: int = NOBODY
) -> dict[tuple[str, str], int]:
    today = int(ledger.clock() // DAY_S)
    return {
        (tally.trait, tally.bin): tally.series
        for tally in ledger.trait_tallies(today - 30, today, primary, shadow)
        if (tally.primary_id, tally.shadow_id) == (primary, shadow)
    }


# -- counting ----------------------------------------------------------------------


def test_a_series_is_counted_with_what_it_is_like_and_what_is_said_of_it(ledger: Ledger) -> None:
    for n, kernel in enumerate(("H31s", "H31s", "H60s")):
        report(ledger, store(ledger, f"1.2.{n}"), observed(kernel))
    assert tallied(ledger) == {("kernel", "H31s"): 2, ("kernel", "H60s"): 1, ("kvp", "120"): 3}
    said = tallied(ledger, primary=ledger.model_id(FIRST))
    assert said["maximum_any", "0.7"] == 3
    assert said["flagged", "yes"] == 3


def test_a_series_whose_results_are_made_again_counts_once_and_waits_once(ledger: Ledger) -> None:
    revision = report(ledger, store(ledger, "1.2.3"))
    assert ledger.make_again(revision.id, "a file is gone")
    report(ledger, revision)
    assert tallied(ledger)["kvp", "120"] == 1
    assert judge(ledger, waiting(ledger))
    assert ledger.make_again(revision.id, "a file is gone")
    report(ledger, revision)
    assert tallied(ledger)["kvp", "120"] == 1
    assert ledger.due_shadows() == []


def test_a_worker_that_was_taken_over_counts_nothing(ledger: Ledger, clock: Clock) -> None:
    revision = store(ledger, "1.2.3")
    late = claim(ledger, revision)
    clock.pass_s(60)
    assert ledger.take_back(late.revision, 3)
    report(ledger, revision)
    done = ledger.report(late, [], [], warnings=[], maxima=SAID, observed=observed())
    assert not done
    assert tallied(ledger)["kvp", "120"] == 1


def test_a_late_slice_makes_no_second_series_of_one(ledger: Ledger) -> None:
    report(ledger, store(ledger, "1.2.3"))
    assert judge(ledger, waiting(ledger))
    report(ledger, store(ledger, "1.2.3", 2))
    assert judge(ledger, waiting(ledger))
    by = ledger.model_id(FIRST), ledger.model_id(SECOND)
    assert tallied(ledger)["kvp", "120"] == 1
    assert tallied(ledger, NOBODY, by[1])["flagged", "no"] == 1
    assert tallied(ledger, *by)["agree_flagged", "only_primary"] == 1


def test_a_header_that_says_something_new_each_time_does_not_fill_the_ledger(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("node.ledger.traits.MOST_BINS", 4)
    for n in range(9):
        report(ledger, store(ledger, f"1.2.{n}"), observed(f"kernel {n}", shadowed=False))
    kernels = {name: n for (trait, name), n in tallied(ledger).items() if trait == "kernel"}
    assert len(kernels) == 4 + 1
    assert kernels[OTHER] == 5


def test_workers_that_report_at_the_same_time_count_every_series(ledger: Ledger) -> None:
    held = [claim(ledger, store(ledger, f"1.2.{n}")) for n in range(24)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda one: report_claimed(ledger, one), held))
    assert tallied(ledger) == {("kernel", "H31s"): 24, ("kvp", "120"): 24}
    assert len(ledger.due_shadows()) == 24


def test_days_are_told_apart_and_added_up(ledger: Ledger, clock: Clock) -> None:
    for n in range(3):
        report(ledger, store(ledger, f"1.2.{n}"))
        clock.pass_s(DAY_S)
    first = int((clock.now - 3 * DAY_S) // DAY_S)
    model_id = ledger.model_id(FIRST)
    found = {
        (tally.day, tally.trait): (tally.series, tally.total)
        for tally in ledger.daily(first, first + 1, model_id, NOBODY, [""])
    }
    assert found[first, "maximum_any"] == found[first + 1, "maximum_any"] == (1, 0.7)
    assert (first + 2, "maximum_any") not in found
    assert tallied(ledger)["kvp", "120"] == 3


def test_series_that_are_forgotten_stay_counted(ledger: Ledger, clock: Clock) -> None:
    revision = report(ledger, store(ledger, "1.2.3"))
    ledger.sent([(delivery, None) for delivery in ledger.due_deliveries("pacs")])
    rule = RetentionRule(dict.fromkeys(ENDED, clock.now + 1), frozenset())
    for kept in Kept:
        (ended,), _ = ledger.removable(kept, rule, Mark(), 10)
        assert ledger.remove(kept, ended, rule, "old")
    assert ledger.forget(ended, rule)
    assert ledger.shadow_of(revision.id) is None
    assert tallied(ledger)["kvp", "120"] == 1
    assert ledger.due_shadows() == []


# -- the shadow ----------------------------------------------------------------------


def test_without_a_second_model_nothing_waits(ledger: Ledger) -> None:
    revision = report(ledger, store(ledger, "1.2.3"), observed(shadowed=False))
    assert ledger.due_shadows() == []
    assert ledger.shadow_of(revision.id) is None


def test_what_the_shadow_says_stands_beside_what_was_reported(ledger: Ledger) -> None:
    revision = report(ledger, store(ledger, "1.2.3"))
    assert judge(ledger, waiting(ledger))
    found = ledger.shadow_of(revision.id)
    assert found is not None
    assert (found.state, found.primary, found.judge) == (ShadowState.JUDGED, FIRST, SECOND)
    assert (found.primary_maxima, found.primary_flagged) == (SAID, ("any",))
    assert (found.maxima, found.flagged) == (OTHERS, ())
    by = ledger.model_id(FIRST), ledger.model_id(SECOND)
    assert [s.id for s in ledger.judged_by_both(*by, 0, 10)] == [found.id]
    assert tallied(ledger, *by)["agree_any", "only_primary"] == 1
    # The series itself is as it was.
    after = ledger.revision(revision.id)
    assert after == revision
    assert [item.kind for item in ledger.results(revision)] == ["sr"]
    assert len(ledger.deliveries(revision)) == 1


def test_of_many_workers_one_judges(ledger: Ledger) -> None:
    report(ledger, store(ledger, "1.2.3"))
    (due,) = ledger.due_shadows()
    claims = [ledger.claim_shadow(due, 30) for _ in range(3)]
    assert [found is not None for found in claims] == [True, False, False]


def test_a_worker_of_the_shadow_that_died_is_taken_from_and_its_late_answer_does_not_count(
    ledger: Ledger, clock: Clock
) -> None:
    report(ledger, store(ledger, "1.2.3"))
    dead = waiting(ledger)
    assert ledger.take_back_shadows(3) == 0
    clock.pass_s(31)
    assert ledger.take_back_shadows(3) == 1
    other = waiting(ledger)
    assert not judge(ledger, dead)
    assert not ledger.extend_shadow(dead, 30)
    assert not ledger.fail_shadow(dead, "late")
    assert judge(ledger, other)
    by = ledger.model_id(FIRST), ledger.model_id(SECOND)
    assert sum(n for (t, _), n in tallied(ledger, *by).items() if t == "agree_any") == 1


def test_what_kills_its_workers_again_and_again_has_failed_and_can_be_tried_again(
    ledger: Ledger, clock: Clock
) -> None:
    revision = report(ledger, store(ledger, "1.2.3"))
    for _ in range(3):
        waiting(ledger)
        clock.pass_s(31)
        assert ledger.take_back_shadows(3) == 1
    found = ledger.shadow_of(revision.id)
    assert found is not None
    assert (found.state, found.attempts) == (ShadowState.FAILED, 3)
    assert ledger.shadows_standing()[ShadowState.FAILED] == 1
    assert ledger.retry_shadows() == 1
    assert judge(ledger, waiting(ledger))


def test_who_gives_way_has_not_tried(ledger: Ledger) -> None:
    report(ledger, store(ledger, "1.2.3"))
    for _ in range(5):
        assert ledger.yield_shadow(waiting(ledger), None, 0, counts=False)
    assert waiting(ledger).attempts == 1


def test_the_primary_is_busy_while_a_series_waits_for_it_or_is_judged(ledger: Ledger) -> None:
    assert not ledger.is_primary_busy()
    revision = store(ledger, "1.2.3")
    assert not ledger.is_primary_busy()
    assert ledger.ready(revision, [])
    assert ledger.is_primary_busy()
    report(ledger, revision)
    assert not ledger.is_primary_busy()


def test_what_is_said_after_the_results_were_removed_is_not_recorded(
    ledger: Ledger, clock: Clock
) -> None:
    revision = report(ledger, store(ledger, "1.2.3"))
    held = waiting(ledger)
    ledger.sent([(delivery, None) for delivery in ledger.due_deliveries("pacs")])
    rule = RetentionRule(dict.fromkeys(ENDED, clock.now + 1), frozenset())
    (ended,), _ = ledger.removable(Kept.RESULTS, rule, Mark(), 10)
    assert ledger.remove(Kept.RESULTS, ended, rule, "old")
    assert not judge(ledger, held)
    found = ledger.shadow_of(revision.id)
    assert found is not None
    assert found.state is ShadowState.JUDGING  # its worker ends it
    assert tallied(ledger, ledger.model_id(FIRST), ledger.model_id(SECOND)) == {}


def test_a_clock_that_was_set_back_lets_the_shadow_wait_no_longer(
    ledger: Ledger, clock: Clock
) -> None:
    report(ledger, store(ledger, "1.2.3"))
    clock.pass_s(-86_400)
    assert ledger.due_shadows() == []
    assert ledger.straighten_shadows(60) == 1
    assert judge(ledger, waiting(ledger))


def test_a_judge_is_entered_once_whoever_asks_first(ledger: Ledger) -> None:
    ids = Counter(ledger.model_id(item) for item in (FIRST, SECOND, FIRST))
    assert sorted(ids.values()) == [1, 2]
    with ledger.reading() as connection:
        assert (
            connection.execute(sa.select(sa.func.count()).select_from(schema.model)).scalar() == 2
        )


def test_numbers_that_no_scanner_makes_hold_no_report_up(ledger: Ledger) -> None:
    for n, value in enumerate((5.0, 1e308, 1e308, -1e308)):
        told = Observed((THICKNESS.count(value),), (), is_shadowed=False)
        report(ledger, store(ledger, f"1.2.{n}"), told)
    assert tallied(ledger) == {("slice_thickness_mm", "5"): 1, ("slice_thickness_mm", ""): 3}


def test_of_days_the_earliest_is_forgotten_first_and_no_other(ledger: Ledger, clock: Clock) -> None:
    first = int(clock.now // DAY_S)
    for n in range(4):
        report(ledger, store(ledger, f"1.2.{n}"))
        clock.pass_s(DAY_S)

    def days() -> set[int | None]:
        found = ledger.daily(first, first + 9, ledger.model_id(FIRST), NOBODY, [])
        return {tally.day for tally in found}

    assert ledger.forget_traits(first + 1, first + 2)
    assert days() == {first, first + 2, first + 3}
    assert ledger.forget_traits(first + 1, first + 2)
    assert not ledger.forget_traits(first + 1, first + 2)
    assert days() == {first, first + 3}
