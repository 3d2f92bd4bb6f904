"""Workitems are created by UPS-RS at servers that keep a worklist, and once.

No server that can be installed here keeps one: one that does as it is told stands in for it.
"""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from pydicom.dataset import Dataset

from node.audit import Auditor
from node.deliver import Deliverer
from node.ledger import Delivery, DeliveryState, Ledger, Plan, Planned, Revision, State
from node.report import Kind, ResultObject
from node.results import recorded
from node.routing import Workitem
from node.settings import ReportForm, Settings
from node.spool import Spool
from tests.dicomweb.servers import Answer, Request, Told
from tests.dicomweb.test_stow_out import Archive
from tests.reporting import an_image, place, report, revisions

WORKITEM = Workitem("web", Kind.STRUCTURED_REPORT, ReportForm.COMPREHENSIVE_3D, "https://pacs/rs")

NAME = "M\u00fcller^J\u00f6rg"


class WebWorklist:
    """A server that stores, and keeps a worklist; or answers as it is told."""

    def __init__(self) -> None:
        self.archive = Archive()
        self.created: dict[str, Dataset] = {}
        self.canceled: list[str] = []
        self.answer_to_create: Callable[[], Answer] = lambda: Answer(201)
        self.answer_to_cancel = Answer(202)

    def __call__(self, request: Request) -> Answer:
        resource, _, query = request.path.removeprefix("/dicom-web/").partition("?")
        kind, *rest = resource.split("/")
        if kind != "workitems":
            return self.archive(request)
        assert request.method == "POST"
        assert request.headers["content-type"] == "application/dicom+json"
        sent = Dataset.from_json(request.body.decode())
        if rest:
            uid, action = rest
            assert action == "cancelrequest"
            assert sent.ReasonForCancellation
            if uid not in self.created:
                return Answer(404)
            self.canceled.append(uid)
            return self.answer_to_cancel
        uid, named = query.split("&")
        assert named == f"workitem={uid}"
        if uid in self.created:
            return Answer(409)
        answer = self.answer_to_create()
        if answer.status == 201:
            self.created[uid] = sent
        return answer


@pytest.fixture
def worklist(told: Told) -> WebWorklist:
    told.answer = peer = WebWorklist()
    return peer


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> list[list[ResultObject]]:
    """The results of two revisions of a small series, each with a workitem."""
    return revisions(tmp_path_factory.mktemp("built"), WORKITEM, PatientName=NAME)


@pytest.fixture
def reported(
    ledger: Ledger, built: list[list[ResultObject]], spool: Spool
) -> Callable[..., Revision]:
    """A revision of a series whose results and workitem go to `web`."""

    def make(number: int = 1) -> Revision:
        results = recorded(place(built[number - 1], spool), spool)
        follows = {Kind.WORKITEM.value: "web"}
        plan = Plan(tuple(Planned(r.sop_instance_uid, "web", follows.get(r.kind)) for r in results))
        return report(ledger, results, plan, image=an_image(number=number))

    return make


def deliver(ledger: Ledger, spool: Spool, url: str) -> int:
    settings = Settings(
        home=spool.home,
        destinations=[{"name": "web", "url": url, "ups": True}],
        deliver={"first_pause_s": 5, "longest_pause_s": 40, "timeout_s": 2},
    )
    return Deliverer(ledger, spool, settings, Auditor.silent()).deliver("web")


def of_workitem(ledger: Ledger, revision: Revision) -> Delivery:
    (delivery,) = (d for d in ledger.deliveries(revision) if d.result.kind == Kind.WORKITEM)
    return delivery


def file_of(ledger: Ledger, spool: Spool, revision: Revision) -> Path:
    return spool.results / of_workitem(ledger, revision).result.path


def test_a_workitem_is_created_once_all_else_is_stored(
    told: Told,
    worklist: WebWorklist,
    ledger: Ledger,
    spool: Spool,
    reported: Callable[..., Revision],
) -> None:
    revision = reported()
    deliver(ledger, spool, told.url)
    ((uid, item),) = worklist.created.items()
    assert uid == of_workitem(ledger, revision).result.sop_instance_uid
    assert uid not in worklist.archive.stored
    assert told.got[-1].path.startswith("/dicom-web/workitems?")
    assert item.ProcedureStepState == "SCHEDULED"
    assert "SOPInstanceUID" not in item
    assert item.SpecificCharacterSet == "ISO_IR 192"
    sent = json.loads(told.got[-1].body)
    assert sent["00100010"]["Value"] == [{"Alphabetic": NAME}]
    assert sent["00081195"] == {"vr": "UI"}, "empty, and there"
    assert ledger.revision(revision.id).state is State.DELIVERED
    assert of_workitem(ledger, revision).state is DeliveryState.CREATED


