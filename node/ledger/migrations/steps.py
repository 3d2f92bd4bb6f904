"""What steps are made of.

Nodes before revisions made what tables were missing at their start, and later indexes too:
their ledgers have more or less of the first six steps. So these do nothing again that is
there, and a build that was cut off goes on.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op

UID = sa.String(64)
Seconds = sa.Double
Id = sa.BigInteger().with_variant(sa.Integer, "sqlite")

_DEFINITION = {
    "sqlite": "SELECT sql FROM sqlite_master WHERE type = 'index' AND name = :name",
    "postgresql": "SELECT pg_get_indexdef(indexrelid) FROM pg_index "
    "WHERE indexrelid = to_regclass(:name) AND indisvalid",
}
"""Of an index that is there and whole."""


_WHERE = ("sqlite_where", "postgresql_where")


def make_table(name: str, *content: Any) -> None:
    """Make a table that is not there."""
    op.create_table(name, *content, if_not_exists=True)


def add_column(table: str, column: sa.Column[Any]) -> None:
    """Add a column that is not there."""
    there = {found["name"] for found in sa.inspect(op.get_bind()).get_columns(table)}
    if column.name not in there:
        op.add_column(table, column)


def make_index(name: str, table: str, *columns: str, where: str | None = None) -> None:
    """Make an index of a table that nobody writes to yet."""
    if _definition(name) is None:
        op.create_index(name, table, list(columns), **_only(where))


def build_index(name: str, table: str, *columns: str, where: str | None = None) -> None:
    """Make an index of a table that may hold much; in PostgreSQL writers go on meanwhile."""
    if op.get_context().dialect.name != "postgresql":
        make_index(name, table, *columns, where=where)
    elif _definition(name) is None:
        with op.get_context().autocommit_block():
            # What a build that was cut off has left is of no use.
            op.drop_index(name, if_exists=True, postgresql_concurrently=True)
            op.create_index(
                name, table, list(columns), postgresql_concurrently=True, **_only(where)
            )


def narrow_index(name: str, table: str, column: str) -> None:
    """Make an index of all rows one of those that have a value."""
    definition = _definition(name)
    if definition is not None and "WHERE" not in definition:
        drop_index(name)
    build_index(name, table, column, where=f"{column} IS NOT NULL")


def drop_index(name: str) -> None:
    """Drop an index that is there; in PostgreSQL writers go on meanwhile."""
    if op.get_context().dialect.name == "postgresql":
        with op.get_context().autocommit_block():
            op.drop_index(name, if_exists=True, postgresql_concurrently=True)
    else:
        op.drop_index(name, if_exists=True)


def _definition(name: str) -> str | None:
    """How an index was made; asked for first, since IF NOT EXISTS would wait for all writers."""
    asked = sa.text(_DEFINITION[op.get_context().dialect.name])
    definition: str | None = op.get_bind().execute(asked, {"name": name}).scalar()
    return definition


def _only(where: str | None) -> dict[str, Any]:
    """Which rows an index has, as arguments."""
    return {} if where is None else dict.fromkeys(_WHERE, sa.text(where))
