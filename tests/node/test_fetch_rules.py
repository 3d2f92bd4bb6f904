"""Which series of a PACS is fetched, when, and what counts as all of it."""

from datetime import UTC, date, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.fetch.pace import Pace
from node.fetch.poller import LONGEST_GAP, questions
from node.fetch.rules import (
    PATIENCE,
    Account,
    Missing,
    account,
    after_look,
    as_count,
    has_all,
    is_sound,
    missing,
    why_not,
)
from node.fetch.source import Fetched, FoundSeries
from node.ledger import Fetch, FetchState, Held
from node.settings import EligibilitySettings, SourceSettings

NOW = 1_790_000_000.0


def source(**keys: Any) -> SourceSettings:
    return SourceSettings(name="pacs", ae_title="PACS", host="127.0.0.1", port=104, **keys)


def series(**told: Any) -> FoundSeries:
    return FoundSeries("1.2", "1.2.3", **({"modality": "CT", "images": 30} | told))


def refusal(rules: SourceSettings | None = None, **told: Any) -> str | None:
    return why_not(series(**told), rules or source(), EligibilitySettings())


# -- what is wanted -------------------------------------------------------------


@pytest.mark.parametrize(
    "told",
    [
        {"description": "CT HEAD PLAIN"},
        {"study_description": "Cranial CT"},
        {"body_part": "BRAIN"},
        {"body_part": "HEADNECK", "description": "Head and neck"},
        {"description": "5.0 J30s"},
        {},
    ],
)
def test_what_speaks_of_a_head_or_of_nothing_is_fetched(told: dict[str, Any]) -> None:
    assert refusal(**told) is None


@pytest.mark.parametrize(
    "told",
    [
        {"body_part": "CHEST"},
        {"description": "CT Abdomen"},
        {"study_description": "CT Thorax"},
        {"protocol_name": "Knee"},
    ],
)
def test_what_speaks_of_another_part_alone_is_not(told: dict[str, Any]) -> None:
    assert refusal(**told) == "its description is of another part of the body"


def test_another_modality_is_not_fetched_and_one_that_is_not_told_is() -> None:
    assert refusal(modality="MR") == "its modality is not CT"
    assert refusal(modality="") is None


def test_words_of_the_source_take_the_place_of_those_of_eligibility() -> None:
    rules = source(descriptions=("stroke",), body_parts=("^head$",))
    assert refusal(rules, description="STROKE protocol") is None
    assert refusal(rules, study_description="Stroke") is None
    assert refusal(rules, body_part="HEAD", description="something") is None
    assert refusal(rules, description="CT Head") is not None
    assert refusal(rules) is None, "what says nothing is judged by its pixels"


def test_the_number_of_images_decides_where_it_is_told() -> None:
    rules = source(min_images=10, max_images=100)
    assert refusal(rules, images=9) == "it has fewer images than min_images (10)"
    assert refusal(rules, images=10) is None
    assert refusal(rules, images=101) == "it has more images than max_images (100)"
    assert refusal(rules, images=None) is None


def test_a_refusal_quotes_nothing_of_the_answer() -> None:
    assert "SMITH" not in str(refusal(description="CT CHEST of MRS SMITH"))


def test_a_text_without_end_is_looked_at_as_far_as_any() -> None:
    assert refusal(description="x" * 100_000 + " chest") is None


# -- what cannot be -------------------------------------------------------------


@pytest.mark.parametrize("uid", ["", "*", "1.2.*", "1.2\\1.3", "../1", "1" * 65, "1.2 ", "é"])
def test_identifiers_that_are_none_are_not_asked_for(uid: str) -> None:
    assert not is_sound(FoundSeries(uid, "1.2"))
    assert not is_sound(FoundSeries("1.2", uid))


@pytest.mark.parametrize(
    ("value", "count"),
    [("30", 30), (" 30 ", 30), ("+30", 30), ("0", 0), ("1000001", None), ("9" * 400, None)]
    + [(value, None) for value in ("", "-1", "3.5", "abc", "1e3", "٣", "1\\2")],
)
def test_a_count_is_a_number_that_can_be(value: str, count: int | None) -> None:
    assert as_count(value) == count


@given(st.text())
def test_no_answer_makes_a_count_that_cannot_be(value: str) -> None:
    found = as_count(value)
    assert found is None or 0 <= found <= 1_000_000


