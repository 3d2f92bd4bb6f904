"""Readings as HL7 v2 messages, and the answer to each: pure functions.

A message is taken apart by its delimiters alone: it may be of any version, and be hostile.

References
----------
Message, segments, escapes, acknowledgment: HL7 2.5.1, chapter 2; ORU^R01: 7.3.1; tables 0008
(acknowledgment code), 0085 (result status), 0103 (processing ID), 0211 (character sets), 0357
(error codes). Findings and answers are coded as in the structured report.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from enum import Enum, StrEnum

from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from ml.labels import Label
from node.feedback.said import ReadingError, Subject, as_findings, as_reader, not_later, shown
from node.judgement import Assessment
from node.ledger import Findings
from node.report.codes import ASSESSMENTS, FINDINGS
from node.spool import is_uid

READER = "hl7"
"""Who says so where no sending application is named."""

CLOCKS_DIFFER = timedelta(minutes=5)
"""A reading may be later than this machine's clock by so much."""

FINAL = ("F", "C", "U")
"""Final, corrected, changed to final (table 0085)."""

WITHDRAWN = ("D", "W")
"""Deleted, and posted as wrong, as what was said of another patient (table 0085)."""

CODED = ("CE", "CWE", "CNE")

_MOST_SEGMENTS = 5000

_CHARACTER_SETS = {
    "": "utf-8",
    "ASCII": "ascii",
    "UNICODE": "utf-8",
    "UNICODE UTF-8": "utf-8",
    "UTF-8": "utf-8",  # in no table, and in many messages
    **{f"8859/{n}": f"iso8859-{n}" for n in (*range(1, 10), 15)},
}


class Acknowledgment(StrEnum):
    """What becomes of a message (table 0008)."""

    ACCEPT = "AA"
    ERROR = "AE"
    REJECT = "AR"


class Fault(Enum):
    """What is wrong with a message (table 0357): code, meaning."""

    SEGMENT_SEQUENCE = 100, "Segment sequence error"
    MISSING = 101, "Required field missing"
    DATA_TYPE = 102, "Data type error"
    TABLE_VALUE = 103, "Table value not found"
    MESSAGE_TYPE = 200, "Unsupported message type"
    EVENT = 201, "Unsupported event code"
    PROCESSING = 202, "Unsupported processing id"
    VERSION = 203, "Unsupported version id"
    UNKNOWN_KEY = 204, "Unknown key identifier"
    INTERNAL = 207, "Application internal error"


class MessageError(Exception):
    """A message cannot be taken.

    Parameters
    ----------
    fault : Fault
    text : str
        For people; it quotes nothing of the message.
    given : str, optional
        What stands there instead: for the sender, and for no log.
    is_rejected : bool
        Whether no message of that kind is taken, or none at the moment; else the fault is
        in this one.
    """

    def __init__(
        self, fault: Fault, text: str, given: str | None = None, *, is_rejected: bool = False
    ) -> None:
        super().__init__(text)
        self.fault = fault
        self.answer = text if given is None else f"{text}; it is {shown(given)}"
        self.code = Acknowledgment.REJECT if is_rejected else Acknowledgment.ERROR


@dataclass(frozen=True)
class Header:
    """What a message says of itself.

    Parameters
    ----------
    application, facility : str
        That sent it.
    control_id : str
        Empty where it could not be read.
    """

    application: str = ""
    facility: str = ""
    control_id: str = ""


@dataclass(frozen=True)
class Order:
    """What a message says of one study.

    Parameters
    ----------
    subject : Subject
    findings : mapping of Label to bool
    said_at : datetime.datetime, optional
        UTC; None where it does not say.
    """

    subject: Subject
    findings: Findings
    said_at: datetime | None


