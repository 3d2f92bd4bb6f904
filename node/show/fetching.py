"""What became of series at their sources, and what `ichnode fetch` has done."""

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape

from node.ledger import Fetch, FetchState
from node.show.common import iso

if TYPE_CHECKING:  # it brings the network, which `ichnode show` does not need
    from node.fetch import Outcome

_FETCH_STYLE = {
    FetchState.WANTED: "yellow",
    FetchState.FETCHING: "yellow",
    FetchState.FETCHED: "green",
    FetchState.KNOWN: "default",
    FetchState.REFUSED: "dim",
    FetchState.FAILED: "red",
}


def fetch_json(fetch: Fetch) -> dict[str, Any]:
    """What became of a series at a source, in `ichnode show --json`."""
    return {
        "source": fetch.source,
        "study_instance_uid": fetch.study_instance_uid,
        "series_instance_uid": fetch.series_instance_uid,
        "state": fetch.state.value,
        "counted": fetch.counted,
        "attempts": fetch.attempts,
        "next_try_at": iso(fetch.next_try_at),
        "updated_at": iso(fetch.updated_at),
        "detail": fetch.detail,
    }


def fetches(console: Console, found: Sequence[Fetch]) -> None:
    """What became of series at their sources."""
    for item in found:
        counted = "" if item.counted is None else f", which counts {item.counted} images"
        why = f": {escape(item.detail)}" if item.detail else ""
        console.print(
            f"{item.series_instance_uid}\n  {item.state} at the source {escape(item.source)}"
            f"{counted}{why}",
            highlight=False,
            soft_wrap=True,
        )


def is_lacking(outcome: "Outcome") -> bool:
    """Whether a series was to be fetched and something of it did not come."""
    return outcome.state is FetchState.FAILED or outcome.is_left


def fetched_json(outcomes: "Sequence[Outcome]", trouble: str | None) -> dict[str, Any]:
    """What `ichnode fetch --json` prints."""
    return {
        "series": [
            {
                "study_instance_uid": outcome.found.study_instance_uid,
                "series_instance_uid": outcome.found.series_instance_uid,
                "counted": outcome.found.images,
                "state": outcome.state.value,
                "detail": outcome.detail,
                "images": outcome.images,
            }
            for outcome in outcomes
        ],
        "trouble": trouble,
    }


def fetched(console: Console, outcomes: "Sequence[Outcome]") -> None:
    """The table of `ichnode fetch`: what was found, and what became of it."""
    for outcome in outcomes:
        style = _FETCH_STYLE[outcome.state]
        counted = "?" if outcome.found.images is None else outcome.found.images
        why = f"  {escape(outcome.detail)}" if outcome.detail else ""
        console.print(
            f"[{style}]{outcome.state:8}[/{style}] {counted:>5} images, {outcome.images} came"
            f"{why}\n{'':8} {outcome.found.series_instance_uid}",
            highlight=False,
            soft_wrap=True,
        )
    counts = Counter(outcome.state for outcome in outcomes)
    told = ", ".join(f"{count} {state}" for state, count in counts.items()) or "nothing"
    images = sum(outcome.images for outcome in outcomes)
    console.print(f"{len(outcomes)} series found: {told}; {images} images came", highlight=False)
