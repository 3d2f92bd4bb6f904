"""Destinations and sources: what waits for them, what was given up, and who does not answer."""

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape

from node.ledger import DestinationState, SourceState
from node.show.common import iso


def destination_json(destination: DestinationState) -> dict[str, Any]:
    """One destination in `ichnode status --json`."""
    return {
        "name": destination.name,
        "waiting": destination.waiting,
        "given_up": destination.given_up,
        "failures": destination.failures,
        "rests_until": iso(destination.rests_until),
        "detail": destination.detail,
    }


def destinations(console: Console, found: Sequence[DestinationState]) -> None:
    """Destinations that something waits for, or was given up for."""
    for item in found:
        if item.waiting:
            why = f": {item.detail}" if item.detail else ""
            console.print(
                f"[yellow]{item.waiting} objects wait for {escape(item.name)}[/yellow]"
                f"{escape(why)}",
                highlight=False,
                soft_wrap=True,
            )
        if item.given_up:
            console.print(
                f"[red]{item.given_up} objects for {escape(item.name)} were given up:[/red] "
                f"`ichnode retry --destination {escape(item.name)}` sends them again",
                highlight=False,
                soft_wrap=True,
            )


def source_json(source: SourceState) -> dict[str, Any]:
    """One source in `ichnode status --json`."""
    return {
        "name": source.name,
        "waiting": source.waiting,
        "given_up": source.given_up,
        "polled_at": iso(source.polled_at),
        "answered_at": iso(source.answered_at),
        "failures": source.failures,
        "rests_until": iso(source.rests_until),
        "detail": source.detail,
        "fetched": source.fetched,
        "known": source.known,
        "failed": source.failed,
        "images": source.images,
    }


def sources(console: Console, found: Sequence[SourceState]) -> None:
    """Sources that are ill, that something is to be fetched from, or was given up."""
    for item in found:
        name = escape(item.name)
        if item.failures:
            console.print(
                f"[yellow]the source {name} does not answer[/yellow]: {escape(item.detail or '')}",
                highlight=False,
                soft_wrap=True,
            )
        if item.waiting:
            console.print(
                f"[yellow]{item.waiting} series are to be fetched from {name}[/yellow]",
                highlight=False,
                soft_wrap=True,
            )
        if item.given_up:
            console.print(
                f"[red]{item.given_up} series of {name} were not fetched:[/red] "
                "`ichnode retry --failed` begins again",
                highlight=False,
                soft_wrap=True,
            )
