"""What receive does to the ledger."""

from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa

from node.ledger import schema
from node.ledger.database import Database
from node.ledger.records import (
    Instance,
    Outcome,
    State,
    Stored,
)

_revision, _instance, _delivery = schema.revision, schema.instance, schema.delivery


class Receiving(Database):
    """Instances come in and gather in revisions."""

    def store(self, instance: Instance, quiet_s: float) -> Stored:
        """Enter an instance that lies in the spool.

        A revision that still receives takes it up; past that, a new one begins.
        The same content again changes nothing.

        Parameters
        ----------
        instance : Instance
        quiet_s : float
            When to look at the revision if nothing more is heard, seconds.
        """
        now = self.clock()
        with self.engine.begin() as connection:
            series_id = self._lock_series(connection, instance)
            newest = self._newest(connection, series_id)
            current = connection.execute(
                sa.select(_instance.c.id, _instance.c.digest).where(
                    _instance.c.series_id == series_id,
                    _instance.c.sop_instance_uid == instance.sop_instance_uid,
                    _instance.c.to_revision.is_(None),
                )
            ).first()
            if current is not None and current.digest == instance.digest and newest is not None:
                return Stored(Outcome.DUPLICATE, newest.id)

            if newest is not None and newest.state == State.RECEIVING:
                revision_id, number = newest.id, newest.number
                connection.execute(
                    sa.update(_revision)
                    .where(_revision.c.id == revision_id)
                    .values(
                        last_instance_at=now,
                        released_at=None,
                        due_at=now + quiet_s,
                        updated_at=now,
                        arrivals=_revision.c.arrivals + 1,
                    )
                )
            else:
                number = 1 if newest is None else newest.number + 1
                revision_id = self._begin_revision(connection, series_id, number, now, quiet_s)
            if current is not None:
                connection.execute(
                    sa.update(_instance)
                    .where(_instance.c.id == current.id)
                    .values(to_revision=number)
                )
            connection.execute(
                sa.insert(_instance).values(
                    series_id=series_id,
                    sop_instance_uid=instance.sop_instance_uid,
                    sop_class_uid=instance.sop_class_uid,
                    digest=instance.digest,
                    path=str(instance.path),
                    sender=instance.sender,
                    received_at=now,
                    from_revision=number,
                )
            )
        return Stored(Outcome.NEW if current is None else Outcome.CHANGED, revision_id)

    def _lock_series(self, connection: sa.Connection, instance: Instance) -> int:
        key = {
            "study_instance_uid": instance.study_instance_uid,
            "series_instance_uid": instance.series_instance_uid,
        }
        connection.execute(self.insert(schema.series).values(**key).on_conflict_do_nothing())
        return int(
            connection.execute(
                sa.select(schema.series.c.id).filter_by(**key).with_for_update()
            ).scalar_one()
        )

    def _newest(self, connection: sa.Connection, series_id: int) -> Any:
        return connection.execute(
            sa.select(_revision.c.id, _revision.c.number, _revision.c.state)
            .where(_revision.c.series_id == series_id)
            .order_by(_revision.c.number.desc())
            .limit(1)
            .with_for_update()  # it must not become ready before the slice is entered
        ).first()

    def _begin_revision(
        self, connection: sa.Connection, series_id: int, number: int, now: float, quiet_s: float
    ) -> int:
        revision_id = connection.execute(
            sa.insert(_revision)
            .values(
                series_id=series_id,
                number=number,
                state=State.RECEIVING,
                warnings=[],
                attempts=0,
                claims=0,
                arrivals=1,
                last_instance_at=now,
                updated_at=now,
                due_at=now + quiet_s,
            )
            .returning(_revision.c.id)
        ).scalar_one()
        self.note(connection, revision_id, State.RECEIVING, None, now)
        return int(revision_id)

    def release(self, revision_ids: Iterable[int], grace_s: float) -> None:
        """Say that an association which brought slices of these revisions has ended.

        Parameters
        ----------
        revision_ids : iterable of int
        grace_s : float
            When to look whether the series is whole, seconds.
        """
        now = self.clock()
        with self.engine.begin() as connection:
            connection.execute(
                sa.update(_revision)
                .where(_revision.c.id.in_(list(revision_ids)), _revision.c.state == State.RECEIVING)
                .values(released_at=now, due_at=now + grace_s)
            )