def test_a_workitem_whose_answer_was_lost_is_there_once(
    told: Told,
    worklist: WebWorklist,
    ledger: Ledger,
    spool: Spool,
    reported: Callable[..., Revision],
) -> None:
    revision = reported()
    told.answer = lambda request: (
        Answer(raw=lambda _: None) if worklist(request).status == 201 else worklist(request)
    )
    deliver(ledger, spool, told.url)
    assert of_workitem(ledger, revision).state is DeliveryState.PENDING
    told.answer = worklist
    ledger.clock.now += 60
    assert deliver(ledger, spool, told.url) == 1
    assert len(worklist.created) == 1
    assert of_workitem(ledger, revision).detail == "it was there before"


def test_a_server_that_has_changed_a_workitem_has_it(
    told: Told,
    worklist: WebWorklist,
    ledger: Ledger,
    spool: Spool,
    reported: Callable[..., Revision],
) -> None:
    revision = reported()
    warning = {"Warning": "299 list: The Workitem was created with modifications."}
    worklist.answer_to_create = lambda: Answer(201, headers=warning)
    deliver(ledger, spool, told.url)
    assert of_workitem(ledger, revision).detail == "created with modifications"


@pytest.mark.parametrize("status", [400, 404, 405, 500, 501])
def test_a_server_that_keeps_no_worklist_has_the_results_all_the_same(
    told: Told,
    worklist: WebWorklist,
    ledger: Ledger,
    spool: Spool,
    reported: Callable[..., Revision],
    status: int,
) -> None:
    revision = reported()
    worklist.answer_to_create = lambda: Answer(status)
    deliver(ledger, spool, told.url)
    waiting = of_workitem(ledger, revision)
    assert waiting.state is DeliveryState.PENDING
    assert str(status) in str(waiting.detail)
    states = [d.state for d in ledger.deliveries(revision) if d.id != waiting.id]
    assert set(states) == {DeliveryState.SENT}
    assert [d.failures for d in ledger.destinations()] == [0], "it is not ill"


@pytest.mark.parametrize("status", [401, 503])
def test_a_server_that_is_ill_rests(
    told: Told,
    worklist: WebWorklist,
    ledger: Ledger,
    spool: Spool,
    reported: Callable[..., Revision],
    status: int,
) -> None:
    revision = reported()
    worklist.answer_to_create = lambda: Answer(status)
    deliver(ledger, spool, told.url)
    assert of_workitem(ledger, revision).state is DeliveryState.PENDING
    assert [d.failures for d in ledger.destinations()] == [1]


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (Answer(202), "the one before was asked to be canceled"),
        (Answer(404), "the one before is not there"),
        (Answer(409), "the one before stays: 409"),
        (Answer(500), "the one before stays: 500"),
    ],
)
def test_the_workitem_of_a_later_revision_has_the_one_before_canceled_or_says_why_not(
    told: Told,
    worklist: WebWorklist,
    ledger: Ledger,
    spool: Spool,
    reported: Callable[..., Revision],
    answer: Answer,
    said: str,
) -> None:
    first = reported()
    deliver(ledger, spool, told.url)
    worklist.answer_to_cancel = answer
    second = reported(2)
    deliver(ledger, spool, told.url)
    assert worklist.canceled == [of_workitem(ledger, first).result.sop_instance_uid]
    assert len(worklist.created) == 2
    delivery = of_workitem(ledger, second)
    assert (delivery.state, delivery.detail) == (DeliveryState.CREATED, said)


def test_a_workitem_that_cannot_be_read_waits_alone(
    told: Told,
    worklist: WebWorklist,
    ledger: Ledger,
    spool: Spool,
    reported: Callable[..., Revision],
) -> None:
    revision = reported()
    file_of(ledger, spool, revision).write_bytes(b"")
    deliver(ledger, spool, told.url)
    assert "cannot be read" in str(of_workitem(ledger, revision).detail)
    assert worklist.archive.stored
