"""What readers say of series, beside what the model said, and both counted.

A reading is about a series, or about every series of a study, also those that are judged
later. It is never changed: the newest one counts, whoever said it. The counts are kept in
step with every judgement and every reading, in the same transaction, and stay when a series
is forgotten: they name nobody.

Whoever changes what is counted of a study holds the study first, then its series, then the
counts in the order of their keys: so nobody waits for each other.
"""

import hashlib
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, astuple, dataclass, field, fields
from datetime import datetime
from enum import Enum, StrEnum, auto
from typing import Any

import sqlalchemy as sa

from ml.labels import LABELS, Label
from node.ledger import schema
from node.ledger.database import DAY_S, MOST_AT_ONCE, latest, some, utc
from node.ledger.models import JudgingModel, Models, as_model
from node.ledger.records import Page, Place

_model, _judged, _reading = schema.model, schema.judged, schema.reading
_tally, _series, _revision = schema.tally, schema.series, schema.revision


class ReadingSource(StrEnum):
    """Where a reading came from."""

    PAGE = "page"
    CSV = "csv"
    HL7 = "hl7"


Findings = Mapping[Label, bool]
"""Which findings a reader calls present, and which absent; of the others nothing is known."""


@dataclass(frozen=True)
class Reading:
    """What a reader says of a series.

    Parameters
    ----------
    study_instance_uid : str
    series_instance_uid : str, optional
        None where it is about every series of the study.
    source : ReadingSource
    reader : str
        Who says so.
    said_at : float
        When, seconds since 1970.
    findings : mapping of Label to bool
    remark : str, optional
    """

    study_instance_uid: str
    series_instance_uid: str | None
    source: ReadingSource
    reader: str
    said_at: float
    findings: Findings
    remark: str | None = None


class Entered(Enum):
    """What a reading was to the ledger."""

    NEW = auto()
    KNOWN = auto()
    """The same reader said the same before."""

    NOT_THERE = auto()
    """Of a series that the ledger does not know."""


@dataclass(frozen=True)
class Tally:
    """How many series a model judged for a finding, and how that compares with readers.

    Parameters
    ----------
    series, flagged : int
        All that were judged, and of these the flagged ones.
    true_positives, false_positives, true_negatives, false_negatives : int
        Those of which a reader says something of the finding.
    """

    series: int = 0
    flagged: int = 0
    true_positives: int = 0
    false_positives: int = 0
    true_negatives: int = 0
    false_negatives: int = 0

    def __add__(self, other: "Tally") -> "Tally":
        return Tally(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))

    def __sub__(self, other: "Tally") -> "Tally":
        return Tally(*(a - b for a, b in zip(astuple(self), astuple(other), strict=True)))


@dataclass(frozen=True)
class ReadSeries:
    """A series that was judged and read.

    Parameters
    ----------
    study_instance_uid, series_instance_uid : str
    model : JudgingModel
    judged_at : datetime
        UTC.
    maxima : dict of str to float
        Highest probability of each finding.
    flagged : frozenset of Label
    findings : mapping of Label to bool
        As its newest reading says.
    """

    study_instance_uid: str
    series_instance_uid: str
    model: JudgingModel
    judged_at: datetime
    maxima: dict[str, float]
    flagged: frozenset[Label]
    findings: Findings


_Key = tuple[int, int, str]
"""Model, day, finding."""


def digest_of_accession(number: str) -> str | None:
    """What stands for an accession number in the ledger, which names no order; None for none."""
    number = number.strip()
    return hashlib.sha256(number.encode()).hexdigest() if number else None


