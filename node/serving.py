"""HTTP on a port, as the web page and STOW-RS serve it: uvicorn, with bounds on a connection.

What uvicorn leaves open is closed here:

- who connects and asks for nothing, or for half of it, or does not listen, would stay for ever
- a TLS handshake would have a minute
- what is no HTTP, behind the head of a request, would leave a trace in the log
- what it says of a visitor it would say as often as the visitor has it do so

References
----------
HTTP/1.1: RFC 9112. ASGI 3.
"""

import asyncio
import logging
import ssl
from typing import Any, ClassVar

import uvicorn
from h11 import LocalProtocolError
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from node.access import Seldom
from node.listener import HANDSHAKE_S, SLOWEST_RATE

log = logging.getLogger(__name__)


class Connection(H11Protocol):
    """A connection with a deadline for each request, and for who reads its answer.

    The first one holds too for the rest of a body that was answered already: who sends all of
    it before it listens hears why it was refused, and who sends without end does not stay.
    """

    longest_s: ClassVar[float] = HANDSHAKE_S
    """For a request; and between two looks at what is read of an answer."""

    is_patient: ClassVar[bool] = False
    """Whether the application looks itself how a body comes: then for the head alone."""

    _asking: asyncio.TimerHandle | None = None
    _listening: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Begin to wait for a request."""
        super().connection_made(transport)
        self._wait()

    def data_received(self, data: bytes) -> None:
        """Go on waiting until a request is there."""
        try:
            super().data_received(data)
        except LocalProtocolError:  # what is no HTTP came behind an answer: nobody is to hear
            self.transport.abort()
            return
        is_under_way = self.cycle is not None and not self.cycle.response_complete
        if is_under_way and (self.is_patient or not self.cycle.more_body):
            self._wait_no_more()
        elif self._asking is None:
            self._wait()

    def pause_writing(self) -> None:
        """Begin to look whether an answer is read."""
        super().pause_writing()
        self._look_again()

    def resume_writing(self) -> None:
        """Look no more."""
        self._look_no_more()
        super().resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing any more."""
        self._wait_no_more()
        self._look_no_more()
        super().connection_lost(exc)

    def shutdown(self) -> None:
        """Go away at the end of the process; who has been answered is not waited for."""
        super().shutdown()
        if self.cycle is None or self.cycle.response_complete:
            self.transport.abort()

    def _wait(self) -> None:
        self._asking = self.loop.call_later(self.longest_s, self.transport.abort)

    def _wait_no_more(self) -> None:
        if self._asking is not None:
            self._asking.cancel()
            self._asking = None

    def _look_again(self) -> None:
        left = self.transport.get_write_buffer_size()
        self._listening = self.loop.call_later(self.longest_s, self._look, left)

    def _look(self, before: int) -> None:
        read = before - self.transport.get_write_buffer_size()
        if read < SLOWEST_RATE * self.longest_s:
            self.transport.abort()
        else:
            self._look_again()

    def _look_no_more(self) -> None:
        if self._listening is not None:
            self._listening.cancel()
            self._listening = None


class Loop(asyncio.SelectorEventLoop):
    """An event loop that waits for a TLS handshake as long as the DICOM port does."""

    async def create_server(self, *where: Any, **named: Any) -> asyncio.Server:
        """Listen."""
        if named.get("ssl") is not None:
            named.setdefault("ssl_handshake_timeout", HANDSHAKE_S)
        return await super().create_server(*where, **named)


class _Seldomly(logging.Filter):
    """Lets pass what uvicorn says once a minute, and no trace: it may quote the patient."""

    def __init__(self) -> None:
        super().__init__()
        self._said = Seldom()

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a record is said."""
        if record.exc_info and not log.isEnabledFor(logging.DEBUG):
            record.exc_info = None
        return self._said.is_new(record.msg)


_SELDOMLY = _Seldomly()


def http_server(
    app: ASGIApp,
    tls: ssl.SSLContext | None,
    stopping_s: int,
    connection: type[Connection] = Connection,
    most: int | None = None,
) -> uvicorn.Server:
    """Make a server; it has to be given the socket that it listens on.

    Parameters
    ----------
    app : callable
    tls : ssl.SSLContext, optional
    stopping_s : int
        Requests that are under way at the end have so long.
    connection : type
        What each connection is served by.
    most : int, optional
        Connections at the same time; beyond, they are answered 503.
    """
    config = uvicorn.Config(
        app,
        loop=f"{__name__}:{Loop.__name__}",
        http=connection,
        ws="none",
        log_config=None,
        access_log=False,  # it would name studies
        server_header=False,
        proxy_headers=False,  # the page's door reads them, and from trusted proxies only
        limit_concurrency=most,
        timeout_graceful_shutdown=stopping_s,
        lifespan="off",
    )
    config.load()
    said = logging.getLogger("uvicorn.error")
    said.setLevel(logging.WARNING)
    said.addFilter(_SELDOMLY)
    config.ssl = tls
    return uvicorn.Server(config)
