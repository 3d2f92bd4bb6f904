"""How long to wait before a failure is tried again."""

from typing import Protocol


class Pauses(Protocol):
    """The settings that say it."""

    @property
    def first_pause_s(self) -> float:
        """After the first failure, seconds."""

    @property
    def longest_pause_s(self) -> float:
        """No pause is longer, seconds."""


def pause_after(failures: int, rules: Pauses, chance: float) -> float:
    """How long to wait after a number of failures, seconds.

    The pauses double up to the longest one; `chance`, from 0 to 1, takes up to
    a quarter off, so that what failed together is not tried again together.
    """
    doubled = rules.first_pause_s * 2.0 ** min(failures - 1, 60)
    return float(min(doubled, rules.longest_pause_s) * (1 - 0.25 * chance))
