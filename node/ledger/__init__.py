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
    Count,
    Current,
    Delivery,
    DeliveryState,
    DestinationState,
    Event,
    Fetch,
    FetchState,
    Held,
    Instance,
    Outcome,
    Page,
    Place,
    Result,
    Revision,
    Selection,
    SourceState,
    State,
    Stored,
)
from node.ledger.upgrading import newest_revision, revision_at

__all__ = [
    "ENDED",
    "HINT_S",
    "Arrival",
    "Claim",
    "Commitment",
    "Count",
    "Current",
    "Delivery",
    "DeliveryState",
    "DestinationState",
    "Ended",
    "Event",
    "Fetch",
    "FetchState",
    "Heard",
    "Held",
    "Hold",
    "Instance",
    "Kept",
    "Ledger",
    "Mark",
    "Notification",
    "NotificationState",
    "Outcome",
    "OwedReport",
    "Page",
    "Place",
    "Reference",
    "Result",
    "RetentionRule",
    "Revision",
    "Selection",
    "SourceState",
    "Standing",
    "State",
    "Step",
    "Stored",
    "newest_revision",
    "open_ledger",
    "patiently",
    "revision_at",
]
