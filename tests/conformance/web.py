"""What the node takes and answers by STOW-RS."""

from http import HTTPStatus

from node.dicom import Status
from node.stow.answer import WRITERS, Reason
from node.stow.app import ROOT
from node.stow.store import MOST_PARTS
from tests.conformance.network import Told, status_table

STATUSES = {
    HTTPStatus.OK: "all instances are on the disk and in the ledger",
    HTTPStatus.ACCEPTED: "some are; the others stand in Failed SOP or Other Failures Sequence",
    HTTPStatus.BAD_REQUEST: "nothing in the request can be read as an instance",
    HTTPStatus.UNAUTHORIZED: "there are `users` or `tokens`, and the sender is none of them",
    HTTPStatus.FORBIDDEN: "the sender calls from none of `networks`, or is a browser",
    HTTPStatus.NOT_FOUND: f"another address than {ROOT}/studies and those below it by the UID of a "
    "study",
    HTTPStatus.METHOD_NOT_ALLOWED: "another method than POST: nothing can be asked for",
    HTTPStatus.NOT_ACCEPTABLE: "no kind of answer is accepted that can be given",
    HTTPStatus.REQUEST_TIMEOUT: "the body does not come, and nothing of it was stored",
    HTTPStatus.CONFLICT: "no instance was stored, and the answer says why",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "each instance is larger than `max_instance_mb`",
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: "the body has no DICOM files: metadata with bulk data, form "
    "data; or it is compressed as a whole",
    HTTPStatus.TOO_MANY_REQUESTS: "too many failed logins from the address, or more requests in a "
    "minute than `associations_per_minute`; with Retry-After",
    HTTPStatus.INTERNAL_SERVER_ERROR: "a fault of the node that it did not foresee",
    HTTPStatus.SERVICE_UNAVAILABLE: "less than `min_free_gb` is free, disk, ledger or memory take "
    "nothing, or too many requests are under way; with Retry-After",
}
"""Statuses of HTTP, and when they are given (PS3.18, 8.5 and 10.5.3)."""

REASONS = (
    Told(
        Reason.PROCESSING_FAILURE,
        "Processing Failure",
        "a fault of the node that it did not foresee",
        "not promised; it may come again",
    ),
    Told(
        Reason.SOP_CLASS_NOT_SUPPORTED,
        "Referenced SOP Class not supported",
        "the SOP class is none of those that are accepted by C-STORE",
        "no",
    ),
    Told(
        Status.OUT_OF_RESOURCES,
        "Refused out of Resources",
        "as A700H by C-STORE, but for an instance that is too large",
        "no; it may come again",
    ),
    Told(
        Reason.TOO_LARGE,
        "Refused out of Resources",
        "the instance is larger than `max_instance_mb`",
        "no",
    ),
    Told(
        Status.DOES_NOT_MATCH_SOP_CLASS,
        "Error: Data Set does not match SOP Class",
        "SOP Class UID or SOP Instance UID of the data set is not that of the file meta "
        "information, or the study not that of the address",
        "in the quarantine, with the reason, up to `max_quarantine_gb`",
    ),
    Told(
        Status.CANNOT_UNDERSTAND,
        "Error: Cannot understand",
        "as by C-STORE; a part that is no DICOM file; what comes after a break of the body",
        "in the quarantine, with the reason, up to `max_quarantine_gb`; not what is no file of "
        "DICOM by its type, or empty",
    ),
    Told(
        Reason.TRANSFER_SYNTAX_NOT_SUPPORTED,
        "Referenced Transfer Syntax not supported",
        "the transfer syntax is none of those that are accepted by C-STORE",
        "no",
    ),
)
"""Failure Reason (0008,1197) that the node gives (PS3.18, table I.2-2)."""


def service_table() -> str:
    """What the origin server is."""
    rows = [
        ("transaction", "Store (PS3.18, 10.5)"),
        ("resources", f"{ROOT}/studies, {ROOT}/studies/{{study}}"),
        ("method", "POST"),
        (
            "media types taken",
            'multipart/related; type="application/dicom", application/dicom (one instance)',
        ),
        ("media types answered", f"{', '.join(WRITERS)}; the first one by default"),
        ("instances in a request", f"{MOST_PARTS:,} at most"),
        ("capabilities (PS3.18, 8.9)", f"OPTIONS {ROOT}/, as WADL"),
        ("other transactions", "none"),
    ]
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)])


def answer_table() -> str:
    """The statuses of HTTP."""
    lines = ["| status | | when |", "|---|---|---|"]
    for status, when in STATUSES.items():
        lines.append(f"| {status.value} | {status.phrase} | {when} |")
    return "\n".join(lines)


def reason_table() -> str:
    """The Failure Reasons."""
    return status_table(REASONS)
