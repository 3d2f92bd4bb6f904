"""Commands to look at what came and where it is, and to repair."""

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from ml.errors import IchnodeError
from ml.labels import Label
from node.cli.common import (
    EXIT_FAILED,
    AsJson,
    Config,
    Panel,
    command,
    ledger_of,
    settings_of,
    start_logging,
)
from node.errors import ConfigError

if TYPE_CHECKING:
    from node.ledger import Ledger, Revision
    from node.settings import Settings

SHOWN = 5
"""Of what was not fetched, so many are named."""


@command(Panel.LOOK)
def status(
    config: Config = None,
    limit: Annotated[int, typer.Option(min=1, max=10000, help="How many, newest first.")] = 30,
    *,
    as_json: AsJson = False,
) -> None:
    """List the series that moved last, with their state and why they were skipped."""
    from node.disk import Disk
    from node.show import fetching, notifying, peers, room, series

    start_logging()
    settings = settings_of(config)
    ledger = ledger_of(settings)
    revisions, destinations = ledger.recent(limit), ledger.destinations()
    waiting, sources = ledger.waiting(), ledger.sources()
    given_up = ledger.given_up_fetches(SHOWN)
    untaken = ledger.untaken_notifications()
    disk = Disk.of(settings.home)
    if as_json:
        document = {
            "series": [series.revision_json(r) for r in revisions],
            "waiting": {name: series.waiting_json(found) for name, found in waiting.items()},
            "destinations": [peers.destination_json(d) for d in destinations],
            "sources": [peers.source_json(s) for s in sources],
            "not_fetched": [fetching.fetch_json(f) for f in given_up],
            "notifications": [notifying.notification_json(n) for n in untaken],
            "disk": room.disk_json(disk, settings),
        }
        print(json.dumps(document, indent=2))
    else:
        series.revisions(Console(), revisions)
        series.waiting(Console(), waiting)
        peers.destinations(Console(), destinations)
        peers.sources(Console(), sources)
        fetching.fetches(Console(), given_up)
        notifying.notifications(Console(), untaken)
        room.disk(Console(), disk, settings)


