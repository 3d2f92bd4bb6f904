"""Requests to one server: with TLS, as somebody, and with bounds on whatever it answers.

A server may send the node elsewhere, answer with gigabytes, or with one byte now and then. None
of that may leak a password or a patient's images, fill the memory or take all day: so nothing is
followed, kept in a cookie, decompressed or taken from the environment, and every answer is
bounded in length and in time.
"""

import http.client
import io
import math
import socket
import ssl
import time
from collections.abc import Iterator
from http.cookiejar import DefaultCookiePolicy
from pathlib import Path
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase, HTTPBasicAuth
from requests.models import PreparedRequest
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection

from node.dicomweb.errors import DICOMwebError, refusal
from node.settings import Called
from node.settings.security import check_private
from node.tls import client_context

LONGEST_ANSWER = 8 * 1024**2
"""Of an answer that is held in memory as a whole, bytes."""

SLOWEST = 16 * 1024
"""What comes or goes more slowly on the whole is given up, bytes a second."""

_PIECE = 256 * 1024

_TAKEN = frozenset((*range(200, 300), 409))
"""Answers with a body that matters: 409 tells which objects were not stored (PS3.18, 10.5.3.2)."""


def open_session(server: Called, timeout_s: float) -> requests.Session:
    """Begin to talk to a server; nothing is sent yet.

    Parameters
    ----------
    server : Called
        One with a URL.
    timeout_s : float
        For each step of an answer.

    Raises
    ------
    ConfigError
        If its certificates cannot be used.
    """
    session = requests.Session()
    session.trust_env = False  # no proxy, no netrc, no other certificates than those configured
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    session.auth = _auth(server)
    session.headers["User-Agent"] = "ichnode"
    session.headers["Accept-Encoding"] = "identity"
    adapter = _Adapter(client_context(server), server.tls_check_host, timeout_s)
    session.mount("https://", adapter)
    session.mount("http://", adapter)
    return session


def _auth(server: Called) -> AuthBase | None:
    if server.user is not None and server.password_file is not None:
        return _Basic(server.user, server.password_file)
    return None if server.token_file is None else _Bearer(server.token_file)


def _secret(path: Path, key: str) -> str:
    """What a file holds now: one that was replaced is taken from the next request on."""
    try:
        check_private(path)
        secret = path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise DICOMwebError(f"{key} {path} cannot be read", str(error.strerror).lower()) from None
    except UnicodeDecodeError:
        raise DICOMwebError(f"{key} {path} is not in UTF-8") from None
    except ValueError as error:
        raise DICOMwebError(f"{key}: {error}") from None
    if not secret or not secret.isprintable():
        raise DICOMwebError(f"{key} {path} takes one line with the secret")
    return secret


class _Basic(AuthBase):
    """User and password (RFC 7617)."""

    def __init__(self, user: str, password_file: Path) -> None:
        self._user = user
        self._password_file = password_file

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        password = _secret(self._password_file, "password_file")
        return HTTPBasicAuth(self._user.encode(), password.encode())(request)


class _Bearer(AuthBase):
    """A token (RFC 6750)."""

    def __init__(self, token_file: Path) -> None:
        self._token_file = token_file

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        token = _secret(self._token_file, "token_file")
        if not token.isascii() or " " in token:
            raise DICOMwebError(f"token_file {self._token_file} takes a token without spaces")
        request.headers["Authorization"] = f"Bearer {token}"
        return request


class _Arriving(io.RawIOBase):
    """What a socket receives; `until` bounds how long its reader waits for more."""

    until = math.inf

    def __init__(self, raw: io.RawIOBase) -> None:
        self._raw = raw

    def readable(self) -> bool:
        """As a file that is read."""
        return True

    def readinto(self, buffer: Any) -> int | None:
        """Receive some; TimeoutError if it is too late."""
        if time.monotonic() > self.until:
            raise TimeoutError
        return self._raw.readinto(buffer)

    def close(self) -> None:
        """Let go of the socket."""
        self._raw.close()
        super().close()


class _Response(http.client.HTTPResponse):
    """An answer whose head has so long as one wait of its socket, though it comes in drips."""

    def __init__(self, sock: socket.socket, *arguments: Any, **named: Any) -> None:
        super().__init__(sock, *arguments, **named)
        self._arriving = _Arriving(sock.makefile("rb", buffering=0))
        self._arriving.until = time.monotonic() + (sock.gettimeout() or math.inf)
        self.fp.close()
        self.fp = io.BufferedReader(self._arriving)

    def begin(self) -> None:
        """Read the head."""
        super().begin()
        self._arriving.until = math.inf


