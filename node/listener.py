"""The port of the node: takes connections, with limits on all that a peer can spend of it.

pynetdicom does the protocol. What it leaves open is closed here:

- a TLS handshake would hold up all who call after it: each has its own thread here
- a connection that stops in the middle of a PDU would never end: it has a deadline
- a PDU, and what is gathered of a message, may be of any size: both have limits
- a peer that does not wait for answers would fill the memory with requests
- its two threads of an association each look a thousand times a second whether there is
  something to do, and an image waits for them: here they are woken

References
----------
PDUs and A-ABORT: DICOM PS3.8, 9.3. Fragments of a message: PS3.8, annex E.
"""

import logging
import os
import queue
import select
import socket
import ssl
import struct
import threading
import time
import weakref
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from io import BytesIO
from typing import Any, cast

from pynetdicom import AE, _config, evt
from pynetdicom.association import Association
from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.dimse_messages import DIMSEMessage
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.dul import DULServiceProvider
from pynetdicom.fsm import TRANSITION_TABLE, StateMachine
from pynetdicom.pdu import A_ABORT_RQ, P_DATA_TF
from pynetdicom.pdu_items import PresentationDataValueItem
from pynetdicom.pdu_primitives import A_ABORT, A_ASSOCIATE, A_P_ABORT, A_RELEASE, P_DATA
from pynetdicom.transport import (
    AssociationSocket,
    RequestHandler,
    ThreadedAssociationServer,
)

from node.access import (
    STRANGERS,
    Caller,
    Crowd,
    Seldom,
    has_room,
    is_stranger,
    who_is_unknown,
)
from node.dicom import as_ui, introduced
from node.port import BACKLOG
from node.settings import Settings
from node.settings.security import as_address

log = logging.getLogger(__name__)

LONGEST_PDU = 256 * 1024
"""What the node says that it takes, and takes, bytes. Larger ones are not received faster."""

LONGEST_COMMAND = 64 * 1024
"""Of a command set, bytes: those of real messages have some hundred."""

MOST_REQUESTS = 2
"""That wait at the same time: the node invites no more than one (PS3.7, D.3.3.3)."""

SLOWEST_RATE = 4 * 1024
"""A PDU that comes with fewer bytes in a second is not waited for."""

HANDSHAKE_S = 15.0
"""For a TLS handshake, and for the request of an association after it."""

WAIT_S = 0.05
"""Threads of an association look at their timers after this time at the latest."""

PAUSE_S = 0.0001
"""Of a thread that has nothing to wait for any more, before it looks again."""

_config.LOG_HANDLER_LEVEL = "none"  # nobody reads what it would format for each PDU

_P_DATA_TF = 0x04  # a type of PDU (PS3.8, table 9-22)
_INVALID_PDU = 0x06  # A-ABORT, reason: invalid PDU parameter value (PS3.8, table 9-26)


