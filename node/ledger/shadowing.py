"""What a worker of the shadow does to the ledger.

The shadow is a second model: a revision that the first one has reported waits for it, is
judged or not, and nothing else ever depends on that.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

import sqlalchemy as sa

from node.ledger import schema
from node.ledger.database import HINT_S, MOST_AT_ONCE, utc
from node.ledger.models import JudgingModel, Models
from node.ledger.records import Revision, State
from node.ledger.traits import NOBODY, TraitCount, Traits

_shadow, _model, _revision = schema.shadow, schema.model, schema.revision


class ShadowState(StrEnum):
    """Where a revision is on its way through the shadow."""

    PENDING = "pending"
    JUDGING = "judging"
    JUDGED = "judged"
    FAILED = "failed"
    SKIPPED = "skipped"


_MOVING = (ShadowState.PENDING, ShadowState.JUDGING)


@dataclass(frozen=True)
class Observed:
    """What is counted of a series when its results are recorded.

    Parameters
    ----------
    traits : tuple of TraitCount
        Of the series itself.
    said : tuple of TraitCount
        Of what the judge said.
    is_shadowed : bool
        Whether a second model is to judge it too.
    """

    traits: tuple[TraitCount, ...] = ()
    said: tuple[TraitCount, ...] = ()
    is_shadowed: bool = False


@dataclass(frozen=True)
class Shadow:
    """A revision on its way through the shadow.

    Parameters
    ----------
    id, revision_id : int
    state : ShadowState
    primary : JudgingModel
        Who has reported on it, and is compared with.
    primary_maxima : dict of str to float
    primary_flagged : tuple of str
    judge : JudgingModel, optional
        Who has judged it in the shadow; None before that.
    maxima : dict of str to float, optional
    flagged : tuple of str
    attempts, claims : int
        As of a revision.
    updated_at : datetime
        UTC.
    detail : str, optional
        Why it was not judged.
    """

    id: int
    revision_id: int
    state: ShadowState
    primary: JudgingModel
    primary_maxima: dict[str, float]
    primary_flagged: tuple[str, ...]
    judge: JudgingModel | None
    maxima: dict[str, float] | None
    flagged: tuple[str, ...]
    attempts: int
    claims: int
    updated_at: datetime
    detail: str | None


class Shadowing(Models, Traits):
    """Reported series are counted, and judged a second time."""

    def observe(
        self,
        connection: sa.Connection,
        revision: Revision,
        observed: Observed,
        model_id: int,
        maxima: dict[str, float],
        flagged: Sequence[str],
        now: float,
    ) -> None:
        """Count a series when it is reported for the first time, and let the shadow have it."""
        if observed.is_shadowed:
            connection.execute(
                self.insert(_shadow)
                .values(
                    revision_id=revision.id,
                    state=ShadowState.PENDING,
                    primary_id=model_id,
                    primary_maxima=maxima,
                    primary_flagged=list(flagged),
                    attempts=0,
                    claims=0,
                    updated_at=now,
                    due_at=now,
                )
                .on_conflict_do_nothing()  # its results are made again
            )
        # It was claimed as it was before it had any; and nobody else could report it since.
        if revision.maxima is None and not _was_judged_before(connection, revision):
            self.count_traits(connection, observed.traits, NOBODY, NOBODY, now)
            self.count_traits(connection, observed.said, model_id, NOBODY, now)

    # -- the shadow ----------------------------------------------------------------

    def is_primary_busy(self) -> bool:
        """Whether a revision waits for the model that reports, or is judged by it."""
        busy = sa.select(_revision.c.id).where(
            _revision.c.due_at.is_not(None),
            _revision.c.state.in_([State.READY, State.ANALYZING]),
        )
        with self.reading() as connection:
            return connection.execute(busy.limit(1)).first() is not None

    def due_shadows(self) -> list[int]:
        """Ids of what waits for the shadow and has stood still too long, the longest first."""
        due = (
            sa.select(_shadow.c.id)
            .where(_shadow.c.due_at <= self.clock(), _shadow.c.state == ShadowState.PENDING)
            .order_by(_shadow.c.due_at, _shadow.c.id)
            .limit(MOST_AT_ONCE)
        )
        with self.reading() as connection:
            return list(connection.execute(due).scalars())

    def postpone_shadow(self, shadow_id: int) -> None:
        """Look at what waits again when a hint about it would be lost."""
        with self.engine.begin() as connection:
            connection.execute(
                sa.update(_shadow)
                .where(_shadow.c.id == shadow_id, _shadow.c.state == ShadowState.PENDING)
                .values(due_at=self.clock() + HINT_S)
            )

    def claim_shadow(self, shadow_id: int, lease_s: float) -> Shadow | None:
        """Begin to judge what waits for the shadow; None where another one has it."""
        now = self.clock()
        with self.engine.begin() as connection:
            moved = connection.execute(
                sa.update(_shadow)
                .where(_shadow.c.id == shadow_id, _shadow.c.state == ShadowState.PENDING)
                .values(
                    state=ShadowState.JUDGING,
                    attempts=_shadow.c.attempts + 1,
                    claims=_shadow.c.claims + 1,
                    updated_at=now,
                    due_at=now + lease_s,
                )
            )
        found = self._shadows(_shadow.c.id == shadow_id) if moved.rowcount else []
        return found[0] if found else None

    def extend_shadow(self, claim: Shadow, lease_s: float) -> bool:
        """Say that the work goes on; False if it was taken over."""
        with self.engine.begin() as connection:
            done = connection.execute(
                sa.update(_shadow).where(_holds(claim)).values(due_at=self.clock() + lease_s)
            )
        return done.rowcount == 1

    def shadow_judged(
        self,
        claim: Shadow,
        judge: JudgingModel,
        maxima: dict[str, float],
        flagged: Sequence[str],
        said: Sequence[TraitCount],
        agreed: Sequence[TraitCount],
    ) -> bool:
        """Record what the shadow said.

        Parameters
        ----------
        claim : Shadow
        judge : JudgingModel
        maxima : dict of str to float
        flagged : sequence of str
        said, agreed : sequence of TraitCount
            Of what it said, and of how far both agreed: counted once for a series.

        Returns
        -------
        bool
            False if it was taken over, or the results of the series were removed meanwhile;
            then nothing was recorded.
        """
        model_id = self.model_id(judge)
        now = self.clock()
        with self.engine.begin() as connection:
            of_revision = sa.select(_revision.c.results_removed_at, _revision.c.series_id)
            found = connection.execute(
                of_revision.where(_revision.c.id == claim.revision_id).with_for_update()
            ).one_or_none()
            if found is None or found.results_removed_at is not None:
                return False
            is_counted = connection.execute(
                sa.select(_shadow.c.id)
                .join(_revision, _revision.c.id == _shadow.c.revision_id)
                .where(
                    _revision.c.series_id == found.series_id,
                    _shadow.c.state == ShadowState.JUDGED,
                )
            ).first()
            moved = connection.execute(
                sa.update(_shadow)
                .where(_holds(claim))
                .values(
                    state=ShadowState.JUDGED,
                    shadow_id=model_id,
                    maxima=maxima,
                    flagged=list(flagged),
                    updated_at=now,
                    due_at=None,
                    detail=None,
                )
                .returning(_shadow.c.primary_id)
            ).first()
            if moved is None:
                return False
            if not is_counted:
                self.count_traits(connection, said, NOBODY, model_id, now)
                self.count_traits(connection, agreed, moved.primary_id, model_id, now)
        return True

    def yield_shadow(
        self, claim: Shadow, detail: str | None, pause_s: float, *, counts: bool = True
    ) -> bool:
        """Give it back, to be tried again after a pause (seconds); as `yield_claim`."""
        return self._leave_shadow(
            claim,
            ShadowState.PENDING,
            detail=detail,
            due_at=self.clock() + pause_s,
            attempts=claim.attempts if counts else claim.attempts - 1,
        )

    def fail_shadow(self, claim: Shadow, detail: str) -> bool:
        """End what the shadow cannot judge; `retry_shadows` begins again."""
        return self._leave_shadow(claim, ShadowState.FAILED, detail=detail, due_at=None)

    def skip_shadow(self, claim: Shadow, detail: str) -> bool:
        """End what is not to be judged by the shadow any more."""
        return self._leave_shadow(claim, ShadowState.SKIPPED, detail=detail, due_at=None)

    def take_back_shadows(self, max_attempts: int) -> int:
        """Take back what workers of the shadow hold that were silent for too long."""
        now = self.clock()
        silent = sa.and_(_shadow.c.due_at <= now, _shadow.c.state == ShadowState.JUDGING)
        with self.reading() as connection:  # almost always there is none: no lock for that
            if connection.execute(sa.select(_shadow.c.id).where(silent).limit(1)).first() is None:
                return 0
        is_last = _shadow.c.attempts >= max_attempts
        with self.engine.begin() as connection:
            return connection.execute(
                sa.update(_shadow)
                .where(silent)
                .values(
                    state=sa.case((is_last, ShadowState.FAILED), else_=ShadowState.PENDING),
                    due_at=sa.case((is_last, sa.null()), else_=now),
                    detail="its worker died or hung with it",
                    updated_at=now,
                )
            ).rowcount

    def straighten_shadows(self, longest_s: float) -> int:
        """Pull back what waits for a time too far ahead, as `straighten` does."""
        now = self.clock()
        ahead = _shadow.c.due_at > now + longest_s
        with self.reading() as connection:
            if connection.execute(sa.select(_shadow.c.id).where(ahead).limit(1)).first() is None:
                return 0
        with self.engine.begin() as connection:
            return connection.execute(sa.update(_shadow).where(ahead).values(due_at=now)).rowcount

    def retry_shadows(self) -> int:
        """Begin again with what the shadow could not judge; gives how many."""
        now = self.clock()
        with self.engine.begin() as connection:
            return connection.execute(
                sa.update(_shadow)
                .where(schema.stands(_shadow, ShadowState.FAILED))
                .values(
                    state=ShadowState.PENDING, attempts=0, detail=None, due_at=now, updated_at=now
                )
            ).rowcount

    def _leave_shadow(self, claim: Shadow, state: ShadowState, **values: Any) -> bool:
        with self.engine.begin() as connection:
            moved = connection.execute(
                sa.update(_shadow)
                .where(_holds(claim))
                .values(state=state, updated_at=self.clock(), **values)
            )
        return moved.rowcount == 1

    # -- looking -------------------------------------------------------------------

    def shadow_of(self, revision_id: int) -> Shadow | None:
        """What became of a revision in the shadow; None if it was not to go there."""
        found = self._shadows(_shadow.c.revision_id == revision_id)
        return found[0] if found else None

    def shadows_standing(self) -> dict[ShadowState, int]:
        """How many wait for the shadow, are being judged by it, or could not be."""
        found = dict.fromkeys((*_MOVING, ShadowState.FAILED), 0)
        moving = (
            sa.select(_shadow.c.state, sa.func.count())
            .where(_shadow.c.due_at.is_not(None), _shadow.c.state.in_(_MOVING))
            .group_by(_shadow.c.state)
        )
        failed = sa.select(sa.func.count()).where(schema.stands(_shadow, ShadowState.FAILED))
        with self.reading() as connection:
            found.update({ShadowState(s): n for s, n in connection.execute(moving)})
            found[ShadowState.FAILED] = connection.execute(failed).scalar_one()
        return found

    def shadow_waits_since(self) -> datetime | None:
        """When the first that waits for the shadow was reported, UTC."""
        first = sa.select(sa.func.min(_shadow.c.updated_at)).where(
            _shadow.c.due_at.is_not(None), _shadow.c.state == ShadowState.PENDING
        )
        with self.reading() as connection:
            at: float | None = connection.execute(first).scalar()
        return None if at is None else utc(at)

    def judged_by_both(
        self, primary_id: int, shadow_id: int, since: float, limit: int
    ) -> list[Shadow]:
        """The last that two judges have judged since a time (seconds since 1970), newest first."""
        return self._shadows(
            sa.and_(
                schema.stands(_shadow, ShadowState.JUDGED),
                _shadow.c.primary_id == primary_id,
                _shadow.c.shadow_id == shadow_id,
                _shadow.c.updated_at >= since,
            ),
            limit,
        )

    def _shadows(self, condition: sa.ColumnElement[bool], limit: int | None = None) -> list[Shadow]:
        first, second = _model.alias("first"), _model.alias("second")
        with self.reading() as connection:
            rows = connection.execute(
                sa.select(
                    _shadow,
                    *_named(first, "first"),
                    *_named(second, "second"),
                )
                .join(first, first.c.id == _shadow.c.primary_id)
                .outerjoin(second, second.c.id == _shadow.c.shadow_id)
                .where(condition)
                .order_by(_shadow.c.updated_at.desc())
                .limit(limit)
            ).all()
        return [
            Shadow(
                row.id,
                row.revision_id,
                ShadowState(row.state),
                _as_judge(row, "first"),
                row.primary_maxima,
                tuple(row.primary_flagged),
                None if row.shadow_id is None else _as_judge(row, "second"),
                row.maxima,
                tuple(row.flagged or ()),
                row.attempts,
                row.claims,
                utc(row.updated_at),
                row.detail,
            )
            for row in rows
        ]


_FIELDS = ("name", "version", "digest", "operating_point")


def _named(judge: sa.FromClause, prefix: str) -> list[sa.ColumnElement[Any]]:
    return [judge.c[field].label(f"{prefix}_{field}") for field in _FIELDS]


def _as_judge(row: Any, prefix: str) -> JudgingModel:
    return JudgingModel(*(getattr(row, f"{prefix}_{field}") for field in _FIELDS))


def _holds(claim: Shadow) -> sa.ColumnElement[bool]:
    return sa.and_(
        _shadow.c.id == claim.id,
        _shadow.c.state == ShadowState.JUDGING,
        _shadow.c.claims == claim.claims,
    )


def _was_judged_before(connection: sa.Connection, revision: Revision) -> bool:
    """Whether an earlier revision of the series was judged, and so the series is counted."""
    if revision.number == 1:
        return False
    before = _revision.alias()
    asked = (
        sa.select(before.c.id)
        .join(_revision, _revision.c.series_id == before.c.series_id)
        .where(
            _revision.c.id == revision.id,
            before.c.number < revision.number,
            before.c.maxima.is_not(sa.null()),
        )
    )
    return connection.execute(asked).first() is not None
