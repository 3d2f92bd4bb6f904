"""What was measured: figures, what they are compared with, and the table of them."""

import json
import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tests.page import write_between

BEGIN, END = "<!-- figures: written by make bench -->", "<!-- end of figures -->"


@dataclass(frozen=True)
class Figure:
    """What one side has reached.

    Parameters
    ----------
    who : str
        ``ichnode``, or a peer with its version, or a limit.
    value : float
        The median where it was measured several times.
    unit : str
        Of the value. More is better where it is a rate (it has a ``/``), else less is.
    """

    who: str
    value: float
    unit: str

    def __str__(self) -> str:
        digits = 0 if self.value >= 100 else 1 if self.value >= 10 else 2
        return f"{self.value:,.{digits}f} {self.unit}"

    @property
    def is_rate(self) -> bool:
        """Whether more is better."""
        return "/" in self.unit


@dataclass(frozen=True)
class Comparison:
    """What the node is compared with, and what is wanted of it.

    Parameters
    ----------
    other : Figure
        In the unit of the node's.
    goal : float, optional
        The ratio that is to be reached; None where the figure is there to know.
    """

    other: Figure
    goal: float | None = None


@dataclass(frozen=True)
class Row:
    """One kind of work.

    Parameters
    ----------
    work : str
        What was done, and how much of it.
    ours : Figure
    comparisons : sequence of Comparison
        With peers and limits that were measured in the same run.
    most : float, optional
        A bound on our own figure where there is nothing to compare with.
    note : str
        What has to be known to read the figure.
    """

    work: str
    ours: Figure
    comparisons: Sequence[Comparison] = ()
    most: float | None = None
    note: str = ""

    def ratio(self, comparison: Comparison) -> float:
        """How much better the node is: 2 is twice as good, whatever the unit."""
        ours, other = self.ours.value, comparison.other.value
        return ours / other if self.ours.is_rate else other / ours

    def is_met(self, comparison: Comparison) -> bool | None:
        """Whether the goal of a comparison is reached; None without one."""
        return None if comparison.goal is None else self.ratio(comparison) >= comparison.goal

    @property
    def misses(self) -> list[str]:
        """The goals that are not reached, in words."""
        missed = [
            f"x{self.ratio(c):.2f} of {c.other.who}, the goal is x{c.goal:g}"
            for c in self.comparisons
            if self.is_met(c) is False
        ]
        if self.most is not None and self.ours.value > self.most:
            missed.append(f"{self.ours}, the goal is {self.most:g} {self.ours.unit}")
        return missed


@dataclass(frozen=True)
class LeftOut:
    """Work that could not be measured here, and why."""

    work: str
    why: str


_HEADER = ("work", "ichnode", "compared with", "ratio", "goal", "")


@dataclass(frozen=True)
class Report:
    """All that was measured in one run."""

    rows: Sequence[Row]
    left_out: Sequence[LeftOut]
    seconds: float

    def as_json(self) -> dict[str, Any]:
        """Everything, for programs."""
        return {
            "date": f"{datetime.now(UTC):%Y-%m-%d}",
            "machine": machine(),
            "seconds": round(self.seconds, 1),
            "rows": [
                {
                    "work": row.work,
                    "ours": {"value": row.ours.value, "unit": row.ours.unit},
                    "most": row.most,
                    "note": row.note,
                    "comparisons": [
                        {
                            "with": c.other.who,
                            "value": c.other.value,
                            "ratio": round(row.ratio(c), 3),
                            "goal": c.goal,
                            "met": row.is_met(c),
                        }
                        for c in row.comparisons
                    ],
                    "misses": row.misses,
                }
                for row in self.rows
            ],
            "left_out": [{"work": item.work, "why": item.why} for item in self.left_out],
        }

    def save(self, path: Path) -> None:
        """Write it as JSON."""
        path.write_text(json.dumps(self.as_json(), indent=1) + "\n", encoding="utf-8")

    def show(self, console: Console) -> None:
        """Print it as a table."""
        table = Table(*_HEADER)
        for row in self._lines():
            table.add_row(*row)
        console.print(table)
        for item in self.left_out:
            console.print(f"left out: {item.work}: {item.why}", highlight=False)

    def write(self, path: Path) -> None:
        """Write it as Markdown between the marks of a page that has them, else alone."""
        write_between(path, BEGIN, END, self._markdown())

    def _markdown(self) -> str:
        lines = [f"{machine()}, {datetime.now(UTC):%Y-%m-%d}.", ""]
        lines += [f"| {' | '.join(_HEADER)} |", f"|{'---|' * len(_HEADER)}"]
        lines += [f"| {' | '.join(line)} |" for line in self._lines()]
        lines += [f"\nLeft out: {item.work}: {item.why}." for item in self.left_out]
        notes = [f"- {row.work}: {row.note}" for row in self.rows if row.note]
        return "\n".join([*lines, *([""] if notes else []), *notes])

    def _lines(self) -> list[tuple[str, ...]]:
        lines: list[tuple[str, ...]] = []
        for row in self.rows:
            name, ours = row.work, str(row.ours)
            if row.most is not None:
                met = "yes" if row.ours.value <= row.most else "no"
                lines.append((name, ours, "", "", f"at most {row.most:g} {row.ours.unit}", met))
                name = ours = ""
            for comparison in row.comparisons:
                is_met = row.is_met(comparison)
                lines.append(
                    (
                        name,
                        ours,
                        f"{comparison.other.who}: {comparison.other}",
                        f"x{row.ratio(comparison):.2f}",
                        "" if comparison.goal is None else f"x{comparison.goal:g}",
                        {True: "yes", False: "no", None: ""}[is_met],
                    )
                )
                name = ours = ""
            if name:
                lines.append((name, ours, "", "", "", ""))
        return lines


def machine() -> str:
    """What the figures were measured on, without its name."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    return f"{os.cpu_count()} cores of {model}, Python {platform.python_version()}"
