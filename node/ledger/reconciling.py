"""What keeps the ledger true to the spool and to the clock."""

from collections.abc import Collection, Sequence

import sqlalchemy as sa

from node.ledger import schema
from node.ledger.database import Database, latest
from node.ledger.records import DeliveryState, Instance, Revision, State

_revision, _instance, _delivery = schema.revision, schema.instance, schema.delivery
_destination, _series = schema.destination, schema.series

UNDER_WAY = (State.RECEIVING, State.READY, State.ANALYZING)
"""States in which the files of a revision are still needed."""

INSTANCE_LOST = "instance-lost"
"""Reason of a revision whose files are gone from the spool or altered there."""


class Reconciling(Database):
    """Files that are gone, files that nobody knows, times that lie in the future."""

    def under_way(self) -> list[Revision]:
        """Every revision whose files are still needed, the longest due first."""
        return self.select_revisions(
            sa.and_(
                _revision.c.due_at > 0,  # each of them is due one day: so the index serves
                _revision.c.state.in_(UNDER_WAY),
            ),
            _revision.c.due_at,
            None,
        )

    def known_paths(self, series: Collection[str]) -> set[str]:
        """Paths of all instances, also replaced ones, of series by their UIDs."""
        with self.reading() as connection:
            rows = connection.execute(
                sa.select(_instance.c.path)
                .join(_series, _series.c.id == _instance.c.series_id)
                .where(_series.c.series_instance_uid.in_(series))
            )
            return set(rows.scalars())

    def lose(self, revision: Revision, instances: Sequence[Instance]) -> bool:
        """End a revision because files of it are gone or altered.

        They count no more: when they are sent again, they make the next revision.

        Returns
        -------
        bool
            False if the revision has moved meanwhile; then nothing was written.
        """
        now = self.clock()
        said = f"{len(instances)} images were received and are gone from the disk or altered there"
        with self.engine.begin() as connection:
            moved = connection.execute(
                sa.update(_revision)
                .where(
                    _revision.c.id == revision.id,
                    _revision.c.state == revision.state,
                    _revision.c.claims == revision.claims,
                    _revision.c.arrivals == revision.arrivals,
                )
                .values(
                    state=State.FAILED,
                    reason=INSTANCE_LOST,
                    detail=f"{said}: send the series again",
                    warnings=[*revision.warnings, said],
                    due_at=now,  # to be explained
                    updated_at=now,
                )
            )
            if moved.rowcount == 0:
                return False
            self.note(connection, revision.id, State.FAILED, said, now, is_news=True)
            connection.execute(
                sa.update(_instance)
                .where(
                    _instance.c.path.in_([str(instance.path) for instance in instances]),
                    _instance.c.to_revision.is_(None),
                    _instance.c.series_id
                    == sa.select(_revision.c.series_id)
                    .where(_revision.c.id == revision.id)
                    .scalar_subquery(),
                )
                .values(to_revision=revision.number)
            )
        return True

    def straighten(self, revision_s: float, delivery_s: float) -> int:
        """Pull back what waits for a time that no rule of the node sets.

        Such times are left where the clock was set back: what was to be done in
        two seconds would be done in an hour and two seconds.

        Parameters
        ----------
        revision_s, delivery_s : float
            The longest that a revision and that a delivery may wait from now on, seconds.

        Returns
        -------
        int
            How many rows were pulled back.
        """
        now = self.clock()
        pulled = 0
        with self.reading() as connection:  # almost always there is none: no lock for that
            ahead = connection.execute(
                sa.select(
                    (latest(_revision.c.due_at) > now + revision_s)
                    | (latest(_delivery.c.next_try_at) > now + delivery_s)
                    | (latest(_destination.c.rests_until) > now + delivery_s)
                    | (latest(_destination.c.held_until) > now + delivery_s)
                )
            ).scalar()
        if not ahead:
            return 0
        with self.engine.begin() as connection:
            pulled += connection.execute(
                sa.update(_revision)
                .where(_revision.c.due_at > now + revision_s)
                .values(
                    due_at=now,
                    paused_until=None,
                    last_instance_at=_at_most(_revision.c.last_instance_at, now),
                    released_at=_at_most(_revision.c.released_at, now),
                    rank=_at_most(_revision.c.rank, now - _revision.c.head_start),
                )
            ).rowcount
            pulled += connection.execute(
                sa.update(_delivery)
                .where(
                    _delivery.c.next_try_at > now + delivery_s,
                    _delivery.c.state == DeliveryState.PENDING,
                )
                .values(
                    next_try_at=now,
                    first_tried_at=_at_most(_delivery.c.first_tried_at, now),
                    rank=_at_most(_delivery.c.rank, now),
                )
            ).rowcount
            for column in (_destination.c.rests_until, _destination.c.held_until):
                pulled += connection.execute(
                    sa.update(_destination).where(column > now + delivery_s).values({column: now})
                ).rowcount
        return pulled


def _at_most(
    column: sa.ColumnElement[float], limit: float | sa.ColumnElement[float]
) -> sa.ColumnElement[float]:
    return sa.case((column > limit, limit), else_=column)
