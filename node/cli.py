"""The command `ichnode`. Commands import what they need when they run: help is quick."""

import json
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from functools import wraps
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, ParamSpec

import typer
from rich.console import Console

from ml.errors import BundleError, DeviceError, IchnodeError
from node.errors import ConfigError

if TYPE_CHECKING:
    from node.ledger import Ledger, Revision
    from node.settings import Settings

EXIT_FAILED = 1
EXIT_USAGE = 2

PRIVATE = 0o077
"""The umask of every command: what it writes may tell of patients, and is for its user alone."""

app = typer.Typer(
    help="A DICOM node for intracranial hemorrhage on head CT: a series comes in by C-STORE, "
    "a structured report and a secondary capture go back. [bold]Not for clinical use.[/bold]",
    no_args_is_help=True,
    rich_markup_mode="rich",
    add_completion=False,
    pretty_exceptions_enable=False,
)

Config = Annotated[
    Path | None,
    typer.Option(
        help="Configuration file; else ichnode.toml in this folder, if there.",
        envvar="ICHNODE_CONFIG",
        show_default=False,
    ),
]
Verbose = Annotated[
    bool, typer.Option("--verbose", "-v", help="Log tracebacks too; they may quote patient data.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]

P = ParamSpec("P")


def _told_plainly(command: Callable[P, None]) -> Callable[P, None]:
    """Turn errors of ichnode into one line on stderr and an exit code."""

    @wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            command(*args, **kwargs)
        except (ConfigError, BundleError, DeviceError) as error:
            _stop(error, EXIT_USAGE)
        except IchnodeError as error:
            _stop(error, EXIT_FAILED)

    return run


def _stop(error: IchnodeError, code: int) -> NoReturn:
    from node.logs import is_for_machines

    if is_for_machines():
        logging.getLogger("node").critical("%s", error)
        raise typer.Exit(code)
    Console(stderr=True, soft_wrap=True).print(
        f"[red]ichnode:[/red] {_escaped(error)}", highlight=False
    )
    raise typer.Exit(code)


def _escaped(value: object) -> str:
    from rich.markup import escape

    return escape(str(value))


def _start_logging() -> None:
    """Log as commands for people do: what is wrong."""
    from node.logs import start_logging

    start_logging(logging.WARNING, "command")


def _start_service_logging(settings: "Settings", part: str, *, verbose: bool) -> None:
    """Log as `up` and its parts do: a line for each step of a series."""
    from node.logs import start_logging

    level = "debug" if verbose else settings.log.level
    start_logging(logging.getLevelNamesMapping()[level.upper()], part, settings.log.format)


def _settings(config: Path | None) -> "Settings":
    from node.settings import load_settings

    return load_settings(config)


def _service_settings(config: Path | None) -> "Settings":
    """Settings of what talks with peers: certificates and keys are looked at, too."""
    from node.tls import check_files

    settings = _settings(config)
    check_files(settings)
    return settings


def _ledger(settings: "Settings") -> "Ledger":
    from node.ledger import open_ledger

    return open_ledger(settings.ledger_url)


def _version(value: bool) -> None:
    if value:
        typer.echo(f"ichnode {version('ichnode')}")
        raise typer.Exit


@app.callback()
def _main(
    _version_: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    os.umask(PRIVATE)


@app.command()
@_told_plainly
def demo(
    path: Annotated[
        Path | None,
        typer.Argument(help="Your own DICOM file or folder; else a phantom is made."),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for everything; made anew.")] = Path(
        "ichnode-demo"
    ),
    seed: Annotated[int, typer.Option(help="Of the phantom.")] = 8,
) -> None:
    """Show the whole way on this machine: a series in, SR and secondary capture back.

    Starts a node with everything embedded and a stand-in PACS, sends a synthetic
    head CT with a known bleed over a real association, and prints what comes back.
    """
    from node.demo import run_demo

    _start_logging()
    if not run_demo(path, out, seed, Console()):
        raise typer.Exit(EXIT_FAILED)


@app.command()
@_told_plainly
def init(
    file: Annotated[Path, typer.Argument(help="Configuration to write.")] = Path("ichnode.toml"),
    home: Annotated[
        Path | None, typer.Option(help="Folder for all that is kept.", show_default=False)
    ] = None,
    ae_title: Annotated[
        str | None, typer.Option(help="Of the node; else ICHNODE.", show_default=False)
    ] = None,
    host: Annotated[
        str | None,
        typer.Option(help="Address to listen on; 0.0.0.0 for all.", show_default=False),
    ] = None,
    port: Annotated[
        int | None, typer.Option(help="To listen on; else 11112.", show_default=False)
    ] = None,
    destination: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[NAME=]AE@HOST:PORT",
            help="Where results go; may be repeated.",
            show_default=False,
        ),
    ] = None,
    peer: Annotated[
        list[str] | None,
        typer.Option(
            metavar="AE[@NETWORK]", help="Who may send; may be repeated.", show_default=False
        ),
    ] = None,
    broker: Annotated[
        str | None, typer.Option(help="URL of a Redis; else `up` starts one.", show_default=False)
    ] = None,
    ledger: Annotated[
        str | None,
        typer.Option(help="URL of a PostgreSQL; else SQLite in home.", show_default=False),
    ] = None,
    *,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Ask nothing.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
) -> None:
    """Write a configuration with a remark on every key, by asking a few questions."""
    from node import init as setting_up

    console = Console()
    if file.exists() and not force:
        raise ConfigError(f"{file} is there: give another name, or --force to replace it")
    dicom = {"ae_title": ae_title, "host": host, "port": port}
    answers: dict[str, Any] = {
        "home": home,
        "dicom": {key: value for key, value in dicom.items() if value is not None},
        "destinations": None
        if destination is None
        else [*map(setting_up.as_destination, destination)],
        "peers": None if peer is None else [*map(setting_up.as_peer, peer)],
        "broker": None if broker is None else {"url": broker},
        "ledger": None if ledger is None else {"url": ledger},
    }
    answers = {key: value for key, value in answers.items() if value is not None}
    if not yes:
        if not sys.stdin.isatty():
            raise ConfigError("there is nobody to ask: give --yes, and what is not as by default")
        answers = setting_up.ask(answers, console)
    settings = setting_up.settings_of(answers)
    setting_up.write(settings, file, replace=force)
    setting_up.tell(settings, file, console)


@app.command()
@_told_plainly
def up(config: Config = None, *, verbose: Verbose = False) -> None:
    """Run the node on this machine: broker, receiver, workers and web page, kept running.

    Ends with Ctrl-C or SIGTERM. Whatever is under way then goes on at the next start.
    """
    from node.up import WEB, WORKERS, Supervisor, one_at_a_time, receivers, run_until_told

    settings = _service_settings(config)
    _start_service_logging(settings, "up", verbose=verbose)
    with one_at_a_time(settings.home):
        parts = receivers(settings) | WORKERS | (WEB if settings.web.with_up else {})
        run_until_told(Supervisor(settings, parts, config, with_broker=True, verbose=verbose))


@app.command()
@_told_plainly
def receive(
    config: Config = None,
    listening: Annotated[
        int | None,
        typer.Option("--socket", hidden=True, help="An open port: this is one of its processes."),
    ] = None,
    *,
    further: Annotated[
        bool, typer.Option("--further", hidden=True, help="Another one assembles.")
    ] = False,
    verbose: Verbose = False,
) -> None:
    """Receive series and assemble them (one part of `up`, for many machines)."""
    from node.audit import Auditor
    from node.broker import broker_url
    from node.hints import Hints
    from node.notify import Notifier
    from node.processes import keep_freed_memory
    from node.receive import start_receiver
    from node.reconcile import reconcile_in_background
    from node.spool import Spool
    from node.sweep import Sweeper
    from node.up import Supervisor, receivers, run_until_told

    settings = _service_settings(config)
    _start_service_logging(settings, "receive", verbose=verbose)
    hints = Hints(broker_url(settings), settings)
    if listening is None and settings.dicom.processes > 1:
        run_until_told(Supervisor(settings, receivers(settings), config, verbose=verbose))
        return
    port = None if listening is None else socket.socket(fileno=listening)
    keep_freed_memory(4 * 1024**2)  # an image of 1024 x 1024, and what becomes of it
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    ledger = _ledger(settings)
    spool = Spool(settings.home)
    if not further:
        reconcile_in_background(settings, spool, ledger)
        Notifier(settings, spool, ledger).start(stop)
    with Auditor.open(settings, "receive") as auditor:
        receiver = start_receiver(settings, spool, ledger, auditor, port)
        try:
            if further:
                stop.wait()
            else:
                Sweeper(settings, spool, ledger, hints).run(stop)
        finally:
            receiver.stop()


@app.command()
@_told_plainly
def work(
    config: Config = None,
    queue: Annotated[
        str | None,
        typer.Option(help="Serve only this one, analyze or deliver; else a process for each."),
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=256,
            help="Deliveries at the same time; else one for each destination, and one more.",
            show_default=False,
        ),
    ] = None,
    *,
    verbose: Verbose = False,
) -> None:
    """Analyze and deliver (one part of `up`, for many machines)."""
    from node.broker import broker_url, check_broker
    from node.hints import Queue
    from node.up import WORKERS, Supervisor, run_until_told
    from node.work import run_worker

    settings = _service_settings(config)
    _start_service_logging(settings, queue or "work", verbose=verbose)
    if queue is None:
        run_until_told(Supervisor(settings, WORKERS, config, verbose=verbose))
        return
    if queue not in list(Queue):
        raise ConfigError(f"no queue {queue!r}; there are: {', '.join(Queue)}")
    url = broker_url(settings)
    check_broker(url)
    # No destination has two senders, and so a slow one holds no other up.
    run_worker(settings, url, Queue(queue), threads or len(settings.destinations) + 1)


