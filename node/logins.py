"""Names with passwords: whether one is right, and how often somebody may try."""

import base64
import binascii
import hashlib
import hmac
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping

from node.passwords import hash_password, matches

MOST_FAILURES = 5
FAILURES_S = 300.0
"""Somebody who failed so often within this time has to wait, seconds."""

_MOST_KNOWN = 10_000
"""Addresses and users whose failures are kept in mind."""

LONGEST_NAME = 64
_LONGEST_PASSWORD = 256
_REMEMBERED_S = 300.0


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


class Logins:
    """Tells whether a name and a password are those of a user.

    Parameters
    ----------
    users : mapping of str to str
        Hashes by `hash_password`.
    clock : callable
        Seconds since 1970.
    by_name : bool
        Whether failures count against the name too, wherever they come from. Else nobody can
        keep a user out by trying its name.
    """

    def __init__(
        self,
        users: Mapping[str, str],
        clock: Callable[[], float] = time.time,
        *,
        by_name: bool = True,
    ) -> None:
        self.attempts = Attempts()
        self._users = users
        self._clock = clock
        self._by_name = by_name
        self._nobody = hash_password(secrets.token_hex()) if users else ""
        self._hashing = threading.Lock()  # each try takes 32 MB
        self._key = secrets.token_bytes(32)
        self._remembered: OrderedDict[bytes, tuple[str, float]] = OrderedDict()

    def is_right(self, name: str, password: str, address: str) -> bool:
        """Whether a password is that of a user.

        Raises
        ------
        TooManyFailures
            If too many were wrong just now; then it is not looked at.
        """
        keys = [f"from {address}"]
        if self._by_name:
            keys.append(f"user {name[:LONGEST_NAME]}")
        with self._hashing:  # so that tries at the same time are counted one by one
            wait_s = self.attempts.wait_s(*keys)
            if wait_s > 0:
                raise TooManyFailures(wait_s)
            stored = self._users.get(name)
            # Somebody who is not there takes as long as somebody who is.
            is_right = matches(password[:_LONGEST_PASSWORD], stored or self._nobody)
            if is_right and stored is not None:
                self.attempts.forget(*keys)
                return True
            self.attempts.failed(*keys)
        return False

    def remembered(self, authorization: str) -> str | None:
        """Whose basic authentication was right just now; takes no time to tell."""
        seen = self._remembered.get(self._seen(authorization))
        return seen[0] if seen is not None and seen[1] > self._clock() else None

    def of_basic(self, authorization: str, address: str) -> str | None:
        """Whose basic authentication (RFC 7617) it is; None if it is nobody's.

        Raises
        ------
        TooManyFailures
            As `is_right`.
        """
        name, password = named_in(authorization)
        if name is None or not self._users:
            return None
        known = self.remembered(authorization)
        if known is not None:
            return known
        if not self.is_right(name, password, address):
            return None
        self._remembered[self._seen(authorization)] = name, self._clock() + _REMEMBERED_S
        while len(self._remembered) > len(self._users) * 2:
            self._remembered.popitem(last=False)
        return name

    def _seen(self, authorization: str) -> bytes:
        return hmac.new(self._key, authorization.encode(), hashlib.sha256).digest()


def named_in(authorization: str) -> tuple[str | None, str]:
    """Name and password of a basic authentication; no name where it is none."""
    kind, _, encoded = authorization.partition(" ")
    if kind.lower() != "basic":
        return None, ""
    try:
        decoded = base64.b64decode(encoded.strip(), validate=True).decode()
    except (binascii.Error, UnicodeError, ValueError):
        return None, ""
    name, _, password = decoded.partition(":")
    return name, password
