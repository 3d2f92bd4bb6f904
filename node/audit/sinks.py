"""Where records go: a file that several processes write, and syslog.

References
----------
Syslog over TLS and UDP as a transport of audit messages: DICOM PS3.15, A.6 and A.7.
Format of a message: RFC 5424; over UDP: RFC 5426; over TLS: RFC 5425; over TCP:
RFC 6587, octet counting.
"""

import errno
import fcntl
import itertools
import os
import re
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from logging.handlers import SysLogHandler
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from node.audit.events import Process
from node.audit.message import AuditMessage, EventOutcome
from node.errors import ConfigError
from node.settings import AuditSettings
from node.settings.audit import Transport

APP_NAME = "ichnode"
MSGID = "DICOM+RFC3881"
DEFAULT_PORT = {Transport.UDP: 514, Transport.TCP: 514, Transport.TLS: 6514}
TIMEOUT_S = 5.0
"""For a syslog server that does not take what it is sent."""

VERDICT_S = 0.3
"""A TLS 1.3 server says after the handshake only that it does not trust the node."""

_HEAD_BYTES = 4096
"""So much of a file is read to find the time of its first record."""

_FIRST_TIME = re.compile(rb'EventDateTime="([^"]+)"')


class Sink(Protocol):
    """Something that takes records, one after the other, from one thread."""

    @property
    def name(self) -> str:
        """What to call it in a log."""

    def write(self, message: AuditMessage) -> None:
        """Take a record; OSError if it was not taken."""

    def settle(self) -> None:
        """There is nothing more to write for now."""

    def close(self) -> None:
        """Let go of what is open."""


class FileSink:
    """A file of one record a line, written by any number of processes.

    A line is appended in one piece under a lock. A torn one (a process was killed,
    the disk is full) is cut off or left on a line of its own: no other is harmed.

    Parameters
    ----------
    path : pathlib.Path
    largest : int
        Bytes from which on the file is put aside.
    oldest : datetime.timedelta
        Age of its first record from which on it is put aside.
    """

    def __init__(self, path: Path, largest: int, oldest: timedelta) -> None:
        self._path = path
        self._largest = largest
        self._oldest = oldest
        self._descriptor: int | None = None
        self._begun: datetime | None = None  # time of the file's first record

    @property
    def name(self) -> str:
        """What to call it in a log."""
        return str(self._path)

    def write(self, message: AuditMessage) -> None:
        """Append a record."""
        line = message.xml() + b"\n"
        with self._locked() as descriptor:
            size = os.fstat(descriptor).st_size
            if size and self._is_due(size + len(line), message.at):
                self._put_aside(message.at)
            else:
                self._append(descriptor, size, line)
                return
        self.write(message)

    def settle(self) -> None:
        """Bring what was written to the disk."""
        if self._descriptor is not None:
            with suppress(OSError):  # a pipe or a terminal has no disk
                os.fsync(self._descriptor)

    def close(self) -> None:
        """Close the file."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    @contextmanager
    def _locked(self) -> Iterator[int]:
        """The file that has the name now, locked: another process may have put it aside."""
        while True:
            descriptor = self._open()
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if self._has_the_name(descriptor):
                break
            self.close()
        try:
            yield descriptor
        finally:
            if self._descriptor is not None:
                fcntl.flock(descriptor, fcntl.LOCK_UN)

    def _open(self) -> int:
        if self._descriptor is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
            self._descriptor = os.open(self._path, flags, 0o600)
            self._begun = None
        return self._descriptor

    def _has_the_name(self, descriptor: int) -> bool:
        try:
            named = self._path.stat()
        except FileNotFoundError:
            return False
        return os.path.samestat(named, os.fstat(descriptor))

    def _is_due(self, size: int, now: datetime) -> bool:
        if size > self._largest:
            return True
        if self._begun is None and self._descriptor is not None:
            self._begun = _first_time(os.pread(self._descriptor, _HEAD_BYTES, 0)) or now
        return self._begun is not None and now - self._begun > self._oldest

    def _put_aside(self, now: datetime) -> None:
        stamp = now.astimezone(UTC).strftime("%Y%m%dT%H%M%S%f")
        for number in itertools.count(1):
            name = f"{self._path.stem}-{stamp}-{number}{self._path.suffix}"
            aside = self._path.with_name(name)
            if not aside.exists():  # nobody else puts the file aside now: it is locked
                break
        self._path.rename(aside)
        self.close()  # and so unlocks

    @staticmethod
    def _append(descriptor: int, size: int, line: bytes) -> None:
        if size and os.pread(descriptor, 1, size - 1) != b"\n":
            line = b"\n" + line
        if os.write(descriptor, line) < len(line):
            os.ftruncate(descriptor, size)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _first_time(head: bytes) -> datetime | None:
    """When a file's first record is from; None if that is not said with its zone."""
    found = _FIRST_TIME.search(head)
    try:
        first = datetime.fromisoformat(found[1].decode()) if found else None
    except ValueError:
        return None
    return first if first is not None and first.tzinfo is not None else None


