"""Claims of a revision are told apart by a count of their own: attempts begin anew."""

import sqlalchemy as sa

from node.ledger.migrations.steps import add_column

revision = "0002_claims"
down_revision = "0001_first"


def upgrade() -> None:
    """Add the count; no worker's claim of before goes on, for it knows of none."""
    add_column("revision", sa.Column("claims", sa.Integer, nullable=False, server_default="0"))
