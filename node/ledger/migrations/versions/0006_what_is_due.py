"""Indexes of what is due hold nothing else, and PostgreSQL tidies up by what was changed."""

import sqlalchemy as sa
from alembic import op

from node.ledger.migrations.steps import narrow_index

revision = "0006_what_is_due"
down_revision = "0005_what_waits"

_VACUUM = {
    "revision": "autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000, "
    "vacuum_index_cleanup = on",
    "delivery": "autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000",
}
"""Of tables whose rows change often: some tens of series leave so much behind."""

_UNTOUCHED = sa.text(
    "SELECT relname FROM pg_class WHERE relnamespace = current_schema()::regnamespace "
    "AND relkind = 'r' AND reloptions IS NULL"
)


def upgrade() -> None:
    """Narrow the indexes.

    What is due is found at the end of what was due before: by default as many dead rows as a
    fifth of all would lie there first. What an administrator has set is left alone.
    """
    for name, table, column in (
        ("revision_due", "revision", "due_at"),
        ("delivery_due", "delivery", "next_try_at"),
        ("commitment_due", "commitment", "due_at"),
        ("owed_report_due", "owed_report", "due_at"),
    ):
        narrow_index(name, table, column)
    connection = op.get_bind()
    if connection.dialect.name == "postgresql":
        untouched = set(connection.execute(_UNTOUCHED).scalars())
        for table in _VACUUM.keys() & untouched:
            op.execute(f"ALTER TABLE {table} SET ({_VACUUM[table]})")
