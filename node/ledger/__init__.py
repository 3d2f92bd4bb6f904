"""The ledger: where every series is on its way, in SQL. The truth of the node."""

from node.ledger.analyzing import Claim
from node.ledger.cleaning import ENDED, Ended, Kept, Mark, RetentionRule
from node.ledger.committing import Commitment, Heard, OwedReport, Reference
from node.ledger.counting import Standing, Waiting
from node.ledger.database import HINT_S, NO_ROUTE
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
    Plan,
    Planned,
    Priority,
    Result,
    Revision,
    Selection,
    State,
    Stored,
)
from node.ledger.upgrading import newest_revision, revision_at

__all__ = [
    "ENDED",
    "HINT_S",
    "NO_ROUTE",
    "Arrival",
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
    "Mark",
    "Notification",
    "NotificationState",
    "Outcome",
    "OwedReport",
    "Page",
    "Place",
    "Plan",
    "Planned",
    "Priority",
    "Reference",
    "Result",
    "RetentionRule",
    "Revision",
    "Selection",
    "Standing",
    "State",
    "Step",
    "Stored",
    "Waiting",
    "newest_revision",
    "open_ledger",
    "patiently",
    "revision_at",
]
