"""How each series was judged and by which model, what readers say of it, and both counted."""

import sqlalchemy as sa

from node.ledger.migrations.steps import UID, Id, Seconds, make_index, make_table

revision = "0014_feedback"
down_revision = "0013_shadow"


def upgrade() -> None:
    """What was judged before counts for nothing: nobody noted by which model."""
    make_table(
        "judged",
        sa.Column(
            "series_id", Id, sa.ForeignKey("series.id", ondelete="CASCADE"), primary_key=True
        ),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("model_id", Id, sa.ForeignKey("model.id"), nullable=False),
        sa.Column("judged_at", Seconds, nullable=False),
        sa.Column("flagged", sa.JSON, nullable=False),
        sa.Column("is_flagged", sa.Boolean, nullable=False),
        sa.Column("truth", sa.JSON),
        sa.Column("accession", sa.String(64)),
    )
    make_index(
        "judged_unread",
        "judged",
        "is_flagged",
        "judged_at",
        "series_id",
        where="truth IS NULL",
    )
    make_index("judged_read", "judged", "model_id", "series_id", where="truth IS NOT NULL")
    make_index("judged_of_accession", "judged", "accession", where="accession IS NOT NULL")
    make_table(
        "reading",
        sa.Column("id", Id, primary_key=True),
        sa.Column("study_instance_uid", UID, nullable=False),
        sa.Column("series_instance_uid", UID),
        sa.Column("source", sa.String(16), nullable=False),
        sa.Column("reader", sa.String(64), nullable=False),
        sa.Column("said_at", Seconds, nullable=False),
        sa.Column("entered_at", Seconds, nullable=False),
        sa.Column("findings", sa.JSON, nullable=False),
        sa.Column("remark", sa.Text),
    )
    make_index("reading_of_study", "reading", "study_instance_uid", "said_at")
    make_table(
        "tally",
        sa.Column("model_id", Id, sa.ForeignKey("model.id"), primary_key=True),
        sa.Column("day", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("finding", sa.String(16), primary_key=True),
        *(
            sa.Column(what, sa.Integer, nullable=False)
            for what in (
                "series",
                "flagged",
                "true_positives",
                "false_positives",
                "true_negatives",
                "false_negatives",
            )
        ),
    )
