"""Objects over an association: C-STORE, N-CREATE of workitems, and C-ECHO as SCU.

References
----------
Storage Service Class, status codes: DICOM PS3.4, B.2.3.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

import pydicom
import pydicom.filereader
from pydicom.errors import InvalidDicomError
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import _config, evt
from pynetdicom.association import Association
from pynetdicom.pdu_primitives import A_ASSOCIATE
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from ml.errors import first_line
from node.deliver.syntax import proposed_to, wanted_by
from node.deliver.workitem import REMARKS, UPS_PUSH, cancel, create, replaced_by, told
from node.dicom import application_entity, why_rejected
from node.encoding import read_as
from node.errors import ConfigError, DeliveryError
from node.requestor import write_directly
from node.settings import DeliverSettings, Destination
from node.tls import client_context, why_not

_config.STORE_SEND_CHUNKED_DATASET = True  # a file goes out as it is, not decoded and encoded

_REMARKS = dict.fromkeys((0x0001, 0x0107, 0x0116, 0xB000, 0xB006, 0xB007), "stored with warning")
"""Stored all the same, with a remark (PS3.4, table B.2-1; PS3.7, C)."""


class RejectedError(DeliveryError):
    """The peer answers, and takes no association of the node (PS3.8, 9.3.4).

    Parameters
    ----------
    where : str
        The peer.
    answer : A_ASSOCIATE, optional
        Its A-ASSOCIATE-RJ.
    """

    def __init__(self, where: str, answer: A_ASSOCIATE | None) -> None:
        told = None if answer is None else (answer.result_source, answer.diagnostic)
        self.knows_not_the_node = told == (1, 3)
        self.has_another_title = told == (1, 7)
        self.reason = why_rejected(answer)
        super().__init__(f"{where} rejects the association: {self.reason}")


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


class BrokenOffError(DeliveryError):
    """The peer ended an association or did not answer in it, perhaps for the sake of one object."""


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
            for syntax in proposed_to(peer, sop_class, syntaxes):
                self.ae.add_requested_context(UID(sop_class), UID(syntax))
        self.association: Association | None = None

    def __enter__(self) -> "Sender":
        try:
            tls = client_context(self.peer)
            called = self.peer.application
            association = self.ae.associate(
                called.host,
                called.port,
                ae_title=called.ae_title,
                max_pdu=0,
                tls_args=None if tls is None else (tls, called.host),
                evt_handlers=[(evt.EVT_CONN_OPEN, write_directly, [self.timeout_s])],
            )
        except (OSError, RuntimeError, ValueError, ConfigError) as error:
            raise DeliveryError(f"{self._where} cannot be reached: {first_line(error)}") from error
        if association.is_rejected:
            raise RejectedError(self._where, association.acceptor.primitive)
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
        return self.peer.where

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
        """Store one object, in the transfer syntax that the peer wants; have a workitem created.

        Parameters
        ----------
        path : pathlib.Path
            Its file.

        Returns
        -------
        str, optional
            The peer's remark where it has the object with a warning.

        Raises
        ------
        NotTakenError
            If the peer answers that it has not, or it cannot be read.
        BrokenOffError
            If it does not answer: the association is of no more use.
        """
        association = self.association
        if association is None or not association.is_established:
            raise BrokenOffError(f"{self._where} has ended the association")
        try:
            meta = pydicom.filereader.read_file_meta_info(path)
            sop_class, syntax = meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID
            accepted = self._accepted(association, sop_class)
            item = pydicom.dcmread(path) if sop_class == UPS_PUSH else None
            wanted = wanted_by(self.peer, sop_class) or syntax
            is_ready = item is not None or (wanted == syntax and syntax in accepted)
            content = path if is_ready else _encoded(path, wanted, accepted)
        except (OSError, RuntimeError, ValueError, AttributeError, InvalidDicomError) as error:
            raise NotTakenError(f"{path.name} cannot be read: {first_line(error)}") from error
        try:
            if item is None:
                return self._outcome(association.send_c_store(content), _REMARKS)
            remark = self._outcome(create(association, item), REMARKS)
            became = [cancel(association, uid) for uid in replaced_by(item)]
        except (OSError, RuntimeError, ValueError, AttributeError) as error:
            raise BrokenOffError(f"{path.name} cannot be sent: {first_line(error)}") from error
        if None in became:
            raise BrokenOffError(f"{self._where} gives no answer")
        return told(remark, filter(None, became))

    def _accepted(self, association: Association, sop_class: str) -> set[str]:
        """The transfer syntaxes that the peer accepts for a class."""
        accepted = {
            str(syntax)
            for context in association.accepted_contexts
            if context.abstract_syntax == sop_class
            for syntax in context.transfer_syntax
        }
        if not accepted:
            raise NotTakenError(f"{self._where} does not accept {UID(sop_class).name}")
        return accepted

    def _outcome(self, status: pydicom.Dataset, remarks: Mapping[int, str]) -> str | None:
        """What a status says: a remark, or that it is none of success."""
        code = status.get("Status")
        if code is None:
            raise BrokenOffError(f"{self._where} gives no answer")
        if code == 0:
            return None
        if code in remarks:
            return f"{remarks[code]} 0x{code:04X}"
        comment = f": {status.ErrorComment}" if status.get("ErrorComment") else ""
        raise NotTakenError(f"{self._where} answers 0x{code:04X}{comment}", code)


def _encoded(path: Path, wanted: UID, accepted: Collection[str]) -> pydicom.Dataset:
    """An object in the transfer syntax that is wanted; plain for a peer that does not take that."""
    plain = ExplicitVRLittleEndian if ExplicitVRLittleEndian in accepted else ImplicitVRLittleEndian
    return read_as(path, wanted if wanted in accepted else plain)


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
