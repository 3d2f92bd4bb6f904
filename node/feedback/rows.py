"""Readings as rows of a CSV file: each line is one, or says what is wrong with it."""

import csv
import hashlib
import io
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass
from datetime import datetime
from itertools import chain

from ml.labels import LABELS, Label
from node.errors import ConfigError
from node.feedback.said import (
    LONGEST_READER,
    LONGEST_REMARK,
    ReadingError,
    Subject,
    answer,
    as_findings,
    as_reader,
    as_remark,
    not_later,
    shown,
)
from node.ledger import Findings
from node.spool import is_uid

READER = "csv"
"""Who says so where no column does."""

STUDY, SERIES, ACCESSION = "study_instance_uid", "series_instance_uid", "accession_number"
SUBJECTS = (STUDY, SERIES, ACCESSION)
"""Columns of which a row needs one."""

NAMES = frozenset(label.value for label in LABELS)
_COLUMNS = {*SUBJECTS, *NAMES, "reader", "at", "remark"}

_LONGEST_LINE = 64 * 1024


@dataclass(frozen=True)
class Row:
    """A line of the file.

    Parameters
    ----------
    line : int
        From 1; of a row that has several lines, the first one.
    subject : Subject
    findings : mapping of Label to bool
    reader : str
    said_at : datetime, optional
        None where the file does not say.
    remark : str, optional
    """

    line: int
    subject: Subject
    findings: Findings
    reader: str
    said_at: datetime | None
    remark: str | None


@dataclass(frozen=True)
class Blank:
    """A line that says nothing of any finding yet."""

    line: int


@dataclass(frozen=True)
class Wrong:
    """A line that is none, and why."""

    line: int
    why: str


def read_rows(lines: Iterable[str], now: datetime) -> Iterator[Row | Blank | Wrong]:
    """Read a file.

    Parameters
    ----------
    lines : iterable of str
        With the names of the columns first; a comma, semicolon or tab between them.
    now : datetime.datetime
        No reading is later.

    Raises
    ------
    ConfigError
        If its columns are not those of readings.
    """
    found = iter(lines)
    head = next(found, "").lstrip("\ufeff")
    if head.startswith(_UTF_16):
        raise ConfigError("the file is UTF-16: save it as CSV UTF-8")
    between = max(",;\t", key=head.count)
    names = [name.strip().lower() for name in next(csv.reader([head], delimiter=between), [])]
    _check_columns(names)
    rows = csv.reader(_bounded(found), delimiter=between, skipinitialspace=True, strict=True)
    said: dict[bytes, tuple[int, str]] = {}
    while True:
        line = rows.line_num + 2
        try:
            cells = next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            yield Wrong(line, _unreadable(line, rows.line_num + 1, error))
            continue
        if not any(cell.strip() for cell in cells):
            continue
        if not any(cell.strip() for name, cell in zip(names, cells, strict=False) if name in NAMES):
            yield Blank(line)
            continue
        try:
            row = _row(line, _named(names, cells), now)
            _check_against(said, row)
        except ReadingError as error:
            yield Wrong(line, str(error))
        else:
            yield row


_UTF_16 = ("\udcff\udcfe", "\udcfe\udcff")
"""What such a file begins with, read as UTF-8 with what is none escaped."""


def _unreadable(first: int, last: int, error: csv.Error) -> str:
    where = "" if first == last else f"; nothing of the lines {first} to {last} is taken"
    return f"{error}: is a quotation mark missing, or one too many?{where}"


def _check_columns(names: list[str]) -> None:
    unknown = [name for name in names if name not in _COLUMNS]
    if unknown:
        raise ConfigError(
            f"the first line has a column {shown(unknown[0])}; known: {', '.join(sorted(_COLUMNS))}"
        )
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise ConfigError(f"the first line has the column {twice[0]} twice")
    if not set(SUBJECTS) & set(names):
        raise ConfigError(f"the first line needs one of the columns {', '.join(SUBJECTS)}")
    if not NAMES & set(names):
        raise ConfigError("the first line needs the column any, or one of a kind of hemorrhage")


def _bounded(lines: Iterator[str]) -> Iterator[str]:
    for line in lines:
        yield line if len(line) <= _LONGEST_LINE else f"{line[:_LONGEST_LINE]}\n"


def _named(names: list[str], cells: list[str]) -> dict[str, str]:
    if len(cells) > len(names):
        raise ReadingError(f"it has {len(cells)} cells, and there are {len(names)} columns")
    if any(
        "\ud800" <= letter <= "\udfff" for cell in cells if not cell.isascii() for letter in cell
    ):
        raise ReadingError("it is not in UTF-8: save the file as CSV UTF-8")
    return dict(zip(names, map(str.strip, cells), strict=False))


def _row(line: int, cells: Mapping[str, str], now: datetime) -> Row:
    subject = Subject(*(cells.get(name, "") for name in SUBJECTS))
    for name in (STUDY, SERIES):
        if cells.get(name) and not is_uid(cells[name]):
            raise ReadingError(f"{name} is no UID")
    if subject == Subject():
        raise ReadingError(f"it needs one of {', '.join(SUBJECTS)}")
    said: dict[Label, bool | None] = {}
    for label in LABELS:
        if not cells.get(label.value):
            continue
        try:
            said[label] = answer(cells.get(label.value, ""))
        except ReadingError as error:
            raise ReadingError(f"{label}: {error}") from None
    return Row(
        line,
        subject,
        as_findings(said),
        as_reader(_short(cells, "reader", LONGEST_READER)) or READER,
        _time(cells.get("at", ""), now),
        as_remark(_short(cells, "remark", LONGEST_REMARK)),
    )


def _short(cells: Mapping[str, str], name: str, most: int) -> str:
    text = cells.get(name, "")
    if len(text) > most:
        raise ReadingError(f"{name}: it has {len(text)} characters, and {most} are taken")
    return text


def _time(text: str, now: datetime) -> datetime | None:
    if not text:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise ReadingError(
            f"at: {shown(text)} is no time as in 2026-11-26T08:30:00+01:00"
        ) from None
    return not_later(found, now)


def _check_against(said: dict[bytes, tuple[int, str]], row: Row) -> None:
    """Of two rows that contradict each other it must be known which one is newer.

    Whoever says so: the newest one counts. Of a million rows a digest and a number are kept.
    """
    if row.said_at is not None:
        return
    subject = hashlib.blake2b("\n".join(astuple(row.subject)).encode(), digest_size=16).digest()
    words = (f"{label} {row.findings.get(label)}" for label in LABELS)
    findings = sys.intern(", ".join(words))
    line, before = said.setdefault(subject, (row.line, findings))
    if before != findings:
        raise ReadingError(
            f"line {line} says something else of the same: give both a time, in a column at"
        )


def write_rows(
    rows: Iterable[Mapping[str, str | float | None]], columns: Sequence[str]
) -> Iterator[str]:
    """Lines of a file (RFC 4180), the names of the columns first."""
    line = io.StringIO()
    writer = csv.writer(line, lineterminator="\r\n")
    for cells in chain([columns], ([row.get(name) for name in columns] for row in rows)):
        writer.writerow([_harmless(cell) if isinstance(cell, str) else cell for cell in cells])
        yield line.getvalue()
        line.seek(0)
        line.truncate()


def _harmless(text: str) -> str:
    """A cell that no program of tables takes for a formula."""
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text
