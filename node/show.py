"""How series, judgements and findings look in the terminal and in JSON."""

import json
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ml.labels import LABELS, SUBTYPES, Label
from node.check import Finding, Health
from node.clean import Freed
from node.disk import Disk, Fullness
from node.ledger import (
    DestinationState,
    Ledger,
    Notification,
    NotificationState,
    Revision,
    Shadow,
    State,
)
from node.purge import Doomed
from node.settings import Settings
from node.spool import PROBABILITIES, Spool

if TYPE_CHECKING:  # they bring torch, which `ichnode status` does not need
    from node.judgement import Model
    from node.offline import Outcome

NOT_FOR_CLINICAL_USE = "Not for clinical use."

_STATE_STYLE = {
    State.DELIVERED: "green",
    State.REPORTED: "cyan",
    State.SKIPPED: "yellow",
    State.FAILED: "red",
}
_HEALTH_MARK = {
    Health.GOOD: ("✓", "green"),
    Health.NOTE: ("•", "yellow"),
    Health.BAD: ("✗", "red"),
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
        "updated_at": revision.updated_at.isoformat(),
        "images_removed_at": _iso(revision.images_removed_at),
        "results_removed_at": _iso(revision.results_removed_at),
    }


def _iso(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat()


def revisions(console: Console, found: Sequence[Revision]) -> None:
    """What `ichnode status` prints."""
    if not found:
        console.print("No series yet. Send one by C-STORE to the node that `ichnode up` starts.")
        return
    for revision in found:
        style = _STATE_STYLE.get(revision.state, "default")
        count = "1 image" if revision.instances == 1 else f"{revision.instances} images"
        number = f"revision {revision.number}  " if revision.number > 1 else ""
        said = ": ".join(part for part in (revision.reason, revision.detail) if part)
        if revision.maxima is not None:
            said = f"any {revision.maxima['any']:.3f}"
        if revision.images_removed_at is not None:
            removed = f"images removed {revision.images_removed_at.astimezone():%Y-%m-%d}"
            said = f"{said}; {removed}" if said else removed
        console.print(
            f"[{style}]{revision.state:10}[/{style}] "
            f"{revision.updated_at.astimezone():%Y-%m-%d %H:%M:%S}  {count:>11}  {number}"
            f"{escape(said)}\n{'':10} {revision.series_instance_uid}",
            highlight=False,
            soft_wrap=True,
        )


def destination_json(destination: DestinationState) -> dict[str, Any]:
    """One destination in `ichnode status --json`."""
    rests = destination.rests_until
    return {
        "name": destination.name,
        "waiting": destination.waiting,
        "given_up": destination.given_up,
        "failures": destination.failures,
        "rests_until": None if rests is None else rests.isoformat(),
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


def notification_json(notification: Notification) -> dict[str, Any]:
    """One notification in `ichnode status --json` and `ichnode show --json`."""
    next_try_at = notification.next_try_at
    return {
        "rule": notification.rule,
        "event": notification.event.state.value,
        "at": notification.event.at.isoformat(),
        "state": notification.state.value,
        "attempts": notification.attempts,
        "next_try_at": None if next_try_at is None else next_try_at.isoformat(),
        "detail": notification.detail,
    }


def notifications(console: Console, untaken: Sequence[Notification]) -> None:
    """Rules by which something waits to be told, or was given up."""
    counted = Counter((item.rule, item.state) for item in untaken)
    for (rule, state), count in counted.items():
        why = next(item.detail for item in reversed(untaken) if item.rule == rule) or "being told"
        is_given_up = state is NotificationState.FAILED
        style, what = ("red", "were given up") if is_given_up else ("yellow", "wait")
        cure = "; `ichnode retry --failed` tells them again" if is_given_up else ""
        console.print(
            f"[{style}]{count} notifications by {escape(rule)} {what}:[/{style}] "
            f"{escape(why)}{cure}",
            highlight=False,
            soft_wrap=True,
        )


def disk_json(disk: Disk, settings: Settings) -> dict[str, Any]:
    """The disk of the spool in `ichnode status --json`."""
    return {
        "used": disk.used,
        "free": disk.free,
        "fullness": disk.fullness(settings).value,
    }


def disk(console: Console, found: Disk, settings: Settings) -> None:
    """The disk of the spool, where it is too full."""
    fullness = found.fullness(settings)
    if fullness is not Fullness.ROOM:
        style = "red" if fullness is Fullness.FULL else "yellow"
        console.print(
            f"[{style}]the disk of {escape(str(settings.home))}[/{style}]: {found.told(settings)}",
            highlight=False,
            soft_wrap=True,
        )


def megabytes(size: int) -> str:
    """Bytes for people."""
    return f"{size / 1024**2:.1f} MB"


def doomed_json(
    found: Sequence[Doomed], refusals: Sequence[str], freed: Freed | None
) -> dict[str, Any]:
    """What `ichnode purge --json` prints."""
    return {
        "found": [
            {
                "what": item.what,
                "study_instance_uid": None if item.ended is None else item.ended.study_instance_uid,
                "series_instance_uid": (
                    None if item.ended is None else item.ended.series_instance_uid
                ),
                "paths": [str(path) for path in item.paths],
                "files": item.size.files,
                "bytes": item.size.size,
            }
            for item in found
        ],
        "refused": list(refusals),
        "removed": None if freed is None else {"files": freed.files, "bytes": freed.size},
    }


def doomed(console: Console, found: Sequence[Doomed], refusals: Sequence[str]) -> None:
    """The table of `ichnode purge`."""
    for text in refusals:
        console.print(f"[red]stays:[/red] {escape(text)}", highlight=False, soft_wrap=True)
    if not found:
        console.print("There is nothing to remove.")
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("what")
    for name in ("number", "files", "size"):
        table.add_column(name, justify="right")
    for what in dict.fromkeys(item.what for item in found):
        some = [item for item in found if item.what == what]
        size = sum((item.size for item in some), Freed())
        table.add_row(what, str(len(some)), str(size.files), megabytes(size.size))
    console.print(table)


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
                "next_try_at": None if item.next_try_at is None else item.next_try_at.isoformat(),
                "detail": item.detail,
            }
            for item in deliveries
        ],
        "notifications": [notification_json(item) for item in ledger.notifications(revision)],
        "shadow": shadow_json(ledger.shadow_of(revision.id)),
    }


