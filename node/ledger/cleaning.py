"""What retention does to the ledger: what may be removed, and that it was.

A series is taken as a whole: its files go once no revision of it needs them any more.
The ledger is told first, then the files go, and each of these steps can be done again.
"""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from node.ledger import schema
from node.ledger.database import NO_ROUTE
from node.ledger.feedback import Feedback
from node.ledger.records import DeliveryState, State

_revision, _instance, _delivery = schema.revision, schema.instance, schema.delivery
_series, _result, _event = schema.series, schema.result, schema.event
_shadow = schema.shadow

ENDED = (State.DELIVERED, State.SKIPPED, State.FAILED)
"""States of which something may be removed."""


class Kept(StrEnum):
    """What is kept of a series for a time."""

    IMAGES = "images"
    RESULTS = "results"


@dataclass(frozen=True)
class RetentionRule:
    """What may be removed.

    Parameters
    ----------
    before : mapping of State to float
        Of which states, and of each what came into it before a time, seconds since 1970.
    committing : frozenset of str
        Destinations that have to have committed to what was sent to them.
    """

    before: Mapping[State, float]
    committing: frozenset[str]


@dataclass(frozen=True)
class Mark:
    """How far a look through all that ended has come: it goes on after this revision."""

    updated_at: float = 0.0
    revision_id: int = 0


@dataclass(frozen=True)
class Ended:
    """A series by its newest revision.

    Parameters
    ----------
    series_id : int
    study_instance_uid, series_instance_uid : str
    revision_id, number : int
    state : State
    """

    series_id: int
    study_instance_uid: str
    series_instance_uid: str
    revision_id: int
    number: int
    state: State


@dataclass(frozen=True)
class Unneeded:
    """What of a series' files no revision needs: instances, and the results of revisions."""

    instances: frozenset[Path]
    revisions: frozenset[int]


_REMOVED_AT = {
    Kept.IMAGES: _revision.c.images_removed_at,
    Kept.RESULTS: _revision.c.results_removed_at,
}


