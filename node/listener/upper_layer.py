"""The thread of an association that reads and writes PDUs, and its states.

References
----------
The state machine: DICOM PS3.8, 9.2.
"""

import logging
import queue
import struct
from collections.abc import Callable
from contextlib import suppress
from typing import Any, cast

from pynetdicom import _config
from pynetdicom.dul import DULServiceProvider
from pynetdicom.fsm import TRANSITION_TABLE, StateMachine

from node.listener.connection import TimedConnection
from node.listener.gathering import Gathering
from node.listener.pdus import P_DATA_TF, fragments_of

log = logging.getLogger(__name__)

_config.LOG_HANDLER_LEVEL = "none"  # nobody reads what it would format for each PDU

_DATA_TRANSFER = "Sta6"


class UpperLayer(DULServiceProvider):
    """Reads what an established association carries, and leaves all else to the library.

    A PDU of data goes from the connection to the message that it is of: no event, no object
    for the PDU or its items, and no turn of the library's loop for each.
    """

    def _read_pdu_data(self) -> None:
        connection, gathering = self._mine
        while self._read_data(connection, gathering):
            self._idle_timer.restart()
            # Only within a message: between two of them the loop looks at its timers.
            if not gathering.is_under_way or self.to_provider_queue.queue or not connection.ready:
                return

    def _read_data(self, connection: TimedConnection, gathering: Gathering) -> bool:
        """Read one PDU; whether it was data, and well."""
        try:
            header = bytes(connection.read(6))
        except OSError:
            self.event_queue.put("Evt17")
            return False
        is_data = (
            len(header) == 6
            and header[0] == P_DATA_TF
            and self.state_machine.current_state == _DATA_TRANSFER
            and self.event_queue.empty()
        )
        if not is_data:
            connection.unread(header)
            super()._read_pdu_data()
            return False
        (length,) = struct.unpack_from(">L", header, 2)
        try:
            content = connection.read(length)
        except OSError as error:
            log.debug("a connection ended within a PDU: %s", error)
            self.event_queue.put("Evt17")
            return False
        if len(content) < length:
            self.event_queue.put("Evt17")
            return False
        try:
            fragments = fragments_of(content.toreadonly())
        except ValueError as error:
            log.debug("a PDU cannot be decoded: %s", error)
            self.event_queue.put("Evt19")
            return False
        gathering.take(fragments)
        return True

    def idle_timer_expired(self) -> bool:
        """Whether the peer was silent for too long; the time that it waits does not count."""
        return not self._mine[1].is_serving and super().idle_timer_expired()

    @property
    def _mine(self) -> tuple[TimedConnection, Gathering]:
        return cast(TimedConnection, self.socket), cast(Gathering, self.assoc.dimse)


class Telling(queue.Queue[Any]):
    """A queue that tells what was put into it.

    Parameters
    ----------
    tell : callable
        Called with each item.
    """

    def __init__(self, tell: Callable[[Any], None]) -> None:
        super().__init__()
        self._tell = tell

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        """Put an item, then tell of it."""
        super().put(item, block, timeout)
        self._tell(item)


class States(StateMachine):
    """Goes on where pynetdicom's raises an error, and its thread ends with the connection open.

    What the node still wanted to say is dropped once it only waits for the connection to
    close (Sta13), and a PDU that no sense can be made of is an invalid one (Evt19: PS3.8,
    9.2.3).
    """

    _gave_up = False

    def do_action(self, event: str) -> None:
        """Do what an event asks for."""
        if self.current_state == "Sta13" and (event, "Sta13") not in TRANSITION_TABLE:
            with suppress(queue.Empty):
                self.dul.to_provider_queue.get(block=False)
            return
        try:
            super().do_action(event)
        except Exception as error:  # whatever a value of the PDU is not fit for
            if self._gave_up:
                raise
            self._gave_up = True
            address = self.dul.assoc.requestor.address
            log.warning(
                "an association with %s is ended: %s in a PDU", address, type(error).__name__
            )
            self.dul._kill_thread = False  # it has to see to the end
            self.dul.event_queue.put("Evt19")
