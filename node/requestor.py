"""How the node writes to a peer that it calls: all PDUs of a C-STORE by the thread that sends.

pynetdicom hands each PDU to its reactor, which writes one a turn: with the short PDUs that
many archives ask for this takes longer than the archive does. Here they go to the connection
in large pieces, and the reactor only listens. What else pynetdicom leaves open is closed:

- a peer that stops reading would hold up the reactor, and whoever waits for it, without end
- the time to wait for an answer would run while the object is still on its way
- the association's own loop may take an answer from the thread that waits for it

References
----------
P-DATA-TF: DICOM PS3.8, 9.3.5. Fragments of a message: PS3.8, annex E.
"""

import select
import socket
import struct
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any

from pynetdicom import evt
from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.dimse_messages import C_STORE_RQ
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.pdu_primitives import P_DATA
from pynetdicom.transport import AssociationSocket

from node.connection import Connection
from node.dicom import send_without_delay

PIECE = 256 * 1024
"""That is written at once, bytes; a PDU is not longer either."""

WAIT_S = 0.005
"""The reactor waits so long for something to read before it looks for something to write."""

SHORTEST = 8
"""Of what a peer may ask for: a fragment has a header of six bytes."""

_P_DATA_TF = struct.Struct(">BxLLB")
"""PDU type, its length, the length of its only item, presentation context."""


def write_directly(event: evt.Event, timeout_s: float) -> None:
    """Let the sending thread write: a handler of EVT_CONN_OPEN.

    Parameters
    ----------
    event : pynetdicom.events.Event
    timeout_s : float
        For a peer to take a piece of what is sent.
    """
    send_without_delay(event)
    association = event.assoc
    made = association.dul.socket
    assert made is not None
    association.dul.socket = connection = SharedConnection(made, timeout_s)
    association.dul._run_loop_delay = 0.0  # the connection waits instead
    association.dimse = _Writing(association, connection)


class SharedConnection(Connection):
    """The bytes of a connection, for two threads: TLS cannot be read and written at once.

    Parameters
    ----------
    made : AssociationSocket
        What pynetdicom has made; this takes its place.
    timeout_s : float
        For a peer that does not read.
    """

    def __init__(self, made: AssociationSocket, timeout_s: float) -> None:
        super().__init__(made, timeout_s)
        self._lock = threading.Lock()

    @property
    def ready(self) -> bool:
        """Whether there is something to read; waits a little for it, so that no answer waits."""
        if self.socket is None:
            time.sleep(WAIT_S)
            return False
        with self._lock:
            if super().ready:
                return True
        with suppress(OSError, ValueError):  # closed by now: told below
            select.select([self.socket], [], [], WAIT_S)
        with self._lock:
            return bool(super().ready)

    def recv(self, nr_bytes: int) -> bytearray:
        """Read that many bytes; fewer if the peer closes the connection."""
        with self._lock:
            return super().recv(nr_bytes)

    def send(self, bytestream: bytes) -> None:
        """Write what the reactor sends."""
        with self._lock:
            super().send(bytestream)

    def _shutdown_socket(self) -> None:
        # Never within a piece: what is written to a TLS socket that was shut down is not encrypted.
        with self._lock:
            super()._shutdown_socket()

    def write(self, pieces: Iterable[bytearray]) -> None:
        """Write pieces; what cannot be written ends the connection, which the reactor sees."""
        for piece in pieces:
            with self._lock:
                if self.socket is None:
                    return
                try:
                    self.socket.sendall(piece)
                except OSError:
                    with suppress(OSError):  # it may be closed by now
                        self.socket.shutdown(socket.SHUT_RDWR)
                    return


class _Writing(DIMSEServiceProvider):
    """Writes C-STORE requests itself.

    Parameters
    ----------
    association : Association
    connection : SharedConnection
    """

    def __init__(self, association: Any, connection: SharedConnection) -> None:
        super().__init__(association)
        self._connection = connection

    def get_msg(self, block: bool = False) -> Any:
        """Wait for an answer; the association's loop, which does not wait, gets none."""
        return super().get_msg(block=True) if block else (None, None)

    def send_msg(self, primitive: Any, context_id: int) -> None:
        """Send a message.

        Raises
        ------
        ValueError
            If the peer asks for PDUs that are too short for any.
        """
        if not isinstance(primitive, C_STORE):
            super().send_msg(primitive, context_id)
            return
        longest = min(self.maximum_pdu_size or PIECE, PIECE)
        if longest < SHORTEST:
            raise ValueError(f"PDUs of {longest} bytes, which the peer wants, carry nothing")
        request = C_STORE_RQ()
        request.primitive_to_message(primitive)
        self._connection.write(in_pieces(request.encode_msg(context_id, longest)))


def in_pieces(fragments: Iterable[P_DATA]) -> Iterator[bytearray]:
    """Fragments of a message as P-DATA-TF PDUs, many together."""
    piece = bytearray()
    for fragment in fragments:
        for context, value in fragment.presentation_data_value_list:
            piece += _P_DATA_TF.pack(4, len(value) + 5, len(value) + 1, context)
            piece += value
        if len(piece) >= PIECE:
            yield piece
            piece = bytearray()
    if piece:
        yield piece
