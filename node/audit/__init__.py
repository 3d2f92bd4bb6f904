"""The audit trail: who sent what, what went where, which model judged (PS3.15, A.5).

message.py   one record, and its XML by the standard's schema
events.py    which event of the node is which message: pure functions
sinks.py     where records go: a file, syslog
auditor.py   hands records over without waiting; a thread for each sink writes them

The trail is meant to name the patient (by ID, never by name): it is no log.
"""

from node.audit.auditor import Auditor
from node.audit.events import (
    STUDY_KEYWORDS,
    Alert,
    Authentication,
    Peer,
    Person,
    Study,
    Tally,
    header_of,
)
from node.audit.message import Action, EventOutcome

__all__ = [
    "STUDY_KEYWORDS",
    "Action",
    "Alert",
    "Auditor",
    "Authentication",
    "EventOutcome",
    "Peer",
    "Person",
    "Study",
    "Tally",
    "header_of",
]
