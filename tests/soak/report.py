"""What a campaign tells: tables for the terminal, Markdown for the docs, JSON for programs."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tests.page import write_between
from tests.soak.campaign import Outcome
from tests.soak.faults import AIMED, Fault

BEGIN, END = "<!-- campaign: written by make soak -->", "<!-- end of campaign -->"


@dataclass(frozen=True)
class Report:
    """A campaign and what came of it.

    Parameters
    ----------
    seed : str
    outcomes : sequence of Outcome
        One for each leg.
    """

    seed: str
    outcomes: Sequence[Outcome]

    @property
    def faults(self) -> int:
        """How many there were in all."""
        return sum(sum(outcome.faults.values()) for outcome in self.outcomes)

    @property
    def has_held(self) -> bool:
        """Whether nothing is wrong."""
        return not any(outcome.findings for outcome in self.outcomes)

    def as_json(self) -> dict[str, Any]:
        """Everything, for programs."""
        return {
            "seed": self.seed,
            "held": self.has_held,
            "faults": self.faults,
            "legs": [
                {
                    "ledger": outcome.ledger,
                    "seconds": round(outcome.seconds, 1),
                    "faults": {
                        fault.name.lower(): outcome.faults[fault]
                        for fault in Fault
                        if outcome.faults[fault]
                    },
                    "in_the_midst": {
                        fault.name.lower(): count for fault, count in outcome.in_the_midst.items()
                    },
                    "left_out": {f.name.lower(): why for f, why in outcome.left_out.items()},
                    "counts": outcome.counts,
                    "findings": [
                        {"wrong": f.wrong, "series": f.series, "text": f.text}
                        for f in outcome.findings
                    ],
                }
                for outcome in self.outcomes
            ],
        }

    def show(self, console: Console) -> None:
        """Print it as tables, with the first things that are wrong."""
        for header, rows in (self._faults(), self._counts()):
            table = Table(*header, title=None)
            for row in rows:
                table.add_row(*row)
            console.print(table)
        for outcome in self.outcomes:
            for finding in outcome.findings[:20]:
                console.print(
                    f"[red]{outcome.ledger}: {finding.wrong}[/red] {finding.series}: "
                    f"{finding.text}",
                    highlight=False,
                )

    def write(self, path: Path) -> None:
        """Write it as Markdown: between the marks of a page that has them, else alone."""
        write_between(path, BEGIN, END, self._markdown())

    def _markdown(self) -> str:
        lines = [f"{self.faults} faults, seed {self.seed}, {datetime.now(UTC):%Y-%m-%d}.", ""]
        for header, rows in (self._counts(), self._faults()):
            lines += [f"| {' | '.join(header)} |", f"|{'---|' * len(header)}"]
            lines += [f"| {' | '.join(row)} |" for row in rows]
            lines.append("")
        return "\n".join(lines).rstrip()

    @property
    def _legs(self) -> list[str]:
        return [f"ledger in {outcome.ledger.label}" for outcome in self.outcomes]

    def _faults(self) -> tuple[list[str], list[list[str]]]:
        rows = [
            [fault.value, *(_times(outcome, fault) for outcome in self.outcomes)]
            for fault in Fault
            if any(outcome.faults[fault] for outcome in self.outcomes)
        ]
        totals = [str(sum(outcome.faults.values())) for outcome in self.outcomes]
        return ["fault", *self._legs], [*rows, ["in all", *totals]]

    def _counts(self) -> tuple[list[str], list[list[str]]]:
        names = list(dict.fromkeys(name for outcome in self.outcomes for name in outcome.counts))
        rows = [[n, *(str(o.counts.get(n, "")) for o in self.outcomes)] for n in names]
        times = [f"{outcome.seconds / 60:.1f}" for outcome in self.outcomes]
        return ["", *self._legs], [*rows, ["minutes", *times]]


def _times(outcome: Outcome, fault: Fault) -> str:
    if fault in outcome.left_out:
        return f"left out: {outcome.left_out[fault]}"
    count = outcome.faults[fault]
    midst = outcome.in_the_midst[fault]
    return f"{count} ({midst} hit)" if fault in AIMED and midst != count else str(count)
