"""What people do to the ledger: look and repair."""

from pathlib import Path

import sqlalchemy as sa

from node.ledger import schema
from node.ledger.database import MOST_AT_ONCE, Database, as_result, counts_for, utc
from node.ledger.records import (
    Delivery,
    Event,
    Instance,
    Result,
    Revision,
    State,
)

_revision, _instance, _delivery = schema.revision, schema.instance, schema.delivery


class Looking(Database):
    """Revisions, their instances, history, results and deliveries."""

    def recent(self, limit: int) -> list[Revision]:
        """The revisions that moved last, newest first."""
        return self.select_revisions(sa.true(), _revision.c.updated_at.desc(), limit)

    def find(self, uid: str) -> list[Revision]:
        """All revisions of a study or a series, in order."""
        return self.select_revisions(
            sa.or_(
                schema.series.c.series_instance_uid == uid,
                schema.series.c.study_instance_uid == uid,
            ),
            _revision.c.id,
            MOST_AT_ONCE,
        )

    def instances(self, revision: Revision) -> list[Instance]:
        """The instances that count for a revision."""
        with self.reading() as connection:
            rows = connection.execute(
                sa.select(_instance)
                .join(_revision, _revision.c.series_id == _instance.c.series_id)
                .where(_revision.c.id == revision.id, counts_for(_revision, _instance))
                .order_by(_instance.c.id)
            ).all()
        return [
            Instance(
                revision.study_instance_uid,
                revision.series_instance_uid,
                row.sop_instance_uid,
                row.sop_class_uid,
                row.digest,
                Path(row.path),
                row.sender,
            )
            for row in rows
        ]

    def replaced(self, revision: Revision) -> int:
        """How many instances came again with other content, up to a revision."""
        with self.reading() as connection:
            return int(
                connection.execute(
                    sa.select(sa.func.count())
                    .select_from(_instance)
                    .join(_revision, _revision.c.series_id == _instance.c.series_id)
                    .where(
                        _revision.c.id == revision.id,
                        _instance.c.to_revision <= _revision.c.number,
                    )
                ).scalar_one()
            )

    def history(self, revision: Revision) -> list[Event]:
        """The states that a revision came through."""
        with self.reading() as connection:
            rows = connection.execute(
                sa.select(schema.event)
                .where(schema.event.c.revision_id == revision.id)
                .order_by(schema.event.c.id)
            ).all()
        return [Event(utc(row.at), State(row.state), row.detail) for row in rows]

    def results(self, revision: Revision) -> list[Result]:
        """The result objects of a revision."""
        with self.reading() as connection:
            rows = connection.execute(
                sa.select(schema.result)
                .where(schema.result.c.revision_id == revision.id)
                .order_by(schema.result.c.id)
            ).all()
        return [as_result(row) for row in rows]

    def predecessor(
        self, revision: Revision, kind: str, interim: str | None = None
    ) -> Result | None:
        """The last result of a kind that the series had before this revision was reported.

        Parameters
        ----------
        revision : Revision
        kind : str
            Of results of earlier revisions.
        interim : str, optional
            Of results that stood for a report, in this revision too.
        """
        before = _revision.alias()
        with self.reading() as connection:
            row = connection.execute(
                sa.select(schema.result)
                .join(before, before.c.id == schema.result.c.revision_id)
                .join(_revision, _revision.c.series_id == before.c.series_id)
                .where(
                    _revision.c.id == revision.id,
                    before.c.number <= revision.number,
                    sa.or_(
                        sa.and_(before.c.number < revision.number, schema.result.c.kind == kind),
                        schema.result.c.kind == interim,
                    ),
                )
                .order_by(schema.result.c.id.desc())
                .limit(1)
            ).first()
        return None if row is None else as_result(row)

    def deliveries(self, revision: Revision) -> list[Delivery]:
        """Where the results of a revision are on their way."""
        return self.select_deliveries(_delivery.c.revision_id == revision.id)
