"""A result may be for one recipient; a workitem goes after the report that it names."""

import sqlalchemy as sa

from node.ledger.migrations.steps import add_column, build_index

revision = "0011_routes"
down_revision = "0010_fetch"


def upgrade() -> None:
    """Add the columns, and the index of what waits for others."""
    add_column("result", sa.Column("recipient", sa.String(64)))
    add_column("delivery", sa.Column("follows", sa.String(64)))
    build_index(
        "delivery_following",
        "delivery",
        "revision_id",
        where="follows IS NOT NULL AND state = 'pending' AND next_try_at IS NULL",
    )
