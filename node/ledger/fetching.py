"""What fetch does to the ledger: which series sources have, and what became of them."""

import math
from collections.abc import Collection, Mapping
from typing import Any

import sqlalchemy as sa

from node.ledger import schema
from node.ledger.database import DAY_S, MOST_AT_ONCE, some, utc
from node.ledger.records import Count, Fetch, FetchState, Held, State
from node.ledger.sources import IS_GIVEN_UP, Sources

UNSEEN_S = 2 * DAY_S
"""What was not noted for so long, though its source was asked, the source tells of no more: what
it tells of is noted each half of it."""

_fetch, _source, _series = schema.retrieval, schema.source, schema.series
_instance, _revision = schema.instance, schema.revision

FETCH_DONE = (FetchState.FETCHED, FetchState.KNOWN)
"""States in which nothing of a series is left to be fetched."""

_COUNTED = {
    FetchState.FETCHED: _source.c.series_fetched,
    FetchState.KNOWN: _source.c.series_known,
    FetchState.FAILED: _source.c.series_failed,
}
"""Where the ends of a fetch are counted."""


class Fetching(Sources):
    """Each row moves by compare-and-set: of two that fetch, one gets a series."""

    def fetches(self, source: str, series: Collection[str]) -> list[Fetch]:
        """What became of series that a source has, by their UIDs."""
        found: list[Fetch] = []
        for uids in some(sorted(series)):
            found += self._select_fetches(
                sa.and_(_fetch.c.series_instance_uid.in_(uids), _fetch.c.source == source)
            )
        return found

    def find_fetches(self, uid: str) -> list[Fetch]:
        """What became of a study, or of a series, at all sources."""
        ids = [
            sa.select(_fetch.c.id).where(column == uid)
            for column in (_fetch.c.series_instance_uid, _fetch.c.study_instance_uid)
        ]
        return self._select_fetches(_fetch.c.id.in_(sa.union(*ids)))

    def fetch(self, fetch_id: int) -> Fetch | None:
        """The one with that id."""
        found = self._select_fetches(_fetch.c.id == fetch_id)
        return found[0] if found else None

    def due_fetches(self, source: str, longest_s: float = math.inf) -> list[Fetch]:
        """What is to be fetched from a source now, what waits longest first.

        Parameters
        ----------
        source : str
        longest_s : float
            Nothing waits for longer, seconds: what does was left where the clock was set back.
        """
        next_try_at, now = _fetch.c.next_try_at, self.clock()
        is_due = next_try_at <= now
        if math.isfinite(longest_s):
            is_due = sa.or_(is_due, next_try_at > now + longest_s)
        return self._select_fetches(
            sa.and_(_fetch.c.source == source, next_try_at.is_not(None), is_due), next_try_at
        )

    def enter_fetches(
        self, source: str, found: Collection[tuple[str, str, Mapping[str, Any]]]
    ) -> None:
        """Enter series that a source was not known to have.

        Parameters
        ----------
        source : str
        found : collection of tuple
            Study and Series Instance UID, and what else is to stand in the row.
        """
        now = self.clock()
        rows = [
            {
                "source": source,
                "study_instance_uid": study,
                "series_instance_uid": series,
                "still": 0,
                "attempts": 0,
                "version": 0,
                "next_try_at": None,
                "updated_at": now,
                "detail": None,
                **values,
            }
            for study, series, values in found
        ]
        for part in some(rows):
            with self.engine.begin() as connection:
                connection.execute(self.insert(_fetch).on_conflict_do_nothing(), list(part))

    def still_has(self, source: str, studies: Collection[str]) -> None:
        """Note that a source tells of studies: what became of their series is remembered.

        Parameters
        ----------
        source : str
        studies : collection of str
            Study Instance UIDs.
        """
        now = self.clock()
        for uids in some(sorted(studies)):
            with self.engine.begin() as connection:
                connection.execute(
                    sa.update(_fetch)
                    .where(
                        _fetch.c.study_instance_uid.in_(uids),
                        _fetch.c.source == source,
                        _fetch.c.state.in_([*FETCH_DONE, FetchState.REFUSED, FetchState.FAILED]),
                        _fetch.c.updated_at < now - UNSEEN_S / 2,  # not at every poll
                    )
                    .values(updated_at=now)
                )

    def forget_fetches(
        self, polled: Collection[str], failed_before: float, after: int, limit: int
    ) -> int | None:
        """Look at some rows, and delete those that neither a poll nor a person needs.

        One goes once its source, asked since, has not told of the study for a while. What was
        fetched or known stays as long as the series is in the ledger; what has failed, or waits
        at a source that nobody polls, for a time of its own.

        Parameters
        ----------
        polled : collection of str
            Sources that are asked again and again.
        failed_before : float
            What has failed and was not changed since goes, seconds since 1970.
        after : int
            The row after which to look.
        limit : int
            How many rows to look at.

        Returns
        -------
        int, optional
            The row after which to go on; None at the end.
        """
        with self.reading() as connection:
            asked = sa.select(_source.c.name, _source.c.answered_at).where(
                _source.c.name.in_(polled), _source.c.answered_at.is_not(None)
            )
            answered = {row.name: row.answered_at for row in connection.execute(asked)}
            goes = self._is_forgettable(polled, answered, failed_before)
            rows = connection.execute(
                sa.select(_fetch.c.id, _fetch.c.series_instance_uid, goes.label("goes"))
                .where(_fetch.c.id > after)
                .order_by(_fetch.c.id)
                .limit(limit)
            ).all()
        gone = {row.id: row.series_instance_uid for row in rows if row.goes}
        if gone:
            with self.engine.begin() as connection:
                connection.execute(sa.delete(_fetch).where(_fetch.c.id.in_(gone), goes))
                _drop_expected(connection, gone.values())
        return rows[-1].id if len(rows) == limit else None

    def _is_forgettable(
        self, polled: Collection[str], answered: Mapping[str, float], failed_before: float
    ) -> sa.ColumnElement[bool]:
        """Whether a row is one that `forget_fetches` deletes."""
        now = self.clock()
        is_by_hand = _fetch.c.source.not_in(polled)
        is_unseen = [
            sa.and_(_fetch.c.source == name, _fetch.c.updated_at < min(at, now) - UNSEEN_S)
            for name, at in answered.items()
        ]
        of_series = sa.and_(
            _series.c.series_instance_uid == _fetch.c.series_instance_uid,
            _series.c.study_instance_uid == _fetch.c.study_instance_uid,
        )
        is_in_ledger = sa.exists().where(of_series, _revision.c.series_id == _series.c.id)
        is_left = sa.or_(
            _fetch.c.state == FetchState.FAILED,
            sa.and_(is_by_hand, _fetch.c.state.in_([FetchState.WANTED, FetchState.FETCHING])),
        )
        return sa.and_(
            sa.or_(sa.and_(is_by_hand, _fetch.c.updated_at < now - UNSEEN_S), *is_unseen),
            sa.or_(
                _fetch.c.state == FetchState.REFUSED,
                sa.and_(_fetch.c.state.in_(FETCH_DONE), ~is_in_ledger),
                sa.and_(is_left, _fetch.c.updated_at < failed_before),
            ),
        )

    def change_fetch(self, fetch: Fetch, **values: Any) -> bool:
        """Change a row; False if it was changed meanwhile, and then it stays."""
        with self.engine.begin() as connection:
            return self._change_fetch(connection, fetch, values)

    def claim_fetch(self, fetch: Fetch, counted: int | None, lease_s: float) -> Fetch | None:
        """Begin to fetch; None if another one was quicker. It is due again after the lease.

        Parameters
        ----------
        fetch : Fetch
        counted : int, optional
            How many images the source counts now.
        lease_s : float
        """
        values = {
            "state": FetchState.FETCHING,
            "counted": counted,
            "still": fetch.still if fetch.counted == counted else 0,
            "attempts": fetch.attempts + 1,
            "next_try_at": self.clock() + lease_s,
        }
        return self.fetch(fetch.id) if self.change_fetch(fetch, **values) else None

    def extend_fetch(self, fetch: Fetch, lease_s: float) -> bool:
        """Say that fetching goes on; False if another one has taken over."""
        with self.engine.begin() as connection:
            extended = connection.execute(
                sa.update(_fetch)
                .where(_fetch.c.id == fetch.id, _fetch.c.version == fetch.version)
                .values(next_try_at=self.clock() + lease_s)
            )
        return extended.rowcount == 1

    def end_fetch(
        self, fetch: Fetch, state: FetchState, detail: str | None, images: int = 0
    ) -> bool:
        """Note what became of a fetch, and count it.

        Parameters
        ----------
        fetch : Fetch
        state : FetchState
            Fetched, known or failed.
        detail : str, optional
        images : int
            That came with it.
        """
        values = {"state": state, "next_try_at": None, "attempts": 0, "detail": detail}
        column = _COUNTED[state]
        with self.engine.begin() as connection:
            if not self._change_fetch(connection, fetch, values):
                return False
            self.enter_source(connection, fetch.source)
            connection.execute(
                sa.update(_source)
                .where(_source.c.name == fetch.source)
                .values(
                    {
                        column: column + 1,
                        _source.c.images_fetched: _source.c.images_fetched + images,
                    }
                )
            )
        return True

    def given_up_fetches(self, limit: int) -> list[Fetch]:
        """Some of what has failed, source by source."""
        return self._select_fetches(IS_GIVEN_UP, _fetch.c.source, _fetch.c.id, limit=limit)

    def retry_fetches(self, polled: Collection[str], uid: str | None = None) -> int:
        """Want again what has failed, all of it or of a study or series; gives how many.

        Parameters
        ----------
        polled : collection of str
            The sources that are asked again and again: at others nobody would fetch it.
        uid : str, optional
        """
        again = sa.and_(IS_GIVEN_UP, _fetch.c.source.in_(polled))
        if uid is not None:
            again = sa.and_(
                again,
                sa.or_(_fetch.c.series_instance_uid == uid, _fetch.c.study_instance_uid == uid),
            )
        now = self.clock()
        with self.engine.begin() as connection:
            found = connection.execute(
                sa.update(_fetch)
                .where(again)
                .values(
                    state=FetchState.WANTED,
                    attempts=0,
                    next_try_at=now,
                    updated_at=now,
                    version=_fetch.c.version + 1,
                )
                .returning(_fetch.c.source)
            )
            sources = found.scalars().all()
            connection.execute(
                sa.update(_source)
                .where(_source.c.name.in_(set(sources)))
                .values(rests_until=None, failures=0)
            )
        return len(sources)

    def expect(self, study: str, series: str, count: Count) -> None:
        """Note how many images a source counts: whoever brings them, so many are waited for."""
        is_series = sa.and_(
            _series.c.study_instance_uid == study, _series.c.series_instance_uid == series
        )
        values = {
            "counted_instances": count.images,
            "counted_by": count.source,
            "count_is_still": count.is_still,
        }
        with self.engine.begin() as connection:
            connection.execute(
                self.insert(_series)
                .values(study_instance_uid=study, series_instance_uid=series)
                .on_conflict_do_nothing()
            )
            connection.execute(sa.update(_series).where(is_series).values(values))

    def held(self, study: str, series: str) -> Held:
        """What the ledger has of a series, whoever brought it."""
        before = _revision.alias()
        was_removed = sa.exists().where(
            before.c.series_id == _instance.c.series_id,
            before.c.number == _instance.c.to_revision - 1,
            before.c.number >= _instance.c.from_revision,
            before.c.images_removed_at.is_not(None),
        )
        series_id = (
            sa.select(_series.c.id)
            .where(_series.c.series_instance_uid == series, _series.c.study_instance_uid == study)
            .scalar_subquery()
        )
        with self.reading() as connection:
            uids = connection.execute(
                sa.select(_instance.c.sop_instance_uid).where(
                    _instance.c.series_id == series_id,
                    sa.or_(_instance.c.to_revision.is_(None), was_removed),
                )
            ).scalars()
            instances = frozenset(uids)
            newest = connection.execute(
                sa.select(_revision.c.state, _revision.c.last_instance_at)
                .where(_revision.c.series_id == series_id)
                .order_by(_revision.c.number.desc())
                .limit(1)
            ).first()
        is_receiving = newest is not None and newest.state == State.RECEIVING
        return Held(instances, newest.last_instance_at if newest and is_receiving else None)

    def _change_fetch(
        self, connection: sa.Connection, fetch: Fetch, values: Mapping[str, Any]
    ) -> bool:
        changed = connection.execute(
            sa.update(_fetch)
            .where(_fetch.c.id == fetch.id, _fetch.c.version == fetch.version)
            .values(version=fetch.version + 1, updated_at=self.clock(), **values)
        )
        return changed.rowcount == 1

    def _select_fetches(
        self, condition: sa.ColumnElement[bool], *order: Any, limit: int = MOST_AT_ONCE
    ) -> list[Fetch]:
        with self.reading() as connection:
            rows = connection.execute(
                sa.select(_fetch).where(condition).order_by(*order or (_fetch.c.id,)).limit(limit)
            ).all()
        return [
            Fetch(
                row.id,
                row.source,
                row.study_instance_uid,
                row.series_instance_uid,
                FetchState(row.state),
                row.counted,
                row.still,
                row.attempts,
                row.version,
                None if row.next_try_at is None else utc(row.next_try_at),
                utc(row.updated_at),
                row.detail,
            )
            for row in rows
        ]


def _drop_expected(connection: sa.Connection, series: Collection[str]) -> None:
    """Delete series that a source was asked for and of which nothing ever came."""
    of_series = sa.and_(
        _fetch.c.series_instance_uid == _series.c.series_instance_uid,
        _fetch.c.study_instance_uid == _series.c.study_instance_uid,
    )
    is_empty = sa.and_(
        ~sa.exists().where(_revision.c.series_id == _series.c.id), ~sa.exists().where(of_series)
    )
    # Once they are locked nothing is stored for them, and they are looked at again.
    empty = connection.execute(
        sa.select(_series.c.id)
        .where(_series.c.series_instance_uid.in_(series), is_empty)
        .order_by(_series.c.id)
        .with_for_update()
    ).scalars()
    connection.execute(sa.delete(_series).where(_series.c.id.in_(empty.all()), is_empty))
