"""What people do to the ledger: look and repair."""

import sqlalchemy as sa

from node.ledger import schema
from node.ledger.database import (
    MOST_AT_ONCE,
    Database,
    as_instance,
    as_result,
    counts_for,
    utc,
)
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
from node.settings import Kind

_revision, _instance, _delivery = schema.revision, schema.instance, schema.delivery
_is_waiting = schema.stands(_delivery, DeliveryState.PENDING)
_is_given_up = schema.stands(_delivery, DeliveryState.FAILED)


class Looking(Database):
    """Revisions, their instances, history, results and deliveries."""

    def recent(self, limit: int) -> list[Revision]:
        """The revisions that moved last, newest first."""
        return self.select_revisions(sa.true(), _revision.c.updated_at.desc(), limit)

    def find(self, uid: str) -> list[Revision]:
        """All revisions of a study or a series, in order."""
        ids = [
            sa.select(schema.series.c.id).where(column == uid)
            for column in (schema.series.c.series_instance_uid, schema.series.c.study_instance_uid)
        ]
        return self.select_revisions(
            _revision.c.series_id.in_(sa.union(*ids)), _revision.c.id, MOST_AT_ONCE
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
        return [as_instance(row, revision) for row in rows]

    def senders(self, revision: Revision) -> tuple[str, ...]:
        """AE titles that brought the instances of a revision, the first first."""
        with self.reading() as connection:
            rows = connection.execute(
                sa.select(_instance.c.sender)
                .join(_revision, _revision.c.series_id == _instance.c.series_id)
                .where(_revision.c.id == revision.id, counts_for(_revision, _instance))
                .group_by(_instance.c.sender)
                .order_by(sa.func.min(_instance.c.id))
            )
            return tuple(rows.scalars())

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

    def removed(self, revision: Revision) -> int:
        """How many images earlier revisions had that were removed, and did not come again."""
        before, newer = _revision.alias(), _instance.alias()
        ended_with = sa.exists().where(
            before.c.series_id == _instance.c.series_id,
            before.c.number == _instance.c.to_revision - 1,
            before.c.images_removed_at.is_not(None),
        )
        came_again = sa.exists().where(
            newer.c.series_id == _instance.c.series_id,
            newer.c.sop_instance_uid == _instance.c.sop_instance_uid,
            newer.c.from_revision >= _instance.c.to_revision,
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
                        ended_with,
                        ~came_again,
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
        self,
        revision: Revision,
        kind: str,
        interim: str | None = None,
        sop_class_uid: str | None = None,
    ) -> Result | None:
        """The last result of a kind that the series had before this revision was reported.

        Parameters
        ----------
        revision : Revision
        kind : str
            Of results of earlier revisions.
        interim : str, optional
            Of results that stood for a report, in this revision too.
        sop_class_uid : str, optional
            Rather one of this class than a later one of another.
        """
        before = _revision.alias()
        is_of_another = sa.and_(
            schema.result.c.kind == kind, schema.result.c.sop_class_uid != sop_class_uid
        )
        others_last = [] if sop_class_uid is None else [sa.case((is_of_another, 1), else_=0)]
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
                .order_by(*others_last, schema.result.c.id.desc())
                .limit(1)
            ).first()
        return None if row is None else as_result(row)

    def workitems_before(self, revision: Revision) -> dict[str, tuple[str, ...]]:
        """By recipient the UIDs of workitems that earlier revisions of the series had."""
        before = _revision.alias()
        with self.reading() as connection:
            rows = connection.execute(
                sa.select(schema.result.c.recipient, schema.result.c.sop_instance_uid)
                .join(before, before.c.id == schema.result.c.revision_id)
                .join(_revision, _revision.c.series_id == before.c.series_id)
                .where(
                    _revision.c.id == revision.id,
                    before.c.number < revision.number,
                    schema.result.c.kind == Kind.WORKITEM,
                )
                .order_by(schema.result.c.id)
            ).all()
        found: dict[str, tuple[str, ...]] = {}
        for row in rows:
            found[row.recipient] = (*found.get(row.recipient, ()), row.sop_instance_uid)
        return found

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
        given_up = sa.select(_delivery.c.revision_id).where(_is_given_up)
        if destination is not None:
            condition = _revision.c.id.in_(given_up.where(_delivery.c.destination == destination))
        else:
            failed = sa.select(_revision.c.id).where(
                schema.stands(_revision, State.FAILED),
                # What is left of such a series must not be judged as if it were all of it.
                _revision.c.reason != INSTANCE_LOST,
            )
            condition = _revision.c.id.in_(sa.union(failed, given_up))
        return self.select_revisions(condition, _revision.c.id, None)

    def destinations(self) -> list[DestinationState]:
        """How each destination is that was ever sent to or that something is planned for."""
        with self.reading() as connection:
            waiting = _by_destination(connection, _is_waiting)
            given_up = _by_destination(connection, _is_given_up)
            known = {row.name: row for row in connection.execute(sa.select(schema.destination))}
        found = []
        for name in sorted({*waiting, *given_up, *known}):
            row = known.get(name)
            rests_until = None if row is None else row.rests_until
            found.append(
                DestinationState(
                    name,
                    waiting.get(name, 0),
                    given_up.get(name, 0),
                    0 if row is None else row.failures,
                    None if rests_until is None else utc(rests_until),
                    None if row is None else row.detail,
                )
            )
        return found


def _by_destination(connection: sa.Connection, condition: sa.ColumnElement[bool]) -> dict[str, int]:
    """How many deliveries meet a condition, by destination."""
    counted = (
        sa.select(_delivery.c.destination, sa.func.count().label("objects"))
        .where(condition)
        .group_by(_delivery.c.destination)
    )
    return {row.destination: row.objects for row in connection.execute(counted)}