class Cleaning(Feedback):
    """What has ended long ago is found, and marked as removed."""

    def removable(
        self, kept: Kept, rule: RetentionRule, after: Mark, limit: int
    ) -> tuple[list[Ended], Mark | None]:
        """Look at some of what ended, the oldest first.

        Parameters
        ----------
        kept : Kept
        rule : RetentionRule
        after : Mark
            Where the look before ended.
        limit : int
            How many revisions to look at.

        Returns
        -------
        list of Ended
            Series that the rule lets go.
        Mark, optional
            Where the next look begins; None if it was the last one.
        """
        if not rule.before:
            return [], None
        with self.reading() as connection:
            seen = connection.execute(
                sa.select(_revision.c.id, _revision.c.updated_at)
                .where(
                    _REMOVED_AT[kept].is_(None),
                    _revision.c.updated_at <= max(rule.before.values()),
                    _revision.c.updated_at >= after.updated_at,
                    sa.or_(
                        _revision.c.updated_at > after.updated_at,
                        _revision.c.id > after.revision_id,
                    ),
                )
                .order_by(_revision.c.updated_at, _revision.c.id)
                .limit(limit)
            ).all()
            if not seen:
                return [], None
            rows = connection.execute(
                _ended()
                .where(_revision.c.id.in_([row.id for row in seen]), _may_go(rule))
                .order_by(_revision.c.updated_at, _revision.c.id)
            )
            found = [_as_ended(row) for row in rows]
        last = Mark(seen[-1].updated_at, seen[-1].id)
        return found, last if len(seen) == limit else None

    def series_of(self, *, study: str | None, series: str | None) -> list[Ended]:
        """Series by their UIDs, each with its newest revision."""
        named = ((_series.c.study_instance_uid, study), (_series.c.series_instance_uid, series))
        condition = sa.and_(sa.true(), *(column == uid for column, uid in named if uid is not None))
        with self.reading() as connection:
            rows = connection.execute(
                _ended().where(condition, _is_newest()).order_by(_revision.c.id)
            ).all()
        return [_as_ended(row) for row in rows]

    def is_removable(self, ended: Ended, rule: RetentionRule) -> bool:
        """Whether a rule lets a series go."""
        with self.reading() as connection:
            return _is_let_go(connection, ended, rule)

    def remove(self, kept: Kept, ended: Ended, rule: RetentionRule, why: str) -> bool:
        """Note that the files of a series are removed; they are, once this is written.

        Images count for no later revision: a late slice begins one of its own.

        Parameters
        ----------
        kept : Kept
        ended : Ended
        rule : RetentionRule
            Looked at again: something may have come meanwhile.
        why : str
            For people.

        Returns
        -------
        bool
            False if the series may not go, or not any more; then nothing was written.
        """
        now = self.clock()
        with self.engine.begin() as connection:
            _lock(connection, ended.series_id)
            if not _is_let_go(connection, ended, rule):
                return False
            marked = connection.execute(
                sa.update(_revision)
                .where(_revision.c.series_id == ended.series_id, _REMOVED_AT[kept].is_(None))
                .values({_REMOVED_AT[kept]: now})
            )
            if marked.rowcount == 0:
                return False
            if kept is Kept.IMAGES:
                connection.execute(
                    sa.update(_instance)
                    .where(
                        _instance.c.series_id == ended.series_id,
                        _instance.c.to_revision.is_(None),
                    )
                    .values(to_revision=ended.number + 1)
                )
            self.note(connection, ended.revision_id, ended.state, f"{kept} removed: {why}", now)
        return True

    @contextmanager
    def nothing_stored(self, series_id: int) -> Iterator[Unneeded]:
        """Keep new instances of a series out, while its files that nobody needs are taken away."""
        with self.engine.begin() as connection:
            _lock(connection, series_id)
            # What such a revision had counts for none after it.
            was_removed = sa.exists().where(
                _revision.c.series_id == series_id,
                _revision.c.images_removed_at.is_not(None),
                _revision.c.number >= _instance.c.from_revision,
            )
            rows = connection.execute(
                sa.select(_instance.c.path, was_removed.label("is_unneeded")).where(
                    _instance.c.series_id == series_id
                )
            ).all()
            numbers = connection.execute(
                sa.select(_revision.c.number).where(
                    _revision.c.series_id == series_id,
                    _revision.c.results_removed_at.is_not(None),
                )
            ).scalars()
            # A content that came back has two rows with one path.
            unneeded = {row.path for row in rows if row.is_unneeded}
            unneeded -= {row.path for row in rows if not row.is_unneeded}
            yield Unneeded(frozenset(map(Path, unneeded)), frozenset(numbers))

    def marked(self, series: Collection[str]) -> list[Ended]:
        """Of series by their UIDs, those of which something was marked as removed."""
        before = _revision.alias()
        is_marked = sa.exists().where(
            before.c.series_id == _revision.c.series_id,
            sa.or_(
                before.c.images_removed_at.is_not(None), before.c.results_removed_at.is_not(None)
            ),
        )
        with self.reading() as connection:
            rows = connection.execute(
                _ended().where(_series.c.series_instance_uid.in_(series), _is_newest(), is_marked)
            ).all()
        return [_as_ended(row) for row in rows]

    def forgettable(
        self, rule: RetentionRule, after: Mark, limit: int
    ) -> tuple[list[Ended], Mark | None]:
        """As `removable`, series of which all is removed but their rows."""
        if not rule.before:
            return [], None
        with self.reading() as connection:
            rows = connection.execute(
                _ended(_revision.c.updated_at, _revision.c.images_removed_at)
                .where(
                    _revision.c.updated_at <= max(rule.before.values()),
                    _revision.c.updated_at >= after.updated_at,
                    sa.or_(
                        _revision.c.updated_at > after.updated_at,
                        _revision.c.id > after.revision_id,
                    ),
                )
                .order_by(_revision.c.updated_at, _revision.c.id)
                .limit(limit)
            ).all()
        found = [_as_ended(row) for row in rows if row.images_removed_at is not None]
        last = Mark(rows[-1].updated_at, rows[-1].id) if len(rows) == limit else None
        return found, last

    def forget(self, ended: Ended, rule: RetentionRule) -> bool:
        """Delete the rows of a series of which all else is removed; whether that was done."""
        of_series = sa.select(_revision.c.id).where(_revision.c.series_id == ended.series_id)
        with self.engine.begin() as connection:
            _lock(connection, ended.series_id)
            kept = sa.or_(
                _revision.c.images_removed_at.is_(None), _revision.c.results_removed_at.is_(None)
            )
            if connection.execute(of_series.where(kept)).first() or not _is_let_go(
                connection, ended, rule
            ):
                return False
            self.forget_readings(connection, ended.series_id)
            for table in (_delivery, _result, _event, _shadow):
                connection.execute(sa.delete(table).where(table.c.revision_id.in_(of_series)))
            for table in (_instance, _revision):
                connection.execute(sa.delete(table).where(table.c.series_id == ended.series_id))
            connection.execute(sa.delete(_series).where(_series.c.id == ended.series_id))
        return True


