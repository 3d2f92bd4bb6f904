"""``make fuzz``: read many broken files and hold many broken sessions, and count how they end."""

import json
import os
import random
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from tests.fuzz.campaign import Result, fuzz_files, fuzz_port

EXIT_FOUND = 1
SESSIONS_SHARE = 0.1
"""Of all inputs: a session takes ten times as long as a file."""

AT_ONCE = 8
"""Sessions with the receiver at the same time."""


def main(
    inputs: Annotated[int, typer.Option(min=1, help="Files and sessions together.")] = 100_000,
    seed: Annotated[str, typer.Option(help="The inputs are a function of it.")] = "",
    jobs: Annotated[int, typer.Option(min=0, help="Processes that read files; 0: one a core.")] = 0,
    findings: Annotated[Path, typer.Option(help="Folder for what broke something.")] = Path(
        "fuzz-findings"
    ),
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")] = False,
) -> None:
    """Break files and associations at random; exit status 1 if that broke the node."""
    console = Console(stderr=True)
    seed = seed or str(random.SystemRandom().randrange(1_000_000))
    sessions = round(inputs * SESSIONS_SHARE)
    work = Path(tempfile.mkdtemp(prefix="ichnode-fuzz-"))
    console.print(f"seed {seed}: {inputs - sessions} files, {sessions} sessions, in {work}")
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), console=console) as progress:
        reading = progress.add_task("files", total=inputs - sessions)
        holding = progress.add_task("sessions", total=sessions)
        files = fuzz_files(
            seed,
            inputs - sessions,
            jobs or os.cpu_count() or 1,
            findings,
            work / "files",
            lambda more: progress.advance(reading, more),
        )
        port = fuzz_port(
            seed, sessions, AT_ONCE, work / "port", lambda more: progress.advance(holding, more)
        )
    if as_json:
        print(json.dumps({"seed": seed, "files": _json(files), "sessions": _json(port)}))
    else:
        Console().print(_table("files", files), _table("sessions", port))
    for finding in (*files.findings, *port.findings):
        console.print(f"found: {finding}", style="red")
    if files.findings or port.findings:
        sys.exit(EXIT_FOUND)


def _json(result: Result) -> dict[str, object]:
    return {
        "outcomes": dict(result.outcomes),
        "findings": result.findings,
        "most_mib": result.most_mib,
    }


def _table(what: str, result: Result) -> Table:
    table = Table(title=f"{result.outcomes.total()} {what}, at most {result.most_mib} MiB")
    table.add_column("outcome")
    table.add_column(what, justify="right")
    for outcome, count in result.outcomes.most_common():
        table.add_row(outcome, str(count))
    table.add_row("broke something", str(len(result.findings)))
    return table


if __name__ == "__main__":
    typer.run(main)
