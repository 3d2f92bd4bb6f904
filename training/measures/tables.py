"""Tables of figures, for a terminal and for Markdown."""

import math
from dataclasses import dataclass

import rich.table
from rich import box

from training.measures.metrics import Interval

NONE = "–"
"""Printed where there is no value; a note says why."""

Rows = tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Table:
    """Text in rows and columns.

    Parameters
    ----------
    title : str
    columns : tuple of str
    rows : tuple of tuple of str
        Each as long as `columns`.
    notes : tuple of str
        What a reader must know of it, among them why values are missing.
    """

    title: str
    columns: tuple[str, ...]
    rows: Rows
    notes: tuple[str, ...] = ()

    def markdown(self, level: int = 3) -> str:
        """The table below a heading of a level (1 is the highest)."""
        lines = [
            f"{'#' * level} {self.title}",
            "",
            _line(self.columns),
            "|" + "---|" * len(self.columns),
            *(_line(row) for row in self.rows),
            "",
            *(f"- {note}" for note in self.notes),
        ]
        return "\n".join(lines).rstrip() + "\n"

    def rich(self) -> rich.table.Table:
        """The table for a terminal."""
        shown = rich.table.Table(
            title=self.title,
            title_justify="left",
            box=box.SIMPLE_HEAD,
            caption="\n".join(self.notes) or None,
            caption_justify="left",
        )
        for number, column in enumerate(self.columns):
            shown.add_column(column, justify="right" if number else "left")
        for row in self.rows:
            shown.add_row(*row)
        return shown


def _line(cells: tuple[str, ...]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def number(value: float, digits: int = 4) -> str:
    """A number with as many digits after the point, or `NONE`."""
    return NONE if math.isnan(value) else f"{value:.{digits}f}"


def limits(interval: Interval, digits: int = 4) -> str:
    """The limits of an interval."""
    if math.isnan(interval.low):
        return NONE
    return f"{interval.low:.{digits}f} to {interval.high:.{digits}f}"


def with_limits(interval: Interval, digits: int = 4) -> str:
    """A value with its limits in brackets."""
    if not interval.defined:
        return NONE
    return f"{number(interval.value, digits)} ({limits(interval, digits)})"
