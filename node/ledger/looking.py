"""What people do to the ledger: look and repair."""

from pathlib import Path

import sqlalchemy as sa

from node.ledger import schema
from node.ledger.database import MOST_AT_ONCE, Database, as_result, counts_for, utc
from node.ledger.reconciling import INSTANCE_LOST
from node.ledger.records import (
    Delivery,
    DeliveryState,
    DestinationState,
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
        newer = _instance.alias()
        came_again = sa.exists().where(
            newer.c.series_id == _instance.c.series_id,
            newer.c.sop_instance_uid == _instance.c.sop_instance_uid,
            newer.c.from_revision == _instance.c.to_revision,
            newer.c.digest != _instance.c.digest,
        )
        with self.reading() as connection:
            return int(
                connection.execute(
                    sa.select(sa.func.count())
                    .select_from(_instance)
                    .join(_revision, _revision.c.series_id == _instance.c.series_id)
                    .where(
                        _revision.c.id == revision.id,
                        _instance.c.to_revision <= _revision.c.number,
                        came_again,
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

    def dead_letters(self, destination: str | None = None) -> list[Revision]:
        """Revisions that have failed or of which a delivery was given up, in order.

        Parameters
        ----------
        destination : str, optional
            Only those of which a delivery to it was given up.
        """
        given_up = sa.exists().where(
            _delivery.c.revision_id == _revision.c.id, _delivery.c.state == DeliveryState.FAILED
        )
        condition: sa.ColumnElement[bool]
        if destination is not None:
            condition = given_up.where(_delivery.c.destination == destination)
        else:
            failed = sa.and_(
                _revision.c.state == State.FAILED,
                # What is left of such a series must not be judged as if it were all of it.
                _revision.c.reason != INSTANCE_LOST,
            )
            condition = sa.or_(failed, given_up)
        return self.select_revisions(condition, _revision.c.id, None)

    def destinations(self) -> list[DestinationState]:
        """How each destination is that something was ever planned for, by name."""
        counts = (
            sa.select(
                _delivery.c.destination.label("name"),
                sa.func.sum(
                    sa.case((_delivery.c.state == DeliveryState.PENDING, 1), else_=0)
                ).label("waiting"),
                sa.func.sum(sa.case((_delivery.c.state == DeliveryState.FAILED, 1), else_=0)).label(
                    "given_up"
                ),
            )
            .group_by(_delivery.c.destination)
            .subquery()
        )
        known = schema.destination
        with self.reading() as connection:
            rows = connection.execute(
                sa.select(counts, known.c.failures, known.c.rests_until, known.c.detail)
                .outerjoin(known, known.c.name == counts.c.name)
                .order_by(counts.c.name)
            ).all()
        return [
            DestinationState(
                row.name,
                int(row.waiting),
                int(row.given_up),
                row.failures or 0,
                None if row.rests_until is None else utc(row.rests_until),
                row.detail,
            )
            for row in rows
        ]
