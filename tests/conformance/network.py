"""What the node accepts, proposes and answers on the network, and its limits."""

import ssl
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pydicom
from pydicom.datadict import dictionary_description
from pydicom.dataelem import DataElement
from pydicom.tag import Tag
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom.presentation import PresentationContext
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from node import commit
from node.access import HALF_OPEN, STRANGERS, Rejection
from node.commit import PUSH_MODEL, asking
from node.commit.content import MOST_REFERENCES
from node.deliver import deliverer
from node.deliver.syntax import PICTURES, wanted_by
from node.deliver.workitem import ANSWERS_TO_CANCEL, REMARKS, STAYS, UPS_PUSH
from node.dicom import Status as Answer
from node.dicom import application_entity
from node.fetch import association as fetching
from node.ledger.database import MOST_AT_ONCE
from node.listener import NodePort
from node.report.header import MANUFACTURER
from node.report.workitem import COPIED as COPIED_TO_WORKITEM
from node.requestor import PIECE
from node.routing import Workitem
from node.settings import Destination, Kind, ReportForm, Settings, TransferSyntax
from node.settings.reference import Key, Table, tables
from node.tls import SUITES
from tests.cases import make_case
from tests.conformance.made import Made
from tests.listening import listening

Context = tuple[str, str]
"""UIDs of an abstract syntax and of a transfer syntax."""

PLAIN = (ExplicitVRLittleEndian, ImplicitVRLittleEndian)
"""Proposed to every destination, whatever its objects are in."""


def supported_contexts(home: Path) -> list[PresentationContext]:
    """What a receiver that runs supports."""
    with listening(home) as receiver:
        return list(receiver.server.ae.supported_contexts)


def contexts_made(made: Sequence[Made]) -> set[Context]:
    """SOP class and transfer syntax of every object."""
    return {
        (str(one.dataset.SOPClassUID), str(one.dataset.file_meta.TransferSyntaxUID)) for one in made
    }


def name_of(uid: str) -> str:
    """The name that the standard gives a UID, short."""
    return UID(uid).name.removesuffix(" SOP Class")


# -- what there is ----------------------------------------------------------------


def service_table(supported: Iterable[PresentationContext], made: Sequence[Made]) -> str:
    """The network services: a row for each SOP class."""
    scp = [str(context.abstract_syntax) for context in supported]
    made_ones = sorted({c for c, _ in contexts_made(made)})
    asked = [str(fetching.FIND), str(fetching.MOVE), str(fetching.GET)]
    scu = [str(Verification), str(PUSH_MODEL), *asked, *made_ones, str(UPS_PUSH)]
    lines = ["| SOP class | UID | SCU | SCP |", "|---|---|---|---|"]
    for uid in dict.fromkeys([str(Verification), *scp, *scu]):
        roles = " | ".join("yes" if uid in uids else "no" for uids in (scu, scp))
        lines.append(f"| {name_of(uid)} | {uid} | {roles} |")
    return "\n".join(lines)


def accepted_table(supported: Iterable[PresentationContext]) -> str:
    """The presentation contexts that are accepted, a row for each abstract syntax."""
    lines = [
        "| abstract syntax | UID | transfer syntaxes | UIDs | role of the node | extended |",
        "|---|---|---|---|---|---|",
    ]
    for context in supported:
        both = bool(context.scu_role and context.scp_role)
        role, extended = ("SCP, SCU", "role selection") if both else ("SCP", "none")
        lines.append(
            f"| {_context(context.abstract_syntax, context.transfer_syntax)} "
            f"| {role} | {extended} |"
        )
    return "\n".join(lines)


def proposed_table(made: Sequence[Made]) -> str:
    """The presentation contexts that are proposed for results: those of all together."""
    found = contexts_made(made)
    proposed = sorted({syntax for _, syntax in found} | set(map(str, PLAIN)))
    lines = [
        "| abstract syntax | UID | transfer syntaxes, a context each | UIDs | objects are in |",
        "|---|---|---|---|---|",
    ]
    for uid in sorted({uid for uid, _ in found}, key=name_of):
        of_files = sorted(syntax for other, syntax in found if other == uid)
        lines.append(f"| {_context(uid, proposed)} | {'<br>'.join(map(name_of, of_files))} |")
    return "\n".join(lines)


