"""A ledger is brought to the tables that this node works with, once, whoever opens it first.

Every part and every command of the node opens the ledger: so what there is to do is
asked for in one statement, and Alembic is loaded where there is something.
"""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa

from node.errors import ConfigError
from node.ledger.connecting import READS, connected
from node.ledger.migrations import revisions

log = logging.getLogger(__name__)

_LOOK_AGAIN_S = 0.2

_TABLE = "alembic_version"


def newest_revision() -> str:
    """The revision that this node works with."""
    return revisions()[-1]


def revision_of(engine: sa.Engine) -> str | None:
    """The revision of a ledger; None if it is empty, or of a node before revisions.

    Raises
    ------
    ConfigError
        If it is of a newer node.
    """
    with engine.execution_options(**{READS: True}).connect() as connection:
        if not sa.inspect(connection).has_table(_TABLE):
            return None
        found: str | None = connection.execute(
            sa.text(f"SELECT version_num FROM {_TABLE}")  # noqa: S608
        ).scalar()
    if found is not None and found not in revisions():
        shown = engine.url.render_as_string(hide_password=True)
        raise ConfigError(
            f"the ledger {shown} is of a newer node: it is at revision {found}, and this node "
            f"knows none after {newest_revision()}; install the newer one again"
        )
    return found


def revision_at(url: str) -> str | None:
    """The revision of a ledger as `revision_of` gives it; nothing is changed.

    Raises
    ------
    ConfigError
        If it cannot be reached, or is of a newer node.
    """
    with connected(url) as engine:
        found = revision_of(engine)
    engine.dispose()
    return found


def upgrade(engine: sa.Engine) -> None:
    """Bring a ledger to the newest revision.

    Raises
    ------
    ConfigError
        If it is of a newer node.
    """
    newest = newest_revision()
    found = revision_of(engine)
    if found == newest:
        return
    from node.ledger.migrations.run import run  # noqa: PLC0415  it brings Alembic

    with _alone(engine) as connection:
        if revision_of(engine) != newest:  # another one may have been quicker
            run(connection)
            log.info("the ledger is at revision %s; it was at %s", newest, found or "none")


@contextmanager
def _alone(engine: sa.Engine) -> Iterator[sa.Connection]:
    """Keep other parts of the node out of a PostgreSQL; for SQLite there is a lock file.

    Who waits asks again and again: a build of an index that keeps nobody waiting ends when
    all statements that ran before it have, and waiting in the server is a statement.
    """
    with engine.connect() as connection:
        if engine.dialect.name != "postgresql":
            yield connection
            return
        ask = sa.text("SELECT pg_try_advisory_lock(hashtext('ichnode.upgrade'))")
        while not connection.execute(ask).scalar():
            connection.rollback()
            time.sleep(_LOOK_AGAIN_S)
        connection.commit()
        try:
            yield connection
        finally:
            connection.invalidate()  # the lock ends with the session, however it is
