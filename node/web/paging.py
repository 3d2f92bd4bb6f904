"""Which rows a worklist shows: read from an address, and written into the next one.

Whatever stands in an address is taken as far as it means something: a page of a
worklist is never an error.
"""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TypeVar
from urllib.parse import urlencode

from ml.labels import Label
from node.ledger import Place, Selection, State

T = TypeVar("T", bound=StrEnum)

ROWS = 40
MOST_ROWS = 500


class Window(StrEnum):
    """How far a worklist goes back."""

    DAY = "24h"
    WEEK = "7d"
    MONTH = "30d"
    ALL = "all"

    @property
    def words(self) -> str:
        """What people are shown."""
        return _WORDS[self]

    def since(self, now: float) -> float:
        """Where it begins, seconds since 1970."""
        return now - _HOURS[self] * 3600 if self in _HOURS else 0.0


_HOURS = {Window.DAY: 24, Window.WEEK: 7 * 24, Window.MONTH: 30 * 24}
_WORDS = {
    Window.DAY: "24 hours",
    Window.WEEK: "7 days",
    Window.MONTH: "30 days",
    Window.ALL: "All time",
}


class Span(StrEnum):
    """How far back the series were judged that figures are of."""

    MONTH = "30d"
    QUARTER = "90d"
    YEAR = "365d"
    ALL = "all"

    @property
    def words(self) -> str:
        """What people are shown."""
        return "All time" if self is Span.ALL else f"{self.days} days"

    @property
    def days(self) -> int | None:
        """None for all."""
        return None if self is Span.ALL else int(self.value[:-1])


@dataclass(frozen=True)
class Comparison:
    """The figures and the list of a page of feedback, as an address asks for it.

    Parameters
    ----------
    model : int, optional
        Its id in the ledger; None for the one that is configured.
    span : Span
    finding : Label
        That the course is of.
    after : Place, optional
        The row that the list goes on after.
    """

    model: int | None = None
    span: Span = Span.ALL
    finding: Label = Label.ANY
    after: Place | None = None

    @classmethod
    def of(cls, query: Mapping[str, str]) -> "Comparison":
        """What an address asks for."""
        model = query.get("model", "")
        return cls(
            int(model) if model.isascii() and model.isdigit() and len(model) < 18 else None,
            _one_of(Span, query.get("span")) or Span.ALL,
            _one_of(Label, query.get("finding")) or Label.ANY,
            read_place(query.get("after", "")),
        )

    def address(self, **changes: object) -> str:
        """The address of this page, or of one that differs; without changes of its place."""
        shown = replace(self, **({"after": None} | changes))  # type: ignore[arg-type]
        asked = {
            "model": None if shown.model is None else str(shown.model),
            "span": None if shown.span is Span.ALL else shown.span.value,
            "finding": None if shown.finding is Label.ANY else shown.finding.value,
            "after": None if shown.after is None else write_place(shown.after),
        }
        query = urlencode({name: value for name, value in asked.items() if value is not None})
        return f"/feedback?{query}" if query else "/feedback"


@dataclass(frozen=True)
class View:
    """A worklist as an address asks for it.

    Parameters
    ----------
    window : Window
    state : State, optional
    only_flagged : bool
    newest_first : bool
        Else the flagged ones come first.
    priority : str, optional
        The name of the rule that gives it.
    after : Place, optional
        The row that it goes on after.
    """

    window: Window = Window.DAY
    state: State | None = None
    only_flagged: bool = False
    newest_first: bool = False
    priority: str | None = None
    after: Place | None = None

    @classmethod
    def of(cls, query: Mapping[str, str]) -> "View":
        """What an address asks for."""
        return cls(
            _one_of(Window, query.get("window")) or Window.DAY,
            _one_of(State, query.get("state")),
            query.get("flagged") == "1",
            query.get("order") == "newest",
            query.get("priority", "")[:64] or None,
            read_place(query.get("after", "")),
        )

    def selection(self, now: float | None = None) -> Selection:
        """What to ask of the ledger."""
        since = self.window.since(time.time() if now is None else now)
        return Selection(self.state, self.only_flagged, not self.newest_first, since, self.priority)

    def address(self, **changes: object) -> str:
        """The address of this worklist, or of one that differs; without changes of its place.

        Parameters
        ----------
        **changes
            Fields that are to be different.
        """
        view = replace(self, **({"after": None} | changes))  # type: ignore[arg-type]
        asked = {
            "window": None if view.window is Window.DAY else view.window.value,
            "state": None if view.state is None else view.state.value,
            "flagged": "1" if view.only_flagged else None,
            "order": "newest" if view.newest_first else None,
            "priority": view.priority,
            "after": None if view.after is None else write_place(view.after),
        }
        query = urlencode({name: value for name, value in asked.items() if value is not None})
        return f"/?{query}" if query else "/"


def write_place(place: Place) -> str:
    """A place as it stands in an address."""
    return f"{place.is_flagged:d}_{place.updated_at!r}_{place.id}"


def read_place(text: str) -> Place | None:
    """A place that stood in an address; None if it is none."""
    part, _, rest = text.partition("_")
    at, _, number = rest.partition("_")
    if part not in ("0", "1") or not number.isascii() or not number.isdigit() or len(number) > 18:
        return None
    try:
        updated_at = float(at)
    except ValueError:
        return None
    return Place(part == "1", updated_at, int(number)) if math.isfinite(updated_at) else None


def _one_of(kind: type[T], value: str | None) -> T | None:
    return kind(value) if value in list(kind) else None
