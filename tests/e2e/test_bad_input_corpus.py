"""Some of the corpus of bad input over the network, to a node that runs."""

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO

import pytest
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian, generate_uid
from pynetdicom import AE
from pynetdicom.dimse_primitives import C_STORE

from node.ledger import State
from tests.bad_input import wire
from tests.bad_input.case import Case, End, good_images
from tests.bad_input.corpus import CASES
from tests.e2e.peers import Node

NAMES = (
    "cut-value",
    "length-4-gigabytes",
    "deflate-bomb",
    "deep-open",
    "uid-path",
    "kind-bits-huge",
    "kind-description-sequence",
    "text-long",
    "text-nul",
    "charset-wrong",
    "size-65535",
    "colour-RGB",
    "codestream-long-RLE",
    "codestream-half-JPEGLSLossless",
    "place-nan",
    "mixed-patients",
)
"""One of every kind; those that end in a result take seconds each."""

CHOSEN = [case for case in CASES if case.name in NAMES]

STATES = {
    End.ANALYZED: State.DELIVERED,
    End.WARNED: State.DELIVERED,
    End.SKIPPED: State.SKIPPED,
    End.FAILED: State.FAILED,
    End.UNREADABLE: State.SKIPPED,
}


@dataclass(frozen=True)
class Sent:
    """What became of a case at the door."""

    series: str
    refused: int
    taken: int


@pytest.fixture(scope="module")
def sent(node: Node) -> dict[str, Sent]:
    """All of them, sent one after the other; the node works meanwhile."""
    return {case.name: send(node, case) for case in CHOSEN}


def send(node: Node, case: Case) -> Sent:
    """Send the files of a case as a series of its own."""
    images = good_images()
    study, series = generate_uid(), generate_uid()
    for image in images:
        image.StudyInstanceUID, image.SeriesInstanceUID = study, series
        image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    uids = [str(image.SOPInstanceUID) for image in images]
    statuses = store(node.port, case.make(images), uids)
    refused = sum(status >= 0xC000 for status in statuses)
    assert refused + statuses.count(0) == len(statuses), statuses
    return Sent(series, refused, statuses.count(0))


def store(port: int, contents: Sequence[bytes], uids: Sequence[str]) -> list[int]:
    """C-STORE files as they are, each in the transfer syntax that it names."""
    syntaxes = [syntax_of(content) for content in contents]
    ae = AE(ae_title="HOSTILE")
    for syntax in sorted(set(syntaxes)):
        ae.add_requested_context(CTImageStorage, syntax)
    association = ae.associate("127.0.0.1", port, ae_title="ICHNODE")
    assert association.is_established
    accepted = {c.transfer_syntax[0]: c.context_id for c in association.accepted_contexts}
    statuses = []
    association._reactor_checkpoint.clear()  # else its reactor takes the answers
    for number, (content, syntax, uid) in enumerate(zip(contents, syntaxes, uids, strict=True)):
        request = C_STORE()
        request.MessageID, request.Priority = number + 1, 2
        request.AffectedSOPClassUID, request.AffectedSOPInstanceUID = CTImageStorage, uid
        request.DataSet = BytesIO(content[wire.dataset_start(content) :])
        association.dimse.send_msg(request, accepted[syntax])
        _, answer = association.dimse.get_msg(block=True)
        assert answer is not None, number
        statuses.append(int(answer.Status))
    association._reactor_checkpoint.set()
    association.release()
    return statuses


def syntax_of(content: bytes) -> UID:
    """The transfer syntax that the file meta information names."""
    meta = content[: wire.dataset_start(content)]
    at = meta.find(b"\x02\x00\x10\x00UI")
    length = int.from_bytes(meta[at + 6 : at + 8], "little")
    return UID(meta[at + 8 : at + 8 + length].rstrip(b"\0").decode()) or ExplicitVRLittleEndian


def test_every_name_is_one_of_the_corpus() -> None:
    assert {case.name for case in CHOSEN} == set(NAMES)


@pytest.mark.parametrize("case", CHOSEN, ids=lambda case: case.name)
def test_bad_input_ends_on_a_node_as_stated(case: Case, node: Node, sent: dict[str, Sent]) -> None:
    found = sent[case.name]

    assert found.refused == case.refused
    if found.taken == 0:
        assert node.revisions(found.series) == []
        return
    revision = node.wait_for(found.series, STATES[case.end], timeout_s=120)
    said = " ".join((revision.reason or "", revision.detail or "", *revision.warnings))
    assert case.says in said
    assert bool(revision.warnings) >= (case.end is End.WARNED)