@dataclass(frozen=True)
class Segment:
    """A segment.

    Parameters
    ----------
    fields : sequence of str
        Its name first.
    delimiters : str
        Of fields, components, repetitions, escape sequences and subcomponents.
    """

    fields: Sequence[str]
    delimiters: str

    @property
    def name(self) -> str:
        """Three letters."""
        return self.fields[0]

    def repetitions(self, number: int) -> list[str]:
        """What stands in a field, by its number; an empty one where nothing does."""
        text = self.fields[number] if number < len(self.fields) else ""
        return text.split(self.delimiters[2])

    def components(self, number: int) -> list[str]:
        """Components of a field's first repetition."""
        first = self.repetitions(number)[0]
        return [self._unescaped(part) for part in first.split(self.delimiters[1])]

    def text(self, number: int) -> str:
        """The first component of a field."""
        return self.components(number)[0].strip()

    def codes(self, number: int) -> list[tuple[str, str]]:
        """Code and coding scheme of a coded field, and the alternate one."""
        found = [*self.components(number), *[""] * 6]
        return [(found[0].strip(), found[2].strip()), (found[3].strip(), found[5].strip())]

    def _unescaped(self, text: str) -> str:
        mark = self.delimiters[3]
        if mark not in text:
            return text
        meant = dict(zip("FSRET", self.delimiters, strict=True))
        mark = re.escape(mark)
        return re.sub(f"{mark}([EFSTR]){mark}", lambda found: meant[found[1]], text)


def header_of(content: bytes) -> Header:
    """What a message says of itself, as far as it can be read: for the answer."""
    try:
        first = next(_segments(content))
    except MessageError:
        return Header()
    return Header(as_reader(first.text(3)), as_reader(first.text(4)), first.text(10)[:199])


def read_message(content: bytes, now: datetime) -> list[Order]:
    """Read what a message says.

    Parameters
    ----------
    content : bytes
    now : datetime.datetime
        No reading is later, but by the difference of two clocks.

    Raises
    ------
    MessageError
        If it is none that says something of a study.
    """
    segments = _segments(content)
    header = next(segments)
    _check_header(header)
    groups: list[_Group] = []
    for segment in segments:
        if segment.name == "OBR":
            groups.append(_Group(segment))
        elif segment.name == "OBX":
            if not groups:
                raise MessageError(Fault.SEGMENT_SEQUENCE, "an OBX stands before any OBR")
            groups[-1].take(segment)
        elif segment.name == "MSH":
            raise MessageError(Fault.SEGMENT_SEQUENCE, "a second message stands in it")
    orders = [group.order(header, now) for group in groups if group.said]
    if not orders:
        raise MessageError(Fault.MISSING, "no OBX says of a finding whether it is there")
    return orders


def _segments(content: bytes) -> Iterator[Segment]:
    """The header, then what follows."""
    begin = content[:8].decode("latin-1")
    delimiters = begin[3:]
    if not begin.startswith("MSH") or not _are_delimiters(delimiters):
        raise MessageError(
            Fault.SEGMENT_SEQUENCE,
            "the message does not begin with MSH and its delimiters",
            is_rejected=True,
        )
    between, repetition = delimiters[0], delimiters[2]
    lines = re.split(rb"[\r\n]+", content, maxsplit=_MOST_SEGMENTS)
    if len(lines) > _MOST_SEGMENTS:
        raise MessageError(
            Fault.SEGMENT_SEQUENCE, "the message has too many segments", is_rejected=True
        )
    named = lines[0].decode("latin-1").split(between)
    name = named[17].partition(repetition)[0].strip() if len(named) > 17 else ""
    encoding = _CHARACTER_SETS.get(name.upper())
    if encoding is None:
        raise MessageError(
            Fault.TABLE_VALUE,
            "MSH-18: only ASCII, 8859/n and UNICODE UTF-8 are read",
            name,
            is_rejected=True,
        )
    for number, line in enumerate(lines):
        fields = line.decode(encoding, "replace").split(between)
        if number == 0:  # its first field is the delimiter
            fields.insert(1, between)
        yield Segment(fields, delimiters)


def _are_delimiters(text: str) -> bool:
    """Whether they can be told apart; some send no subcomponents, and no delimiter of them."""
    return len(set(text[:4])) == 4 and len(text) == 5 and all(map(_is_punctuation, text[:4]))


