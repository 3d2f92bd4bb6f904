"""docs/conformance.md says what the node does: its tables against the code, and against peers.

What peers are to see is taken from the page, not from the code.
"""

import ast
import re
import shutil
import subprocess
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http import HTTPStatus
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset
from pydicom.datadict import tag_for_keyword
from pydicom.uid import (
    UID,
    AllTransferSyntaxes,
    CTImageStorage,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    MRImageStorage,
    SecondaryCaptureImageStorage,
)
from pynetdicom import AE, build_context, build_role, evt
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.dsutils import encode
from pynetdicom.pdu_primitives import (
    AsynchronousOperationsWindowNegotiation,
    ImplementationClassUIDNotification,
    ImplementationVersionNameNotification,
    MaximumLengthNotification,
    SOPClassExtendedNegotiation,
    UserIdentityNegotiation,
)
from pynetdicom.presentation import AllStoragePresentationContexts
from pynetdicom.sop_class import (
    BasicFilmSession,  # type: ignore[attr-defined]
    ModalityWorklistInformationFind,  # type: ignore[attr-defined]
    StorageCommitmentPushModel,  # type: ignore[attr-defined]
    StudyRootQueryRetrieveInformationModelFind,  # type: ignore[attr-defined]
    Verification,  # type: ignore[attr-defined]
)
from sqlalchemy.exc import OperationalError

from node import stow
from node.audit import Auditor
from node.broker import free_port
from node.commit.answering import judge
from node.commit.asking import _UNKNOWN_SERVICE
from node.commit.association import Address, calling
from node.commit.content import (
    PUSH_MODEL,
    PUSH_MODEL_INSTANCE,
    Report,
    Request,
)
from node.deliver import Deliverer, NotTakenError, Sender
from node.dicom import Status
from node.errors import DeliveryError
from node.fetch import Query
from node.intake import file_content
from node.ledger import FetchState, Instance, Reference, Result, open_ledger
from node.part10 import take_apart
from node.receive import Receiver
from node.report.header import COPIED
from node.settings import DeliverSettings, Destination, Settings
from node.spool import Spool
from node.stow.answer import Reason
from tests.archives import BadArchive, running
from tests.claiming import claimed
from tests.conformance import content, page
from tests.conformance.made import Made, everything, items_within
from tests.ct import STUDY, image, series
from tests.e2e.peers import dcmtk
from tests.fetching import fetching
from tests.listening import listening
from tests.stowing import OTHERS, Service, reasons, taking

TEXT = page.PAGE.read_text(encoding="utf-8")
NAMES = re.findall(r"<!-- /(\w+) -->", TEXT)

REJECTED_ABSTRACT, REJECTED_TRANSFER = 3, 4
MOST_CONTEXTS = 128


def rows(name: str) -> list[list[str]]:
    """The cells of a table of the page."""
    lines = page.shown(name).splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def contexts(name: str) -> list[tuple[str, str]]:
    """The presentation contexts of a table, in its order."""
    return [(row[1], syntax) for row in rows(name) for syntax in row[3].split("<br>")]


ACCEPTED = contexts("accepted")


def codes_told(name: str) -> list[int]:
    """The status codes of a table."""
    return [int(row[0].removesuffix("H"), 16) for row in rows(name)]


# -- the page ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("conformance")


@pytest.fixture(scope="module")
def made(folder: Path) -> list[Made]:
    return everything(folder / "made")


@pytest.fixture(scope="module")
def parts(folder: Path, made: list[Made]) -> dict[str, str]:
    return page.parts(made, folder / "page")


def test_every_part_that_is_made_has_its_place(parts: dict[str, str]) -> None:
    assert sorted(NAMES) == sorted(parts)


@pytest.mark.parametrize("name", NAMES)
def test_the_page_is_as_the_code(parts: dict[str, str], name: str) -> None:
    assert page.shown(name) == parts[name], "run `make conformance`"


def test_every_link_leads_somewhere() -> None:
    links = re.findall(r"\]\(([^)#]+)", TEXT)
    assert len(links) > 5
    assert [link for link in links if not (page.PAGE.parent / link).exists()] == []


