"""What a server says, as DICOM JSON (PS3.18, F): nothing in it can be relied on."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydicom.tag import Tag

_LONGEST_TEXT = 1024


def _tag(keyword: str) -> str:
    return f"{int(Tag(keyword)):08X}"


class Match:
    """One of the things that a search has found.

    Parameters
    ----------
    attributes : object
        Of DICOM JSON; whatever else it is has no attributes.
    """

    def __init__(self, attributes: Any) -> None:
        self._attributes = attributes if isinstance(attributes, dict) else {}

    def text(self, keyword: str) -> str:
        """The first value of an attribute as text; empty where there is none."""
        value = _first(_values(self._attributes, keyword))
        if isinstance(value, dict):  # a person name
            value = value.get("Alphabetic")
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        is_one = isinstance(value, str | int | float) and not isinstance(value, bool)
        return str(value).strip(" \0")[:_LONGEST_TEXT] if is_one else ""

    def number(self, keyword: str) -> int | None:
        """A count; None where there is none that could be one."""
        text = self.text(keyword)
        return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None


def _values(attributes: Mapping[str, Any], keyword: str) -> list[Any]:
    element = attributes.get(_tag(keyword))
    values = element.get("Value") if isinstance(element, dict) else None
    return values if isinstance(values, list) else []


def _first(values: list[Any]) -> Any:
    return values[0] if values else None


@dataclass(frozen=True)
class StoreAnswer:
    """What a server says of the objects that it was sent (PS3.18, 10.5.3).

    Parameters
    ----------
    status : int
    stored : mapping
        SOP Instance UID to Warning Reason, None without one.
    failed : mapping
        SOP Instance UID to Failure Reason.
    """

    status: int
    stored: Mapping[str, int | None] = field(default_factory=dict)
    failed: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class WorkitemAnswer:
    """What a server says of a workitem that it has (PS3.18, 11.4.3).

    Parameters
    ----------
    status : int
        409 where it was there before.
    has_warning : bool
        Whether it has changed it.
    """

    status: int
    has_warning: bool


UNTOLD = 0x0110
"""Failure Reason where it tells none: processing failure (PS3.18, I.2.2)."""


def read_store_answer(status: int, content: bytes) -> StoreAnswer:
    """Read the answer to STOW-RS; what cannot be read says nothing of any object."""
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):  # XML, an empty body, a page for people
        return StoreAnswer(status)
    attributes = _first(found) if isinstance(found, list) else found
    if not isinstance(attributes, dict):
        return StoreAnswer(status)
    stored = {
        item.text("ReferencedSOPInstanceUID"): item.number("WarningReason")
        for item in map(Match, _values(attributes, "ReferencedSOPSequence"))
    }
    failed = {
        item.text("ReferencedSOPInstanceUID"): item.number("FailureReason") or UNTOLD
        for item in map(Match, _values(attributes, "FailedSOPSequence"))
    }
    return StoreAnswer(status, {u: w for u, w in stored.items() if u not in failed}, failed)
