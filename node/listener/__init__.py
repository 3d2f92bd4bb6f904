"""The port of the node: takes connections, with limits on all that a peer can spend of it.

pynetdicom does the protocol. What it leaves open is closed here:

- a TLS handshake would hold up all who call after it: each has its own thread here
- a connection that stops in the middle of a PDU would never end: it has a deadline
- a PDU, and what is gathered of a message, may be of any size: both have limits
- a peer that does not wait for answers would fill the memory with requests
- its two threads of an association each look a thousand times a second whether there is
  something to do, and an image goes through both: here they are woken, and the one that
  reads an image stores and answers it

==============  =====================================================================
`port`          who may connect, and who may open an association
`association`   what of the library's association is ours
`upper_layer`   the thread that reads and writes PDUs, and its states
`connection`    the bytes of a connection, with deadlines
`gathering`     messages of their fragments; images are served at once
`pdus`          PDUs, decoded and encoded without objects in between
`limits`        the limits, and what is counted against them
==============  =====================================================================

References
----------
PDUs and A-ABORT: DICOM PS3.8, 9.3. Fragments of a message: PS3.8, annex E.
"""

from node.listener.limits import (
    HANDSHAKE_S,
    LONGEST_COMMAND,
    LONGEST_PDU,
    SLOWEST_RATE,
    Cut,
    Memory,
)
from node.listener.pdus import c_store_rsp, fragments_of
from node.listener.port import NodePort, printable

__all__ = [
    "HANDSHAKE_S",
    "LONGEST_COMMAND",
    "LONGEST_PDU",
    "SLOWEST_RATE",
    "Cut",
    "Memory",
    "NodePort",
    "c_store_rsp",
    "fragments_of",
    "printable",
]