# -- when it is fetched ---------------------------------------------------------


def row(state: FetchState = FetchState.WANTED, **values: Any) -> Fetch:
    given = {"counted": 30, "still": 0, "attempts": 0, "next_try_at": None, "detail": None}
    return Fetch(
        id=1,
        source="pacs",
        study_instance_uid="1.2",
        series_instance_uid="1.2.3",
        state=state,
        version=0,
        updated_at=datetime.fromtimestamp(NOW, UTC),
        **(given | values),
    )


LATER = NOW + PATIENCE * 60
"""When a series is fetched that no poll sees any more."""


def look(seen: Fetch | None, images: int | None, still_polls: int = 1) -> Any:
    return after_look(seen, images, None, source(still_polls=still_polls, poll_s=60), NOW)


def test_a_series_is_fetched_once_its_count_has_stood_still() -> None:
    first = look(None, 30)
    assert (first["state"], first["still"], first["next_try_at"]) == (FetchState.WANTED, 0, LATER)
    second = look(row(), 30)
    assert (second["still"], second["next_try_at"]) == (1, NOW)


def test_a_series_that_grows_waits_on() -> None:
    grown = look(row(), 31)
    assert (grown["counted"], grown["still"], grown["next_try_at"]) == (31, 0, LATER)
    grown = look(row(next_try_at=datetime.fromtimestamp(NOW, UTC)), 31)
    assert grown["next_try_at"] == LATER


def test_two_still_polls_are_waited_for_where_that_is_asked() -> None:
    assert look(row(still=0), 30, still_polls=2)["next_try_at"] == LATER
    assert look(row(still=1), 30, still_polls=2)["next_try_at"] == NOW
    assert look(None, 30, still_polls=0)["next_try_at"] == NOW


def test_a_source_that_does_not_count_is_asked_twice_all_the_same() -> None:
    assert look(None, None)["next_try_at"] == LATER
    assert look(row(counted=None), None)["next_try_at"] == NOW


@pytest.mark.parametrize("state", [FetchState.FETCHED, FetchState.KNOWN, FetchState.FAILED])
def test_what_has_ended_is_fetched_again_only_when_more_is_there(state: FetchState) -> None:
    assert look(row(state), 30) is None
    assert look(row(state), 29) is None
    assert look(row(state), None) is None
    assert look(row(state), 31)["state"] is FetchState.WANTED


def test_what_is_being_fetched_is_left_to_who_does_it() -> None:
    assert look(row(FetchState.FETCHING), 31) is None


def test_what_waits_for_its_next_try_keeps_its_time() -> None:
    later = datetime.fromtimestamp(NOW + 60, UTC)
    assert look(row(still=1, next_try_at=later), 30) is None
    assert look(row(attempts=1, next_try_at=later), 30) is None
    assert look(row(next_try_at=later), 30)["next_try_at"] == NOW, "for its count alone"


def test_a_refusal_is_noted_once_and_lifted_when_it_holds_no_more() -> None:
    refused = after_look(None, 5, "too few", source(), NOW)
    assert refused is not None
    assert (refused["state"], refused["detail"]) == (FetchState.REFUSED, "too few")
    refused_before = row(FetchState.REFUSED, detail="too few")
    assert after_look(refused_before, 5, "too few", source(), NOW) is None
    assert look(row(FetchState.REFUSED, detail="too few"), 30)["state"] is FetchState.WANTED
    assert after_look(row(FetchState.FETCHED), 31, "too many", source(), NOW) is None


# -- what the ledger has --------------------------------------------------------


def held(count: int, receiving_since: float | None = None) -> Held:
    return Held(uids(count), receiving_since)


def uids(count: int) -> frozenset[str]:
    return frozenset(f"1.2.3.{n}" for n in range(count))


def test_identifiers_tell_what_is_there_better_than_counts() -> None:
    assert has_all(held(30), 30, None)
    assert not has_all(held(30), 30, frozenset({"1.9"}))
    assert has_all(held(30), 31, uids(30))
    assert not has_all(held(0), 0, None)
    assert has_all(held(0), 1, frozenset()), "it has nothing that the node takes"
    assert not has_all(held(30), None, None)


def test_what_is_being_sent_is_waited_for() -> None:
    until = datetime.fromtimestamp(NOW + 20, UTC)
    assert missing(held(10, NOW - 10), 30, None, NOW, 30) == Missing(True, until)
    assert missing(held(10, NOW - 40), 30, None, NOW, 30) == Missing(True)
    assert missing(held(30, NOW - 10), 30, None, NOW, 30) == Missing(False)