def wanted_table() -> str:
    """What objects are sent in by what a destination wants."""
    lines = ["| `transfer_syntax` | secondary captures | other objects |", "|---|---|---|"]
    for wanted in TransferSyntax:
        peer = Destination(
            name="pacs", ae_title="PACS", host="pacs", port=104, transfer_syntax=wanted
        )
        syntaxes = [
            wanted_by(peer, uid) for uid in (PICTURES[0], ReportForm.ENHANCED.sop_class_uid)
        ]
        cells = ["that of the file" if s is None else f"{name_of(s)}, {s}" for s in syntaxes]
        lines.append(f"| `{wanted}` | {' | '.join(cells)} |")
    return "\n".join(lines)


def made_workitem(home: Path) -> Made:
    """A workitem."""
    form = ReportForm.COMPREHENSIVE_3D
    wanted = Workitem("list", Kind.STRUCTURED_REPORT, form, "PACS", ("1.2.3",))
    path = make_case(2).build(home / "workitem", workitems=[wanted])[-1].path
    return Made(Kind.WORKITEM, pydicom.dcmread(path), path)


def workitem_table(made: Made) -> str:
    """The attributes of a workitem, with what stands in them."""
    lines = ["| attribute | tag | value |", "|---|---|---|"]
    for element in made.dataset:
        if element.keyword not in ("SOPClassUID", "SOPInstanceUID"):
            lines.append(f"| {element.name} | {element.tag} | {_value(element)} |")
    return "\n".join(lines)


def _value(element: DataElement) -> str:
    if element.keyword in _OF_WORKITEM:
        return _OF_WORKITEM[element.keyword]
    if element.keyword in COPIED_TO_WORKITEM:
        return "of the source, empty where it has none"
    if element.is_empty:
        return "empty"
    raise LookupError(f"no word on {element.keyword} of a workitem: see tests/conformance")


_OF_WORKITEM = {
    "SpecificCharacterSet": "of the source, absent where it has none",
    "PatientID": "of the source, absent where it has none",
    "IssuerOfPatientIDQualifiersSequence": "of the source, empty where it has none; what an item "
    "does not have is empty in it",
    "OtherPatientIDsSequence": "of the source, empty where it has none; what an item does not have "
    "is empty in it",
    "StudyInstanceUID": "of the source",
    "ScheduledProcedureStepPriority": "HIGH if the operating point flags the series, else MEDIUM",
    "ProcedureStepState": "SCHEDULED",
    "ProcedureStepLabel": "whether it is flagged, the revision from the second on, and that it is "
    "not for clinical use",
    "WorklistLabel": MANUFACTURER,
    "ScheduledProcedureStepStartDateTime": "when the results were created, with the offset from "
    "UTC",
    "ScheduledWorkitemCodeSequence": "(110005, DCM, Interpretation)",
    "CommentsOnTheScheduledProcedureStep": "what it is flagged for, as the text report says",
    "InputReadinessState": "READY",
    "InputInformationSequence": "the report of findings in the SR class of the destination that "
    "stores it, or the text report; with that destination's AE title in DICOM Retrieval Sequence, "
    "or the report's URL there in WADO-RS Retrieval Sequence; empty where no destination gets one",
    "ReferencedRequestSequence": "an item for each of Request Attributes Sequence of the source, "
    "or one: Study Instance UID; Accession Number, its issuer, identifiers of order placer and "
    "filler, requested procedure, Referring Physician's Name as the item or else the source has "
    "them, empty where neither has",
    "ReplacedProcedureStepSequence": "the workitems that earlier revisions of the series had for "
    "the destination; absent where there are none",
}


def created_table() -> str:
    """What is made of the answers to N-CREATE."""
    lines = ["| answer | behavior |", "|---|---|", "| 0000H, Success | the workitem is created |"]
    lines += [
        f"| {code:04X}H | the workitem counts as created; it is noted: {remark.rstrip(':')} |"
        for code, remark in REMARKS.items()
    ]
    return "\n".join([*lines, "| any other status, or none | as in 4.2.2.3 |"])


