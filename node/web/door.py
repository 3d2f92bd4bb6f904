"""Who may come in: by a login, by a proxy's word, by basic authentication, or from this machine."""

import base64
import binascii
import hashlib
import hmac
import ipaddress
import os
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from starlette.requests import HTTPConnection

from node.settings import WebSettings
from node.settings.security import as_address
from node.web.passwords import hash_password, matches

THIS_MACHINE = "(this machine)"
"""Who looks where nobody has to say who they are."""

KEY_FILE = "web.key"
COOKIE = "ichnode"

MOST_FAILURES = 5
FAILURES_S = 300.0
"""Somebody who failed so often within this time has to wait, seconds."""

_MOST_KNOWN = 10_000
"""Addresses and users whose failures are kept in mind."""

_LONGEST_NAME = 64
_LONGEST_PASSWORD = 256
_REMEMBERED_S = 300.0


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


class Attempts:
    """Failed logins, by who and from where.

    Parameters
    ----------
    clock : callable
        Gives seconds that never go back.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failures: OrderedDict[str, list[float]] = OrderedDict()
        self._lock = threading.Lock()

    def wait_s(self, *keys: str) -> float:
        """How long somebody has to wait until the next try, seconds."""
        with self._lock:
            waits = [0.0]
            for key in keys:
                failures = self._recent(key)
                if len(failures) >= MOST_FAILURES:
                    waits.append(failures[-MOST_FAILURES] + FAILURES_S - self._clock())
            return max(waits)

    def failed(self, *keys: str) -> None:
        """Note a failure."""
        with self._lock:
            for key in keys:
                self._failures[key] = [*self._recent(key), self._clock()][-MOST_FAILURES:]
                self._failures.move_to_end(key)
            while len(self._failures) > _MOST_KNOWN:
                self._failures.popitem(last=False)

    def forget(self, *keys: str) -> None:
        """Somebody has come in."""
        with self._lock:
            for key in keys:
                self._failures.pop(key, None)

    def _recent(self, key: str) -> list[float]:
        since = self._clock() - FAILURES_S
        return [at for at in self._failures.get(key, []) if at > since]


class TooManyFailures(Exception):
    """Somebody has to wait before the next try.

    Parameters
    ----------
    wait_s : float
    """

    def __init__(self, wait_s: float) -> None:
        super().__init__(wait_s)
        self.wait_s = wait_s


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
        self.attempts = Attempts()
        self._key = key
        self._clock = clock
        self._nobody = hash_password(secrets.token_hex()) if web.users else ""
        self._hashing = threading.Lock()  # each try takes 32 MB
        self._remembered: OrderedDict[bytes, tuple[str, float]] = OrderedDict()

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
        name = self._of_basic(request.headers.get("authorization", ""), address)
        return None if name is None else Visitor(name, address)

    def log_in(self, name: str, password: str, address: str) -> bool:
        """Whether a password is that of a user.

        Raises
        ------
        TooManyFailures
            If too many were wrong just now; then it is not looked at.
        """
        keys = (f"user {name[:_LONGEST_NAME]}", f"from {address}")
        with self._hashing:  # so that tries at the same time are counted one by one
            wait_s = self.attempts.wait_s(*keys)
            if wait_s > 0:
                raise TooManyFailures(wait_s)
            stored = self.web.users.get(name)
            # Somebody who is not there takes as long as somebody who is.
            is_right = matches(password[:_LONGEST_PASSWORD], stored or self._nobody)
            if is_right and stored is not None:
                self.attempts.forget(*keys)
                return True
            self.attempts.failed(*keys)
        return False

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
        return name if name and name.isprintable() and len(name) <= _LONGEST_NAME else None

    def _of_basic(self, authorization: str, address: str) -> str | None:
        kind, _, encoded = authorization.partition(" ")
        if kind.lower() != "basic" or not self.web.users:
            return None
        try:
            decoded = base64.b64decode(encoded.strip(), validate=True).decode()
        except (binascii.Error, UnicodeError, ValueError):
            return None
        name, _, password = decoded.partition(":")
        seen = hmac.new(self._key, decoded.encode(), hashlib.sha256).digest()
        remembered = self._remembered.get(seen)
        if remembered is not None and remembered[1] > self._clock():
            return remembered[0]
        if not self.log_in(name, password, address):
            return None
        self._remembered[seen] = name, self._clock() + _REMEMBERED_S
        while len(self._remembered) > len(self.web.users) * 2:
            self._remembered.popitem(last=False)
        return name

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
