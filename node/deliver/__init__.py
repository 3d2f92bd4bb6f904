"""Station 5: send results to their destinations until they are stored there.

deliverer.py     who is sent what, and when again
association.py   how: over an association
syntax.py        in which transfer syntax
workitem.py      a workitem, which is not stored but created
stow.py          how: to a DICOMweb server
upsrs.py         a workitem there
"""

from node.deliver.association import NotTakenError, RejectedError, Sender, echo, store_files
from node.deliver.deliverer import Deliverer

__all__ = ["Deliverer", "NotTakenError", "RejectedError", "Sender", "echo", "store_files"]
