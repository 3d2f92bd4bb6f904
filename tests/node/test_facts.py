"""What rules go by."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from node.facts import SeriesFacts
from node.settings import Condition

FACTS = SeriesFacts(("ED_CT1",), ("HEAD 5mm", "CT stroke"), ("Emergency Department",))


def header(**values: str) -> Dataset:
    dataset = Dataset()
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    return dataset


def test_facts_are_what_senders_and_headers_say_each_once() -> None:
    headers = [
        header(SeriesDescription="HEAD", StationName="CT1"),
        header(SeriesDescription="HEAD", StudyDescription="", RequestingService="ED"),
    ]

    facts = SeriesFacts.of(["CT1", "CT1", "PACS"], headers)

    assert facts == SeriesFacts(("CT1", "PACS"), ("HEAD",), ("ED", "CT1"))


def test_headers_that_cannot_be_read_say_nothing() -> None:
    assert SeriesFacts.of([], [header(StationName="\0"), Dataset()]) == SeriesFacts()


def test_a_condition_without_keys_holds_of_everything() -> None:
    assert FACTS.meet(Condition())
    assert SeriesFacts().meet(Condition())


@pytest.mark.parametrize(
    ("holds", "keys"),
    [
        (True, {"senders": ["ED*"]}),
        (True, {"senders": ["OTHER", "ED_CT1"]}),
        (False, {"senders": ["ed*"]}),
        (False, {"senders": ["ED"]}),
        (True, {"descriptions": ["STROKE"]}),
        (False, {"descriptions": [r"\bstr\b"]}),
        (True, {"places": ["^emergency"]}),
        (False, {"places": ["ward"]}),
        (True, {"senders": ["ED*"], "descriptions": ["head"], "places": ["emerg"]}),
        (False, {"senders": ["ED*"], "descriptions": ["knee"], "places": ["emerg"]}),
    ],
)
def test_all_keys_of_a_condition_have_to_hold(holds: bool, keys: dict[str, list[str]]) -> None:
    assert FACTS.meet(Condition(**keys)) is holds


@given(st.lists(st.text(max_size=20), max_size=4))
def test_who_sent_it_is_like_itself(senders: list[str]) -> None:
    facts = SeriesFacts.of(senders, [])
    if senders and not set("[]*?") & set(senders[0]):
        assert facts.meet(Condition(senders=(senders[0],)))
    assert not facts.meet(Condition(senders=("NOBODY-IS-CALLED-SO-HERE",)))
