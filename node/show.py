"""How series, judgements and findings look in the terminal and in JSON."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
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
    Fetch,
    FetchState,
    JudgingModel,
    Ledger,
    Notification,
    NotificationState,
    Revision,
    Shadow,
    SourceState,
    State,
    Waiting,
)
from node.purge import Doomed
from node.routing import Routing
from node.settings import ROUTINE, Kind, Settings
from node.spool import PROBABILITIES, Spool

if TYPE_CHECKING:  # they bring torch, which `ichnode status` does not need
    from node.feedback.figures import Figures, Proportion
    from node.fetch import Outcome as Fetching
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
        "priority": revision.priority.rule,
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


def source_json(source: SourceState) -> dict[str, Any]:
    """One source in `ichnode status --json`."""
    return {
        "name": source.name,
        "waiting": source.waiting,
        "given_up": source.given_up,
        "polled_at": _iso(source.polled_at),
        "answered_at": _iso(source.answered_at),
        "failures": source.failures,
        "rests_until": _iso(source.rests_until),
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
                "`ichnode retry --failed` begins again, `ichnode show UID` says why",
                highlight=False,
                soft_wrap=True,
            )


def fetch_json(fetch: Fetch) -> dict[str, Any]:
    """What became of a series at a source, in `ichnode show --json`."""
    return {
        "source": fetch.source,
        "study_instance_uid": fetch.study_instance_uid,
        "series_instance_uid": fetch.series_instance_uid,
        "state": fetch.state.value,
        "counted": fetch.counted,
        "attempts": fetch.attempts,
        "next_try_at": _iso(fetch.next_try_at),
        "updated_at": _iso(fetch.updated_at),
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


_FETCH_STYLE = {
    FetchState.WANTED: "yellow",
    FetchState.FETCHING: "yellow",
    FetchState.FETCHED: "green",
    FetchState.KNOWN: "default",
    FetchState.REFUSED: "dim",
    FetchState.FAILED: "red",
}


def is_lacking(outcome: "Fetching") -> bool:
    """Whether a series was to be fetched and something of it did not come."""
    return outcome.state is FetchState.FAILED or outcome.is_left


def fetched_json(outcomes: "Sequence[Fetching]", trouble: str | None) -> dict[str, Any]:
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


def fetched(console: Console, outcomes: "Sequence[Fetching]") -> None:
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
            _shadow(console, entry["shadow"])
        if entry["results"]:
            console.print(f"  results: {Path(entry['results'][0]['path']).parent}", highlight=False)
        console.print()


def routing_json(routing: Routing, revision: Revision | None) -> dict[str, Any]:
    """What routes say of a series, one entry of `ichnode route --json`."""
    which = {}
    if revision is not None:
        which = {
            "series_instance_uid": revision.series_instance_uid,
            "revision": revision.number,
            "state": revision.state.value,
            "flagged": list(revision.flagged),
        }
    return {
        **which,
        "routes": [
            {"name": v.name, "fits": v.why_not is None, "why_not": v.why_not, "to": list(v.to)}
            for v in routing.verdicts
        ],
        "destinations": {
            name: [kind.value for kind in Kind if kind in kinds]
            for name, kinds in routing.wanted.items()
        },
        "no_address_of": list(routing.uncalled),
    }


def routing(
    console: Console, found: Routing, settings: Settings, revision: Revision | None = None
) -> None:
    """Which route fits a series and why not the others, and who gets what."""
    if revision is not None:
        judged = "not judged" if revision.maxima is None else "not flagged"
        flagged = f"flagged for {', '.join(revision.flagged)}" if revision.flagged else judged
        console.print(
            f"[bold]Series[/bold] {revision.series_instance_uid}, revision {revision.number}, "
            f"{revision.state}, {flagged}",
            highlight=False,
            soft_wrap=True,
        )
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("route", "fits", "to, or why not"):
        table.add_column(name, overflow="fold")
    for verdict in found.verdicts:
        fits = verdict.why_not is None
        said = verdict.why_not or ", ".join(verdict.to) or "nobody that can be called"
        table.add_row(verdict.name, "yes" if fits else "no", escape(said))
    if found.verdicts:
        console.print(table)
    for name, kinds in found.wanted.items():
        recipient = settings.destination(name)
        where = "" if recipient is None else f" ({recipient.ae_title})"
        is_all = {*kinds, Kind.WORKITEM} == {*Kind}
        what = "everything" if is_all else ", ".join(kind for kind in Kind if kind in kinds)
        console.print(f"{name}{where} gets {what}", highlight=False, markup=False)
    if not found.wanted:
        console.print(found.unsent, highlight=False, markup=False, soft_wrap=True)


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


def figures(
    console: Console,
    found: "Sequence[tuple[JudgingModel, Mapping[Label, Figures]]]",
    days: int | None,
) -> None:
    """What `ichnode feedback` prints: a table for each model."""
    if not found:
        console.print("No series was judged yet by a model that was noted.")
    for model, by_label in found:
        point = model.operating_point or "none: nothing is flagged"
        console.print(
            f"[bold]{escape(model.name)} {escape(model.version)}[/bold] {model.digest[:12]}, "
            f"operating point {escape(point)}"
            f"{'' if days is None else f', judged in the last {days} days'}",
            highlight=False,
        )
        table = Table("finding", *_COUNTED, *_PROPORTIONS)
        for label in (Label.ANY, *SUBTYPES):
            one = by_label[label]
            tally = one.tally
            table.add_row(
                label.value,
                *(
                    str(count)
                    for count in (
                        tally.true_positives,
                        tally.false_positives,
                        tally.true_negatives,
                        tally.false_negatives,
                    )
                ),
                *(_proportion(getattr(one, name)) for name in _PROPORTIONS),
            )
        console.print(table)
        whole = by_label[Label.ANY]
        console.print(
            f"any: labelled {_of(whole.flagged_read)} flagged and {_of(whole.unflagged_read)} "
            "other series. What nobody labelled is in no figure.",
            highlight=False,
        )
        if whole.is_one_sided:
            console.print(
                "[yellow]Flagged series and others are not labelled alike often: the sensitivity "
                "and specificity above are not those of all series.[/yellow]"
            )
            for name in ("sensitivity", "specificity"):
                adjusted = getattr(whole, f"adjusted_{name}")
                if adjusted is not None:
                    console.print(
                        f"If chance chose among each, {name} is {adjusted.value:.1%} "
                        f"({adjusted.low:.1%}-{adjusted.high:.1%}).",
                        highlight=False,
                    )
    console.print(f"[bold]{NOT_FOR_CLINICAL_USE}[/bold]")


_COUNTED = ("TP", "FP", "TN", "FN")
_PROPORTIONS = ("sensitivity", "specificity", "ppv", "npv", "prevalence")


def _of(proportion: "Proportion") -> str:
    return f"{proportion.hits} of {proportion.of}"


def _proportion(proportion: "Proportion") -> str:
    """In percent, with its interval."""
    if proportion.value is None or proportion.interval is None:
        return "-"
    low, high = proportion.interval
    few = ", few" if proportion.is_few else ""
    return f"{proportion.value:.1%} ({low:.1%}-{high:.1%}{few})"
