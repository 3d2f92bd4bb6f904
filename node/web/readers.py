"""What readers say of series, and how it compares with what a model said."""

from collections.abc import Mapping
from dataclasses import asdict, replace
from datetime import UTC, datetime

from ml.labels import Label
from node.feedback.figures import Figures, as_json, trailing
from node.feedback.said import as_findings, as_reader, as_remark
from node.ledger import DAY_S, Entered, Place, Reading, ReadingSource, Revision
from node.vitals import look_at_model
from node.web import values
from node.web.desk import Desk, NotThere
from node.web.paging import Comparison, write_place
from node.web.patient import Patient
from node.web.running import RUNNING
from node.web.values import LABELS

TRAILING_DAYS = 90
"""Each point of a course is of so many days."""


class SaidMeanwhile(Exception):
    """Somebody has said something of the series that a reader has not seen."""


def say(
    desk: Desk,
    revision: Revision,
    said: Mapping[Label, bool | None],
    reader: str,
    remark: str | None,
    seen: str | None = None,
) -> bool:
    """Enter what a reader says of a series; False if it was said last, by the same one.

    Parameters
    ----------
    desk : Desk
    revision : Revision
    said : mapping of Label to bool
    reader : str
    remark : str, optional
    seen : str, optional
        When that was said that counts, as the reader was shown it; empty: nothing was. None:
        whatever was said.

    Raises
    ------
    ReadingError
        If it contradicts itself.
    NotThere
        If the series was forgotten meanwhile.
    SaidMeanwhile
        If something else counts now than what the reader has seen.
    """
    reading = Reading(
        revision.study_instance_uid,
        revision.series_instance_uid,
        ReadingSource.PAGE,
        as_reader(reader),
        desk.ledger.clock(),
        as_findings(said),
        as_remark(remark or ""),
    )
    before = desk.ledger.readings(reading.study_instance_uid, revision.series_instance_uid)
    if before and replace(before[0], said_at=reading.said_at) == reading:
        return False
    if seen is not None and seen != (_at(before[0]).isoformat() if before else ""):
        raise SaidMeanwhile
    if desk.ledger.enter_reading(reading) is Entered.NOT_THERE:
        raise NotThere("no such series in the ledger any more")
    return True


def _at(reading: Reading) -> datetime:
    return datetime.fromtimestamp(reading.said_at, UTC)


def following(desk: Desk, revision: Revision) -> int | None:
    """The next series without a label after one, and after the last one the first; its id."""
    place = desk.ledger.place_of(revision)
    for after in (place, None) if place else (None,):
        for other in desk.ledger.unread(after, 1).revisions:
            if other.series_instance_uid != revision.series_instance_uid:
                return other.id
    return None


def unlabelled(
    desk: Desk, after: Place | None, limit: int
) -> tuple[values.Unlabelled, dict[int, Patient]]:
    """Judged series that nobody has read, and whose they are where that may be shown."""
    page = desk.ledger.unread(after, limit)
    rows, patients = desk.rows(page.revisions)
    goes_on = None if page.next is None else write_place(page.next)
    return values.Unlabelled(series=rows, next=goes_on), patients


def feedback(desk: Desk, comparison: Comparison) -> values.Feedback:
    """What readers say, beside what one model said.

    Raises
    ------
    NotThere
        If no model has that number.
    """
    models = _models(desk)
    model = next((m for m in models if m.is_current), models[-1] if models else None)
    if comparison.model is not None:
        model = next((m for m in models if m.id == comparison.model), None)
        if model is None:
            raise NotThere("no such model in the ledger")
    today, days = int(desk.ledger.clock() // DAY_S), comparison.span.days
    since = 0 if days is None else today - days + 1
    tallies = {} if model is None else desk.ledger.tallies(model.id, since)
    return values.Feedback(
        models=models,
        model=model,
        days=days,
        findings={
            label: values.Figures.model_validate(as_json(Figures(tallies[label])))
            for label in LABELS
            if label in tallies
        },
        finding=comparison.finding,
        course=() if model is None else _running(desk, model.id, comparison.finding, today),
    )


def _models(desk: Desk) -> tuple[values.JudgingModel, ...]:
    configured, _ = look_at_model(desk.settings)
    points = ("", desk.settings.model.operating_point)
    return tuple(
        values.JudgingModel(
            id=known.id,
            **asdict(known.model),
            is_current=configured is not None
            and known.model.digest == configured.digest
            and known.model.operating_point in points,
        )
        for known in desk.ledger.models()
    )


def _running(desk: Desk, model: int, finding: Label, today: int) -> tuple[values.Point, ...]:
    """Figures along a year."""
    first = today - 364
    days = desk.ledger.days(model, finding, first - TRAILING_DAYS)
    found = []
    for day, tally in trailing(days, first, today, step=7, width=TRAILING_DAYS):
        figures = as_json(Figures(tally))
        at = datetime.fromtimestamp(day * DAY_S, UTC).date()
        found.append(
            values.Point.model_validate({"day": at, **{name: figures[name] for name in RUNNING}})
        )
    return tuple(found)
