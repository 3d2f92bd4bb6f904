"""Results arrive in the form that a destination wants; workitems are created once.

Neither Orthanc nor DCMTK keeps a worklist of Unified Procedure Steps: one of pynetdicom
stands in for such a peer.
"""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.uid import SecondaryCaptureImageStorage

from node.audit import Auditor
from node.deliver.deliverer import Deliverer
from node.ledger import DeliveryState, Ledger, Plan, Planned, Result, Revision, State
from node.report import Kind, ResultObject
from node.results import recorded
from node.routing import Workitem
from node.settings import ReportForm, Settings
from node.spool import Spool
from tests.e2e.peers import running_storescp
from tests.e2e.worklist import Worklist, running_worklist
from tests.reporting import an_image, place, report, revisions

WORKITEM = Workitem("list", Kind.STRUCTURED_REPORT, ReportForm.COMPREHENSIVE_3D, "PACS")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> list[list[ResultObject]]:
    """The results of two revisions of a small series, each with a workitem."""
    return revisions(tmp_path_factory.mktemp("built"), WORKITEM)


@pytest.fixture
def made(built: list[list[ResultObject]], spool: Spool) -> list[ResultObject]:
    """The results of the first."""
    return place(built[0], spool)


@pytest.fixture
def reported(ledger: Ledger, made: list[ResultObject], spool: Spool) -> Callable[..., Revision]:
    """Have all but the workitem go to pacs, and that to the list."""

    def make(*, follows: str | None = "pacs") -> Revision:
        results = recorded(made, spool)
        return report(ledger, results, Plan(tuple(planned(r, follows) for r in results)))

    return make


def planned(result: Result, follows: str | None) -> Planned:
    if result.kind == Kind.WORKITEM:
        return Planned(result.sop_instance_uid, "list", follows)
    return Planned(result.sop_instance_uid, "pacs")


def settings_for(home: Path, pacs: int = 1, worklist: int = 1, wanted: str = "as-is") -> Settings:
    at = {"host": "127.0.0.1"}
    return Settings(
        home=home,
        destinations=[
            {"name": "pacs", "ae_title": "PACS", "port": pacs, "transfer_syntax": wanted, **at},
            {"name": "list", "ae_title": "LIST", "port": worklist, "ups": True, **at},
        ],
        deliver={"first_pause_s": 5, "longest_pause_s": 40, "timeout_s": 2},
    )


def deliver(name: str, ledger: Ledger, spool: Spool, settings: Settings) -> int:
    return Deliverer(ledger, spool, settings, Auditor.silent()).deliver(name)


# -- transfer syntaxes ------------------------------------------------------------------------

SYNTAXES = [
    # wanted, what the peer takes, how pictures arrive, how reports do
    ("as-is", "+xa", "LittleEndianExplicit", "LittleEndianExplicit"),
    ("explicit", "+xa", "LittleEndianExplicit", "LittleEndianExplicit"),
    ("implicit", "+xa", "LittleEndianImplicit", "LittleEndianImplicit"),
    ("rle", "+xa", "RLELossless", "LittleEndianExplicit"),
    ("jpeg-ls", "+xa", "JPEGLSLossless", "LittleEndianExplicit"),
    ("jpeg-2000", "+xa", "JPEG2000LosslessOnly", "LittleEndianExplicit"),
    # One that takes no compression, or nothing but what every peer has to, gets what it takes.
    ("jpeg-ls", "+xe", "LittleEndianExplicit", "LittleEndianExplicit"),
    ("jpeg-2000", "+xi", "LittleEndianImplicit", "LittleEndianImplicit"),
    ("explicit", "+xi", "LittleEndianImplicit", "LittleEndianImplicit"),
]


@pytest.mark.parametrize(("wanted", "taken", "pictures", "reports"), SYNTAXES)
def test_results_arrive_in_the_transfer_syntax_that_is_wanted_or_plain(
    spool: Spool,
    ledger: Ledger,
    made: list[ResultObject],
    reported: Callable[..., Revision],
    wanted: str,
    taken: str,
    pictures: str,
    reports: str,
) -> None:
    reported()
    with running_storescp(spool.home / "pacs", None, taken) as pacs:
        deliver("pacs", ledger, spool, settings_for(spool.home, pacs.port, wanted=wanted))
        arrived = {d.SOPInstanceUID: d for d in pacs.datasets()}
        found = {file.name: transfer_syntax(file) for file in pacs.folder.iterdir()}
    stored = [result for result in made if result.kind is not Kind.WORKITEM]
    assert {result.sop_instance_uid for result in stored} == set(arrived)
    for result in stored:
        before, after = pydicom.dcmread(result.path), arrived[result.sop_instance_uid]
        is_picture = result.sop_class_uid == SecondaryCaptureImageStorage
        (name,) = (name for name in found if str(result.sop_instance_uid) in name)
        assert found[name] == (pictures if is_picture else reports)
        if is_picture:
            assert np.array_equal(before.pixel_array, after.pixel_array)
        else:
            assert after.to_json() == before.to_json()


