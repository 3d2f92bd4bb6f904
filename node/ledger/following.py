"""What is new in the ledger since it was last looked at: steps of revisions, and images."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from node.ledger import schema
from node.ledger.database import Database, latest, some
from node.ledger.records import State, Way

_revision, _event, _instance = schema.revision, schema.event, schema.instance


@dataclass(frozen=True)
class Step:
    """A revision came from one state into another.

    Parameters
    ----------
    id : int
        Of its event.
    before : State, optional
        None for the first state of a revision.
    since : float, optional
        When it came into `before`, seconds since 1970.
    state : State
    at : float
        When it came into `state`, seconds since 1970.
    last_instance_at : float
        When the last image came that counts for it, seconds since 1970.
    priority : str, optional
        The name of the rule that gives it.
    """

    id: int
    before: State | None
    since: float | None
    state: State
    at: float
    last_instance_at: float
    priority: str | None = None


@dataclass(frozen=True)
class Arrival:
    """An image that came in.

    Parameters
    ----------
    id : int
    path : pathlib.Path
        Relative to the spool.
    way : Way, optional
        None where it was found in the spool.
    """

    id: int
    path: Path
    way: Way | None


class Following(Database):
    """Rows are read once, in the order of their ids, a bounded number at a time.

    PostgreSQL gives ids out before it shows the rows: `missed` are ids that were passed over and
    may be there by now.
    """

    def newest_ids(self) -> tuple[int, int]:
        """The newest id of an event and of an image; 0 where there is none."""
        with self.reading() as connection:
            row = connection.execute(sa.select(latest(_event.c.id), latest(_instance.c.id))).one()
        return int(row[0] or 0), int(row[1] or 0)

    def steps(self, after: int, missed: Collection[int], limit: int) -> list[Step]:
        """Steps with an id above `after`, or among some that were missed."""
        earlier = _event.alias()
        before = (
            sa.select(sa.func.max(earlier.c.id))
            .where(earlier.c.revision_id == _event.c.revision_id, earlier.c.id < _event.c.id)
            .correlate(_event)
            .scalar_subquery()
        )
        last = _event.alias()
        asked = (
            sa.select(
                _event.c.id,
                last.c.state.label("before"),
                last.c.at.label("since"),
                _event.c.state,
                _event.c.at,
                _revision.c.last_instance_at,
                _revision.c.priority,
            )
            .join(_revision, _revision.c.id == _event.c.revision_id)
            .outerjoin(last, last.c.id == before)
        )
        return [
            Step(
                row.id,
                None if row.before is None else State(row.before),
                row.since,
                State(row.state),
                row.at,
                row.last_instance_at,
                row.priority,
            )
            for row in self._above(asked, _event.c.id, after, missed, limit)
        ]

    def arrivals(self, after: int, missed: Collection[int], limit: int) -> list[Arrival]:
        """Images with an id above `after`, or among some that were missed."""
        asked = sa.select(_instance.c.id, _instance.c.path, _instance.c.way)
        return [
            Arrival(row.id, Path(row.path), None if row.way is None else Way(row.way))
            for row in self._above(asked, _instance.c.id, after, missed, limit)
        ]

    def _above(
        self,
        asked: sa.Select[Any],
        column: sa.Column[int],
        after: int,
        missed: Collection[int],
        limit: int,
    ) -> list[sa.Row[Any]]:
        found: list[sa.Row[Any]] = []
        with self.reading() as connection:
            for ids in some(sorted(missed)):
                found += connection.execute(asked.where(column.in_(ids)))
            found += connection.execute(asked.where(column > after).order_by(column).limit(limit))
        return found
