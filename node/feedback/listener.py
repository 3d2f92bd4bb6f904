"""HL7 v2 messages come in by MLLP: bounded in size, time and number of senders.

References
----------
MLLP: HL7 2.5.1 Implementation Guide, appendix C: a vertical tab, the message, a file separator
and a carriage return.
"""

import logging
import socket
import socketserver
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from ml.errors import IchnodeError, first_line
from node.access import Seldom
from node.audit import Person
from node.feedback.intake import Intake, UnknownSubjectError
from node.feedback.message import (
    READER,
    Fault,
    Header,
    MessageError,
    acknowledge,
    header_of,
    read_message,
)
from node.ledger import ReadingSource
from node.settings import FeedbackSettings, Settings
from node.settings.security import as_address
from node.tls import complaint, server_context

log = logging.getLogger(__name__)

_BEGIN, _END = b"\x0b", b"\x1c\r"
_PIECE = 16 * 1024

_LOOK_S = 0.1
"""Between two looks whether it is to end, seconds."""

SENDING_S = 10.0
"""For a sender to take an answer, or to shake hands by TLS."""


class FramingError(Exception):
    """What comes is no message by MLLP."""


class TooLongError(FramingError):
    """A message is longer than is taken."""


class Framing:
    """Messages out of the bytes of a connection, in whatever pieces these come.

    Parameters
    ----------
    most : int
        Bytes of a message.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._gathered = bytearray()
        self._seen = 0

    @property
    def has_begun(self) -> bool:
        """Whether a message has begun that is not whole yet."""
        return bool(self._gathered)

    def feed(self, piece: bytes) -> Iterator[bytes]:
        """Take some bytes; gives the messages that are whole by them.

        Raises
        ------
        TooLongError
            If one is longer than is taken.
        FramingError
            If something else stands before a message.
        """
        self._gathered += piece
        while True:
            if not self._gathered.startswith(_BEGIN):
                self._gathered = self._gathered.lstrip(b"\r\n")
                if self._gathered and not self._gathered.startswith(_BEGIN):
                    raise FramingError("something else stands before a message")
            end = self._gathered.find(_END, max(0, self._seen - 1))
            self._seen = len(self._gathered)
            if (self._seen if end < 0 else end) > self._most + len(_BEGIN):
                raise TooLongError(f"the message has more than {self._most // 1024} kB")
            if end < 0:
                return
            # Of one that was broken off, and begun again, the whole one.
            yield bytes(self._gathered[:end].rpartition(_BEGIN)[2])
            del self._gathered[: end + len(_END)]
            self._seen = 0


class Listener(socketserver.ThreadingTCPServer):
    """Takes messages, each connection in a thread of its own.

    Parameters
    ----------
    settings : Settings
        With a `[feedback] hl7_port`.
    intake : Intake

    Raises
    ------
    ConfigError
        If a certificate or key cannot be used.
    IchnodeError
        If it cannot listen.
    """

    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False

    def __init__(self, settings: Settings, intake: Intake) -> None:
        self.feedback: FeedbackSettings = settings.feedback
        self.node = settings.dicom.ae_title
        self.context = server_context(self.feedback.tls, "[feedback.tls]")
        self._intake = intake
        self._connections = 0
        self._lock = threading.Lock()
        self._said = Seldom()
        host, port = self.feedback.hl7_host, self.feedback.hl7_port
        assert port is not None
        try:
            self.address_family, _, _, _, address = socket.getaddrinfo(
                host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )[0]
            super().__init__(address[:2], _Conversation)  # type: ignore[arg-type]
        except OSError as error:
            raise IchnodeError(
                f"labels by HL7 cannot be taken on {host}:{port}: {error.strerror}; "
                "see [feedback] hl7_host and hl7_port"
            ) from error

    @contextmanager
    def serving(self) -> Iterator[None]:
        """Take messages as long as the context lasts."""
        thread = threading.Thread(
            target=self.serve_forever, args=(_LOOK_S,), name="hl7", daemon=True
        )
        thread.start()
        log.info("labels by HL7 on %s:%s", *self.server_address[:2])
        try:
            yield
        finally:
            self.shutdown()
            thread.join()

    # -- who may come in ---------------------------------------------------------

    def verify_request(self, _request: Any, client_address: Any) -> bool:
        """Close what may not come in before any thread is started for it."""
        address = as_address(client_address[0])
        is_known = any(address in network for network in self.feedback.hl7_networks)
        if not is_known and not (address.is_loopback and not self.feedback.hl7_networks):
            self.turn_away(str(address), "it may not send labels: see [feedback] hl7_networks")
            return False
        with self._lock:
            if self._connections >= self.feedback.max_connections:
                self.turn_away(str(address), "too many connections: see [feedback] max_connections")
                return False
            self._connections += 1
        return True

    def process_request(self, request: Any, client_address: Any) -> None:
        """Start the thread of a connection."""
        try:
            super().process_request(request, client_address)
        except RuntimeError:  # no more threads
            self._left()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """A connection, from its begin to its end."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._left()

    def _left(self) -> None:
        with self._lock:
            self._connections -= 1

    def handle_error(self, _request: object, client_address: Any) -> None:
        """Say what socketserver would print a traceback of: it may quote a message."""
        log.error(
            "a connection from %s ended unexpectedly",
            client_address[0],
            exc_info=log.isEnabledFor(logging.DEBUG),
        )

    def complain(self, address: str, text: str) -> bool:
        """Tell what a sender did, once a minute at most: whoever floods the node not its log."""
        is_new = self._said.is_new((address, text))
        if is_new:
            log.warning("HL7 from %s: %s", address, text)
        return is_new

    def turn_away(self, address: str, why: str) -> None:
        """Tell and record that somebody may not send."""
        if self.complain(address, why):
            self._intake.turned_away(address, why)

    # -- what is said --------------------------------------------------------------

    def take(self, content: bytes, address: str) -> bytes:
        """Take a message; gives the answer."""
        header, now = header_of(content), datetime.now(UTC)
        try:
            self._enter(content, header, address, now)
        except MessageError as error:
            fault = error
        except UnknownSubjectError as error:
            fault = MessageError(Fault.UNKNOWN_KEY, str(error))
        except (SQLAlchemyError, OSError) as error:
            log.error("a label has to wait: %s", first_line(getattr(error, "orig", None) or error))
            fault = MessageError(
                Fault.INTERNAL, "the ledger does not answer: send it again", is_rejected=True
            )
        except Exception as error:  # a message can be anything, and must not be quoted
            log.error(
                "a message by HL7: unexpected %s",
                type(error).__name__,
                exc_info=log.isEnabledFor(logging.DEBUG),
            )
            fault = MessageError(Fault.INTERNAL, "the node's log says more", is_rejected=True)
        else:
            return acknowledge(self.node, header, None, now)
        self.complain(address, f"{fault.code}: {fault}")
        return acknowledge(self.node, header, fault, now)

    def _enter(self, content: bytes, header: Header, address: str, now: datetime) -> None:
        orders = read_message(content, now)
        reader = header.application or READER
        for target, order in [(self._intake.find(order.subject), order) for order in orders]:
            is_new = self._intake.enter(
                target,
                order.findings,
                ReadingSource.HL7,
                reader,
                order.said_at,
                Person(reader, address),
            )
            log.info("a label from %s by HL7%s", address, "" if is_new else ": known already")


