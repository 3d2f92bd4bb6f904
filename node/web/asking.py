"""What every page and every answer stands on: desk, door and trail, and who asks."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends
from starlette.requests import Request

from node.web.desk import Desk
from node.web.door import Door, Visitor
from node.web.guard import is_by_browser
from node.web.trail import Trail


class NotIdentified(Exception):
    """Somebody has to say who they are."""


class NotFromHere(Exception):
    """Something was asked for that no page of the node asked for."""


@dataclass(frozen=True)
class Asking:
    """What pages and answers are made from; the application's ``state.asking``."""

    desk: Desk
    door: Door
    trail: Trail


def asking(request: Request) -> Asking:
    """What the application that gets a request was made with."""
    found: Asking = request.app.state.asking
    return found


def visitor(request: Request) -> Visitor:
    """Who asks.

    Raises
    ------
    NotIdentified
        If that is not known.
    NotFromHere
        If a browser was made to ask for something by another site's page.
    TooManyFailures
        If somebody tries passwords.
    """
    found = asking(request).door.visitor(request)
    if found is None:
        raise NotIdentified
    changes = request.method not in ("GET", "HEAD")
    if found.by_cookie and changes and not is_by_browser(request.headers):
        raise NotFromHere
    return found


Here = Annotated[Asking, Depends(asking)]
Who = Annotated[Visitor, Depends(visitor)]
