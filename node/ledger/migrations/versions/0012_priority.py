"""Which series goes first: urgent ones before routine, the oldest first within."""

import sqlalchemy as sa

from node.ledger.migrations.steps import Seconds, add_column, build_index, drop_index

revision = "0012_priority"
down_revision = "0011_routes"


def upgrade() -> None:
    """What is under way goes before what comes now: its rank is none."""
    for table in ("revision", "delivery"):
        add_column(table, sa.Column("rank", Seconds, nullable=False, server_default="0"))
    add_column("revision", sa.Column("head_start", Seconds, nullable=False, server_default="0"))
    add_column("revision", sa.Column("priority", sa.String(64)))
    add_column("revision", sa.Column("paused_until", Seconds))
    build_index(
        "revision_waiting", "revision", "rank", "id", "paused_until", where="state = 'ready'"
    )
    build_index(
        "revision_prioritized", "revision", "priority", "updated_at", where="priority IS NOT NULL"
    )
    build_index(
        "delivery_ranked", "delivery", "destination", "rank", "id", where="state = 'pending'"
    )
    drop_index("delivery_waiting")  # the one above serves for it