class _Pool(HTTPConnectionPool):
    class ConnectionCls(HTTPConnection):
        response_class = _Response


class _TLSPool(HTTPSConnectionPool):
    class ConnectionCls(HTTPSConnection):
        response_class = _Response


class _Adapter(HTTPAdapter):
    """Sends requests; gives answers of success alone, and those with bounds."""

    def __init__(self, context: ssl.SSLContext | None, check_host: bool, timeout_s: float) -> None:
        self._context = context
        self._check_host = check_host
        self._timeout_s = timeout_s
        super().__init__(pool_connections=1, pool_maxsize=1)

    def init_poolmanager(self, *arguments: Any, **named: Any) -> None:
        """Let `node.tls` say what TLS has to be like."""
        if self._context is not None:
            named["ssl_context"] = self._context
            named["assert_hostname"] = None if self._check_host else False
        super().init_poolmanager(*arguments, **named)
        self.poolmanager.pool_classes_by_scheme = {"http": _Pool, "https": _TLSPool}

    def cert_verify(self, conn: Any, _url: str, _verify: Any, _cert: Any) -> None:
        """Trust what the context trusts, and not requests' own collection besides."""
        conn.cert_reqs = "CERT_REQUIRED"

    def send(
        self, request: PreparedRequest, stream: bool = False, *_: Any, **__: Any
    ) -> requests.Response:
        """Send a request.

        Raises
        ------
        DICOMwebError
            If the answer is not one of success, or compressed.
        requests.RequestException
            If there is none.
        """
        # dicomweb-client sets Host without the port; what sends it then does it right.
        request.headers.pop("Host", None)
        # And it writes a space as forms do: to servers that go by RFC 3986, 2, that is a plus.
        path, mark, query = (request.url or "").partition("?")
        request.url = f"{path}{mark}{query.replace('+', '%20')}"
        response = super().send(request, stream, self._timeout_s)
        response.raw = _Body(response.raw, None if stream else LONGEST_ANSWER, self._timeout_s)
        if response.status_code not in _TAKEN:
            response.raw.close()
            raise refusal(response)
        if response.headers.get("Content-Encoding", "identity").lower() != "identity":
            response.raw.close()
            raise DICOMwebError("it compresses its answer, and was not asked to")
        return response


class Upload:
    """A body that a server is given piece by piece, with a bound on how long it takes.

    In one piece, `timeout_s` would be for all of it, however large it is and slow its line.

    Parameters
    ----------
    body : bytes
    timeout_s : float
    """

    def __init__(self, body: bytes, timeout_s: float) -> None:
        self._body = body
        self._timeout_s = timeout_s

    def __len__(self) -> int:
        return len(self._body)

    def __iter__(self) -> Iterator[bytes]:
        began = time.monotonic()
        for at in range(0, len(self), _PIECE):
            if time.monotonic() - began > self._timeout_s + at / SLOWEST:
                raise DICOMwebError(f"it takes less than {SLOWEST // 1024} kB a second")
            yield self._body[at : at + _PIECE]


class _Body:
    """What is read of an answer; the time that its reader takes does not count.

    Parameters
    ----------
    raw : object
        urllib3's.
    most : int, optional
        Bytes; None where the reader bounds it.
    timeout_s : float
    """

    def __init__(self, raw: Any, most: int | None, timeout_s: float) -> None:
        self._raw = raw
        self._most = most
        self._timeout_s = timeout_s

    def __getattr__(self, name: str) -> Any:
        return getattr(self._raw, name)

    def stream(self, *_: Any, **__: Any) -> Iterator[bytes]:
        """Give it as it comes, as requests asks for it.

        Raises
        ------
        DICOMwebError
            If it is too long or too slow.
        """
        length, waited = 0, 0.0
        while True:
            began = time.monotonic()
            piece = self._raw.read1(_PIECE)
            waited += time.monotonic() - began
            if not piece:
                return
            length += len(piece)
            if self._most is not None and length > self._most:
                raise DICOMwebError(f"its answer is longer than {self._most // 1024**2} MB")
            if waited > self._timeout_s + length / SLOWEST:
                raise DICOMwebError(f"its answer is slower than {SLOWEST // 1024} kB a second")
            yield piece
