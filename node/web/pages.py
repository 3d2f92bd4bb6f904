"""The pages, drawn by the node: they work without a script, and show themselves anew with one."""

import hashlib
import re
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import parse_qs, quote, urlencode

import jinja2
from fastapi import APIRouter, Depends, HTTPException
from fastapi import Path as PathParameter
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from ml.labels import Label, percent
from node.drift import Level, Of, Verdict
from node.feedback.said import ReadingError, answer
from node.ledger import ReadingSource, State
from node.web import course, readers, running
from node.web import drift as drawing
from node.web.api import Id, Number
from node.web.asking import Here, Who, asking, visitor
from node.web.door import THIS_MACHINE, Visitor
from node.web.paging import ROWS, Comparison, Span, View, Window, read_place
from node.web.values import LABELS, Assessment, Series

STATE_WORDS = {
    State.RECEIVING: "Receiving",
    State.READY: "Ready",
    State.ANALYZING: "Analyzing",
    State.REPORTED: "Reported",
    State.DELIVERED: "Delivered",
    State.SKIPPED: "Skipped",
    State.FAILED: "Failed",
}

SAID = {
    "again": "Begun again: it shows below how it goes on.",
    "nothing": "There is nothing to do again.",
    "resent": "What was given up goes again.",
    "labelled": "The label is entered.",
    "next": "The label is entered. This is the next series without one.",
    "said-before": "You said the same before: nothing changes.",
    "all-read": "The label is entered, and no judged series is without one.",
    "all-others-read": "No other judged series is without a label.",
    "meanwhile": "Somebody has labelled this series meanwhile: see below. Nothing is entered; "
    "save again what is to count.",
    "unsaid": "Nothing was chosen, and nothing is entered.",
    "contradiction": "“Any hemorrhage” and its kinds contradict each other: nothing is entered.",
    "answers": "It answers.",
    "silent": "It does not answer as it should: see below.",
}
"""What a page says after a button was pressed, by the word in its address."""

KINDS = {
    "sr": "findings report",
    "slices": "report of every slice",
    "text": "text report",
    "sc": "secondary capture",
    "ko": "key objects",
    "pr": "presentation state",
    "map": "evidence map",
    "notice": "notice",
    "ups": "workitem",
}
"""What results are called, by their kind."""

SOURCES = {
    ReadingSource.PAGE: "on the page",
    ReadingSource.CSV: "from a file",
    ReadingSource.HL7: "by HL7",
}

AGAIN = {
    State.FAILED: "Analyze again",
    State.SKIPPED: "Look at it again",
    State.REPORTED: "Send again now",
}

CAN_BE_READ = frozenset(State) - {State.SKIPPED, State.FAILED}
"""States of series that the model judges, or is about to."""

_MOST_ROWS_FOUND = 200

router = APIRouter()
guarded = APIRouter(dependencies=[Depends(visitor)])


# -- drawing ----------------------------------------------------------------------


def _time(value: datetime, form: str = "%Y-%m-%d %H:%M:%S") -> str:
    return value.astimezone().strftime(form)


def _size(value: float) -> str:
    """Bytes for people."""
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" or value >= 10 else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"


