"""Workitems over an association: UPS Push as SCU.

References
----------
UPS Push SOP Class: DICOM PS3.4, CC.2.5 (N-CREATE), CC.2.2 (N-ACTION: Request UPS Cancel).
Status codes: tables CC.2.5-4 and CC.2.2-2; PS3.7, C.
"""

from collections.abc import Iterable
from copy import deepcopy

from pydicom.dataset import Dataset
from pydicom.uid import UID
from pynetdicom.association import Association
from pynetdicom.sop_class import UnifiedProcedureStepPush  # type: ignore[attr-defined]

UPS_PUSH = UID(UnifiedProcedureStepPush)

THERE_BEFORE, MODIFIED = "it was there before", "created with modifications"
"""Remarks on a workitem that the recipient has; it was there where an answer was lost."""

REMARKS = {
    0x0111: f"{THERE_BEFORE}:",
    **dict.fromkeys((0x0107, 0x0116, 0xB300), f"{MODIFIED}:"),
}
"""Answers of a recipient that has the workitem."""

ASKED, NOT_THERE = "the one before was asked to be canceled", "the one before is not there"
STAYS = "the one before stays"
"""What became of a workitem that is replaced."""

_REQUEST_CANCEL = 2
"""Action Type ID (table CC.2.2-1)."""

ANSWERS_TO_CANCEL = {
    0x0000: ASKED,
    0xB304: "the one before was canceled already",
    0x0112: NOT_THERE,
    0xC307: NOT_THERE,
    0xC311: "the one before is completed",
    0xC312: f"{STAYS}: its performer is not reached",
    0xC313: f"{STAYS}: its performer goes on",
}


def create(association: Association, item: Dataset) -> Dataset:
    """Have a workitem created.

    Parameters
    ----------
    association : Association
        With a context for `UPS_PUSH`.
    item : pydicom.Dataset
        As it is in its file.

    Returns
    -------
    pydicom.Dataset
        The status.
    """
    status, _ = association.send_n_create(to_create(item), UPS_PUSH, item.SOPInstanceUID)
    return status


def cancel(association: Association, uid: str) -> str | None:
    """Ask for a workitem to be canceled.

    Returns
    -------
    str, optional
        What becomes of it; None: the recipient gives no answer.
    """
    status, _ = association.send_n_action(cancellation(), _REQUEST_CANCEL, UPS_PUSH, uid)
    code = status.get("Status")
    return None if code is None else ANSWERS_TO_CANCEL.get(code, f"{STAYS}: 0x{code:04X}")


def to_create(item: Dataset) -> Dataset:
    """What is sent of a workitem; the command names class and instance (table CC.2.5-3)."""
    sent = deepcopy(item)
    del sent.SOPClassUID, sent.SOPInstanceUID
    return sent


def cancellation() -> Dataset:
    """Why a workitem is to be canceled."""
    why = Dataset()
    why.ReasonForCancellation = "More images came: a later workitem replaces this one"
    return why


def replaced_by(item: Dataset) -> list[str]:
    """UIDs of the workitems that one replaces, those that never were created among them."""
    return [one.ReferencedSOPInstanceUID for one in item.get("ReplacedProcedureStepSequence", ())]


def told(remark: str | None, became: Iterable[str]) -> str | None:
    """What is noted of a workitem that is created: a remark, and what became of those before."""
    return "; ".join(dict.fromkeys(filter(None, (remark, *became)))) or None
