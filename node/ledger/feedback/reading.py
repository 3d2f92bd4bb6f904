"""What a reader says of a series, and how that stands in the ledger."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import sqlalchemy as sa

from ml.labels import LABELS, Label
from node.ledger import schema

_reading = schema.reading


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


def readings_of(study_instance_uid: str, series_instance_uid: str) -> sa.Select[Any]:
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


def findings_json(findings: Findings) -> dict[str, bool]:
    """Findings as a row has them."""
    return {label.value: findings[label] for label in LABELS if label in findings}


def findings_of(findings: Mapping[str, bool]) -> Findings:
    """Findings of a row."""
    return {Label(name): is_present for name, is_present in findings.items()}


def reading_of(row: Any) -> Reading:
    """A row as the reading that it is."""
    return Reading(
        row.study_instance_uid,
        row.series_instance_uid,
        ReadingSource(row.source),
        row.reader,
        row.said_at,
        findings_of(row.findings),
        row.remark,
    )
