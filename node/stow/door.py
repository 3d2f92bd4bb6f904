"""Who may send: from where, with whose password or token, and how many at the same time.

References
----------
Basic authentication: RFC 7617. Bearer tokens: RFC 6750. Status codes: RFC 9110, 15.5.
"""

import asyncio
import hashlib
import logging
import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http import HTTPStatus

from starlette.datastructures import Headers

from node.access import Crowd, Rejection, Seldom
from node.audit import Alert, Auditor, Authentication, Peer, Person
from node.listener import printable
from node.logins import Logins, TooManyFailures, named_in
from node.settings import DicomwebSettings, Settings
from node.settings.security import as_address

log = logging.getLogger(__name__)

ANYBODY = "DICOMWEB"
"""Who sends where nobody has to say who it is; stands where its AE title would."""

AGAIN_S = 30
"""Who comes when there is no room may come again after this time."""

_MOST_WAITING = 16
"""Passwords that wait to be looked at; each takes a tenth of a second."""

_SOON_S = 2


class Refusal(Exception):
    """A request that is not gone into.

    Parameters
    ----------
    status : int
        Of HTTP.
    detail : str
        What is wrong, for the sender's log.
    **headers : str
        Of the answer; `_` stands for `-`.
    """

    def __init__(self, status: int, detail: str, **headers: str) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


class Door:
    """Tells who a sender is, and lets in who may.

    Parameters
    ----------
    settings : Settings
    auditor : Auditor
    """

    def __init__(self, settings: Settings, auditor: Auditor) -> None:
        self._rules: DicomwebSettings = settings.dicomweb
        self._auditor = auditor
        # Not by name: whoever tries the name of a sender must not keep it out.
        self._logins = Logins(self._rules.users, by_name=False)
        self._tokens = {stored: name for name, stored in self._rules.tokens.items()}
        self._crowd = Crowd(settings.dicom)
        self._said = Seldom()
        self._waiting = 0
        self._hashing = ThreadPoolExecutor(1, "passwords")

    async def sender(self, headers: Headers, address: str) -> Peer:
        """Who sends a request.

        Raises
        ------
        Refusal
            If it may not.
        """
        if not self._calls_from_known(address):
            self._complain(address, "it calls from none of [dicomweb] networks")
            raise Refusal(HTTPStatus.FORBIDDEN, "not from there: see [dicomweb] networks")
        if "origin" in headers:  # a page of another site, by way of its reader's browser
            self._complain(address, "it is a browser")
            raise Refusal(HTTPStatus.FORBIDDEN, "not by a browser")
        if not self._rules.asks_who:
            return Peer(ANYBODY, ANYBODY, address)
        authorization = headers.get("authorization", "")
        name = self._of_bearer(authorization) or self._logins.remembered(authorization)
        if name is None and named_in(authorization)[0] is not None:
            name = await self._of_basic(authorization, address)
        if name is None:
            if authorization:
                self._failed(authorization, address)
            raise Refusal(
                HTTPStatus.UNAUTHORIZED, "who are you?", WWW_Authenticate=self._challenge()
            )
        return Peer(name, name, address)

    @contextmanager
    def inside(self, address: str) -> Iterator[None]:
        """Count a request as long as it lasts.

        Raises
        ------
        Refusal
            If there are too many.
        """
        who = object()
        rejection = self._crowd.enter(who, address)
        if rejection is not None:
            self._complain(address, rejection.text)
            is_fast = rejection is Rejection.TOO_FAST
            raise Refusal(
                HTTPStatus.TOO_MANY_REQUESTS if is_fast else HTTPStatus.SERVICE_UNAVAILABLE,
                "too many requests, come again",
                Retry_After=str(AGAIN_S if is_fast else _SOON_S),
            )
        try:
            yield
        finally:
            self._crowd.leave(who)

    def _calls_from_known(self, address: str) -> bool:
        if not self._rules.networks:
            return True
        try:
            found = as_address(address)
        except ValueError:  # it has gone already
            return False
        return any(found in network for network in self._rules.networks)

    def _of_bearer(self, authorization: str) -> str | None:
        kind, _, token = authorization.partition(" ")
        if kind.lower() != "bearer":
            return None
        # Nothing is learnt of a stored hash from how long it takes to miss it.
        return self._tokens.get(token_hash(token.strip()))

    async def _of_basic(self, authorization: str, address: str) -> str | None:
        if self._waiting >= _MOST_WAITING:
            raise Refusal(
                HTTPStatus.SERVICE_UNAVAILABLE, "too many logins", Retry_After=str(_SOON_S)
            )
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(
                self._hashing, self._logins.of_basic, authorization, address
            )
        except TooManyFailures as error:
            wait_s = math.ceil(error.wait_s)
            raise Refusal(
                HTTPStatus.TOO_MANY_REQUESTS, "too many failed logins", Retry_After=str(wait_s)
            ) from None
        finally:
            self._waiting -= 1

    def _challenge(self) -> str:
        basic = 'Basic realm="ichnode", charset="UTF-8"' if self._rules.users else ""
        bearer = 'Bearer realm="ichnode"' if self._rules.tokens else ""
        return ", ".join(filter(None, (basic, bearer)))

    def _failed(self, authorization: str, address: str) -> None:
        """Record that somebody said who it is, and was not believed."""
        # A name that is not looked at would be a new one each time: the log would have no end.
        said = named_in(authorization)[0] if self._rules.users else None
        name = printable(said or "") or "(a token)"
        if self._said.is_new((address, name)):
            log.warning("%s: %s was not let in: see [dicomweb.users] and tokens", address, name)
            self._auditor.user_authenticated(
                Person(name, address), Authentication.LOGIN, succeeded=False
            )

    def _complain(self, address: str, why: str) -> None:
        """Record what a sender did, once a minute at most."""
        if self._said.is_new((address, why)):
            peer = Peer(address, "", address)
            self._auditor.security_alert(Alert.REFUSED_PEER, f"a request was refused: {why}", peer)


def token_hash(token: str) -> str:
    """A token as `[dicomweb.tokens]` takes it: long enough not to be guessed from its hash."""
    return f"sha256${hashlib.sha256(token.encode()).hexdigest()}"