def transfer_syntax(file: Path) -> str:
    """What dcmdump says of a file."""
    done = subprocess.run(
        ["/usr/bin/dcmdump", "+P", "TransferSyntaxUID", str(file)],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.split("=")[1].split()[0]


# -- workitems --------------------------------------------------------------------------------


@pytest.fixture
def worklist() -> Iterator[Worklist]:
    with running_worklist() as started:
        yield started


def test_a_workitem_is_created_under_its_own_uid(
    spool: Spool,
    ledger: Ledger,
    made: list[ResultObject],
    worklist: Worklist,
    reported: Callable[..., Revision],
) -> None:
    revision = reported(follows=None)
    assert deliver("list", ledger, spool, settings_for(spool.home, 1, worklist.port)) == 1
    ((uid, item),) = worklist.created
    assert uid == made[-1].sop_instance_uid
    assert "SOPInstanceUID" not in item
    assert "SOPClassUID" not in item
    assert item.ProcedureStepState == "SCHEDULED"
    assert item.PatientName == "Doe^Jane"
    assert of_workitem(ledger, revision).state is DeliveryState.CREATED


def of_workitem(ledger: Ledger, revision: Revision):
    (delivery,) = (d for d in ledger.deliveries(revision) if d.destination == "list")
    return delivery


def test_a_workitem_whose_answer_was_lost_is_not_made_twice(
    spool: Spool, ledger: Ledger, worklist: Worklist, reported: Callable[..., Revision]
) -> None:
    revision = reported(follows=None)
    settings = settings_for(spool.home, 1, worklist.port)
    worklist.loses_answers = True
    assert deliver("list", ledger, spool, settings) == 0
    assert of_workitem(ledger, revision).state is DeliveryState.PENDING
    worklist.loses_answers = False
    ledger.clock.now += 60
    assert deliver("list", ledger, spool, settings) == 1
    assert len(worklist.created) == 1
    delivery = of_workitem(ledger, revision)
    assert (delivery.state, delivery.detail) == (
        DeliveryState.CREATED,
        "it was there before: 0x0111",
    )


@pytest.mark.parametrize("status", [0x0110, 0x0213, 0xC309])
def test_a_workitem_that_is_refused_is_tried_again_and_says_why(
    spool: Spool,
    ledger: Ledger,
    worklist: Worklist,
    reported: Callable[..., Revision],
    status: int,
) -> None:
    revision = reported(follows=None)
    settings = settings_for(spool.home, 1, worklist.port)
    worklist.answer = status
    assert deliver("list", ledger, spool, settings) == 0
    waiting = of_workitem(ledger, revision)
    assert waiting.state is DeliveryState.PENDING
    assert f"0x{status:04X}" in str(waiting.detail)
    worklist.answer = 0
    ledger.clock.now += 60
    assert deliver("list", ledger, spool, settings) == 1


@pytest.mark.parametrize("status", [0x0107, 0x0116, 0xB300])
def test_a_workitem_that_is_created_with_changes_is_created(
    spool: Spool,
    ledger: Ledger,
    worklist: Worklist,
    reported: Callable[..., Revision],
    status: int,
) -> None:
    revision = reported(follows=None)
    worklist.answer = status
    assert deliver("list", ledger, spool, settings_for(spool.home, 1, worklist.port)) == 1
    detail = of_workitem(ledger, revision).detail
    assert detail == f"created with modifications: 0x{status:04X}"


def test_a_peer_that_keeps_no_worklist_says_so(
    spool: Spool, ledger: Ledger, reported: Callable[..., Revision]
) -> None:
    revision = reported(follows=None)
    with running_storescp(spool.home / "pacs") as pacs:
        assert deliver("list", ledger, spool, settings_for(spool.home, 1, pacs.port)) == 0
    assert of_workitem(ledger, revision).state is DeliveryState.PENDING
    (state,) = (d for d in ledger.destinations() if d.name == "list")
    assert state.failures == 1
    assert state.detail


def test_the_workitem_goes_once_the_archive_has_the_report(
    spool: Spool, ledger: Ledger, worklist: Worklist, reported: Callable[..., Revision]
) -> None:
    revision = reported()
    with running_storescp(spool.home / "pacs") as pacs:
        settings = settings_for(spool.home, pacs.port, worklist.port)
        assert deliver("list", ledger, spool, settings) == 0
        assert deliver("pacs", ledger, spool, settings) > 0
        assert ledger.revision(revision.id).state is State.REPORTED
        assert deliver("list", ledger, spool, settings) == 1
    assert ledger.revision(revision.id).state is State.DELIVERED


# -- a later revision -------------------------------------------------------------------------


@pytest.fixture
def reported_again(
    ledger: Ledger, built: list[list[ResultObject]], spool: Spool
) -> Callable[[], Revision]:
    """Have a further revision of the same series reported, with a workitem of its own."""

    def make() -> Revision:
        results = recorded(place(built[1], spool), spool)
        plan = Plan(tuple(planned(result, None) for result in results))
        return report(ledger, results, plan, image=an_image(number=2))

    return make


def test_the_workitem_of_a_later_revision_has_the_one_before_canceled(
    spool: Spool,
    ledger: Ledger,
    worklist: Worklist,
    reported: Callable[..., Revision],
    reported_again: Callable[[], Revision],
) -> None:
    settings = settings_for(spool.home, 1, worklist.port)
    first = reported(follows=None)
    assert deliver("list", ledger, spool, settings) == 1
    second = reported_again()
    assert deliver("list", ledger, spool, settings) == 1
    (before, _), (after, item) = worklist.created
    ((canceled, action, why),) = worklist.canceled
    assert (canceled, action) == (before, 2)
    assert "replaces" in why.ReasonForCancellation
    assert [one.ReferencedSOPInstanceUID for one in item.ReplacedProcedureStepSequence] == [before]
    assert after == of_workitem(ledger, second).result.sop_instance_uid
    assert of_workitem(ledger, second).detail == "the one before was asked to be canceled"
    assert {of_workitem(ledger, r).state for r in (first, second)} == {DeliveryState.CREATED}


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (0xB304, "the one before was canceled already"),
        (0xC311, "the one before is completed"),
        (0xC313, "the one before stays: its performer goes on"),
        (0x0110, "the one before stays: 0x0110"),
    ],
)
def test_a_worklist_that_does_not_cancel_says_so_and_nothing_waits_for_it(
    spool: Spool,
    ledger: Ledger,
    worklist: Worklist,
    reported: Callable[..., Revision],
    reported_again: Callable[[], Revision],
    status: int,
    said: str,
) -> None:
    settings = settings_for(spool.home, 1, worklist.port)
    worklist.answer_to_cancel = status
    reported(follows=None)
    deliver("list", ledger, spool, settings)
    second = reported_again()
    assert deliver("list", ledger, spool, settings) == 1
    delivery = of_workitem(ledger, second)
    assert (delivery.state, delivery.detail) == (DeliveryState.CREATED, said)


