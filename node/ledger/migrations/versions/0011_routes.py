"""What is flagged goes first to a destination; a workitem is for one, and goes last."""

import sqlalchemy as sa

from node.ledger.migrations.steps import add_column, build_index, drop_index

revision = "0011_routes"
down_revision = "0009_removed"


def upgrade() -> None:
    """Add the columns, and the index of what waits in the order in which it goes."""
    add_column("result", sa.Column("recipient", sa.String(64)))
    add_column("delivery", sa.Column("follows", sa.String(64)))
    rank = sa.Column("rank", sa.SmallInteger, nullable=False, server_default="1")
    add_column("delivery", rank)
    build_index(
        "delivery_queue", "delivery", "destination", "rank", "id", where="state = 'pending'"
    )
    build_index(
        "delivery_following",
        "delivery",
        "revision_id",
        where="follows IS NOT NULL AND state = 'pending' AND next_try_at IS NULL",
    )
    drop_index("delivery_waiting")
