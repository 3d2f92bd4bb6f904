"""What receive does to the ledger."""

import threading
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import sqlalchemy as sa

from node.ledger import schema
from node.ledger.database import Database
from node.ledger.prepared import Prepared
from node.ledger.records import (
    Current,
    Instance,
    Outcome,
    State,
    Stored,
    Way,
)

_series, _revision, _instance = schema.series, schema.revision, schema.instance

# Every image that comes in runs these: they are put together once.
_LOCK_SERIES = (
    sa.select(_series.c.id)
    .where(
        _series.c.study_instance_uid == sa.bindparam("study"),
        _series.c.series_instance_uid == sa.bindparam("series"),
    )
    .with_for_update()
)

_NEWEST_AND_CURRENT = (
    sa.select(
        _revision.c.id,
        _revision.c.number,
        _revision.c.state,
        _instance.c.id.label("instance_id"),
        _instance.c.digest,
        _instance.c.path,
    )
    .select_from(_revision)
    .outerjoin(
        _instance,
        sa.and_(
            _instance.c.series_id == _revision.c.series_id,
            _instance.c.sop_instance_uid == sa.bindparam("instance"),
            _instance.c.to_revision.is_(None),
        ),
    )
    .where(_revision.c.series_id == sa.bindparam("series_id"))
    .order_by(_revision.c.number.desc())
    .limit(1)
    .with_for_update(of=_revision)  # it must not become ready before the slice is entered
)
"""The newest revision of a series, and the instance of a UID that counts for it."""

_ARRIVED = (
    sa.update(_revision)
    .where(_revision.c.id == sa.bindparam("revision_id"))
    .values(
        last_instance_at=sa.bindparam("now"),
        released_at=None,
        due_at=sa.bindparam("look_at"),
        updated_at=sa.bindparam("now"),
        arrivals=_revision.c.arrivals + 1,
    )
)

_ENTER = sa.insert(_instance).inline()
_GIVEN = (
    "series_id",
    "sop_instance_uid",
    "sop_class_uid",
    "digest",
    "path",
    "sender",
    "received_at",
    "from_revision",
    "way",
)


ANY_CONTENT = "any"
"""Stands for the digest of whatever content counts."""

_NOTHING = (0, 0, None, None, None, None)
"""What there is of a series without a revision."""


@dataclass(frozen=True)
class _Statements:
    """What is run for every image."""

    lock_series: Prepared
    newest_and_current: Prepared
    arrived: Prepared
    enter: Prepared


class Receiving(Database):
    """Instances come in and gather in revisions."""

    def store(
        self,
        instance: Instance,
        quiet_s: float,
        instead_of: str | None = ANY_CONTENT,
        way: Way | None = None,
    ) -> Stored:
        """Enter an instance that lies in the spool.

        A revision that still receives takes it up; past that, a new one begins.
        The same content again changes nothing.

        Parameters
        ----------
        instance : Instance
        quiet_s : float
            When to look at the revision if nothing more is heard, seconds.
        instead_of : str, optional
            Digest of the content of the same UID that it may take the place of; None: of none.
        way : Way, optional
            None where nobody knows: it was found in the spool.
        """
        now = self.clock()
        with self._turns, self.engine.begin() as connection:
            series_id = self._lock_series(connection, instance)
            newest = self._statements.newest_and_current.run(
                connection, series_id=series_id, instance=instance.sop_instance_uid
            )
            revision_id, number, state, current, digest, path = newest or _NOTHING
            if digest == instance.digest:
                return Stored(Outcome.DUPLICATE, revision_id)
            if current is not None and instead_of not in (ANY_CONTENT, digest):
                unlike = Current(str(digest), Path(str(path)))
                return Stored(Outcome.UNLIKE, revision_id, unlike)

            if state == State.RECEIVING:
                self._statements.arrived.run(
                    connection, revision_id=revision_id, now=now, look_at=now + quiet_s
                )
            else:
                number += 1
                revision_id = self._begin_revision(connection, series_id, number, now, quiet_s)
            if current is not None:
                connection.execute(
                    sa.update(_instance).where(_instance.c.id == current).values(to_revision=number)
                )
            self._statements.enter.run(
                connection,
                series_id=series_id,
                sop_instance_uid=instance.sop_instance_uid,
                sop_class_uid=instance.sop_class_uid,
                digest=instance.digest,
                path=str(instance.path),
                sender=instance.sender,
                received_at=now,
                from_revision=number,
                way=None if way is None else way.value,
            )
        return Stored(Outcome.NEW if current is None else Outcome.CHANGED, revision_id)

    def _lock_series(self, connection: sa.Connection, instance: Instance) -> int:
        study, series = instance.study_instance_uid, instance.series_instance_uid
        known = self._statements.lock_series.run(connection, study=study, series=series)
        if known is None:
            connection.execute(
                self.insert(_series)
                .values(study_instance_uid=study, series_instance_uid=series)
                .on_conflict_do_nothing()  # another one may have been quicker
            )
            known = self._statements.lock_series.run(connection, study=study, series=series)
        return int(known[0])

    @cached_property
    def _turns(self) -> AbstractContextManager[object]:
        """SQLite has one writer, and who finds another one there sleeps for 1 to 100 ms.

        Associations of one process need not: each wakes the next.
        """
        return threading.Lock() if self.engine.dialect.name == "sqlite" else nullcontext()

    @cached_property
    def _statements(self) -> _Statements:
        dialect = self.engine.dialect
        return _Statements(
            Prepared(_LOCK_SERIES, dialect),
            Prepared(_NEWEST_AND_CURRENT, dialect),
            Prepared(_ARRIVED, dialect),
            Prepared(_ENTER, dialect, _GIVEN),
        )

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
                rank=now,
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