class SyslogSink:
    """A syslog server, on this machine or another one.

    Parameters
    ----------
    target : str
        As in the settings.
    facility : int
        RFC 5424, table 1.
    process : Process
        Who reports.
    context : ssl.SSLContext, optional
        For ``tls://``.
    """

    def __init__(
        self, target: str, facility: int, process: Process, context: ssl.SSLContext | None = None
    ) -> None:
        url = urlsplit(target)
        self._target = target
        self._transport = Transport(url.scheme)
        self._path = url.path
        self._host = url.hostname or ""
        self._port = url.port or DEFAULT_PORT.get(self._transport, 0)
        self._facility = facility
        self._process = process
        self._context = context
        self._socket: socket.socket | None = None

    @property
    def name(self) -> str:
        """What to call it in a log."""
        return self._target

    def write(self, message: AuditMessage) -> None:
        """Send a record."""
        try:
            connection = self._connection()
            if self._transport is Transport.UNIX:
                connection.send(local_frame(message, self._facility, self._process))
            elif self._transport is Transport.UDP:
                connection.send(syslog_frame(message, self._facility, self._process))
            else:
                frame = syslog_frame(message, self._facility, self._process)
                connection.sendall(b"%d %s" % (len(frame), frame))
        except OSError:
            self.close()
            raise

    def settle(self) -> None:
        """Nothing is kept back."""

    def close(self) -> None:
        """Hang up."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _connection(self) -> socket.socket:
        if self._socket is not None and self._is_over(self._socket):
            self.close()
        if self._socket is None:
            self._socket = self._connect()
            self._socket.settimeout(TIMEOUT_S)
        return self._socket

    def _is_over(self, connection: socket.socket, wait_s: float = 0) -> bool:
        """Whether the server has hung up: what is sent then is lost without an error."""
        if self._transport not in (Transport.TCP, Transport.TLS):
            return False
        connection.settimeout(wait_s)
        try:
            return connection.recv(1) == b""
        except (BlockingIOError, TimeoutError, ssl.SSLWantReadError):
            return False
        finally:
            connection.settimeout(TIMEOUT_S)

    def _connect(self) -> socket.socket:
        if self._transport is Transport.UNIX:
            local = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            try:
                local.connect(self._path)
            except OSError:
                local.close()
                raise
            return local
        if self._transport is Transport.UDP:
            family, kind, _, _, address = socket.getaddrinfo(
                self._host, self._port, type=socket.SOCK_DGRAM
            )[0]
            datagrams = socket.socket(family, kind)
            datagrams.connect(address)
            return datagrams
        stream = socket.create_connection((self._host, self._port), TIMEOUT_S)
        if self._context is None:
            return stream
        try:
            secured = self._context.wrap_socket(stream, server_hostname=self._host)
        except OSError:
            stream.close()
            raise
        try:
            if self._is_over(secured, VERDICT_S):
                raise ConnectionResetError("the server hung up after the TLS handshake")
        except OSError:
            secured.close()
            raise
        return secured


def syslog_frame(message: AuditMessage, facility: int, process: Process) -> bytes:
    """A record as a syslog message (RFC 5424; PS3.15, A.6)."""
    at = message.at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    host = _header_field(process.host)
    header = f"<{_priority(message, facility)}>1 {at} {host} {APP_NAME} {process.id} {MSGID} - "
    return header.encode() + message.xml()


def local_frame(message: AuditMessage, facility: int, process: Process) -> bytes:
    """A record as the syslog of the same machine takes it: as syslog(3) writes to /dev/log."""
    at = message.at.astimezone()
    stamp = f"{at:%b} {at.day:2} {at:%H:%M:%S}"  # the time of the machine's zone
    tag = f"<{_priority(message, facility)}>{stamp} {APP_NAME}[{process.id}]: "
    return tag.encode() + message.xml()


def _priority(message: AuditMessage, facility: int) -> int:
    """PRI: notice, or warning where something failed (PS3.15, A.6)."""
    failed = message.outcome is not EventOutcome.SUCCESS
    return facility << 3 | (SysLogHandler.LOG_WARNING if failed else SysLogHandler.LOG_NOTICE)


def _header_field(value: str) -> str:
    return re.sub(r"[^!-~]", "_", value)[:255] or "-"


def tls_context(settings: AuditSettings) -> ssl.SSLContext:
    """What a TLS server is checked by: its certificate and its name, TLS 1.2 at least.

    Raises
    ------
    ConfigError
        If a certificate or the key cannot be read.
    """
    try:
        context = ssl.create_default_context(cafile=settings.tls_ca)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if settings.tls_certificate is not None:
            context.load_cert_chain(settings.tls_certificate, settings.tls_key)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"the certificates for {settings.syslog} cannot be used: {error}; see [audit] tls_ca, "
            "tls_certificate and tls_key"
        ) from error
    return context
