"""The database under the ledger, and what all steps of a series share."""

import fcntl
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import SQLAlchemyError

from ml.errors import first_line
from node.errors import ConfigError
from node.ledger import schema
from node.ledger.records import (
    Delivery,
    DeliveryState,
    Instance,
    Result,
    Revision,
    State,
)

_revision, _instance, _delivery = schema.revision, schema.instance, schema.delivery

T = TypeVar("T")

_READS = "ichnode_reads"

_INDEXES = {
    "sqlite": "SELECT name FROM sqlite_master WHERE type = 'index'",
    "postgresql": "SELECT indexname FROM pg_indexes WHERE schemaname = current_schema()",
}
"""Asks for the names of all; SQLAlchemy's inspector takes ten times as long."""

_FLAGGED = {
    "sqlite": "SELECT 1 FROM pragma_table_info('revision') WHERE name = 'flagged'",
    "postgresql": "SELECT 1 FROM information_schema.columns WHERE column_name = 'flagged' "
    "AND table_name = 'revision' AND table_schema = current_schema()",
}
"""Whether the column is there; ledgers of older nodes have none."""

_VACUUM = {
    "revision": "autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000, "
    "vacuum_index_cleanup = on",
    "delivery": "autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000",
}
"""Of tables whose rows change often: some tens of series leave so much behind."""

HINT_S = 5.0
"""A hint that was sent counts as lost after this time, seconds."""

MOST_AT_ONCE = 500
"""Rows that one look at what is due gives at most."""


def open_database(url: str) -> sa.Engine:
    """Connect to the ledger and make its tables if they are not there.

    Raises
    ------
    ConfigError
        If the database cannot be reached.
    """
    parsed = sa.make_url(url)
    try:
        is_file = parsed.get_backend_name() == "sqlite"
        engine = sa.create_engine(parsed, pool_pre_ping=not is_file)  # a server may have gone
        if is_file:
            _tune_sqlite(engine)
        else:
            _tune_postgresql(engine)
        with _alone(parsed):
            _create_tables(engine)
    except (SQLAlchemyError, OSError) as error:
        cause = first_line(getattr(error, "orig", None) or error)
        shown = parsed.render_as_string(hide_password=True)
        raise ConfigError(f"the ledger {shown} cannot be opened: {cause}") from error
    return engine


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
    with _changing(engine) as connection:
        schema.metadata.create_all(connection)
        if connection.execute(sa.text(_FLAGGED[engine.dialect.name])).first() is None:
            connection.execute(sa.text("ALTER TABLE revision ADD COLUMN flagged JSON"))
        there = set(connection.execute(sa.text(_INDEXES[engine.dialect.name])).scalars())
    for table in schema.metadata.sorted_tables:
        for index in table.indexes:
            if index.name not in there:  # the tables are of an older node
                # A transaction each: writers wait for one table at a time.
                with _changing(engine) as connection:
                    connection.execute(sa.schema.CreateIndex(index, if_not_exists=True))
    if engine.dialect.name == "postgresql":
        _have_tidied(engine)


def _have_tidied(engine: sa.Engine) -> None:
    """Have the server vacuum by what was changed, not by how much there is.

    What is due is found at the end of what was due before: by default as many dead rows
    as a fifth of all would lie there first. What an administrator has set is left alone.
    """
    untouched = sa.text(
        "SELECT relname FROM pg_class WHERE relnamespace = current_schema()::regnamespace "
        "AND relkind = 'r' AND reloptions IS NULL"
    )
    with _changing(engine) as connection:
        names = set(connection.execute(untouched).scalars())
        for name, options in _VACUUM.items():
            if name in names:
                connection.execute(sa.text(f"ALTER TABLE {name} SET ({options})"))


@contextmanager
def _changing(engine: sa.Engine) -> Iterator[sa.Connection]:
    """Two parts of the node that start together must not race for the tables."""
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(sa.text("SELECT pg_advisory_xact_lock(hashtext('ichnode'))"))
        yield connection


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


