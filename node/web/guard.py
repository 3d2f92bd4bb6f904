"""What every request and every answer has to keep to, whatever page it is for.

A page of another site must not reach the node through a visitor's browser: the name that
the browser calls is checked (DNS rebinding), and so is where a form comes from (cross-site
request forgery; `Origin`: RFC 6454, `Sec-Fetch-Site`: W3C Fetch Metadata).
"""

import logging
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from node.settings import WebSettings

log = logging.getLogger(__name__)

MOST_BODY = 16 * 1024
"""Bytes of a form."""

LOOPBACK = ("localhost", "127.0.0.1", "[::1]")

POLICY = (
    "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'"
)

HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",  # with none at all browsers send forms as of nowhere
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}

OPEN = ("/health/", "/metrics")
"""What monitors ask without a login and by any name: counts alone."""

_SAFE = ("GET", "HEAD")


class Guard:
    """Turns requests away that no page of the node sent, and marks every answer.

    Parameters
    ----------
    app : callable
        The application.
    web : WebSettings
    """

    def __init__(self, app: ASGIApp, web: WebSettings) -> None:
        self._app = app
        self._names = frozenset(web.names)
        self._any_name = not web.names and web.asks_who

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request (ASGI)."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        has_begun = False

        async def marked(message: Message) -> None:
            nonlocal has_begun
            has_begun = True
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
                is_static = scope["path"].startswith("/static/")
                # What tells of patients stays on no workstation's disk.
                headers["Cache-Control"] = "no-cache" if is_static else "no-store"
                if scope["scheme"] == "https":
                    headers["Strict-Transport-Security"] = "max-age=31536000"
            await send(message)

        refusal = self._refusal(scope)
        if refusal is None:
            try:
                await self._app(scope, receive, marked)
            except Exception as error:  # mostly answered by now; a trace may quote the patient
                is_asked_for = log.isEnabledFor(logging.DEBUG)
                log.error("unexpected %s", type(error).__name__, exc_info=is_asked_for)
                if not has_begun:
                    await PlainTextResponse("That went wrong\n", 500)(scope, receive, marked)
        else:
            status, why = refusal
            await PlainTextResponse(f"{why}\n", status)(scope, receive, marked)

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        headers = Headers(scope=scope)
        host = headers.get("host", "").lower()
        if not self._is_called_so(host) and not scope["path"].startswith(OPEN):
            return 421, "the node is not called so: see [web] names"
        if scope["method"] in _SAFE:
            return None
        if not _is_from_here(headers, host):
            return 403, "this was not sent by a page of the node"
        length = headers.get("content-length", "0")
        if not length.isdigit() or int(length) > MOST_BODY or "transfer-encoding" in headers:
            return 413, "that is too much"
        return None

    def _is_called_so(self, host: str) -> bool:
        name = host.rpartition(":")[0] if ":" in host.rpartition("]")[2] else host
        if name in LOOPBACK:
            return True
        return self._any_name or host in self._names or name in self._names


def _is_from_here(headers: Headers, host: str) -> bool:
    """Whether a request that changes something comes from a page of the node, or from no page.

    Every browser of today says where a form comes from; who says nothing is none, and then
    has to say by something else than a cookie who it is (`is_by_browser`).
    """
    origin = headers.get("origin")
    if origin is not None:
        return origin != "null" and urlsplit(origin).netloc.lower() == host
    return headers.get("sec-fetch-site", "same-origin") == "same-origin"


def is_by_browser(headers: Headers) -> bool:
    """Whether a request says where it comes from, as browsers do."""
    return "origin" in headers or headers.get("sec-fetch-site") == "same-origin"
