"""The service as an application: what is asked for, and what is answered.

References
----------
Store Transaction: DICOM PS3.18, 10.5. Retrieve Capabilities: PS3.18, 8.9. ASGI 3.
"""

import asyncio
import json
import logging
import re
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus

from h11 import LocalProtocolError
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from node.access import Seldom
from node.audit import Auditor
from node.errors import NotStoredError
from node.health import is_ready, ready_to_take
from node.intake import Intake, transfer_syntaxes
from node.ledger import Ledger
from node.listener import SLOWEST_RATE, Memory
from node.multipart import UnclearError
from node.settings import Settings
from node.spool import Spool, is_uid
from node.stow.answer import WRITERS
from node.stow.door import AGAIN_S, Door, Refusal
from node.stow.media import UnsupportedError, answer_type, boundary_of
from node.stow.store import Desk, SlowError, Store

log = logging.getLogger(__name__)

ROOT = "/dicom-web"

_STUDIES = re.compile(rf"{ROOT}/studies(?:/([^/]*))?/?")

MARKS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}

CAPABILITIES = f"""\
<?xml version="1.0" encoding="UTF-8"?>
<application xmlns="http://wadl.dev.java.net/2009/02">
  <resources base="{ROOT}/">
    <resource path="studies">
      <method name="POST" id="StoreInstances">
        <request>
          <param name="Accept" style="header" default="application/dicom+json">
            <option value="application/dicom+json" mediaType="application/dicom+json"/>
            <option value="application/dicom+xml" mediaType="application/dicom+xml"/>
          </param>
          <representation mediaType="multipart/related; type=&quot;application/dicom&quot;"/>
          <representation mediaType="application/dicom"/>
        </request>
      </method>
      <resource path="{{StudyInstanceUID}}">
        <method href="#StoreInstances"/>
      </resource>
    </resource>
  </resources>
</application>
"""


class GoneError(Exception):
    """A sender that has gone away in the middle."""


