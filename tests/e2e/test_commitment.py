"""Storage commitment with Orthanc, in both directions, and by a node whose parts are killed."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydicom
import pytest
import redis
from pydicom.uid import (
    BasicTextSRStorage,
    Comprehensive3DSRStorage,
    CTImageStorage,
    MRImageStorage,
    SecondaryCaptureImageStorage,
    generate_uid,
)
from pynetdicom import AE, build_role, evt

from ml.phantom import Phantom, write_dicom
from node.audit import Auditor
from node.broker import broker_url, free_port
from node.commit import PUSH_MODEL, ask
from node.commit.content import PUSH_MODEL_INSTANCE, Report, Request, read_report, read_request
from node.deliver import Deliverer
from node.ledger import DeliveryState, Ledger, Reference, Revision, State, open_ledger
from node.receive import start_receiver
from node.settings import Settings
from node.spool import Spool
from tests.e2e.conftest import Series
from tests.e2e.peers import Node, Orthanc, running_node, wait_for
from tests.reporting import capture, report

RESULTS = (BasicTextSRStorage, Comprehensive3DSRStorage, SecondaryCaptureImageStorage)


def introduce(orthanc: Orthanc, settings: Settings) -> None:
    """Tell Orthanc where a node listens."""
    title = settings.dicom.ae_title
    modality = {"AET": title, "Host": "127.0.0.1", "Port": settings.dicom.port}
    orthanc.get(f"/modalities/{title}", json.dumps(modality).encode(), "PUT")


def ask_by_orthanc(orthanc: Orthanc, references: list[Reference]) -> dict[str, Any]:
    """Have Orthanc ask the node to commit to instances; gives what it has heard."""
    pairs = [(r.sop_class_uid, r.sop_instance_uid) for r in references]
    body = json.dumps({"DicomInstances": pairs, "Timeout": 10}).encode()
    asked = orthanc.get("/modalities/ICHNODE/storage-commitment", body)

    def heard() -> dict[str, Any] | None:
        found = orthanc.get(asked["Path"])
        return None if found["Status"] == "Pending" else found

    return wait_for(heard, 30, "a report to Orthanc")


def images_of(series: Series) -> list[Reference]:
    headers = [pydicom.dcmread(file, stop_before_pixels=True) for file in series.files]
    return [Reference(str(h.SOPClassUID), str(h.SOPInstanceUID)) for h in headers]


def are(state: DeliveryState, ledger: Ledger, revision: Revision) -> bool:
    return {delivery.state for delivery in ledger.deliveries(revision)} == {state}


class Pacs:
    """An archive that stores and is asked to commit, and hears what the node commits to."""

    def __init__(self) -> None:
        self.port = free_port()
        self.requests: list[Request] = []
        self.reports: list[Report] = []
        self._server: Any = None

    @contextmanager
    def listening(self) -> Iterator[None]:
        ae = AE(ae_title="PACS")
        for storage_class in RESULTS:
            ae.add_supported_context(storage_class)
        ae.add_supported_context(PUSH_MODEL, scu_role=True, scp_role=True)
        self._server = ae.start_server(
            ("127.0.0.1", self.port),
            block=False,
            evt_handlers=[
                (evt.EVT_C_STORE, lambda _event: 0x0000),
                (evt.EVT_N_ACTION, self._take_request),
                (evt.EVT_N_EVENT_REPORT, self._take_report),
            ],
        )

        try:
            yield
        finally:
            self.stop()

    def stop(self) -> None:
        if self._server is not None:
            self._server.shutdown()
        self._server = None

    def _take_request(self, event: evt.Event) -> tuple[int, None]:
        self.requests.append(read_request(event.action_information))
        return 0x0000, None

    def _take_report(self, event: evt.Event) -> tuple[int, None]:
        self.reports.append(read_report(event.event_information))
        return 0x0000, None


SUCCESS = "0x0000"


def call_node(node: Node, say: Callable[[Any], Any]) -> str | None:
    """Say something to the node about storage commitment; None while it does not listen."""
    ae = AE(ae_title="PACS")
    ae.add_requested_context(PUSH_MODEL)
    roles = [build_role(PUSH_MODEL, scu_role=True, scp_role=True)]
    association = ae.associate("127.0.0.1", node.port, ae_title="ICHNODE", ext_neg=roles)
    if not association.is_established:
        return None
    answer, _ = say(association)
    association.release()
    return f"0x{answer.Status:04X}"


@dataclass(frozen=True)
class Story:
    """A series whose results a node has sent to Orthanc and to an archive of the test's own."""

    node: Node
    pacs: Pacs
    series: Series
    revision: Revision

    def are(self, state: DeliveryState, destination: str) -> bool:
        deliveries = self.node.ledger.deliveries(self.revision)
        return {d.state for d in deliveries if d.destination == destination} == {state}


