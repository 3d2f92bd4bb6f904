"""What a model says of the slices of a series."""

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ml.labels import LABELS, SUBTYPES, Label
from node.show.common import NOT_FOR_CLINICAL_USE, plain_table


def probability_table(
    slices: Sequence[dict[str, Any]], truth: Sequence[Sequence[int]] | None = None
) -> Table:
    """Every slice's six probabilities, from the head down, as one reads a stack of films.

    Parameters
    ----------
    slices : sequence of dict
        As in `ichnode analyze --json`, foot to head.
    truth : sequence of sequence of int, optional
        For each slice which labels are true, as `ml.labels.LABELS`.
    """
    table = plain_table()
    table.add_column("slice", justify="right")
    table.add_column("mm", justify="right")
    for label in LABELS:
        table.add_column(label.abbreviation, justify="right")
    if truth is not None:
        table.add_column("truth")
    for index in reversed(range(len(slices))):
        item = slices[index]
        row = [str(index + 1), f"{item['position_mm']:.1f}"]
        row += [_number(item["probabilities"][label.value]) for label in LABELS]
        if truth is not None:
            true = [x.abbreviation for x, y in zip(SUBTYPES, truth[index], strict=False) if y]
            row.append(", ".join(true) or "–")
        table.add_row(*row)
    return table


def study(console: Console, slices: Sequence[dict[str, Any]]) -> None:
    """The highest probability of each finding, and the slice that it comes from."""
    highest = []
    for label in (Label.ANY, *SUBTYPES):
        values = [item["probabilities"][label.value] for item in slices]
        index = max(range(len(values)), key=values.__getitem__)
        highest.append(f"{label.abbreviation} {values[index]:.3f} (slice {index + 1})")
    console.print(f"Highest: {', '.join(highest)}", highlight=False)
    console.print(NOT_FOR_CLINICAL_USE)


def _number(probability: float) -> str:
    """A probability, the louder the higher; what counts as present the model says, not this."""
    style = "bold" if probability >= 0.5 else "dim" if probability < 0.1 else "default"
    return f"[{style}]{probability:.3f}[/{style}]"


def warnings(console: Console, texts: Sequence[str]) -> None:
    """What a reader of the result has to know."""
    for text in texts:
        console.print(f"  [yellow]warning:[/yellow] {escape(text)}", highlight=False)
