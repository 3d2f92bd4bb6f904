"""How each instance came in."""

import sqlalchemy as sa

from node.ledger.migrations.steps import add_column

revision = "0015_way"
down_revision = "0014_feedback"


def upgrade() -> None:
    """Of what is there already nobody has noted it."""
    add_column("instance", sa.Column("way", sa.String(8)))
