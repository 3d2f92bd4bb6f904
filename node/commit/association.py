"""Calling a peer about storage commitment."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from pydicom import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import build_role, evt
from pynetdicom.association import Association
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from ml.errors import first_line
from node.commit.content import PUSH_MODEL, PUSH_MODEL_INSTANCE, REQUEST, Report, Request
from node.dicom import application_entity, send_without_delay
from node.errors import ConfigError, DeliveryError
from node.settings import Destination, Peer, Settings
from node.tls import client_context

TRANSFER_SYNTAXES = (ExplicitVRLittleEndian, ImplicitVRLittleEndian)


class NotSupportedError(DeliveryError):
    """The peer does not know storage commitment."""


@dataclass(frozen=True)
class Address:
    """Where a peer listens.

    Parameters
    ----------
    ae_title, host : str
    port : int
    configured : Destination or Peer
        Its table in the configuration.
    """

    ae_title: str
    host: str
    port: int
    configured: Destination | Peer

    def __str__(self) -> str:
        return f"{self.ae_title} at {self.host}:{self.port}"

    @classmethod
    def of(cls, peer: Destination | Peer) -> "Address | None":
        """That of a peer; None if the configuration does not tell."""
        if peer.ae_title is None or peer.host is None or peer.port is None:
            return None
        return cls(peer.ae_title, peer.host, peer.port, peer)


@contextmanager
def calling(
    address: Address,
    settings: Settings,
    *,
    as_scp: bool,
    handlers: Sequence[evt.EventHandlerType] = (),
) -> Iterator[Association]:
    """Hold an association on which the peer takes requests or reports.

    Parameters
    ----------
    address : Address
    settings : Settings
    as_scp : bool
        Whether to report, as the SCP of the service, though the node calls.
    handlers : sequence of tuple
        pynetdicom's, for what the peer may send.

    Raises
    ------
    NotSupportedError
        If the peer does not accept the service.
    DeliveryError
        If it cannot be reached or rejects the association.
    """
    ae = application_entity(settings.dicom.ae_title)
    timeout_s = settings.deliver.timeout_s
    ae.connection_timeout = ae.acse_timeout = timeout_s
    ae.dimse_timeout = ae.network_timeout = timeout_s
    ae.add_requested_context(PUSH_MODEL, list(TRANSFER_SYNTAXES))
    # Accepted by all, so that a peer without the service is told from one that is ill.
    ae.add_requested_context(Verification, list(TRANSFER_SYNTAXES))
    roles: list[Any] = [build_role(PUSH_MODEL, scu_role=False, scp_role=True)]
    try:
        tls = client_context(address.configured)
        association = ae.associate(
            address.host,
            address.port,
            ae_title=address.ae_title,
            max_pdu=0,
            tls_args=None if tls is None else (tls, address.host),
            ext_neg=roles if as_scp else None,
            evt_handlers=[(evt.EVT_CONN_OPEN, send_without_delay), *handlers],
        )
    except (OSError, RuntimeError, ValueError, ConfigError) as error:
        raise DeliveryError(f"{address} cannot be reached: {first_line(error)}") from error
    if not association.is_established:
        what = "rejects the association" if association.is_rejected else "does not answer"
        raise DeliveryError(f"{address} {what}")
    try:
        accepted = {context.abstract_syntax for context in association.accepted_contexts}
        if PUSH_MODEL not in accepted:
            raise NotSupportedError(f"{address} does not accept storage commitment")
        yield association
    finally:
        if association.is_established:
            association.release()


def send_request(association: Association, request: Request) -> int | None:
    """Send a request by N-ACTION; gives the status, None where there is no answer.

    Raises
    ------
    DeliveryError
        If the association has ended.
    """
    return _status(
        association.send_n_action,
        association,
        request.as_dataset(),
        REQUEST,
    )


def send_report(association: Association, report: Report) -> int | None:
    """Send a report by N-EVENT-REPORT; gives the status, None where there is no answer.

    Raises
    ------
    DeliveryError
        If the association has ended.
    """
    return _status(
        association.send_n_event_report,
        association,
        report.as_dataset(),
        report.event_type,
    )


def _status(send: Any, association: Association, dataset: Dataset, kind: int) -> int | None:
    try:
        answer, _ = send(dataset, int(kind), PUSH_MODEL, PUSH_MODEL_INSTANCE)
    except (RuntimeError, ValueError) as error:
        peer = association.remote["ae_title"]
        raise DeliveryError(f"{peer} has ended the association: {first_line(error)}") from error
    status: int | None = answer.get("Status")
    return status