def _ended(*further: sa.ColumnElement[Any]) -> sa.Select[Any]:
    return sa.select(
        _revision.c.id,
        _revision.c.series_id,
        _revision.c.number,
        _revision.c.state,
        _series.c.study_instance_uid,
        _series.c.series_instance_uid,
        *further,
    ).join(_series, _series.c.id == _revision.c.series_id)


def _as_ended(row: Any) -> Ended:
    return Ended(
        row.series_id,
        row.study_instance_uid,
        row.series_instance_uid,
        row.id,
        row.number,
        State(row.state),
    )


def _lock(connection: sa.Connection, series_id: int) -> None:
    """Let nothing be stored for a series, nor settled of its revisions, until the end."""
    for table, condition in (
        (_series, _series.c.id == series_id),
        (_revision, _revision.c.series_id == series_id),
    ):
        connection.execute(
            sa.select(table.c.id).where(condition).order_by(table.c.id).with_for_update()
        )


def _is_let_go(connection: sa.Connection, ended: Ended, rule: RetentionRule) -> bool:
    asked = sa.select(_revision.c.id).where(_revision.c.id == ended.revision_id, _may_go(rule))
    return connection.execute(asked).first() is not None


def _is_newest() -> sa.ColumnElement[bool]:
    newer = _revision.alias()
    return ~sa.exists().where(
        newer.c.series_id == _revision.c.series_id, newer.c.number > _revision.c.number
    )


def _may_go(rule: RetentionRule) -> sa.ColumnElement[bool]:
    """Whether a revision is the newest of its series, and the rule lets every one of them go."""
    other = _revision.alias()
    return sa.and_(
        _is_newest(),
        ~sa.exists().where(other.c.series_id == _revision.c.series_id, ~_has_ended(other, rule)),
    )


def _has_ended(revision: sa.FromClause, rule: RetentionRule) -> sa.ColumnElement[bool]:
    """Whether nothing is to be done with a revision any more, for as long as the rule says."""
    is_old = [
        sa.and_(_is_in(revision, state), revision.c.updated_at <= before)
        for state, before in rule.before.items()
    ]
    is_open = sa.exists().where(
        _delivery.c.revision_id == revision.c.id,
        sa.or_(
            _delivery.c.state == DeliveryState.PENDING,
            # A failed series goes by its age, also where nobody took the notice of it.
            sa.and_(_delivery.c.state == DeliveryState.FAILED, revision.c.state != State.FAILED),
            sa.and_(
                _delivery.c.state == DeliveryState.SENT,
                _delivery.c.destination.in_(rule.committing),
            ),
        ),
    )
    return sa.and_(sa.or_(sa.false(), *is_old), revision.c.due_at.is_(None), ~is_open)


def _is_in(revision: sa.FromClause, state: State) -> sa.ColumnElement[bool]:
    """Whether a revision has ended so; what goes nowhere by the routes goes as if delivered."""
    is_in = revision.c.state == state
    if state is not State.DELIVERED:
        return is_in
    goes_nowhere = sa.func.coalesce(revision.c.reason, "") == NO_ROUTE
    return sa.or_(is_in, sa.and_(revision.c.state == State.REPORTED, goes_nowhere))