def _tune_postgresql(engine: sa.Engine) -> None:
    """Never compile a query: each reads a few rows, however many its planner expects."""

    @sa.event.listens_for(engine, "connect")
    def _connect(connection: Any, _record: object) -> None:
        connection.execute("SET jit = off")
        connection.commit()


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
        self._reader = engine.execution_options(**{_READS: True})
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
        condition = sa.and_(_revision.c.id == revision_id, _revision.c.state == expected)
        if arrivals is not None:
            condition = sa.and_(condition, _revision.c.arrivals == arrivals)
        with self.engine.begin() as connection:
            moved = connection.execute(
                sa.update(_revision).where(condition).values(state=state, updated_at=now, **values)
            )
            if moved.rowcount == 1:
                self.note(connection, revision_id, state, values.get("detail"), now)
        return moved.rowcount == 1

    def note(
        self,
        connection: sa.Connection,
        revision_id: int,
        state: State,
        detail: str | None,
        at: float,
    ) -> None:
        """Write a state into the history of a revision."""
        connection.execute(
            sa.insert(schema.event).values(
                revision_id=revision_id, at=at, state=state, detail=detail
            )
        )

    def record(
        self,
        connection: sa.Connection,
        revision_id: int,
        results: Sequence[Result],
        destinations: Sequence[str],
        now: float,
    ) -> None:
        """Write down results of a revision and plan that they go to destinations."""
        columns = schema.result.c
        of_revision = sa.select(columns.sop_instance_uid, columns.id).where(
            columns.revision_id == revision_id
        )
        ids = {row.sop_instance_uid: row.id for row in connection.execute(of_revision)}
        new = {item.sop_instance_uid: item for item in results if item.sop_instance_uid not in ids}
        if new:
            added = connection.execute(
                sa.insert(schema.result).returning(columns.sop_instance_uid, columns.id),
                [
                    {
                        "revision_id": revision_id,
                        "kind": item.kind,
                        "series_instance_uid": item.series_instance_uid,
                        "sop_class_uid": item.sop_class_uid,
                        "sop_instance_uid": item.sop_instance_uid,
                        "path": str(item.path),
                    }
                    for item in new.values()
                ],
            )
            ids.update({row.sop_instance_uid: row.id for row in added})
        result_ids = [ids[item.sop_instance_uid] for item in results]
        self.plan(connection, revision_id, result_ids, destinations, now)

    def plan(
        self,
        connection: sa.Connection,
        revision_id: int,
        result_ids: Sequence[int],
        destinations: Sequence[str],
        now: float,
    ) -> None:
        """Plan that results go to destinations, where that is not planned yet."""
        planned = [
            {
                "revision_id": revision_id,
                "result_id": result_id,
                "destination": destination,
                "state": DeliveryState.PENDING,
                "attempts": 0,
                "next_try_at": now,
            }
            for result_id in result_ids
            for destination in destinations
        ]
        if planned:
            connection.execute(self.insert(_delivery).on_conflict_do_nothing(), planned)

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
                flagged=tuple(row.flagged or ()),
                instances=row.instances,
                attempts=row.attempts,
                claims=row.claims,
                arrivals=row.arrivals,
                last_instance_at=utc(row.last_instance_at),
                updated_at=utc(row.updated_at),
                released_at=None if row.released_at is None else utc(row.released_at),
            )
            for row in rows
        ]

    def select_deliveries(
        self, condition: sa.ColumnElement[bool], limit: int | None = None
    ) -> list[Delivery]:
        """Read deliveries as values, in the order in which they were planned."""
        with self.reading() as connection:
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


def as_result(row: Any) -> Result:
    """A row of the table of results as a value."""
    return Result(
        row.kind,
        row.series_instance_uid,
        row.sop_class_uid,
        row.sop_instance_uid,
        Path(row.path),
    )
