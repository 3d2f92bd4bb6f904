"""What was said of series, and what nobody has said anything of yet."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from ml.labels import Label
from node.ledger import schema
from node.ledger.database import MOST_AT_ONCE, Database, latest, some, utc
from node.ledger.feedback.reading import (
    Findings,
    Reading,
    ReadingSource,
    findings_of,
    reading_of,
    readings_of,
)
from node.ledger.models import JudgingModel, as_model
from node.ledger.records import Page, Place, Revision

_model, _judged, _reading = schema.model, schema.judged, schema.reading
_series, _revision = schema.series, schema.revision


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


class Reviewing(Database):
    """Readings and what was read are found."""

    def readings(self, study_instance_uid: str, series_instance_uid: str) -> list[Reading]:
        """What was said of a series, the newest first: it is what counts."""
        with self.reading() as connection:
            rows = connection.execute(
                readings_of(study_instance_uid, series_instance_uid).limit(MOST_AT_ONCE)
            ).all()
        return [reading_of(row) for row in rows]

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

    def place_of(self, revision: Revision) -> Place | None:
        """Where its series stands in that order, or would stand; None if it was not judged."""
        asked = (
            sa.select(_judged.c.is_flagged, _judged.c.judged_at, _judged.c.series_id)
            .join(_revision, _revision.c.series_id == _judged.c.series_id)
            .where(_revision.c.id == revision.id)
        )
        with self.reading() as connection:
            row = connection.execute(asked).first()
        return None if row is None else Place(row.is_flagged, row.judged_at, row.series_id)

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
                    findings_of(row.truth),
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
