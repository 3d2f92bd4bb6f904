"""What all commands share: the application, options, logging, errors as one line."""

import logging
import os
from collections.abc import Callable
from enum import StrEnum
from functools import wraps
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn, ParamSpec

import typer
from rich.console import Console
from rich.markup import escape

from ml.errors import BundleError, DeviceError, IchnodeError
from node.errors import ConfigError

if TYPE_CHECKING:
    from node.ledger import Ledger
    from node.settings import Settings

EXIT_FAILED = 1
EXIT_USAGE = 2

PRIVATE = 0o077
"""The umask of every command: what it writes may tell of patients, and is for its user alone."""


class Panel(StrEnum):
    """The groups of commands in the help."""

    BEGIN = "Begin"
    RUN = "Run"
    LOOK = "Look and repair"


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


def command(
    panel: Panel | None, name: str | None = None, group: typer.Typer = app
) -> Callable[[Callable[P, None]], Callable[P, None]]:
    """Make a function a command; errors of ichnode become one line and an exit code.

    Parameters
    ----------
    panel : Panel, optional
        None within a group.
    name : str, optional
        Else the function's.
    group : typer.Typer
        What it is a command of.
    """

    def register(function: Callable[P, None]) -> Callable[P, None]:
        @wraps(function)
        def run(*args: P.args, **kwargs: P.kwargs) -> None:
            try:
                function(*args, **kwargs)
            except (ConfigError, BundleError, DeviceError) as error:
                _stop(error, EXIT_USAGE)
            except IchnodeError as error:
                _stop(error, EXIT_FAILED)

        group.command(name, rich_help_panel=panel)(run)
        return run

    return register


def _stop(error: IchnodeError, code: int) -> NoReturn:
    from node.logs import is_for_machines

    if is_for_machines():
        logging.getLogger("node").critical("%s", error)
        raise typer.Exit(code)
    Console(stderr=True, soft_wrap=True).print(
        f"[red]ichnode:[/red] {escape(str(error))}", highlight=False
    )
    raise typer.Exit(code)


def start_logging() -> None:
    """Log as commands for people do: what is wrong."""
    from node import logs

    logs.start_logging(logging.WARNING, "command")


def start_service_logging(settings: "Settings", part: str, *, verbose: bool) -> None:
    """Log as `up` and its parts do: a line for each step of a series."""
    from node import logs

    level = "debug" if verbose else settings.log.level
    logs.start_logging(logging.getLevelNamesMapping()[level.upper()], part, settings.log.format)


def settings_of(config: Path | None) -> "Settings":
    """The configuration.

    Raises
    ------
    ConfigError
        If it cannot be used.
    """
    from node.settings import load_settings

    return load_settings(config)


def service_settings(config: Path | None) -> "Settings":
    """Settings of what talks with peers: certificates and keys are looked at, too.

    Raises
    ------
    ConfigError
        If they cannot be used.
    """
    from node.tls import check_files

    settings = settings_of(config)
    check_files(settings)
    return settings


def ledger_of(settings: "Settings") -> "Ledger":
    """The ledger of a node.

    Raises
    ------
    ConfigError
        If it cannot be opened.
    """
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
