"""The ledger: where every series is on its way, in SQL. The truth of the node."""

from node.ledger.analyzing import Claim
from node.ledger.cleaning import ENDED, Ended, Kept, Mark, RetentionRule
from node.ledger.committing import Commitment, Heard, OwedReport, Reference
from node.ledger.counting import Standing, Waiting
from node.ledger.database import DAY_S, HINT_S, NO_ROUTE
from node.ledger.delivering import Hold
from node.ledger.feedback import (
    Entered,
    Findings,
    Reading,
    ReadingSource,
    ReadSeries,
    Tally,
    digest_of_accession,
)
from node.ledger.fetching import FETCH_DONE
from node.ledger.following import Arrival, Step
from node.ledger.ledger import Ledger, open_ledger
from node.ledger.models import JudgingModel, KnownModel
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
    Plan,
    Planned,
    Priority,
    Result,
    Revision,
    Selection,
    SourceState,
    State,
    Stored,
    Way,
)
from node.ledger.shadowing import Observed, Shadow, ShadowState
from node.ledger.traits import NOBODY, OTHER, TraitCount, TraitTally
from node.ledger.upgrading import newest_revision, revision_at

__all__ = [
    "DAY_S",
    "ENDED",
    "FETCH_DONE",
    "HINT_S",
    "NOBODY",
    "NO_ROUTE",
    "OTHER",
    "Arrival",
    "Claim",
    "Commitment",
    "Count",
    "Current",
    "Delivery",
    "DeliveryState",
    "DestinationState",
    "Ended",
    "Entered",
    "Event",
    "Fetch",
    "FetchState",
    "Findings",
    "Heard",
    "Held",
    "Hold",
    "Instance",
    "JudgingModel",
    "Kept",
    "KnownModel",
    "Ledger",
    "Mark",
    "Notification",
    "NotificationState",
    "Observed",
    "Outcome",
    "OwedReport",
    "Page",
    "Place",
    "Plan",
    "Planned",
    "Priority",
    "ReadSeries",
    "Reading",
    "ReadingSource",
    "Reference",
    "Result",
    "RetentionRule",
    "Revision",
    "Selection",
    "Shadow",
    "ShadowState",
    "SourceState",
    "Standing",
    "State",
    "Step",
    "Stored",
    "Tally",
    "TraitCount",
    "TraitTally",
    "Waiting",
    "Way",
    "digest_of_accession",
    "newest_revision",
    "open_ledger",
    "patiently",
    "revision_at",
]
