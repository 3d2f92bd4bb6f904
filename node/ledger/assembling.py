"""What assemble does to the ledger."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from node.ledger import schema
from node.ledger.database import HINT_S, MOST_AT_ONCE, Database
from node.ledger.records import (
    Plan,
    Priority,
    Result,
    Revision,
    State,
)

_revision, _instance, _delivery = schema.revision, schema.instance, schema.delivery


_ROUTINE = Priority()


def ranked(priority: Priority, now: float) -> dict[str, Any]:
    """The columns by which a revision that is ready now goes before others."""
    return {
        "priority": priority.rule,
        "head_start": priority.head_start_s,
        "rank": now - priority.head_start_s,
        "paused_until": None,
    }


class Assembling(Database):
    """Revisions come to rest and are ready, or are skipped."""

    def due(self, state: State) -> list[Revision]:
        """Revisions in a state that have stood still too long, the longest first."""
        return self.select_revisions(
            sa.and_(_revision.c.due_at <= self.clock(), _revision.c.state == state),
            _revision.c.due_at,
            MOST_AT_ONCE,
        )

    def postpone(self, revision: Revision, due_at: datetime) -> None:
        """Look at a revision again later, unless something came or was released meanwhile."""
        released = 0.0 if revision.released_at is None else revision.released_at.timestamp()
        with self.engine.begin() as connection:
            connection.execute(
                sa.update(_revision)
                .where(
                    _revision.c.id == revision.id,
                    _revision.c.state == revision.state,
                    _revision.c.arrivals == revision.arrivals,
                    # to the millisecond: a datetime holds less than the column
                    sa.func.coalesce(_revision.c.released_at, 0.0) < released + 1e-3,
                )
                .values(due_at=due_at.timestamp())
            )

    def ready(
        self, revision: Revision, warnings: Sequence[str], priority: Priority = _ROUTINE
    ) -> bool:
        """Move a revision from receiving to ready, unless a slice came meanwhile."""
        now = self.clock()
        return self.move(
            revision.id,
            State.RECEIVING,
            State.READY,
            arrivals=revision.arrivals,
            warnings=list(warnings),
            due_at=now + HINT_S,
            **ranked(priority, now),
        )

    def skip(
        self,
        revision: Revision,
        reason: str,
        detail: str,
        warnings: Sequence[str],
        priority: Priority = _ROUTINE,
    ) -> bool:
        """End a revision that the model may not judge."""
        now = self.clock()
        return self.move(
            revision.id,
            revision.state,
            State.SKIPPED,
            arrivals=revision.arrivals,
            reason=reason,
            detail=detail,
            warnings=list(warnings),
            due_at=now,  # to be explained
            **ranked(priority, now),
        )

    def explain(
        self,
        revision: Revision,
        results: Sequence[Result],
        destinations: Collection[str] | Plan,
        said: str,
    ) -> bool:
        """Note that a revision without a result was explained, and plan to send the notice.

        Its state stays what it is. Without results it is noted that nothing is sent.

        Returns
        -------
        bool
            False if it was explained already or goes on; then nothing was written.
        """
        now = self.clock()
        with self.engine.begin() as connection:
            explained = connection.execute(
                sa.update(_revision)
                .where(
                    _revision.c.id == revision.id,
                    _revision.c.state == revision.state,
                    _revision.c.due_at <= now,
                )
                .values(due_at=None)
            )
            if explained.rowcount == 0:
                return False
            if said:
                self.note(connection, revision.id, revision.state, said, now)
            self.record(connection, revision.id, results, destinations, now)
        return True
