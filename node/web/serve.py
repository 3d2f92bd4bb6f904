"""The web page on its port."""

import logging
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn

from ml.errors import IchnodeError
from node.audit import Auditor
from node.errors import ConfigError
from node.serving import http_server
from node.settings import ClientCertificates, Settings, TLSSettings
from node.settings.web import is_this_machine
from node.tls import server_context
from node.vitals import Background
from node.web.app import make_app
from node.web.asking import Asking
from node.web.desk import Desk
from node.web.door import Door, signing_key
from node.web.trail import Trail

log = logging.getLogger(__name__)

MOST_AT_ONCE = 200
"""Connections."""

STOPPING_S = 3
"""Requests that are under way at the end have so long."""


def serve(settings: Settings) -> None:
    """Serve the page until the process is told to end.

    Raises
    ------
    ConfigError
        If its key or certificate cannot be used.
    IchnodeError
        If it cannot listen.
    """
    with open_page(settings) as (server, listening):
        server.run(sockets=[listening])


@contextmanager
def open_page(settings: Settings) -> Iterator[tuple[uvicorn.Server, socket.socket]]:
    """Make all that serves the page; it listens already.

    Raises
    ------
    ConfigError, IchnodeError
        As `serve`.
    """
    web = settings.web
    tls = TLSSettings(
        certificate=web.certificate, key=web.key, client_certificates=ClientCertificates.NONE
    )
    context = server_context(tls, "[web]")
    try:
        key = signing_key(settings.home)
    except OSError as error:
        raise ConfigError(f"home {settings.home} cannot be written: {error.strerror}") from error
    listening = _listen(web.host, web.port)
    scheme = "http" if context is None else "https"
    log.info("web page on %s://%s:%s/", scheme, web.host, web.port)
    if web.users and context is None and not is_this_machine(web.host):
        log.warning("passwords go over the network in clear: set [web] certificate and key")
    with (
        listening,
        Auditor.open(settings, "web") as auditor,
        Background(settings) as background,
    ):
        desk = Desk(settings, background)
        asking = Asking(desk, Door(web, key), Trail(auditor, desk))
        yield http_server(make_app(asking), context, STOPPING_S, most=MOST_AT_ONCE), listening


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listening = socket.socket(family, kind, protocol)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
    except OSError as error:
        raise IchnodeError(
            f"the web page cannot listen on {host}:{port}: {error.strerror}; "
            "see [web] host and port"
        ) from error
    return listening
