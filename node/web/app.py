"""The page and the JSON as one application."""

import logging
import math
from importlib.metadata import version
from pathlib import Path

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.staticfiles import StaticFiles
from sqlalchemy.exc import SQLAlchemyError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp

from ml.errors import first_line
from node.health import is_ready, ready
from node.logins import TooManyFailures
from node.metrics import CONTENT_TYPE
from node.web import api, pages
from node.web.asking import Asking, NotFromHere, NotIdentified
from node.web.desk import LedgerAway, NotThere
from node.web.guard import Guard

log = logging.getLogger(__name__)

STATIC = Path(__file__).parent / "static"


def make_app(asking: Asking) -> ASGIApp:
    """Make the application.

    Parameters
    ----------
    asking : Asking
        What it is made from.
    """
    app = FastAPI(
        title="ichnode",
        version=version("ichnode"),
        description="A DICOM node for intracranial hemorrhage on head CT. Not for clinical use.",
        openapi_url=None,  # below, behind the door
        docs_url=None,  # their scripts come from elsewhere
        redoc_url=None,
    )
    app.state.asking = asking
    app.mount("/static", StaticFiles(directory=STATIC))
    app.include_router(api.router)
    app.include_router(pages.router, include_in_schema=False)
    if asking.desk.settings.web.metrics:
        _open_to_monitors(app)
    _handle_errors(app)
    return Guard(app, asking.desk.settings.web)


def _open_to_monitors(app: FastAPI) -> None:
    """What monitors ask: no login, no patient, no name but those of parts."""

    @app.get("/health/live", include_in_schema=False)
    def live() -> PlainTextResponse:
        return PlainTextResponse("alive\n")

    @app.get("/health/ready", include_in_schema=False)
    def is_it_ready(request: Request) -> PlainTextResponse:
        desk = request.app.state.asking.desk
        findings = ready(desk.settings, desk.ledger)
        said = "".join(f"{f.subject}: {'well' if f.trouble is None else 'ill'}\n" for f in findings)
        return PlainTextResponse(said, 200 if is_ready(findings) else 503)

    @app.get("/metrics", include_in_schema=False)
    def metrics(request: Request) -> Response:
        desk = request.app.state.asking.desk
        return Response(desk.metrics(), media_type=CONTENT_TYPE)


def _handle_errors(app: FastAPI) -> None:
    @app.exception_handler(NotIdentified)
    def who_are_you(request: Request, _error: Exception) -> Response:
        if _is_api(request):
            basic = {"WWW-Authenticate": 'Basic realm="ichnode", charset="UTF-8"'}
            return JSONResponse({"detail": "who are you?"}, 401, basic)
        return RedirectResponse(pages.login_address(request), 303)

    @app.exception_handler(NotFromHere)
    def not_from_here(request: Request, _error: Exception) -> Response:
        return _told(request, 403, "Not from here", "No page of the node asked for this.")

    @app.exception_handler(TooManyFailures)
    def too_many(request: Request, error: Exception) -> Response:
        wait_s = math.ceil(getattr(error, "wait_s", 0))
        answer = _told(
            request, 429, "Too many tries", f"Wait for {wait_s} seconds, then try again."
        )
        answer.headers["Retry-After"] = str(wait_s)
        return answer

    @app.exception_handler(NotThere)
    def not_there(request: Request, error: Exception) -> Response:
        return _told(request, 404, "Not there", f"{str(error).capitalize()}.")

    @app.exception_handler(HTTPException)
    def http(request: Request, error: Exception) -> Response:
        status = getattr(error, "status_code", 500)
        if status == 404:
            return _told(request, 404, "Not there", "There is no such page.")
        return _told(request, status, "Not so", str(getattr(error, "detail", "")))

    @app.exception_handler(RequestValidationError)
    def not_understood(request: Request, error: Exception) -> Response:
        if not _is_api(request):
            return _told(request, 404, "Not there", "There is no such page.")
        assert isinstance(error, RequestValidationError)
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        return JSONResponse({"detail": f"{where}: {first['msg']}"}, 422)

    @app.exception_handler(LedgerAway)
    @app.exception_handler(SQLAlchemyError)
    def away(request: Request, error: Exception) -> Response:
        log.error("the ledger is away: %s", first_line(getattr(error, "orig", None) or error))
        return _told(
            request,
            503,
            "The ledger is away",
            "The node's database does not answer. Nothing is lost: as soon as it is back, "
            "this page is, too. `ichnode check` says what is wrong.",
        )

    @app.exception_handler(Exception)
    def unexpected(request: Request, _error: Exception) -> Response:
        return _told(request, 500, "That went wrong", "The node's log says more.")


def _is_api(request: Request) -> bool:
    return request.url.path.startswith(("/api/", "/health/", "/metrics"))


def _told(request: Request, status: int, title: str, text: str) -> Response:
    """Say what is wrong, as a page or as JSON."""
    if _is_api(request):
        return JSONResponse({"detail": text}, status)
    return pages.message(request, status, title, text)
