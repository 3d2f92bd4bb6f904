"""The node as SCP: senders ask it to commit to what it has received."""

import logging
import random
import threading
from functools import partial
from typing import Any

from pynetdicom import evt
from pynetdicom.association import Association
from sqlalchemy.exc import SQLAlchemyError

from ml.errors import first_line
from node.commit.association import (
    Address,
    calling,
    send_report,
)
from node.commit.content import (
    PUSH_MODEL,
    PUSH_MODEL_INSTANCE,
    REQUEST,
    Report,
    Status,
    UnusableContentError,
    read_request,
)
from node.errors import DeliveryError, SpoolError
from node.lease import staying_alive
from node.ledger import Instance, Ledger, OwedReport, Reference, patiently
from node.pauses import pause_after
from node.settings import Settings
from node.spool import Spool

log = logging.getLogger(__name__)

LEASE_S = 15.0
"""A worker that was silent for this long over a report is taken for dead, seconds."""


def address_of(ae_title: str, settings: Settings) -> Address | None:
    """Where a sender listens, as far as the configuration tells."""
    peer = settings.peer(ae_title)
    found = None if peer is None else Address.of(peer)
    destinations = (Address.of(d) for d in settings.destinations if d.ae_title == ae_title)
    return found or next(destinations, None)


def judge(
    transaction_uid: str, references: tuple[Reference, ...], ledger: Ledger, spool: Spool
) -> Report:
    """Tell what the node has, at this moment, of what it is asked to commit to.

    Raises
    ------
    SpoolError
        If that cannot be told: the spool is not to be read.
    """
    instances = ledger.current_instances([r.sop_instance_uid for r in references])
    committed, failed = [], []
    for reference in references:
        reason = _failure(reference, instances.get(reference.sop_instance_uid, []), spool)
        if reason is None:
            committed.append(reference)
        else:
            failed.append((reference, int(reason)))
    return Report(transaction_uid, tuple(committed), tuple(failed))


def _failure(reference: Reference, found: list[Instance], spool: Spool) -> Status | None:
    """Why the node does not commit to an instance; None if it does.

    Once a rule takes delivered series out of the spool, what it took is to be told
    apart here from what is lost.
    """
    if not found:
        return Status.NO_SUCH_INSTANCE
    of_class = [i for i in found if i.sop_class_uid == reference.sop_class_uid]
    if not of_class:
        return Status.CLASS_INSTANCE_CONFLICT
    if not any(spool.holds(instance.path, instance.digest) for instance in of_class):
        return Status.PROCESSING_FAILURE
    return None


def tell(report_id: int, ledger: Ledger, spool: Spool, settings: Settings) -> bool:
    """Give a sender the report that is owed to it, on an association of its own.

    Returns
    -------
    bool
        Whether it has heard.
    """
    owed = ledger.take_report(report_id, LEASE_S)
    if owed is None:
        return False
    address = address_of(owed.requestor, settings)
    if address is None:
        ledger.drop_report(owed, _no_address(owed))
        log.error("%s", _no_address(owed))
        return False
    try:
        with staying_alive(partial(ledger.extend_report, owed, LEASE_S), LEASE_S):
            report = judge(owed.transaction_uid, owed.references, ledger, spool)
            with calling(address, settings, as_scp=True) as association:
                _send(association, report, str(address))
            ledger.report_heard(owed)
    except (DeliveryError, SpoolError) as error:
        _later(owed, str(error), ledger, settings)
        return False
    _log_told(owed, report)
    return True


def _send(association: Association, report: Report, peer: str) -> None:
    status = send_report(association, report)
    if status is None:
        raise DeliveryError(f"{peer} gives no answer")
    if status != Status.SUCCESS:
        raise DeliveryError(f"{peer} answers 0x{status:04X} to the report")


