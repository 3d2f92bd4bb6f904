"""Commands that fetch head CT from a PACS: all that is new, or what somebody names."""

import json
import signal
import threading
from datetime import date, datetime
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from ml.errors import IchnodeError
from node.cli.common import (
    EXIT_FAILED,
    AsJson,
    Config,
    Panel,
    Verbose,
    command,
    ledger_of,
    service_settings,
    start_logging,
    start_service_logging,
)
from node.errors import ConfigError, SourceError

if TYPE_CHECKING:
    from node.fetch import FoundSeries, Outcome, Query
    from node.settings import Settings, SourceSettings


LONGEST_DAY_S = 3600.0
"""What is left is told by how long the last days took, seconds."""

LONGEST_ACCESSION = 16
"""Characters of a value of VR SH (PS3.5, 6.2)."""


@command(Panel.RUN)
def poll(config: Config = None, *, verbose: Verbose = False) -> None:
    """Fetch from sources that have a poll_s what is new (one part of `up`, for many machines)."""
    from node.audit import Auditor
    from node.fetch import Poller
    from node.intake import Intake
    from node.spool import Spool

    settings = service_settings(config)
    start_service_logging(settings, "poll", verbose=verbose)
    if not settings.polled:
        raise ConfigError("no [[sources]] table has a poll_s: there is nothing to poll")
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    ledger, spool = ledger_of(settings), Spool(settings.home)
    with Auditor.open(settings, "poll") as auditor:
        Poller(settings, ledger, Intake(settings, spool, ledger, auditor), auditor).run(stop)


@command(Panel.RUN)
def fetch(
    config: Config = None,
    source: Annotated[
        str | None,
        typer.Option(help="Its name; not needed where there is one.", show_default=False),
    ] = None,
    study: Annotated[
        str | None, typer.Option(help="Study Instance UID.", show_default=False)
    ] = None,
    accession: Annotated[
        str | None, typer.Option(help="Accession Number.", show_default=False)
    ] = None,
    first: Annotated[
        datetime | None,
        typer.Option("--from", formats=["%Y-%m-%d"], help="First Study Date.", show_default=False),
    ] = None,
    last: Annotated[
        datetime | None,
        typer.Option(
            "--to", formats=["%Y-%m-%d"], help="Last Study Date; else today.", show_default=False
        ),
    ] = None,
    rate: Annotated[
        float | None,
        typer.Option(
            min=0.01, help="Images a second at most; else as configured.", show_default=False
        ),
    ] = None,
    *,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only show what would be fetched.")
    ] = False,
    is_any: Annotated[
        bool, typer.Option("--any", help="Every CT, whatever the rules say.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Fetch a study, an accession number or a range of days from a PACS, at once.

    One of --study, --accession and --from is needed. What has come already is not fetched again;
    stopped and begun again it goes on.
    """
    from node.audit import Auditor
    from node.fetch import Fetcher, Pace, fetch_all, open_source
    from node.intake import Intake
    from node.show.fetching import fetched, fetched_json, is_lacking
    from node.spool import Spool

    start_logging()
    settings = service_settings(config)
    rules = _source(settings, source)
    queries = _queries(study, accession, first, last)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    ledger, spool = ledger_of(settings), Spool(settings.home)
    console = Console(stderr=True)
    pace = Pace(rules.images_per_second if rate is None else rate, rules.series_per_hour)
    outcomes: list[Outcome] = []
    trouble = None
    with Auditor.open(settings, "fetch") as auditor, _Bar(console, len(queries)) as bar:
        fetcher = Fetcher(
            open_source(settings, rules),
            rules,
            settings,
            ledger,
            Intake(settings, spool, ledger, auditor),
            auditor,
            pace,
            threading.Event(),
        )
        try:
            outcomes.extend(fetch_all(fetcher, queries, bar, is_any=is_any, is_dry_run=dry_run))
        except SourceError as error:
            outcomes, trouble = bar.outcomes, str(error)
        except KeyboardInterrupt:
            outcomes, trouble = bar.outcomes, "stopped: the same command goes on from here"
    if trouble is None and not outcomes and first is None:
        trouble = f"{rules.name} answers that it has no CT of that"
    if as_json:
        print(json.dumps(fetched_json(outcomes, trouble), indent=2))
    else:
        fetched(Console(), outcomes)
    if trouble is not None and not as_json:
        raise IchnodeError(trouble)
    if trouble is not None or any(is_lacking(outcome) for outcome in outcomes):
        raise typer.Exit(EXIT_FAILED)


def _source(settings: "Settings", name: str | None) -> "SourceSettings":
    """The source that is meant.

    Raises
    ------
    ConfigError
        If there is none of that name, or none is named and there are many.
    """
    known = ", ".join(source.name for source in settings.sources) or "there is none"
    if name is None:
        if len(settings.sources) != 1:
            raise ConfigError(f"--source NAME is needed; [[sources]] in the configuration: {known}")
        return settings.sources[0]
    found = settings.source(name)
    if found is None:
        raise ConfigError(f"no source {name!r} in the configuration; known: {known}")
    return found


def _queries(
    study: str | None, accession: str | None, first: datetime | None, last: datetime | None
) -> "list[Query]":
    """What is to be asked.

    Raises
    ------
    ConfigError
        If it is not one of a study, an accession number and a range of days.
    """
    from node.fetch import Query, by_day
    from node.spool import is_uid

    if sum((study is not None, accession is not None, first is not None)) != 1:
        raise ConfigError("one of these is needed: --study UID, --accession NUMBER or --from DATE")
    if first is not None:
        end = date.today() if last is None else last.date()
        if end < first.date():
            raise ConfigError(f"--from {first:%Y-%m-%d} is after {end}")
        return by_day(first.date(), end)
    if last is not None:
        raise ConfigError("--to goes with --from")
    if study is not None and not is_uid(study):
        raise ConfigError(f"--study: {study!r} is not a UID")
    if accession is not None and (
        not 1 <= len(accession) <= LONGEST_ACCESSION or set(accession) & set("*?\\")
    ):
        raise ConfigError("--accession takes 1 to 16 characters, and no wildcards")
    return [Query(study_instance_uid=study, accession_number=accession)]


class _Bar:
    """Shows how far it has come, and keeps what has ended by then; as a context.

    Parameters
    ----------
    console : rich.console.Console
    questions : int
    """

    def __init__(self, console: Console, questions: int) -> None:
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
            speed_estimate_period=LONGEST_DAY_S,
        )
        self._days = self._progress.add_task("days", total=questions, visible=questions > 1)
        self._series = self._progress.add_task("series", total=None)
        self._images = self._progress.add_task("images", total=None, visible=False)
        self.outcomes: list[Outcome] = []

    def __enter__(self) -> "_Bar":
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def asks(self, query: "Query", index: int) -> None:
        """One of the questions is asked now."""
        day = "days" if query.first is None else f"{query.first}"
        self._progress.update(self._days, completed=index, description=day)

    def found(self, series: int) -> None:
        """So many series are the answer."""
        self._progress.reset(self._series, total=series)

    def came(self, found: "FoundSeries", images: int) -> None:
        """So many images of a series were given by now."""
        self._progress.update(self._images, completed=images, total=found.images, visible=True)

    def ended(self, outcome: "Outcome") -> None:
        """One of the series has come to an end."""
        self.outcomes.append(outcome)
        self._progress.reset(self._images, visible=False)
        self._progress.advance(self._series)

    def rests(self, error: SourceError, pause_s: float) -> None:
        """The source is ill: it is asked again after a while."""
        self._progress.console.print(
            f"{error}; asked again in {pause_s:.0f} s",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )
