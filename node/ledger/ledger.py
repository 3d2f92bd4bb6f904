"""The ledger as a whole; each of its methods is one transaction."""

from collections.abc import Collection

import sqlalchemy as sa

from node.ledger import schema
from node.ledger.analyzing import Analyzing
from node.ledger.assembling import Assembling, ranked
from node.ledger.cleaning import Cleaning
from node.ledger.committing import Committing
from node.ledger.counting import Counting
from node.ledger.database import NO_ROUTE, delivery_rank, open_database
from node.ledger.delivering import Delivering
from node.ledger.fetching import Fetching
from node.ledger.following import Following
from node.ledger.listing import Listing
from node.ledger.looking import Looking
from node.ledger.notifying import Notifying
from node.ledger.receiving import Receiving
from node.ledger.reconciling import Reconciling
from node.ledger.records import DeliveryState, Plan, Revision, State

_delivery, _revision = schema.delivery, schema.revision


class Ledger(
    Receiving,
    Assembling,
    Analyzing,
    Delivering,
    Committing,
    Notifying,
    Reconciling,
    Cleaning,
    Looking,
    Listing,
    Counting,
    Following,
    Fetching,
):
    """The state of every series, with what each station does to it."""

    def retry(self, revision: Revision, destinations: Collection[str] | Plan) -> bool:
        """Begin again with what has failed, was skipped, or was not delivered.

        Parameters
        ----------
        revision : Revision
        destinations : collection of str, or Plan
            Where results that are there go by now; names alone get everything.

        Returns
        -------
        bool
            False if there is nothing to do again.
        """
        now = self.clock()
        if revision.images_removed_at is not None:
            return False
        if revision.state is State.FAILED:
            return self.move(
                revision.id,
                State.FAILED,
                State.READY,
                reason=None,
                detail=None,
                attempts=0,
                due_at=now,
                **ranked(revision.priority, now),  # it waits anew: others came before
            )
        if revision.state is State.SKIPPED and self.is_newest(revision):
            return self.move(
                revision.id, State.SKIPPED, State.RECEIVING, reason=None, detail=None, due_at=now
            )
        if revision.state is not State.REPORTED:
            return False
        plan = Plan.of(self.results(revision), destinations)
        rank = delivery_rank(now - revision.priority.head_start_s, bool(revision.flagged))
        with self.engine.begin() as connection:
            self.plan(connection, revision.id, plan, now, is_flagged=bool(revision.flagged))
            again = connection.execute(
                sa.update(_delivery)
                .where(
                    _delivery.c.revision_id == revision.id,
                    _delivery.c.state.in_([DeliveryState.PENDING, DeliveryState.FAILED]),
                )
                .values(
                    state=DeliveryState.PENDING,
                    next_try_at=sa.case((_delivery.c.follows.is_(None), now)),
                    detail=sa.func.coalesce("waits for " + _delivery.c.follows, _delivery.c.detail),
                    first_tried_at=None,
                    rank=rank,
                )
                .returning(_delivery.c.destination)
            )
            waiting = set(again.scalars())
            if waiting:
                self.let_follow(connection, _delivery.c.revision_id == revision.id, now)
                self.wake(connection, waiting)
                connection.execute(
                    sa.update(_revision)
                    .where(_revision.c.id == revision.id, _revision.c.reason == NO_ROUTE)
                    .values(reason=None, detail=None)
                )
        return bool(waiting)


def open_ledger(url: str) -> Ledger:
    """Connect to the ledger and make its tables if they are not there.

    Raises
    ------
    ConfigError
        If the database cannot be reached.
    """
    return Ledger(open_database(url))
