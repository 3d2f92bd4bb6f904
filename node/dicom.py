"""How the node behaves as a DICOM peer, whether it calls or is called."""

import socket
from contextlib import suppress
from enum import IntEnum
from importlib.metadata import version

from pydicom.uid import UID
from pynetdicom import AE, evt
from pynetdicom.pdu_primitives import A_ASSOCIATE

IMPLEMENTATION_CLASS_UID = UID("2.25.190100443453987210133072398234033862392")
"""Says in an association and in a file that ichnode made it (PS3.7, D.3.3.2)."""


class Status(IntEnum):
    """Answers to C-STORE (PS3.4, table B.2-1)."""

    SUCCESS = 0x0000
    OUT_OF_RESOURCES = 0xA700
    DOES_NOT_MATCH_SOP_CLASS = 0xA900
    CANNOT_UNDERSTAND = 0xC000


def as_ui(uid: str) -> bytes:
    """A UID as it is encoded (PS3.5, 6.2): of even length."""
    return uid.encode("ascii", "replace") + b"\x00" * (len(uid) % 2)


def application_entity(ae_title: str) -> AE:
    """An application entity that says it is ichnode."""
    return introduced(AE(ae_title=ae_title))


def introduced(ae: AE) -> AE:
    """Let an application entity say that it is ichnode."""
    ae.implementation_class_uid = IMPLEMENTATION_CLASS_UID
    ae.implementation_version_name = f"ICHNODE {version('ichnode')}"[:16]
    ae.maximum_pdu_size = 0  # unlimited: fewer, larger PDUs are received faster
    return ae


def why_rejected(answer: A_ASSOCIATE | None) -> str:
    """Why a peer takes no association, as its A-ASSOCIATE-RJ says (PS3.8, 9.3.4)."""
    with suppress(LookupError, ValueError):  # one that the standard does not know
        if answer is not None:
            return answer.reason_str.lower().replace("ae title", "AE title")
    return "no reason given"


def send_without_delay(event: evt.Event) -> None:
    """Set TCP_NODELAY on EVT_CONN_OPEN: small answers must not wait for each other."""
    connection = event.assoc.dul.socket
    if connection is not None and connection.socket is not None:
        connection.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
