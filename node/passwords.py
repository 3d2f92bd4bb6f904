"""Passwords as hashes: scrypt (RFC 7914), which costs memory to try."""

import base64
import hashlib
import hmac
import secrets

COST = 15
"""Base-2 logarithm of scrypt's N: 32 MB and about 0.1 s a try."""

SHORTEST = 10
"""Characters of a password."""

_BLOCK, _LENGTH = 8, 32


def hash_password(password: str) -> str:
    """A password as `[web.users]` takes it: cost, salt and hash."""
    salt = secrets.token_bytes(16)
    return f"scrypt${COST}${_text(salt)}${_text(_scrypt(password, salt, COST))}"


def matches(password: str, stored: str) -> bool:
    """Whether a password is the one that was hashed; takes as long whether or not it is."""
    _, cost, salt, expected = stored.split("$")
    found = _scrypt(password, base64.b64decode(salt), int(cost))
    return hmac.compare_digest(found, base64.b64decode(expected))


def _scrypt(password: str, salt: bytes, cost: int) -> bytes:
    n = 2**cost
    return hashlib.scrypt(
        password.encode(), salt=salt, n=n, r=_BLOCK, p=1, dklen=_LENGTH, maxmem=256 * n * _BLOCK
    )


def _text(value: bytes) -> str:
    return base64.b64encode(value).decode()
