"""The service on its port, with limits on what a connection can spend of it."""

import logging
import signal
import socket
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn

from node.access import has_room
from node.audit import Auditor
from node.errors import ConfigError
from node.ledger import Ledger
from node.listener import HANDSHAKE_S
from node.port import listen
from node.serving import Connection, http_server
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
        app = Stow(settings, spool, ledger, auditor)
        yield http_server(app, context, STOPPING_S, _connection(settings)), listening


def _connection(settings: Settings) -> type[Connection]:
    """What each connection is served by, if there is room for one more."""
    present: Counter[str] = Counter()  # by address

    class Counted(Connection):
        """A connection that counts."""

        longest_s = min(HANDSHAKE_S, settings.dicom.idle_s)
        is_patient = True
        address = ""

        def connection_made(self, transport: Any) -> None:
            """Count it, and leave it if it is one too many."""
            super().connection_made(transport)
            self.address = self.client[0] if self.client else ""
            is_room = has_room(settings.dicom, self.address, present)
            present[self.address] += 1
            if not is_room:
                log.warning("%s: a connection was closed: too many are open", self.address)
                transport.abort()

        def connection_lost(self, exc: Exception | None) -> None:
            """Count it no more."""
            present[self.address] -= 1
            if not present[self.address]:
                del present[self.address]
            super().connection_lost(exc)

    return Counted