@app.command()
@_told_plainly
def web(
    config: Config = None,
    *,
    hash_password: Annotated[
        bool,
        typer.Option(
            "--hash-password", help="Ask for a password, or read it from stdin; print its hash."
        ),
    ] = False,
    verbose: Verbose = False,
) -> None:
    """Serve the web page and the same as JSON (one part of `up`, for many machines).

    A worklist, every series with its slices, deliveries, queues, workers and destinations.
    """
    if hash_password:
        _print_hash()
        return
    from node.web.serve import serve

    settings = _settings(config)
    _start_service_logging(settings, "web", verbose=verbose)
    serve(settings)


def _print_hash() -> None:
    """Print what stands in `[web.users]` for a password."""
    import getpass

    from node.web.passwords import SHORTEST, hash_password

    if sys.stdin.isatty():
        password = getpass.getpass("Password: ")
        if getpass.getpass("Once more: ") != password:
            raise ConfigError("these were two different passwords")
    else:
        password = sys.stdin.readline().rstrip("\r\n")
    if len(password) < SHORTEST:
        raise ConfigError(f"a password has {SHORTEST} characters at least")
    print(f'NAME = "{hash_password(password)}"')
    Console(stderr=True).print(
        "Put this line below [web.users], with the user's name instead of NAME", highlight=False
    )


