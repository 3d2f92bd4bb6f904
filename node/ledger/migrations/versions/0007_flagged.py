"""Which findings of a revision are flagged: a worklist begins with those."""

import sqlalchemy as sa

from node.ledger.migrations.steps import add_column, build_index

revision = "0007_flagged"
down_revision = "0006_what_is_due"


def upgrade() -> None:
    """What was reported before is not known to be flagged."""
    add_column("revision", sa.Column("flagged", sa.JSON(none_as_null=True)))
    build_index("revision_flagged", "revision", "updated_at", where="flagged IS NOT NULL")
    build_index(
        "revision_apart",
        "revision",
        "state",
        "updated_at",
        where="state IN ('reported', 'skipped', 'failed')",
    )
