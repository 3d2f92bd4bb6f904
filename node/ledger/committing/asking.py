"""What the node asks destinations to commit to, and what it hears of it."""

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

import sqlalchemy as sa
from pydicom.uid import generate_uid

from node.ledger import schema
from node.ledger.committing.reference import Reference
from node.ledger.database import MOST_AT_ONCE, Database, some, utc
from node.ledger.records import DeliveryState, State

_revision, _delivery = schema.revision, schema.delivery
_commitment, _transaction = schema.commitment, schema.commitment_transaction
_reference = schema.commitment_reference


class CommitmentState(StrEnum):
    """Where a commitment is that a destination is asked for."""

    ASKING = "asking"
    ASKED = "asked"
    HEARD = "heard"
    DROPPED = "dropped"


@dataclass(frozen=True)
class Commitment:
    """What the node asks a destination to commit to.

    Parameters
    ----------
    id : int
    destination : str
    attempts : int
        How often it was begun to ask; tells this turn from a later one.
    since : datetime
        When it was begun first, UTC.
    references : tuple of Reference
        Those of which nothing was heard yet.
    """

    id: int
    destination: str
    attempts: int
    since: datetime
    references: tuple[Reference, ...]


@dataclass(frozen=True)
class Heard:
    """What a destination's report has changed.

    Parameters
    ----------
    destination : str
    committed, failed : int
        Objects.
    """

    destination: str
    committed: int
    failed: int