def _later(owed: OwedReport, why: str, ledger: Ledger, settings: Settings) -> None:
    rules = settings.deliver
    if ledger.clock() - owed.since.timestamp() > rules.give_up_h * 3600:
        ledger.drop_report(owed, why)
        log.error(
            "%s is not told of its storage commitment any more: %s; it may ask again",
            owed.requestor,
            why,
        )
        return
    log.warning("%s cannot be told of its storage commitment: %s", owed.requestor, why)
    ledger.report_later(owed, pause_after(owed.attempts, rules, random.random()), why)


def _no_address(owed: OwedReport) -> str:
    return (
        f"{owed.requestor} asks for storage commitment and did not wait for the report: "
        "name its host and port in [[peers]]"
    )


def _log_told(owed: OwedReport, report: Report) -> None:
    log.info(
        "%s was told: %d instances are safe, %d are not",
        owed.requestor,
        len(report.committed),
        len(report.failed),
    )


class Answering:
    """Takes requests of senders.

    Parameters
    ----------
    settings : Settings
    spool : Spool
    ledger : Ledger
    """

    def __init__(self, settings: Settings, spool: Spool, ledger: Ledger) -> None:
        self.settings = settings
        self.spool = spool
        self.ledger = ledger

    def handle_request(self, event: evt.Event) -> tuple[int, None]:
        """Take a request: EVT_N_ACTION. Success is answered once it is in the ledger."""
        return self._take(event), None

    def _take(self, event: evt.Event) -> Status:
        sender = event.assoc.requestor.ae_title.strip()
        command: Any = event.request
        if command.RequestedSOPClassUID != PUSH_MODEL:
            return Status.NO_SUCH_CLASS
        if command.RequestedSOPInstanceUID != PUSH_MODEL_INSTANCE:
            return Status.NO_SUCH_INSTANCE
        if event.action_type != REQUEST:
            return Status.NO_SUCH_ACTION
        try:
            request = read_request(event.action_information)
        except UnusableContentError as error:
            log.warning("a request for storage commitment from %s is refused: %s", sender, error)
            return error.status
        has_address = address_of(sender, self.settings) is not None
        try:
            report_id = patiently(
                lambda: self.ledger.owe_report(
                    sender,
                    request.transaction_uid,
                    request.references,
                    # A worker may know an address after a restart.
                    pause_s=0 if has_address else LEASE_S,
                )
            )
        except SQLAlchemyError as error:
            log.error("storage commitment for %s was not noted: %s", sender, first_line(error))
            return Status.PROCESSING_FAILURE
        if report_id is None:
            log.warning("%s asks for other instances under a Transaction UID in use", sender)
            return Status.INVALID_ARGUMENT
        if not has_address:
            self._tell_here(event, report_id)
        return Status.SUCCESS

    def _tell_here(self, event: evt.Event, report_id: int) -> None:
        """Report on the association of the request, after its answer: no other way is known."""
        answered = threading.Event()
        event.assoc.bind(evt.EVT_DIMSE_SENT, _note_answer, [answered])
        threading.Thread(
            target=self._tell_on,
            args=(event.assoc, report_id, answered),
            daemon=True,
            name="commitment",
        ).start()

    def _tell_on(self, association: Association, report_id: int, answered: threading.Event) -> None:
        owed = self.ledger.take_report(report_id, LEASE_S, early=True)
        if owed is None:
            return
        try:
            with staying_alive(partial(self.ledger.extend_report, owed, LEASE_S), LEASE_S):
                report = judge(owed.transaction_uid, owed.references, self.ledger, self.spool)
                answered.wait(LEASE_S)
                _send(association, report, owed.requestor)
        except (DeliveryError, SpoolError, SQLAlchemyError) as error:
            log.debug("%s was not told on its own association: %s", owed.requestor, error)
            self.ledger.drop_report(owed, _no_address(owed))
            log.error("%s", _no_address(owed))
        else:
            self.ledger.report_heard(owed)
            _log_told(owed, report)


def _note_answer(event: evt.Event, answered: threading.Event) -> None:
    if type(event.message).__name__ == "N_ACTION_RSP":
        answered.set()
