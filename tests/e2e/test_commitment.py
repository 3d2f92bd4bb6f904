"""Storage commitment with Orthanc, in both directions, and with peers that are ill."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pydicom
import pytest
from pydicom.uid import CTImageStorage, MRImageStorage, generate_uid

from node.broker import free_port
from node.ledger import DeliveryState, State
from tests.e2e.conftest import Series
from tests.e2e.peers import Node, Orthanc, running_node, wait_for


def introduce(orthanc: Orthanc, port: int) -> None:
    """Tell Orthanc where the node listens."""
    modality = {"AET": "ICHNODE", "Host": "127.0.0.1", "Port": port}
    orthanc.get("/modalities/ichnode", json.dumps(modality).encode(), "PUT")


def ask_by_orthanc(orthanc: Orthanc, pairs: list[tuple[str, str]]) -> dict:
    """Have Orthanc ask the node to commit to instances; gives what it has heard."""
    body = {"DicomInstances": pairs, "Timeout": 10}
    asked = orthanc.get("/modalities/ichnode/storage-commitment", json.dumps(body).encode())
    return wait_for(
        lambda: (
            found
            if (found := orthanc.get(asked["Path"]))["Status"] != "Pending"
            else None
        ),
        20,
        "a report to Orthanc",
    )


@pytest.fixture(scope="module")
def committing(tmp_path_factory: pytest.TempPathFactory, orthanc: Orthanc) -> Iterator[Node]:
    """A node that asks Orthanc to commit to its results."""
    more = (
        '[[destinations]]\nname = "orthanc"\nae_title = "ORTHANC"\nhost = "127.0.0.1"\n'
        f"port = {orthanc.port}\ncommit = true\n"
    )
    with running_node(tmp_path_factory.mktemp("node"), more=more) as node:
        introduce(orthanc, node.port)
        yield node


def test_orthanc_commits_to_the_results_of_a_node_that_commits_to_what_it_received(
    committing: Node, orthanc: Orthanc, new_series: Callable[..., Series]
) -> None:
    series = new_series()
    committing.send(series.files)
    revision = committing.wait_for(series.series, State.DELIVERED)

    wait_for(
        lambda: {d.state for d in committing.ledger.deliveries(revision)}
        == {DeliveryState.COMMITTED},
        30,
        "Orthanc's report",
    )
    images = [pydicom.dcmread(file, stop_before_pixels=True) for file in series.files]
    pairs = [(str(i.SOPClassUID), str(i.SOPInstanceUID)) for i in images]
    heard = ask_by_orthanc(orthanc, pairs)
    assert heard["Status"] == "Success"
    assert len(heard["Success"]) == len(pairs)
    assert heard["RemoteAET"] == "ICHNODE"

    unknown = str(generate_uid())
    conflict = (str(MRImageStorage), pairs[0][1])
    heard = ask_by_orthanc(orthanc, [(str(CTImageStorage), unknown), conflict, *pairs[1:3]])
    assert heard["Status"] == "Failure"
    assert {(f["SOPInstanceUID"], f["FailureReason"]) for f in heard["Failures"]} == {
        (unknown, 0x0112),
        (pairs[0][1], 0x0119),
    }
    assert {s["SOPInstanceUID"] for s in heard["Success"]} == {uid for _, uid in pairs[1:3]}
