"""The node as JSON, described by `/api/openapi.json`."""

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Depends, HTTPException, Path, Query
from fastapi.encoders import jsonable_encoder
from fastapi.responses import JSONResponse, Response
from starlette.requests import Request

from ml.labels import Label
from node.feedback.said import ReadingError
from node.ledger import Place, State
from node.web import readers, values
from node.web.asking import Here, Who, visitor
from node.web.paging import MOST_ROWS, ROWS, Comparison, Span, View, Window, read_place

MOST_ID = 2**63 - 1

Id = Annotated[int, Path(ge=1, le=MOST_ID, description="of a revision of a series")]
Number = Annotated[int, Path(ge=0, le=10**6, description="of a slice, from 1 at the foot")]

_REFUSALS: dict[int | str, dict[str, Any]] = {
    401: {"model": values.Refused},
    503: {"model": values.Refused, "description": "the ledger is away"},
}
_NOT_THERE: dict[int | str, dict[str, Any]] = {404: {"model": values.Refused}}
_PNG: dict[int | str, dict[str, Any]] = {200: {"content": {"image/png": {}}}, **_NOT_THERE}

router = APIRouter(prefix="/api", dependencies=[Depends(visitor)], responses=_REFUSALS)


@router.get("/series")
def worklist(
    here: Here,
    window: Annotated[Window, Query(description="how far back")] = Window.DAY,
    state: State | None = None,
    *,
    flagged: Annotated[bool, Query(description="only flagged ones")] = False,
    newest_first: Annotated[bool, Query(description="else flagged ones come first")] = False,
    priority: Annotated[
        str | None, Query(max_length=64, description="only what the rule of this name fits")
    ] = None,
    after: Annotated[
        str | None, Query(max_length=80, description="the `next` of the page before")
    ] = None,
    limit: Annotated[int, Query(ge=1, le=MOST_ROWS)] = ROWS,
) -> values.Worklist:
    """A page of the worklist."""
    view = View(window, state, flagged, newest_first, priority, _place(after))
    return here.desk.worklist(view, limit)[0]


def _place(after: str | None) -> Place | None:
    place = read_place(after) if after is not None else None
    if after is not None and place is None:
        raise HTTPException(422, "`after` is none that was given as `next`")
    return place


@router.get("/find")
def find(
    here: Here, uid: Annotated[str, Query(min_length=1, max_length=64, pattern=r"^[0-9.]+$")]
) -> tuple[values.Row, ...]:
    """Series by the UID of a study, a series or an image."""
    return here.desk.rows(here.desk.find_uid(uid))[0]


@router.get("/series/{id}", responses=_NOT_THERE)
def series(here: Here, who: Who, id: Id) -> values.Series:
    """All that is known of a revision of a series."""
    revision = here.desk.revision(id)
    here.trail.seen(who, revision)
    return here.desk.series(revision)[0]


@router.get("/series/{id}/pictures/{number}", response_class=Response, responses=_PNG)
def picture(here: Here, who: Who, id: Id, number: Number) -> Response:
    """A slice beside its probabilities, as it was sent to the archive; 0 is the summary."""
    revision = here.desk.revision(id)
    here.trail.seen(who, revision)
    return Response(here.desk.picture(revision, number), media_type="image/png")


@router.get("/series/{id}/evidence/{number}", response_class=Response, responses=_PNG)
def evidence(here: Here, who: Who, id: Id, number: Number) -> Response:
    """Where on a slice the evidence for a finding lies."""
    revision = here.desk.revision(id)
    here.trail.seen(who, revision)
    return Response(here.desk.evidence(revision, number), media_type="image/png")


@router.post("/series/{id}/retry", responses=_NOT_THERE)
def retry(here: Here, who: Who, id: Id) -> values.Done:
    """Begin again with what has failed, was skipped, or was not delivered."""
    revision = here.desk.revision(id)
    done = here.desk.retry(revision)
    if done:
        here.trail.begun_again(who, revision)
    return values.Done(done=done, said="begun again" if done else "nothing to do again")


@router.post("/series/{id}/labels", responses=_NOT_THERE)
def label(here: Here, who: Who, id: Id, said: values.Said) -> values.Done:
    """Enter what a reader says of a series; the newest label counts."""
    revision = here.desk.revision(id)
    try:
        is_new = readers.say(here.desk, revision, said.findings, who.name, said.remark)
    except ReadingError as error:
        raise HTTPException(422, str(error)) from None
    if is_new:
        here.trail.has_read(who, revision)
    return values.Done(done=is_new, said="entered" if is_new else "that was said before")


@router.get("/feedback", responses=_NOT_THERE)
def feedback(
    here: Here,
    model: Annotated[
        int | None, Query(ge=1, le=MOST_ID, description="its id; else the configured one")
    ] = None,
    span: Annotated[Span, Query(description="how far back the series were judged")] = Span.ALL,
    finding: Annotated[Label, Query(description="that the course is of")] = Label.ANY,
) -> values.Feedback:
    """What readers say, beside what one model said: figures with their 95 % intervals."""
    return readers.feedback(here.desk, Comparison(model, span, finding))


@router.get("/feedback/unlabelled")
def unlabelled(
    here: Here,
    after: Annotated[
        str | None, Query(max_length=80, description="the `next` of the page before")
    ] = None,
    limit: Annotated[int, Query(ge=1, le=MOST_ROWS)] = ROWS,
) -> values.Unlabelled:
    """Judged series without a label, flagged ones first."""
    return readers.unlabelled(here.desk, _place(after), limit)[0]


@router.post("/destinations/{name}/resend", responses=_NOT_THERE)
def resend(here: Here, who: Who, name: str) -> values.Done:
    """Send again all that was given up for a destination."""
    again = here.desk.resend(name)
    for revision in again:
        here.trail.begun_again(who, revision)
    return values.Done(done=bool(again), said=f"results of {len(again)} series go again")


@router.post("/destinations/{name}/echo", responses=_NOT_THERE)
def echo(here: Here, name: str) -> values.Done:
    """Send a C-ECHO to a destination."""
    trouble = here.desk.echo(name).trouble
    return values.Done(done=trouble is None, said=trouble or "it answers a C-ECHO")


@router.get("/system")
def system(here: Here) -> JSONResponse:
    """Disk, queues, workers, destinations, model."""
    return JSONResponse(jsonable_encoder(asdict(here.desk.vitals())))


@router.get("/drift")
def drift(here: Here) -> values.Drift:
    """What has changed in what comes and in what models say; how far two models agree."""
    return here.desk.drift()


@router.get("/openapi.json", include_in_schema=False)
def openapi(request: Request) -> JSONResponse:
    """What can be asked for, by OpenAPI 3.1."""
    return JSONResponse(request.app.openapi())
