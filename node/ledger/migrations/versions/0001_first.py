"""The first ledger: series, revisions, instances, events, results, deliveries."""

import sqlalchemy as sa

from node.ledger.migrations.steps import UID, Id, Seconds, make_index, make_table

revision = "0001_first"
down_revision = None


def upgrade() -> None:
    """Make the tables."""
    make_table(
        "series",
        sa.Column("id", Id, primary_key=True),
        sa.Column("study_instance_uid", UID, nullable=False),
        sa.Column("series_instance_uid", UID, nullable=False),
        sa.UniqueConstraint("series_instance_uid", "study_instance_uid"),
    )
    make_table(
        "revision",
        sa.Column("id", Id, primary_key=True),
        sa.Column("series_id", Id, sa.ForeignKey("series.id"), nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("reason", sa.String(64)),
        sa.Column("detail", sa.Text),
        sa.Column("warnings", sa.JSON, nullable=False),
        sa.Column("maxima", sa.JSON),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("arrivals", sa.Integer, nullable=False),
        sa.Column("last_instance_at", Seconds, nullable=False),
        sa.Column("released_at", Seconds),
        sa.Column("updated_at", Seconds, nullable=False),
        sa.Column("due_at", Seconds),
        sa.UniqueConstraint("series_id", "number"),
    )
    make_index("revision_due", "revision", "due_at")
    make_index("revision_updated", "revision", "updated_at")
    make_table(
        "instance",
        sa.Column("id", Id, primary_key=True),
        sa.Column("series_id", Id, sa.ForeignKey("series.id"), nullable=False),
        sa.Column("sop_instance_uid", UID, nullable=False),
        sa.Column("sop_class_uid", UID, nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("path", sa.Text, nullable=False),
        sa.Column("sender", sa.String(16), nullable=False),
        sa.Column("received_at", Seconds, nullable=False),
        sa.Column("from_revision", sa.Integer, nullable=False),
        sa.Column("to_revision", sa.Integer),
    )
    make_index("instance_of_series", "instance", "series_id", "sop_instance_uid")
    make_table(
        "event",
        sa.Column("id", Id, primary_key=True),
        sa.Column("revision_id", Id, sa.ForeignKey("revision.id"), nullable=False),
        sa.Column("at", Seconds, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("detail", sa.Text),
    )
    make_index("ix_event_revision_id", "event", "revision_id")
    make_table(
        "result",
        sa.Column("id", Id, primary_key=True),
        sa.Column("revision_id", Id, sa.ForeignKey("revision.id"), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("series_instance_uid", UID, nullable=False),
        sa.Column("sop_class_uid", UID, nullable=False),
        sa.Column("sop_instance_uid", UID, nullable=False),
        sa.Column("path", sa.Text, nullable=False),
    )
    make_index("ix_result_revision_id", "result", "revision_id")
    make_table(
        "delivery",
        sa.Column("id", Id, primary_key=True),
        sa.Column("revision_id", Id, sa.ForeignKey("revision.id"), nullable=False),
        sa.Column("result_id", Id, sa.ForeignKey("result.id"), nullable=False),
        sa.Column("destination", sa.String(64), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("first_tried_at", Seconds),
        sa.Column("next_try_at", Seconds),
        sa.Column("detail", sa.Text),
        sa.UniqueConstraint("result_id", "destination"),
    )
    make_index("delivery_of_revision", "delivery", "revision_id", "destination")
    make_index("delivery_due", "delivery", "next_try_at")