def canceled_table() -> str:
    """What is made of the answers to Request UPS Cancel."""
    lines = ["| answer | it is noted |", "|---|---|"]
    lines += [f"| {code:04X}H | {said} |" for code, said in ANSWERS_TO_CANCEL.items()]
    return "\n".join(
        [
            *lines,
            f"| any other status | {STAYS}, with the status |",
            "| none | nothing: the workitem counts as not sent, and goes again |",
        ]
    )


def asked_table() -> str:
    """The presentation contexts that are proposed to sources."""
    lines = [
        "| to | abstract syntax | UID | transfer syntaxes, a context each | UIDs | role |",
        "|---|---|---|---|---|---|",
    ]
    for name, service in (
        ("ask", fetching.FIND),
        ('fetch, `retrieve = "move"`', fetching.MOVE),
        ('fetch, `retrieve = "get"`', fetching.GET),
    ):
        found: dict[str, list[str]] = {}
        for abstract, syntax in fetching.contexts_of(service):
            found.setdefault(abstract, []).append(syntax)
        for abstract, syntaxes in found.items():
            role = "SCU" if abstract == service else "SCP, by role selection"
            lines.append(f"| {name} | {_context(abstract, syntaxes)} | {role} |")
    return "\n".join(lines)


def key_table() -> str:
    """What is asked of a source at each level."""
    lines = ["| level | keys |", "|---|---|"]
    for level, keys in fetching.KEYS.items():
        shown = ", ".join(f"{dictionary_description(key)} {_tag(key)}" for key in keys)
        lines.append(f"| {level} | {shown} |")
    return "\n".join(lines)


def _tag(keyword: str) -> str:
    tag = Tag(keyword)
    return f"({tag.group:04X},{tag.element:04X})"


def _context(abstract: str | None, syntaxes: Sequence[str]) -> str:
    names, uids = "<br>".join(map(name_of, syntaxes)), "<br>".join(map(str, syntaxes))
    return f"{name_of(str(abstract))} | {abstract} | {names} | {uids}"


# -- what is answered -------------------------------------------------------------


@dataclass(frozen=True)
class Told:
    """A status code: its name in the standard, when it is given and what comes of it."""

    code: int
    name: str
    when: str
    kept: str = ""


STORED = (
    Told(
        Answer.SUCCESS,
        "Success",
        "the file is synchronised to the disk and the ledger has committed; also for an "
        "instance that came before",
        "in the spool",
    ),
    Told(
        Answer.OUT_OF_RESOURCES,
        "Refused: Out of Resources",
        "less than `min_free_gb` is free; the instance is larger than `max_instance_mb`, or all "
        "that are being received are larger than `max_receiving_mb`; the disk or the ledger does "
        "not take it",
        "no; it may come again",
    ),
    Told(
        Answer.DOES_NOT_MATCH_SOP_CLASS,
        "Error: Data Set Does Not Match SOP Class",
        "SOP Class UID or SOP Instance UID of the data set is not that of the command, or the "
        "SOP class not that of the presentation context",
        "in the quarantine, with the reason, up to `max_quarantine_gb`",
    ),
    Told(
        Answer.CANNOT_UNDERSTAND,
        "Error: Cannot Understand",
        "the data set cannot be parsed, or SOP Class, SOP Instance, Study Instance or Series "
        "Instance UID is missing, has other characters than digits and dots or more than 64",
        "in the quarantine, with the reason, up to `max_quarantine_gb`",
    ),
    Told(
        0xC211,
        "Error: Cannot Understand",
        "a fault of the node that it did not foresee",
        "not promised; it may come again",
    ),
)
"""Answers to C-STORE (PS3.4, B.2.3)."""

ASKED = (
    Told(commit.content.Status.SUCCESS, "Success", "the request is in the ledger"),
    Told(commit.content.Status.PROCESSING_FAILURE, "Processing failure", "the ledger is away"),
    Told(
        commit.content.Status.NO_SUCH_INSTANCE,
        "No such SOP Instance",
        "the Requested SOP Instance UID is not the well-known one",
    ),
    Told(
        commit.content.Status.INVALID_ARGUMENT,
        "Invalid argument value",
        "a UID is missing or none, no instance is referenced, or a report on other instances is "
        "owed under the Transaction UID",
    ),
    Told(
        commit.content.Status.NO_SUCH_CLASS,
        "No such SOP Class",
        "the Requested SOP Class UID is that of another service",
    ),
    Told(commit.content.Status.NO_SUCH_ACTION, "No such action", "the Action Type ID is not 1"),
    Told(
        commit.content.Status.RESOURCE_LIMITATION,
        "Resource limitation",
        f"more than {MOST_REFERENCES:,} instances are referenced",
    ),
)
"""Answers to N-ACTION (PS3.4, J.3.2; PS3.7, 10.1.4)."""