def _span(seconds: float) -> str:
    """A time for people."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    if seconds < 3600:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 48 * 3600 else f"{seconds / 86400:.0f} days"


_templates = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_templates.filters |= {"percent": percent, "time": _time, "size": _size, "span": _span}
_templates.globals |= {
    "STATE": State,
    "STATE_WORDS": STATE_WORDS,
    "AGAIN": AGAIN,
    "KINDS": KINDS,
    "WINDOWS": tuple(Window),
    "SPANS": tuple(Span),
    "CAN_BE_READ": CAN_BE_READ,
    "LABELS": LABELS,
    "SOURCES": SOURCES,
    "ANY": Label.ANY,
    "PRESENT": Assessment.PRESENT,
    "curve": course.draw,
    "bars": drawing.draw_bars,
    "line": drawing.draw_course,
    "LEVEL": Level,
    "OF": Of,
    "VERDICT": Verdict,
    "middle": course.middle,
}


def _page(
    request: Request, template: str, status: int = 200, who: Visitor | None = None, **shown: Any
) -> Response:
    """Draw a page; where it is still what the visitor has, only say so."""
    text = _templates.get_template(template).render(
        here=request.url.path,
        who=None if who is None or who.name == THIS_MACHINE else who,
        can_log_out=who is not None and who.by_cookie,
        said=SAID.get(request.query_params.get("said", "")),
        shows_patients=asking(request).desk.settings.web.show_patient,
        **shown,
    )
    tag = f'"{hashlib.sha256(text.encode()).hexdigest()[:32]}"'
    if status == 200 and request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers={"ETag": tag})
    return HTMLResponse(text, status, {"ETag": tag})


def message(request: Request, status: int, title: str, text: str) -> Response:
    """A page that says one thing."""
    return _page(request, "message.html", status, title=title, text=text)


async def _form(request: Request) -> dict[str, str]:
    """The fields of a form; `node.web.guard` has looked at its length."""
    body = (await request.body()).decode("utf-8", "replace")
    try:
        fields = parse_qs(body, max_num_fields=20)
    except ValueError:
        raise HTTPException(400, "No form of the node has so many fields.") from None
    return {name: values[-1] for name, values in fields.items()}


Form = Annotated[dict[str, str], Depends(_form)]


def _back_to(path: str, said: str) -> Response:
    return RedirectResponse(f"{path}?{urlencode({'said': said})}", 303)


# -- worklists --------------------------------------------------------------------


@guarded.get("/")
def worklist(request: Request, here: Here, who: Who) -> Response:
    view = View.of(request.query_params)
    found, patients = here.desk.worklist(view, ROWS)
    after = None if found.next is None else read_place(found.next)
    return _page(
        request,
        "worklist.html",
        who=who,
        view=view,
        rows=found.series,
        patients=patients,
        tallies=found.tallies,
        priorities=[rule.name for rule in here.desk.settings.priorities],
        next=None if after is None else view.address(after=after),
    )


@guarded.post("/search")
def search(request: Request, here: Here, who: Who, form: Form) -> Response:
    """By POST: what somebody looks for may be a patient's, and stays out of addresses."""
    text = form.get("for", "").strip()[:64]
    revisions = here.desk.find(text)
    if len({revision.series_instance_uid for revision in revisions}) == 1:
        return RedirectResponse(f"/series/{revisions[-1].id}", 303)
    rows, patients = here.desk.rows(revisions[:_MOST_ROWS_FOUND])
    return _page(
        request,
        "found.html",
        who=who,
        text=text,
        rows=rows,
        patients=patients,
    )


# -- one series ---------------------------------------------------------------------


@guarded.get("/series/{id}")
def series(request: Request, here: Here, who: Who, id: Id) -> Response:
    revision = here.desk.revision(id)
    here.trail.seen(who, revision)
    found, patient = here.desk.series(revision)
    return _page(
        request,
        "series.html",
        who=who,
        series=found,
        patient=patient,
        current=_slice(found, request.query_params),
        spans=[
            (later.at - step.at).total_seconds()
            for step, later in zip(found.history, found.history[1:], strict=False)
        ],
    )


def _slice(found: Series, query: Mapping[str, str]) -> int:
    """The slice to show first: the one that is asked for, or the likeliest one."""
    asked = query.get("slice", "")
    if re.fullmatch("[0-9]{1,5}", asked) and 1 <= int(asked) <= len(found.slices):
        return int(asked)
    return found.courses[0].slice if found.courses else 0


@guarded.get("/series/{id}/pictures/{number}.png")
def picture(here: Here, who: Who, id: Id, number: Number) -> Response:
    revision = here.desk.revision(id)
    here.trail.seen(who, revision)
    return Response(here.desk.picture(revision, number), media_type="image/png")


@guarded.get("/series/{id}/evidence/{number}.png")
def evidence(here: Here, who: Who, id: Id, number: Number) -> Response:
    revision = here.desk.revision(id)
    here.trail.seen(who, revision)
    return Response(here.desk.evidence(revision, number), media_type="image/png")


@guarded.post("/series/{id}/retry")
def retry(here: Here, who: Who, id: Id) -> Response:
    revision = here.desk.revision(id)
    done = here.desk.retry(revision)
    if done:
        here.trail.begun_again(who, revision)
    return _back_to(f"/series/{id}", "again" if done else "nothing")


@guarded.post("/series/{id}/label")
def label(here: Here, who: Who, id: Id, form: Form) -> Response:
    """Enter what a reader says; with `then` go on to the next series without a label."""
    revision, remark = here.desk.revision(id), form.get("remark")
    try:
        said = {name: answer(form[name]) for name in Label if form.get(name)}
        if not said:
            return _back_to(f"/series/{id}", "unsaid")
        is_new = readers.say(here.desk, revision, said, who.name, remark, form.get("seen", ""))
    except ReadingError:
        return _back_to(f"/series/{id}", "contradiction")
    except readers.SaidMeanwhile:
        return _back_to(f"/series/{id}", "meanwhile")
    if is_new:
        here.trail.has_read(who, revision)
    if form.get("then") != "next":
        return _back_to(f"/series/{id}", "labelled" if is_new else "said-before")
    following = readers.following(here.desk, revision)
    if following is None:
        return _back_to("/feedback", "all-read")
    return _back_to(f"/series/{following}", "next" if is_new else "said-before")


