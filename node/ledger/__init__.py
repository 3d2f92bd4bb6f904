"""The ledger: where every series is on its way, in SQL. The truth of the node."""

from node.ledger.analyzing import Claim
from node.ledger.database import HINT_S
from node.ledger.delivering import Hold
from node.ledger.ledger import Ledger, open_ledger
from node.ledger.patience import patiently
from node.ledger.records import (
    Delivery,
    DeliveryState,
    Event,
    Instance,
    Outcome,
    Result,
    Revision,
    State,
    Stored,
)

__all__ = [
    "HINT_S",
    "Claim",
    "Delivery",
    "DeliveryState",
    "Event",
    "Hold",
    "Instance",
    "Ledger",
    "Outcome",
    "Result",
    "Revision",
    "State",
    "Stored",
    "open_ledger",
    "patiently",
]
