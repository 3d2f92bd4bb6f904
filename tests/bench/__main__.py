"""``python -m tests.bench``: measure, compare, print the table."""

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from tests.bench import (
    decode,
    fetch,
    forward,
    latency,
    ledger,
    memory,
    priority,
    receive,
    send,
    start,
    stow,
    workers,
)
from tests.bench.row import LeftOut, Report, Row

EXIT_MISSED = 1
EXIT_USAGE = 2

Subject = Callable[[Path], Iterator[Row | LeftOut]]
"""Measures one kind of work in a folder of its own."""

SUBJECTS: Mapping[str, Subject] = {
    "start": start.rows,
    "receive": receive.rows,
    "send": send.rows,
    "stow": stow.rows,
    "fetch": fetch.rows,
    "decode": decode.rows,
    "forward": forward.rows,
    "latency": latency.rows,
    "memory": memory.rows,
    "workers": workers.rows,
    "priority": priority.rows,
    "ledger": ledger.rows,
}


def main(
    only: Annotated[
        list[str] | None, typer.Option(help=f"These alone: {', '.join(SUBJECTS)}.")
    ] = None,
    as_json: Annotated[
        Path, typer.Option("--json", help="Write every figure into this file.")
    ] = Path("bench.json"),
    out: Annotated[
        Path | None, typer.Option(help="Write the table into this Markdown page.")
    ] = None,
    *,
    strict: Annotated[bool, typer.Option(help="Fail if a goal is missed.")] = False,
) -> None:
    """Measure how fast the node is, beside its peers and limits in the same run."""
    console = Console(stderr=True)
    for name in only or []:
        if name not in SUBJECTS:
            console.print(f"--only: no subject {name}; there are: {', '.join(SUBJECTS)}")
            raise typer.Exit(EXIT_USAGE)
    found: list[Row | LeftOut] = []
    began = time.monotonic()
    for name in only or SUBJECTS:
        with (
            console.status(f"measuring: {name}"),
            tempfile.TemporaryDirectory(prefix=f"ichnode-bench-{name}-") as folder,
        ):
            since = time.monotonic()
            found += SUBJECTS[name](Path(folder))
        console.print(f"{name}: {time.monotonic() - since:.0f} s", highlight=False)
    report = Report(
        [item for item in found if isinstance(item, Row)],
        [item for item in found if isinstance(item, LeftOut)],
        time.monotonic() - began,
    )
    report.show(Console())
    report.save(as_json)
    if out is not None:
        report.write(out)
    misses = [f"{row.work}: {miss}" for row in report.rows for miss in row.misses]
    for miss in misses:
        console.print(f"missed: {miss}", highlight=False)
    if strict and misses:
        raise typer.Exit(EXIT_MISSED)


if __name__ == "__main__":
    typer.run(main)
