"""Messages, gathered of their fragments within limits; images are served at once.

References
----------
Fragments of a message: DICOM PS3.8, annex E.
"""

import logging
import queue
import threading
import weakref
from collections.abc import Callable
from typing import Any

from pynetdicom.association import Association
from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.dimse_messages import DIMSEMessage
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.pdu_primitives import A_ABORT, A_P_ABORT, A_RELEASE, P_DATA
from pynetdicom.service_class import StorageServiceClass
from pynetdicom.sop_class import uid_to_service_class

from node.listener.connection import TimedConnection
from node.listener.limits import LONGEST_COMMAND, MOST_REQUESTS, WAIT_S, Cut, Memory
from node.listener.pdus import c_store_rsp, p_data_tf

log = logging.getLogger(__name__)

_LAST_OF_COMMAND = 0x03  # message control header (PS3.8, E.2)


class Gathering(DIMSEServiceProvider):
    """Gathers messages of their fragments, with limits.

    A dataset that is too large is not kept but read to its end, so that it can be
    answered with a failure and the association goes on. One that does not end
    after as much again ends the association.

    Parameters
    ----------
    association : Association
    memory : Memory
    longest : int
        Of a dataset, bytes.
    """

    def __init__(self, association: Association, memory: Memory, longest: int) -> None:
        super().__init__(association)
        self.msg_queue = _Requests(self._serve)
        self._server: int | None = None  # the thread that serves an image now
        self._memory = memory
        self._longest = longest
        self._early = 0
        self._given_up = False
        self._begin()

    def _begin(self) -> None:
        self._command = 0
        self._dataset = 0
        self._share: list[int] | None = None

    @property
    def is_under_way(self) -> bool:
        """Whether a message has begun that is not whole yet."""
        return self.message is not None

    @property
    def is_serving(self) -> bool:
        """Whether an image is being stored, by the thread that reads."""
        return self._server is not None

    def get_msg(self, block: bool = False) -> Any:
        """Give the next message, or (None, None) after a short wait, or when woken."""
        try:
            return self.msg_queue.get(timeout=self.dimse_timeout if block else WAIT_S)
        except queue.Empty:
            return None, None

    def wake(self, primitive: Any) -> None:
        """Have the thread of the association look up: it is about to end."""
        if isinstance(primitive, A_RELEASE | A_ABORT | A_P_ABORT):
            self.msg_queue.put((None, None))

    def send_msg(self, primitive: Any, context_id: int) -> None:
        """Send a message; answers to C-STORE, of which there are most, a shorter way."""
        if not isinstance(primitive, C_STORE) or primitive.ErrorComment is not None:
            super().send_msg(primitive, context_id)
            return
        answer = c_store_rsp(primitive)
        if self._server == threading.get_ident():  # which is the one that writes
            self._early = self._early + 1 if self._connection.has_more else 0
            self._connection.send(p_data_tf(context_id, _LAST_OF_COMMAND, answer))
            return
        message = P_DATA()
        message.presentation_data_value_list.append((context_id, b"\x03" + answer))
        self.dul.send_pdu(message)

    def receive_primitive(self, primitive: P_DATA) -> None:
        """Take the fragments of a PDU that went through the state machine."""
        self.take(primitive.presentation_data_value_list)

    def take(self, fragments: list[tuple[int, Any]]) -> None:
        """Take the fragments of one PDU."""
        if self._given_up:
            return
        try:
            primitive = P_DATA()
            primitive.presentation_data_value_list.extend(self._within_limits(fragments))
            super().receive_primitive(primitive)
        except Exception as error:
            self._give_up(f"{type(error).__name__} in a message")
            return
        if self.message is None:
            self._begin()
        if self.msg_queue.qsize() > MOST_REQUESTS or self._early > MOST_REQUESTS:
            self._give_up("it does not wait for answers")

    def _within_limits(self, fragments: list[tuple[int, Any]]) -> list[tuple[int, Any]]:
        """Count what comes, and cut a dataset that is too large out of it."""
        command = sum(len(value) - 1 for _, value in fragments if value[0] & 1)
        dataset = sum(len(value) - 1 for _, value in fragments if not value[0] & 1)
        self._command += command
        self._dataset += dataset
        if self._command > LONGEST_COMMAND:
            raise ValueError("a command set without end")
        if not dataset:
            return fragments
        if self.message is None:
            self.message = DIMSEMessage()
        if not isinstance(self.message.data_set, Cut):
            if self._dataset <= self._longest and self._memory.take(dataset):
                if self._share is None:
                    self._share = []
                    weakref.finalize(self.message.data_set, self._memory.give_back, self._share)
                self._share.append(dataset)
                return fragments
            self.message.data_set = Cut()
        if self._dataset > 2 * self._longest:
            raise ValueError("a dataset without end")
        return [(context, value if value[0] & 1 else value[:1]) for context, value in fragments]

    def _serve(self, context_id: Any, request: Any) -> bool:
        """Serve an image in the thread that has read it; False if it is none.

        The thread of the association, which serves all else, would have to be woken for
        it, and this one for the answer. The peer waits for that meanwhile; of one that does
        not, no more is read.
        """
        if not isinstance(request, C_STORE) or not self.assoc.is_established:
            return False
        context = self.assoc._accepted_cx.get(context_id)
        service = uid_to_service_class(str(request.AffectedSOPClassUID))
        if context is None or service is not StorageServiceClass or not request.is_valid_request:
            return False
        self._server = threading.get_ident()
        try:
            service(self.assoc).SCP(request, context)
        finally:
            self.dul._idle_timer.restart()
            self._server = None
        return True

    @property
    def _connection(self) -> TimedConnection:
        connection = self.dul.socket
        assert isinstance(connection, TimedConnection)
        return connection

    def _give_up(self, why: str) -> None:
        """End the association as pynetdicom does at an invalid message."""
        self._given_up = True
        self.message = None
        log.warning("an association with %s is ended: %s", self.assoc.requestor.address, why)
        self.dul.event_queue.put("Evt19")


class _Requests(queue.Queue[Any]):
    """Requests that wait for the thread of their association.

    Parameters
    ----------
    serve : callable
        Serves a request at once, which then does not wait; else False.
    """

    def __init__(self, serve: Callable[[Any, Any], bool]) -> None:
        super().__init__()
        self._serve = serve

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        """Put a request with its presentation context."""
        if not self._serve(*item):
            super().put(item, block, timeout)
