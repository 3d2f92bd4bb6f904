"""Connections to the database under the ledger, made the way that its promises need."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from ml.errors import first_line
from node.errors import ConfigError

READS = "ichnode_reads"
"""Execution option of connections that take no write lock."""


@contextmanager
def connected(url: str) -> Iterator[sa.Engine]:
    """Connect to a ledger, alone for as long as the context lasts where it is an SQLite file.

    The engine is still of use afterwards.

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
            yield engine
    except (SQLAlchemyError, OSError) as error:
        cause = first_line(getattr(error, "orig", None) or error)
        shown = parsed.render_as_string(hide_password=True)
        raise ConfigError(f"the ledger {shown} cannot be opened: {cause}") from error


@contextmanager
def _alone(url: sa.URL) -> Iterator[None]:
    """Keep the other parts of the node out while an SQLite file is made or upgraded.

    SQLite does not wait for a lock when it turns to write-ahead logging.
    """
    if url.get_backend_name() != "sqlite" or not url.database:
        yield
        return
    # SQLite's own addresses, as file:/srv/ledger.sqlite?mode=ro, name a path too.
    path = Path(urlsplit(url.database).path if "uri" in url.query else url.database)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(f"{path.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


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
        reads = connection.get_execution_options().get(READS, False)
        connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")


def _tune_postgresql(engine: sa.Engine) -> None:
    """Never compile a query: each reads a few rows, however many its planner expects."""

    @sa.event.listens_for(engine, "connect")
    def _connect(connection: Any, _record: object) -> None:
        connection.execute("SET jit = off")
        connection.commit()
