"""The node as SCU: destinations are asked to commit to results that they have stored."""

import logging
import random
import threading
from typing import Any

from pynetdicom import evt
from sqlalchemy.exc import SQLAlchemyError

from ml.errors import first_line
from node.commit.association import Address, NotSupportedError, calling, send_request
from node.commit.content import (
    EventType,
    Request,
    Status,
    UnusableContentError,
    failure_text,
    read_report,
)
from node.errors import DeliveryError
from node.ledger import Commitment, Ledger
from node.pauses import pause_after
from node.settings import Destination, Settings

log = logging.getLogger(__name__)

LINGER_S = 2.0
"""An association stays open for so long after a request: some report on the same one, seconds."""

_LOOK_S = 0.2

_UNKNOWN_SERVICE = (
    Status.NO_SUCH_INSTANCE,
    Status.NO_SUCH_CLASS,
    Status.CLASS_NOT_SUPPORTED,
    Status.NO_SUCH_ACTION,
    Status.UNRECOGNISED_OPERATION,
)
"""Answers to a request by which a peer says that it does not know the service."""


def sent_since(ledger: Ledger, settings: Settings) -> float:
    """Objects that were tried first before are not asked about, seconds since 1970.

    An archive may have deleted what is old by its own rules: that is not to be sent again.
    """
    return ledger.clock() - _give_up_s(settings)


def ask(destination: str, ledger: Ledger, settings: Settings) -> int:
    """Ask a destination to commit to all that it has stored and was not asked for.

    Returns
    -------
    int
        How many objects it was asked for.
    """
    peer = settings.destination(destination)
    is_asked = peer is not None and peer.commit
    since = sent_since(ledger, settings) if is_asked else None
    # Longer than the peer may take to answer, or another one would ask meanwhile.
    lease_s = 4 * settings.deliver.timeout_s + LINGER_S
    count = 0
    while commitment := ledger.take_commitment(destination, lease_s, since):
        if peer is None or not is_asked:
            ledger.stop_asking(commitment, "sent; it is not asked for storage commitment any more")
            continue
        try:
            if _ask(commitment, peer, ledger, settings):
                count += len(commitment.references)
        except NotSupportedError as error:
            log.warning("destination %s: %s", destination, error)
            ledger.stop_asking(commitment, f"sent; {error}")
        except DeliveryError as error:
            log.warning("storage commitment by %s has to wait: %s", destination, error)
            _later(commitment, str(error), ledger, settings)
            break
    return count


def _ask(commitment: Commitment, peer: Destination, ledger: Ledger, settings: Settings) -> bool:
    """Ask for one commitment; False if nothing of it is awaited any more."""
    if ledger.clock() - commitment.since.timestamp() > _give_up_s(settings):
        hours = settings.deliver.give_up_h
        log.error("%s gave no storage commitment within %g h", commitment.destination, hours)
        ledger.stop_asking(commitment, f"sent; storage commitment not heard of within {hours:g} h")
        return False
    address = Address.of(peer)
    assert address is not None  # who commits has one: `Destination` sees to it
    answered = threading.Event()
    handlers: list[Any] = [
        (evt.EVT_N_EVENT_REPORT, handle_report, [ledger, settings]),
        (evt.EVT_DIMSE_SENT, _note_answer, [answered]),
    ]
    with calling(address, settings, as_scp=False, handlers=handlers) as association:
        uid = ledger.name_transaction(commitment)
        if uid is None:
            return False
        status = send_request(association, Request(uid, commitment.references))
        if status in _UNKNOWN_SERVICE:
            raise NotSupportedError(f"{address} answers 0x{status:04X} to storage commitment")
        if status is None:
            raise DeliveryError(f"{address} gives no answer")
        if status != Status.SUCCESS:
            raise DeliveryError(f"{address} answers 0x{status:04X} to storage commitment")
        ledger.asked(commitment, settings.deliver.commit_wait_s)
        for _ in range(round(LINGER_S / _LOOK_S)):
            if answered.wait(_LOOK_S) or not association.is_established:
                break
            if not ledger.is_awaited(commitment):
                answered.wait(_LOOK_S)  # heard just now on this association: its answer comes
                break
    return True


def _note_answer(event: evt.Event, answered: threading.Event) -> None:
    if type(event.message).__name__ == "N_EVENT_REPORT_RSP":
        answered.set()


def _later(commitment: Commitment, why: str, ledger: Ledger, settings: Settings) -> None:
    pause_s = pause_after(commitment.attempts, settings.deliver, random.random())
    ledger.ask_later(commitment, pause_s, why)


def _give_up_s(settings: Settings) -> float:
    return settings.deliver.give_up_h * 3600


def handle_report(event: evt.Event, ledger: Ledger, settings: Settings) -> tuple[int, None]:
    """Take a report on what a destination has committed to: EVT_N_EVENT_REPORT.

    The Transaction UID, which nobody can guess, says whose report it is; archives
    report under other AE titles than they listen to.
    """
    return _hear(event, ledger, settings), None


def _hear(event: evt.Event, ledger: Ledger, settings: Settings) -> Status:
    peer = event.assoc.remote["ae_title"].strip()
    if event.event_type not in tuple(EventType):
        return Status.NO_SUCH_EVENT_TYPE
    try:
        report = read_report(event.event_information)
    except UnusableContentError as error:
        log.warning("a storage commitment report from %s is of no use: %s", peer, error)
        return error.status
    failed = {
        reference.sop_instance_uid: failure_text(reason) for reference, reason in report.failed
    }
    rules = settings.deliver
    chance = random.random()
    try:
        heard = ledger.hear(
            report.transaction_uid,
            {reference.sop_instance_uid for reference in report.committed},
            failed,
            lambda attempts: pause_after(attempts, rules, chance),
            _give_up_s(settings),
        )
    except SQLAlchemyError as error:
        log.error("a storage commitment report from %s was not noted: %s", peer, first_line(error))
        return Status.PROCESSING_FAILURE
    if heard is None:
        log.warning(
            "%s reports on storage commitment %s, which the node did not ask for",
            peer,
            report.transaction_uid,
        )
        return Status.INVALID_ARGUMENT
    if heard.committed:
        log.info("%s has committed to %d objects", heard.destination, heard.committed)
    if heard.failed:
        log.error(
            "%s did not commit to %d objects: they are sent again", heard.destination, heard.failed
        )
    return Status.SUCCESS