@guarded.get("/series/{id}/next")
def following(here: Here, id: Id) -> Response:
    """Go on to the next series without a label, and say nothing of this one."""
    found = readers.following(here.desk, here.desk.revision(id))
    if found is None:
        return _back_to("/feedback", "all-others-read")
    return RedirectResponse(f"/series/{found}", 303)


@guarded.get("/feedback")
def feedback(request: Request, here: Here, who: Who) -> Response:
    comparison = Comparison.of(request.query_params)
    found = readers.feedback(here.desk, comparison)
    unlabelled, patients = readers.unlabelled(here.desk, comparison.after, ROWS // 2)
    after = None if unlabelled.next is None else read_place(unlabelled.next)
    return _page(
        request,
        "feedback.html",
        who=who,
        comparison=comparison,
        feedback=found,
        drawn=running.draw(found.course),
        rows=unlabelled.series,
        patients=patients,
        next=None if after is None else comparison.address(after=after),
    )


# -- the node -----------------------------------------------------------------------


@guarded.get("/system")
def system(request: Request, here: Here, who: Who) -> Response:
    vitals = here.desk.vitals()
    return _page(
        request,
        "system.html",
        who=who,
        vitals=vitals,
        settings=here.desk.settings,
        echoes={echo.destination: echo for echo in vitals.echoes},
    )


@guarded.get("/drift")
def drift(request: Request, here: Here, who: Who) -> Response:
    return _page(request, "drift.html", who=who, drift=here.desk.drift())


Name = Annotated[str, PathParameter(max_length=64)]


@guarded.post("/destinations/{name}/echo")
def echo(here: Here, name: Name) -> Response:
    trouble = here.desk.echo(name).trouble
    return _back_to("/system", "answers" if trouble is None else "silent")


@guarded.post("/destinations/{name}/resend")
def resend(here: Here, who: Who, name: Name) -> Response:
    again = here.desk.resend(name)
    for revision in again:
        here.trail.begun_again(who, revision)
    return _back_to("/system", "resent" if again else "nothing")


router.include_router(guarded)


# -- the door -----------------------------------------------------------------------


def login_address(request: Request) -> str:
    """Where to log in, and where to go on from there."""
    asked = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    return f"/login?next={quote(asked if request.method == 'GET' else '/', safe='')}"


def _own(address: str) -> str:
    """An address of the node's own; anything else is the first page."""
    is_own = re.fullmatch(r"/(?![/\\])[A-Za-z0-9/?&=._%-]{0,500}", address)
    return address if is_own else "/"


@router.get("/login")
def ask_who(request: Request, here: Here) -> Response:
    if not here.door.web.users:
        if here.door.web.asks_who and here.door.visitor(request) is None:
            return message(
                request, 403, "Come by the proxy", "It says who you are; the node asks nobody."
            )
        return RedirectResponse("/", 303)
    goes_on = _own(request.query_params.get("next", "/"))
    return _page(request, "login.html", goes_on=goes_on, name="", is_wrong=False)


@router.post("/login")
def log_in(request: Request, here: Here, form: Form) -> Response:
    name, password = form.get("name", "")[:64], form.get("password", "")
    goes_on = _own(form.get("next", "/"))
    address = here.door.address(request)
    if not here.door.web.users:
        return RedirectResponse("/", 303)
    is_user = here.door.log_in(name, password, address)
    here.trail.logged_in(Visitor(name, address), succeeded=is_user)
    if not is_user:
        return _page(request, "login.html", 401, goes_on=goes_on, name=name, is_wrong=True)
    answer = RedirectResponse(goes_on, 303)
    answer.set_cookie(
        here.door.cookie_name(request),
        here.door.cookie(name),
        max_age=int(here.door.web.session_h * 3600),
        secure=here.door.is_secure(request),
        httponly=True,
        samesite="strict",
    )
    return answer


@router.post("/logout")
def log_out(request: Request, here: Here) -> Response:
    who = here.door.visitor(request)
    if who is not None and who.by_cookie:
        here.trail.logged_out(who)
    answer = RedirectResponse("/login", 303)
    answer.delete_cookie(
        here.door.cookie_name(request),
        secure=here.door.is_secure(request),
        httponly=True,
        samesite="strict",
    )
    return answer
