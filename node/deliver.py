"""Station 5: send results to their destinations until they are stored there.

References
----------
Storage Service Class, status codes: DICOM PS3.4, B.2.3.
"""

import logging
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import pydicom
import pydicom.filereader
from pydicom.errors import InvalidDicomError
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import _config, evt
from pynetdicom.association import Association
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from ml.errors import first_line
from node.audit import Auditor
from node.dicom import application_entity
from node.errors import ConfigError, DeliveryError
from node.lease import staying_alive
from node.ledger import Delivery, Hold, Ledger
from node.logs import about
from node.pauses import pause_after
from node.requestor import write_directly
from node.settings import DeliverSettings, Destination, Settings
from node.spool import Spool
from node.tls import client_context, why_not

log = logging.getLogger(__name__)

_config.STORE_SEND_CHUNKED_DATASET = True  # a file goes out as it is, not decoded and encoded

LEASE_S = 15.0
"""A sender that was silent for this long is taken for dead, seconds."""

MOST_AT_ONCE = 200
"""Objects that go over one association at most."""

NOTED_TOGETHER = 20
"""Objects that are stored are noted in the ledger at once, so many at most."""

NOTED_AFTER_S = 1.0
"""With the first object that is stored after this time all are noted, seconds."""

_WARNINGS = (0x0001, 0x0107, 0x0116, 0xB000, 0xB006, 0xB007)
"""Stored all the same, with a remark (PS3.4, table B.2-1; PS3.7, C)."""


class Deliverer:
    """Sends results, one destination at a time.

    Parameters
    ----------
    ledger : Ledger
    spool : Spool
    settings : Settings
    auditor : Auditor
    """

    def __init__(self, ledger: Ledger, spool: Spool, settings: Settings, auditor: Auditor) -> None:
        self.ledger = ledger
        self.spool = spool
        self.settings = settings
        self.auditor = auditor

    def deliver(self, destination: str) -> int:
        """Send all that is due to a destination, unless another sender does.

        An object that the peer refuses waits for its own time; a peer that is ill
        rests as a whole, and nothing else waits for it.

        Returns
        -------
        int
            How many objects the destination has stored.
        """
        hold = self.ledger.hold(destination, LEASE_S)
        if hold is None:
            return 0
        stored = 0
        try:
            with staying_alive(partial(self.ledger.extend_hold, hold, LEASE_S), LEASE_S):
                for _ in self._send_what_is_due(destination):
                    stored += 1
        except DeliveryError as error:
            log.warning("delivery to %s has to wait: %s", destination, error)
            # What was stored just now says that the peer was well until then.
            self._rest(replace(hold, failures=0) if stored else hold, str(error))
        else:
            self.ledger.let_go(hold)
        return stored

    def _send_what_is_due(self, destination: str) -> Iterator[Delivery]:
        peer = self.settings.destination(destination)
        while deliveries := self.ledger.due_deliveries(destination, MOST_AT_ONCE):
            if peer is None:
                for delivery in deliveries:
                    self.ledger.give_up(delivery, "no such destination in the configuration")
            elif there := self._with_file(deliveries):
                yield from self._send(there, peer)

    def _send(self, deliveries: Sequence[Delivery], peer: Destination) -> Iterator[Delivery]:
        """Send objects over one association; gives those that were stored.

        Raises
        ------
        DeliveryError
            If the peer is ill: what was not settled by then stays due.
        """
        stored: list[Path] = []
        failed: list[Path] = []
        title, rules = self.settings.dicom.ae_title, self.settings.deliver
        syntaxes = _syntaxes(deliveries, self.spool)
        try:
            with (
                Sender(title, peer, _classes(deliveries), rules, syntaxes) as sender,
                _Noting(self.ledger) as noting,
            ):
                for delivery in deliveries:
                    path = self.spool.results / delivery.result.path
                    failed.append(path)  # until it is known to be stored
                    try:
                        remark = sender.send(path)
                    except NotTakenError as refusal:
                        self._try_again(delivery, str(refusal))
                        if refusal.is_out_of_resources:
                            raise  # the next object would fare no better
                    else:
                        noting.add(delivery, remark)
                        stored.append(failed.pop())
                        yield delivery
        finally:
            if stored or failed:
                self.auditor.instances_sent(peer, stored, failed)

    def _with_file(self, deliveries: Sequence[Delivery]) -> list[Delivery]:
        """Those whose file is there; results of which one is gone are made again."""
        results = self.spool.results
        gone = {d.revision_id for d in deliveries if not (results / d.result.path).is_file()}
        for revision_id in gone:
            log.error("a result of revision %d is gone from the disk: made again", revision_id)
            if not self.ledger.make_again(revision_id, "a result is gone from the disk"):
                for delivery in deliveries:
                    if delivery.revision_id == revision_id:
                        self.ledger.give_up(delivery, "its file is gone")
        return [delivery for delivery in deliveries if delivery.revision_id not in gone]

    def _try_again(self, delivery: Delivery, why: str) -> None:
        rules, now = self.settings.deliver, self.ledger.clock()
        first = delivery.first_tried_at
        if first is not None and now - first.timestamp() > rules.give_up_h * 3600:
            self.ledger.give_up(delivery, why)
        else:
            pause = pause_after(delivery.attempts + 1, rules, random.random())
            self.ledger.try_again(delivery, now + pause, why)

    def _rest(self, hold: Hold, why: str) -> None:
        rules, now = self.settings.deliver, self.ledger.clock()
        self.ledger.rest(hold, now + pause_after(hold.failures + 1, rules, random.random()), why)
        since = now - rules.give_up_h * 3600
        if lost := self.ledger.give_up_older(hold.destination, since, why):
            log.error(
                "%d objects for %s are given up: `ichnode retry` sends them again",
                lost,
                hold.destination,
            )