REPORTED = (
    Told(commit.content.Status.SUCCESS, "Success", "the report is in the ledger"),
    Told(commit.content.Status.PROCESSING_FAILURE, "Processing failure", "the ledger is away"),
    Told(
        commit.content.Status.NO_SUCH_EVENT_TYPE,
        "No such event type",
        "the Event Type ID is neither 1 nor 2",
    ),
    Told(
        commit.content.Status.INVALID_ARGUMENT,
        "Invalid argument value",
        "a UID is missing or none, or the Transaction UID is not one that the node has asked by",
    ),
    Told(
        commit.content.Status.RESOURCE_LIMITATION,
        "Resource limitation",
        f"more than {MOST_REFERENCES:,} instances are referenced",
    ),
)
"""Answers to N-EVENT-REPORT (PS3.4, J.3.3; PS3.7, 10.1.1)."""

FAILED = (
    Told(
        commit.content.Status.PROCESSING_FAILURE,
        "Processing failure",
        "the node has received the instance, and its file is gone or altered",
    ),
    Told(
        commit.content.Status.NO_SUCH_INSTANCE,
        "No such object instance",
        "the node has not received the instance",
    ),
    Told(
        commit.content.Status.CLASS_INSTANCE_CONFLICT,
        "Class / Instance conflict",
        "the node has the instance with another SOP class",
    ),
)
"""Failure Reason (0008,1197) that the node gives (PS3.3, C.14.1.1)."""


def status_table(told: Sequence[Told]) -> str:
    """A table of status codes."""
    with_kept = any(one.kept for one in told)
    lines = [
        "| code | status | when |" + (" instance kept |" if with_kept else ""),
        "|---|---|---|" + ("---|" if with_kept else ""),
    ]
    for one in told:
        row = f"| {one.code:04X}H | {one.name} | {one.when} |"
        lines.append(f"{row} {one.kept} |" if with_kept else row)
    return "\n".join(lines)


_REJECTIONS = {
    Rejection.CALLED_TITLE: "another AE title is called than the node's, and `require_called_ae` "
    "is on",
    Rejection.CALLING_TITLE: "there are `[[peers]]`, and none has the calling AE title",
    Rejection.ADDRESS: "there are `[[peers]]`, and that of the title does not call from there",
    Rejection.TOO_FAST: "more than `associations_per_minute` from one address",
    Rejection.TOO_MANY: "more than `max_associations` are open, or more than "
    "`max_associations_per_address` from one address",
}

_RESULTS = {1: "1, rejected-permanent", 2: "2, rejected-transient"}
_SOURCES = {1: "1, service-user", 3: "3, service-provider (presentation)"}
_DIAGNOSES = {
    (1, 3): "3, calling-AE-title-not-recognized",
    (1, 7): "7, called-AE-title-not-recognized",
    (3, 1): "1, temporary-congestion",
    (3, 2): "2, local-limit-exceeded",
}
"""The words of PS3.8, table 9-21."""


def rejection_table() -> str:
    """The answers to those who may not come in."""
    lines = ["| result | source | reason | when |", "|---|---|---|---|"]
    for rejection in Rejection:
        result, source, reason = rejection.answer
        lines.append(
            f"| {_RESULTS[result]} | {_SOURCES[source]} | {_DIAGNOSES[source, reason]} "
            f"| {_REJECTIONS[rejection]} |"
        )
    return "\n".join(lines)


# -- limits -----------------------------------------------------------------------


def identity_table() -> str:
    """Implementation identifying information."""
    ae = application_entity("ICHNODE")
    return _two_columns(
        ("Application context name", "1.2.840.10008.3.1.1.1"),
        ("Implementation Class UID", ae.implementation_class_uid),
        ("Implementation Version Name", f"{ae.implementation_version_name} (its version)"),
    )