def _is_punctuation(letter: str) -> bool:
    return 33 <= ord(letter) < 127 and not letter.isalnum()


def _check_header(header: Segment) -> None:
    kind, event, *_ = [*header.components(9), ""]
    for fault, is_so, text, given in (
        (Fault.MESSAGE_TYPE, kind == "ORU", "MSH-9: only ORU^R01 is taken", kind),
        (Fault.EVENT, event == "R01", "MSH-9: only ORU^R01 is taken", event),
        (
            Fault.PROCESSING,
            header.text(11) in ("P", ""),
            "MSH-11: what is said for training or to find faults does not count",
            header.text(11),
        ),
        (
            Fault.VERSION,
            re.fullmatch(r"2\.[1-9](\.[0-9])?", header.text(12)) is not None,
            "MSH-12: only 2.x is read",
            header.text(12),
        ),
    ):
        if not is_so:
            raise MessageError(fault, text, given, is_rejected=True)
    if not header.text(10):
        raise MessageError(Fault.MISSING, "MSH-10, the control ID, is empty", is_rejected=True)


@dataclass
class _Group:
    """An OBR and the OBX that follow it."""

    request: Segment
    said: dict[Label, bool | None] = field(default_factory=dict)
    uids: dict[Code, str] = field(default_factory=dict)
    times: list[str] = field(default_factory=list)

    def take(self, observation: Segment) -> None:
        said_of = observation.codes(3)
        for uid in _UIDS:
            if (uid.value, uid.scheme_designator) in said_of:
                _check_single(observation, uid.meaning)
                given = observation.text(5)
                if self.uids.setdefault(uid, given) != given:
                    raise MessageError(
                        Fault.DATA_TYPE, f"two OBX of an OBR give another {uid.meaning}"
                    )
        for code in said_of:
            label = _LABELS.get(code)
            if label is not None:
                answer = _answer(observation, label)
                if self.said.setdefault(label, answer) != answer:
                    raise MessageError(Fault.DATA_TYPE, f"two OBX say different things of {label}")
                self.times.append(observation.text(14))

    def order(self, header: Segment, now: datetime) -> Order:
        study, series = (self.uids.get(uid, "") for uid in _UIDS)
        for name, uid in (("Study", study), ("Series", series)):
            if uid and not is_uid(uid):
                raise MessageError(Fault.DATA_TYPE, f"the {name} Instance UID is no UID")
        # By IHE RAD TF-2 it is OBR-18; elsewhere, or there too, OBR-3.
        numbers = [number for number in map(self.request.text, (18, 3)) if number]
        subject = Subject(study, series, *numbers)
        if subject == Subject():
            raise MessageError(
                Fault.MISSING,
                "it names no study: an OBX with its UID is needed, or the accession number in "
                "OBR-18 or OBR-3",
            )
        try:
            return Order(subject, as_findings(self.said), self._said_at(header, now))
        except ReadingError as error:
            raise MessageError(Fault.DATA_TYPE, str(error)) from None

    def _said_at(self, header: Segment, now: datetime) -> datetime | None:
        """When: as its request says, else its observations, else the message.

        OBR-22 is when the result came to be as it is; OBX-14, of images, when they were taken.
        """
        zone = _zone(header.text(7)[-5:])
        for texts in ([self.request.text(22)], self.times, [header.text(7)]):
            times = [_time(text, zone) for text in texts if text]
            if times:
                return not_later(max(times), now + CLOCKS_DIFFER)
        return None


_UIDS = (codes.DCM.StudyInstanceUID, codes.DCM.SeriesInstanceUID)
_LABELS = {(code.value, code.scheme_designator): label for label, code in FINDINGS.items()}
_ANSWERS = {
    (code.value, code.scheme_designator): {
        Assessment.PRESENT: True,
        Assessment.ABSENT: False,
        Assessment.INDETERMINATE: None,
    }[assessment]
    for assessment, code in ASSESSMENTS.items()
}


