"""The database under the ledger, and what all steps of a series share."""

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from node.ledger import schema
from node.ledger.connecting import READS, connected
from node.ledger.records import (
    Count,
    Delivery,
    DeliveryState,
    Instance,
    Plan,
    Priority,
    Result,
    Revision,
    State,
)
from node.ledger.upgrading import upgrade

_revision, _instance, _delivery = schema.revision, schema.instance, schema.delivery

T = TypeVar("T")

DAY_S = 86_400

HINT_S = 5.0
"""A hint that was sent counts as lost after this time, seconds."""

MOST_AT_ONCE = 500
"""Rows that one look at what is due gives at most."""

FLAGGED_HEAD_START_S = 24 * 3600.0
"""Results of a series with a finding go as if it had been ready so much earlier, seconds."""

NO_ROUTE = "no-route"
"""Why nothing of a reported revision is sent."""


def delivery_rank(rank: float, is_flagged: bool) -> float:
    """The rank of a revision's results: the lowest goes first.

    Parameters
    ----------
    rank : float
        The revision's.
    is_flagged : bool
        Whether something is flagged in it.
    """
    return rank - FLAGGED_HEAD_START_S if is_flagged else rank


def open_database(url: str) -> sa.Engine:
    """Connect to the ledger, and make its tables or bring them to what they are today.

    Raises
    ------
    ConfigError
        If the database cannot be reached, or is of a newer node.
    """
    with connected(url) as engine:
        upgrade(engine)
    return engine


WITHOUT_RESULT = (State.SKIPPED, State.FAILED)
"""States in which a revision ends without a result."""


