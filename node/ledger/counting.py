"""How much is under way, and what has ended lately: asked of indexes alone."""

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from node.ledger import schema
from node.ledger.database import Database, latest, utc
from node.ledger.records import DeliveryState, Priority, State

_revision, _instance, _delivery = schema.revision, schema.instance, schema.delivery

_WAITING = schema.stands(_delivery, DeliveryState.PENDING)
_GIVEN_UP = schema.stands(_delivery, DeliveryState.FAILED)
_MOVING = (State.RECEIVING, State.READY, State.ANALYZING)
_ENDS = (State.REPORTED, State.DELIVERED, State.SKIPPED, State.FAILED)


@dataclass(frozen=True)
class Waiting:
    """Revisions that are ready and wait for a worker.

    Parameters
    ----------
    revisions : int
    since : datetime
        When the first of them became ready, UTC.
    """

    revisions: int
    since: datetime


@dataclass(frozen=True)
class Standing:
    """Revisions that are in a state now.

    Parameters
    ----------
    state : State
    revisions : int
    since : datetime, optional
        When the first of them came into it, UTC; None if there is none.
    """

    state: State
    revisions: int
    since: datetime | None


class Counting(Database):
    """Counts of what is under way now, and of what ended in a time."""

    def standing(self) -> dict[State, Standing]:
        """How many revisions are under way or have failed, by their state.

        `State.REPORTED` are those of which something is still to be sent or was given up. What
        has ended is not counted, for that grows without end: see `ended_since`.
        """
        moving = (
            sa.select(_revision.c.state, sa.func.count(), sa.func.min(_revision.c.updated_at))
            .where(_revision.c.due_at.is_not(None), _revision.c.state.in_(_MOVING))
            .group_by(_revision.c.state)
        )
        failed = sa.select(
            sa.literal(State.FAILED.value), sa.func.count(), sa.func.min(_revision.c.updated_at)
        ).where(schema.stands(_revision, State.FAILED))
        unsent = sa.union(
            *(sa.select(_delivery.c.revision_id).where(which) for which in (_WAITING, _GIVEN_UP))
        ).subquery()
        reported = (
            sa.select(
                sa.literal(State.REPORTED.value),
                sa.func.count(),
                sa.func.min(_revision.c.updated_at),
            )
            .select_from(unsent)
            .join(_revision, _revision.c.id == unsent.c.revision_id)
            .where(_revision.c.state == State.REPORTED)
        )
        found = {s: Standing(s, 0, None) for s in (*_MOVING, State.REPORTED, State.FAILED)}
        with self.reading() as connection:
            for question in (moving, reported, failed):
                for state, revisions, since in connection.execute(question):
                    found[State(state)] = Standing(
                        State(state), revisions, None if since is None else utc(since)
                    )
        return found

    def waiting(self) -> dict[str, Waiting]:
        """Which revisions wait for a worker, by the name of their priority."""
        asked = (
            sa.select(_revision.c.priority, sa.func.count(), sa.func.min(_revision.c.updated_at))
            .where(schema.stands(_revision, State.READY))
            .group_by(_revision.c.priority)
        )
        with self.reading() as connection:
            return {
                str(Priority(rule)): Waiting(revisions, utc(since))
                for rule, revisions, since in connection.execute(asked)
            }

    def ended_since(self, at: float) -> dict[State, int]:
        """How many revisions came to where they are now since a time, by their state.

        Parameters
        ----------
        at : float
            Seconds since 1970.
        """
        counted = (
            sa.select(_revision.c.state, sa.func.count())
            .where(_revision.c.updated_at >= at, _revision.c.state.in_(_ENDS))
            .group_by(_revision.c.state)
        )
        found = dict.fromkeys(_ENDS, 0)
        with self.reading() as connection:
            found.update({State(state): count for state, count in connection.execute(counted)})
        return found

    def unsent_since(self) -> dict[str, datetime]:
        """Since when the first object that waits for each destination has been there, UTC."""
        first = (
            sa.select(_delivery.c.destination, sa.func.min(_delivery.c.id).label("id"))
            .where(_WAITING)
            .group_by(_delivery.c.destination)
            .subquery()
        )
        asked = (
            sa.select(first.c.destination, _revision.c.updated_at)
            .join(_delivery, _delivery.c.id == first.c.id)
            .join(_revision, _revision.c.id == _delivery.c.revision_id)
        )
        with self.reading() as connection:
            return {name: utc(since) for name, since in connection.execute(asked)}

    def last_received(self) -> datetime | None:
        """When the last image came that was new, UTC."""
        newest = sa.select(_instance.c.received_at).where(_instance.c.id == latest(_instance.c.id))
        with self.reading() as connection:
            at = connection.execute(newest).scalar()
        return None if at is None else utc(at)

    def check_writable(self) -> None:
        """Take the lock that a change takes, and change nothing.

        Raises
        ------
        sqlalchemy.exc.DBAPIError
            If the database is away or takes no changes.
        """
        with self.engine.begin() as connection:
            connection.execute(sa.update(schema.destination).where(sa.false()).values(failures=0))