class Stow:
    """The application.

    Parameters
    ----------
    settings : Settings
    spool : Spool
    ledger : Ledger
    auditor : Auditor
    """

    def __init__(self, settings: Settings, spool: Spool, ledger: Ledger, auditor: Auditor) -> None:
        self.settings = settings
        self._ledger = ledger
        self._door = Door(settings, auditor)
        self._said = Seldom()
        limits = settings.dicom
        self._desk = Desk(
            intake=Intake(settings, spool, ledger, auditor),
            memory=Memory(limits.max_receiving_mb * 1024**2),
            longest=limits.max_instance_mb * 1024**2,
            syntaxes=frozenset(map(str, transfer_syntaxes())),
            threads=ThreadPoolExecutor(limits.max_associations, "store"),
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request (ASGI)."""
        if scope["type"] != "http":
            return
        headers, address = Headers(scope=scope), _address(scope)
        try:
            response = await self._answered(scope, headers, receive)
        except Refusal as refusal:
            if refusal.status != HTTPStatus.UNAUTHORIZED:  # most begin without a password
                self._say(address, f"is answered {refusal.status}: {refusal.detail}")
            response = _told(refusal.status, refusal.detail)
            response.headers.update(refusal.headers)
        except GoneError:
            self._say(address, "went away in the middle; what was whole is kept")
            response = _told(HTTPStatus.BAD_REQUEST, "cut off")  # to nobody
        except Exception as error:  # a trace may quote the patient
            is_asked_for = log.isEnabledFor(logging.DEBUG)
            log.error("unexpected %s", type(error).__name__, exc_info=is_asked_for)
            response = _told(HTTPStatus.INTERNAL_SERVER_ERROR, "that went wrong")
        response.headers.update(MARKS)
        try:
            await response(scope, receive, send)
        except LocalProtocolError:
            self._say(address, "broke off the request by what is no HTTP")

    def _say(self, address: str, what: str) -> None:
        """Tell what a sender did, once a minute at most: whoever floods the node not its log."""
        if self._said.is_new((address, what)):
            log.warning("%s %s", address, what)

    async def _answered(self, scope: Scope, headers: Headers, receive: Receive) -> Response:
        path, method = str(scope["path"]), str(scope["method"])
        if path in ("/health/live", "/health/ready"):
            _allow(method, "GET", "HEAD")
            return await self._health(path)
        sender = await self._door.sender(headers, _address(scope))
        if path.rstrip("/") == ROOT:
            _allow(method, "GET", "HEAD", "OPTIONS")
            return Response(CAPABILITIES, media_type="application/vnd.sun.wadl+xml")
        found = _STUDIES.fullmatch(path)
        if found is None:
            raise Refusal(HTTPStatus.NOT_FOUND, f"there is nothing here but {ROOT}/studies")
        _allow(method, "POST")
        study = found[1] or None
        if study is not None and not is_uid(study):
            raise Refusal(HTTPStatus.BAD_REQUEST, "the address names no study: that is no UID")
        kind = answer_type(headers.getlist("accept"))
        if kind is None:
            raise Refusal(HTTPStatus.NOT_ACCEPTABLE, f"gives {', '.join(WRITERS)}")
        boundary = _boundary(headers)
        with self._door.inside(sender.address):
            try:
                self._desk.intake.check_room()
            except NotStoredError:
                raise Refusal(
                    HTTPStatus.SERVICE_UNAVAILABLE, "no room now", Retry_After=str(AGAIN_S)
                ) from None
            body = self._body(receive)
            answer = await Store(self._desk, sender, study).run(body, boundary)
        if answer.trouble:
            self._say(sender.name, f"sent what was not read to its end: {answer.trouble}")
        if not answer.count:
            return _told(answer.status, answer.trouble or "it has no instances")
        response = Response(WRITERS[kind](answer), answer.status, media_type=kind)
        if answer.status == HTTPStatus.SERVICE_UNAVAILABLE:
            response.headers["Retry-After"] = str(AGAIN_S)
        return response

    async def _health(self, path: str) -> Response:
        """Whether the process answers, and whether it can take instances."""
        if path == "/health/live":
            return Response("alive\n", media_type="text/plain")
        findings = await asyncio.get_running_loop().run_in_executor(
            None, ready_to_take, self.settings, self._ledger
        )
        said = "".join(f"{f.subject}: {'well' if f.trouble is None else 'ill'}\n" for f in findings)
        status = HTTPStatus.OK if is_ready(findings) else HTTPStatus.SERVICE_UNAVAILABLE
        return Response(said, status, media_type="text/plain")

    async def _body(self, receive: Receive) -> AsyncIterator[bytes]:
        """What comes of a request, as long as it comes fast enough.

        Raises
        ------
        GoneError
            If the sender is gone.
        SlowError
            If nothing comes, or hardly anything.
        """
        idle_s = self.settings.dicom.idle_s
        clock = asyncio.get_running_loop().time
        waited, size = 0.0, 0
        while True:
            begun = clock()
            try:
                async with asyncio.timeout(idle_s):
                    message = await receive()
            except TimeoutError:
                raise SlowError("nothing came any more") from None
            waited += clock() - begun
            if message["type"] == "http.disconnect":
                raise GoneError
            data = message.get("body", b"")
            size += len(data)
            if waited > idle_s + size / SLOWEST_RATE:
                raise SlowError("it came too slowly")
            if data:
                yield data
            if not message.get("more_body", False):
                return


def _boundary(headers: Headers) -> str | None:
    """What parts the body.

    Raises
    ------
    Refusal
        If it is none that can be taken.
    """
    if headers.get("content-encoding", "identity").lower() != "identity":
        raise Refusal(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "takes no Content-Encoding")
    try:
        return boundary_of(headers.get("content-type", ""))
    except UnsupportedError as error:
        raise Refusal(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, str(error)) from None
    except UnclearError as error:
        raise Refusal(HTTPStatus.BAD_REQUEST, str(error)) from None


def _allow(method: str, *methods: str) -> None:
    if method not in methods:
        raise Refusal(
            HTTPStatus.METHOD_NOT_ALLOWED,
            "instances are sent here by POST, and none are given",
            Allow=", ".join(methods),
        )


def _told(status: int, detail: str) -> Response:
    body = json.dumps({"detail": detail})
    return Response(body, status, media_type="application/json")


def _address(scope: Scope) -> str:
    client = scope.get("client")
    return str(client[0]) if client else ""
