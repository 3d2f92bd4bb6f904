"""What a worker that analyzes does to the ledger."""

import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from node.ledger import schema
from node.ledger.database import HINT_S, NO_ROUTE, WITHOUT_RESULT
from node.ledger.feedback import Feedback
from node.ledger.models import JudgingModel
from node.ledger.records import Plan, Result, Revision, State
from node.ledger.shadowing import Observed, Shadowing

_revision, _instance, _delivery = schema.revision, schema.instance, schema.delivery

TRIES, TRY_AGAIN_S = 20, 0.005
"""How often the most urgent revision is tried for, and seconds between, while it is locked."""


@dataclass(frozen=True)
class Claim:
    """A worker's right to go on with a revision, as long as nobody took it over."""

    revision: Revision

    @property
    def attempt(self) -> int:
        """Which attempt this is, from 1."""
        return self.revision.attempts


class Analyzing(Feedback, Shadowing):
    """A worker claims a revision, keeps its claim alive, and reports or fails."""

    def claim_next(self, lease_s: float) -> Claim | None:
        """Begin to analyze the most urgent revision that is ready; None if there is none.

        Of many who ask at the same time each gets another one. What waits after an error is
        passed over until its pause ends; what another one writes to only if that takes long.
        """
        waiting = _revision.alias()
        paused_until = waiting.c.paused_until
        first = (
            sa.select(waiting.c.id)
            .where(
                schema.stands(waiting, State.READY),
                waiting.c.images_removed_at.is_(None),
                sa.or_(paused_until.is_(None), paused_until <= self.clock()),
            )
            .order_by(waiting.c.rank, waiting.c.id)
            .limit(1)
        )
        for tries_left in reversed(range(TRIES)):
            with self.engine.begin() as connection:
                free = connection.execute(first.with_for_update(skip_locked=True)).scalar()
                if free == connection.execute(first).scalar() or not tries_left:
                    if free is not None:
                        self._hand_out(connection, free, lease_s)
                    break
            time.sleep(TRY_AGAIN_S)  # images of the first come again, or another one claims it
        revision = None if free is None else self.revision(free)
        return None if revision is None else Claim(revision)

    def _hand_out(self, connection: sa.Connection, revision_id: int, lease_s: float) -> None:
        now = self.clock()
        connection.execute(
            sa.update(_revision)
            .where(_revision.c.id == revision_id)
            .values(
                state=State.ANALYZING,
                attempts=_revision.c.attempts + 1,
                claims=_revision.c.claims + 1,
                due_at=now + lease_s,
                updated_at=now,
                paused_until=None,
                results_removed_at=None,
            )
        )
        self.note(connection, revision_id, State.ANALYZING, None, now)

    def extend(self, claim: Claim, lease_s: float) -> bool:
        """Say that the work goes on; False if it was taken over."""
        with self.engine.begin() as connection:
            done = connection.execute(
                sa.update(_revision).where(self._holds(claim)).values(due_at=self.clock() + lease_s)
            )
        return done.rowcount == 1

    def report(
        self,
        claim: Claim,
        results: Sequence[Result],
        destinations: Collection[str] | Plan,
        *,
        warnings: Sequence[str],
        maxima: dict[str, float],
        flagged: Sequence[str] = (),
        said: str | None = None,
        unsent: str | None = None,
        model: JudgingModel | None = None,
        accession: str | None = None,
        observed: Observed | None = None,
    ) -> bool:
        """Move a revision to reported, plan the delivery of its results, and count it.

        Parameters
        ----------
        claim : Claim
        results : sequence of Result
        destinations : collection of str, or Plan
            Where they go; names alone get everything.
        warnings, maxima, flagged
            As the revision has them.
        said : str, optional
            By which routes, for its history.
        unsent : str, optional
            Why nothing is sent, where that is so.
        model : JudgingModel, optional
            Which has judged; without it nothing of this is counted.
        accession : str, optional
            A digest of the accession number.
        observed : Observed, optional
            What is counted of it with that model, and whether a second one is to judge it.

        Returns
        -------
        bool
            False if the revision was taken over; then nothing was written.
        """
        now = self.clock()
        model_id = None if model is None else self.model_id(model)
        with self.engine.begin() as connection:
            self.hold_series_of(connection, claim.revision.id)
            moved = connection.execute(
                sa.update(_revision)
                .where(self._holds(claim))
                .values(
                    state=State.REPORTED,
                    warnings=list(warnings),
                    maxima=maxima,
                    flagged=list(flagged) or None,
                    reason=None if unsent is None else NO_ROUTE,
                    detail=unsent,
                    due_at=None,
                    updated_at=now,
                )
            )
            if moved.rowcount == 0:
                return False
            self.note(connection, claim.revision.id, State.REPORTED, said, now, is_news=True)
            # A notice that was not sent yet is not true any more.
            self.drop_unsent(connection, claim.revision.id)
            self.record(
                connection,
                claim.revision.id,
                results,
                destinations,
                now,
                is_flagged=bool(flagged),
            )
            if model_id is not None:
                revision = claim.revision
                self.enter_judgement(connection, revision.id, model_id, flagged, accession, now)
                if observed is not None:
                    self.observe(connection, revision, observed, model_id, maxima, flagged, now)
        return True

    def fail(self, claim: Claim, reason: str, detail: str) -> bool:
        """End a revision that cannot be analyzed; `retry` begins again."""
        due_at = self.clock()  # to be explained
        return self._leave(claim, State.FAILED, reason=reason, detail=detail, due_at=due_at)

    def yield_claim(
        self, claim: Claim, detail: str, pause_s: float, *, counts: bool = True
    ) -> bool:
        """Give a revision back, to be tried again after a pause.

        Parameters
        ----------
        claim : Claim
        detail : str
            Why, for people.
        pause_s : float
            Seconds.
        counts : bool
            Whether this was one of the attempts after which a revision has failed.
        """
        until = self.clock() + pause_s
        return self._leave(
            claim,
            State.READY,
            detail=detail,
            due_at=until,
            paused_until=until,
            attempts=claim.attempt if counts else claim.attempt - 1,
        )

    def skip_claimed(self, claim: Claim, reason: str, detail: str) -> bool:
        """End a claimed revision that turns out to be none that the model may judge."""
        due_at = self.clock()  # to be explained
        return self._leave(claim, State.SKIPPED, reason=reason, detail=detail, due_at=due_at)

    def supersede(self, claim: Claim) -> bool:
        """End a claimed revision because a newer one of its series is there already."""
        return self._leave(
            claim,
            State.SKIPPED,
            reason="superseded",
            detail="more slices came before it was analyzed: see the next revision",
            due_at=None,
        )

    def is_newest(self, revision: Revision) -> bool:
        """Whether no later revision of the series is there."""
        newer = _revision.alias()
        with self.reading() as connection:
            return not connection.execute(
                sa.select(newer.c.id)
                .join(_revision, _revision.c.series_id == newer.c.series_id)
                .where(_revision.c.id == revision.id, newer.c.number > revision.number)
            ).first()

    def take_back(self, revision: Revision, max_attempts: int) -> bool:
        """Take a revision from a worker that was silent for too long.

        It becomes ready again, or failed after `max_attempts`.
        """
        claim = Claim(revision)
        if revision.attempts >= max_attempts:
            return self._leave(
                claim,
                State.FAILED,
                still_due=True,
                reason="worker-lost",
                detail=f"{revision.attempts} workers died or hung with it",
                due_at=self.clock(),  # to be explained
            )
        return self._leave(claim, State.READY, still_due=True, due_at=self.clock() + HINT_S)

    def _holds(self, claim: Claim) -> sa.ColumnElement[bool]:
        return sa.and_(
            _revision.c.id == claim.revision.id,
            _revision.c.state == State.ANALYZING,
            _revision.c.claims == claim.revision.claims,
        )

    def _leave(self, claim: Claim, state: State, *, still_due: bool = False, **values: Any) -> bool:
        now = self.clock()
        condition = self._holds(claim)
        if still_due:
            condition = sa.and_(condition, _revision.c.due_at <= now)
        with self.engine.begin() as connection:
            moved = connection.execute(
                sa.update(_revision).where(condition).values(state=state, updated_at=now, **values)
            )
            if moved.rowcount == 1:
                self.note(
                    connection,
                    claim.revision.id,
                    state,
                    values.get("detail"),
                    now,
                    is_news=state in WITHOUT_RESULT,
                )
        return moved.rowcount == 1
