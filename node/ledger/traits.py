"""Traits of series are counted by day: what came, what each judge said, how far two agreed."""

import math
from collections.abc import Collection, Iterable
from dataclasses import dataclass

import sqlalchemy as sa

from node.ledger import schema
from node.ledger.database import DAY_S, Database

_tally = schema.trait_tally

NOBODY = 0
"""Stands for a judge where a tally is of none."""

MOST_BINS = 100
"""Bins of a trait on a day; headers may say something new each time, and go into `OTHER`."""

OTHER = "other"


@dataclass(frozen=True)
class TraitCount:
    """A trait of a series, to be counted.

    Parameters
    ----------
    trait : str
    bin : str
        What is the same for a comparison.
    value : float
        The number itself, for means; 0 where it is none.
    """

    trait: str
    bin: str
    value: float = 0.0


@dataclass(frozen=True)
class TraitTally:
    """How many series had a trait in a bin.

    Parameters
    ----------
    primary_id, shadow_id : int
        Of judges; `NOBODY` for none.
    trait, bin : str
    series : int
    total : float
        Sum of their values.
    day : int, optional
        Days since 1970, UTC; None for all days that were asked for.
    """

    primary_id: int
    shadow_id: int
    trait: str
    bin: str
    series: int
    total: float
    day: int | None = None


class Traits(Database):
    """How many series had which trait."""

    def count_traits(
        self,
        connection: sa.Connection,
        counts: Iterable[TraitCount],
        primary_id: int,
        shadow_id: int,
        now: float,
    ) -> None:
        """Count traits of one series today, as of these judges; `NOBODY` for none."""
        day = math.floor(now / DAY_S)
        key = {"day": day, "primary_id": primary_id, "shadow_id": shadow_id}
        there = connection.execute(
            sa.select(_tally.c.trait, _tally.c.bin).where(
                *(_tally.c[name] == value for name, value in key.items())
            )
        ).all()
        bins: dict[str, set[str]] = {}
        for trait, name in there:
            bins.setdefault(trait, set()).add(name)
        rows = []
        for count in counts:
            known = bins.get(count.trait, set())
            name = count.bin if count.bin in known or len(known) < MOST_BINS else OTHER
            rows.append(
                {**key, "trait": count.trait, "bin": name, "series": 1, "total": count.value}
            )
        if not rows:
            return
        entered = self.insert(_tally)
        entered = entered.on_conflict_do_update(
            index_elements=list(_tally.primary_key),
            set_={
                "series": _tally.c.series + 1,
                "total": _tally.c.total + entered.excluded.total,
            },
        )
        # In one order: of two that count at the same time none waits for the other in a circle.
        connection.execute(entered, sorted(rows, key=lambda row: (row["trait"], row["bin"])))

    def trait_tallies(
        self, first: int, last: int, primary_id: int, shadow_id: int
    ) -> list[TraitTally]:
        """What was counted on some days, all of them together.

        Parameters
        ----------
        first, last : int
            Days since 1970, UTC; both count.
        primary_id, shadow_id : int
            Of judges; what belongs to none is counted too.
        """
        columns = (_tally.c.primary_id, _tally.c.shadow_id, _tally.c.trait, _tally.c.bin)
        with self.reading() as connection:
            rows = connection.execute(
                sa.select(
                    *columns,
                    sa.func.sum(_tally.c.series).label("series"),
                    sa.func.sum(_tally.c.total).label("total"),
                )
                .where(*_on_days(first, last, primary_id, shadow_id))
                .group_by(*columns)
            ).all()
        return [
            TraitTally(
                row.primary_id, row.shadow_id, row.trait, row.bin, int(row.series), row.total
            )
            for row in rows
        ]

    def forget_traits(self, first: int, last: int) -> bool:
        """Delete what was counted on the earliest of some days; whether there was one.

        One day is as much as a writer may be kept waiting for.

        Parameters
        ----------
        first, last : int
            Days since 1970, UTC; both count.
        """
        earliest = sa.select(sa.func.min(_tally.c.day)).where(_tally.c.day.between(first, last))
        with self.reading() as connection:
            day: int | None = connection.execute(earliest).scalar()
        if day is None:
            return False
        with self.engine.begin() as connection:
            connection.execute(sa.delete(_tally).where(_tally.c.day == day))
        return True

    def daily(
        self, first: int, last: int, primary_id: int, shadow_id: int, ignored: Collection[str]
    ) -> list[TraitTally]:
        """What was counted on each of some days, the bins of a trait together.

        Parameters
        ----------
        first, last, primary_id, shadow_id : int
            As of `trait_tallies`.
        ignored : collection of str
            Bins that do not count.
        """
        columns = (_tally.c.day, _tally.c.primary_id, _tally.c.shadow_id, _tally.c.trait)
        with self.reading() as connection:
            rows = connection.execute(
                sa.select(
                    *columns,
                    sa.func.sum(_tally.c.series).label("series"),
                    sa.func.sum(_tally.c.total).label("total"),
                )
                .where(*_on_days(first, last, primary_id, shadow_id), _tally.c.bin.not_in(ignored))
                .group_by(*columns)
                .order_by(_tally.c.day)
            ).all()
        return [
            TraitTally(
                row.primary_id, row.shadow_id, row.trait, "", int(row.series), row.total, row.day
            )
            for row in rows
        ]


def _on_days(
    first: int, last: int, primary_id: int, shadow_id: int
) -> tuple[sa.ColumnElement[bool], ...]:
    return (
        _tally.c.day.between(first, last),
        _tally.c.primary_id.in_([NOBODY, primary_id]),
        _tally.c.shadow_id.in_([NOBODY, shadow_id]),
    )