def shadow_json(shadow: Shadow | None) -> dict[str, Any] | None:
    """What a second model says of a revision, in `ichnode show --json`; it is never sent."""
    if shadow is None:
        return None
    judge = shadow.judge
    return {
        "state": shadow.state.value,
        "detail": shadow.detail,
        "updated_at": shadow.updated_at.isoformat(),
        "model": None
        if judge is None
        else {"name": judge.name, "version": judge.version, "digest": judge.digest},
        "operating_point": None if judge is None else judge.operating_point or None,
        "probabilities": shadow.maxima,
        "flagged": list(shadow.flagged),
        "compared_with": {
            "digest": shadow.primary.digest,
            "probabilities": shadow.primary_maxima,
            "flagged": list(shadow.primary_flagged),
        },
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
            f"{entry['images']} images",
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
            _shadow(console, entry["shadow"])
        if entry["results"]:
            console.print(f"  results: {Path(entry['results'][0]['path']).parent}", highlight=False)
        console.print()


def _shadow(console: Console, shadow: dict[str, Any]) -> None:
    """What the second model said beside the first one, plainly apart from what was sent."""
    if shadow["model"] is None:
        why = f": {escape(shadow['detail'])}" if shadow["detail"] else ""
        console.print(f"  shadow, never sent: {shadow['state']}{why}", highlight=False)
        return
    name = f"{shadow['model']['name']} {shadow['model']['version']}"
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("highest")
    table.add_column("reported", justify="right")
    table.add_column("shadow, never sent", justify="right")
    for label in (Label.ANY, *SUBTYPES):
        cells = [
            f"{said['probabilities'][label.value]:.3f}"
            f"{' flagged' if label.value in said['flagged'] else ''}"
            for said in (shadow["compared_with"], shadow)
        ]
        table.add_row(label.abbreviation, *cells)
    console.print(f"  judged in the shadow by {escape(name)}", highlight=False)
    console.print(table)


def probability_table(
    slices: Sequence[dict[str, Any]], truth: Sequence[Sequence[int]] | None = None
) -> Table:
    """Every slice's six probabilities, from the head down, as one reads a stack of films.

    Parameters
    ----------
    slices : sequence of dict
        As in `ichnode analyze --json`, foot to head.
    truth : sequence of sequence of int, optional
        For each slice which labels are true, as `ml.labels.LABELS`.
    """
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("slice", justify="right")
    table.add_column("mm", justify="right")
    for label in LABELS:
        table.add_column(label.abbreviation, justify="right")
    if truth is not None:
        table.add_column("truth")
    for index in reversed(range(len(slices))):
        item = slices[index]
        row = [str(index + 1), f"{item['position_mm']:.1f}"]
        row += [_number(item["probabilities"][label.value]) for label in LABELS]
        if truth is not None:
            true = [x.abbreviation for x, y in zip(SUBTYPES, truth[index], strict=False) if y]
            row.append(", ".join(true) or "–")
        table.add_row(*row)
    return table


def study(console: Console, slices: Sequence[dict[str, Any]]) -> None:
    """The highest probability of each finding, and the slice that it comes from."""
    highest = []
    for label in (Label.ANY, *SUBTYPES):
        values = [item["probabilities"][label.value] for item in slices]
        index = max(range(len(values)), key=values.__getitem__)
        highest.append(f"{label.abbreviation} {values[index]:.3f} (slice {index + 1})")
    console.print(f"Highest: {', '.join(highest)}", highlight=False)
    console.print(NOT_FOR_CLINICAL_USE)


def _number(probability: float) -> str:
    """A probability, the louder the higher; what counts as present the model says, not this."""
    style = "bold" if probability >= 0.5 else "dim" if probability < 0.1 else "default"
    return f"[{style}]{probability:.3f}[/{style}]"


def warnings(console: Console, texts: Sequence[str]) -> None:
    """What a reader of the result has to know."""
    for text in texts:
        console.print(f"  [yellow]warning:[/yellow] {escape(text)}", highlight=False)


def outcomes(
    console: Console, model: "Model", found: "Sequence[Outcome]", unreadable: Sequence[Path]
) -> None:
    """What `ichnode analyze` prints."""
    console.print(
        f"Model {model.name} {model.version}, digest {model.digest[:12]}. "
        f"{escape(model.intended_use)}",
        highlight=False,
    )
    for outcome in found:
        entry = outcome.as_json()
        name = escape(outcome.found.description or "no description")
        console.print(f"\n[bold]{name}[/bold]  {entry['series_instance_uid']}", highlight=False)
        if outcome.analysis is None:
            console.print(f"  {entry['state']}: {escape(outcome.reason or '')}", highlight=False)
        else:
            console.print(probability_table(entry["slices"]))
            study(console, entry["slices"])
        warnings(console, entry["warnings"])
        if outcome.objects:
            console.print(
                f"  {len(outcome.objects)} files in {outcome.objects[0].path.parent}",
                highlight=False,
            )
    if unreadable:
        console.print(f"\n{len(unreadable)} files are not DICOM images and were passed over")


def finding(console: Console, found: Finding) -> None:
    """One line of `ichnode check`."""
    mark, style = _HEALTH_MARK[found.health]
    console.print(
        f"[{style}]{mark}[/{style}] {escape(found.subject)}: {escape(found.text)}",
        highlight=False,
        soft_wrap=True,
    )
    if found.cure and found.health is not Health.GOOD:
        console.print(f"    → {escape(found.cure)}", highlight=False, soft_wrap=True)