def test_a_request_to_cancel_that_is_not_answered_is_made_again(
    spool: Spool,
    ledger: Ledger,
    worklist: Worklist,
    reported: Callable[..., Revision],
    reported_again: Callable[[], Revision],
) -> None:
    settings = settings_for(spool.home, 1, worklist.port)
    reported(follows=None)
    deliver("list", ledger, spool, settings)
    second = reported_again()
    worklist.is_silent_on_cancel = True
    assert deliver("list", ledger, spool, settings) == 0
    assert of_workitem(ledger, second).state is DeliveryState.PENDING
    worklist.is_silent_on_cancel = False
    ledger.clock.now += 60
    assert deliver("list", ledger, spool, settings) == 1
    assert [len(worklist.created), len(worklist.canceled)] == [2, 1]


def test_a_workitem_that_still_waits_when_a_later_one_is_there_is_never_created(
    spool: Spool,
    ledger: Ledger,
    worklist: Worklist,
    reported: Callable[..., Revision],
    reported_again: Callable[[], Revision],
) -> None:
    settings = settings_for(spool.home, 1, worklist.port)
    first, second = reported(follows=None), reported_again()
    assert deliver("list", ledger, spool, settings) == 1
    assert [uid for uid, _ in worklist.created] == [
        of_workitem(ledger, second).result.sop_instance_uid
    ]
    delivery = of_workitem(ledger, first)
    assert (delivery.state, delivery.detail) == (
        DeliveryState.REPLACED,
        "not created: that of a later revision is there",
    )
    assert of_workitem(ledger, second).detail == "the one before is not there"
    with running_storescp(spool.home / "pacs") as pacs:
        deliver("pacs", ledger, spool, settings_for(spool.home, pacs.port, worklist.port))
    assert ledger.revision(first.id).state is State.DELIVERED
