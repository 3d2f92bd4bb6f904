"""[[routes]]: which results go where."""

from collections.abc import Iterator, Sequence
from enum import StrEnum

from pydantic import Field

from ml.labels import Label
from node.settings.condition import Condition
from node.settings.destination import Destination
from node.settings.fields import Misfit
from node.settings.kind import Kind
from node.settings.report import Notices, ReportSettings
from node.settings.security import NAME

SENDER = "sender"
"""Stands in a route for whoever sent the series."""


class Flagged(StrEnum):
    """Whether a route is for what the model has flagged alone."""

    ANY = "any"
    ONLY = "only"


class Route(Condition):
    """Where results of some series go; all routes that fit count together."""

    name: str = Field(pattern=NAME, description="what you call it", examples=["stroke"])
    to: tuple[str, ...] = Field(
        min_length=1,
        description="names of destinations; sender: back to who sent the series",
        examples=[["pacs", "sender"]],
    )
    flagged: Flagged = Field(
        Flagged.ANY, description="any, or only what the model's operating point flags"
    )
    findings: tuple[Label, ...] = Field(
        (), description="only what is flagged for one of these", examples=[["subdural"]]
    )
    kinds: tuple[Kind, ...] = Field(
        (),
        description="of objects: sr, slices, text, sc, ko, pr, map, notice, ups; empty: all",
        examples=[["sr", "notice"]],
    )

    @property
    def is_for_flagged(self) -> bool:
        """Whether it fits nothing that is not flagged."""
        return self.flagged is Flagged.ONLY or bool(self.findings)

    @property
    def told(self) -> str:
        """Which series it is for, in words."""
        asked = [
            f"{key}: {', '.join(values)}"
            for key in Condition.model_fields
            if (values := getattr(self, key))
        ]
        if self.findings:
            asked.append(f"flagged for {', '.join(self.findings)}")
        elif self.is_for_flagged:
            asked.append("flagged")
        return "; ".join(asked) or "all series"


def misfits(
    routes: Sequence[Route],
    destinations: Sequence[Destination],
    callable_titles: Sequence[str],
    report: ReportSettings,
) -> Iterator[Misfit]:
    """What in routes cannot be, or can never come to anything.

    Parameters
    ----------
    routes : sequence of Route
    destinations : sequence of Destination
    callable_titles : sequence of str
        AE titles of senders whose address is known.
    report : ReportSettings
        Which results are made.
    """
    names = [destination.name for destination in destinations]
    unmade = dict(_unmade(report))
    with_ups = {destination.name for destination in destinations if destination.ups}
    for number, route in enumerate(routes):
        at = ("routes", number)
        for name in route.to:
            if name not in (*names, SENDER):
                known = ", ".join((*names, SENDER))
                yield Misfit((*at, "to"), name, f"takes names of [[destinations]]: {known}")
        if len(set(route.to)) != len(route.to):
            yield Misfit((*at, "to"), list(route.to), "takes each name once")
        for kind in route.kinds:
            if kind in unmade:
                yield Misfit(
                    (*at, "kinds"), kind.value, f"takes kinds that are made: {unmade[kind]}"
                )
            if kind is Kind.WORKITEM and not with_ups & set(route.to):
                yield Misfit(
                    (*at, "kinds"), kind.value, "takes a destination in `to` that has ups = true"
                )
        if route.is_for_flagged and set(route.kinds) == {Kind.NOTICE}:
            key = "findings" if route.findings else "flagged"
            got = [label.value for label in route.findings] or route.flagged.value
            yield Misfit((*at, key), got, "takes other kinds than notice, which is never flagged")
        if SENDER in route.to:
            yield from _uncallable(at, route, callable_titles)


def _unmade(report: ReportSettings) -> Iterator[tuple[Kind, str]]:
    """Kinds that no series gets, and why."""
    for kind, is_made, key in (
        (Kind.TEXT_REPORT, report.text_report, "text_report"),
        (Kind.KEY_OBJECTS, report.key_objects, "key_objects"),
        (Kind.PRESENTATION_STATE, report.presentation_state, "presentation_state"),
        (Kind.EVIDENCE_MAP, report.evidence_maps, "evidence_maps"),
    ):
        if not is_made:
            yield kind, f"[report] {key} is false"
    if report.not_analyzed is Notices.NONE:
        yield Kind.NOTICE, "[report] not_analyzed is none"


def _uncallable(
    at: tuple[str | int, ...], route: Route, callable_titles: Sequence[str]
) -> Iterator[Misfit]:
    wanted = "takes a sender with an address: [[peers]] with host and port"
    if not callable_titles:
        yield Misfit((*at, "to"), SENDER, wanted)
    for title in route.senders:
        if not set(title) & set("*?[") and title not in callable_titles:
            yield Misfit((*at, "senders"), title, f"{wanted}, where `to` has {SENDER}")