def test_every_section_that_is_referred_to_exists() -> None:
    headings = re.findall(r"^#+ ([\d.]+) ", TEXT, re.MULTILINE)
    without = re.sub(
        r"PS3\.\d+(, [A-Z]?[\d.]+)?|\b[A-Z]\.[\d.]+|\d+(\.\d+){4,}|TLS 1\.\d", "", TEXT
    )
    named = re.findall(r"(?<![\d.])[4-8]\.\d(?:\.\d)*\b", without)
    assert len(named) > len(headings)
    assert set(named) - set(headings) == set()


_OF_ENCODING = {"CodeMeaning", "Plane", "TransferSyntaxUID", "UID"}
_GROUPS = {"Frame", "Plane", "Pixel", "CT", "Shared", "PerFrame"}


def test_the_page_names_every_attribute_that_is_read_to_judge_a_series() -> None:
    """By the keywords of the dictionary that stand in the code that reads headers."""
    root = page.PAGE.parents[1]
    files = [root / "ml/frames.py", root / "ml/stored.py", *(root / "node/assemble").glob("*.py")]
    names = set()
    for file in files:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                names |= {word for word in node.value.split() if tag_for_keyword(word)}
            elif isinstance(node, ast.Attribute) and tag_for_keyword(node.attr):
                names.add(node.attr)
    groups = {n for n in names if n.endswith("Sequence") and n.startswith(tuple(_GROUPS))}
    table = TEXT.partition("| for | attributes |")[2].partition("\n\n")[0]
    told = set(re.findall(r"\b[A-Z]\w+", table))
    assert {word for word in told if tag_for_keyword(word)} - {"Modality"} == (
        names - groups - _OF_ENCODING - {"SOPInstanceUID", "Modality"}
    )
    assert "Modality" in told


# -- association: pynetdicom and DCMTK propose ------------------------------------


@pytest.fixture(scope="module")
def receiver(folder: Path) -> Iterator[Receiver]:
    with listening(folder / "home") as started:
        yield started


@contextmanager
def associated(
    receiver: Receiver, proposed: Sequence[tuple[str, list[str]]], negotiated: Sequence[Any] = ()
) -> Iterator[Association]:
    ae = AE("PEER")
    ae.requested_contexts = [build_context(abstract, syntaxes) for abstract, syntaxes in proposed]
    association = ae.associate(
        "127.0.0.1", receiver.settings.dicom.port, ae_title="ICHNODE", ext_neg=list(negotiated)
    )
    assert association.is_established or association.rejected_contexts
    try:
        yield association
    finally:
        association.release()


def everything_to_propose() -> list[tuple[str, str]]:
    """What the page says is accepted, its SOP classes otherwise, and other SOP classes."""
    classes = dict.fromkeys(abstract for abstract, _ in ACCEPTED)
    others = [
        *(str(context.abstract_syntax) for context in AllStoragePresentationContexts),
        *map(str, (StudyRootQueryRetrieveInformationModelFind, ModalityWorklistInformationFind)),
        "1.2.840.10008.1.20.2",
        "1.2.3.4.5",
    ]
    syntaxes = [*map(str, AllTransferSyntaxes), "1.2.840.113619.5.2", "1.2.3.4"]
    found = dict.fromkeys(ACCEPTED)
    found.update(dict.fromkeys((abstract, syntax) for abstract in classes for syntax in syntaxes))
    found.update(dict.fromkeys((other, str(ExplicitVRLittleEndian)) for other in others))
    return list(found)


