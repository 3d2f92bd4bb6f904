"""The audit trail of a node that runs: who sent the series, which model judged it."""

from collections.abc import Callable
from xml.etree import ElementTree as ET

import pydicom

from ml.bundle import load_bundle
from node.ledger import State
from tests.e2e.conftest import Series
from tests.e2e.peers import Node, wait_for
from tests.node.audit_schema import check, detail


def trail(node: Node) -> list[ET.Element]:
    """All records of the node, checked by the schema."""
    return [check(line) for line in (node.settings.home / "audit.log").read_bytes().splitlines()]


def about(node: Node, study: str, event: str) -> list[ET.Element]:
    """The records of a kind of event that are about a study."""
    return [
        root
        for root in trail(node)
        if root.find(f"EventIdentification/EventID[@csd-code='{event}']") is not None
        and root.find(f"ParticipantObjectIdentification[@ParticipantObjectID='{study}']")
        is not None
    ]


def test_a_series_leaves_who_sent_it_and_which_model_judged_it(
    node: Node, new_series: Callable[..., Series]
) -> None:
    series = new_series()
    node.send(series.files)
    node.wait_for(series.series, State.DELIVERED)

    def received() -> list[ET.Element]:
        return about(node, series.study, "110104")

    sent_by = wait_for(received, 10, "the record of what came")[0]
    sender = sent_by.find("ActiveParticipant")
    assert sender is not None and sender.get("AlternativeUserID") == "AETITLES=SCANNER"
    assert [s.get("NumberOfInstances") for s in sent_by.iter("SOPClass")] == [
        str(len(series.files))
    ]

    (judged,) = wait_for(lambda: about(node, series.study, "110103"), 10, "the judgement")
    study, patient = judged.findall("ParticipantObjectIdentification")
    assert patient.get("ParticipantObjectID") == pydicom.dcmread(series.files[0]).PatientID
    assert detail(study)["Model Digest"] == load_bundle("phantom").digest
    assert detail(study)["Series Instance UID"] == series.series


def test_every_part_of_the_node_says_that_it_has_started(node: Node) -> None:
    def started() -> set[str | None]:
        return {
            root.find("ActiveParticipant").get("UserName")  # type: ignore[union-attr]
            for root in trail(node)
            if root.find("EventIdentification/EventTypeCode[@csd-code='110120']") is not None
        }

    assert wait_for(lambda: len(started()) == 3 and started(), 10, "three parts") == {
        "ichnode receive",
        "ichnode analyze",
        "ichnode deliver",
    }
