"""Who may connect to the node, and who may open an association with it."""

import logging
import socket
import ssl
import threading
import weakref
from collections import Counter
from collections.abc import Callable
from typing import Any, cast

from pynetdicom import AE, evt
from pynetdicom.pdu_primitives import A_ASSOCIATE
from pynetdicom.transport import ThreadedAssociationServer

from node.access import (
    STRANGERS,
    Caller,
    Crowd,
    Seldom,
    has_room,
    is_stranger,
    who_is_unknown,
)
from node.dicom import introduced
from node.listener.association import Handler
from node.listener.limits import HANDSHAKE_S, LONGEST_PDU, Memory
from node.port import BACKLOG
from node.settings import Settings
from node.settings.security import as_address

log = logging.getLogger(__name__)


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
        kwargs.update(evt_handlers=handlers, server_class=Listener, request_handler=Handler)
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


def printable(title: str) -> str:
    """What a peer calls itself, without what could break a line of the log."""
    return "".join(c if c.isprintable() else "?" for c in title.strip())[:16]
