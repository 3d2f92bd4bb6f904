"""Storage commitment, in both roles."""

import sqlalchemy as sa

from node.ledger.migrations.steps import UID, Id, Seconds, build_index, make_index, make_table

revision = "0004_commitment"
down_revision = "0003_destinations"


def upgrade() -> None:
    """Make the tables, and indexes to ask by."""
    make_table(
        "commitment",
        sa.Column("id", Id, primary_key=True),
        sa.Column("destination", sa.String(64), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("since", Seconds, nullable=False),
        sa.Column("due_at", Seconds),
        sa.Column("detail", sa.Text),
    )
    make_index("commitment_due", "commitment", "due_at")
    make_table(
        "commitment_transaction",
        sa.Column("transaction_uid", UID, primary_key=True),
        sa.Column("commitment_id", Id, sa.ForeignKey("commitment.id"), nullable=False),
    )
    make_table(
        "commitment_reference",
        sa.Column(
            "delivery_id", Id, sa.ForeignKey("delivery.id", ondelete="CASCADE"), primary_key=True
        ),
        sa.Column("commitment_id", Id, sa.ForeignKey("commitment.id"), nullable=False),
    )
    make_index("ix_commitment_reference_commitment_id", "commitment_reference", "commitment_id")
    make_table(
        "owed_report",
        sa.Column("id", Id, primary_key=True),
        sa.Column("requestor", sa.String(16), nullable=False),
        sa.Column("transaction_uid", UID, nullable=False),
        sa.Column("objects", sa.JSON, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("since", Seconds, nullable=False),
        sa.Column("due_at", Seconds),
        sa.Column("detail", sa.Text),
        sa.UniqueConstraint("requestor", "transaction_uid"),
    )
    make_index("owed_report_due", "owed_report", "due_at")
    build_index("instance_by_uid", "instance", "sop_instance_uid")
    build_index(
        "delivery_sent", "delivery", "destination", "first_tried_at", where="state = 'sent'"
    )
