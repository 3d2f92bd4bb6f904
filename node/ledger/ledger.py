"""What can be done to the ledger; each method is one transaction."""

import fcntl
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import SQLAlchemyError

from ml.errors import first_line
from node.errors import ConfigError
from node.ledger import schema
from node.ledger.records import (
    Delivery,
    DeliveryState,
    Event,
    Instance,
    Outcome,
    Result,
    Revision,
    State,
    Stored,
)

_revision, _instance, _delivery = schema.revision, schema.instance, schema.delivery

_READS = "ichnode_reads"

HINT_S = 5.0
"""A hint that was sent counts as lost after this time, seconds."""

MOST_AT_ONCE = 500
"""Rows that one look at what is due gives at most."""


@dataclass(frozen=True)
class Claim:
    """A worker's right to go on with a revision, as long as nobody took it over."""

    revision: Revision
    attempt: int


def open_ledger(url: str) -> "Ledger":
    """Connect to the ledger and make its tables if they are not there.

    Raises
    ------
    ConfigError
        If the database cannot be reached.
    """
    parsed = sa.make_url(url)
    try:
        engine = sa.create_engine(parsed, pool_pre_ping=True)
        if engine.dialect.name == "sqlite":
            _tune_sqlite(engine)
        with _alone(parsed):
            _create_tables(engine)
    except (SQLAlchemyError, OSError) as error:
        cause = first_line(getattr(error, "orig", None) or error)
        shown = parsed.render_as_string(hide_password=True)
        raise ConfigError(f"the ledger {shown} cannot be opened: {cause}") from error
    return Ledger(engine)


