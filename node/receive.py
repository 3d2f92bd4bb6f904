"""Station 1: take instances from modalities and PACS, and lose none.

C-STORE answers Success only after the file is on the disk and the ledger knows
of it.

References
----------
Storage Service Class and its status codes: DICOM PS3.4, B.2.3. Verification
Service Class: PS3.4, A. Storage Commitment: see `node.commit`.
"""

import logging
import shutil
import socket
import struct
import threading
from pathlib import Path
from typing import Any

from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import (
    UID,
    AllTransferSyntaxes,
    CTImageStorage,
    EnhancedCTImageStorage,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    LegacyConvertedEnhancedCTImageStorage,
)
from pynetdicom import evt
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]
from sqlalchemy.exc import SQLAlchemyError

from ml.errors import first_line
from node.access import Seldom, is_open_to_all
from node.allowance import Allowance
from node.audit import Action, Alert, Auditor, EventOutcome, Peer, Tally
from node.commit import PUSH_MODEL, TRANSFER_SYNTAXES, Answering, handle_report
from node.dicom import (
    IMPLEMENTATION_CLASS_UID,
    Status,
    as_ui,
    send_without_delay,
)
from node.errors import RefusedInstance, SpoolError
from node.ledger import Instance, Ledger, Outcome, patiently
from node.listener import Cut, NodePort, printable
from node.logs import about
from node.port import cannot_listen
from node.reading import Identity, check_command, read_identity
from node.settings import Settings
from node.spool import Spool, digest_of
from node.tls import server_context

log = logging.getLogger(__name__)

STORAGE_CLASSES = (CTImageStorage, EnhancedCTImageStorage, LegacyConvertedEnhancedCTImageStorage)

MOST_COUNTED = 100
"""Studies of one association that are counted in memory; then they are recorded."""

_ACTIONS = {
    Outcome.NEW: Action.CREATE,
    Outcome.DUPLICATE: Action.READ,
    Outcome.CHANGED: Action.UPDATE,
}
"""What an instance was to the ledger, as the audit trail says it (PS3.15, A.5.3.7)."""


def transfer_syntaxes() -> list[UID]:
    """Every transfer syntax that the installed decoders can decode."""
    return [uid for uid in AllTransferSyntaxes if _is_decodable(uid)]