class Asking(Database):
    """Commitments to ask for and to hear of."""

    def destinations_to_ask(self, committing: Collection[str], sent_since: float) -> list[str]:
        """Destinations that are to be asked for a commitment, or once more.

        Parameters
        ----------
        committing : collection of str
            Those that are asked at all.
        sent_since : float
            Objects that were tried first before are not asked about, seconds since 1970.
        """
        with self.reading() as connection:
            due = connection.execute(
                sa.select(_commitment.c.destination)
                .where(_commitment.c.due_at <= self.clock())
                .distinct()
            ).scalars()
            unasked = [
                name
                for name in committing
                if connection.execute(_unasked(name, sent_since).limit(1)).first()
            ]
            return sorted({*due, *unasked})

    def take_commitment(
        self, destination: str, lease_s: float, sent_since: float | None
    ) -> Commitment | None:
        """Begin to ask a destination: for what is due, else for what it was not asked for.

        Parameters
        ----------
        destination : str
        lease_s : float
            Another one takes it after this time, seconds.
        sent_since : float, optional
            As in `destinations_to_ask`; None: nothing new is asked for.
        """
        now = self.clock()
        with self.engine.begin() as connection:
            taken = self._take_due(connection, destination, now, lease_s)
            if taken is None and sent_since is not None:
                taken = self._begin(connection, destination, sent_since, now, lease_s)
            if taken is None:
                return None
            rows = connection.execute(
                sa.select(schema.result.c.sop_class_uid, schema.result.c.sop_instance_uid)
                .join(_delivery, _delivery.c.result_id == schema.result.c.id)
                .join(_reference, _reference.c.delivery_id == _delivery.c.id)
                .where(_reference.c.commitment_id == taken.id)
                .order_by(_delivery.c.id)
            ).all()
        return Commitment(
            taken.id,
            destination,
            taken.attempts,
            utc(taken.since),
            tuple(Reference(*row) for row in rows),
        )

    def _take_due(
        self, connection: sa.Connection, destination: str, now: float, lease_s: float
    ) -> Any:
        is_due = sa.and_(_commitment.c.destination == destination, _commitment.c.due_at <= now)
        first = (
            sa.select(_commitment.c.id)
            .where(is_due)
            .order_by(_commitment.c.due_at)
            .limit(1)
            .scalar_subquery()
        )
        return connection.execute(
            sa.update(_commitment)
            .where(_commitment.c.id == first, is_due)
            .values(due_at=now + lease_s, attempts=_commitment.c.attempts + 1)
            .returning(_commitment)
        ).first()

    def _begin(
        self,
        connection: sa.Connection,
        destination: str,
        sent_since: float,
        now: float,
        lease_s: float,
    ) -> Any:
        ids = connection.execute(_unasked(destination, sent_since).limit(MOST_AT_ONCE)).scalars()
        found = list(ids)
        if not found:
            return None
        begun = connection.execute(
            sa.insert(_commitment)
            .values(
                destination=destination,
                state=CommitmentState.ASKING,
                attempts=1,
                since=now,
                due_at=now + lease_s,
            )
            .returning(_commitment)
        ).one()
        taken = connection.execute(
            self.insert(_reference)
            .values([{"delivery_id": found_id, "commitment_id": begun.id} for found_id in found])
            .on_conflict_do_nothing()
            .returning(_reference.c.delivery_id)
        ).all()
        if not taken:  # another one has just begun with all of them
            connection.execute(sa.delete(_commitment).where(_commitment.c.id == begun.id))
            return None
        return begun

    def name_transaction(self, commitment: Commitment) -> str | None:
        """A new Transaction UID, in the ledger before a destination can know it.

        Returns
        -------
        str, optional
            None if all was heard meanwhile, or another one asks.
        """
        uid = str(generate_uid(prefix=None))
        with self.engine.begin() as connection:
            is_mine = connection.execute(
                sa.select(_commitment.c.id).where(_is_open(commitment)).with_for_update()
            ).first()
            if is_mine is None:
                return None
            connection.execute(
                sa.insert(_transaction).values(transaction_uid=uid, commitment_id=commitment.id)
            )
        return uid

    def asked(self, commitment: Commitment, wait_s: float) -> bool:
        """Note that a destination has taken the request, and how long to wait for its report."""
        return self._change_commitment(
            commitment, state=CommitmentState.ASKED, due_at=self.clock() + wait_s, detail=None
        )

    def ask_later(self, commitment: Commitment, pause_s: float, detail: str) -> bool:
        """Note that a destination could not be asked, and to ask it after a pause, seconds."""
        return self._change_commitment(commitment, due_at=self.clock() + pause_s, detail=detail)

    def stop_asking(self, commitment: Commitment, detail: str) -> bool:
        """Note that a destination is not asked any more: its objects stay sent."""
        with self.engine.begin() as connection:
            dropped = connection.execute(
                sa.update(_commitment)
                .where(_is_open(commitment))
                .values(state=CommitmentState.DROPPED, due_at=None, detail=detail)
            )
            if dropped.rowcount:
                connection.execute(
                    sa.update(_delivery)
                    .where(
                        _delivery.c.id.in_(
                            sa.select(_reference.c.delivery_id).where(
                                _reference.c.commitment_id == commitment.id
                            )
                        ),
                        _delivery.c.state == DeliveryState.SENT,
                    )
                    .values(detail=detail)
                )
        return dropped.rowcount == 1

    def is_awaited(self, commitment: Commitment) -> bool:
        """Whether something is still to be heard of a commitment in this turn."""
        with self.reading() as connection:
            found = connection.execute(sa.select(_commitment.c.id).where(_is_open(commitment)))
            return found.first() is not None

    def _change_commitment(self, commitment: Commitment, **values: Any) -> bool:
        with self.engine.begin() as connection:
            changed = connection.execute(
                sa.update(_commitment).where(_is_open(commitment)).values(**values)
            )
        return changed.rowcount == 1

    def hear(
        self,
        transaction_uid: str,
        committed: Collection[str],
        failed: Mapping[str, str],
        pause_after: Callable[[int], float],
        give_up_s: float,
    ) -> Heard | None:
        """Note what a destination has committed to; the rest is sent again.

        What was heard before, or was not asked for, changes nothing.

        Parameters
        ----------
        transaction_uid : str
        committed : collection of str
            SOP Instance UIDs.
        failed : mapping of str to str
            SOP Instance UID to why.
        pause_after : callable
            Gives the seconds to wait after a number of attempts.
        give_up_s : float
            After this time of trying an object is not sent again, seconds.

        Returns
        -------
        Heard, optional
            None if no such transaction is known.
        """
        now = self.clock()
        with self.engine.begin() as connection:
            row = connection.execute(
                sa.select(_commitment.c.id, _commitment.c.destination)
                .join(_transaction, _transaction.c.commitment_id == _commitment.c.id)
                .where(_transaction.c.transaction_uid == transaction_uid)
                .with_for_update()
            ).first()
            if row is None:
                return None
            awaited = self._lock_awaited(connection, row.id)
            safe = [r.id for r in awaited if r.uid in committed and r.uid not in failed]
            lost = [r for r in awaited if r.uid in failed]
            self._commit(connection, safe)
            self._send_again(connection, lost, row.destination, failed, pause_after, give_up_s, now)
            for ids in some([*safe, *(r.id for r in lost)]):
                connection.execute(sa.delete(_reference).where(_reference.c.delivery_id.in_(ids)))
            connection.execute(
                sa.update(_commitment)
                .where(
                    _commitment.c.id == row.id,
                    ~sa.exists().where(_reference.c.commitment_id == _commitment.c.id),
                )
                .values(state=CommitmentState.HEARD, due_at=None)
            )
        return Heard(row.destination, len(safe), len(lost))

    def _lock_awaited(self, connection: sa.Connection, commitment_id: int) -> Sequence[Any]:
        """Objects of which nothing was heard yet; nobody settles their revisions meanwhile."""
        of_this = sa.select(_reference.c.delivery_id).where(
            _reference.c.commitment_id == commitment_id
        )
        connection.execute(
            sa.select(_revision.c.id)
            .where(
                _revision.c.id.in_(
                    sa.select(_delivery.c.revision_id).where(_delivery.c.id.in_(of_this))
                )
            )
            .order_by(_revision.c.id)
            .with_for_update()
        )
        return connection.execute(
            sa.select(
                _delivery.c.id,
                _delivery.c.revision_id,
                _delivery.c.attempts,
                _delivery.c.first_tried_at,
                schema.result.c.sop_instance_uid.label("uid"),
            )
            .join(schema.result, schema.result.c.id == _delivery.c.result_id)
            .where(_delivery.c.id.in_(of_this), _delivery.c.state == DeliveryState.SENT)
        ).all()

    def _commit(self, connection: sa.Connection, delivery_ids: Sequence[int]) -> None:
        for ids in some(delivery_ids):
            connection.execute(
                sa.update(_delivery)
                .where(_delivery.c.id.in_(ids))
                .values(state=DeliveryState.COMMITTED)
            )

    def _send_again(
        self,
        connection: sa.Connection,
        lost: Sequence[Any],
        destination: str,
        why: Mapping[str, str],
        pause_after: Callable[[int], float],
        give_up_s: float,
        now: float,
    ) -> None:
        by_revision: dict[int, int] = defaultdict(int)
        head_start = sa.select(_revision.c.head_start).where(
            _revision.c.id == _delivery.c.revision_id
        )
        for row in lost:
            by_revision[row.revision_id] += 1
            is_too_late = now - row.first_tried_at > give_up_s
            connection.execute(
                sa.update(_delivery)
                .where(_delivery.c.id == row.id)
                .values(
                    state=DeliveryState.FAILED if is_too_late else DeliveryState.PENDING,
                    next_try_at=None if is_too_late else now + pause_after(row.attempts),
                    rank=now - head_start.scalar_subquery(),  # it waits anew
                    detail=f"not committed: {why[row.uid]}",
                )
            )
        for revision_id, count in by_revision.items():
            moved = connection.execute(
                sa.update(_revision)
                .where(_revision.c.id == revision_id, _revision.c.state == State.DELIVERED)
                .values(state=State.REPORTED, updated_at=now)
            )
            if moved.rowcount == 1:
                said = f"{destination} did not commit to {count} objects"
                self.note(connection, revision_id, State.REPORTED, said, now)


def _is_open(commitment: Commitment) -> sa.ColumnElement[bool]:
    return sa.and_(
        _commitment.c.id == commitment.id,
        _commitment.c.attempts == commitment.attempts,
        _commitment.c.state.in_([CommitmentState.ASKING, CommitmentState.ASKED]),
    )


def _unasked(destination: str, sent_since: float) -> sa.Select[tuple[int]]:
    """Objects of which none is asked for yet, and none of whose revision is still to be sent."""
    pending = _delivery.alias()
    return (
        sa.select(_delivery.c.id)
        .where(
            schema.stands(_delivery, DeliveryState.SENT),
            _delivery.c.destination == destination,
            _delivery.c.first_tried_at >= sent_since,
            ~sa.exists().where(_reference.c.delivery_id == _delivery.c.id),
            ~sa.exists().where(
                pending.c.revision_id == _delivery.c.revision_id,
                pending.c.destination == destination,
                pending.c.state == DeliveryState.PENDING,
            ),
        )
        .order_by(_delivery.c.first_tried_at, _delivery.c.id)  # as the index gives them
    )