@app.command()
@_told_plainly
def analyze(
    path: Annotated[
        Path, typer.Argument(help="A DICOM file, or a folder with one or more series.")
    ],
    out: Annotated[
        Path | None,
        typer.Option(help="Write SR and secondary captures here, a folder each series."),
    ] = None,
    config: Config = None,
    *,
    png: Annotated[
        bool, typer.Option("--png", help="With --out: each overlay as PNG too.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Judge files without any network: probabilities, and SR and SC files with --out."""
    from rich.progress import Progress

    from node import offline, show
    from node.analyze import Analyzer

    _start_logging()
    if png and out is None:
        raise ConfigError("--png needs --out: a folder to write the pictures to")
    settings = _settings(config)
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        looking = progress.add_task("looking for series")
        found = offline.scan(
            path, lambda n, total: progress.update(looking, completed=n, total=total)
        )
        if not found.series:
            raise ConfigError(f"no DICOM series in {path} ({len(found.unreadable)} other files)")
        loading = progress.add_task("loading the model", total=None)
        analyzer = Analyzer.load(settings)
        progress.remove_task(loading)
        outcomes = []
        for series in found.series:
            judging = progress.add_task(
                f"judging {series.description or 'series'}", total=len(series.files)
            )
            outcomes.append(
                offline.judge_series(
                    series,
                    analyzer,
                    settings,
                    out,
                    lambda n, task=judging: progress.update(task, completed=n),  # type: ignore[misc]
                    png=png,
                )
            )
    if as_json:
        print(json.dumps(offline.as_json(analyzer, outcomes), indent=2))
    else:
        show.outcomes(Console(), analyzer.model, outcomes, found.unreadable)
    if any(outcome.failed for outcome in outcomes):
        raise typer.Exit(EXIT_FAILED)


@app.command()
@_told_plainly
def status(
    config: Config = None,
    limit: Annotated[int, typer.Option(min=1, max=10000, help="How many, newest first.")] = 30,
    *,
    as_json: AsJson = False,
) -> None:
    """List the series that moved last, with their state and why they were skipped."""
    from node import show
    from node.disk import Disk

    _start_logging()
    settings = _settings(config)
    ledger = _ledger(settings)
    revisions, destinations = ledger.recent(limit), ledger.destinations()
    untaken = ledger.untaken_notifications()
    disk = Disk.of(settings.home)
    if as_json:
        document = {
            "series": [show.revision_json(r) for r in revisions],
            "destinations": [show.destination_json(d) for d in destinations],
            "notifications": [show.notification_json(n) for n in untaken],
            "disk": show.disk_json(disk, settings),
        }
        print(json.dumps(document, indent=2))
    else:
        show.revisions(Console(), revisions)
        show.destinations(Console(), destinations)
        show.notifications(Console(), untaken)
        show.disk(Console(), disk, settings)


@app.command("show")
@_told_plainly
def show_series(
    uid: Annotated[str, typer.Argument(help="Series or Study Instance UID.")],
    config: Config = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Show a series: its states with their times, its probabilities, its deliveries."""
    from node import show
    from node.spool import Spool

    _start_logging()
    settings = _settings(config)
    ledger = _ledger(settings)
    spool = Spool(settings.home)
    details: list[dict[str, Any]] = [
        show.details_json(ledger, spool, revision) for revision in _find(ledger, uid)
    ]
    if as_json:
        print(json.dumps({"series": details}, indent=2))
    else:
        show.details(Console(), details)


@app.command()
@_told_plainly
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
    if sum((uid is not None, destination is not None, failed)) != 1:
        raise ConfigError("one of these is needed: a UID, --failed or --destination NAME")
    _start_logging()
    settings = _settings(config)
    if destination is not None and settings.destination(destination) is None:
        raise ConfigError(f"no destination {destination!r} in the configuration")
    ledger = _ledger(settings)
    names = [destination.name for destination in settings.destinations]
    console = Console()
    again = 0
    for revision in ledger.dead_letters(destination) if uid is None else _find(ledger, uid):
        if ledger.retry(revision, names):
            again += 1
            console.print(
                f"revision {revision.number} of {revision.series_instance_uid}: again "
                f"(was {revision.state})",
                highlight=False,
            )
    notifications = ledger.retry_notifications() if failed else 0
    if notifications:
        console.print(f"{notifications} notifications: again", highlight=False)
    if not again + notifications:
        raise IchnodeError("nothing to do again: no revision has failed, was skipped or waits")


@app.command()
@_told_plainly
def notify(
    rule: Annotated[str, typer.Argument(help="Its name in the configuration.")],
    config: Config = None,
) -> None:
    """Tell something invented by one of the rules, to see whether it arrives."""
    from node.notify import rehearsal, send

    _start_logging()
    settings = _settings(config)
    found = next((item for item in settings.notify if item.name == rule), None)
    if found is None:
        known = ", ".join(item.name for item in settings.notify) or "there is none"
        raise ConfigError(f"no [[notify]] rule {rule!r} in the configuration; known: {known}")
    send(found, settings.smtp, rehearsal(settings.dicom.ae_title))
    Console().print(f"{found.to} has taken it", highlight=False, soft_wrap=True, markup=False)


@app.command()
@_told_plainly
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

    from node import show
    from node.ledger import ENDED, State
    from node.purge import Purge, Selection, remove_all, seconds_of
    from node.spool import Spool

    _start_logging()
    if unknown := set(state or ()) - set(ENDED):
        raise ConfigError(f"--state {min(unknown)}: only {', '.join(ENDED)} have ended")
    if (study or series) and (state or older_than):
        raise ConfigError("--study and --series go without --state and --older-than")
    if as_json and not (yes or dry_run):
        raise ConfigError("--json asks nothing: it needs --dry-run or --yes")
    settings = _settings(config)
    selection = Selection(
        None if older_than is None else seconds_of(older_than),
        frozenset(map(State, state)) if state else frozenset(ENDED),
        study,
        series,
    )
    ledger = _ledger(settings)
    if series is not None or study is not None:
        _find(ledger, series or study or "")
    work = Purge(settings, Spool(settings.home), ledger, selection)
    doomed, refusals = list(work.doomed()), work.refusals()
    freed = None
    console = Console(stderr=as_json)
    if not as_json:
        show.doomed(console, doomed, refusals)
    if doomed and not dry_run and (yes or typer.confirm("Remove them?")):
        total = sum(item.size.size for item in doomed)
        columns = ("removing", BarColumn(), DownloadColumn())
        with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
            task = progress.add_task("", total=total)
            freed = remove_all(work, doomed, lambda size: progress.advance(task, size))
    if as_json:
        print(json.dumps(show.doomed_json(doomed, refusals, freed), indent=2))
    elif freed is not None:
        console.print(f"{freed.files} files, {show.megabytes(freed.size)}, were removed")
    if refusals:
        raise typer.Exit(EXIT_FAILED)


def _find(ledger: "Ledger", uid: str) -> "list[Revision]":
    revisions = ledger.find(uid)
    if not revisions:
        raise IchnodeError(f"no study or series {uid} in the ledger; `ichnode status` lists them")
    return revisions


@app.command()
@_told_plainly
def check(config: Config = None, *, as_json: AsJson = False) -> None:
    """The doctor: look at config, disk, ledger, broker, port, model, GPU, destinations."""
    from dataclasses import asdict

    from node import show
    from node.check import Health
    from node.check import check as look

    _start_logging()
    settings = _settings(config)
    findings = []
    for finding in look(settings):
        findings.append(finding)
        if not as_json:
            show.finding(Console(), finding)
    if as_json:
        print(json.dumps({"findings": [asdict(finding) for finding in findings]}, indent=2))
    if any(finding.health is Health.BAD for finding in findings):
        raise typer.Exit(EXIT_FAILED)


def main() -> None:
    """Run the command; the entry point of the package."""
    app(prog_name="ichnode")
