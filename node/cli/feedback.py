"""Commands about what radiologists say of series, beside what the model said."""

import io
import json
import os
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from typer.core import TyperGroup

from node.cli.common import (
    EXIT_FAILED,
    AsJson,
    Config,
    Panel,
    Verbose,
    app,
    command,
    ledger_of,
    service_settings,
    settings_of,
    start_logging,
    start_service_logging,
)
from node.errors import ConfigError


class _ReportsByDefault(TyperGroup):
    """`ichnode feedback` is `ichnode feedback report`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put the command's name in where there is none."""
        is_named = bool(args) and (not args[0].startswith("-") or args[0] == "--help")
        return super().parse_args(ctx, args if is_named else ["report", *args])


feedback = typer.Typer(
    cls=_ReportsByDefault,
    help="What radiologists say of series: report, import, export it, and listen for it.",
    rich_markup_mode="rich",
)
app.add_typer(feedback, name="feedback", rich_help_panel=Panel.LOOK)


@command(None, group=feedback)
def report(
    config: Config = None,
    days: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=36_500,
            help="Only what was judged in so many days; else all.",
            show_default=False,
        ),
    ] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Print sensitivity, specificity and predictive values, for each model on its own."""
    from node.feedback.figures import Figures
    from node.ledger import DAY_S
    from node.show.feedback import figures, figures_json

    start_logging()
    ledger = ledger_of(settings_of(config))
    since = 0 if days is None else int(ledger.clock() // DAY_S) - days + 1
    found = [
        (known.model, {name: Figures(t) for name, t in ledger.tallies(known.id, since).items()})
        for known in ledger.models()
    ]
    if as_json:
        print(json.dumps(figures_json(found, days), indent=2))
    else:
        figures(Console(), found, days)


@command(None, "import", group=feedback)
def import_labels(
    file: Annotated[Path, typer.Argument(help="A CSV file, its columns by name; - for stdin.")],
    config: Config = None,
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what is wrong.")] = False,
    as_json: AsJson = False,
) -> None:
    """Take labels from a CSV file; what is wrong is told by its line, the rest is taken.

    Columns: study_instance_uid, series_instance_uid or accession_number;
    any, epidural, intraparenchymal, intraventricular, subarachnoid, subdural
    (present, absent, unknown); reader; at; remark.
    The same file twice changes nothing.
    """
    import socket
    from datetime import UTC, datetime

    from rich.progress import Progress

    from node.audit import Auditor, Person
    from node.feedback.importing import Imported, take_rows
    from node.feedback.intake import Intake
    from node.feedback.rows import read_rows
    from node.spool import Spool

    start_logging()
    settings = settings_of(config)
    ledger = ledger_of(settings)
    person = Person(_user(), socket.gethostname())
    console = Console(stderr=True)
    imported = Imported()
    with (
        _lines(file) as lines,
        nullcontext(Auditor.silent()) if dry_run else Auditor.open(settings, "feedback") as auditor,
        Progress(console=console, transient=True, disable=not console.is_terminal) as progress,
    ):
        size = None if file == Path("-") else file.stat().st_size
        task = progress.add_task("taking labels", total=size)

        def counted() -> Any:
            for line in lines:
                progress.advance(task, len(line))
                yield line

        rows = read_rows(counted(), datetime.now(UTC))
        intake = Intake(ledger, Spool(settings.home), auditor)
        for wrong in take_rows(rows, intake, person, imported, dry_run=dry_run):
            if not as_json:
                progress.console.print(
                    f"line {wrong.line}: {wrong.why}", highlight=False, markup=False, soft_wrap=True
                )
    if as_json:
        print(json.dumps(imported.as_json(), indent=2))
    else:
        Console().print(imported.told(dry_run=dry_run), highlight=False)
    if imported.wrong:
        raise typer.Exit(EXIT_FAILED)


def _lines(file: Path) -> io.TextIOWrapper:
    """The lines of a file; what is not UTF-8 shows itself as such."""
    try:
        content = sys.stdin.buffer if file == Path("-") else file.open("rb")
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {error.strerror}") from None
    return io.TextIOWrapper(content, "utf-8-sig", "surrogateescape", newline="")


def _user() -> str:
    """Who runs this; in a container that may be a number without a name."""
    import getpass

    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"


@command(None, "export", group=feedback)
def export_labels(
    file: Annotated[
        Path | None, typer.Argument(help="To write; else stdout.", show_default=False)
    ] = None,
    config: Config = None,
) -> None:
    """Write labels and probabilities of every labelled series as CSV; of patients only UIDs."""
    from node.feedback.exporting import export
    from node.ledger import Ledger

    start_logging()
    ledger: Ledger = ledger_of(settings_of(config))
    try:
        with (
            nullcontext(sys.stdout)
            if file is None
            else file.open("w", encoding="utf-8", newline="") as out
        ):
            out.writelines(export(ledger.read_series()))
    except OSError as error:
        where = "stdout" if file is None else file
        raise ConfigError(f"{where} cannot be written: {error.strerror}") from None


@command(None, group=feedback)
def listen(config: Config = None, *, verbose: Verbose = False) -> None:
    """Take labels by HL7 v2 over MLLP (one part of `up`, where it has a port)."""
    import signal
    import threading

    from node.audit import Auditor
    from node.feedback.intake import Intake
    from node.feedback.listener import Listener
    from node.spool import Spool

    settings = service_settings(config)
    if settings.feedback.hl7_port is None:
        raise ConfigError("[feedback] hl7_port is not set: there is nothing to listen for")
    start_service_logging(settings, "feedback", verbose=verbose)
    ledger = ledger_of(settings)
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    with (
        Auditor.open(settings, "feedback") as auditor,
        Listener(settings, Intake(ledger, Spool(settings.home), auditor)) as listener,
        listener.serving(),
    ):
        stop.wait()
