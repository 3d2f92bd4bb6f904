"""How often model and readers say the same: counted by model, day and finding."""

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import asdict, astuple, dataclass, field, fields

import sqlalchemy as sa

from ml.labels import LABELS, Label
from node.ledger import schema
from node.ledger.database import DAY_S, Database

_tally = schema.tally


@dataclass(frozen=True)
class Tally:
    """How many series a model judged for a finding, and how that compares with readers.

    Parameters
    ----------
    series, flagged : int
        All that were judged, and of these the flagged ones.
    true_positives, false_positives, true_negatives, false_negatives : int
        Those of which a reader says something of the finding.
    """

    series: int = 0
    flagged: int = 0
    true_positives: int = 0
    false_positives: int = 0
    true_negatives: int = 0
    false_negatives: int = 0

    def __add__(self, other: "Tally") -> "Tally":
        return Tally(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))

    def __sub__(self, other: "Tally") -> "Tally":
        return Tally(*(a - b for a, b in zip(astuple(self), astuple(other), strict=True)))


Key = tuple[int, int, str]
"""Model, day, finding."""


def counted(
    model_id: int, judged_at: float, flagged: Collection[str], findings: Mapping[str, bool] | None
) -> dict[Key, Tally]:
    """What one series adds to the counts.

    Parameters
    ----------
    model_id : int
    judged_at : float
        Seconds since 1970.
    flagged : collection of str
    findings : mapping of str to bool, optional
        As its newest reading says; None where there is none.
    """
    day, said = int(judged_at // DAY_S), findings or {}
    return {
        (model_id, day, label.value): Tally(
            1,
            label in flagged,
            label in flagged and said.get(label) is True,
            label in flagged and said.get(label) is False,
            label not in flagged and said.get(label) is False,
            label not in flagged and said.get(label) is True,
        )
        for label in LABELS
    }


@dataclass
class Changes:
    """What is to be added to the counts."""

    by_key: dict[Key, Tally] = field(default_factory=lambda: defaultdict(Tally))

    def add(self, counts: Mapping[Key, Tally]) -> None:
        """Count these."""
        for key, tally in counts.items():
            self.by_key[key] += tally

    def take(self, counts: Mapping[Key, Tally]) -> None:
        """Count these no more."""
        for key, tally in counts.items():
            self.by_key[key] -= tally


_KEYS = ("model_id", "day", "finding")
_COUNTS = tuple(count.name for count in fields(Tally))

# The same in both databases; put together by SQLAlchemy it would be so at every execution.
_ADD = sa.text(
    f"INSERT INTO tally ({', '.join(_KEYS + _COUNTS)}) "  # noqa: S608
    f"VALUES ({', '.join(f':{name}' for name in _KEYS + _COUNTS)}) "
    f"ON CONFLICT ({', '.join(_KEYS)}) DO UPDATE SET "
    + ", ".join(f"{name} = tally.{name} + excluded.{name}" for name in _COUNTS)
)


def count(connection: sa.Connection, changes: Changes) -> None:
    """Add to the counts, in the order of their keys."""
    rows = [
        dict(zip(_KEYS, key, strict=True)) | asdict(change)
        for key, change in sorted(changes.by_key.items())
        if change != Tally()
    ]
    if rows:
        connection.execute(_ADD, rows)


class Tallies(Database):
    """What was counted is added up."""

    def tallies(self, model_id: int, since_day: int = 0) -> dict[Label, Tally]:
        """The counts of each finding, of what a model judged since a day."""
        sums = [sa.func.coalesce(sa.func.sum(_tally.c[name]), 0) for name in _COUNTS]
        asked = (
            sa.select(_tally.c.finding, *sums)
            .where(_tally.c.model_id == model_id, _tally.c.day >= since_day)
            .group_by(_tally.c.finding)
        )
        with self.reading() as connection:
            found = {
                Label(finding): Tally(*map(int, counts))
                for finding, *counts in connection.execute(asked)
            }
        return {label: found.get(label, Tally()) for label in LABELS}

    def days(self, model_id: int, finding: Label, since_day: int) -> dict[int, Tally]:
        """The counts of a finding for each day on which a model judged something."""
        asked = (
            sa.select(_tally.c.day, *(_tally.c[name] for name in _COUNTS))
            .where(
                _tally.c.model_id == model_id,
                _tally.c.day >= since_day,
                _tally.c.finding == finding,
            )
            .order_by(_tally.c.day)
        )
        with self.reading() as connection:
            return {day: Tally(*counts) for day, *counts in connection.execute(asked)}
