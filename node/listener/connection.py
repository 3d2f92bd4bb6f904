"""The bytes of a connection, with a deadline for each part."""

import logging
import os
import select
import time
import weakref
from contextlib import suppress

from pynetdicom.pdu import A_ABORT_RQ
from pynetdicom.transport import AssociationSocket

from node.connection import Connection
from node.listener.limits import HANDSHAKE_S, LONGEST_PDU, PAUSE_S, SLOWEST_RATE, WAIT_S

log = logging.getLogger(__name__)

_INVALID_PDU = 0x06  # A-ABORT, reason: invalid PDU parameter value (PS3.8, table 9-26)


class Bell:
    """What another thread rings to wake one that waits for a connection."""

    def __init__(self) -> None:
        self._descriptor = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        weakref.finalize(self, os.close, self._descriptor)

    def fileno(self) -> int:
        """For `select`."""
        return self._descriptor

    def ring(self) -> None:
        """Wake whoever waits, now or the next time."""
        os.eventfd_write(self._descriptor, 1)

    def still(self) -> None:
        """Have it rung no more."""
        with suppress(BlockingIOError):
            os.eventfd_read(self._descriptor)


class TimedConnection(Connection):
    """A connection that is waited for, and read from, for so long and no longer.

    Parameters
    ----------
    made : AssociationSocket
        What pynetdicom has made; this takes its place.
    idle_s : float
        How long to wait for a peer that is silent.
    bell : Bell
        Rung when there is something to send.
    """

    def __init__(self, made: AssociationSocket, idle_s: float, bell: Bell) -> None:
        super().__init__(made, idle_s)
        self._idle_s = idle_s
        self._bell = bell
        self._room = bytearray()
        self._unread = b""
        assert self.socket is not None
        self._poll = select.poll()
        self._poll.register(self.socket, select.POLLIN)
        self._poll.register(bell, select.POLLIN)

    @property
    def ready(self) -> bool:
        """Wait until there is something to read, which is True, or else to do."""
        connection = self.socket
        if connection is None or not self._is_connected:
            time.sleep(PAUSE_S)
            return False
        if self.is_decrypted:
            return True
        is_closing = self.assoc.dul.state_machine.current_state == "Sta13"
        wait_s = 0.0 if is_closing or not self.event_queue.empty() else WAIT_S
        try:
            number = connection.fileno()
            found = [descriptor for descriptor, _ in self._poll.poll(wait_s * 1000)]
        except (OSError, ValueError):  # closed by another thread
            number, found = -1, []
        if number < 0:
            self.event_queue.put("Evt17")
            return False
        if self._bell.fileno() in found:
            self._bell.still()
        return number in found

    @property
    def has_more(self) -> bool:
        """Whether the peer has sent something that was not read yet."""
        if self.is_decrypted:
            return True
        try:
            found = self._poll.poll(0)
            return any(descriptor != self._bell.fileno() for descriptor, _ in found)
        except (OSError, ValueError):  # closed by another thread
            return False

    def unread(self, start: bytes) -> None:
        """Have the start of a PDU read again."""
        self._unread = start

    def recv(self, nr_bytes: int) -> bytearray:
        """Read that many bytes; fewer if the peer closes the connection.

        Raises
        ------
        OSError
            If they are too many, or do not come in time.
        """
        start, self._unread = self._unread, b""
        return bytearray(start or self.read(nr_bytes))

    def read(self, count: int) -> memoryview:
        """Read like `recv`, into room that the next read takes again."""
        if count > LONGEST_PDU:
            log.warning("a PDU of %d bytes from %s was not read", count, self._peer)
            abort = A_ABORT_RQ()
            abort.source, abort.reason_diagnostic = 0x02, _INVALID_PDU
            self.send(abort.encode())
            raise OSError(f"a PDU of {count} bytes")
        connection = self.socket
        if connection is None:
            raise OSError("the connection is closed")
        if len(self._room) < count:
            self._room = bytearray(count)
        room, got = memoryview(self._room)[:count], 0
        grace_s = self._idle_s if self.assoc.is_established else min(HANDSHAKE_S, self._idle_s)
        deadline = time.monotonic() + grace_s + count / SLOWEST_RATE
        try:
            while got < count:
                left_s = deadline - time.monotonic()
                if left_s <= 0:
                    raise TimeoutError(f"{got} of {count} bytes came in time")
                connection.settimeout(left_s)
                some = connection.recv_into(room[got:])
                if not some:
                    break
                got += some
        finally:
            with suppress(OSError):  # it may be closed by now
                connection.settimeout(self._idle_s)
        return room[:got]

    @property
    def _peer(self) -> str:
        return str(self.assoc.requestor.address)
