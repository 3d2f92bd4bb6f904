"""Workitems over an association: UPS Push as SCU.

References
----------
UPS Push SOP Class, N-CREATE: DICOM PS3.4, CC.2.5. Status codes: table CC.2.5-4; PS3.7, C.
"""

from pathlib import Path

import pydicom
from pydicom.dataset import Dataset
from pydicom.uid import UID
from pynetdicom.association import Association
from pynetdicom.sop_class import UnifiedProcedureStepPush  # type: ignore[attr-defined]

UPS_PUSH = UID(UnifiedProcedureStepPush)

DUPLICATE = 0x0111
"""The recipient has the workitem already: it was sent before, and the answer was lost."""

REMARKS = {DUPLICATE: "it was there before:", 0xB300: "created with modifications:"}
"""Answers of a recipient that has the workitem."""


def create(association: Association, path: Path) -> Dataset:
    """Have a workitem created.

    Parameters
    ----------
    association : Association
        With a context for `UPS_PUSH`.
    path : pathlib.Path
        Its file.

    Returns
    -------
    pydicom.Dataset
        The status.
    """
    item = pydicom.dcmread(path)
    uid = item.SOPInstanceUID
    del item.SOPClassUID, item.SOPInstanceUID  # the command names them (table CC.2.5-3)
    status, _ = association.send_n_create(item, UPS_PUSH, uid)
    return status
