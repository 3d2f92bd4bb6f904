"""What storage commitment does to the ledger.

asking.py      for objects that were sent: destinations are asked and heard
answering.py   for instances that were received: senders ask and are told
reference.py   what a commitment is about
"""

import sqlalchemy as sa

from node.ledger import schema
from node.ledger.committing.answering import Answering, OwedReport
from node.ledger.committing.asking import Asking, Commitment, Heard
from node.ledger.committing.reference import Reference
from node.ledger.database import latest

__all__ = ["Commitment", "Committing", "Heard", "OwedReport", "Reference"]

_commitment, _owed = schema.commitment, schema.owed_report


class Committing(Asking, Answering):
    """Commitments to ask for and to hear of; reports that are owed to senders."""

    def straighten_commitments(self, longest_s: float) -> int:
        """Pull back what waits for longer than any rule says: the clock was set back.

        Parameters
        ----------
        longest_s : float
            Nothing waits for longer from now on, seconds.

        Returns
        -------
        int
            How many rows were pulled back.
        """
        now = self.clock()
        with self.reading() as connection:  # almost always there is none: no lock for that
            ahead = connection.execute(
                sa.select(
                    (latest(_commitment.c.due_at) > now + longest_s)
                    | (latest(_owed.c.due_at) > now + longest_s)
                )
            ).scalar()
        if not ahead:
            return 0
        with self.engine.begin() as connection:
            return sum(
                connection.execute(
                    sa.update(table)
                    .where(table.c.due_at > now + longest_s)
                    .values(due_at=now, since=now)
                ).rowcount
                for table in (_commitment, _owed)
            )
