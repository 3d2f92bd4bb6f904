"""The node as a DICOMweb client: QIDO-RS, WADO-RS, STOW-RS, UPS-RS of a server not trusted.

errors.py      what goes wrong, and what to do about it
session.py     requests: TLS, who the node is, no redirects, bounds on every answer
answer.py      what a server says: matches of a search, what it has stored or created
client.py      the services

References
----------
DICOM PS3.18: 8.3.4 (QIDO-RS), 10.4 (WADO-RS), 10.5 (STOW-RS), 10.6 (search), 11 (UPS-RS).
"""

from node.dicomweb.answer import Match, StoreAnswer
from node.dicomweb.client import Web
from node.dicomweb.errors import DICOMwebError

__all__ = ["DICOMwebError", "Match", "StoreAnswer", "Web"]