class _Conversation(socketserver.BaseRequestHandler):
    """A connection of a sender."""

    server: Listener

    def handle(self) -> None:
        """Take one message after the other, until the sender goes or is too slow."""
        address = str(as_address(self.client_address[0]))
        try:
            with self._connection() as connection:
                self._talk(connection, address)
        except FramingError as error:
            self.server.complain(address, str(error))
        except TimeoutError:
            self.server.complain(address, "it is too slow: see [feedback] message_s")
        except ssl.SSLError as error:
            self.server.turn_away(address, complaint(error))
        except OSError:  # it has gone
            log.debug("a connection from %s ended", address)

    @contextmanager
    def _connection(self) -> Iterator[socket.socket]:
        self.request.settimeout(SENDING_S)
        if self.server.context is None:
            yield self.request
            return
        with self.server.context.wrap_socket(self.request, server_side=True) as connection:
            yield connection

    def _talk(self, connection: socket.socket, address: str) -> None:
        limits = self.server.feedback
        framing = Framing(limits.max_message_kb * 1024)
        begun_at: float | None = None
        while True:
            now = time.monotonic()
            left = limits.idle_s if begun_at is None else begun_at + limits.message_s - now
            if left <= 0:
                raise TimeoutError
            connection.settimeout(left)
            try:
                piece = connection.recv(_PIECE)
            except TimeoutError:
                if begun_at is None:  # an engine may stay connected, and have nothing to say
                    return
                raise
            if not piece:
                return
            connection.settimeout(SENDING_S)
            try:
                for content in framing.feed(piece):
                    begun_at = None
                    self._answer(connection, self.server.take(content, address))
            except TooLongError as error:
                fault = MessageError(Fault.DATA_TYPE, str(error), is_rejected=True)
                now_ = datetime.now(UTC)
                self._answer(connection, acknowledge(self.server.node, Header(), fault, now_))
                raise
            if not framing.has_begun:
                begun_at = None
            elif begun_at is None:
                begun_at = time.monotonic()

    @staticmethod
    def _answer(connection: socket.socket, answer: bytes) -> None:
        connection.sendall(_BEGIN + answer + _END)
