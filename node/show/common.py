"""What several commands print alike."""

from datetime import datetime

from rich.table import Table

NOT_FOR_CLINICAL_USE = "Not for clinical use."


def iso(at: datetime | None) -> str | None:
    """A time for JSON."""
    return None if at is None else at.isoformat()


def plain_table() -> Table:
    """A table without lines, for the terminal."""
    return Table(box=None, pad_edge=False, header_style="bold")
