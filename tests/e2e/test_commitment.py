"""Storage commitment with Orthanc, in both directions, and by a node whose parts are killed."""

import json
from collections.abc import Callable, Iterator
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

from node.audit import Auditor
from node.broker import broker_url, free_port
from node.commit import PUSH_MODEL, ask
from node.commit.content import PUSH_MODEL_INSTANCE, Report, Request, read_report, read_request
from node.deliver import Deliverer
from node.ledger import DeliveryState, Instance, Ledger, Reference, Revision, State, open_ledger
from node.receive import start_receiver
from node.settings import Settings
from node.spool import Spool
from tests.e2e.conftest import Series
from tests.e2e.peers import Node, Orthanc, running_node, wait_for
from tests.e2e.test_delivery import capture

RESULTS = (BasicTextSRStorage, Comprehensive3DSRStorage, SecondaryCaptureImageStorage)


def introduce(orthanc: Orthanc, port: int) -> None:
    """Tell Orthanc where the node listens."""
    modality = {"AET": "ICHNODE", "Host": "127.0.0.1", "Port": port}
    orthanc.get("/modalities/ichnode", json.dumps(modality).encode(), "PUT")


def ask_by_orthanc(orthanc: Orthanc, references: list[Reference]) -> dict[str, Any]:
    """Have Orthanc ask the node to commit to instances; gives what it has heard."""
    pairs = [(r.sop_class_uid, r.sop_instance_uid) for r in references]
    body = json.dumps({"DicomInstances": pairs, "Timeout": 10}).encode()
    asked = orthanc.get("/modalities/ichnode/storage-commitment", body)

    def heard() -> dict[str, Any] | None:
        found = orthanc.get(asked["Path"])
        return None if found["Status"] == "Pending" else found

    return wait_for(heard, 30, "a report to Orthanc")


def images_of(series: Series) -> list[Reference]:
    headers = [pydicom.dcmread(file, stop_before_pixels=True) for file in series.files]
    return [Reference(str(h.SOPClassUID), str(h.SOPInstanceUID)) for h in headers]


def are(state: DeliveryState, ledger: Ledger, revision: Revision) -> bool:
    return {delivery.state for delivery in ledger.deliveries(revision)} == {state}


def test_orthanc_commits_to_the_results_of_a_node_that_commits_to_what_it_received(
    tmp_path: Path, orthanc: Orthanc, new_series: Callable[..., Series]
) -> None:
    more = (
        '[[destinations]]\nname = "orthanc"\nae_title = "ORTHANC"\nhost = "127.0.0.1"\n'
        f"port = {orthanc.port}\ncommit = true\n"
    )
    with running_node(tmp_path, more=more) as node:
        introduce(orthanc, node.port)
        series = new_series()
        node.send(series.files)
        revision = node.wait_for(series.series, State.DELIVERED)
        wait_for(lambda: are(DeliveryState.COMMITTED, node.ledger, revision), 30, "a report")
        images = images_of(series)

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
        dicom={"port": free_port()},
        destinations=[{**address, "commit": True}],
        deliver={"first_pause_s": 0.1},
    )
    spool = Spool(tmp_path)
    deliverer = Deliverer(ledger, spool, settings, Auditor.silent())
    instance = Instance("1.2", "1.2.3", "1.2.3.1", "1.2.840.1", "0" * 64, Path("1.dcm"), "CT")
    revision = ledger.revision(ledger.store(instance, 30).revision_id)
    assert revision is not None
    assert ledger.ready(revision, [])
    claim = ledger.claim(revision.id, 30)
    assert claim is not None
    results = [capture(spool, Path(f"{n}.dcm")) for n in range(3)]
    assert ledger.report(claim, results, ["orthanc"], warnings=[], maxima={"any": 0.5})
    receiver = start_receiver(settings, spool, ledger, Auditor.silent())
    try:
        introduce(orthanc, settings.dicom.port)
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


class Pacs:
    """An archive that stores and is asked to commit, and hears what the node commits to."""

    def __init__(self) -> None:
        self.port = free_port()
        self.requests: list[Request] = []
        self.reports: list[Report] = []

    def listen(self) -> Any:
        ae = AE(ae_title="PACS")
        for storage_class in RESULTS:
            ae.add_supported_context(storage_class)
        ae.add_supported_context(PUSH_MODEL, scu_role=True, scp_role=True)
        return ae.start_server(
            ("127.0.0.1", self.port),
            block=False,
            evt_handlers=[
                (evt.EVT_C_STORE, lambda _event: 0x0000),
                (evt.EVT_N_ACTION, self._take_request),
                (evt.EVT_N_EVENT_REPORT, self._take_report),
            ],
        )

    def _take_request(self, event: evt.Event) -> tuple[int, None]:
        self.requests.append(read_request(event.action_information))
        return 0x0000, None

    def _take_report(self, event: evt.Event) -> tuple[int, None]:
        self.reports.append(read_report(event.event_information))
        return 0x0000, None


def call_node(node: Node, say: Callable[[Any], Any]) -> int | None:
    """Say something to the node about storage commitment; None while it does not listen."""
    ae = AE(ae_title="PACS")
    ae.add_requested_context(PUSH_MODEL)
    roles = [build_role(PUSH_MODEL, scu_role=True, scp_role=True)]
    association = ae.associate("127.0.0.1", node.port, ae_title="ICHNODE", ext_neg=roles)
    if not association.is_established:
        return None
    answer, _ = say(association)
    association.release()
    return int(answer.Status)


def test_a_node_that_is_killed_after_it_asked_and_was_asked_still_hears_and_tells(
    tmp_path: Path, new_series: Callable[..., Series]
) -> None:
    pacs = Pacs()
    more = (
        '[[destinations]]\nname = "pacs"\nae_title = "PACS"\nhost = "127.0.0.1"\n'
        f"port = {pacs.port}\ncommit = true\n"
    )
    with running_node(tmp_path, more=more) as node:
        server = pacs.listen()
        series = new_series()
        node.send(series.files)
        revision = node.wait_for(series.series, State.DELIVERED)
        (request,) = wait_for(lambda: pacs.requests, 30, "the node to ask")
        server.shutdown()
        server.server_close()
        asked = Request(str(generate_uid()), tuple(images_of(series)))
        status = call_node(
            node,
            lambda a: a.send_n_action(asked.as_dataset(), 1, PUSH_MODEL, PUSH_MODEL_INSTANCE),
        )
        assert status == 0x0000
        for part in ("deliver", "receive"):
            node.kill(part)
        redis.Redis.from_url(broker_url(node.settings)).flushall()

        report = Report(request.transaction_uid, request.references, ())
        server = pacs.listen()
        status = wait_for(
            lambda: (
                None
                if (
                    answer := call_node(
                        node,
                        lambda a: a.send_n_event_report(
                            report.as_dataset(), 1, PUSH_MODEL, PUSH_MODEL_INSTANCE
                        ),
                    )
                )
                is None
                else f"0x{answer:04X}"
            ),
            60,
            "the node to listen again",
        )
        assert status == "0x0000"
        assert are(DeliveryState.COMMITTED, node.ledger, revision)
        wait_for(lambda: pacs.reports, 90, "the node to tell")
        server.shutdown()
    assert pacs.reports == [Report(asked.transaction_uid, asked.references, ())]
