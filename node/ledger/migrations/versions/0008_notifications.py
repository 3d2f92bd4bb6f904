"""What is to be told of a series, by which rule, and whether it was taken."""

import sqlalchemy as sa

from node.ledger.migrations.steps import (
    Id,
    Seconds,
    add_column,
    build_index,
    make_index,
    make_table,
)

revision = "0008_notifications"
down_revision = "0007_flagged"


def upgrade() -> None:
    """Nothing is told of what came about before."""
    add_column("event", sa.Column("untold", sa.Boolean))
    build_index("event_untold", "event", "id", where="untold IS NOT NULL")
    make_table(
        "notification",
        sa.Column("id", Id, primary_key=True),
        sa.Column("event_id", Id, sa.ForeignKey("event.id", ondelete="CASCADE"), nullable=False),
        sa.Column("rule", sa.String(64), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("first_tried_at", Seconds),
        sa.Column("next_try_at", Seconds),
        sa.Column("detail", sa.Text),
        sa.UniqueConstraint("event_id", "rule"),
    )
    make_index(
        "notification_due",
        "notification",
        "rule",
        "next_try_at",
        where="next_try_at IS NOT NULL",
    )
    make_index("notification_given_up", "notification", "id", where="state = 'failed'")