def association_table() -> str:
    """Figures of associations that are not configured, and those that are, by default."""
    settings = Settings(home=Path("/nowhere"))
    port, dicom, rules = NodePort(settings), settings.dicom, settings.deliver
    title = application_entity("ICHNODE")
    of_processes = f"in each of {dicom.processes} processes (`processes`)"
    return _two_columns(
        ("Largest PDU received, as acceptor", f"{port.maximum_pdu_size:,} bytes; offered"),
        (
            "Largest PDU received, as initiator",
            "no limit; 0 is offered" if title.maximum_pdu_size == 0 else "",
        ),
        ("Largest PDU sent, as initiator", f"what the peer offers, at most {PIECE:,} bytes"),
        (
            "Associations accepted at a time",
            f"{dicom.max_associations} (`max_associations`), {of_processes}",
        ),
        (
            "of these from one address",
            f"{dicom.max_associations_per_address} (`max_associations_per_address`), the same",
        ),
        ("Connections at a time", f"{HALF_OPEN} times the associations"),
        (
            "Connections from addresses of no peer",
            f"{STRANGERS}, where all `[[peers]]` tell their addresses",
        ),
        (
            "Associations initiated at a time",
            "one to each destination for storage; one to each source that is polled, and one of "
            "`ichnode fetch`",
        ),
        ("Objects over one association", f"{deliverer.MOST_AT_ONCE}"),
        (
            "Instances in one request for commitment",
            f"{MOST_AT_ONCE} asked for, {MOST_REFERENCES:,} taken",
        ),
        ("Outstanding asynchronous operations", "1 invoked, 1 performed; not negotiated"),
        ("Association request, as acceptor", f"{port.acse_timeout:g} s, and `idle_s` at most"),
        ("Silence, as acceptor", f"{dicom.idle_s:g} s (`idle_s`), then it is aborted"),
        ("Connection, association, answer, as initiator", f"{rules.timeout_s:g} s (`timeout_s`)"),
        (
            "The next answer to a C-MOVE",
            f"{settings.fetch.timeout_s:g} s (`[fetch] timeout_s`) and "
            f"{fetching.MOVE_S_PER_IMAGE:g} s for each image of the series",
        ),
        (
            "Answers to one C-FIND",
            f"{fetching.MOST_ANSWERS:,}, and {fetching.LONGEST_ANSWER // 1024} kB each; beyond, it "
            "is aborted",
        ),
        (
            "Association open after a request for commitment",
            f"{asking.LINGER_S:g} s, for a report on it",
        ),
    )


def _two_columns(*rows: tuple[str, object]) -> str:
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)])


_SECTIONS = (
    *("dicom", "dicom.tls", "dicomweb", "dicomweb.tls"),
    *("destinations", "routes", "peers", "sources", "fetch", "assemble", "report", "deliver"),
)


def parameter_table() -> str:
    """The parameters that matter to peers, with their defaults."""
    lines = ["| table | key | default | what |", "|---|---|---|---|"]
    for table in tables():
        if table.name in _SECTIONS:
            lines += _parameters(table)
    return "\n".join(lines)


def _parameters(table: Table) -> Iterator[str]:
    for key in table.keys:
        yield f"| `{table.header}` | `{key.name}` | {_default(key)} | {key.description} |"


def _default(key: Key) -> str:
    if key.is_required:
        return "required"
    if key.default in (None, [], {}):
        return "–"
    return f"`{str(key.default).lower() if isinstance(key.default, bool) else key.default}`"


def suite_table() -> str:
    """TLS versions, and the suites that the node offers and takes."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_ciphers(SUITES)
    by_version: dict[str, list[str]] = {"TLSv1.3": [], "TLSv1.2": []}
    for cipher in context.get_ciphers():
        by_version[cipher["protocol"]].append(cipher["name"])
    lines = ["| version | cipher suites |", "|---|---|"]
    for version, names in by_version.items():
        lines.append(f"| {version.replace('v', ' ')} | {', '.join(sorted(names))} |")
    return "\n".join(lines)
