"""The ledger: where every series is on its way, in SQL. The truth of the node."""

from node.ledger.analyzing import Claim
from node.ledger.cleaning import ENDED, Ended, Kept, Mark, RetentionRule
from node.ledger.committing import Commitment, Heard, OwedReport, Reference
from node.ledger.counting import Standing
from node.ledger.database import HINT_S
from node.ledger.delivering import Hold
from node.ledger.following import Arrival, Step
from node.ledger.ledger import Ledger, open_ledger
from node.ledger.notifying import Notification, NotificationState
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
from node.ledger.shadowing import (
    DAY_S,
    NOBODY,
    OTHER,
    Count,
    Judge,
    Observed,
    Shadow,
    ShadowState,
    Tally,
)
from node.ledger.upgrading import newest_revision, revision_at

__all__ = [
    "DAY_S",
    "ENDED",
    "HINT_S",
    "NOBODY",
    "OTHER",
    "Arrival",
    "Claim",
    "Commitment",
    "Count",
    "Delivery",
    "DeliveryState",
    "DestinationState",
    "Ended",
    "Event",
    "Heard",
    "Hold",
    "Instance",
    "Judge",
    "Kept",
    "Ledger",
    "Mark",
    "Notification",
    "NotificationState",
    "Observed",
    "Outcome",
    "OwedReport",
    "Page",
    "Place",
    "Reference",
    "Result",
    "RetentionRule",
    "Revision",
    "Selection",
    "Shadow",
    "ShadowState",
    "Standing",
    "State",
    "Step",
    "Stored",
    "Tally",
    "newest_revision",
    "open_ledger",
    "patiently",
    "revision_at",
]