class _Noting:
    """Notes in the ledger what a destination has stored, some at a time: each time costs a sync.

    As a context; what was added is noted when it ends, however it ends. What a crash keeps
    from being noted goes again, under the same UID.

    Parameters
    ----------
    ledger : Ledger
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._waiting: list[tuple[Delivery, str | None]] = []
        self._last = time.monotonic()

    def __enter__(self) -> "_Noting":
        return self

    def __exit__(self, *_: object) -> None:
        self._note()

    def add(self, delivery: Delivery, remark: str | None) -> None:
        """Add an object that is stored."""
        self._waiting.append((delivery, remark))
        is_late = time.monotonic() - self._last >= NOTED_AFTER_S
        if is_late or len(self._waiting) >= NOTED_TOGETHER:
            self._note()

    def _note(self) -> None:
        delivered = self._ledger.sent(self._waiting) if self._waiting else []
        self._waiting.clear()
        self._last = time.monotonic()
        for revision_id in delivered:
            if (revision := self._ledger.revision(revision_id)) is not None:
                with about(revision):
                    log.info("series %s is delivered", revision.series_instance_uid)


def _classes(deliveries: Sequence[Delivery]) -> list[str]:
    return sorted({delivery.result.sop_class_uid for delivery in deliveries})


def _syntaxes(deliveries: Sequence[Delivery], spool: Spool) -> list[str]:
    """Transfer syntaxes to propose: those of the files, and those that every peer knows."""
    found = {str(ExplicitVRLittleEndian), str(ImplicitVRLittleEndian)}
    for delivery in deliveries:
        try:
            meta = pydicom.filereader.read_file_meta_info(spool.results / delivery.result.path)
            found.add(str(meta.TransferSyntaxUID))
        except (OSError, AttributeError, InvalidDicomError):  # said when it is to be sent
            continue
    return sorted(found)


class RejectedError(DeliveryError):
    """The peer answers, and takes no association of the node."""


class NotTakenError(DeliveryError):
    """The peer answered, but did not store this object; others may still go.

    Parameters
    ----------
    reason : str
    status : int, optional
        What it answered (PS3.4, table B.2-1).
    """

    def __init__(self, reason: str, status: int | None = None) -> None:
        super().__init__(reason)
        self.status = status

    @property
    def is_out_of_resources(self) -> bool:
        """Whether the peer has no room: it says A7xx of every object."""
        return self.status is not None and self.status & 0xFF00 == 0xA700


class Sender:
    """One association for many objects, as a context.

    Parameters
    ----------
    ae_title : str
        Calling AE title.
    peer : Destination
    classes : sequence of str
        SOP classes to propose.
    rules : DeliverSettings

    Raises
    ------
    DeliveryError
        On entering, if the peer cannot be reached or rejects the association.
    """

    def __init__(
        self,
        ae_title: str,
        peer: Destination,
        classes: Sequence[str],
        rules: DeliverSettings,
        syntaxes: Sequence[str] = (ExplicitVRLittleEndian, ImplicitVRLittleEndian),
    ) -> None:
        self.peer = peer
        self.timeout_s = rules.timeout_s
        self.ae = application_entity(ae_title)
        self.ae.connection_timeout = rules.timeout_s
        self.ae.acse_timeout = rules.timeout_s
        self.ae.dimse_timeout = rules.timeout_s
        self.ae.network_timeout = rules.timeout_s
        for sop_class in classes:
            # A context each, so that the peer's choice of one does not hide the other.
            for syntax in syntaxes:
                self.ae.add_requested_context(UID(sop_class), UID(syntax))
        self.association: Association | None = None

    def __enter__(self) -> "Sender":
        try:
            tls = client_context(self.peer)
            association = self.ae.associate(
                self.peer.host,
                self.peer.port,
                ae_title=self.peer.ae_title,
                max_pdu=0,
                tls_args=None if tls is None else (tls, self.peer.host),
                evt_handlers=[(evt.EVT_CONN_OPEN, write_directly, [self.timeout_s])],
            )
        except (OSError, RuntimeError, ValueError, ConfigError) as error:
            raise DeliveryError(f"{self._where} cannot be reached: {first_line(error)}") from error
        if association.is_rejected:
            raise RejectedError(f"{self._where} rejects the association")
        if not association.is_established:
            why = why_not(self.peer, self.timeout_s)
            raise DeliveryError(f"{self._where} does not answer{f': {why}' if why else ''}")
        self.association = association
        return self

    def __exit__(self, *_: object) -> None:
        if self.association is not None and self.association.is_established:
            self.association.release()

    @property
    def _where(self) -> str:
        return f"{self.peer.ae_title} at {self.peer.host}:{self.peer.port}"

    def echo(self) -> None:
        """Send a C-ECHO.

        Raises
        ------
        DeliveryError
            If the peer does not answer Success.
        """
        assert self.association is not None
        status = self.association.send_c_echo()
        if status.get("Status") != 0:
            raise DeliveryError(f"{self._where} does not answer a C-ECHO with Success")

    def send(self, path: Path) -> str | None:
        """Store one object.

        Parameters
        ----------
        path : pathlib.Path
            Its file.

        Returns
        -------
        str, optional
            The peer's remark where it has stored the object with a warning.

        Raises
        ------
        NotTakenError
            If the peer answers that it has not.
        DeliveryError
            If it does not answer: the association is of no more use.
        """
        association = self.association
        if association is None or not association.is_established:
            raise DeliveryError(f"{self._where} has ended the association")
        try:
            meta = pydicom.filereader.read_file_meta_info(path)
            sop_class, syntax = meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID
            accepted = {
                accepted
                for context in association.accepted_contexts
                if context.abstract_syntax == sop_class
                for accepted in context.transfer_syntax
            }
            if not accepted:
                raise NotTakenError(f"{self._where} does not accept {UID(sop_class).name}")
            status = association.send_c_store(path if syntax in accepted else _plain(path))
        except (OSError, RuntimeError, ValueError, AttributeError, InvalidDicomError) as error:
            raise DeliveryError(f"{path.name} cannot be sent: {first_line(error)}") from error
        code = status.get("Status")
        if code is None:
            raise DeliveryError(f"{self._where} gives no answer")
        if code == 0:
            return None
        if code in _WARNINGS:
            return f"stored with warning 0x{code:04X}"
        comment = f": {status.ErrorComment}" if status.get("ErrorComment") else ""
        raise NotTakenError(f"{self._where} answers 0x{code:04X}{comment}", code)


def _plain(path: Path) -> pydicom.Dataset:
    """An object for a peer that does not take its transfer syntax: without compression."""
    dataset = pydicom.dcmread(path)
    if dataset.file_meta.TransferSyntaxUID.is_encapsulated:
        dataset.decompress(generate_instance_uid=False)
    return dataset


def store_files(
    ae_title: str, peer: Destination, files: Sequence[Path], progress: Callable[[], None]
) -> list[tuple[Path, str]]:
    """Send files as they are, on one association.

    Parameters
    ----------
    ae_title : str
        Calling AE title.
    peer : Destination
    files : sequence of pathlib.Path
        With file meta information.
    progress : callable
        Called after each file.

    Returns
    -------
    list of tuple
        Files that the peer did not take, and why.
    """
    metas = [pydicom.filereader.read_file_meta_info(file) for file in files]
    classes = sorted({str(meta.MediaStorageSOPClassUID) for meta in metas})
    syntaxes = sorted({str(meta.TransferSyntaxUID) for meta in metas} | {ImplicitVRLittleEndian})
    refused = []
    with Sender(ae_title, peer, classes, DeliverSettings(), syntaxes) as sender:
        for file in files:
            try:
                sender.send(file)
            except NotTakenError as error:
                refused.append((file, str(error)))
            progress()
    return refused


def echo(ae_title: str, peer: Destination, timeout_s: float) -> None:
    """Send a C-ECHO on an association of its own.

    Raises
    ------
    DeliveryError
        If the peer cannot be reached, rejects the node or does not answer.
    """
    rules = DeliverSettings(timeout_s=timeout_s)
    with Sender(ae_title, peer, [Verification], rules) as sender:
        sender.echo()
