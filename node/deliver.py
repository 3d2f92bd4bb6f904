"""Station 5: send results to their destinations until they are stored there.

References
----------
Storage Service Class, status codes: DICOM PS3.4, B.2.3.
"""

import logging
import random
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pydicom
import pydicom.filereader
from pydicom.errors import InvalidDicomError
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import _config, evt
from pynetdicom.association import Association
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from ml.errors import first_line
from node.dicom import application_entity, send_without_delay
from node.errors import DeliveryError
from node.ledger import Delivery, Ledger
from node.settings import DeliverSettings, Destination, Settings
from node.spool import Spool

log = logging.getLogger(__name__)

_config.STORE_SEND_CHUNKED_DATASET = True  # a file goes out as it is, not decoded and encoded

LEASE_S = 60.0
"""A sender that was silent for this long is taken for dead, seconds."""

_WARNINGS = (0x0001, 0x0107, 0x0116, 0xB000, 0xB006, 0xB007)
"""Stored all the same, with a remark (PS3.4, table B.2-1; PS3.7, C)."""


def pause_after(attempts: int, rules: DeliverSettings, chance: float) -> float:
    """How long to wait after a number of failures, seconds.

    The pauses double up to the longest one; `chance`, from 0 to 1, takes up to
    a quarter off, so that what failed together is not tried again together.
    """
    doubled = rules.first_pause_s * 2.0 ** min(attempts - 1, 60)
    return float(min(doubled, rules.longest_pause_s) * (1 - 0.25 * chance))


def deliver(
    revision_id: int, destination: str, ledger: Ledger, spool: Spool, settings: Settings
) -> int:
    """Send what is due of a revision to a destination.

    Returns
    -------
    int
        How many objects the destination has stored.
    """
    deliveries = ledger.claim_deliveries(revision_id, destination, LEASE_S)
    if not deliveries:
        return 0
    peer = settings.destination(destination)
    if peer is None:
        for delivery in deliveries:
            ledger.give_up(
                delivery, f"no destination {destination!r} in the configuration any more"
            )
        return 0
    stored = 0
    waiting = list(deliveries)
    try:
        with Sender(
            settings.dicom.ae_title,
            peer,
            _classes(deliveries),
            settings.deliver,
            _syntaxes(deliveries, spool),
        ) as sender:
            extended = time.monotonic()
            for delivery in deliveries:
                try:
                    remark = sender.send(spool.results / delivery.result.path)
                except NotTakenError as refusal:
                    _try_again(delivery, str(refusal), ledger, settings.deliver)
                else:
                    ledger.sent(delivery, remark)
                    stored += 1
                waiting.remove(delivery)
                if time.monotonic() - extended > LEASE_S / 4:
                    ledger.extend_deliveries(waiting, LEASE_S)
                    extended = time.monotonic()
    except DeliveryError as error:
        log.warning("delivery to %s has to wait: %s", destination, error)
        for delivery in waiting:
            _try_again(delivery, str(error), ledger, settings.deliver)
    return stored


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


def _try_again(delivery: Delivery, why: str, ledger: Ledger, rules: DeliverSettings) -> None:
    now = ledger.clock()
    first = delivery.first_tried_at
    if first is not None and now - first.timestamp() > rules.give_up_h * 3600:
        ledger.give_up(delivery, why)
    else:
        pause = pause_after(delivery.attempts, rules, random.random())
        ledger.try_again(delivery, now + pause, why)


class NotTakenError(DeliveryError):
    """The peer answered, but did not store this object; others may still go."""


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
            association = self.ae.associate(
                self.peer.host,
                self.peer.port,
                ae_title=self.peer.ae_title,
                max_pdu=0,
                evt_handlers=[(evt.EVT_CONN_OPEN, send_without_delay)],
            )
        except (OSError, RuntimeError, ValueError) as error:
            raise DeliveryError(f"{self._where} cannot be reached: {first_line(error)}") from error
        if not association.is_established:
            what = "rejects the association" if association.is_rejected else "does not answer"
            raise DeliveryError(f"{self._where} {what}")
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
        raise NotTakenError(f"{self._where} answers 0x{code:04X}{comment}")


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
