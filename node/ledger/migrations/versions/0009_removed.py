"""What was removed after its time stays in the ledger, with when that was."""

import sqlalchemy as sa

from node.ledger.migrations.steps import Seconds, add_column, build_index

revision = "0009_removed"
down_revision = "0008_notifications"


def upgrade() -> None:
    """Add the times, and indexes of what is still there."""
    for what in ("images", "results"):
        add_column("revision", sa.Column(f"{what}_removed_at", Seconds))
    for what in ("images", "results"):
        build_index(
            f"revision_with_{what}",
            "revision",
            "updated_at",
            "id",
            where=f"{what}_removed_at IS NULL",
        )
