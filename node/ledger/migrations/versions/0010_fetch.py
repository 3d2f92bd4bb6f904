"""What sources have, what of it was fetched, and how many images they count."""

import sqlalchemy as sa

from node.ledger.migrations.steps import (
    UID,
    Id,
    Seconds,
    add_column,
    make_index,
    make_table,
)

revision = "0010_fetch"
down_revision = "0009_removed"


def upgrade() -> None:
    """Nothing is known of sources before."""
    add_column("series", sa.Column("counted_instances", sa.Integer))
    add_column("series", sa.Column("counted_by", sa.String(64)))
    add_column("series", sa.Column("count_is_still", sa.Boolean))
    make_table(
        "retrieval",
        sa.Column("id", Id, primary_key=True),
        sa.Column("source", sa.String(64), nullable=False),
        sa.Column("study_instance_uid", UID, nullable=False),
        sa.Column("series_instance_uid", UID, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("counted", sa.Integer),
        sa.Column("still", sa.Integer, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("next_try_at", Seconds),
        sa.Column("updated_at", Seconds, nullable=False),
        sa.Column("detail", sa.Text),
        sa.UniqueConstraint("series_instance_uid", "study_instance_uid", "source"),
    )
    make_index("retrieval_of_study", "retrieval", "study_instance_uid")
    make_index(
        "retrieval_due", "retrieval", "source", "next_try_at", where="next_try_at IS NOT NULL"
    )
    make_index("retrieval_given_up", "retrieval", "source", "id", where="state = 'failed'")
    make_table(
        "source",
        sa.Column("name", sa.String(64), primary_key=True),
        sa.Column("polled_at", Seconds),
        sa.Column("answered_at", Seconds),
        sa.Column("failures", sa.Integer, nullable=False),
        sa.Column("rests_until", Seconds),
        sa.Column("detail", sa.Text),
        sa.Column("series_fetched", sa.Integer, nullable=False),
        sa.Column("series_known", sa.Integer, nullable=False),
        sa.Column("series_failed", sa.Integer, nullable=False),
        sa.Column("images_fetched", sa.Integer, nullable=False),
    )
