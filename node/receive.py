"""Station 1: take instances from modalities and PACS, and lose none.

C-STORE answers Success only after the file is on the disk and the ledger knows
of it.

References
----------
Storage Service Class and its status codes: DICOM PS3.4, B.2.3. Verification
Service Class: PS3.4, A. Storage Commitment: see `node.commit`.
"""

import logging
import socket
import threading
from typing import Any

from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import evt
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from node.access import is_open_to_all
from node.audit import Alert, Auditor, Peer
from node.commit import PUSH_MODEL, TRANSFER_SYNTAXES, Answering, handle_report
from node.dicom import Status, send_without_delay
from node.errors import NotStoredError, RefusedInstance
from node.intake import STORAGE_CLASSES, Batch, Intake, file_content, transfer_syntaxes
from node.ledger import Ledger, Way
from node.listener import Cut, NodePort
from node.port import cannot_listen
from node.reading import Identity, check_command
from node.settings import Settings
from node.spool import Spool
from node.tls import server_context

log = logging.getLogger(__name__)


def start_receiver(
    settings: Settings,
    spool: Spool,
    ledger: Ledger,
    auditor: Auditor,
    listening: socket.socket | None = None,
) -> "Receiver":
    """Answer associations in threads of their own.

    Parameters
    ----------
    settings : Settings
    spool : Spool
    ledger : Ledger
    auditor : Auditor
    listening : socket.socket, optional
        Where connections come in; else the port is opened.

    Raises
    ------
    ConfigError
        If the port cannot be opened.
    """
    receiver = Receiver(settings, spool, ledger, auditor)
    ae = NodePort(settings, receiver.record_complaint, listening)
    tls = server_context(settings.dicom.tls)
    ae.add_supported_context(Verification, [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
    for storage_class in STORAGE_CLASSES:
        ae.add_supported_context(storage_class, transfer_syntaxes())
    # In both roles: senders ask the node, and destinations report to it.
    ae.add_supported_context(PUSH_MODEL, list(TRANSFER_SYNTAXES), scu_role=True, scp_role=True)

    answering = Answering(settings, spool, ledger)
    address = (settings.dicom.host, settings.dicom.port)
    try:
        receiver.server = ae.start_server(
            address,
            block=False,
            ssl_context=tls,
            evt_handlers=[
                (evt.EVT_CONN_OPEN, send_without_delay),
                (evt.EVT_C_ECHO, lambda _event: Status.SUCCESS),
                (evt.EVT_C_STORE, receiver.handle_store),
                (evt.EVT_N_ACTION, answering.handle_request),
                (evt.EVT_N_EVENT_REPORT, handle_report, [ledger, settings]),
                (evt.EVT_RELEASED, receiver.handle_end),
                (evt.EVT_ABORTED, receiver.handle_end),
                (evt.EVT_CONN_CLOSE, receiver.handle_end),
            ],
        )
    except OSError as error:
        raise cannot_listen(*address, "[dicom]", error) from error
    log.info(
        "listening on %s:%d as %s%s",
        *address,
        settings.dicom.ae_title,
        " with TLS" if tls is not None else "",
    )
    if is_open_to_all(settings):
        log.warning(
            "whoever reaches %s:%d may send to the node, and can be read on the way: "
            "see [[peers]] and [dicom.tls]",
            *address,
        )
    return receiver


class Receiver:
    """The storage SCP.

    Parameters
    ----------
    settings : Settings
    spool : Spool
    ledger : Ledger
    auditor : Auditor
    """

    def __init__(self, settings: Settings, spool: Spool, ledger: Ledger, auditor: Auditor) -> None:
        self.settings = settings
        self.auditor = auditor
        self.server: Any = None
        self.intake = Intake(settings, spool, ledger, auditor)
        self._batches: dict[int, Batch] = {}  # association -> what it brings
        self._lock = threading.Lock()

    def stop(self) -> None:
        """Close the port and abort what is still open."""
        if self.server is not None:
            self.server.shutdown()
            self.server.server_close()

    def handle_store(self, event: evt.Event) -> int:
        """Answer a C-STORE request: EVT_C_STORE."""
        request: Any = event.request
        named = str(request.AffectedSOPClassUID), str(request.AffectedSOPInstanceUID)

        def check(identity: Identity) -> None:
            check_command(identity, *named, str(event.context.abstract_syntax))

        try:
            if isinstance(request.DataSet, Cut):
                raise self.intake.not_taken(self._too_large())
            syntax = str(event.context.transfer_syntax)
            content = file_content(*named, syntax, request.DataSet.getbuffer())
            self._batch(event).take(content, check)
        except RefusedInstance as refusal:
            return refusal.status
        except NotStoredError:
            return Status.OUT_OF_RESOURCES
        return Status.SUCCESS

    def _batch(self, event: evt.Event) -> Batch:
        with self._lock:
            batch = self._batches.get(id(event.assoc))
            if batch is None:
                batch = self._batches[id(event.assoc)] = self.intake.batch(
                    _peer(event), self._way(event)
                )
        return batch

    def _way(self, event: evt.Event) -> Way:
        """How it comes: the node may have asked for it, by C-MOVE (PS3.7, 9.1.1.1.6)."""
        request: Any = event.request
        originator = request.MoveOriginatorApplicationEntityTitle
        is_fetched = (originator or "").strip() == self.settings.dicom.ae_title
        return Way.C_MOVE if is_fetched else Way.C_STORE

    def _too_large(self) -> str:
        limits = self.settings.dicom
        return (
            f"one has more than {limits.max_instance_mb} MB, or all that come together have "
            f"more than {limits.max_receiving_mb} MB; see [dicom] max_instance_mb"
        )

    def handle_end(self, event: evt.Event) -> None:
        """Look at what an association brought, once it has ended, however it did."""
        with self._lock:
            batch = self._batches.pop(id(event.assoc), None)
        if batch is not None:
            batch.end()

    def record_complaint(self, address: str, title: str, text: str) -> None:
        """Record that a peer was turned away."""
        peer = Peer(title.strip() or address, title.strip(), address)
        self.auditor.security_alert(Alert.REFUSED_PEER, text, peer)


def _peer(event: evt.Event) -> Peer:
    """Who sends, as far as the association says."""
    requestor = event.assoc.requestor
    title = requestor.ae_title.strip()
    return Peer(title, title, requestor.address or "")
