"""The port of the node, opened once for all processes that take its connections."""

import socket

from node.errors import ConfigError
from node.settings import Settings

BACKLOG = 128
"""Connections that wait to be taken."""


def open_port(settings: Settings) -> socket.socket:
    """Listen on the port of the node.

    Connections wait here while no process takes them: one that is killed and started
    again turns nobody away.

    Raises
    ------
    ConfigError
        If it cannot be opened.
    """
    return listen(settings.dicom.host, settings.dicom.port, "[dicom]")


def listen(host: str, port: int, section: str) -> socket.socket:
    """Listen on a port that a section of the configuration names.

    Raises
    ------
    ConfigError
        If it cannot be opened.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise cannot_listen(host, port, section, error) from error


def cannot_listen(host: str, port: int, section: str, error: OSError) -> ConfigError:
    """What to tell who has configured a port that cannot be opened."""
    return ConfigError(
        f"cannot listen on {host}:{port}: {error.strerror or error}; see {section} host and port"
    )
