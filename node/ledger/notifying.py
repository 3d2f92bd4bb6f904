"""What is to be told of the series: planned from their history, and kept until it was taken."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

import sqlalchemy as sa

from node.ledger import schema
from node.ledger.database import MOST_AT_ONCE, Database, utc
from node.ledger.records import Event, Revision, State

_event, _notification = schema.event, schema.notification


class NotificationState(StrEnum):
    """Where a notification is on its way."""

    PENDING = "pending"
    TOLD = "told"
    FAILED = "failed"


@dataclass(frozen=True)
class Untold:
    """A state that a revision came into, of which nobody has decided whether it is told."""

    event_id: int
    revision_id: int
    event: Event


@dataclass(frozen=True)
class Notification:
    """Something to be told by a rule.

    Parameters
    ----------
    id, event_id, revision_id : int
    rule : str
        Its name in the configuration.
    event : Event
    state : NotificationState
    attempts : int
    first_tried_at, next_try_at : datetime, optional
        UTC.
    detail : str, optional
        Why it was not taken.
    """

    id: int
    event_id: int
    revision_id: int
    rule: str
    event: Event
    state: NotificationState
    attempts: int
    first_tried_at: datetime | None
    next_try_at: datetime | None
    detail: str | None


class Notifying(Database):
    """Who is told of what, by rules, and what of it was taken."""

    def untold(self) -> list[Untold]:
        """States that nobody has looked at, oldest first."""
        with self.reading() as connection:
            rows = connection.execute(
                sa.select(_event)
                .where(_event.c.untold.is_not(None))
                .order_by(_event.c.id)
                .limit(MOST_AT_ONCE)
            ).all()
        return [
            Untold(row.id, row.revision_id, Event(utc(row.at), State(row.state), row.detail))
            for row in rows
        ]

    def plan_notifications(self, untold: Untold, rules: Sequence[str]) -> None:
        """Plan that a state is told by rules; by none, it is done with."""
        now = self.clock()
        with self.engine.begin() as connection:
            if rules:
                connection.execute(
                    self.insert(_notification).on_conflict_do_nothing(),
                    [
                        {
                            "event_id": untold.event_id,
                            "rule": rule,
                            "state": NotificationState.PENDING,
                            "attempts": 0,
                            "next_try_at": now,
                        }
                        for rule in rules
                    ],
                )
            connection.execute(
                sa.update(_event).where(_event.c.id == untold.event_id).values(untold=None)
            )

    def due_notifications(self, rule: str, longest_s: float) -> list[Notification]:
        """What is to be told by a rule now, what waits longest first.

        Parameters
        ----------
        rule : str
        longest_s : float
            Nothing waits for longer, seconds: what does was left where the clock was set back.
        """
        next_try_at, now = _notification.c.next_try_at, self.clock()
        return self._notifications(
            sa.and_(
                _notification.c.rule == rule,
                next_try_at.is_not(None),
                sa.or_(next_try_at <= now, next_try_at > now + longest_s),
            ),
            MOST_AT_ONCE,
        )

    def notifications(self, revision: Revision) -> list[Notification]:
        """What was or is to be told of a revision."""
        return self._notifications(_event.c.revision_id == revision.id)

    def untaken_notifications(self) -> list[Notification]:
        """What was tried and not taken, or was given up."""
        is_tried = sa.and_(_notification.c.next_try_at.is_not(None), _notification.c.attempts > 0)
        is_given_up = schema.stands(_notification, NotificationState.FAILED)
        return self._notifications(is_tried) + self._notifications(is_given_up)

    def claim_notification(self, notification: Notification, lease_s: float) -> bool:
        """Begin to tell; False if another one was quicker. It comes again after the lease."""
        now = self.clock()
        seen = notification.next_try_at
        assert seen is not None
        with self.engine.begin() as connection:
            claimed = connection.execute(
                sa.update(_notification)
                .where(
                    _notification.c.id == notification.id,
                    _notification.c.attempts == notification.attempts,
                    _notification.c.state == NotificationState.PENDING,
                )
                .values(
                    attempts=notification.attempts + 1,
                    first_tried_at=sa.func.coalesce(_notification.c.first_tried_at, now),
                    next_try_at=now + lease_s,
                )
            )
        return claimed.rowcount == 1

    def told(self, notification: Notification) -> None:
        """It was taken."""
        self._end(notification, state=NotificationState.TOLD, next_try_at=None, detail=None)

    def not_told(self, notification: Notification, detail: str, next_try_at: float | None) -> None:
        """It was not taken: try again at a time, seconds since 1970, or give it up."""
        state = NotificationState.FAILED if next_try_at is None else NotificationState.PENDING
        self._end(notification, state=state, next_try_at=next_try_at, detail=detail)

    def retry_notifications(self) -> int:
        """Begin again with what was given up; gives how many."""
        with self.engine.begin() as connection:
            found = connection.execute(
                sa.update(_notification)
                .where(schema.stands(_notification, NotificationState.FAILED))
                .values(
                    state=NotificationState.PENDING,
                    attempts=0,
                    first_tried_at=None,
                    next_try_at=self.clock(),
                )
            )
        return found.rowcount

    def _end(self, notification: Notification, **values: object) -> None:
        with self.engine.begin() as connection:
            connection.execute(
                sa.update(_notification)
                .where(
                    _notification.c.id == notification.id,
                    _notification.c.attempts == notification.attempts + 1,
                )
                .values(**values)
            )

    def _notifications(
        self, condition: sa.ColumnElement[bool], limit: int | None = None
    ) -> list[Notification]:
        with self.reading() as connection:
            rows = connection.execute(
                sa.select(
                    _notification,
                    _event.c.revision_id,
                    _event.c.at,
                    _event.c.state.label("came_into"),
                    _event.c.detail.label("remark"),
                )
                .join(_event, _event.c.id == _notification.c.event_id)
                .where(condition)
                .order_by(_notification.c.next_try_at)
                .limit(limit)
            ).all()
        return [
            Notification(
                row.id,
                row.event_id,
                row.revision_id,
                row.rule,
                Event(utc(row.at), State(row.came_into), row.remark),
                NotificationState(row.state),
                row.attempts,
                None if row.first_tried_at is None else utc(row.first_tried_at),
                None if row.next_try_at is None else utc(row.next_try_at),
                row.detail,
            )
            for row in rows
        ]