@pytest.fixture(scope="module")
def story(
    tmp_path_factory: pytest.TempPathFactory, orthanc: Orthanc, phantom: Phantom
) -> Iterator[Story]:
    pacs = Pacs()
    more = "".join(
        f'[[destinations]]\nname = "{name}"\nae_title = "{name.upper()}"\n'
        f'host = "127.0.0.1"\nport = {port}\ncommit = true\n'
        for name, port in (("orthanc", orthanc.port), ("pacs", pacs.port))
    )
    folder = tmp_path_factory.mktemp("commitment")
    series = Series.of(write_dicom(phantom, folder / "series"))
    with pacs.listening(), running_node(folder, more=more) as node:
        introduce(orthanc, node.settings)
        node.send(series.files)
        yield Story(node, pacs, series, node.wait_for(series.series, State.DELIVERED))


def test_orthanc_commits_to_the_results_of_a_node(story: Story) -> None:
    wait_for(lambda: story.are(DeliveryState.COMMITTED, "orthanc"), 30, "Orthanc's report")


def test_a_node_commits_to_what_orthanc_asks_for_where_it_has_it(
    story: Story, orthanc: Orthanc
) -> None:
    images = images_of(story.series)

    heard = ask_by_orthanc(orthanc, images)
    assert heard["Status"] == "Success"
    assert len(heard["Success"]) == len(images)

    unknown = Reference(str(CTImageStorage), str(generate_uid()))
    conflict = Reference(str(MRImageStorage), images[0].sop_instance_uid)
    heard = ask_by_orthanc(orthanc, [unknown, conflict, *images[1:3]])
    assert heard["Status"] == "Failure"
    assert {(f["SOPInstanceUID"], f["FailureReason"]) for f in heard["Failures"]} == {
        (unknown.sop_instance_uid, 0x0112),
        (conflict.sop_instance_uid, 0x0119),
    }
    assert len(heard["Success"]) == 2


def test_a_node_that_is_killed_after_it_asked_and_was_asked_still_hears_and_tells(
    story: Story,
) -> None:
    node, pacs = story.node, story.pacs
    (request,) = wait_for(lambda: pacs.requests, 30, "the node to ask")
    asked = Request(str(generate_uid()), tuple(images_of(story.series)))
    report = Report(request.transaction_uid, request.references, ())

    def ask_node(association: Any) -> Any:
        content = asked.as_dataset()
        return association.send_n_action(content, 1, PUSH_MODEL, PUSH_MODEL_INSTANCE)

    def tell_node(association: Any) -> Any:
        content = report.as_dataset()
        return association.send_n_event_report(content, 1, PUSH_MODEL, PUSH_MODEL_INSTANCE)

    pacs.stop()  # the node cannot tell before it is killed
    assert call_node(node, ask_node) == SUCCESS
    for part in ("deliver", "receive"):
        node.kill(part)
    redis.Redis.from_url(broker_url(node.settings)).flushall()
    with pacs.listening():
        answer = wait_for(lambda: call_node(node, tell_node), 60, "the node to listen again")
        assert answer == SUCCESS
        assert story.are(DeliveryState.COMMITTED, "pacs")
        wait_for(lambda: pacs.reports, 90, "the node to tell")
        assert pacs.reports == [Report(asked.transaction_uid, asked.references, ())]


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    opened = open_ledger(f"sqlite:///{tmp_path}/ledger.sqlite")
    yield opened
    opened.close()


def test_what_orthanc_has_lost_is_sent_again_until_it_commits(
    tmp_path: Path, orthanc: Orthanc, ledger: Ledger
) -> None:
    address = {"name": "orthanc", "ae_title": "ORTHANC", "host": "127.0.0.1", "port": orthanc.port}
    settings = Settings(
        home=tmp_path,
        dicom={"ae_title": "ICHNODE2", "port": free_port()},
        destinations=[{**address, "commit": True}],
        deliver={"first_pause_s": 0.1},
    )
    spool = Spool(tmp_path)
    deliverer = Deliverer(ledger, spool, settings, Auditor.silent())
    results = [capture(spool, "1.2", "1.2.3", f"{n}.dcm") for n in range(3)]
    revision = report(ledger, results, ["orthanc"])
    receiver = start_receiver(settings, spool, ledger, Auditor.silent())
    try:
        introduce(orthanc, settings)
        assert deliverer.deliver("orthanc") == 3
        lost = orthanc.get("/tools/lookup", results[1].sop_instance_uid.encode())
        orthanc.get(f"/instances/{lost[0]['ID']}", method="DELETE")

        assert ask("orthanc", ledger, settings) == 3

        wait_for(lambda: ledger.due_deliveries("orthanc"), 20, "Orthanc to miss it")
        assert [d.state for d in ledger.deliveries(revision)] == [
            DeliveryState.COMMITTED,
            DeliveryState.PENDING,
            DeliveryState.COMMITTED,
        ]
        assert deliverer.deliver("orthanc") == 1
        assert ask("orthanc", ledger, settings) == 1
        wait_for(lambda: are(DeliveryState.COMMITTED, ledger, revision), 20, "a report")
    finally:
        receiver.stop()
    assert [event.state for event in ledger.history(revision)][-3:] == [
        State.DELIVERED,
        State.REPORTED,
        State.DELIVERED,
    ]