def counted(
    model_id: int, judged_at: float, flagged: Collection[str], findings: Mapping[str, bool] | None
) -> dict[_Key, Tally]:
    """What one series adds to the counts.

    Parameters
    ----------
    model_id : int
    judged_at : float
        Seconds since 1970.
    flagged : collection of str
    findings : mapping of str to bool, optional
        As its newest reading says; None where there is none.
    """
    day, said = int(judged_at // DAY_S), findings or {}
    return {
        (model_id, day, label.value): Tally(
            1,
            label in flagged,
            label in flagged and said.get(label) is True,
            label in flagged and said.get(label) is False,
            label not in flagged and said.get(label) is False,
            label not in flagged and said.get(label) is True,
        )
        for label in LABELS
    }


@dataclass
class _Changes:
    """What is to be added to the counts."""

    by_key: dict[_Key, Tally] = field(default_factory=lambda: defaultdict(Tally))

    def add(self, counts: Mapping[_Key, Tally]) -> None:
        for key, tally in counts.items():
            self.by_key[key] += tally

    def take(self, counts: Mapping[_Key, Tally]) -> None:
        for key, tally in counts.items():
            self.by_key[key] -= tally


_KEYS = ("model_id", "day", "finding")
_COUNTS = tuple(count.name for count in fields(Tally))

# The same in both databases; put together by SQLAlchemy it would be so at every execution.
_ADD = sa.text(
    f"INSERT INTO tally ({', '.join(_KEYS + _COUNTS)}) "  # noqa: S608
    f"VALUES ({', '.join(f':{name}' for name in _KEYS + _COUNTS)}) "
    f"ON CONFLICT ({', '.join(_KEYS)}) DO UPDATE SET "
    + ", ".join(f"{name} = tally.{name} + excluded.{name}" for name in _COUNTS)
)


class Feedback(Models):
    """Judgements and readings come in, and are counted."""

    # -- what comes in ---------------------------------------------------------

    def enter_reading(self, reading: Reading) -> Entered:
        """Enter what a reader says, and count it.

        What the same reader said before, at the same time, changes nothing.
        """
        return self._enter(reading, _is_same(reading, _reading.c.said_at == reading.said_at))

    def enter_undated_reading(self, reading: Reading) -> Entered:
        """The same for one that does not say when: `said_at` is now.

        It changes nothing where it is what the same reader said last, by the same source.
        """
        newest = _reading.alias()
        is_last = ~sa.exists().where(
            newest.c.study_instance_uid == reading.study_instance_uid,
            _is_about(newest, reading),
            newest.c.source == reading.source,
            newest.c.reader == reading.reader,
            newest.c.id > _reading.c.id,
        )
        return self._enter(reading, _is_same(reading, is_last))

    def _enter(self, reading: Reading, is_known: sa.ColumnElement[bool]) -> Entered:
        with self.engine.begin() as connection:
            self._hold_study(connection, reading.study_instance_uid)
            about = [_series.c.study_instance_uid == reading.study_instance_uid]
            if reading.series_instance_uid is not None:
                about.append(_series.c.series_instance_uid == reading.series_instance_uid)
            if connection.execute(sa.select(_series.c.id).where(*about).limit(1)).first() is None:
                return Entered.NOT_THERE
            asked = sa.select(_reading.c.findings, _reading.c.remark).where(is_known)
            before = [(row.findings, row.remark) for row in connection.execute(asked)]
            if (_as_json(reading.findings), reading.remark) in before:
                return Entered.KNOWN
            connection.execute(
                sa.insert(_reading).values(
                    study_instance_uid=reading.study_instance_uid,
                    series_instance_uid=reading.series_instance_uid,
                    source=reading.source,
                    reader=reading.reader,
                    said_at=reading.said_at,
                    entered_at=self.clock(),
                    findings=_as_json(reading.findings),
                    remark=reading.remark,
                )
            )
            rows = connection.execute(
                sa.select(_judged, _series.c.series_instance_uid)
                .join(_series, _series.c.id == _judged.c.series_id)
                .where(*about)
                .order_by(_judged.c.series_id)
                .with_for_update(of=_judged)
            ).all()
            changes = _Changes()
            for row in rows:
                truth = _truth(connection, reading.study_instance_uid, row.series_instance_uid)
                connection.execute(
                    sa.update(_judged)
                    .where(_judged.c.series_id == row.series_id)
                    .values(truth=truth)
                )
                changes.take(_counted(row, row.truth))
                changes.add(_counted(row, truth))
            _count(connection, changes)
        return Entered.NEW

    def enter_judgement(
        self,
        connection: sa.Connection,
        revision_id: int,
        model_id: int,
        flagged: Collection[str],
        accession: str | None,
        now: float,
    ) -> None:
        """Note how a revision was judged, and count it in place of the one before.

        Parameters
        ----------
        connection : sqlalchemy.Connection
            Which holds the series (`hold_series_of`) and the revision.
        revision_id : int
        model_id : int
            Who has judged it.
        flagged : collection of str
        accession : str, optional
            A digest of the accession number.
        now : float
            Seconds since 1970.
        """
        of_revision = connection.execute(
            sa.select(
                _revision.c.series_id,
                _revision.c.number,
                _series.c.study_instance_uid,
                _series.c.series_instance_uid,
            )
            .join(_series, _series.c.id == _revision.c.series_id)
            .where(_revision.c.id == revision_id)
        ).one()
        self._hold_study(connection, of_revision.study_instance_uid)
        before = connection.execute(
            sa.select(_judged).where(_judged.c.series_id == of_revision.series_id)
        ).first()
        if before is not None and before.number > of_revision.number:
            return
        truth = _truth(connection, of_revision.study_instance_uid, of_revision.series_instance_uid)
        values = {
            "series_id": of_revision.series_id,
            "number": of_revision.number,
            "model_id": model_id,
            "judged_at": now,
            "flagged": sorted(flagged),
            "is_flagged": bool(flagged),
            "truth": truth,
            "accession": accession,
        }
        changes = _Changes()
        if before is None:
            connection.execute(sa.insert(_judged).values(values))
        else:
            connection.execute(
                sa.update(_judged).where(_judged.c.series_id == before.series_id).values(values)
            )
            changes.take(_counted(before, before.truth))
        changes.add(counted(model_id, now, flagged, truth))
        _count(connection, changes)

    def hold_series_of(self, connection: sa.Connection, revision_id: int) -> None:
        """Keep a series from being deleted: first of all, as all do who hold it and a revision."""
        connection.execute(
            sa.select(_series.c.id)
            .join(_revision, _revision.c.series_id == _series.c.id)
            .where(_revision.c.id == revision_id)
            .with_for_update(read=True, key_share=True, of=_series)
        )

    def forget_readings(self, connection: sa.Connection, series_id: int) -> None:
        """Delete what was said of a series, and of its study where it is the last one of it.

        What they were counted as stays.
        """
        series = connection.execute(
            sa.select(_series.c.study_instance_uid, _series.c.series_instance_uid).where(
                _series.c.id == series_id
            )
        ).one()
        self._hold_study(connection, series.study_instance_uid)
        sibling = sa.exists().where(
            _series.c.study_instance_uid == series.study_instance_uid, _series.c.id != series_id
        )
        connection.execute(
            sa.delete(_reading).where(
                _reading.c.study_instance_uid == series.study_instance_uid,
                sa.or_(
                    _reading.c.series_instance_uid == series.series_instance_uid,
                    sa.and_(_reading.c.series_instance_uid.is_(None), ~sibling),
                ),
            )
        )
        connection.execute(sa.delete(_judged).where(_judged.c.series_id == series_id))

    def _hold_study(self, connection: sa.Connection, study_instance_uid: str) -> None:
        """Let readings and judgements of a study come in one at a time; SQLite has one writer."""
        if self.engine.dialect.name == "postgresql":
            connection.execute(
                sa.text("SELECT pg_advisory_xact_lock(hashtextextended(:study, 14))"),
                {"study": study_instance_uid},
            )

    # -- what is asked ---------------------------------------------------------

    def readings(self, study_instance_uid: str, series_instance_uid: str) -> list[Reading]:
        """What was said of a series, the newest first: it is what counts."""
        with self.reading() as connection:
            rows = connection.execute(
                _of_series(study_instance_uid, series_instance_uid).limit(MOST_AT_ONCE)
            ).all()
        return [_as_reading(row) for row in rows]

    def tallies(self, model_id: int, since_day: int = 0) -> dict[Label, Tally]:
        """The counts of each finding, of what a model judged since a day."""
        sums = [sa.func.coalesce(sa.func.sum(_tally.c[name]), 0) for name in _COUNTS]
        asked = (
            sa.select(_tally.c.finding, *sums)
            .where(_tally.c.model_id == model_id, _tally.c.day >= since_day)
            .group_by(_tally.c.finding)
        )
        with self.reading() as connection:
            found = {
                Label(finding): Tally(*map(int, counts))
                for finding, *counts in connection.execute(asked)
            }
        return {label: found.get(label, Tally()) for label in LABELS}

    def days(self, model_id: int, finding: Label, since_day: int) -> dict[int, Tally]:
        """The counts of a finding for each day on which a model judged something."""
        asked = (
            sa.select(_tally.c.day, *(_tally.c[name] for name in _COUNTS))
            .where(
                _tally.c.model_id == model_id,
                _tally.c.day >= since_day,
                _tally.c.finding == finding,
            )
            .order_by(_tally.c.day)
        )
        with self.reading() as connection:
            return {day: Tally(*counts) for day, *counts in connection.execute(asked)}

    def unread(self, after: Place | None, limit: int) -> Page:
        """Judged series of which no reader has said anything: flagged ones first, newest first.

        Parameters
        ----------
        after : Place, optional
            The `next` of the page before; its id is that of a series.
        limit : int
            Rows.
        """
        places: list[Place] = []
        with self.reading() as connection:
            for is_flagged in (True, False):
                if after is not None and is_flagged and not after.is_flagged:
                    continue  # that part was before
                begin = after if after is not None and after.is_flagged == is_flagged else None
                asked = _unread(is_flagged, begin).limit(limit + 1 - len(places))
                places += [
                    Place(is_flagged, row.judged_at, row.series_id)
                    for row in connection.execute(asked)
                ]
                if len(places) > limit:
                    break
            shown = places[:limit]
            ids = self._revisions_of(connection, [place.id for place in shown])
        found = {
            revision.id: revision
            for revision in self.select_revisions(
                _revision.c.id.in_(list(ids.values())), _revision.c.id, None
            )
        }
        return Page(
            tuple(found[ids[place.id]] for place in shown if ids.get(place.id) in found),
            shown[-1] if len(places) > limit else None,
        )

    def judged_of_accession(self, accession: str) -> list[str]:
        """Studies with a judged series of an accession number, by its digest."""
        asked = (
            sa.select(_series.c.study_instance_uid)
            .join(_judged, _judged.c.series_id == _series.c.id)
            .where(_judged.c.accession == accession)
            .distinct()
            .order_by(_series.c.study_instance_uid)
        )
        with self.reading() as connection:
            return list(connection.execute(asked).scalars())

    def read_series(self) -> Iterator[ReadSeries]:
        """Every series that was judged and read, a few at a time, by model."""
        after = (0, 0)
        while True:
            asked = (
                sa.select(
                    _judged,
                    _model.c.name,
                    _model.c.version,
                    _model.c.digest,
                    _model.c.operating_point,
                    _series.c.study_instance_uid,
                    _series.c.series_instance_uid,
                    _revision.c.maxima,
                )
                .join(_model, _model.c.id == _judged.c.model_id)
                .join(_series, _series.c.id == _judged.c.series_id)
                .join(
                    _revision,
                    sa.and_(
                        _revision.c.series_id == _judged.c.series_id,
                        _revision.c.number == _judged.c.number,
                    ),
                )
                .where(
                    _judged.c.truth.is_not(None),
                    sa.tuple_(_judged.c.model_id, _judged.c.series_id) > sa.tuple_(*after),
                )
                .order_by(_judged.c.model_id, _judged.c.series_id)
                .limit(MOST_AT_ONCE)
            )
            with self.reading() as connection:
                rows = connection.execute(asked).all()
            for row in rows:
                yield ReadSeries(
                    row.study_instance_uid,
                    row.series_instance_uid,
                    as_model(row),
                    utc(row.judged_at),
                    row.maxima or {},
                    frozenset(map(Label, row.flagged)),
                    _as_findings(row.truth),
                )
            if len(rows) < MOST_AT_ONCE:
                return
            after = rows[-1].model_id, rows[-1].series_id

    def newest_reading_id(self) -> int:
        """The newest id of a reading; 0 where there is none."""
        with self.reading() as connection:
            return int(connection.execute(sa.select(latest(_reading.c.id))).scalar() or 0)

    def reading_sources(
        self, after: int, missed: Collection[int], limit: int
    ) -> dict[int, ReadingSource]:
        """Where readings came from, with an id above `after` or among some that were missed."""
        asked = sa.select(_reading.c.id, _reading.c.source)
        found: dict[int, ReadingSource] = {}
        with self.reading() as connection:
            above = asked.where(_reading.c.id > after).order_by(_reading.c.id).limit(limit)
            for question in (
                *(asked.where(_reading.c.id.in_(ids)) for ids in some(sorted(missed))),
                above,
            ):
                found |= {row.id: ReadingSource(row.source) for row in connection.execute(question)}
        return found

    def _revisions_of(self, connection: sa.Connection, series: Sequence[int]) -> dict[int, int]:
        """The revisions that series were judged in, by the ids of the series."""
        rows = connection.execute(
            sa.select(_judged.c.series_id, _revision.c.id)
            .join(
                _revision,
                sa.and_(
                    _revision.c.series_id == _judged.c.series_id,
                    _revision.c.number == _judged.c.number,
                ),
            )
            .where(_judged.c.series_id.in_(series))
        )
        return {row.series_id: row.id for row in rows}


def _is_about(table: sa.FromClause, reading: Reading) -> sa.ColumnElement[bool]:
    """Whether a row is about the same series, or as a whole about the same study."""
    if reading.series_instance_uid is None:
        return table.c.series_instance_uid.is_(None)
    return table.c.series_instance_uid == reading.series_instance_uid


def _is_same(reading: Reading, further: sa.ColumnElement[bool]) -> sa.ColumnElement[bool]:
    """Whether a row is by the same reader and source, of the same series."""
    return sa.and_(
        _reading.c.study_instance_uid == reading.study_instance_uid,
        _is_about(_reading, reading),
        _reading.c.source == reading.source,
        _reading.c.reader == reading.reader,
        further,
    )


def _of_series(study_instance_uid: str, series_instance_uid: str) -> sa.Select[Any]:
    """What was said of a series, newest first."""
    return (
        sa.select(_reading)
        .where(
            _reading.c.study_instance_uid == study_instance_uid,
            sa.or_(
                _reading.c.series_instance_uid.is_(None),
                _reading.c.series_instance_uid == series_instance_uid,
            ),
        )
        .order_by(_reading.c.said_at.desc(), _reading.c.id.desc())
    )


def _truth(
    connection: sa.Connection, study_instance_uid: str, series_instance_uid: str
) -> dict[str, bool] | None:
    """What the newest reading of a series says; None where there is none."""
    asked = _of_series(study_instance_uid, series_instance_uid).limit(1)
    newest = connection.execute(asked).first()
    return None if newest is None else newest.findings


def _unread(is_flagged: bool, after: Place | None) -> sa.Select[Any]:
    """Judged series that nobody has read, newest first."""
    conditions = [_judged.c.truth.is_(None), _judged.c.is_flagged == sa.literal(is_flagged)]
    if after is not None:
        conditions += [
            _judged.c.judged_at <= after.updated_at,
            sa.or_(_judged.c.judged_at < after.updated_at, _judged.c.series_id < after.id),
        ]
    return (
        sa.select(_judged.c.series_id, _judged.c.judged_at)
        .where(*conditions)
        .order_by(_judged.c.judged_at.desc(), _judged.c.series_id.desc())
    )


def _count(connection: sa.Connection, changes: _Changes) -> None:
    """Add to the counts, in the order of their keys."""
    rows = [
        dict(zip(_KEYS, key, strict=True)) | asdict(change)
        for key, change in sorted(changes.by_key.items())
        if change != Tally()
    ]
    if rows:
        connection.execute(_ADD, rows)


def _counted(row: Any, findings: Mapping[str, bool] | None) -> dict[_Key, Tally]:
    """What a row of the table of judged series adds to the counts."""
    return counted(row.model_id, row.judged_at, row.flagged, findings)


def _as_json(findings: Findings) -> dict[str, bool]:
    return {label.value: findings[label] for label in LABELS if label in findings}


def _as_findings(findings: Mapping[str, bool]) -> Findings:
    return {Label(name): is_present for name, is_present in findings.items()}


def _as_reading(row: Any) -> Reading:
    return Reading(
        row.study_instance_uid,
        row.series_instance_uid,
        ReadingSource(row.source),
        row.reader,
        row.said_at,
        _as_findings(row.findings),
        row.remark,
    )
