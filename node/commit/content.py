"""Requests for storage commitment and reports on it, as datasets.

References
----------
N-ACTION and N-EVENT-REPORT information: DICOM PS3.4, tables J.3-1 and J.3-2.
Failure Reason: PS3.3, C.14.1.1. Status codes: PS3.7, C.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

from pydicom import Dataset
from pydicom.tag import BaseTag, Tag
from pydicom.uid import UID

from ml.errors import IchnodeError, first_line
from node.ledger import Reference
from node.spool import is_uid

PUSH_MODEL = UID("1.2.840.10008.1.20.1")
PUSH_MODEL_INSTANCE = UID("1.2.840.10008.1.20.1.1")
"""The SOP class, and the one well-known instance that requests go to (PS3.4, J.3.5)."""

REQUEST = 1
"""The one Action Type (PS3.4, J.3.2.1)."""

MOST_REFERENCES = 50_000
"""Instances in one request or report at most: the largest series have some thousand."""


class EventType(IntEnum):
    """What a report says (PS3.4, J.3.3.1)."""

    ALL_COMMITTED = 1
    FAILURES_EXIST = 2


class Status(IntEnum):
    """Answers to N-ACTION and N-EVENT-REPORT, and reasons of a failure."""

    SUCCESS = 0x0000
    PROCESSING_FAILURE = 0x0110
    NO_SUCH_INSTANCE = 0x0112
    NO_SUCH_EVENT_TYPE = 0x0113
    INVALID_ARGUMENT = 0x0115
    NO_SUCH_CLASS = 0x0118
    CLASS_INSTANCE_CONFLICT = 0x0119
    CLASS_NOT_SUPPORTED = 0x0122
    NO_SUCH_ACTION = 0x0123
    UNRECOGNISED_OPERATION = 0x0211
    RESOURCE_LIMITATION = 0x0213

    def __str__(self) -> str:
        return self.name.lower().replace("_", " ")


_TRANSACTION_UID = Tag("TransactionUID")
_CLASS_UID = Tag("ReferencedSOPClassUID")
_INSTANCE_UID = Tag("ReferencedSOPInstanceUID")

_REASONS = {
    0x0110: "processing failure",
    0x0112: "it has no such instance",
    0x0119: "it has the instance with another SOP class",
    0x0122: "it does not support the SOP class",
    0x0131: "it knows the Transaction UID already",
    0x0213: "it has no room",
}


class UnusableContentError(IchnodeError):
    """A request or report from which it cannot be told what it is about.

    Parameters
    ----------
    reason : str
    status : Status
        To answer with.
    """

    def __init__(self, reason: str, status: Status = Status.INVALID_ARGUMENT) -> None:
        super().__init__(reason)
        self.status = status


@dataclass(frozen=True)
class Request:
    """What a peer is asked to commit to.

    Parameters
    ----------
    transaction_uid : str
    references : tuple of Reference
        Each instance once.
    """

    transaction_uid: str
    references: tuple[Reference, ...]

    def as_dataset(self) -> Dataset:
        """The Action Information."""
        dataset = Dataset()
        dataset.TransactionUID = self.transaction_uid
        dataset.ReferencedSOPSequence = [_item(reference) for reference in self.references]
        return dataset


@dataclass(frozen=True)
class Report:
    """What a peer has committed to and what it has not.

    Parameters
    ----------
    transaction_uid : str
    committed : tuple of Reference
    failed : tuple of tuple of Reference and int
        With the Failure Reason of each.
    """

    transaction_uid: str
    committed: tuple[Reference, ...]
    failed: tuple[tuple[Reference, int], ...]

    @property
    def event_type(self) -> EventType:
        """Whether all was committed to."""
        return EventType.FAILURES_EXIST if self.failed else EventType.ALL_COMMITTED

    def as_dataset(self) -> Dataset:
        """The Event Information."""
        dataset = Dataset()
        dataset.TransactionUID = self.transaction_uid
        if self.committed:
            dataset.ReferencedSOPSequence = [_item(reference) for reference in self.committed]
        if self.failed:
            dataset.FailedSOPSequence = [_item(*pair) for pair in self.failed]
        return dataset


def _item(reference: Reference, reason: int | None = None) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = reference.sop_class_uid
    item.ReferencedSOPInstanceUID = reference.sop_instance_uid
    if reason is not None:
        item.FailureReason = reason
    return item


def failure_text(reason: int) -> str:
    """A Failure Reason for people."""
    return f"0x{reason:04X}, {_REASONS.get(reason, 'a reason of its own')}"


def read_request(dataset: Dataset) -> Request:
    """Read the Action Information of a request.

    Raises
    ------
    UnusableContentError
        If a UID is missing or none, or there are too many.
    """
    try:
        request = Request(_transaction_uid(dataset), _references(dataset, "ReferencedSOPSequence"))
    except UnusableContentError:
        raise
    except Exception as error:  # a hostile dataset can raise anything from the parser
        raise UnusableContentError(f"it cannot be read: {first_line(error)}") from error
    if not request.references:
        raise UnusableContentError("it names no instance")
    return request


def read_report(dataset: Dataset) -> Report:
    """Read the Event Information of a report.

    Raises
    ------
    UnusableContentError
        If a UID is missing or none, or there are too many.
    """
    try:
        return Report(
            _transaction_uid(dataset),
            _references(dataset, "ReferencedSOPSequence"),
            tuple(
                (_reference(item), int(item.get("FailureReason") or Status.PROCESSING_FAILURE))
                for item in _items(dataset, "FailedSOPSequence")
            ),
        )
    except UnusableContentError:
        raise
    except Exception as error:  # a hostile dataset can raise anything from the parser
        raise UnusableContentError(f"it cannot be read: {first_line(error)}") from error


def _transaction_uid(dataset: Dataset) -> str:
    uid = _uid(dataset, _TRANSACTION_UID)
    if not is_uid(uid):
        raise UnusableContentError("its Transaction UID is missing or none")
    return uid


def _references(dataset: Dataset, keyword: str) -> tuple[Reference, ...]:
    return tuple(dict.fromkeys(_reference(item) for item in _items(dataset, keyword)))


def _items(dataset: Dataset, keyword: str) -> Sequence[Dataset]:
    items: Sequence[Dataset] = dataset.get(keyword) or []
    if len(items) > MOST_REFERENCES:
        raise UnusableContentError(
            f"it names more than {MOST_REFERENCES} instances", Status.RESOURCE_LIMITATION
        )
    return items


def _reference(item: Dataset) -> Reference:
    found = Reference(_uid(item, _CLASS_UID), _uid(item, _INSTANCE_UID))
    if not is_uid(found.sop_class_uid) or not is_uid(found.sop_instance_uid):
        raise UnusableContentError("a UID of an instance is missing or none")
    return found


def _uid(item: Dataset, tag: BaseTag) -> str:
    """A UID as it was received: to have pydicom convert thousands of them takes seconds."""
    element = item.get_item(tag)
    value = "" if element is None else element.value
    if isinstance(value, bytes):
        return value.rstrip(b"\0 ").decode("ascii", errors="replace")
    return str(value or "")