class Database:
    """The ledger's tables, and the way to read and move their rows.

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
        self._reader = engine.execution_options(**{READS: True})
        self.insert = postgresql.insert if engine.dialect.name == "postgresql" else sqlite.insert

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()

    def reading(self) -> sa.Connection:
        """A connection that takes no write lock."""
        return self._reader.connect()

    def move(
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
        condition = sa.and_(
            _revision.c.id == revision_id,
            _revision.c.state == expected,
            _revision.c.images_removed_at.is_(None),  # nothing can be done with it any more
        )
        if arrivals is not None:
            condition = sa.and_(condition, _revision.c.arrivals == arrivals)
        with self.engine.begin() as connection:
            moved = connection.execute(
                sa.update(_revision)
                .where(condition)
                # What results it gets are there, whatever became of those before.
                .values(state=state, updated_at=now, results_removed_at=None, **values)
            )
            if moved.rowcount == 1:
                self.note(
                    connection,
                    revision_id,
                    state,
                    values.get("detail"),
                    now,
                    is_news=state in WITHOUT_RESULT,
                )
        return moved.rowcount == 1

    def note(
        self,
        connection: sa.Connection,
        revision_id: int,
        state: State,
        detail: str | None,
        at: float,
        *,
        is_news: bool = False,
    ) -> None:
        """Write a state into the history of a revision, and whether it is to be told."""
        connection.execute(
            sa.insert(schema.event).values(
                revision_id=revision_id,
                at=at,
                state=state,
                detail=detail,
                untold=True if is_news else None,
            )
        )

    def record(
        self,
        connection: sa.Connection,
        revision_id: int,
        results: Sequence[Result],
        destinations: Collection[str] | Plan,
        now: float,
        *,
        is_flagged: bool = False,
    ) -> None:
        """Write down results of a revision and plan where they go.

        One that was there before under another name of its file is under this one now.
        """
        columns = schema.result.c
        of_revision = sa.select(columns.sop_instance_uid, columns.id, columns.path).where(
            columns.revision_id == revision_id
        )
        there = {row.sop_instance_uid: row for row in connection.execute(of_revision)}
        new = {
            item.sop_instance_uid: item for item in results if item.sop_instance_uid not in there
        }
        if new:
            connection.execute(
                sa.insert(schema.result),
                [
                    {
                        "revision_id": revision_id,
                        "kind": item.kind,
                        "series_instance_uid": item.series_instance_uid,
                        "sop_class_uid": item.sop_class_uid,
                        "sop_instance_uid": item.sop_instance_uid,
                        "path": str(item.path),
                        "recipient": item.recipient,
                    }
                    for item in new.values()
                ],
            )
        for item in results:
            row = there.get(item.sop_instance_uid)
            if row is not None and row.path != str(item.path):
                connection.execute(
                    sa.update(schema.result).where(columns.id == row.id).values(path=str(item.path))
                )
        plan = Plan.of(results, destinations)
        self.plan(connection, revision_id, plan, now, is_flagged=is_flagged)

    def plan(
        self,
        connection: sa.Connection,
        revision_id: int,
        plan: Plan,
        now: float,
        is_flagged: bool,
    ) -> None:
        """Plan that results go to destinations, where that is not planned yet."""
        if not plan.deliveries:
            return
        columns = schema.result.c
        of_revision = sa.select(columns.sop_instance_uid, columns.id).where(
            columns.revision_id == revision_id
        )
        ids = {row.sop_instance_uid: row.id for row in connection.execute(of_revision)}
        rank = connection.execute(
            sa.select(_revision.c.rank).where(_revision.c.id == revision_id)
        ).scalar_one()
        connection.execute(
            self.insert(_delivery).on_conflict_do_nothing(),
            [
                {
                    "revision_id": revision_id,
                    "result_id": ids[planned.sop_instance_uid],
                    "destination": planned.destination,
                    "follows": planned.follows,
                    "rank": delivery_rank(rank, is_flagged),
                    "state": DeliveryState.PENDING,
                    "attempts": 0,
                    "next_try_at": None if planned.follows else now,
                    "detail": f"waits for {planned.follows}" if planned.follows else None,
                }
                for planned in plan.deliveries
            ],
        )
        self.let_follow(connection, _delivery.c.revision_id == revision_id, now)

    def let_follow(
        self, connection: sa.Connection, which: sa.ColumnElement[bool], now: float
    ) -> None:
        """Send what follows a destination that has all it gets; give up what follows in vain.

        Parameters
        ----------
        connection : sqlalchemy.Connection
        which : sqlalchemy.ColumnElement
            Of deliveries.
        now : float
            Seconds since 1970.
        """
        followed = _delivery.alias()
        followers = sa.and_(schema.follows_still(_delivery), which)
        if connection.execute(sa.select(_delivery.c.id).where(followers).limit(1)).first() is None:
            return  # as almost always

        def goes(*states: DeliveryState) -> sa.ColumnElement[bool]:
            """Whether something that is followed is in one of some states."""
            return sa.exists().where(
                followed.c.revision_id == _delivery.c.revision_id,
                followed.c.destination == _delivery.c.follows,
                followed.c.follows.is_(None),
                followed.c.state.in_(states),
            )

        connection.execute(
            sa.update(_delivery)
            .where(followers, goes(DeliveryState.FAILED))
            .values(
                state=DeliveryState.FAILED,
                detail=_delivery.c.follows + " did not store the results",
            )
        )
        connection.execute(
            sa.update(_delivery)
            .where(followers, ~goes(DeliveryState.PENDING))
            .values(next_try_at=now, detail=None)
        )

    def drop_unsent(self, connection: sa.Connection, revision_id: int) -> None:
        """Forget the deliveries of a revision that were not sent: what comes takes their place."""
        connection.execute(
            sa.delete(_delivery).where(
                _delivery.c.revision_id == revision_id,
                _delivery.c.state.in_([DeliveryState.PENDING, DeliveryState.FAILED]),
            )
        )

    def revision(self, revision_id: int) -> Revision | None:
        """The revision with that id."""
        found = self.select_revisions(_revision.c.id == revision_id, _revision.c.id, 1)
        return found[0] if found else None

    def select_revisions(
        self, condition: sa.ColumnElement[bool], order: Any, limit: int | None
    ) -> list[Revision]:
        """Read revisions as values."""
        counted = (
            sa.select(sa.func.count())
            .where(_instance.c.series_id == _revision.c.series_id, counts_for(_revision, _instance))
            .correlate(_revision)
            .scalar_subquery()
            .label("instances")
        )
        with self.reading() as connection:
            rows = connection.execute(
                sa.select(
                    _revision,
                    *(column for column in schema.series.c if column.name != "id"),
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
                flagged=tuple(row.flagged or ()),
                instances=row.instances,
                attempts=row.attempts,
                claims=row.claims,
                arrivals=row.arrivals,
                last_instance_at=utc(row.last_instance_at),
                updated_at=utc(row.updated_at),
                released_at=_utc_if_any(row.released_at),
                images_removed_at=_utc_if_any(row.images_removed_at),
                results_removed_at=_utc_if_any(row.results_removed_at),
                priority=Priority(row.priority, row.head_start),
                rank=row.rank,
                count=_count(row),
            )
            for row in rows
        ]

    def select_deliveries(
        self,
        condition: sa.ColumnElement[bool],
        limit: int | None = None,
        order: Sequence[sa.ColumnElement[Any]] = (_delivery.c.id,),
    ) -> list[Delivery]:
        """Read deliveries as values, in the order in which they were planned or another one."""
        with self.reading() as connection:
            rows = connection.execute(
                sa.select(
                    _delivery,
                    schema.result.c.kind,
                    schema.result.c.series_instance_uid,
                    schema.result.c.sop_class_uid,
                    schema.result.c.sop_instance_uid,
                    schema.result.c.path,
                    schema.result.c.recipient,
                )
                .join(schema.result, schema.result.c.id == _delivery.c.result_id)
                .where(condition)
                .order_by(*order)
                .limit(limit)
            ).all()
        return [
            Delivery(
                row.id,
                row.revision_id,
                row.destination,
                DeliveryState(row.state),
                row.attempts,
                None if row.first_tried_at is None else utc(row.first_tried_at),
                None if row.next_try_at is None else utc(row.next_try_at),
                row.detail,
                as_result(row),
            )
            for row in rows
        ]


def counts_for(revision: sa.FromClause, instance: sa.FromClause) -> sa.ColumnElement[bool]:
    """Whether an instance counts for a revision of its series."""
    return sa.and_(
        instance.c.from_revision <= revision.c.number,
        sa.or_(instance.c.to_revision.is_(None), instance.c.to_revision > revision.c.number),
    )


def latest(column: sa.ColumnElement[T]) -> sa.ScalarSelect[T]:
    """The latest time or the newest id in a column: the end of its index."""
    return sa.select(sa.func.max(column)).where(column.is_not(None)).scalar_subquery()


def some(items: Sequence[T]) -> Iterator[Sequence[T]]:
    """A few at a time: databases bound the number of parameters."""
    for begin in range(0, len(items), MOST_AT_ONCE):
        yield items[begin : begin + MOST_AT_ONCE]


def utc(seconds: float) -> datetime:
    """A time of the ledger as a value."""
    return datetime.fromtimestamp(seconds, UTC)


def as_instance(row: Any, revision: Revision) -> Instance:
    """A row of the table of instances as a value."""
    return Instance(
        revision.study_instance_uid,
        revision.series_instance_uid,
        row.sop_instance_uid,
        row.sop_class_uid,
        row.digest,
        Path(row.path),
        row.sender,
    )


def _utc_if_any(seconds: float | None) -> datetime | None:
    return None if seconds is None else utc(seconds)


def _count(row: Any) -> Count | None:
    if row.counted_instances is None:
        return None
    return Count(row.counted_instances, row.counted_by, bool(row.count_is_still))


def as_result(row: Any) -> Result:
    """A row of the table of results as a value."""
    return Result(
        row.kind,
        row.series_instance_uid,
        row.sop_class_uid,
        row.sop_instance_uid,
        Path(row.path),
        row.recipient,
    )