def _answer(observation: Segment, label: Label) -> bool | None:
    """What an OBX says of a finding."""
    kind, status = observation.text(2), observation.text(11)
    if status in WITHDRAWN:
        return None
    if kind not in CODED:
        raise MessageError(
            Fault.DATA_TYPE,
            f"OBX-2 of {label}: a reading is coded (CE, CWE or CNE), and a probability is none",
            kind,
        )
    if status not in FINAL:
        raise MessageError(
            Fault.TABLE_VALUE, f"OBX-11 of {label}: only what is final counts (F, C, U)", status
        )
    _check_single(observation, str(label))
    for code in observation.codes(5):
        if code in _ANSWERS:
            return _ANSWERS[code]
    known = ", ".join(f"{c.value}^{c.meaning}^{c.scheme_designator}" for c in ASSESSMENTS.values())
    raise MessageError(Fault.TABLE_VALUE, f"OBX-5 of {label} is none of {known}")


def _check_single(observation: Segment, what: str) -> None:
    if len(observation.repetitions(5)) > 1:
        raise MessageError(Fault.DATA_TYPE, f"OBX-5 of {what} says more than one thing")


_TIME = re.compile(
    r"(\d{4})(\d\d)(\d\d)(?:(\d\d)(?:(\d\d)(?:(\d\d)(?:\.\d{1,4})?)?)?)?([+-]\d{4})?", re.ASCII
)
_ZONE = re.compile(r"([+-])(\d\d)(\d\d)", re.ASCII)


def _time(text: str, zone: timezone | None) -> datetime:
    """A time stamp, to the second.

    Parameters
    ----------
    text : str
    zone : timezone, optional
        Of one that has none: that of the message, else of this machine.
    """
    found = _TIME.fullmatch(text)
    if found is None:
        raise MessageError(Fault.DATA_TYPE, "a time is none as in 20261126083000+0100", text)
    try:
        year, month, day, hour, minute, second = (int(part or 0) for part in found.groups()[:6])
        local = datetime(
            year, month, day, hour, minute, second, tzinfo=_zone(found[7] or "") or zone
        )
        return local.astimezone(UTC)
    except (ValueError, OverflowError):
        raise MessageError(Fault.DATA_TYPE, "a time never was", text) from None


def _zone(text: str) -> timezone | None:
    """What a time stamp ends with, as a zone; None where that is none."""
    found = _ZONE.fullmatch(text)
    if found is None:
        return None
    minutes = int(found[2]) * 60 + int(found[3])
    if minutes >= 24 * 60:
        raise MessageError(Fault.DATA_TYPE, "a time has no zone that there is", text)
    return timezone(timedelta(minutes=minutes if found[1] == "+" else -minutes))


def acknowledge(node: str, to: Header, error: MessageError | None, at: datetime) -> bytes:
    """The answer to a message.

    Parameters
    ----------
    node : str
        AE title of the node.
    to : Header
        Of the message.
    error : MessageError, optional
        What is wrong with it; None where it was taken.
    at : datetime.datetime
        UTC.
    """
    code = Acknowledgment.ACCEPT if error is None else error.code
    time = at.strftime("%Y%m%d%H%M%S+0000")
    segments = [
        f"MSH|^~\\&|ICHNODE|{_escaped(node)}|{_escaped(to.application)}|{_escaped(to.facility)}|"
        f"{time}||ACK^R01^ACK|{at.strftime('%y%m%d%H%M%S%f')}|P|2.5.1||||||UNICODE UTF-8",
        f"MSA|{code}|{_escaped(to.control_id)}",
    ]
    if error is not None:
        number, meaning = error.fault.value
        segments.append(f"ERR|||{number}^{meaning}^HL70357|E||||{_escaped(error.answer)}")
    return "".join(f"{segment}\r" for segment in segments).encode()


# HL7 2.5.1, chapter 2.7.1.
_ESCAPES = str.maketrans({"\\": "\\E\\", "|": "\\F\\", "^": "\\S\\", "&": "\\T\\", "~": "\\R\\"})


def _escaped(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text).translate(_ESCAPES)
