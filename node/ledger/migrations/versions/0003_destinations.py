"""One sender at a time holds a destination; one that is ill rests."""

import sqlalchemy as sa

from node.ledger.migrations.steps import Seconds, make_table

revision = "0003_destinations"
down_revision = "0002_claims"


def upgrade() -> None:
    """Make the table."""
    make_table(
        "destination",
        sa.Column("name", sa.String(64), primary_key=True),
        sa.Column("holder", sa.String(16)),
        sa.Column("held_until", Seconds),
        sa.Column("failures", sa.Integer, nullable=False),
        sa.Column("rests_until", Seconds),
        sa.Column("detail", sa.Text),
    )