def test_a_source_that_says_success_and_gives_nothing_is_not_believed() -> None:
    found = account(held(0), 30, None, Fetched(30))
    assert (found.is_whole, found.detail) == (False, "30 of 30 images did not come")
    assert account(held(0), None, None, Fetched(0)).detail == "nothing came"


def test_half_a_series_is_told_with_what_the_source_remarks() -> None:
    found = account(held(20), 30, None, Fetched(20, 10, ("10 images could not be sent",)))
    assert not found.is_whole
    assert found.detail == "10 of 30 images did not come: 10 images could not be sent"


def test_a_count_that_is_wrong_is_told_and_holds_nothing_up() -> None:
    found = account(held(30), 31, uids(30), Fetched(30))
    assert found.is_whole
    assert found.detail == "it counts 31 images, and has 30 that the node takes"


def test_failures_that_are_of_no_consequence_are_a_remark() -> None:
    found = account(held(30), 30, None, Fetched(29, 1, ("1 images could not be sent",)))
    assert found.is_whole
    assert found.detail == "1 images could not be sent"
    assert not account(held(29), None, None, Fetched(29, 1)).is_whole


def test_what_was_broken_off_is_whole_only_where_that_can_be_told() -> None:
    broken = Fetched(0, remarks=("PACS breaks off",), is_all=False)
    assert account(held(30), 30, None, broken) == Account(True, "PACS breaks off")
    assert account(held(29), None, None, broken) == Account(False, "PACS breaks off")
    lacking = account(held(29), 30, None, broken)
    assert lacking.detail == "1 of 30 images did not come: PACS breaks off"


# -- which days are asked for ---------------------------------------------------


def asked(look_back_days: int, answered: date | None) -> list[tuple[str, str]]:
    found = questions(date(2026, 3, 20), look_back_days, answered)
    return [(f"{query.first:%m-%d}", f"{query.last:%m-%d}") for query in found]


def test_a_poll_asks_for_the_last_days_and_tomorrow() -> None:
    assert asked(1, None) == [("03-19", "03-21")]
    assert asked(1, date(2026, 3, 20)) == [("03-19", "03-21")]
    assert asked(0, date(2026, 3, 21)) == [("03-20", "03-21")], "the clock was set back"


def test_the_first_poll_after_midnight_asks_for_the_evening_too() -> None:
    assert asked(0, date(2026, 3, 19)) == [("03-19", "03-19"), ("03-20", "03-21")]


def test_days_on_which_nobody_asked_are_made_up_for_one_by_one() -> None:
    days = [("03-16", "03-16"), ("03-17", "03-17"), ("03-18", "03-18"), ("03-19", "03-21")]
    assert asked(1, date(2026, 3, 17)) == days


def test_a_source_that_was_away_for_months_is_not_polled_for_all_of_them() -> None:
    found = asked(1, date(2025, 1, 1))
    assert (found[0][0], len(found)) == ("03-05", LONGEST_GAP.days + 1)


# -- how fast -------------------------------------------------------------------


class Waited:
    """Stands for the event that ends it: to wait moves the clock."""

    def __init__(self) -> None:
        self.now = 0.0

    def wait(self, seconds: float) -> bool:
        self.now += seconds
        return False


def test_images_take_their_time_on_average() -> None:
    time = Waited()
    pace = Pace(images_per_second=10, clock=lambda: time.now)
    for _ in range(50):
        pace.spend(1, time)  # type: ignore[arg-type]
    assert time.now == pytest.approx(5)
    time.now += 100
    pace.spend(1, time)  # type: ignore[arg-type]
    assert time.now == pytest.approx(105.1), "what was not used is not saved up"


def test_series_begin_no_more_often_than_they_may() -> None:
    time = Waited()
    pace = Pace(series_per_hour=60, clock=lambda: time.now)
    for _ in range(3):
        pace.begin_series(time)  # type: ignore[arg-type]
    assert time.now == pytest.approx(120)
    fast = Pace(clock=lambda: time.now)
    fast.begin_series(time)  # type: ignore[arg-type]
    fast.spend(1000, time)  # type: ignore[arg-type]
    assert time.now == pytest.approx(120)
