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
from node.web.values import LABELS

TRAILING_DAYS = 90
"""Each point of a course is of so many days."""


def say(
    desk: Desk,
    revision: Revision,
    said: Mapping[Label, bool | None],
    reader: str,
    remark: str | None,
) -> bool:
    """Enter what a reader says of a series; False if it was said last, by the same one.

    Raises
    ------
    ReadingError
        If it contradicts itself.
    NotThere
        If the series was forgotten meanwhile.
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
    if desk.ledger.enter_reading(reading) is Entered.NOT_THERE:
        raise NotThere("no such series in the ledger any more")
    return True


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
            values.Point.model_validate(
                {"day": at, **{name: figures[name] for name in ("sensitivity", "specificity")}}
            )
        )
    return tuple(found)
