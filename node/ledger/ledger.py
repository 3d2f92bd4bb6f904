"""The ledger as a whole; each of its methods is one transaction."""

from collections.abc import Sequence

import sqlalchemy as sa

from node.ledger import schema
from node.ledger.analyzing import Analyzing
from node.ledger.assembling import Assembling
from node.ledger.cleaning import Cleaning
from node.ledger.committing import Committing
from node.ledger.counting import Counting
from node.ledger.database import open_database
from node.ledger.delivering import Delivering
from node.ledger.fetching import Fetching
from node.ledger.following import Following
from node.ledger.listing import Listing
from node.ledger.looking import Looking
from node.ledger.notifying import Notifying
from node.ledger.receiving import Receiving
from node.ledger.reconciling import Reconciling
from node.ledger.records import DeliveryState, Revision, State

_delivery = schema.delivery


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

    def retry(self, revision: Revision, destinations: Sequence[str]) -> bool:
        """Begin again with what has failed, was skipped, or was not delivered.

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
            )
        if revision.state is State.SKIPPED and self.is_newest(revision):
            return self.move(
                revision.id, State.SKIPPED, State.RECEIVING, reason=None, detail=None, due_at=now
            )
        if revision.state is not State.REPORTED:
            return False
        with self.engine.begin() as connection:
            results = connection.execute(
                sa.select(schema.result.c.id)
                .where(schema.result.c.revision_id == revision.id)
                .order_by(schema.result.c.id)
            ).scalars()
            self.plan(connection, revision.id, list(results), destinations, now)
            again = connection.execute(
                sa.update(_delivery)
                .where(
                    _delivery.c.revision_id == revision.id,
                    _delivery.c.state.in_([DeliveryState.PENDING, DeliveryState.FAILED]),
                )
                .values(state=DeliveryState.PENDING, next_try_at=now, first_tried_at=None)
                .returning(_delivery.c.destination)
            )
            waiting = set(again.scalars())
            self.wake(connection, waiting)
        return bool(waiting)


def open_ledger(url: str) -> Ledger:
    """Connect to the ledger and make its tables if they are not there.

    Raises
    ------
    ConfigError
        If the database cannot be reached.
    """
    return Ledger(open_database(url))