class NodePort(AE):
    """An application entity that is called, and asks who calls.

    Parameters
    ----------
    settings : Settings
    on_complaint : callable, optional
        Called with address, AE title (empty if not known) and text of what is complained of.
    listening : socket.socket, optional
        Takes connections there, as other processes may too; else it opens its port.
    """

    def __init__(
        self,
        settings: Settings,
        on_complaint: Callable[[str, str, str], None] | None = None,
        listening: socket.socket | None = None,
    ) -> None:
        super().__init__(ae_title=settings.dicom.ae_title)
        self._on_complaint = on_complaint
        self.listening = listening
        introduced(self)
        self.maximum_pdu_size = LONGEST_PDU
        self.settings = settings
        self.crowd = Crowd(settings.dicom)
        self._said = Seldom()
        self.memory = Memory(settings.dicom.max_receiving_mb * 1024**2)
        self.network_timeout = settings.dicom.idle_s
        self.acse_timeout = min(HANDSHAKE_S, settings.dicom.idle_s)
        # Ours are the limits: pynetdicom counts connections that have not asked for anything.
        self.maximum_associations = 1_000_000

    def make_server(self, *args: Any, **kwargs: Any) -> "Listener":
        """Make the server that `start_server` starts."""
        handlers = [
            *kwargs.pop("evt_handlers"),
            (evt.EVT_REQUESTED, self._ask),
            (evt.EVT_RELEASED, self._say_goodbye),
            (evt.EVT_ABORTED, self._say_goodbye),
            (evt.EVT_CONN_CLOSE, self._say_goodbye),
            (evt.EVT_CONN_CLOSE, _forget),
        ]
        kwargs.update(evt_handlers=handlers, server_class=Listener, request_handler=_Handler)
        return cast(Listener, super().make_server(*args, **kwargs))

    def _ask(self, event: evt.Event) -> None:
        """Reject those who may not come in: EVT_REQUESTED."""
        association = event.assoc
        request = association.requestor.primitive
        if not isinstance(request, A_ASSOCIATE):  # it went away without a word
            association.is_aborted = True
            association.kill()
            return
        caller = Caller(
            address=_plain(association.requestor.address),
            title=request.calling_ae_title,
            called=request.called_ae_title,
        )
        rejection = who_is_unknown(self.settings, caller)
        if rejection is None:
            rejection = self.crowd.enter(id(association), caller.address)
        if rejection is None:
            weakref.finalize(association, self.crowd.leave, id(association))
            return
        self.complain(
            caller.address,
            f"an association from {printable(caller.title)} was rejected: {rejection.text}",
            caller.title,
        )
        association.requestor.ae_title = caller.title  # for those who look at EVT_REJECTED
        association.acse.send_reject(*rejection.answer)
        evt.trigger(association, evt.EVT_REJECTED, {})
        association.kill()

    def _say_goodbye(self, event: evt.Event) -> None:
        self.crowd.leave(id(event.assoc))

    def complain(self, address: str, text: str, title: str = "") -> None:
        """Tell what a peer did, once a minute at most: whoever floods the node not its log."""
        if self._said.is_new((address, text)):
            log.warning("%s: %s", address, text)
            if self._on_complaint is not None:
                self._on_complaint(address, title, text)


def _forget(event: evt.Event) -> None:
    """Drop what was gathered of a message that will not end: EVT_CONN_CLOSE."""
    event.assoc.dimse.message = None


