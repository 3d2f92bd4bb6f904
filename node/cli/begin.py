"""Commands to begin with: see it work, set it up, look whether everything is there."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from node.cli.common import EXIT_FAILED, AsJson, Config, Panel, command, settings_of, start_logging
from node.errors import ConfigError


@command(Panel.BEGIN)
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

    start_logging()
    if not run_demo(path, out, seed, Console()):
        raise typer.Exit(EXIT_FAILED)


@command(Panel.BEGIN)
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


@command(Panel.BEGIN)
def check(config: Config = None, *, as_json: AsJson = False) -> None:
    """The doctor: look at config, disk, ledger, broker, port, model, GPU, destinations."""
    from dataclasses import asdict

    from node.check import Health
    from node.check import check as look
    from node.show import checking

    start_logging()
    settings = settings_of(config)
    findings = []
    for finding in look(settings):
        findings.append(finding)
        if not as_json:
            checking.finding(Console(), finding)
    if as_json:
        print(json.dumps({"findings": [asdict(finding) for finding in findings]}, indent=2))
    if any(finding.health is Health.BAD for finding in findings):
        raise typer.Exit(EXIT_FAILED)


@command(Panel.BEGIN)
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

    from node import offline
    from node.analyze import Analyzer
    from node.show import analyzed

    start_logging()
    if png and out is None:
        raise ConfigError("--png needs --out: a folder to write the pictures to")
    settings = settings_of(config)
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
        analyzed.outcomes(Console(), analyzer.model, outcomes, found.unreadable)
    if any(outcome.failed for outcome in outcomes):
        raise typer.Exit(EXIT_FAILED)
