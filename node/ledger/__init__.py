"""The ledger: where every series is on its way, in SQL. The truth of the node."""

from node.ledger.analyzing import Claim
from node.ledger.cleaning import ENDED, Ended, Kept, Place, Rule
from node.ledger.committing import Commitment, Heard, OwedReport, Reference
from node.ledger.database import HINT_S
from node.ledger.delivering import Hold
from node.ledger.ledger import Ledger, open_ledger
from node.ledger.patience import patiently
from node.ledger.records import (
    Delivery,
    DeliveryState,
    DestinationState,
    Event,
    Instance,
    Outcome,
    Result,
    Revision,
    State,
    Stored,
)
from node.ledger.upgrading import newest_revision, revision_at

__all__ = [
    "ENDED",
    "HINT_S",
    "Claim",
    "Commitment",
    "Delivery",
    "DeliveryState",
    "DestinationState",
    "Ended",
    "Event",
    "Heard",
    "Hold",
    "Instance",
    "Kept",
    "Ledger",
    "Outcome",
    "OwedReport",
    "Place",
    "Reference",
    "Result",
    "Revision",
    "Rule",
    "State",
    "Stored",
    "newest_revision",
    "open_ledger",
    "patiently",
    "revision_at",
]