class Listener(ThreadedAssociationServer):
    """Takes connections, and greets each in a thread of its own."""

    daemon_threads = True
    request_queue_size = BACKLOG
    ae: NodePort
    ssl_context: ssl.SSLContext | None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._greeting: Counter[str] = Counter()
        self._lock = threading.RLock()
        super().__init__(*args, **kwargs)

    def server_bind(self) -> None:
        """Take over the socket that was opened before, if there is one."""
        given = self.ae.listening
        if given is None:
            super().server_bind()
            return
        assert self.socket is not None
        self.socket.close()
        given.setblocking(False)  # another process may take the connection that woke this one
        self.socket, self.server_address = given, given.getsockname()

    def server_activate(self) -> None:
        """Listen, where that was not done before."""
        if self.ae.listening is None:
            super().server_activate()

    def get_request(self) -> tuple[socket.socket, Any]:
        """Take a connection and no more: TLS comes in a thread."""
        assert self.socket is not None
        return self.socket.accept()

    def connections(self) -> Counter[str]:
        """How many connections there are from each address, whatever they do."""
        with self._lock:
            found = Counter(self._greeting)
            found.update(_plain(a.requestor.address) for a in self.active_associations)
        return found

    def verify_request(self, _request: Any, client_address: Any) -> bool:
        """Close what is too much before any thread is started for it."""
        address = _plain(client_address[0])
        if not has_room(self.ae.settings.dicom, address, self.connections()):
            self.ae.complain(address, "a connection was closed: too many are open from there")
            return False
        with self._lock:
            self._greeting[address] += 1
        return True

    def process_request(self, request: Any, client_address: Any) -> None:
        """Start the thread that greets."""
        try:
            super().process_request(request, client_address)
        except RuntimeError:  # no more threads
            self._greeted(_plain(client_address[0]))
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Greet, and let an association begin."""
        address = _plain(client_address[0])
        connection = self._greet(request, address)
        with self._lock:  # so that it is counted once: as a connection, then as an association
            self._greeted(address)
            if connection is not None:
                self._begin(connection, client_address)

    def _begin(self, connection: socket.socket, client_address: Any) -> None:
        try:
            self.finish_request(connection, client_address)
        except (OSError, RuntimeError) as error:  # it went away, or there are no more threads
            log.debug("a connection from %s ended at once: %s", client_address[0], error)
            self.shutdown_request(connection)

    def _greeted(self, address: str) -> None:
        with self._lock:
            self._greeting.subtract([address])
            self._greeting += Counter()  # forget those with none

    def _greet(self, request: socket.socket, address: str) -> socket.socket | None:
        settings = self.ae.settings
        if is_stranger(settings, address):
            strangers = sum(n for a, n in self.connections().items() if is_stranger(settings, a))
            if strangers > STRANGERS:
                self.ae.complain(address, "a connection was closed: no peer calls from there")
                self.shutdown_request(request)
                return None
        if self.ssl_context is None:
            return request
        request.settimeout(self.ae.acse_timeout)
        try:
            return self.ssl_context.wrap_socket(request, server_side=True)
        except OSError as error:  # ssl.SSLError too
            reason = error.reason if isinstance(error, ssl.SSLError) else None
            self.ae.complain(
                address,
                "a TLS handshake failed: "
                + (reason or str(error) or "no reason").replace("_", " ").lower(),
            )
            return None

    def handle_error(self, _request: object, client_address: Any) -> None:
        """Say what socketserver would print a traceback of."""
        log.error("a connection from %s could not be taken", client_address[0], exc_info=True)


def _plain(address: str) -> str:
    """The one name of an address: IPv4 may come in the form of IPv6."""
    return str(as_address(address))


class _Handler(RequestHandler):
    """Makes an association of a connection, with our limits in it."""

    server: Listener

    def _create_association(self) -> Association:
        association = super()._create_association()
        limits = self.server.ae.settings.dicom
        dul = association.dul
        assert dul.socket is not None
        bell = _Bell()
        dul.socket = _Connection(dul.socket, limits.idle_s, bell)
        dul.state_machine = _StateMachine(dul)
        dul.to_provider_queue = _Telling(lambda _: bell.ring())
        gathering = _Gathering(association, self.server.ae.memory, limits.max_instance_mb * 1024**2)
        dul.to_user_queue = _Telling(gathering.wake)
        dul._run_loop_delay = PAUSE_S
        dul._decode_pdu = partial(decoded, dul)  # type: ignore[method-assign]
        association.dimse = gathering
        return association


class _Bell:
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


def decoded(dul: DULServiceProvider, pdu: bytearray) -> tuple[Any, str]:
    """Decode a PDU; a P-DATA-TF (PS3.8, 9.3.5) without a copy of what it carries.

    Raises
    ------
    ValueError
        If the items do not fill it.
    """
    if pdu[0] != _P_DATA_TF:
        return DULServiceProvider._decode_pdu(dul, pdu)
    found, content, start = P_DATA_TF(), memoryview(pdu).toreadonly(), 6
    while start < len(content):
        length, context = struct.unpack_from(">LB", content, start)
        end = start + 4 + length
        if length < 2 or end > len(content):
            raise ValueError(f"an item of {length} bytes in a PDU of {len(pdu)}")
        item = PresentationDataValueItem()
        item.presentation_context_id = context
        item.presentation_data_value = cast(bytes, content[start + 5 : end])  # as good as
        found.presentation_data_value_items.append(item)
        start = end
    return found, "Evt10"


class _Telling(queue.Queue[Any]):
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


class _StateMachine(StateMachine):
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


class _Connection(AssociationSocket):
    """The bytes of a connection, with a deadline for each part.

    Parameters
    ----------
    made : AssociationSocket
        What pynetdicom has made; this takes its place.
    idle_s : float
        How long to wait for a peer that is silent.
    bell : _Bell
        Rung when there is something to send.
    """

    def __init__(self, made: AssociationSocket, idle_s: float, bell: _Bell) -> None:
        vars(self).update(vars(made))
        self._idle_s = idle_s
        self._bell = bell
        assert self.socket is not None
        self.socket.settimeout(idle_s)  # for what is sent

    @property
    def ready(self) -> bool:
        """Wait until there is something to read, which is True, or else to do."""
        connection = self.socket
        if connection is None or not self._is_connected:
            return False
        if isinstance(connection, ssl.SSLSocket) and connection.pending():
            return True
        is_closing = self.assoc.dul.state_machine.current_state == "Sta13"
        wait_s = 0.0 if is_closing or not self.event_queue.empty() else WAIT_S
        try:
            poll = select.poll()
            poll.register(connection, select.POLLIN)
            poll.register(self._bell, select.POLLIN)
            rung = [descriptor for descriptor, _ in poll.poll(wait_s * 1000)]
        except (OSError, ValueError):  # closed by another thread
            self.event_queue.put("Evt17")
            return False
        if self._bell.fileno() in rung:
            self._bell.still()
        return connection.fileno() in rung

    def recv(self, nr_bytes: int) -> bytearray:
        """Read that many bytes; fewer if the peer closes the connection.

        Raises
        ------
        OSError
            If they are too many, or do not come in time.
        """
        if nr_bytes > LONGEST_PDU:
            log.warning("a PDU of %d bytes from %s was not read", nr_bytes, self._peer)
            abort = A_ABORT_RQ()
            abort.source, abort.reason_diagnostic = 0x02, _INVALID_PDU
            self.send(abort.encode())
            raise OSError(f"a PDU of {nr_bytes} bytes")
        connection = self.socket
        if connection is None:
            raise OSError("the connection is closed")
        grace_s = self._idle_s if self.assoc.is_established else min(HANDSHAKE_S, self._idle_s)
        deadline = time.monotonic() + grace_s + nr_bytes / SLOWEST_RATE
        received, count = bytearray(nr_bytes), 0
        try:
            while count < nr_bytes:
                left_s = deadline - time.monotonic()
                if left_s <= 0:
                    raise TimeoutError(f"{count} of {nr_bytes} bytes came in time")
                connection.settimeout(left_s)
                some = connection.recv_into(memoryview(received)[count:])
                if not some:
                    break
                count += some
        finally:
            with suppress(OSError):  # it may be closed by now
                connection.settimeout(self._idle_s)
        return received if count == nr_bytes else received[:count]

    @property
    def _peer(self) -> str:
        return str(self.assoc.requestor.address)


class Memory:
    """How much of messages is held in memory, of all associations together.

    Parameters
    ----------
    size : int
        Bytes.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._taken = 0
        self._lock = threading.Lock()

    def take(self, size: int) -> bool:
        """Take some for good; False if there is not enough."""
        with self._lock:
            if self._taken + size > self._size:
                return False
            self._taken += size
            return True

    def give_back(self, share: list[int]) -> None:
        """Give back all that a message took."""
        with self._lock:
            self._taken -= sum(share)


