"""Judgements and readings come in, and are counted."""

import hashlib
from collections.abc import Collection, Mapping
from enum import Enum, auto
from typing import Any

import sqlalchemy as sa

from node.ledger import schema
from node.ledger.feedback.reading import Reading, findings_json, readings_of
from node.ledger.feedback.tallies import Changes, Key, Tally, count, counted
from node.ledger.models import Models

_judged, _reading = schema.judged, schema.reading
_series, _revision = schema.series, schema.revision


class Entered(Enum):
    """What a reading was to the ledger."""

    NEW = auto()
    KNOWN = auto()
    """The same reader said the same before."""

    NOT_THERE = auto()
    """Of a series that the ledger does not know."""


def digest_of_accession(number: str) -> str | None:
    """What stands for an accession number in the ledger, which names no order; None for none."""
    number = number.strip()
    return hashlib.sha256(number.encode()).hexdigest() if number else None


class Entering(Models):
    """Judgements and readings come in, and are counted in the same transaction."""

    def enter_reading(self, reading: Reading) -> Entered:
        """Enter what a reader says, and count it.

        What the same reader said before, at the same time, changes nothing.
        """
        return self._enter(reading, _is_as_old(reading))

    def enter_undated_reading(self, reading: Reading) -> Entered:
        """The same for one that does not say when: `said_at` is now.

        It changes nothing where it is what the same reader said last, by the same source.
        """
        return self._enter(reading, _is_last(reading))

    def knows_reading(self, reading: Reading, *, is_dated: bool) -> bool:
        """Whether entering it would change nothing."""
        with self.reading() as connection:
            return _knows(connection, reading, (_is_as_old if is_dated else _is_last)(reading))

    def _enter(self, reading: Reading, is_known: sa.ColumnElement[bool]) -> Entered:
        with self.engine.begin() as connection:
            self._hold_study(connection, reading.study_instance_uid)
            about = [_series.c.study_instance_uid == reading.study_instance_uid]
            if reading.series_instance_uid is not None:
                about.append(_series.c.series_instance_uid == reading.series_instance_uid)
            if connection.execute(sa.select(_series.c.id).where(*about).limit(1)).first() is None:
                return Entered.NOT_THERE
            if _knows(connection, reading, is_known):
                return Entered.KNOWN
            connection.execute(
                sa.insert(_reading).values(
                    study_instance_uid=reading.study_instance_uid,
                    series_instance_uid=reading.series_instance_uid,
                    source=reading.source,
                    reader=reading.reader,
                    said_at=reading.said_at,
                    entered_at=self.clock(),
                    findings=findings_json(reading.findings),
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
            changes = Changes()
            for row in rows:
                truth = _truth(connection, reading.study_instance_uid, row.series_instance_uid)
                connection.execute(
                    sa.update(_judged)
                    .where(_judged.c.series_id == row.series_id)
                    .values(truth=truth)
                )
                changes.take(_counted(row, row.truth))
                changes.add(_counted(row, truth))
            count(connection, changes)
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
        changes = Changes()
        if before is None:
            connection.execute(sa.insert(_judged).values(values))
        else:
            connection.execute(
                sa.update(_judged).where(_judged.c.series_id == before.series_id).values(values)
            )
            changes.take(_counted(before, before.truth))
        changes.add(counted(model_id, now, flagged, truth))
        count(connection, changes)

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


def _is_as_old(reading: Reading) -> sa.ColumnElement[bool]:
    """Whether a row is by the same reader and source, of the same series and time."""
    return _is_same(reading, _reading.c.said_at == reading.said_at)


def _is_last(reading: Reading) -> sa.ColumnElement[bool]:
    """Whether a row is what the same reader said last of the same series, by the same source."""
    newest = _reading.alias()
    is_last = ~sa.exists().where(
        newest.c.study_instance_uid == reading.study_instance_uid,
        _is_about(newest, reading),
        newest.c.source == reading.source,
        newest.c.reader == reading.reader,
        newest.c.id > _reading.c.id,
    )
    return _is_same(reading, is_last)


def _knows(connection: sa.Connection, reading: Reading, is_known: sa.ColumnElement[bool]) -> bool:
    asked = sa.select(_reading.c.findings, _reading.c.remark).where(is_known)
    before = [(row.findings, row.remark) for row in connection.execute(asked)]
    return (findings_json(reading.findings), reading.remark) in before


def _truth(
    connection: sa.Connection, study_instance_uid: str, series_instance_uid: str
) -> dict[str, bool] | None:
    """What the newest reading of a series says; None where there is none."""
    asked = readings_of(study_instance_uid, series_instance_uid).limit(1)
    newest = connection.execute(asked).first()
    return None if newest is None else newest.findings


def _counted(row: Any, findings: Mapping[str, bool] | None) -> dict[Key, Tally]:
    """What a row of the table of judged series adds to the counts."""
    return counted(row.model_id, row.judged_at, row.flagged, findings)
