"""``make fuzz``: read many broken files, hold many broken sessions, send many broken requests."""

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

from tests.fuzz.campaign import Result, fuzz_files, fuzz_port, fuzz_stow

EXIT_FOUND = 1
SESSIONS_SHARE = 0.1
"""Of all inputs: a session takes ten times as long as a file."""

REQUESTS_SHARE = 0.05

AT_ONCE = 8
"""Sessions or requests at the same time."""


def main(
    inputs: Annotated[
        int, typer.Option(min=1, help="Files, sessions and requests together.")
    ] = 100_000,
    seed: Annotated[str, typer.Option(help="The inputs are a function of it.")] = "",
    jobs: Annotated[int, typer.Option(min=0, help="Processes that read files; 0: one a core.")] = 0,
    findings: Annotated[Path, typer.Option(help="Folder for what broke something.")] = Path(
        "fuzz-findings"
    ),
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")] = False,
) -> None:
    """Break files, associations and requests at random; exit status 1 if that broke the node."""
    console = Console(stderr=True)
    seed = seed or str(random.SystemRandom().randrange(1_000_000))
    sessions = round(inputs * SESSIONS_SHARE)
    requests = round(inputs * REQUESTS_SHARE)
    reads = inputs - sessions - requests
    work = Path(tempfile.mkdtemp(prefix="ichnode-fuzz-"))
    console.print(
        f"seed {seed}: {reads} files, {sessions} sessions, {requests} requests, in {work}"
    )
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), console=console) as progress:
        reading = progress.add_task("files", total=reads)
        holding = progress.add_task("sessions", total=sessions)
        sending = progress.add_task("requests", total=requests)
        files = fuzz_files(
            seed,
            reads,
            jobs or os.cpu_count() or 1,
            findings,
            work / "files",
            lambda more: progress.advance(reading, more),
        )
        port = fuzz_port(
            seed, sessions, AT_ONCE, work / "port", lambda more: progress.advance(holding, more)
        )
        stow = fuzz_stow(
            seed, requests, AT_ONCE, work / "stow", lambda more: progress.advance(sending, more)
        )
    results = {"files": files, "sessions": port, "requests": stow}
    if as_json:
        print(json.dumps({"seed": seed} | {name: _json(one) for name, one in results.items()}))
    else:
        Console().print(*(_table(name, one) for name, one in results.items()))
    found = [finding for one in results.values() for finding in one.findings]
    for finding in found:
        console.print(f"found: {finding}", style="red")
    if found:
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
