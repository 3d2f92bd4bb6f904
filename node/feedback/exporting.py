"""Series that were judged and read, as a CSV file for tools that work without the node."""

from collections.abc import Iterable, Iterator

from ml.labels import LABELS
from node.feedback.rows import write_rows
from node.ledger import ReadSeries

COLUMNS = [
    *("study_instance_uid", "series_instance_uid", "model", "version", "digest"),
    *("operating_point", "judged_at"),
    *(f"{label}_{what}" for label in LABELS for what in ("probability", "flagged", "label")),
]


def export(found: Iterable[ReadSeries]) -> Iterator[str]:
    """Lines of the file: labels and flags are 1 and 0, what is not known is empty."""
    return write_rows(map(_row, found), COLUMNS)


def _row(series: ReadSeries) -> dict[str, str | float | None]:
    row: dict[str, str | float | None] = {
        "study_instance_uid": series.study_instance_uid,
        "series_instance_uid": series.series_instance_uid,
        "model": series.model.name,
        "version": series.model.version,
        "digest": series.model.digest,
        "operating_point": series.model.operating_point,
        "judged_at": series.judged_at.isoformat(timespec="seconds"),
    }
    for label in LABELS:
        said = series.findings.get(label)
        row[f"{label}_probability"] = series.maxima.get(label.value)
        row[f"{label}_flagged"] = int(label in series.flagged)
        row[f"{label}_label"] = None if said is None else int(said)
    return row
