"""The ledger: where every series is on its way, in SQL. The truth of the node."""

from node.ledger.analyzing import Claim
from node.ledger.committing import Commitment, Heard, OwedReport, Reference
from node.ledger.counting import Standing
from node.ledger.database import HINT_S
from node.ledger.delivering import Hold
from node.ledger.following import Arrival, Step
from node.ledger.ledger import Ledger, open_ledger
from node.ledger.patience import patiently
from node.ledger.records import (
    Delivery,
    DeliveryState,
    DestinationState,
    Event,
    Instance,
    Outcome,
    Page,
    Place,
    Result,
    Revision,
    Selection,
    State,
    Stored,
)

__all__ = [
    "HINT_S",
    "Arrival",
    "Claim",
    "Commitment",
    "Delivery",
    "DeliveryState",
    "DestinationState",
    "Event",
    "Heard",
    "Hold",
    "Instance",
    "Ledger",
    "Outcome",
    "OwedReport",
    "Page",
    "Place",
    "Reference",
    "Result",
    "Revision",
    "Selection",
    "Standing",
    "State",
    "Step",
    "Stored",
    "open_ledger",
    "patiently",
]
