"""The ledger's tables, the same in SQLite and PostgreSQL.

`due_at` of a revision and `next_try_at` of a delivery say when the row will
have stood still too long. The sweeper looks for these alone, so its work grows
with what is under way and not with what was ever seen.
"""

from typing import Any

import sqlalchemy as sa

metadata = sa.MetaData()

UID = sa.String(64)
Seconds = sa.Double  # seconds since 1970, UTC
APART = ("reported", "skipped", "failed")
"""States of revisions that are listed by themselves: what is under way is due, most are
delivered."""

Id = sa.BigInteger().with_variant(sa.Integer, "sqlite")

series = sa.Table(
    "series",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("study_instance_uid", UID, nullable=False),
    sa.Column("series_instance_uid", UID, nullable=False),
    sa.Column("counted_instances", sa.Integer),
    sa.Column("counted_by", sa.String(64)),
    sa.Column("count_is_still", sa.Boolean),
    sa.UniqueConstraint("series_instance_uid", "study_instance_uid"),
    sa.Index("series_of_study", "study_instance_uid"),
)

revision = sa.Table(
    "revision",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("series_id", sa.ForeignKey("series.id"), nullable=False),
    sa.Column("number", sa.Integer, nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("reason", sa.String(64)),
    sa.Column("detail", sa.Text),
    sa.Column("warnings", sa.JSON, nullable=False),
    sa.Column("maxima", sa.JSON),
    sa.Column("flagged", sa.JSON(none_as_null=True)),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("claims", sa.Integer, nullable=False),
    sa.Column("arrivals", sa.Integer, nullable=False),
    sa.Column("last_instance_at", Seconds, nullable=False),
    sa.Column("released_at", Seconds),
    sa.Column("updated_at", Seconds, nullable=False),
    sa.Column("due_at", Seconds),
    sa.Column("images_removed_at", Seconds),
    sa.Column("results_removed_at", Seconds),
    sa.UniqueConstraint("series_id", "number"),
    sa.Index("revision_updated", "updated_at"),
)

# An instance counts for the revisions from `from_revision` up to, but not
# including, `to_revision`, at which another content took its place.
instance = sa.Table(
    "instance",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("series_id", sa.ForeignKey("series.id"), nullable=False),
    sa.Column("sop_instance_uid", UID, nullable=False),
    sa.Column("sop_class_uid", UID, nullable=False),
    sa.Column("digest", sa.String(64), nullable=False),
    sa.Column("path", sa.Text, nullable=False),
    sa.Column("sender", sa.String(16), nullable=False),
    sa.Column("received_at", Seconds, nullable=False),
    sa.Column("from_revision", sa.Integer, nullable=False),
    sa.Column("to_revision", sa.Integer),
    sa.Index("instance_of_series", "series_id", "sop_instance_uid"),
)

event = sa.Table(
    "event",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("revision_id", sa.ForeignKey("revision.id"), nullable=False, index=True),
    sa.Column("at", Seconds, nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("detail", sa.Text),
    sa.Column("untold", sa.Boolean),
)

# What a rule tells of an event, until it was taken.
notification = sa.Table(
    "notification",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("event_id", sa.ForeignKey("event.id", ondelete="CASCADE"), nullable=False),
    sa.Column("rule", sa.String(64), nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("first_tried_at", Seconds),
    sa.Column("next_try_at", Seconds),
    sa.Column("detail", sa.Text),
    sa.UniqueConstraint("event_id", "rule"),
)

result = sa.Table(
    "result",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("revision_id", sa.ForeignKey("revision.id"), nullable=False, index=True),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("series_instance_uid", UID, nullable=False),
    sa.Column("sop_class_uid", UID, nullable=False),
    sa.Column("sop_instance_uid", UID, nullable=False),
    sa.Column("path", sa.Text, nullable=False),
)

delivery = sa.Table(
    "delivery",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("revision_id", sa.ForeignKey("revision.id"), nullable=False),
    sa.Column("result_id", sa.ForeignKey("result.id"), nullable=False),
    sa.Column("destination", sa.String(64), nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("first_tried_at", Seconds),
    sa.Column("next_try_at", Seconds),
    sa.Column("detail", sa.Text),
    sa.UniqueConstraint("result_id", "destination"),
    sa.Index("delivery_of_revision", "revision_id", "destination"),
)

# One sender at a time holds a destination; one that is ill rests, and holds no other up.
destination = sa.Table(
    "destination",
    metadata,
    sa.Column("name", sa.String(64), primary_key=True),
    sa.Column("holder", sa.String(16)),
    sa.Column("held_until", Seconds),
    sa.Column("failures", sa.Integer, nullable=False),
    sa.Column("rests_until", Seconds),
    sa.Column("detail", sa.Text),
)

# Storage commitment that destinations are asked for: a commitment is asked for again under
# a new transaction, and a report on any of its transactions counts.
commitment = sa.Table(
    "commitment",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("destination", sa.String(64), nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("since", Seconds, nullable=False),
    sa.Column("due_at", Seconds),
    sa.Column("detail", sa.Text),
)

commitment_transaction = sa.Table(
    "commitment_transaction",
    metadata,
    sa.Column("transaction_uid", UID, primary_key=True),
    sa.Column("commitment_id", sa.ForeignKey("commitment.id"), nullable=False, index=True),
)

# An object stands here from when it is asked for until it is heard of.
commitment_reference = sa.Table(
    "commitment_reference",
    metadata,
    sa.Column("delivery_id", sa.ForeignKey("delivery.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("commitment_id", sa.ForeignKey("commitment.id"), nullable=False, index=True),
)

# What a sender asked the node to commit to, and is to be told.
owed_report = sa.Table(
    "owed_report",
    metadata,
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

# What a source has, and what of it was fetched.
retrieval = sa.Table(
    "retrieval",
    metadata,
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
    sa.Index("retrieval_of_study", "study_instance_uid"),
)

# How a source is, and what came of asking it.
source = sa.Table(
    "source",
    metadata,
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

sa.Index("instance_by_uid", instance.c.sop_instance_uid)


def stands(table: sa.FromClause, state: str) -> sa.ColumnElement[bool]:
    """Whether a row is in a state, such that a planner sees which index below serves."""
    return table.c.state == sa.literal_column(f"'{state}'")  # the word, not a parameter


def stands_apart(table: sa.FromClause) -> sa.ColumnElement[bool]:
    """Whether a row is in one of the states that few stay in and that are looked for."""
    words: list[Any] = [sa.literal_column(f"'{state}'") for state in APART]
    return table.c.state.in_(words)


def _index_where(where: sa.ColumnElement[bool], name: str, *columns: sa.Column[Any]) -> None:
    """An index of the few rows that something is to be done with, however many are done.

    Even a planner without statistics sees that it is small.
    """
    sa.Index(name, *columns, sqlite_where=where, postgresql_where=where)


for _name, _due in (
    ("revision_due", revision.c.due_at),
    ("delivery_due", delivery.c.next_try_at),
    ("commitment_due", commitment.c.due_at),
    ("owed_report_due", owed_report.c.due_at),
):
    _index_where(_due.is_not(None), _name, _due)

_index_where(event.c.untold.is_not(None), "event_untold", event.c.id)
_index_where(
    notification.c.next_try_at.is_not(None),
    "notification_due",
    notification.c.rule,
    notification.c.next_try_at,
)
_index_where(stands(notification, "failed"), "notification_given_up", notification.c.id)

# What can be removed one day, the oldest first: as many as [retention] keeps, not all.
for _name, _removed in (
    ("revision_with_images", revision.c.images_removed_at),
    ("revision_with_results", revision.c.results_removed_at),
):
    _index_where(_removed.is_(None), _name, revision.c.updated_at, revision.c.id)

_index_where(
    retrieval.c.next_try_at.is_not(None),
    "retrieval_due",
    retrieval.c.source,
    retrieval.c.next_try_at,
)
_index_where(stands(retrieval, "failed"), "retrieval_given_up", retrieval.c.source, retrieval.c.id)
_index_where(stands(revision, "failed"), "revision_failed", revision.c.id)
_index_where(revision.c.flagged.is_not(None), "revision_flagged", revision.c.updated_at)
_index_where(stands_apart(revision), "revision_apart", revision.c.state, revision.c.updated_at)
_index_where(stands(delivery, "pending"), "delivery_waiting", delivery.c.destination, delivery.c.id)
_index_where(
    stands(delivery, "failed"),
    "delivery_given_up",
    delivery.c.destination,
    delivery.c.revision_id,
)
_index_where(
    stands(delivery, "sent"), "delivery_sent", delivery.c.destination, delivery.c.first_tried_at
)