def test_the_node_accepts_the_contexts_of_the_page_and_no_others(receiver: Receiver) -> None:
    proposed = everything_to_propose()
    results: dict[tuple[str, str], int] = {}
    for start in range(0, len(proposed), MOST_CONTEXTS):
        some = proposed[start : start + MOST_CONTEXTS]
        with associated(receiver, [(abstract, [syntax]) for abstract, syntax in some]) as open_:
            answers = {
                c.context_id: c for c in (*open_.accepted_contexts, *open_.rejected_contexts)
            }
        assert len(answers) == len(some)
        # Contexts are numbered in the order in which they are proposed (PS3.8, 7.1.1.13).
        results |= {some[number // 2]: answer.result for number, answer in answers.items()}

    assert len(proposed) > 300
    assert {context for context, result in results.items() if result == 0} == set(ACCEPTED)
    classes = {abstract for abstract, _ in ACCEPTED}
    refused = {context: result for context, result in results.items() if result != 0}
    assert refused == {
        (abstract, syntax): REJECTED_TRANSFER if abstract in classes else REJECTED_ABSTRACT
        for abstract, syntax in refused
    }


def test_of_several_transfer_syntaxes_the_first_of_the_page_is_accepted(receiver: Receiver) -> None:
    classes = dict.fromkeys(abstract for abstract, _ in ACCEPTED)
    first = {abstract: next(s for a, s in ACCEPTED if a == abstract) for abstract in classes}
    proposed = [(c, [s for a, s in reversed(ACCEPTED) if a == c]) for c in classes]
    with associated(receiver, proposed) as association:
        found = {c.abstract_syntax: c.transfer_syntax for c in association.accepted_contexts}
    assert found == {abstract: [syntax] for abstract, syntax in first.items()}


def test_roles_are_negotiated_for_what_the_page_says_alone(receiver: Receiver) -> None:
    classes = dict.fromkeys(abstract for abstract, _ in ACCEPTED)
    roles = [build_role(UID(c), scu_role=True, scp_role=True) for c in classes]
    proposed = [(abstract, [str(ExplicitVRLittleEndian)]) for abstract in classes]
    with associated(receiver, proposed, roles) as association:
        agreed = set(association.acceptor.role_selection)
    assert agreed == {row[1] for row in rows("accepted") if row[5] == "role selection"}
    assert agreed == {StorageCommitmentPushModel}


def test_no_other_extended_negotiation_is_answered(receiver: Receiver) -> None:
    window = AsynchronousOperationsWindowNegotiation()
    window.maximum_number_operations_invoked = window.maximum_number_operations_performed = 5
    user = UserIdentityNegotiation()
    user.user_identity_type, user.primary_field = 1, b"somebody"
    user.positive_response_requested = True
    extended = SOPClassExtendedNegotiation()
    extended.sop_class_uid = CTImageStorage
    extended.service_class_application_information = b"\x02\x00\x00\x00\x00\x00"
    proposed = [(CTImageStorage, [str(ExplicitVRLittleEndian)])]
    with associated(receiver, proposed, [window, user, extended]) as association:
        assert association.is_established
        answered = {type(item) for item in association.acceptor.user_information}
    assert answered == {
        MaximumLengthNotification,
        ImplementationClassUIDNotification,
        ImplementationVersionNameNotification,
    }


_DCMTK_RESULTS = {"Accepted": 0, "Abstract Syntax": 3, "Transfer Syntaxes": 4}


def test_dcmtk_sees_the_same(receiver: Receiver, tmp_path: Path) -> None:
    """By storescu, with contexts from a configuration file, each with one transfer syntax."""
    refused = [
        (str(MRImageStorage), str(ExplicitVRLittleEndian)),
        (str(SecondaryCaptureImageStorage), str(ImplicitVRLittleEndian)),
        (str(CTImageStorage), "1.2.840.10008.1.2.4.100"),  # MPEG2
        (str(Verification), "1.2.840.10008.1.2.5"),
        (str(StorageCommitmentPushModel), "1.2.840.10008.1.2.2"),
    ]
    proposed = [*ACCEPTED, *refused]
    lines = ["[[TransferSyntaxes]]"]
    for number, (_, syntax) in enumerate(proposed, start=1):
        lines += [f"[T{number}]", f"TransferSyntax1 = {syntax}"]
    lines += ["[[PresentationContexts]]", "[C]"]
    for number, (abstract, _) in enumerate(proposed, start=1):
        lines.append(f"PresentationContext{number} = {abstract}\\T{number}")
    lines += ["[[Profiles]]", "[P]", "PresentationContexts = C", ""]
    config = tmp_path / "storescu.cfg"
    config.write_text("\n".join(lines))
    image().save_as(tmp_path / "ct.dcm", enforce_file_format=True)

    done = subprocess.run(
        [
            *(dcmtk("storescu"), "-d", "-xf", config, "P", "-aec", "ICHNODE", "127.0.0.1"),
            *(str(receiver.settings.dicom.port), tmp_path / "ct.dcm"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )

    said = (done.stdout + done.stderr).partition("BEGIN A-ASSOCIATE-AC")[2]
    answers = re.findall(r"Context ID:\s+(\d+) \((.+?)\)", said)
    found = {int(number): result for number, result in answers}
    assert done.returncode == 0, said
    assert len(found) == len(proposed)
    results = {
        proposed[number // 2]: next(r for words, r in _DCMTK_RESULTS.items() if words in result)
        for number, result in found.items()
    }
    assert {context for context, result in results.items() if result == 0} == set(ACCEPTED)
    assert [results[context] for context in refused] == [3, 3, 4, 4, 4]
    told = dict(rows("identity"))
    assert f"Their Implementation Class UID:    {told['Implementation Class UID']}" in said
    version = told["Implementation Version Name"].partition(" (")[0]
    assert f"Their Implementation Version Name: {version}" in said
    size = dict(rows("associations"))["Largest PDU received, as acceptor"].partition(" ")[0]
    assert f"Their Max PDU Receive Size:  {size.replace(',', '')}" in said
    assert "0x0000: Success" in said


# -- storage as SCP ---------------------------------------------------------------


def stored(receiver: Receiver, dataset: Dataset, sop_class: str = "", instance: str = "") -> int:
    """The status of a C-STORE in the context of CT images, whatever its command says."""
    request = C_STORE()
    request.MessageID, request.Priority = 1, 0
    request.AffectedSOPClassUID = sop_class or dataset.SOPClassUID
    request.AffectedSOPInstanceUID = instance or dataset.SOPInstanceUID
    encoded = encode(dataset, is_implicit_vr=False, is_little_endian=True)
    assert encoded is not None
    request.DataSet = BytesIO(encoded)
    with associated(receiver, [(CTImageStorage, [str(ExplicitVRLittleEndian)])]) as association:
        association._reactor_checkpoint.clear()  # the answer is for this test
        association.dimse.send_msg(request, association.accepted_contexts[0].context_id)
        _, answer = association.dimse.get_msg(block=True)
        association._reactor_checkpoint.set()
    assert answer is not None
    return int(answer.Status)


def test_each_status_of_the_page_is_given_when_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nameless, other = image(), image()
    del nameless.SeriesInstanceUID
    given = []
    with listening(tmp_path) as receiver:
        quarantine = receiver.intake.spool.quarantined
        given.append(stored(receiver, image()))
        assert stored(receiver, image()) == 0, "the same again"
        assert not quarantine.exists()
        receiver.settings.dicom.__dict__["min_free_gb"] = 1e9
        given.append(stored(receiver, other))
        receiver.settings.dicom.__dict__["min_free_gb"] = 0
        assert not quarantine.exists()
        given.append(stored(receiver, other, instance="1.2.3.4"))
        assert len(list(quarantine.glob("*/reason.txt"))) == 1
        given.append(stored(receiver, nameless))
        assert len(list(quarantine.glob("*/reason.txt"))) == 2
        monkeypatch.setattr(Spool, "place", lambda *_: 1 / 0)
        given.append(stored(receiver, other))

    assert given == codes_told("stored")


def test_an_instance_is_kept_byte_by_byte_under_the_meta_information_of_the_node(
    tmp_path: Path,
) -> None:
    sent = image()
    sent.private_block(0x0029, "SOMEBODY", create=True).add_new(1, "LO", "private")
    with listening(tmp_path) as receiver:
        assert stored(receiver, sent) == 0
        (kept,) = receiver.intake.spool.folder.rglob("*.dcm")
    encoded = encode(sent, is_implicit_vr=False, is_little_endian=True)
    assert encoded is not None
    assert kept.read_bytes().endswith(encoded)
    assert dict(rows("identity"))["Implementation Class UID"].encode() in kept.read_bytes()


def test_an_instance_of_another_class_than_its_context_is_refused(receiver: Receiver) -> None:
    other = image()
    other.SOPClassUID, other.SOPInstanceUID = MRImageStorage, "1.2.3.9"
    assert stored(receiver, other) == 0xA900


# -- storage commitment -----------------------------------------------------------


MOST = 3
"""Instances that may be referenced, in place of the node's limit, which takes seconds to reach."""


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("node.commit.content.MOST_REFERENCES", MOST)


@contextmanager
def committing(receiver: Receiver, *more: str) -> Iterator[Association]:
    proposed = [(abstract, [str(ExplicitVRLittleEndian)]) for abstract in (PUSH_MODEL, *more)]
    roles = [build_role(PUSH_MODEL, scu_role=True, scp_role=True)]
    with associated(receiver, proposed, roles) as association:
        yield association


def requested(number: int, instance: str = "1.2.3") -> Dataset:
    references = tuple(Reference(CTImageStorage, f"{instance}.{n}") for n in range(number))
    return Request("1.2.3.4", references).as_dataset()


@pytest.mark.usefixtures("few")
def test_each_answer_to_a_request_is_given_when_the_page_says(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    with committing(receiver) as association:

        def asked(request: Dataset, action: int = 1, instance: str = PUSH_MODEL_INSTANCE) -> int:
            answer, _ = association.send_n_action(request, action, PUSH_MODEL, instance)
            return int(answer.Status)

        receiver.settings.__dict__["peers"] = (
            *receiver.settings.peers,
            _peer("PEER"),
        )  # a report would come on this association else
        given = [
            asked(requested(1)),
            asked(requested(1), instance="1.2.3"),
            asked(requested(1, "1.2.4")),
            asked(requested(1), action=2),
            asked(requested(MOST + 1)),
        ]
        assert asked(requested(0)) == asked(requested(1, "x")) == 0x0115
        # Any other class with N-ACTION, sent in the context of this one
        answer, _ = association.send_n_action(
            requested(1), 1, BasicFilmSession, PUSH_MODEL_INSTANCE, meta_uid=PUSH_MODEL
        )
        given.append(int(answer.Status))
        given.append(_without_ledger(receiver, monkeypatch, lambda: asked(requested(1))))

    assert sorted(given) == codes_told("asked")


@pytest.mark.usefixtures("few")
def test_each_answer_to_a_report_is_given_when_the_page_says(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    with committing(receiver) as association:

        def reported(report: Dataset, kind: int = 1) -> int:
            answer, _ = association.send_n_event_report(
                report, kind, PUSH_MODEL, PUSH_MODEL_INSTANCE
            )
            return int(answer.Status)

        known = Report(_asked_by(receiver), (Reference(SecondaryCaptureImageStorage, "1.2"),), ())
        given = [
            reported(known.as_dataset()),
            reported(known.as_dataset(), kind=3),
            reported(Report("1.2.3.9", known.committed, ()).as_dataset()),
            reported(requested(MOST + 1)),
            _without_ledger(receiver, monkeypatch, lambda: reported(known.as_dataset())),
        ]
        assert reported(Report("", known.committed, ()).as_dataset()) == 0x0115

    assert sorted(given) == codes_told("reported")


def test_an_instance_is_not_committed_to_for_the_reasons_of_the_page(tmp_path: Path) -> None:
    sent, lost = image(1), image(2)
    with listening(tmp_path) as receiver:
        assert [stored(receiver, one) for one in (sent, lost)] == [0, 0]
        next(receiver.intake.spool.folder.rglob(f"{lost.SOPInstanceUID}.*")).write_bytes(b"altered")
        asked = (
            Reference(CTImageStorage, sent.SOPInstanceUID),
            Reference(CTImageStorage, lost.SOPInstanceUID),
            Reference(CTImageStorage, "1.2.3.4.5"),
            Reference(MRImageStorage, sent.SOPInstanceUID),
        )
        report = judge("1.2.3", asked, receiver.intake.ledger, receiver.intake.spool)
    assert report.committed == asked[:1]
    assert report.failed == tuple(zip(asked[1:], codes_told("failed"), strict=True))


@pytest.mark.parametrize("as_scp", [False, True], ids=["request", "report"])
def test_an_association_for_commitment_proposes_what_the_page_says(
    tmp_path: Path, as_scp: bool
) -> None:
    seen: list[Any] = []
    classes = [(str(PUSH_MODEL), [str(ExplicitVRLittleEndian)])]
    with archive(lambda _event: 0, classes, seen) as port:
        address = Address("PACS", "127.0.0.1", port, _peer("PACS"))
        with calling(address, Settings(home=tmp_path), as_scp=as_scp):
            pass
    (requestor,) = seen
    syntaxes = {ExplicitVRLittleEndian, ImplicitVRLittleEndian}
    assert {c.abstract_syntax: set(c.transfer_syntax) for c in requestor.requested_contexts} == {
        PUSH_MODEL: syntaxes,
        Verification: syntaxes,
    }
    roles = {uid: (r.scu_role, r.scp_role) for uid, r in requestor.role_selection.items()}
    assert roles == ({PUSH_MODEL: (False, True)} if as_scp else {})


def _peer(title: str) -> Any:
    return Settings(
        home=Path("/nowhere"),
        peers=[{"name": "peer", "ae_title": title, "host": "127.0.0.1", "port": 1}],
    ).peers[0]


def _without_ledger(receiver: Receiver, monkeypatch: pytest.MonkeyPatch, ask: Any) -> int:
    """Ask while the ledger does not answer."""

    def away(*_: object, **__: object) -> None:
        raise OperationalError("", {}, Exception("it is away"))

    with monkeypatch.context() as patch:
        patch.setattr(type(receiver.intake.ledger), "owe_report", away)
        patch.setattr(type(receiver.intake.ledger), "hear", away)
        patch.setattr("node.commit.answering.patiently", lambda what: what())
        return int(ask())


def _asked_by(receiver: Receiver) -> str:
    """The Transaction UID of a request that the node has made."""
    ledger = receiver.intake.ledger
    _report_results(ledger, [Result("sc", "1.2.9", SecondaryCaptureImageStorage, "1.2", Path("x"))])
    ledger.sent([(delivery, None) for delivery in ledger.due_deliveries("pacs")])
    commitment = ledger.take_commitment("pacs", 60, 0)
    assert commitment is not None
    uid = ledger.name_transaction(commitment)
    assert uid is not None
    ledger.asked(commitment, 60)
    return uid


def _report_results(ledger: Any, results: Sequence[Result]) -> None:
    instance = Instance("1.2", "1.2.7", "1.2.7.1", CTImageStorage, "0" * 64, Path("1"), "CT")
    revision = ledger.revision(ledger.store(instance, 30).revision_id)
    assert ledger.ready(revision, [])
    claim = claimed(ledger, revision.id)
    assert ledger.report(claim, results, ["pacs"], warnings=[], maxima={"any": 0.5})


# -- storage as SCU ---------------------------------------------------------------


@contextmanager
def archive(
    answer: Any, classes: Sequence[tuple[str, list[str]]], seen: list[Any]
) -> Iterator[int]:
    """An archive that takes some contexts, answers as told and notes what is proposed."""
    ae, port = AE("PACS"), free_port()
    for abstract, syntaxes in classes:
        ae.add_supported_context(abstract, syntaxes)
    server = ae.start_server(
        ("127.0.0.1", port),
        block=False,
        evt_handlers=[
            (evt.EVT_C_STORE, answer),
            (evt.EVT_REQUESTED, lambda event: seen.append(event.assoc.requestor)),
        ],
    )
    try:
        yield port
    finally:
        server.shutdown()
        server.server_close()


def test_the_contexts_of_the_page_are_proposed_where_all_is_due(
    made: list[Made], tmp_path: Path
) -> None:
    spool, ledger = Spool(tmp_path), open_ledger(f"sqlite:///{tmp_path}/ledger.sqlite")
    by_context = {}
    for one in made:
        meta = one.dataset.file_meta
        by_context[meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID] = one
    results = []
    spool.results.mkdir()
    for number, one in enumerate(by_context.values()):
        shutil.copy(one.path, spool.results / f"{number}.dcm")
        sop = one.dataset
        results.append(
            Result(
                str(one.kind),
                sop.SeriesInstanceUID,
                sop.SOPClassUID,
                f"1.2.3.{number}",
                Path(f"{number}.dcm"),
            )
        )
    _report_results(ledger, results)
    seen: list[Any] = []
    taken = [(uid, [str(ExplicitVRLittleEndian)]) for uid, _ in dict.fromkeys(by_context)]
    with archive(lambda _event: 0, dict(taken).items(), seen) as port:
        settings = Settings(
            home=tmp_path,
            destinations=[{"name": "pacs", "ae_title": "PACS", "host": "127.0.0.1", "port": port}],
        )
        sent = Deliverer(ledger, spool, settings, Auditor.silent()).deliver("pacs")
    ledger.close()

    assert sent == len(results)  # compressed ones too: uncompressed
    (requestor,) = seen
    proposed = [(c.abstract_syntax, c.transfer_syntax) for c in requestor.requested_contexts]
    assert sorted(proposed) == sorted((uid, [syntax]) for uid, syntax in contexts("proposed"))
    assert requestor.role_selection == {}
    assert requestor.maximum_length == 0
    told = dict(rows("identity"))
    assert requestor.implementation_class_uid == told["Implementation Class UID"]


OUTCOMES = {
    **dict.fromkeys((0x0000,), "sent"),
    **dict.fromkeys((0x0001, 0x0107, 0x0116, 0xB000, 0xB006, 0xB007), "sent, noted"),
    **dict.fromkeys((0xA700, 0xA7FF), "out of resources"),
    **dict.fromkeys((0x0110, 0x0122, 0x0124, 0xA900, 0xB001, 0xC000, 0xC123, 0xFF00), "refused"),
}


def test_answers_to_results_are_taken_as_the_page_says(tmp_path: Path) -> None:
    file = tmp_path / "sc.dcm"
    one = image()
    one.SOPClassUID = SecondaryCaptureImageStorage
    one.save_as(file, enforce_file_format=True)
    left = list(OUTCOMES)
    classes = [(str(SecondaryCaptureImageStorage), [str(ExplicitVRLittleEndian)])]
    with archive(lambda _event: left.pop(0), classes, []) as port:
        peer = Destination(name="pacs", ae_title="PACS", host="127.0.0.1", port=port)
        with Sender("ICHNODE", peer, [SecondaryCaptureImageStorage], DeliverSettings()) as sender:
            found = {status: _outcome(sender, file) for status in OUTCOMES}
    assert found == OUTCOMES


def _outcome(sender: Sender, file: Path) -> str:
    try:
        remark = sender.send(file)
    except NotTakenError as error:
        return "out of resources" if error.is_out_of_resources else "refused"
    except DeliveryError:
        return "no answer"
    return "sent" if remark is None else "sent, noted"


def test_the_page_names_the_warnings_that_count_as_stored() -> None:
    warnings = [
        f"{status:04X}H" for status, outcome in OUTCOMES.items() if outcome == "sent, noted"
    ]
    assert f"| {', '.join(warnings)}, Warning |" in TEXT


def test_the_page_names_the_answers_of_a_peer_without_storage_commitment() -> None:
    answers = ", ".join(f"{status:04X}H" for status in _UNKNOWN_SERVICE)
    assert f"| {answers}, or the context rejected |" in TEXT


# -- created objects --------------------------------------------------------------


def test_no_object_has_a_private_attribute(made: list[Made]) -> None:
    private = {e.tag for one in made for item in items_within(one.dataset) for e in item}
    assert [tag for tag in private if tag.is_private] == []


def test_uids_of_results_are_name_based_uuids(made: list[Made]) -> None:
    for one in made:
        for uid in (one.dataset.SOPInstanceUID, one.dataset.SeriesInstanceUID):
            root, number = uid.rsplit(".", 1)
            assert (root, uuid.UUID(int=int(number)).version) == ("2.25", 5)


def test_every_code_that_the_node_can_write_is_on_the_page(made: list[Made]) -> None:
    told = {tuple(row[:3]) for row in rows("codes")}
    assert content.codes_configured() <= told
    assert {coded.scheme for coded in content.codes_of(made)} == {row[0] for row in rows("codes")}


def test_what_is_copied_is_as_in_the_source(made: list[Made]) -> None:
    told = [row[0] for row in rows("copied")]
    assert told == ["StudyInstanceUID", *COPIED]


def test_every_object_says_that_it_is_not_for_clinical_use(made: list[Made]) -> None:
    assert {
        one.kind for one in made if "not for clinical use" in one.dataset.SeriesDescription
    } == {one.kind for one in made}


# -- by STOW-RS -------------------------------------------------------------------


def test_every_status_and_reason_that_the_code_knows_is_on_the_page() -> None:
    code = "".join(path.read_text() for path in Path(stow.__file__).parent.glob("*.py"))
    named = {int(HTTPStatus[name]) for name in re.findall(r"HTTPStatus\.(\w+)", code)}
    of_answers = re.findall(r"return (\d{3})\b|(\d{3}) if|else (\d{3})\b", code)
    told = {int(row[0]) for row in rows("answers")}

    assert named | {int(status) for found in of_answers for status in found if status} == told
    failures = {int(status) for status in Status if status is not Status.SUCCESS}
    assert set(codes_told("reasons")) == failures | set(map(int, Reason))


def test_classes_and_syntaxes_are_those_of_c_store(tmp_path: Path) -> None:
    def answered(service: Service, abstract: str, syntax: str) -> list[int]:
        one = image()
        one.SOPClassUID = abstract
        content = BytesIO()
        one.save_as(content, enforce_file_format=True)
        file = take_apart(content.getvalue())
        body = file_content(file.sop_class, file.instance, syntax, file.dataset)
        answer = service.post(body, "application/dicom")
        return reasons(answer) + reasons(answer, OTHERS)

    storage = [context for context in ACCEPTED if context[0] not in (Verification, PUSH_MODEL)]
    assert len(storage) > 20
    with taking(tmp_path) as service:
        for abstract, syntax in storage:  # it may be no such data set: that is another reason
            assert set(answered(service, abstract, syntax)) <= {0xC000}
        assert answered(service, MRImageStorage, ExplicitVRLittleEndian) == [0x0122]
        for syntax in set(AllTransferSyntaxes) - {syntax for _, syntax in storage}:
            assert answered(service, CTImageStorage, syntax) == [0xC122]


# -- sources ----------------------------------------------------------------------


@pytest.mark.parametrize("retrieve", ["move", "get"])
def test_a_source_is_asked_and_fetched_from_with_the_contexts_of_the_page(
    folder: Path, retrieve: str
) -> None:
    proposed: list[set[tuple[str, str, str]]] = []

    def note(event: evt.Event) -> None:
        requestor = event.assoc.requestor
        roles = {str(uid): role.scp_role for uid, role in requestor.role_selection.items()}
        proposed.append(
            {
                (str(c.abstract_syntax), str(syntax), _role(roles, str(c.abstract_syntax)))
                for c in requestor.requested_contexts
                for syntax in c.transfer_syntax
            }
        )

    files = series(folder / f"of-{retrieve}", [0.0, 5.0])
    with running(BadArchive.of(files), (evt.EVT_REQUESTED, note)) as archive:
        home = folder / f"fetches-{retrieve}"
        with fetching(home, "ARCHIVE", archive.port, retrieve=retrieve) as node:
            archive.node_port = node.port
            (outcome,) = node.by_hand(Query(study_instance_uid=STUDY))
    assert outcome.state is FetchState.FETCHED
    for steps, told in ((proposed[0], "ask"), (proposed[-1], f'`retrieve = "{retrieve}"`')):
        assert steps == {
            (row[2], syntax, row[5].partition(",")[0])
            for row in rows("sources")
            if told in row[0]
            for syntax in row[4].split("<br>")
        }
    keys = {row[0]: re.findall(r"\((\w{4}),(\w{4})\)", row[1]) for row in rows("keys")}
    assert {level: sorted(keys[level]) for level in archive.keys} == {
        level: sorted(tags) for level, tags in archive.keys.items()
    }


def _role(roles: dict[str, bool], abstract: str) -> str:
    return "SCP" if roles.get(abstract) else "SCU"
