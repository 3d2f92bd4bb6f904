"""What the ledger knows of sources: when each was asked, and whether it is well."""

import math
from typing import Any

import sqlalchemy as sa

from node.ledger import schema
from node.ledger.database import Database, utc
from node.ledger.records import FetchState, SourceState

_fetch, _source = schema.retrieval, schema.source
IS_GIVEN_UP = schema.stands(_fetch, FetchState.FAILED)
"""Whether a series has failed for good."""

_is_due = _fetch.c.next_try_at.is_not(None)


class Sources(Database):
    """A source that is ill rests, and is asked by one poller at a time."""

    def begin_poll(self, name: str, poll_s: float) -> bool:
        """Begin to ask a source what is new; False if it was asked lately."""
        now = self.clock()
        with self.engine.begin() as connection:
            self.enter_source(connection, name)
            begun = connection.execute(
                sa.update(_source)
                .where(
                    _source.c.name == name,
                    # one that lies ahead was left where the clock was set back
                    sa.or_(
                        _source.c.polled_at.is_(None),
                        _source.c.polled_at <= now - poll_s,
                        _source.c.polled_at > now,
                        _source.c.polled_at <= _source.c.rests_until,  # not since it rested
                    ),
                )
                .values(polled_at=now)
            )
        return begun.rowcount == 1

    def is_resting(self, name: str, longest_s: float = math.inf) -> bool:
        """Whether a source is ill and not to be asked now; none rests for longer, seconds."""
        with self.reading() as connection:
            until = connection.execute(
                sa.select(_source.c.rests_until).where(_source.c.name == name)
            ).scalar()
        now = self.clock()
        return until is not None and now < until <= now + longest_s

    def source_answers(self, name: str) -> None:
        """Note that a source is well."""
        self._note_source(name, answered_at=self.clock(), failures=0, rests_until=None, detail=None)

    def source_rests(self, name: str, failures: int, until: float, detail: str) -> None:
        """Note that a source is ill: it is not asked before a time, seconds since 1970."""
        self._note_source(name, failures=failures, rests_until=until, detail=detail)

    def _note_source(self, name: str, **values: Any) -> None:
        with self.engine.begin() as connection:
            self.enter_source(connection, name)
            connection.execute(sa.update(_source).where(_source.c.name == name).values(**values))

    def source_state(self, name: str) -> SourceState | None:
        """How a source is; None if it was never asked."""
        return next((found for found in self.sources() if found.name == name), None)

    def sources(self) -> list[SourceState]:
        """How each source is that was ever asked."""
        with self.reading() as connection:
            waiting = _by_source(connection, _is_due)
            given_up = _by_source(connection, IS_GIVEN_UP)
            rows = connection.execute(sa.select(_source).order_by(_source.c.name)).all()
        return [
            SourceState(
                row.name,
                waiting.get(row.name, 0),
                given_up.get(row.name, 0),
                None if row.polled_at is None else utc(row.polled_at),
                None if row.answered_at is None else utc(row.answered_at),
                row.failures,
                None if row.rests_until is None else utc(row.rests_until),
                row.detail,
                row.series_fetched,
                row.series_known,
                row.series_failed,
                row.images_fetched,
            )
            for row in rows
        ]

    def enter_source(self, connection: sa.Connection, name: str) -> None:
        """Give a source a row, where it has none."""
        connection.execute(
            self.insert(_source)
            .values(
                name=name,
                failures=0,
                series_fetched=0,
                series_known=0,
                series_failed=0,
                images_fetched=0,
            )
            .on_conflict_do_nothing()
        )


def _by_source(connection: sa.Connection, condition: sa.ColumnElement[bool]) -> dict[str, int]:
    counted = (
        sa.select(_fetch.c.source, sa.func.count().label("series"))
        .where(condition)
        .group_by(_fetch.c.source)
    )
    return {row.source: row.series for row in connection.execute(counted)}