@contextmanager
def _alone(url: sa.URL) -> Iterator[None]:
    """Keep the other parts of the node out while a new SQLite file is made.

    SQLite does not wait for a lock when it turns to write-ahead logging.
    """
    if url.get_backend_name() != "sqlite" or not url.database:
        yield
        return
    path = Path(url.database)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(f"{path.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _create_tables(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            # Two parts of the node that start together must not race for the tables.
            connection.execute(sa.text("SELECT pg_advisory_xact_lock(hashtext('ichnode'))"))
        schema.metadata.create_all(connection)


def _tune_sqlite(engine: sa.Engine) -> None:
    """Durable and shared: a commit is on disk when it returns, writers wait for each other."""

    @sa.event.listens_for(engine, "connect")
    def _connect(connection: Any, _record: object) -> None:
        connection.isolation_level = None  # transactions are begun below, not by the driver
        for pragma in (
            "busy_timeout=30000",
            "journal_mode=WAL",
            "synchronous=FULL",
            "foreign_keys=ON",
        ):
            connection.execute(f"PRAGMA {pragma}")

    @sa.event.listens_for(engine, "begin")
    def _begin(connection: sa.Connection) -> None:
        # A reader that turns writer fails under WAL; so writers take the lock at once.
        reads = connection.get_execution_options().get(_READS, False)
        connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")


class Ledger:
    """The state of every series.

    Parameters
    ----------
    engine : sqlalchemy.Engine
        SQLite or PostgreSQL.
    clock : callable, optional
        Seconds since 1970, UTC.
    """

    def __init__(self, engine: sa.Engine, clock: Callable[[], float] = time.time) -> None:
        self.engine = engine
        self.clock = clock
        self._reader = engine.execution_options(**{_READS: True})
        self._insert = postgresql.insert if engine.dialect.name == "postgresql" else sqlite.insert

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()

    # -- receive -----------------------------------------------------------

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
        connection.execute(self._insert(schema.series).values(**key).on_conflict_do_nothing())
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
                arrivals=1,
                last_instance_at=now,
                updated_at=now,
                due_at=now + quiet_s,
            )
            .returning(_revision.c.id)
        ).scalar_one()
        self._note(connection, revision_id, State.RECEIVING, None, now)
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

    # -- assemble ----------------------------------------------------------

    def due(self, state: State) -> list[Revision]:
        """Revisions in a state that have stood still too long, the longest first."""
        return self._revisions(
            sa.and_(_revision.c.due_at <= self.clock(), _revision.c.state == state),
            _revision.c.due_at,
            MOST_AT_ONCE,
        )

    def postpone(self, revision: Revision, due_at: datetime) -> None:
        """Look at a revision again later, unless something came or was released meanwhile."""
        released = 0.0 if revision.released_at is None else revision.released_at.timestamp()
        with self.engine.begin() as connection:
            connection.execute(
                sa.update(_revision)
                .where(
                    _revision.c.id == revision.id,
                    _revision.c.state == revision.state,
                    _revision.c.arrivals == revision.arrivals,
                    # to the millisecond: a datetime holds less than the column
                    sa.func.coalesce(_revision.c.released_at, 0.0) < released + 1e-3,
                )
                .values(due_at=due_at.timestamp())
            )

    def ready(self, revision: Revision, warnings: Sequence[str]) -> bool:
        """Move a revision from receiving to ready, unless a slice came meanwhile."""
        return self._move(
            revision.id,
            State.RECEIVING,
            State.READY,
            arrivals=revision.arrivals,
            warnings=list(warnings),
            due_at=self.clock() + HINT_S,
        )

    def skip(self, revision: Revision, reason: str, detail: str, warnings: Sequence[str]) -> bool:
        """End a revision that the model may not judge."""
        return self._move(
            revision.id,
            revision.state,
            State.SKIPPED,
            arrivals=revision.arrivals,
            reason=reason,
            detail=detail,
            warnings=list(warnings),
            due_at=None,
        )

    # -- analyze -----------------------------------------------------------

    def claim(self, revision_id: int, lease_s: float) -> Claim | None:
        """Begin to analyze a revision that is ready; None where another one has it."""
        moved = self._move(
            revision_id,
            State.READY,
            State.ANALYZING,
            attempts=_revision.c.attempts + 1,
            due_at=self.clock() + lease_s,
        )
        if not moved:
            return None
        revision = self.revision(revision_id)
        return None if revision is None else Claim(revision, revision.attempts)

    def extend(self, claim: Claim, lease_s: float) -> bool:
        """Say that the work goes on; False if it was taken over."""
        with self.engine.begin() as connection:
            done = connection.execute(
                sa.update(_revision).where(self._holds(claim)).values(due_at=self.clock() + lease_s)
            )
        return done.rowcount == 1

    def report(
        self,
        claim: Claim,
        results: Sequence[Result],
        destinations: Sequence[str],
        *,
        warnings: Sequence[str],
        maxima: dict[str, float],
    ) -> bool:
        """Move a revision to reported and plan the delivery of its results.

        Returns
        -------
        bool
            False if the revision was taken over; then nothing was written.
        """
        now = self.clock()
        with self.engine.begin() as connection:
            moved = connection.execute(
                sa.update(_revision)
                .where(self._holds(claim))
                .values(
                    state=State.REPORTED,
                    warnings=list(warnings),
                    maxima=maxima,
                    reason=None,
                    detail=None,
                    due_at=None,
                    updated_at=now,
                )
            )
            if moved.rowcount == 0:
                return False
            self._note(connection, claim.revision.id, State.REPORTED, None, now)
            for item in results:
                result_id = connection.execute(
                    sa.insert(schema.result)
                    .values(
                        revision_id=claim.revision.id,
                        kind=item.kind,
                        series_instance_uid=item.series_instance_uid,
                        sop_class_uid=item.sop_class_uid,
                        sop_instance_uid=item.sop_instance_uid,
                        path=str(item.path),
                    )
                    .returning(schema.result.c.id)
                ).scalar_one()
                self._plan(connection, claim.revision.id, result_id, destinations, now)
        return True

    def _plan(
        self,
        connection: sa.Connection,
        revision_id: int,
        result_id: int,
        destinations: Sequence[str],
        now: float,
    ) -> None:
        for destination in destinations:
            connection.execute(
                self._insert(_delivery)
                .values(
                    revision_id=revision_id,
                    result_id=result_id,
                    destination=destination,
                    state=DeliveryState.PENDING,
                    attempts=0,
                    next_try_at=now,
                )
                .on_conflict_do_nothing()
            )

    def fail(self, claim: Claim, reason: str, detail: str) -> bool:
        """End a revision that cannot be analyzed; `retry` begins again."""
        return self._leave(claim, State.FAILED, reason=reason, detail=detail, due_at=None)

    def yield_claim(self, claim: Claim, detail: str, pause_s: float) -> bool:
        """Give a revision back, to be tried again after a pause."""
        return self._leave(claim, State.READY, detail=detail, due_at=self.clock() + pause_s)

    def supersede(self, claim: Claim) -> bool:
        """End a claimed revision because a newer one of its series is there already."""
        return self._leave(
            claim,
            State.SKIPPED,
            reason="superseded",
            detail="more slices came before it was analyzed: see the next revision",
            due_at=None,
        )

    def is_newest(self, revision: Revision) -> bool:
        """Whether no later revision of the series is there."""
        newer = _revision.alias()
        with self._reading() as connection:
            return not connection.execute(
                sa.select(newer.c.id)
                .join(_revision, _revision.c.series_id == newer.c.series_id)
                .where(_revision.c.id == revision.id, newer.c.number > revision.number)
            ).first()

    def take_back(self, revision: Revision, max_attempts: int) -> bool:
        """Take a revision from a worker that was silent for too long.

        It becomes ready again, or failed after `max_attempts`.
        """
        claim = Claim(revision, revision.attempts)
        if revision.attempts >= max_attempts:
            return self._leave(
                claim,
                State.FAILED,
                still_due=True,
                reason="worker-lost",
                detail=f"{revision.attempts} workers died or hung with it",
                due_at=None,
            )
        return self._leave(claim, State.READY, still_due=True, due_at=self.clock() + HINT_S)

    def _holds(self, claim: Claim) -> sa.ColumnElement[bool]:
        return sa.and_(
            _revision.c.id == claim.revision.id,
            _revision.c.state == State.ANALYZING,
            _revision.c.attempts == claim.attempt,
        )

    def _leave(self, claim: Claim, state: State, *, still_due: bool = False, **values: Any) -> bool:
        now = self.clock()
        condition = self._holds(claim)
        if still_due:
            condition = sa.and_(condition, _revision.c.due_at <= now)
        with self.engine.begin() as connection:
            moved = connection.execute(
                sa.update(_revision).where(condition).values(state=state, updated_at=now, **values)
            )
            if moved.rowcount == 1:
                self._note(connection, claim.revision.id, state, values.get("detail"), now)
        return moved.rowcount == 1

    def _move(
        self,
        revision_id: int,
        expected: State,
        state: State,
        *,
        arrivals: int | None = None,
        **values: Any,
    ) -> bool:
        """Compare and set: only one of many who try succeeds."""
        now = self.clock()
        condition = sa.and_(_revision.c.id == revision_id, _revision.c.state == expected)
        if arrivals is not None:
            condition = sa.and_(condition, _revision.c.arrivals == arrivals)
        with self.engine.begin() as connection:
            moved = connection.execute(
                sa.update(_revision).where(condition).values(state=state, updated_at=now, **values)
            )
            if moved.rowcount == 1:
                self._note(connection, revision_id, state, values.get("detail"), now)
        return moved.rowcount == 1

    def _note(
        self,
        connection: sa.Connection,
        revision_id: int,
        state: State,
        detail: str | None,
        at: float,
    ) -> None:
        connection.execute(
            sa.insert(schema.event).values(
                revision_id=revision_id, at=at, state=state, detail=detail
            )
        )

    # -- deliver -----------------------------------------------------------

    def due_deliveries(self) -> list[tuple[int, str]]:
        """Revision and destination of what waits to be sent, the longest first."""
        with self._reading() as connection:
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
        return self._deliveries(_delivery.c.id.in_(claimed)) if claimed else []

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
                self._note(connection, delivery.revision_id, State.DELIVERED, None, now)

    # -- look and repair ---------------------------------------------------

    def retry(self, revision: Revision, destinations: Sequence[str]) -> bool:
        """Begin again with what has failed, was skipped, or was not delivered.

        Returns
        -------
        bool
            False if there is nothing to do again.
        """
        now = self.clock()
        if revision.state is State.FAILED:
            return self._move(
                revision.id,
                State.FAILED,
                State.READY,
                reason=None,
                detail=None,
                attempts=0,
                due_at=now,
            )
        if revision.state is State.SKIPPED and self.is_newest(revision):
            return self._move(
                revision.id, State.SKIPPED, State.RECEIVING, reason=None, detail=None, due_at=now
            )
        if revision.state is not State.REPORTED:
            return False
        with self.engine.begin() as connection:
            results = connection.execute(
                sa.select(schema.result.c.id).where(schema.result.c.revision_id == revision.id)
            ).scalars()
            for result_id in results:
                self._plan(connection, revision.id, result_id, destinations, now)
            again = connection.execute(
                sa.update(_delivery)
                .where(
                    _delivery.c.revision_id == revision.id,
                    _delivery.c.state.in_([DeliveryState.PENDING, DeliveryState.FAILED]),
                )
                .values(state=DeliveryState.PENDING, next_try_at=now, first_tried_at=None)
            )
        return again.rowcount > 0

    def revision(self, revision_id: int) -> Revision | None:
        """The revision with that id."""
        found = self._revisions(_revision.c.id == revision_id, _revision.c.id, 1)
        return found[0] if found else None

    def recent(self, limit: int) -> list[Revision]:
        """The revisions that moved last, newest first."""
        return self._revisions(sa.true(), _revision.c.updated_at.desc(), limit)

    def find(self, uid: str) -> list[Revision]:
        """All revisions of a study or a series, in order."""
        return self._revisions(
            sa.or_(
                schema.series.c.series_instance_uid == uid,
                schema.series.c.study_instance_uid == uid,
            ),
            _revision.c.id,
            MOST_AT_ONCE,
        )

    def instances(self, revision: Revision) -> list[Instance]:
        """The instances that count for a revision."""
        with self._reading() as connection:
            rows = connection.execute(
                sa.select(_instance)
                .join(_revision, _revision.c.series_id == _instance.c.series_id)
                .where(_revision.c.id == revision.id, _counts_for(_revision, _instance))
                .order_by(_instance.c.id)
            ).all()
        return [
            Instance(
                revision.study_instance_uid,
                revision.series_instance_uid,
                row.sop_instance_uid,
                row.sop_class_uid,
                row.digest,
                Path(row.path),
                row.sender,
            )
            for row in rows
        ]

    def replaced(self, revision: Revision) -> int:
        """How many instances came again with other content, up to a revision."""
        with self._reading() as connection:
            return int(
                connection.execute(
                    sa.select(sa.func.count())
                    .select_from(_instance)
                    .join(_revision, _revision.c.series_id == _instance.c.series_id)
                    .where(
                        _revision.c.id == revision.id,
                        _instance.c.to_revision <= _revision.c.number,
                    )
                ).scalar_one()
            )

    def history(self, revision: Revision) -> list[Event]:
        """The states that a revision came through."""
        with self._reading() as connection:
            rows = connection.execute(
                sa.select(schema.event)
                .where(schema.event.c.revision_id == revision.id)
                .order_by(schema.event.c.id)
            ).all()
        return [Event(_utc(row.at), State(row.state), row.detail) for row in rows]

    def results(self, revision: Revision) -> list[Result]:
        """The result objects of a revision."""
        with self._reading() as connection:
            rows = connection.execute(
                sa.select(schema.result)
                .where(schema.result.c.revision_id == revision.id)
                .order_by(schema.result.c.id)
            ).all()
        return [_result(row) for row in rows]

    def predecessor(self, revision: Revision, kind: str) -> Result | None:
        """The result of a kind that the last reported revision before this one has."""
        before = _revision.alias()
        with self._reading() as connection:
            row = connection.execute(
                sa.select(schema.result)
                .join(before, before.c.id == schema.result.c.revision_id)
                .join(_revision, _revision.c.series_id == before.c.series_id)
                .where(
                    _revision.c.id == revision.id,
                    before.c.number < revision.number,
                    before.c.state.in_([State.REPORTED, State.DELIVERED]),
                    schema.result.c.kind == kind,
                )
                .order_by(before.c.number.desc())
                .limit(1)
            ).first()
        return None if row is None else _result(row)

    def deliveries(self, revision: Revision) -> list[Delivery]:
        """Where the results of a revision are on their way."""
        return self._deliveries(_delivery.c.revision_id == revision.id)

    def _deliveries(self, condition: sa.ColumnElement[bool]) -> list[Delivery]:
        with self._reading() as connection:
            rows = connection.execute(
                sa.select(
                    _delivery,
                    schema.result.c.kind,
                    schema.result.c.series_instance_uid,
                    schema.result.c.sop_class_uid,
                    schema.result.c.sop_instance_uid,
                    schema.result.c.path,
                )
                .join(schema.result, schema.result.c.id == _delivery.c.result_id)
                .where(condition)
                .order_by(_delivery.c.id)
            ).all()
        return [
            Delivery(
                row.id,
                row.revision_id,
                row.destination,
                DeliveryState(row.state),
                row.attempts,
                None if row.first_tried_at is None else _utc(row.first_tried_at),
                None if row.next_try_at is None else _utc(row.next_try_at),
                row.detail,
                _result(row),
            )
            for row in rows
        ]

    def _revisions(
        self, condition: sa.ColumnElement[bool], order: Any, limit: int
    ) -> list[Revision]:
        counted = (
            sa.select(sa.func.count())
            .where(
                _instance.c.series_id == _revision.c.series_id, _counts_for(_revision, _instance)
            )
            .correlate(_revision)
            .scalar_subquery()
            .label("instances")
        )
        with self._reading() as connection:
            rows = connection.execute(
                sa.select(
                    _revision,
                    schema.series.c.study_instance_uid,
                    schema.series.c.series_instance_uid,
                    counted,
                )
                .join(schema.series, schema.series.c.id == _revision.c.series_id)
                .where(condition)
                .order_by(order)
                .limit(limit)
            ).all()
        return [
            Revision(
                id=row.id,
                study_instance_uid=row.study_instance_uid,
                series_instance_uid=row.series_instance_uid,
                number=row.number,
                state=State(row.state),
                reason=row.reason,
                detail=row.detail,
                warnings=tuple(row.warnings),
                maxima=row.maxima,
                instances=row.instances,
                attempts=row.attempts,
                arrivals=row.arrivals,
                last_instance_at=_utc(row.last_instance_at),
                updated_at=_utc(row.updated_at),
                released_at=None if row.released_at is None else _utc(row.released_at),
            )
            for row in rows
        ]

    def _reading(self) -> sa.Connection:
        """A connection that takes no write lock."""
        return self._reader.connect()


def _counts_for(revision: sa.FromClause, instance: sa.FromClause) -> sa.ColumnElement[bool]:
    return sa.and_(
        instance.c.from_revision <= revision.c.number,
        sa.or_(instance.c.to_revision.is_(None), instance.c.to_revision > revision.c.number),
    )


def _utc(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _result(row: Any) -> Result:
    return Result(
        row.kind,
        row.series_instance_uid,
        row.sop_class_uid,
        row.sop_instance_uid,
        Path(row.path),
    )
