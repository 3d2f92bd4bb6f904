"""Rows of a CSV file come in: the good ones are taken, of the others it is told what is wrong."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from node.audit import Person
from node.feedback.intake import Intake
from node.feedback.rows import Blank, Row, Wrong
from node.feedback.said import ReadingError
from node.ledger import ReadingSource


@dataclass
class Imported:
    """What became of a file.

    Parameters
    ----------
    new, known, blank : int
        Lines that were taken, that said nothing new, and that say nothing yet.
    wrong : list of Wrong
    """

    new: int = 0
    known: int = 0
    blank: int = 0
    wrong: list[Wrong] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        return {
            "new": self.new,
            "known": self.known,
            "blank": self.blank,
            "wrong": [{"line": wrong.line, "why": wrong.why} for wrong in self.wrong],
        }

    def told(self, *, dry_run: bool) -> str:
        """For people."""
        counts = {
            "labels that can be taken" if dry_run else "labels taken": self.new,
            "known before": self.known,
            "lines that say nothing yet": self.blank,
            "wrong lines": len(self.wrong),
        }
        told = ", ".join(f"{what}: {count}" for what, count in counts.items() if count)
        return told or "the file has no line with a label"


def take_rows(
    rows: Iterable[Row | Blank | Wrong],
    intake: Intake,
    person: Person,
    imported: Imported,
    *,
    dry_run: bool = False,
) -> Iterator[Wrong]:
    """Take rows; gives those that are wrong.

    Parameters
    ----------
    rows : iterable of Row, Blank or Wrong
    intake : Intake
    person : Person
        Who brings them.
    imported : Imported
        Counts them.
    dry_run : bool
        Only look whether they could be taken.
    """
    for row in rows:
        if isinstance(row, Blank):
            imported.blank += 1
            continue
        wrong = row if isinstance(row, Wrong) else _take(row, intake, person, imported, dry_run)
        if wrong is not None:
            imported.wrong.append(wrong)
            yield wrong


def _take(
    row: Row, intake: Intake, person: Person, imported: Imported, dry_run: bool
) -> Wrong | None:
    try:
        target = intake.find(row.subject)
        is_new = intake.enter(
            target,
            row.findings,
            ReadingSource.CSV,
            row.reader,
            row.said_at,
            person,
            row.remark,
            dry_run=dry_run,
        )
    except ReadingError as error:
        return Wrong(row.line, str(error))
    if is_new:
        imported.new += 1
    else:
        imported.known += 1
    return None
