"""``python -m tests.soak``: run a campaign of faults and say what came of it."""

import json
import logging
import random
import shutil
import tempfile
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from tests.postgresql import binaries
from tests.soak.campaign import LedgerKind, Leg, Outcome
from tests.soak.faults import Fault
from tests.soak.report import Report

EXIT_FAILED = 1
EXIT_USAGE = 2


class Ledgers(StrEnum):
    """Which legs are run, one after the other."""

    SQLITE = "sqlite"
    POSTGRESQL = "postgresql"
    BOTH = "both"


KINDS = {fault.name.lower().replace("_", "-"): fault for fault in Fault}


def main(
    seed: Annotated[str, typer.Option(help="The plan is a function of it.")] = "",
    faults: Annotated[int, typer.Option(min=0, help="How many, over all legs.")] = 200,
    minutes: Annotated[float, typer.Option(help="The time that they are spread over.")] = 20,
    most_open: Annotated[int, typer.Option(min=1, help="Series under way at the same time.")] = 16,
    only: Annotated[
        list[str] | None, typer.Option(help=f"These kinds alone: {', '.join(KINDS)}.")
    ] = None,
    ledger: Annotated[Ledgers, typer.Option(help="Where the ledger is.")] = Ledgers.BOTH,
    out: Annotated[
        Path | None, typer.Option(help="Write the tables into this Markdown page.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")] = False,
    keep: Annotated[bool, typer.Option(help="Keep logs and ledger also if it holds.")] = False,
) -> None:
    """Send many studies to a node, break whatever can break, and count what is lost."""
    console = Console(stderr=True)
    kinds = _kinds(only or [], console)
    seed = seed or str(random.SystemRandom().randrange(1_000_000))
    legs = _legs(ledger, console)
    folder = Path(tempfile.mkdtemp(prefix="ichnode-soak-"))
    console.print(f"seed {seed}, {faults} faults in {minutes:g} minutes, in {folder}")
    logging.basicConfig(
        filename=folder / "campaign.log", level=logging.INFO, format="%(asctime)s %(message)s"
    )
    outcomes: list[Outcome] = []
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("faults", total=faults)
        for number, kind in enumerate(legs):
            share = faults // len(legs) + (number < faults % len(legs))
            leg = Leg(seed, folder / kind, kind, most_open)
            progress.update(task, description=f"{kind}: starting")
            with leg.running():
                progress.update(task, description=f"{kind}: faults")
                leg.run(share, minutes / len(legs), kinds, lambda: progress.advance(task))
                progress.update(task, description=f"{kind}: getting well")
                leg.settle()
            outcomes.append(leg.outcome)
    report = Report(seed, outcomes)
    report.show(console)
    if as_json:
        print(json.dumps(report.as_json(), indent=1))
    if out is not None:
        report.write(out)
    if report.has_held and not keep:
        shutil.rmtree(folder, ignore_errors=True)
    else:
        console.print(f"logs and ledger: {folder}", soft_wrap=True)
    if not report.has_held:
        raise typer.Exit(EXIT_FAILED)


def _kinds(names: list[str], console: Console) -> list[Fault]:
    for name in names:
        if name not in KINDS:
            console.print(f"--only: unknown kind {name}; known: {', '.join(KINDS)}")
            raise typer.Exit(EXIT_USAGE)
    return [KINDS[name] for name in names] or list(Fault)


def _legs(ledger: Ledgers, console: Console) -> list[LedgerKind]:
    wanted = list(LedgerKind) if ledger is Ledgers.BOTH else [LedgerKind(ledger)]
    if LedgerKind.POSTGRESQL in wanted and binaries() is None:
        console.print("left out: PostgreSQL (apt-get install postgresql)")
        wanted.remove(LedgerKind.POSTGRESQL)
    if not wanted:
        raise typer.Exit(EXIT_USAGE)
    return wanted


if __name__ == "__main__":
    typer.run(main)
