"""What a worklist asks of the ledger: pages of revisions, as quick with a million as with ten."""

from collections.abc import Iterator, Sequence

import sqlalchemy as sa

from node.ledger import schema
from node.ledger.database import Database, as_instance
from node.ledger.records import (
    Instance,
    Page,
    Place,
    Revision,
    Selection,
    State,
)

_revision, _instance = schema.revision, schema.instance
_is_flagged = _revision.c.flagged.is_not(None)

_DONE = (State.REPORTED, State.DELIVERED)
"""States in which a revision can be flagged and nothing else is to be done with it."""


class Listing(Database):
    """Worklists, page by page: each goes on after a row, whatever came in meanwhile."""

    def page(self, selection: Selection, after: Place | None, limit: int) -> Page:
        """Some rows of a worklist.

        Parameters
        ----------
        selection : Selection
        after : Place, optional
            The `next` of the page before.
        limit : int
            Rows.
        """
        places: list[Place] = []
        with self.reading() as connection:
            for part in _parts(selection):
                if after is not None and part is False and after.is_flagged:
                    after = None  # that part was before
                elif after is not None and part is True and not after.is_flagged:
                    continue
                asked = _rows(selection, part, after).limit(limit + 1 - len(places))
                places += [
                    Place(part is True, row.updated_at, row.id) for row in connection.execute(asked)
                ]
                if len(places) > limit:
                    break
        shown = places[:limit]
        found = {
            revision.id: revision
            for revision in self.select_revisions(
                _revision.c.id.in_([place.id for place in shown]), _revision.c.id, None
            )
        }
        return Page(
            tuple(found[place.id] for place in shown if place.id in found),
            shown[-1] if len(places) > limit else None,
        )

    def flagged_since(self, at: float) -> int:
        """How many flagged revisions moved since a time, seconds since 1970."""
        counted = sa.select(sa.func.count()).where(_is_flagged, _revision.c.updated_at >= at)
        with self.reading() as connection:
            return int(connection.execute(counted).scalar_one())

    def first_instances(self, revisions: Sequence[Revision]) -> dict[int, Instance]:
        """An instance of each of some revisions, by the revision's id: the first that came."""
        of_series = (
            sa.select(sa.func.min(_instance.c.id))
            .where(_instance.c.series_id == _revision.c.series_id)
            .correlate(_revision)
            .scalar_subquery()
        )
        with self.reading() as connection:
            rows = connection.execute(
                sa.select(_instance, _revision.c.id.label("revision_id"))
                .select_from(_revision)
                .join(_instance, _instance.c.id == of_series)
                .where(_revision.c.id.in_([revision.id for revision in revisions]))
            ).all()
        by_id = {revision.id: revision for revision in revisions}
        return {row.revision_id: as_instance(row, by_id[row.revision_id]) for row in rows}

    def series_of_instance(self, uid: str) -> list[Revision]:
        """All revisions of the series that received an instance, in order."""
        of_uid = sa.select(_instance.c.series_id).where(_instance.c.sop_instance_uid == uid)
        return self.select_revisions(_revision.c.series_id.in_(of_uid), _revision.c.id, None)

    def siblings(self, revision: Revision) -> list[Revision]:
        """All revisions of the same series, in order."""
        of_id = sa.select(_revision.c.series_id).where(_revision.c.id == revision.id)
        alias_free = _revision.c.series_id == of_id.scalar_subquery()
        return self.select_revisions(alias_free, _revision.c.number, None)


def _parts(selection: Selection) -> Iterator[bool | None]:
    """The parts that a worklist has: flagged, not flagged, or None for both together."""
    if selection.only_flagged:
        yield True
    elif selection.flagged_first and selection.state in (None, *_DONE):
        yield True
        yield False
    else:
        yield None


def _rows(
    selection: Selection, part: bool | None, after: Place | None
) -> "sa.Select[tuple[int, float]]":
    """Rows of a part, newest first."""
    at: sa.ColumnElement[float] = _revision.c.updated_at
    conditions: list[sa.ColumnElement[bool]] = []
    if part is not None:
        conditions.append(_is_flagged if part else ~_is_flagged)
    state = selection.state
    if state is not None:
        conditions.append(schema.stands(_revision, state))
        if state in schema.APART:
            conditions.append(schema.stands_apart(_revision))
        elif state is not State.DELIVERED:
            # Few are under way: no index of times is to be gone through for them.
            conditions.append(_revision.c.due_at.is_not(None))
            at = at + 0
    if selection.priority is not None:
        conditions.append(_revision.c.priority == selection.priority)
    conditions.append(at >= selection.since)
    if after is not None:
        conditions += [
            at <= after.updated_at,
            sa.or_(at < after.updated_at, _revision.c.id < after.id),
        ]
    return (
        sa.select(_revision.c.id, _revision.c.updated_at)
        .where(*conditions)
        .order_by(at.desc(), _revision.c.id.desc())
    )
