"""A second model judges the same series; what is counted of series on each day."""

import sqlalchemy as sa

from node.ledger.migrations.steps import Id, Seconds, make_index, make_table

revision = "0013_shadow"
down_revision = "0012_priority"


def upgrade() -> None:
    """Nothing is counted of series that were judged before."""
    make_table(
        "model",
        sa.Column("id", Id, primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("version", sa.Text, nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("operating_point", sa.String(64), nullable=False),
        sa.UniqueConstraint("digest", "operating_point"),
    )
    make_table(
        "shadow",
        sa.Column("id", Id, primary_key=True),
        sa.Column("revision_id", Id, sa.ForeignKey("revision.id"), nullable=False, unique=True),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("primary_id", Id, nullable=False),
        sa.Column("primary_maxima", sa.JSON, nullable=False),
        sa.Column("primary_flagged", sa.JSON, nullable=False),
        sa.Column("shadow_id", Id),
        sa.Column("maxima", sa.JSON(none_as_null=True)),
        sa.Column("flagged", sa.JSON(none_as_null=True)),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("claims", sa.Integer, nullable=False),
        sa.Column("updated_at", Seconds, nullable=False),
        sa.Column("due_at", Seconds),
        sa.Column("detail", sa.Text),
    )
    make_index("shadow_due", "shadow", "due_at", where="due_at IS NOT NULL")
    make_index("shadow_failed", "shadow", "id", where="state = 'failed'")
    make_index(
        "shadow_judged",
        "shadow",
        "primary_id",
        "shadow_id",
        "updated_at",
        where="state = 'judged'",
    )
    make_table(
        "trait_tally",
        sa.Column("day", sa.Integer, primary_key=True),
        sa.Column("primary_id", Id, primary_key=True),
        sa.Column("shadow_id", Id, primary_key=True),
        sa.Column("trait", sa.String(64), primary_key=True),
        sa.Column("bin", sa.String(96), primary_key=True),
        sa.Column("series", sa.Integer, nullable=False),
        sa.Column("total", sa.Double, nullable=False),
    )
