"""The service on its port, with limits on what a connection can spend of it."""

import asyncio
import logging
import signal
import socket
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
from h11 import LocalProtocolError
from uvicorn.protocols.http.h11_impl import H11Protocol

from node.access import has_room
from node.audit import Auditor
from node.errors import ConfigError
from node.ledger import Ledger
from node.listener import HANDSHAKE_S
from node.port import listen
from node.settings import Settings
from node.settings.web import is_this_machine
from node.spool import Spool
from node.stow.app import ROOT, Stow
from node.tls import server_context

log = logging.getLogger(__name__)

STOPPING_S = 5
"""Requests that are under way at the end have so long; what they have stored by then stays."""


def serve(settings: Settings, spool: Spool, ledger: Ledger, auditor: Auditor) -> None:
    """Take instances until the process is told to end.

    Raises
    ------
    ConfigError
        If its port, key or certificate cannot be used.
    """
    # What uvicorn raises again at the end must not end the process before its last records.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    with open_service(settings, spool, ledger, auditor) as (server, listening):
        server.run(sockets=[listening])


@contextmanager
def open_service(
    settings: Settings, spool: Spool, ledger: Ledger, auditor: Auditor
) -> Iterator[tuple[uvicorn.Server, socket.socket]]:
    """Make all that serves; it listens already.

    Raises
    ------
    ConfigError
        As `serve`.
    """
    rules = settings.dicomweb
    if rules.port is None:
        raise ConfigError("nothing comes in by STOW-RS: see [dicomweb] port")
    context = server_context(rules.tls, "[dicomweb.tls]")
    with listen(rules.host, rules.port, "[dicomweb]") as listening:
        scheme = "http" if context is None else "https"
        log.info("taking instances at %s://%s:%d%s", scheme, rules.host, rules.port, ROOT)
        if rules.asks_who and context is None and not is_this_machine(rules.host):
            log.warning("passwords and tokens go over the network in clear: see [dicomweb.tls]")
        config = uvicorn.Config(
            Stow(settings, spool, ledger, auditor),
            http=_connection(settings),
            ws="none",
            log_config=None,
            access_log=False,  # it would name studies
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=STOPPING_S,
            lifespan="off",
        )
        config.load()
        # What it says a sender can have it say without end; the application says it once.
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
        config.ssl = context
        yield uvicorn.Server(config), listening


def _connection(settings: Settings) -> type[H11Protocol]:
    """What each connection is served by: one that asks for nothing does not stay."""
    longest_s = min(HANDSHAKE_S, settings.dicom.idle_s)
    present: Counter[str] = Counter()  # by address

    class Connection(H11Protocol):
        """A connection with a deadline for the head of each request.

        The same one holds for the rest of a body that was answered already: who sends all of
        it before it listens hears why it was refused, and who sends without end does not stay.
        """

        address = ""
        deadline: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            """Begin to wait for a request, if there is room for one more."""
            super().connection_made(transport)
            self.address = self.client[0] if self.client else ""
            is_room = has_room(settings.dicom, self.address, present)
            present[self.address] += 1
            if not is_room:
                log.warning("%s: a connection was closed: too many are open", self.address)
                transport.abort()
                return
            self._wait()

        def data_received(self, data: bytes) -> None:
            """Go on waiting until the head of a request is there."""
            try:
                super().data_received(data)
            except LocalProtocolError:  # what is no HTTP came behind an answer: nobody is to hear
                self.transport.abort()
                return
            if self.cycle is not None and not self.cycle.response_complete:
                self._wait_no_more()
            elif self.deadline is None:
                self._wait()

        def connection_lost(self, exc: Exception | None) -> None:
            """Count it no more."""
            self._wait_no_more()
            present[self.address] -= 1
            if not present[self.address]:
                del present[self.address]
            super().connection_lost(exc)

        def shutdown(self) -> None:
            """Go away at the end of the process; who has been answered is not waited for."""
            super().shutdown()
            if self.cycle is None or self.cycle.response_complete:
                self.transport.abort()

        def _wait(self) -> None:
            self.deadline = self.loop.call_later(longest_s, self.transport.abort)

        def _wait_no_more(self) -> None:
            if self.deadline is not None:
                self.deadline.cancel()
                self.deadline = None

    return Connection
