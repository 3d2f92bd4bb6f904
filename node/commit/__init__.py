"""Storage commitment, in both roles.

======================  ==========================================================
content.py              requests and reports as datasets
association.py          calling a peer about storage commitment
asking.py               SCU: a destination is asked to commit to the node's results
answering.py            SCP: a sender asks the node to commit to what it received
======================  ==========================================================

References
----------
Storage Commitment Service Class, Push Model: DICOM PS3.4, J.3. Its attributes:
PS3.3, C.14. Role selection: PS3.7, D.3.3.4.
"""

from node.commit.answering import Answering, tell
from node.commit.asking import ask, handle_report, sent_since
from node.commit.association import TRANSFER_SYNTAXES
from node.commit.content import PUSH_MODEL

__all__ = [
    "PUSH_MODEL",
    "TRANSFER_SYNTAXES",
    "Answering",
    "ask",
    "handle_report",
    "sent_since",
    "tell",
]