@command(Panel.LOOK, "show")
def show_series(
    uid: Annotated[str, typer.Argument(help="Series or Study Instance UID.")],
    config: Config = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Show a series: its states with their times, its probabilities, its deliveries."""
    from node.show import fetching, series
    from node.spool import Spool

    start_logging()
    settings = settings_of(config)
    ledger = ledger_of(settings)
    spool = Spool(settings.home)
    fetches = ledger.find_fetches(uid)
    revisions = ledger.find(uid) if fetches else _find(ledger, uid)
    details: list[dict[str, Any]] = [
        series.details_json(ledger, spool, revision) for revision in revisions
    ]
    if as_json:
        document = {"series": details, "fetches": [fetching.fetch_json(f) for f in fetches]}
        print(json.dumps(document, indent=2))
    else:
        series.details(Console(), details)
        fetching.fetches(Console(), fetches)


@command(Panel.LOOK)
def retry(
    uid: Annotated[
        str | None, typer.Argument(help="Series or Study Instance UID.", show_default=False)
    ] = None,
    config: Config = None,
    destination: Annotated[
        str | None,
        typer.Option(help="All that was given up for this destination.", show_default=False),
    ] = None,
    *,
    failed: Annotated[
        bool, typer.Option("--failed", help="All that has failed or was given up.")
    ] = False,
) -> None:
    """Begin again with what has failed, was skipped, or was not delivered."""
    from node.routing import begin_again
    from node.spool import Spool

    if sum((uid is not None, destination is not None, failed)) != 1:
        raise ConfigError("one of these is needed: a UID, --failed or --destination NAME")
    start_logging()
    settings = settings_of(config)
    if destination is not None and settings.destination(destination) is None:
        raise ConfigError(f"no destination {destination!r} in the configuration")
    ledger = ledger_of(settings)
    spool = Spool(settings.home)
    console = Console()
    again, is_told = (0, False)
    if destination is None:
        again, is_told = _fetch_again(ledger, settings, uid, console)
    if uid is None:
        revisions = ledger.dead_letters(destination)
    else:
        revisions = ledger.find(uid) if is_told else _find(ledger, uid)
    for revision in revisions:
        if begin_again(revision, ledger, spool, settings):
            again += 1
            console.print(
                f"revision {revision.number} of {revision.series_instance_uid}: again "
                f"(was {revision.state})",
                highlight=False,
            )
    notifications = ledger.retry_notifications() if failed else 0
    if notifications:
        console.print(f"{notifications} notifications: again", highlight=False)
    shadows = ledger.retry_shadows() if failed else 0
    if shadows:
        console.print(f"{shadows} series in the shadow: again", highlight=False)
    if not again + notifications + shadows:
        if is_told:
            raise typer.Exit(EXIT_FAILED)
        raise IchnodeError("nothing to do again: no revision has failed, was skipped or waits")


def _fetch_again(
    ledger: "Ledger", settings: "Settings", uid: str | None, console: Console
) -> tuple[int, bool]:
    """Want again what was not fetched; gives how many series, and whether anything was told."""
    from node.ledger import FetchState

    again = ledger.retry_fetches([source.name for source in settings.polled], uid)
    if again:
        console.print(f"{again} series: to be fetched again", highlight=False)
    left = ledger.given_up_fetches(SHOWN) if uid is None else ledger.find_fetches(uid)
    by_hand = {fetch.source for fetch in left if fetch.state is FetchState.FAILED}
    for name in sorted(by_hand):
        console.print(
            f"nobody polls {name}: what failed there `ichnode fetch --source {name}` fetches",
            highlight=False,
        )
    return again, bool(again or by_hand)


@command(Panel.LOOK)
def route(
    uid: Annotated[
        str | None,
        typer.Argument(help="Series or Study Instance UID; else one as told.", show_default=False),
    ] = None,
    config: Config = None,
    sender: Annotated[
        list[str] | None,
        typer.Option(help="AE title that sent it; may be repeated.", show_default=False),
    ] = None,
    description: Annotated[
        list[str] | None,
        typer.Option(help="In its headers; may be repeated.", show_default=False),
    ] = None,
    place: Annotated[
        list[str] | None,
        typer.Option(help="In its headers; may be repeated.", show_default=False),
    ] = None,
    flagged: Annotated[
        list[Label] | None,
        typer.Option(help="Finding that it is flagged for; may be repeated.", show_default=False),
    ] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Tell which routes fit a series, and why not the others. Nothing is sent.

    A series that came, or without a UID one that is told by options: so a configuration
    can be tried before it is used.
    """
    from node.facts import SeriesFacts
    from node.ledger import Revision
    from node.routing import Routing, decide, routing_of
    from node.show import routes
    from node.spool import Spool

    told = [*(sender or ()), *(description or ()), *(place or ())]
    if uid is not None and (told or flagged):
        raise ConfigError("a UID goes without --sender, --description, --place and --flagged")
    start_logging()
    settings = settings_of(config)
    console = Console()
    found: list[tuple[Revision | None, Routing]] = []
    if uid is None:
        facts = SeriesFacts(tuple(sender or ()), tuple(description or ()), tuple(place or ()))
        found.append((None, decide(facts, flagged or (), settings)))
    else:
        ledger, spool = ledger_of(settings), Spool(settings.home)
        for revision in _find(ledger, uid):
            found.append((revision, routing_of(revision, ledger, spool, settings)))
    if as_json:
        entries = [routes.routing_json(routing, revision) for revision, routing in found]
        print(json.dumps({"series": entries}, indent=2))
        return
    for which, routing in found:
        routes.routing(console, routing, settings, which)


@command(Panel.LOOK)
def purge(
    config: Config = None,
    older_than: Annotated[
        str | None,
        typer.Option(
            help="What ended longer ago, such as 30d, 12h; else the ages of [retention].",
            show_default=False,
        ),
    ] = None,
    state: Annotated[
        list[str] | None,
        typer.Option(help="Only delivered, skipped or failed series.", show_default=False),
    ] = None,
    study: Annotated[
        str | None, typer.Option(help="This study, whatever its age.", show_default=False)
    ] = None,
    series: Annotated[
        str | None, typer.Option(help="This series, whatever its age.", show_default=False)
    ] = None,
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would go.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Remove images and results of what has ended; nothing that is still to be delivered.

    Rows of the ledger stay. Without --state, refused instances go by their age too.
    """
    from rich.progress import BarColumn, DownloadColumn, Progress

    from node.ledger import ENDED, State
    from node.purge import Purge, Selection, remove_all, seconds_of
    from node.show import room
    from node.spool import Spool

    start_logging()
    if unknown := set(state or ()) - set(ENDED):
        raise ConfigError(f"--state {min(unknown)}: only {', '.join(ENDED)} have ended")
    if (study or series) and (state or older_than):
        raise ConfigError("--study and --series go without --state and --older-than")
    if as_json and not (yes or dry_run):
        raise ConfigError("--json asks nothing: it needs --dry-run or --yes")
    settings = settings_of(config)
    selection = Selection(
        None if older_than is None else seconds_of(older_than),
        frozenset(map(State, state)) if state else frozenset(ENDED),
        study,
        series,
    )
    ledger = ledger_of(settings)
    if series is not None or study is not None:
        _find(ledger, series or study or "")
    work = Purge(settings, Spool(settings.home), ledger, selection)
    doomed, refusals = list(work.doomed()), work.refusals()
    freed = None
    console = Console(stderr=as_json)
    if not as_json:
        room.doomed(console, doomed, refusals)
    if doomed and not dry_run and (yes or typer.confirm("Remove them?")):
        total = sum(item.size.size for item in doomed)
        columns = ("removing", BarColumn(), DownloadColumn())
        with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
            task = progress.add_task("", total=total)
            freed = remove_all(work, doomed, lambda size: progress.advance(task, size))
    if as_json:
        print(json.dumps(room.doomed_json(doomed, refusals, freed), indent=2))
    elif freed is not None:
        console.print(f"{freed.files} files, {room.megabytes(freed.size)}, were removed")
    if refusals:
        raise typer.Exit(EXIT_FAILED)


@command(Panel.LOOK)
def notify(
    rule: Annotated[str, typer.Argument(help="Its name in the configuration.")],
    config: Config = None,
) -> None:
    """Tell something invented by one of the rules, to see whether it arrives."""
    from node.notify import rehearsal, send

    start_logging()
    settings = settings_of(config)
    found = next((item for item in settings.notify if item.name == rule), None)
    if found is None:
        known = ", ".join(item.name for item in settings.notify) or "there is none"
        raise ConfigError(f"no [[notify]] rule {rule!r} in the configuration; known: {known}")
    send(found, settings.smtp, rehearsal(settings.dicom.ae_title))
    Console().print(f"{found.to} has taken it", highlight=False, soft_wrap=True, markup=False)


def _find(ledger: "Ledger", uid: str) -> "list[Revision]":
    revisions = ledger.find(uid)
    if not revisions:
        raise IchnodeError(f"no study or series {uid} in the ledger; `ichnode status` lists them")
    return revisions
