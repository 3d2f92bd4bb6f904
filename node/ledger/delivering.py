"""What deliver does to the ledger."""

import secrets
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from node.ledger import schema
from node.ledger.database import MOST_AT_ONCE, Database, some
from node.ledger.records import Delivery, DeliveryState, State
from node.settings import Kind

_revision, _delivery, _destination = schema.revision, schema.delivery, schema.destination
_is_waiting = schema.stands(_delivery, DeliveryState.PENDING)


@dataclass(frozen=True)
class Hold:
    """A sender's right to send to a destination, as long as its lease is extended.

    Parameters
    ----------
    destination : str
    token : str
        Tells this hold from a later one.
    failures : int
        How often in a row the destination could not be sent to.
    """

    destination: str
    token: str
    failures: int


class Delivering(Database):
    """One sender at a time holds a destination and settles what waits for it, one by one."""

    def due_destinations(self) -> list[str]:
        """Destinations that something waits for, that nobody holds and that do not rest."""
        now = self.clock()
        with self.reading() as connection:
            rows = connection.execute(
                sa.select(_delivery.c.destination)
                .outerjoin(_destination, _destination.c.name == _delivery.c.destination)
                .where(
                    _delivery.c.next_try_at <= now,
                    sa.func.coalesce(_destination.c.held_until, 0) <= now,
                    sa.func.coalesce(_destination.c.rests_until, 0) <= now,
                )
                .group_by(_delivery.c.destination)
                .order_by(sa.func.min(_delivery.c.next_try_at))
            )
            return list(rows.scalars())

    def hold(self, destination: str, lease_s: float) -> Hold | None:
        """Begin to send to a destination; None where another one does, or while it rests."""
        now = self.clock()
        token = secrets.token_hex(8)
        with self.engine.begin() as connection:
            connection.execute(
                self.insert(_destination)
                .values(name=destination, failures=0)
                .on_conflict_do_nothing()
            )
            failures = connection.execute(
                sa.update(_destination)
                .where(
                    _destination.c.name == destination,
                    sa.func.coalesce(_destination.c.held_until, 0) <= now,
                    sa.func.coalesce(_destination.c.rests_until, 0) <= now,
                )
                .values(holder=token, held_until=now + lease_s)
                .returning(_destination.c.failures)
            ).scalar()
        return None if failures is None else Hold(destination, token, failures)

    def extend_hold(self, hold: Hold, lease_s: float) -> bool:
        """Say that the sending goes on; False if another one has taken over."""
        return self._change(hold, held_until=self.clock() + lease_s)

    def let_go(self, hold: Hold) -> None:
        """End a hold on a destination that is well."""
        self._change(hold, holder=None, held_until=None, rests_until=None, failures=0, detail=None)

    def rest(self, hold: Hold, until: float, detail: str) -> None:
        """End a hold on a destination that is ill: nothing is sent to it before a time.

        Parameters
        ----------
        hold : Hold
        until : float
            Seconds since 1970.
        detail : str
            What it is ill with, for people.
        """
        now = self.clock()
        with self.engine.begin() as connection:
            connection.execute(
                sa.update(_destination)
                .where(self._is_holder(hold))
                .values(
                    holder=None,
                    held_until=None,
                    rests_until=until,
                    failures=hold.failures + 1,
                    detail=detail,
                )
            )
            # From now on the time runs after which they are given up.
            connection.execute(
                sa.update(_delivery)
                .where(
                    _is_waiting,
                    _delivery.c.destination == hold.destination,
                    _delivery.c.next_try_at <= now,
                )
                .values(
                    first_tried_at=sa.func.coalesce(_delivery.c.first_tried_at, now), detail=detail
                )
            )

    def wake(self, connection: sa.Connection, destinations: Collection[str]) -> None:
        """End the rest of destinations: somebody asks to try at once."""
        connection.execute(
            sa.update(_destination)
            .where(_destination.c.name.in_(destinations))
            .values(rests_until=None, failures=0)
        )

    def _change(self, hold: Hold, **values: Any) -> bool:
        with self.engine.begin() as connection:
            changed = connection.execute(
                sa.update(_destination).where(self._is_holder(hold)).values(**values)
            )
        return changed.rowcount == 1

    def _is_holder(self, hold: Hold) -> sa.ColumnElement[bool]:
        return sa.and_(_destination.c.name == hold.destination, _destination.c.holder == hold.token)

    def due_deliveries(self, destination: str, limit: int = MOST_AT_ONCE) -> list[Delivery]:
        """What waits to be sent to a destination, the lowest rank first.

        What was not taken before comes last: the others need not wait for it again.
        """
        was_not_taken = sa.case((_delivery.c.attempts > 0, 1), else_=0)
        return self.select_deliveries(
            sa.and_(
                _is_waiting,
                _delivery.c.destination == destination,
                _delivery.c.next_try_at <= self.clock(),
            ),
            limit,
            (was_not_taken, _delivery.c.rank, _delivery.c.id),
        )

    def sent(self, deliveries: Sequence[tuple[Delivery, str | None]]) -> list[int]:
        """Note that a destination has taken objects; the last one makes a revision delivered.

        A workitem is created there, and not stored: no commitment is asked for it.

        Parameters
        ----------
        deliveries : sequence of tuple
            Each with what the destination remarked.

        Returns
        -------
        list of int
            Ids of the revisions that are delivered now.
        """
        settled = [
            (
                delivery,
                remark,
                DeliveryState.CREATED
                if delivery.result.kind == Kind.WORKITEM
                else DeliveryState.SENT,
            )
            for delivery, remark in deliveries
        ]
        return self._settle(settled, next_try_at=None)

    def try_again(self, delivery: Delivery, at: float, detail: str) -> None:
        """Note that an object was not taken and when to send it again, seconds since 1970."""
        self._settle([(delivery, detail, DeliveryState.PENDING)], next_try_at=at)

    def give_up(self, delivery: Delivery, detail: str) -> None:
        """Note that an object is not sent any more until somebody says `retry`."""
        self._settle([(delivery, detail, DeliveryState.FAILED)], next_try_at=None)

    def is_replaced(self, delivery: Delivery) -> bool:
        """Whether a workitem of a later revision goes to the same destination, or went there."""
        later, after = _revision.alias(), _delivery.alias()
        with self.reading() as connection:
            found = connection.execute(
                sa.select(after.c.id)
                .join(schema.result, schema.result.c.id == after.c.result_id)
                .join(later, later.c.id == after.c.revision_id)
                .join(_revision, _revision.c.series_id == later.c.series_id)
                .where(
                    _revision.c.id == delivery.revision_id,
                    later.c.number > _revision.c.number,
                    schema.result.c.kind == Kind.WORKITEM,
                    after.c.destination == delivery.destination,
                    after.c.state != DeliveryState.FAILED,
                )
                .limit(1)
            )
            return found.first() is not None

    def withdraw(self, delivery: Delivery, detail: str) -> None:
        """Note that a workitem is not sent at all: a later one takes its place."""
        self._settle([(delivery, detail, DeliveryState.REPLACED)], next_try_at=None)

    def give_up_older(self, destination: str, since: float, detail: str) -> int:
        """Give up what was tried first before a time, seconds since 1970; how much it was."""
        with self.engine.begin() as connection:
            done = connection.execute(
                sa.update(_delivery)
                .where(
                    _is_waiting,
                    _delivery.c.destination == destination,
                    _delivery.c.first_tried_at < since,
                )
                .values(state=DeliveryState.FAILED, next_try_at=None, detail=detail)
            )
            if done.rowcount:
                follows_it = _delivery.c.follows == destination
                self.let_follow(connection, follows_it, self.clock())
        return done.rowcount

    def make_again(self, revision_id: int, detail: str) -> bool:
        """Have the results of a revision made again: a file of them is not there any more.

        Returns
        -------
        bool
            False if it is not reported, or its images were removed; then nothing was written.
        """
        now = self.clock()
        with self.engine.begin() as connection:
            moved = connection.execute(
                sa.update(_revision)
                .where(
                    _revision.c.id == revision_id,
                    _revision.c.state == State.REPORTED,
                    _revision.c.images_removed_at.is_(None),
                )
                .values(
                    state=State.READY,
                    reason=None,
                    detail=None,
                    updated_at=now,
                    due_at=now,
                    rank=now - _revision.c.head_start,
                    results_removed_at=None,
                )
            )
            if moved.rowcount == 0:
                return False
            self.note(connection, revision_id, State.READY, detail, now)
            self.drop_unsent(connection, revision_id)
        return True

    def _settle(
        self, deliveries: Sequence[tuple[Delivery, str | None, DeliveryState]], **values: Any
    ) -> list[int]:
        now = self.clock()
        alike: dict[tuple[str | None, DeliveryState], list[int]] = defaultdict(list)
        for delivery, detail, state in deliveries:
            alike[detail, state].append(delivery.id)
        revision_ids = sorted({delivery.revision_id for delivery, _, _ in deliveries})
        is_open = sa.exists().where(
            _delivery.c.revision_id == _revision.c.id,
            _delivery.c.state.in_([DeliveryState.PENDING, DeliveryState.FAILED]),
        )
        delivered: list[int] = []
        with self.engine.begin() as connection:
            # One at a time: of two that settle the last rows, the second must see the first.
            for ids in some(revision_ids):
                connection.execute(
                    sa.select(_revision.c.id)
                    .where(_revision.c.id.in_(ids))
                    .order_by(_revision.c.id)  # or two wait for each other
                    .with_for_update()
                )
            for (detail, state), delivery_ids in alike.items():
                for ids in some(delivery_ids):
                    connection.execute(
                        sa.update(_delivery)
                        .where(_delivery.c.id.in_(ids), _delivery.c.state == DeliveryState.PENDING)
                        .values(
                            attempts=_delivery.c.attempts + 1,
                            first_tried_at=sa.func.coalesce(_delivery.c.first_tried_at, now),
                            detail=detail,
                            state=state,
                            **values,
                        )
                    )
            for ids in some(revision_ids):
                self.let_follow(connection, _delivery.c.revision_id.in_(ids), now)
                moved = connection.execute(
                    sa.update(_revision)
                    .where(_revision.c.id.in_(ids), _revision.c.state == State.REPORTED, ~is_open)
                    .values(state=State.DELIVERED, updated_at=now)
                    .returning(_revision.c.id)
                ).scalars()
                for revision_id in sorted(moved):
                    self.note(connection, revision_id, State.DELIVERED, None, now)
                    delivered.append(revision_id)
        return delivered
