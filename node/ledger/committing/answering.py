"""What senders asked the node to commit to, and are told."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from node.ledger import schema
from node.ledger.committing.reference import Reference
from node.ledger.database import MOST_AT_ONCE, Database, some, utc
from node.ledger.records import Instance

_instance, _owed = schema.instance, schema.owed_report


class ReportState(StrEnum):
    """Where a report is that the node owes a sender."""

    OWED = "owed"
    HEARD = "heard"
    DROPPED = "dropped"


@dataclass(frozen=True)
class OwedReport:
    """What a sender asked the node to commit to, and has not been told.

    Parameters
    ----------
    id : int
    requestor : str
        Its AE title.
    transaction_uid : str
    attempts : int
        How often it was begun to tell it; tells this turn from a later one.
    since : datetime
        When it asked, UTC.
    references : tuple of Reference
    """

    id: int
    requestor: str
    transaction_uid: str
    attempts: int
    since: datetime
    references: tuple[Reference, ...]


class Answering(Database):
    """Reports that are owed to senders."""

    def owe_report(
        self,
        requestor: str,
        transaction_uid: str,
        references: Sequence[Reference],
        pause_s: float = 0,
    ) -> int | None:
        """Enter what a sender asks the node to commit to; the same again is told again.

        Parameters
        ----------
        requestor : str
            Its AE title.
        transaction_uid : str
        references : sequence of Reference
        pause_s : float
            When a worker is to see to it, seconds.

        Returns
        -------
        int, optional
            Its id; None if other instances are asked for under this UID.
        """
        now = self.clock()
        objects = [[r.sop_class_uid, r.sop_instance_uid] for r in references]
        key = {"requestor": requestor, "transaction_uid": transaction_uid}
        owed = {
            "state": ReportState.OWED,
            "objects": objects,
            "since": now,
            "due_at": now + pause_s,
            "detail": None,
        }
        with self.engine.begin() as connection:
            added = connection.execute(
                self.insert(_owed)
                .values(**key, attempts=0, **owed)
                .on_conflict_do_nothing()
                .returning(_owed.c.id)
            ).scalar()
            if added is not None:
                return int(added)
            known = connection.execute(
                sa.select(_owed.c.id, _owed.c.state, _owed.c.objects)
                .filter_by(**key)
                .with_for_update()
            ).one()
            if known.state == ReportState.OWED and known.objects != objects:
                return None
            connection.execute(sa.update(_owed).where(_owed.c.id == known.id).values(**owed))
        return int(known.id)

    def due_reports(self, limit: int = MOST_AT_ONCE) -> list[int]:
        """Ids of reports that senders are to be given, the longest due first."""
        with self.reading() as connection:
            return list(
                connection.execute(
                    sa.select(_owed.c.id)
                    .where(_owed.c.due_at <= self.clock())
                    .order_by(_owed.c.due_at)
                    .limit(limit)
                ).scalars()
            )

    def take_report(
        self, report_id: int, lease_s: float, *, early: bool = False
    ) -> OwedReport | None:
        """Begin to give a report; None where another one does, or it is not due.

        Parameters
        ----------
        report_id : int
        lease_s : float
            Another one takes it after this time without a sign, seconds.
        early : bool
            Take it before it is due.
        """
        now = self.clock()
        condition = sa.and_(_owed.c.id == report_id, _owed.c.state == ReportState.OWED)
        if not early:
            condition = sa.and_(condition, _owed.c.due_at <= now)
        with self.engine.begin() as connection:
            row = connection.execute(
                sa.update(_owed)
                .where(condition)
                .values(due_at=now + lease_s, attempts=_owed.c.attempts + 1)
                .returning(_owed)
            ).first()
        if row is None:
            return None
        return OwedReport(
            row.id,
            row.requestor,
            row.transaction_uid,
            row.attempts,
            utc(row.since),
            tuple(Reference(*pair) for pair in row.objects),
        )

    def extend_report(self, report: OwedReport, lease_s: float) -> bool:
        """Say that the work on a report goes on; False if another one has taken over."""
        return self._change_report(report, due_at=self.clock() + lease_s)

    def report_heard(self, report: OwedReport) -> bool:
        """Note that a sender has heard."""
        return self._change_report(
            report, state=ReportState.HEARD, due_at=None, objects=[], detail=None
        )

    def report_later(self, report: OwedReport, pause_s: float, detail: str) -> bool:
        """Note that a sender has not heard, and to tell it after a pause, seconds."""
        return self._change_report(report, due_at=self.clock() + pause_s, detail=detail)

    def drop_report(self, report: OwedReport, detail: str) -> bool:
        """Note that a sender is not told any more; it may ask again."""
        return self._change_report(
            report, state=ReportState.DROPPED, due_at=None, objects=[], detail=detail
        )

    def _change_report(self, report: OwedReport, **values: Any) -> bool:
        with self.engine.begin() as connection:
            changed = connection.execute(
                sa.update(_owed)
                .where(
                    _owed.c.id == report.id,
                    _owed.c.state == ReportState.OWED,
                    _owed.c.attempts == report.attempts,
                )
                .values(**values)
            )
        return changed.rowcount == 1

    def current_instances(self, sop_instance_uids: Sequence[str]) -> dict[str, list[Instance]]:
        """Instances that count, by SOP Instance UID; one UID may stand in several series."""
        found: dict[str, list[Instance]] = defaultdict(list)
        with self.reading() as connection:
            for uids in some(sop_instance_uids):
                rows = connection.execute(
                    sa.select(
                        _instance,
                        schema.series.c.study_instance_uid,
                        schema.series.c.series_instance_uid,
                    )
                    .join(schema.series, schema.series.c.id == _instance.c.series_id)
                    .where(
                        _instance.c.sop_instance_uid.in_(uids), _instance.c.to_revision.is_(None)
                    )
                    .order_by(_instance.c.id)
                )
                for row in rows:
                    found[row.sop_instance_uid].append(
                        Instance(
                            row.study_instance_uid,
                            row.series_instance_uid,
                            row.sop_instance_uid,
                            row.sop_class_uid,
                            row.digest,
                            Path(row.path),
                            row.sender,
                        )
                    )
        return found
