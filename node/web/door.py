"""Who may come in: by a login, by a proxy's word, by basic authentication, or from this machine."""

import base64
import hashlib
import hmac
import ipaddress
import os
import secrets
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from starlette.requests import HTTPConnection

from node.logins import LONGEST_NAME, Logins
from node.settings import WebSettings
from node.settings.security import as_address

THIS_MACHINE = "(this machine)"
"""Who looks where nobody has to say who they are."""

KEY_FILE = "web.key"
COOKIE = "ichnode"


@dataclass(frozen=True)
class Visitor:
    """Who looks.

    Parameters
    ----------
    name : str
    address : str
        Where from.
    by_cookie : bool
        Whether a browser says so by itself at every request.
    """

    name: str
    address: str
    by_cookie: bool = False


class Door:
    """Tells who a visitor is, and lets in who may.

    Parameters
    ----------
    web : WebSettings
    key : bytes
        Signs the cookies; whoever has it may come in as anybody.
    clock : callable
        Seconds since 1970.
    """

    def __init__(
        self, web: WebSettings, key: bytes, clock: Callable[[], float] = time.time
    ) -> None:
        self.web = web
        self.logins = Logins(web.users, clock)
        self._key = key
        self._clock = clock

    def visitor(self, request: HTTPConnection) -> Visitor | None:
        """Who sends a request; None where that is not said, or not proved.

        Raises
        ------
        TooManyFailures
            If somebody tries passwords.
        """
        address = self.address(request)
        if not self.web.asks_who:
            return Visitor(THIS_MACHINE, address)
        named = self._named_by_proxy(request)
        if named is not None:
            return Visitor(named, address)
        name = self._of_cookie(request.cookies.get(self.cookie_name(request), ""))
        if name is not None:
            return Visitor(name, address, by_cookie=True)
        name = self.logins.of_basic(request.headers.get("authorization", ""), address)
        return None if name is None else Visitor(name, address)

    def log_in(self, name: str, password: str, address: str) -> bool:
        """Whether a password is that of a user.

        Raises
        ------
        TooManyFailures
            If too many were wrong just now; then it is not looked at.
        """
        return self.logins.is_right(name, password, address)

    # -- cookies ---------------------------------------------------------------

    def cookie_name(self, request: HTTPConnection) -> str:
        """What the cookie is called: with TLS a name that no other host can set."""
        return f"__Host-{COOKIE}" if self.is_secure(request) else COOKIE

    def cookie(self, name: str) -> str:
        """What a user shows from now on; it ends after a time, and with the password."""
        until = int(self._clock() + self.web.session_h * 3600)
        content = f"{base64.urlsafe_b64encode(name.encode()).decode()}.{until}"
        return f"{content}.{self._signature(content, name)}"

    def _of_cookie(self, cookie: str) -> str | None:
        content, _, signature = cookie.rpartition(".")
        encoded, _, until = content.partition(".")
        try:
            name = base64.urlsafe_b64decode(encoded.encode()).decode()
            is_over = int(until) < self._clock()
        except (ValueError, UnicodeError):
            return None
        if is_over or name not in self.web.users:
            return None
        expected = self._signature(content, name)
        return name if hmac.compare_digest(expected.encode(), signature.encode()) else None

    def _signature(self, content: str, name: str) -> str:
        signed = f"{content}\n{self.web.users[name]}"
        return hmac.new(self._key, signed.encode(), hashlib.sha256).hexdigest()

    # -- others who say who it is -------------------------------------------------

    def _named_by_proxy(self, request: HTTPConnection) -> str | None:
        if self.web.user_header is None or not self._is_proxy(_peer(request)):
            return None
        values = request.headers.getlist(self.web.user_header)
        name = values[0].strip() if len(values) == 1 else ""
        return name if name and name.isprintable() and len(name) <= LONGEST_NAME else None

    # -- where it comes from ---------------------------------------------------------

    def address(self, request: HTTPConnection) -> str:
        """Where a request comes from; of a trusted proxy's, where that got it from."""
        address = _peer(request)
        told = request.headers.get("x-forwarded-for", "").split(",")
        while told and self._is_proxy(address):
            before = told.pop().strip()
            try:
                address = str(ipaddress.ip_address(before))
            except ValueError:
                break
        return address

    def is_secure(self, request: HTTPConnection) -> bool:
        """Whether the browser speaks TLS, with the node or with a trusted proxy."""
        if request.url.scheme == "https":
            return True
        told = request.headers.get("x-forwarded-proto", "")
        return told == "https" and self._is_proxy(_peer(request))

    def _is_proxy(self, address: str) -> bool:
        try:
            found = as_address(address)
        except ValueError:
            return False
        return any(found in network for network in self.web.trusted_proxies)


def _peer(request: HTTPConnection) -> str:
    return request.client.host if request.client is not None else ""


def signing_key(home: Path) -> bytes:
    """The key of this node's cookies; made at the first start.

    Raises
    ------
    OSError
        If it can be neither read nor written.
    """
    path = home / KEY_FILE
    with suppress(FileNotFoundError):
        key = path.read_bytes()
        if len(key) >= 32:
            return key
    home.mkdir(parents=True, exist_ok=True)
    part = home / f".{KEY_FILE}.{secrets.token_hex(4)}.part"
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(secrets.token_bytes(32))
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(part, path)  # of two that start at once, the second takes the first one's
    except FileExistsError:
        if len(path.read_bytes()) < 32:
            part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return path.read_bytes()
