"""The ledger: where every series is on its way, in SQL. The truth of the node."""

from node.ledger.analyzing import Claim
from node.ledger.cleaning import ENDED, Ended, Kept, Mark, RetentionRule
from node.ledger.committing import Commitment, Heard, OwedReport, Reference
from node.ledger.counting import Standing, Waiting
from node.ledger.database import HINT_S, NO_ROUTE
from node.ledger.delivering import Hold
from node.ledger.feedback import (
    DAY_S,
    Entered,
    Findings,
    JudgingModel,
    KnownModel,
    Reading,
    ReadSeries,
    Source,
    Tally,
    digest_of_accession,
)
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
    "DAY_S",
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
    "Entered",
    "Event",
    "Findings",
    "Heard",
    "Hold",
    "Instance",
    "JudgingModel",
    "Kept",
    "KnownModel",
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
    "ReadSeries",
    "Reading",
    "Reference",
    "Result",
    "RetentionRule",
    "Revision",
    "Selection",
    "Source",
    "Standing",
    "State",
    "Step",
    "Stored",
    "Tally",
    "Waiting",
    "digest_of_accession",
    "newest_revision",
    "open_ledger",
    "patiently",
    "revision_at",
]
