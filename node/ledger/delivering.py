"""What deliver does to the ledger."""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from node.ledger import schema
from node.ledger.database import MOST_AT_ONCE, Database
from node.ledger.records import (
    Delivery,
    DeliveryState,
    State,
)

_revision, _instance, _delivery = schema.revision, schema.instance, schema.delivery


class Delivering(Database):
    """Results are claimed for sending and settled one by one."""

    def due_deliveries(self) -> list[tuple[int, str]]:
        """Revision and destination of what waits to be sent, the longest first."""
        with self.reading() as connection:
            rows = connection.execute(
                sa.select(_delivery.c.revision_id, _delivery.c.destination)
                .where(_delivery.c.next_try_at <= self.clock())
                .group_by(_delivery.c.revision_id, _delivery.c.destination)
                .order_by(sa.func.min(_delivery.c.next_try_at))
                .limit(MOST_AT_ONCE)
            )
            return [(row.revision_id, row.destination) for row in rows]

    def claim_deliveries(
        self, revision_id: int, destination: str, lease_s: float
    ) -> list[Delivery]:
        """Begin to send what is due of a revision to a destination.

        Nobody else gets the same rows before `lease_s` seconds have passed.
        """
        now = self.clock()
        with self.engine.begin() as connection:
            ids = connection.execute(
                sa.update(_delivery)
                .where(
                    _delivery.c.revision_id == revision_id,
                    _delivery.c.destination == destination,
                    _delivery.c.state == DeliveryState.PENDING,
                    _delivery.c.next_try_at <= now,
                )
                .values(
                    attempts=_delivery.c.attempts + 1,
                    first_tried_at=sa.func.coalesce(_delivery.c.first_tried_at, now),
                    next_try_at=now + lease_s,
                )
                .returning(_delivery.c.id)
            ).scalars()
            claimed = list(ids)
        return self.select_deliveries(_delivery.c.id.in_(claimed)) if claimed else []

    def extend_deliveries(self, deliveries: Sequence[Delivery], lease_s: float) -> None:
        """Say that the sending of these goes on."""
        with self.engine.begin() as connection:
            connection.execute(
                sa.update(_delivery)
                .where(
                    _delivery.c.id.in_([d.id for d in deliveries]),
                    _delivery.c.state == DeliveryState.PENDING,
                )
                .values(next_try_at=self.clock() + lease_s)
            )

    def sent(self, delivery: Delivery, detail: str | None = None) -> None:
        """Note that a destination has stored an object; the last one makes it delivered."""
        self._settle(delivery, state=DeliveryState.SENT, next_try_at=None, detail=detail)

    def try_again(self, delivery: Delivery, at: float, detail: str) -> None:
        """Note that an object was not taken and when to send it again, seconds since 1970."""
        self._settle(delivery, next_try_at=at, detail=detail)

    def give_up(self, delivery: Delivery, detail: str) -> None:
        """Note that an object is not sent any more until somebody says `retry`."""
        self._settle(delivery, state=DeliveryState.FAILED, next_try_at=None, detail=detail)

    def _settle(self, delivery: Delivery, **values: Any) -> None:
        now = self.clock()
        open_rows = sa.select(_delivery.c.id).where(
            _delivery.c.revision_id == delivery.revision_id,
            _delivery.c.state.in_([DeliveryState.PENDING, DeliveryState.FAILED]),
        )
        with self.engine.begin() as connection:
            # One at a time: of two that settle the last rows, the second must see the first.
            connection.execute(
                sa.select(_revision.c.id)
                .where(_revision.c.id == delivery.revision_id)
                .with_for_update()
            )
            connection.execute(
                sa.update(_delivery)
                .where(_delivery.c.id == delivery.id, _delivery.c.state == DeliveryState.PENDING)
                .values(**values)
            )
            moved = connection.execute(
                sa.update(_revision)
                .where(
                    _revision.c.id == delivery.revision_id,
                    _revision.c.state == State.REPORTED,
                    ~open_rows.exists(),
                )
                .values(state=State.DELIVERED, updated_at=now)
            )
            if moved.rowcount == 1:
                self.note(connection, delivery.revision_id, State.DELIVERED, None, now)
