"""Series as `ichnode status` lists them, and as `ichnode show` tells all of each."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from node.ledger import Ledger, Revision, State, Waiting
from node.settings import ROUTINE
from node.show.common import iso
from node.show.notifying import notification_json
from node.show.shadow import shadow, shadow_json
from node.show.slices import probability_table, study, warnings
from node.spool import PROBABILITIES, Spool

_STATE_STYLE = {
    State.DELIVERED: "green",
    State.REPORTED: "cyan",
    State.SKIPPED: "yellow",
    State.FAILED: "red",
}


def revision_json(revision: Revision) -> dict[str, Any]:
    """One line of `ichnode status --json`."""
    return {
        "study_instance_uid": revision.study_instance_uid,
        "series_instance_uid": revision.series_instance_uid,
        "revision": revision.number,
        "state": revision.state.value,
        "reason": revision.reason,
        "detail": revision.detail,
        "warnings": list(revision.warnings),
        "images": revision.instances,
        "probabilities": revision.maxima,
        "flagged": list(revision.flagged),
        "priority": revision.priority.rule,
        "updated_at": revision.updated_at.isoformat(),
        "images_removed_at": iso(revision.images_removed_at),
        "results_removed_at": iso(revision.results_removed_at),
    }


def revisions(console: Console, found: Sequence[Revision]) -> None:
    """What `ichnode status` prints."""
    if not found:
        console.print("No series yet. Send one by C-STORE to the node that `ichnode up` starts.")
        return
    for revision in found:
        style = _STATE_STYLE.get(revision.state, "default")
        count = "1 image" if revision.instances == 1 else f"{revision.instances} images"
        number = f"revision {revision.number}  " if revision.number > 1 else ""
        urgency = f"{revision.priority}  " if revision.priority.rule else ""
        said = ": ".join(part for part in (revision.reason, revision.detail) if part)
        if revision.maxima is not None:
            judged = f"any {revision.maxima['any']:.3f}"
            said = f"{judged}; {said}" if said else judged
        if revision.images_removed_at is not None:
            removed = f"images removed {revision.images_removed_at.astimezone():%Y-%m-%d}"
            said = f"{said}; {removed}" if said else removed
        console.print(
            f"[{style}]{revision.state:10}[/{style}] "
            f"{revision.updated_at.astimezone():%Y-%m-%d %H:%M:%S}  {count:>11}  {urgency}{number}"
            f"{escape(said)}\n{'':10} {revision.series_instance_uid}",
            highlight=False,
            soft_wrap=True,
        )


def waiting_json(found: Waiting) -> dict[str, Any]:
    """What waits for a worker at one priority, in `ichnode status --json`."""
    return {"series": found.revisions, "since": found.since.isoformat()}


def waiting(console: Console, found: Mapping[str, Waiting]) -> None:
    """How many series wait for a worker, by their priority."""
    for name, item in found.items():
        count = "1 series waits" if item.revisions == 1 else f"{item.revisions} series wait"
        console.print(
            f"{count} for a worker: {escape(name)}, "
            f"the first since {item.since.astimezone():%Y-%m-%d %H:%M:%S}",
            highlight=False,
        )


def details_json(ledger: Ledger, spool: Spool, revision: Revision) -> dict[str, Any]:
    """One entry of `ichnode show --json`."""
    folder = spool.results_folder(
        revision.study_instance_uid, revision.series_instance_uid, revision.number
    )
    results = ledger.results(revision)
    deliveries = ledger.deliveries(revision)
    return {
        **revision_json(revision),
        "history": [
            {"at": event.at.isoformat(), "state": event.state.value, "detail": event.detail}
            for event in ledger.history(revision)
        ],
        "slices": _slices(folder) if results else [],
        "results": [
            {
                "kind": item.kind,
                "sop_instance_uid": item.sop_instance_uid,
                "path": str(spool.results / item.path),
            }
            for item in results
        ],
        "deliveries": [
            {
                "destination": item.destination,
                "sop_instance_uid": item.result.sop_instance_uid,
                "state": item.state.value,
                "attempts": item.attempts,
                "next_try_at": iso(item.next_try_at),
                "detail": item.detail,
            }
            for item in deliveries
        ],
        "notifications": [notification_json(item) for item in ledger.notifications(revision)],
        "shadow": shadow_json(ledger.shadow_of(revision.id)),
    }


def _slices(folder: Path) -> list[Any]:
    try:
        document = json.loads((folder / PROBABILITIES).read_text())
    except (OSError, ValueError):
        return []
    return list(document["series"][0]["slices"])


def details(console: Console, found: Sequence[dict[str, Any]]) -> None:
    """The pages of `ichnode show`."""
    for entry in found:
        console.print(f"[bold]Series[/bold] {entry['series_instance_uid']}", highlight=False)
        console.print(
            f"Study {entry['study_instance_uid']}, revision {entry['revision']}, "
            f"{entry['images']} images, {entry['priority'] or ROUTINE}",
            highlight=False,
        )
        for event in entry["history"]:
            detail = f"  {escape(event['detail'])}" if event["detail"] else ""
            console.print(f"  {event['at']}  {event['state']}{detail}", highlight=False)
        if entry["reason"]:
            console.print(f"  {entry['reason']}: {escape(entry['detail'] or '')}", highlight=False)
        warnings(console, entry["warnings"])
        for what in ("images", "results"):
            if entry[f"{what}_removed_at"]:
                console.print(f"  {what} removed {entry[f'{what}_removed_at']}", highlight=False)
        if entry["slices"]:
            console.print(probability_table(entry["slices"]))
            study(console, entry["slices"])
        counted = Counter((d["destination"], d["state"], d["detail"]) for d in entry["deliveries"])
        for (destination, state, detail), count in counted.items():
            why = f": {escape(detail)}" if detail else ""
            console.print(f"  {count} objects to {destination}: {state}{why}", highlight=False)
        for item in entry["notifications"]:
            why = f": {escape(item['detail'])}" if item["detail"] else ""
            console.print(
                f"  {item['event']} told by {item['rule']}: {item['state']}{why}", highlight=False
            )
        if entry["shadow"]:
            shadow(console, entry["shadow"])
        if entry["results"]:
            console.print(f"  results: {Path(entry['results'][0]['path']).parent}", highlight=False)
        console.print()
