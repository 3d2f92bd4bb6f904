"""What readers say of series, beside what the model said, and both counted.

A reading is about a series, or about every series of a study, also those that are judged
later. It is never changed: the newest one counts, whoever said it. The counts are kept in
step with every judgement and every reading, in the same transaction, and stay when a series
is forgotten: they name nobody.

Whoever changes what is counted of a study holds the study first, then its series, then the
counts in the order of their keys: so nobody waits for each other.

reading.py    what a reader says
tallies.py    how often model and readers say the same
entering.py   judgements and readings come in, and are counted
reviewing.py  what was said, and what nobody has read yet
"""

from node.ledger.feedback.entering import Entered, Entering, digest_of_accession
from node.ledger.feedback.reading import Findings, Reading, ReadingSource
from node.ledger.feedback.reviewing import ReadSeries, Reviewing
from node.ledger.feedback.tallies import Tallies, Tally

__all__ = [
    "Entered",
    "Feedback",
    "Findings",
    "ReadSeries",
    "Reading",
    "ReadingSource",
    "Tally",
    "digest_of_accession",
]


class Feedback(Entering, Reviewing, Tallies):
    """What readers say and what the model said: entered, found and counted."""
