"""How long a delivery waits before it is tried again."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.pauses import pause_after
from node.settings import DeliverSettings

RULES = DeliverSettings(first_pause_s=5, longest_pause_s=900)


def test_pauses_double_up_to_the_longest_one() -> None:
    pauses = [pause_after(attempts, RULES, 0) for attempts in range(1, 11)]
    assert pauses == [5, 10, 20, 40, 80, 160, 320, 640, 900, 900]


def test_chance_takes_up_to_a_quarter_off() -> None:
    assert pause_after(4, RULES, 1) == pytest.approx(30)
    assert pause_after(99, RULES, 1) == pytest.approx(675)


@given(attempts=st.integers(1, 10**9), chance=st.floats(0, 1))
def test_no_pause_is_shorter_than_three_quarters_of_the_first_or_longer_than_the_longest(
    attempts: int, chance: float
) -> None:
    assert 0.75 * 5 <= pause_after(attempts, RULES, chance) <= 900