class Cut(BytesIO):
    """Stands for a dataset that was too large to be kept."""


def c_store_rsp(response: C_STORE) -> bytes:
    """The command set of a C-STORE-RSP (PS3.7, table 9.3-2), in implicit VR (PS3.7, 6.3.1)."""
    elements = b"".join(
        struct.pack("<HHL", 0, element, len(value)) + value
        for element, value in (
            (0x0002, as_ui(str(response.AffectedSOPClassUID))),
            (0x0100, struct.pack("<H", 0x8001)),
            (0x0120, struct.pack("<H", response.MessageIDBeingRespondedTo)),
            (0x0800, struct.pack("<H", 0x0101)),  # no dataset comes with it
            (0x0900, struct.pack("<H", response.Status)),
            (0x1000, as_ui(str(response.AffectedSOPInstanceUID))),
        )
    )
    return struct.pack("<HHLL", 0, 0, 4, len(elements)) + elements


class _Gathering(DIMSEServiceProvider):
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
        self._memory = memory
        self._longest = longest
        self._given_up = False
        self._begin()

    def _begin(self) -> None:
        self._command = 0
        self._dataset = 0
        self._share: list[int] | None = None

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
        answer = P_DATA()
        answer.presentation_data_value_list.append((context_id, b"\x03" + c_store_rsp(primitive)))
        self.dul.send_pdu(answer)

    def receive_primitive(self, primitive: P_DATA) -> None:
        """Take the fragments of one PDU."""
        if self._given_up:
            return
        try:
            fragments = primitive.presentation_data_value_list
            fragments[:] = self._within_limits(fragments)
            super().receive_primitive(primitive)
        except Exception as error:
            self._give_up(f"{type(error).__name__} in a message")
            return
        if self.message is None:
            self._begin()
        if self.msg_queue.qsize() > MOST_REQUESTS:
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

    def _give_up(self, why: str) -> None:
        """End the association as pynetdicom does at an invalid message."""
        self._given_up = True
        self.message = None
        log.warning("an association with %s is ended: %s", self.assoc.requestor.address, why)
        self.dul.event_queue.put("Evt19")


def printable(title: str) -> str:
    """What a peer calls itself, without what could break a line of the log."""
    return "".join(c if c.isprintable() else "?" for c in title.strip())[:16]
