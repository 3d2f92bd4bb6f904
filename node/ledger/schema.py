"""The ledger's tables, the same in SQLite and PostgreSQL.

`due_at` of a revision and `next_try_at` of a delivery say when the row will
have stood still too long. The sweeper looks for these alone, so its work grows
with what is under way and not with what was ever seen.

`rank` says who goes first: the time at which a revision became ready, less the head start
that its priority gives it, seconds. The lowest goes first. Results have the rank of their
revision, less a head start of their own where something is flagged.
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
    sa.Column("rank", Seconds, nullable=False, server_default="0"),
    sa.Column("head_start", Seconds, nullable=False, server_default="0"),
    sa.Column("priority", sa.String(64)),
    sa.Column("paused_until", Seconds),
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
    sa.Column("way", sa.String(8)),
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
    sa.Column("recipient", sa.String(64)),
)

# What is to be sent. One that `follows` a destination waits, without a time, until what goes
# there is stored.
delivery = sa.Table(
    "delivery",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("revision_id", sa.ForeignKey("revision.id"), nullable=False),
    sa.Column("result_id", sa.ForeignKey("result.id"), nullable=False),
    sa.Column("destination", sa.String(64), nullable=False),
    sa.Column("follows", sa.String(64)),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("first_tried_at", Seconds),
    sa.Column("next_try_at", Seconds),
    sa.Column("detail", sa.Text),
    sa.Column("rank", Seconds, nullable=False, server_default="0"),
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

# A model as it judged: with one of its operating points, or none (empty).
model = sa.Table(
    "model",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("version", sa.Text, nullable=False),
    sa.Column("digest", sa.String(64), nullable=False),
    sa.Column("operating_point", sa.String(64), nullable=False),
    sa.UniqueConstraint("digest", "operating_point"),
)

# How a series was judged last, beside what its newest reading says: null where nobody has
# read it, empty where a reader cannot tell. An accession number stands here as its digest.
judged = sa.Table(
    "judged",
    metadata,
    sa.Column("series_id", sa.ForeignKey("series.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("number", sa.Integer, nullable=False),
    sa.Column("model_id", sa.ForeignKey("model.id"), nullable=False),
    sa.Column("judged_at", Seconds, nullable=False),
    sa.Column("flagged", sa.JSON, nullable=False),
    sa.Column("is_flagged", sa.Boolean, nullable=False),
    sa.Column("truth", sa.JSON(none_as_null=True)),
    sa.Column("accession", sa.String(64)),
)

# What a reader says of a series, or of every series of a study; nothing is ever changed.
reading = sa.Table(
    "reading",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("study_instance_uid", UID, nullable=False),
    sa.Column("series_instance_uid", UID),
    sa.Column("source", sa.String(16), nullable=False),
    sa.Column("reader", sa.String(64), nullable=False),
    sa.Column("said_at", Seconds, nullable=False),
    sa.Column("entered_at", Seconds, nullable=False),
    sa.Column("findings", sa.JSON, nullable=False),
    sa.Column("remark", sa.Text),
    sa.Index("reading_of_study", "study_instance_uid", "said_at"),
)

# How many series a model judged on a day (since 1970, UTC), and how they compare with their
# readings: kept in step with `judged`, so that no figure costs more with every series.
tally = sa.Table(
    "tally",
    metadata,
    sa.Column("model_id", sa.ForeignKey("model.id"), primary_key=True),
    sa.Column("day", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("finding", sa.String(16), primary_key=True),
    sa.Column("series", sa.Integer, nullable=False),
    sa.Column("flagged", sa.Integer, nullable=False),
    sa.Column("true_positives", sa.Integer, nullable=False),
    sa.Column("false_positives", sa.Integer, nullable=False),
    sa.Column("true_negatives", sa.Integer, nullable=False),
    sa.Column("false_negatives", sa.Integer, nullable=False),
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

# A revision that a second model judges too, with what the first one said of it then. Models
# are never deleted: their ids are no foreign keys, which would need indexes.
shadow = sa.Table(
    "shadow",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("revision_id", sa.ForeignKey("revision.id"), nullable=False, unique=True),
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

# How many series of a day had a trait in a bin: what is compared over time is read from here,
# so that it takes as long with a million series as with a thousand. Without models (0) it is a
# trait of the series, with one it is what that one said, with both how far they agreed.
trait_tally = sa.Table(
    "trait_tally",
    metadata,
    sa.Column("day", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("primary_id", Id, primary_key=True),
    sa.Column("shadow_id", Id, primary_key=True),
    sa.Column("trait", sa.String(64), primary_key=True),
    sa.Column("bin", sa.String(96), primary_key=True),
    sa.Column("series", sa.Integer, nullable=False),
    sa.Column("total", sa.Double, nullable=False),
)

sa.Index("instance_by_uid", instance.c.sop_instance_uid)


def stands(table: sa.FromClause, state: str) -> sa.ColumnElement[bool]:
    """Whether a row is in a state, such that a planner sees which index below serves."""
    return table.c.state == sa.literal_column(f"'{state}'")  # the word, not a parameter


def stands_apart(table: sa.FromClause) -> sa.ColumnElement[bool]:
    """Whether a row is in one of the states that few stay in and that are looked for."""
    words: list[Any] = [sa.literal_column(f"'{state}'") for state in APART]
    return table.c.state.in_(words)


def follows_still(table: sa.FromClause) -> sa.ColumnElement[bool]:
    """Whether a delivery waits until what it follows is stored."""
    return sa.and_(
        table.c.follows.is_not(None), stands(table, "pending"), table.c.next_try_at.is_(None)
    )


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
    ("shadow_due", shadow.c.due_at),
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
    judged.c.truth.is_(None),
    "judged_unread",
    judged.c.is_flagged,
    judged.c.judged_at,
    judged.c.series_id,
)
_index_where(judged.c.truth.is_not(None), "judged_read", judged.c.model_id, judged.c.series_id)
_index_where(judged.c.accession.is_not(None), "judged_of_accession", judged.c.accession)
_index_where(
    retrieval.c.next_try_at.is_not(None),
    "retrieval_due",
    retrieval.c.source,
    retrieval.c.next_try_at,
)
_index_where(stands(retrieval, "failed"), "retrieval_given_up", retrieval.c.source, retrieval.c.id)
_index_where(stands(revision, "failed"), "revision_failed", revision.c.id)
_index_where(
    stands(revision, "ready"),
    "revision_waiting",
    revision.c.rank,
    revision.c.id,
    revision.c.paused_until,
)
_index_where(
    revision.c.priority.is_not(None),
    "revision_prioritized",
    revision.c.priority,
    revision.c.updated_at,
)
_index_where(revision.c.flagged.is_not(None), "revision_flagged", revision.c.updated_at)
_index_where(stands_apart(revision), "revision_apart", revision.c.state, revision.c.updated_at)
_index_where(
    stands(delivery, "pending"),
    "delivery_ranked",
    delivery.c.destination,
    delivery.c.rank,
    delivery.c.id,
)
_index_where(follows_still(delivery), "delivery_following", delivery.c.revision_id)
_index_where(
    stands(delivery, "failed"),
    "delivery_given_up",
    delivery.c.destination,
    delivery.c.revision_id,
)
_index_where(
    stands(delivery, "sent"), "delivery_sent", delivery.c.destination, delivery.c.first_tried_at
)
_index_where(stands(shadow, "failed"), "shadow_failed", shadow.c.id)
_index_where(
    stands(shadow, "judged"),
    "shadow_judged",
    shadow.c.primary_id,
    shadow.c.shadow_id,
    shadow.c.updated_at,
)