def _is_decodable(uid: UID) -> bool:
    try:
        return bool(get_decoder(uid).is_available)
    except NotImplementedError:
        return False


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
        raise cannot_listen(settings, error) from error
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
        self.spool = spool
        self.ledger = ledger
        self.auditor = auditor
        self.server: Any = None
        self._said = Seldom()
        self._quarantine = Allowance(spool.quarantined, settings.dicom.max_quarantine_gb * 1024**3)
        # association -> revisions it brought slices of -> one of these, and how many
        self._touched: dict[int, dict[int, tuple[Instance, int]]] = {}
        self._tallies: dict[int, Tally] = {}  # association -> what it brought
        self._lock = threading.Lock()

    def stop(self) -> None:
        """Close the port and abort what is still open."""
        if self.server is not None:
            self.server.shutdown()
            self.server.server_close()

    def handle_store(self, event: evt.Event) -> int:
        """Answer a C-STORE request: EVT_C_STORE."""
        if (why := self._has_no_room(event)) is not None:
            if self._said.is_new(why):
                log.error("instances are not taken: %s", why)
            return Status.OUT_OF_RESOURCES
        content = file_content(event)
        try:
            identity = read_identity(content)
            command: Any = event.request
            check_command(
                identity,
                str(command.AffectedSOPClassUID),
                str(command.AffectedSOPInstanceUID),
                str(event.context.abstract_syntax),
            )
        except RefusedInstance as refusal:
            return self._refuse(content, refusal, event)
        digest = digest_of(content)
        instance = Instance(
            study_instance_uid=identity.study,
            series_instance_uid=identity.series,
            sop_instance_uid=identity.instance,
            sop_class_uid=identity.sop_class,
            digest=digest,
            path=self.spool.place(identity.study, identity.series, identity.instance, digest),
            sender=event.assoc.requestor.ae_title.strip(),
        )
        with about(instance):
            return self._store(event, identity, instance, content)

    def _store(
        self, event: evt.Event, identity: Identity, instance: Instance, content: bytes
    ) -> int:
        """Put an instance on the disk and into the ledger."""
        try:
            self._keep(instance, content)
            quiet_s = self.settings.assemble.quiet_s
            stored = patiently(lambda: self.ledger.store(instance, quiet_s))
            # Retention may have removed just this content of an earlier revision meanwhile;
            # from now on it does not: the ledger knows that the file is needed.
            if not self.spool.path(instance.path).exists():
                self._keep(instance, content)
        except (SpoolError, SQLAlchemyError) as error:
            log.error("instance %s was not stored: %s", identity.instance, first_line(error))
            self._count(event, identity, Action.CREATE, EventOutcome.MINOR_FAILURE)
            return Status.OUT_OF_RESOURCES
        self._count(event, identity, _ACTIONS[stored.outcome])
        if stored.outcome is Outcome.CHANGED:
            log.warning("instance %s came again with other content", identity.instance)
        with self._lock:
            touched = self._touched.setdefault(id(event.assoc), {})
            _, count = touched.get(stored.revision_id, (instance, 0))
            touched[stored.revision_id] = instance, count + 1
        return Status.SUCCESS

    def _keep(self, instance: Instance, content: bytes) -> None:
        self.spool.keep(
            instance.study_instance_uid,
            instance.series_instance_uid,
            instance.sop_instance_uid,
            instance.digest,
            content,
        )

    def _has_no_room(self, event: evt.Event) -> str | None:
        """Why an instance is not even looked at; None if it is."""
        limits = self.settings.dicom
        request: Any = event.request
        if isinstance(request.DataSet, Cut):
            return (
                f"one has more than {limits.max_instance_mb} MB, or all that come together have "
                f"more than {limits.max_receiving_mb} MB; see [dicom] max_instance_mb"
            )
        try:
            free = shutil.disk_usage(self.spool.home).free
        except OSError:  # writing will tell
            return None
        if free < limits.min_free_gb * 1024**3:
            return (
                f"less than {limits.min_free_gb:g} GB are free in {self.spool.home}: "
                "make room, or see [dicom] min_free_gb"
            )
        return None

    def handle_end(self, event: evt.Event) -> None:
        """Look at what an association brought, once it has ended, however it did."""
        with self._lock:
            touched = self._touched.pop(id(event.assoc), None)
            tally = self._tallies.pop(id(event.assoc), None)
        if tally is not None:
            self.auditor.instances_received(_peer(event), tally)
        for instance, count in (touched or {}).values():
            with about(instance):
                log.info(
                    "series %s: %d images came from %s",
                    instance.series_instance_uid,
                    count,
                    printable(instance.sender),
                )
        if touched:
            try:
                self.ledger.release(touched, self.settings.assemble.grace_s)
            except SQLAlchemyError as error:  # the sweeper looks after `quiet_s` anyway
                log.error("the end of an association was not noted: %s", first_line(error))

    def record_complaint(self, address: str, title: str, text: str) -> None:
        """Record that a peer was turned away."""
        peer = Peer(title.strip() or address, title.strip(), address)
        self.auditor.security_alert(Alert.REFUSED_PEER, text, peer)

    def _count(
        self,
        event: evt.Event,
        identity: Identity,
        action: Action,
        outcome: EventOutcome = EventOutcome.SUCCESS,
    ) -> None:
        """Count an instance for the record of its association."""
        with self._lock:
            tally = self._tallies.setdefault(id(event.assoc), Tally())
            tally.add(identity.audited, identity.sop_class, action, outcome)
            if len(tally) < MOST_COUNTED:
                return
            del self._tallies[id(event.assoc)]
        self.auditor.instances_received(_peer(event), tally)

    def _refuse(self, content: bytes, refusal: RefusedInstance, event: evt.Event) -> int:
        sender = printable(event.assoc.requestor.ae_title)
        if not self._quarantine.take(len(content)):
            limit = self.settings.dicom.max_quarantine_gb
            if self._said.is_new(limit):
                log.error(
                    "refused instances are not kept: %s holds %g GB; clear it, or see [dicom] "
                    "max_quarantine_gb",
                    self.spool.quarantined,
                    limit,
                )
            self._alert(event, refusal)
            return refusal.status
        try:
            folder = self.spool.quarantine(content, f"from {sender}: {refusal}")
        except SpoolError as error:
            log.error("an instance from %s was refused and not kept: %s", sender, error)
            return Status.OUT_OF_RESOURCES
        self._alert(event, refusal, folder)
        # Not the reason: it may quote the dataset, and so the patient.
        log.warning("an instance from %s was refused, see %s", sender, folder)
        return refusal.status

    def _alert(
        self, event: evt.Event, refusal: RefusedInstance, folder: Path | None = None
    ) -> None:
        self.auditor.security_alert(
            Alert.REFUSED_INSTANCE,
            f"an instance was refused with status {refusal.status:04X}H",
            _peer(event),
            folder,
        )


def _peer(event: evt.Event) -> Peer:
    """Who sends, as far as the association says."""
    requestor = event.assoc.requestor
    title = requestor.ae_title.strip()
    return Peer(title, title, requestor.address or "")


def file_content(event: evt.Event) -> bytes:
    """The instance as a file (PS3.10, 7.1), the same bytes whoever sends it."""
    request: Any = event.request
    meta = _file_meta(
        str(request.AffectedSOPClassUID),
        str(request.AffectedSOPInstanceUID),
        str(event.context.transfer_syntax),
    )
    return b"".join((meta, request.DataSet.getbuffer()))


def _file_meta(sop_class: str, instance: str, transfer_syntax: str) -> bytes:
    """Preamble and file meta information (PS3.10, table 7.1-1).

    Put together here: a dataset that is made and encoded for it takes a tenth of the time
    that an image takes in all.
    """
    elements = b"\x02\x00\x01\x00OB\x00\x00\x02\x00\x00\x00\x00\x01" + b"".join(
        struct.pack("<HH2sH", 2, element, b"UI", len(value)) + value
        for element, value in (
            (0x0002, as_ui(sop_class)),
            (0x0003, as_ui(instance)),
            (0x0010, as_ui(transfer_syntax)),
            (0x0012, as_ui(IMPLEMENTATION_CLASS_UID)),
        )
    )
    length = struct.pack("<HH2sHL", 2, 0, b"UL", 4, len(elements))
    return b"\x00" * 128 + b"DICM" + length + elements
