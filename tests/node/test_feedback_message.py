"""Labels as HL7 v2 messages: what is read of them, what is refused, and what the answer says."""

from collections.abc import Iterator
from datetime import UTC, datetime

import hl7
import pytest
from hl7apy.parser import parse_message
from hypothesis import given
from hypothesis import strategies as st

from ml.labels import LABELS, Label
from node.feedback.listener import Framing, FramingError, TooLongError
from node.feedback.message import (
    Acknowledgment,
    Fault,
    MessageError,
    Order,
    acknowledge,
    header_of,
    read_message,
)
from node.feedback.said import Subject
from node.notify.words import as_hl7
from tests.node.test_notify_words import FLAGGED

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)

HEADER = "MSH|^~\\&|RIS|HOSPITAL|ICHNODE|X|20261126083000+0100||ORU^R01^ORU_R01|M-17|P|2.5.1"
STUDY = "OBX|1|ST|110180^Study Instance UID^DCM||1.2.3||||||F"
ANY = "OBX|2|CWE|1386000^Intracranial hemorrhage^SCT||52101004^Present^SCT||||||F"
REQUEST = "OBR|1||A-42|18748-4^Diagnostic Imaging Report^LN||||||||||||||||||20261126082000+0100"
PATIENT = "PID|1||ID-55||Roe^Jane||19700101|F"


def message(*segments: str, header: str = HEADER) -> bytes:
    return "".join(f"{segment}\r" for segment in (header, *segments)).encode()


def read(*segments: str, header: str = HEADER) -> list[Order]:
    return read_message(message(*segments, header=header), NOW)


def fault(*segments: str, header: str = HEADER) -> MessageError:
    with pytest.raises(MessageError) as caught:
        read(*segments, header=header)
    return caught.value


def test_a_message_says_of_which_study_what_and_when() -> None:
    assert read(PATIENT, REQUEST, STUDY, ANY) == [
        Order(
            Subject("1.2.3", "", "A-42"),
            {Label.ANY: True},
            datetime(2026, 11, 26, 7, 20, tzinfo=UTC),
        )
    ]


def test_a_message_may_be_about_several_studies_by_accession_number() -> None:
    absent = ANY.replace("52101004^Present", "272519000^Absent")
    first, second = read(REQUEST, ANY, "OBR|2||A-43", absent)
    assert (first.subject, first.findings) == (Subject("", "", "A-42"), {Label.ANY: True})
    assert (second.subject, second.findings) == (
        Subject("", "", "A-43"),
        dict.fromkeys(LABELS, False),
    )
    assert second.said_at == datetime(2026, 11, 26, 7, 30, tzinfo=UTC)  # of the message


@pytest.mark.parametrize(
    ("filler", "placer", "expected"),
    [
        ("A-42", "", Subject("", "", "A-42")),
        ("", "A-42", Subject("", "", "A-42")),
        ("F-9", "A-42", Subject("", "", "A-42", "F-9")),
    ],
)
def test_an_accession_number_stands_where_ihe_has_it_or_where_others_do(
    filler: str, placer: str, expected: Subject
) -> None:
    (order,) = read(f"OBR|1||{filler}{'|' * 15}{placer}", ANY)  # OBR-3 and OBR-18
    assert order.subject == expected


def test_what_was_reported_of_another_patient_is_taken_back() -> None:
    (order,) = read(REQUEST, ANY.replace("||||||F", "||||||W"))
    assert order.findings == {}


def test_a_time_without_a_zone_is_of_the_zone_of_the_message() -> None:
    (order,) = read(REQUEST.replace("+0100", ""), ANY)
    assert order.said_at == datetime(2026, 11, 26, 7, 20, tzinfo=UTC)


def test_it_was_said_when_the_result_came_about_and_not_when_the_images_were_taken() -> None:
    taken = f"{ANY}|||20261126020000+0100"
    (order,) = read(REQUEST, taken)
    assert order.said_at == datetime(2026, 11, 26, 7, 20, tzinfo=UTC)
    (order,) = read("OBR|1||A-42", taken)
    assert order.said_at == datetime(2026, 11, 26, 1, 0, tzinfo=UTC)


def test_an_alternate_code_an_undetermined_finding_and_other_observations_are_understood() -> None:
    local = "OBX|3|CWE|ICH^Blutung^L^1386000^Intracranial hemorrhage^SCT||u^unklar^L^373068000^^SCT"
    text = "OBX|4|TX|18782-3^Report text^LN||no bleed at all||||||P"
    (order,) = read(REQUEST, f"{local}||||||C", text)
    assert order.findings == {}


def test_other_delimiters_line_ends_and_escapes_are_read() -> None:
    segments = [HEADER, "OBR|1||A\\T\\4\\S\\2", ANY]
    content = "\n".join(segments).replace("^", "!").encode()
    (order,) = read_message(content, NOW)
    assert order.subject == Subject("", "", "A&4!2")


@pytest.mark.parametrize(
    ("name", "encoding"),
    [
        *(("8859/1", "latin-1"), ("UNICODE UTF-8", "utf-8"), ("utf-8", "utf-8")),
        *(("", "utf-8"), ("ASCII", "latin-1"), ("~ISO IR87", "iso2022_jp_2")),
    ],
)
def test_a_name_in_any_encoding_does_no_harm(name: str, encoding: str) -> None:
    header = f"{HEADER}||||||{name}"
    content = message("PID|1||5||Müller^Zoë^渡辺", REQUEST, ANY, header=header).decode()
    (order,) = read_message(content.encode(encoding, "replace"), NOW)
    assert order.findings == {Label.ANY: True}


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (HEADER.replace("ORU^R01^ORU_R01", "ADT^A01"), Fault.MESSAGE_TYPE),
        (HEADER.replace("ORU^R01^ORU_R01", "ORU^R30"), Fault.EVENT),
        (HEADER.replace("|P|", "|T|"), Fault.PROCESSING),
        (HEADER.replace("2.5.1", "3.0"), Fault.VERSION),
        (HEADER.replace("M-17", ""), Fault.MISSING),
        (f"{HEADER}||||||ISO IR87", Fault.TABLE_VALUE),
        ("PID|1", Fault.SEGMENT_SEQUENCE),
        ("MSH|||||", Fault.SEGMENT_SEQUENCE),
        ("MSH|^~|RIS", Fault.SEGMENT_SEQUENCE),
        ("", Fault.SEGMENT_SEQUENCE),
        ("BHS|^~\\&|RIS", Fault.SEGMENT_SEQUENCE),
    ],
)
def test_what_is_no_such_message_is_rejected(header: str, expected: Fault) -> None:
    error = fault(REQUEST, ANY, header=header)
    assert (error.fault, error.code) == (expected, Acknowledgment.REJECT)


@pytest.mark.parametrize(
    ("segments", "expected", "text"),
    [
        ([ANY], Fault.SEGMENT_SEQUENCE, "before any OBR"),
        ([REQUEST, HEADER, REQUEST, ANY], Fault.SEGMENT_SEQUENCE, "a second message"),
        ([REQUEST, STUDY, STUDY.replace("1.2.3", "1.2.4"), ANY], Fault.DATA_TYPE, "another Study"),
        ([REQUEST, STUDY.replace("1.2.3", "1.2.3~1.2.4"), ANY], Fault.DATA_TYPE, "more than one"),
        (
            [REQUEST, ANY.replace("^SCT||||||F", "^SCT~272519000^Absent^SCT||||||F")],
            Fault.DATA_TYPE,
            "OBX-5 of any says more than one thing",
        ),
        ([REQUEST, STUDY], Fault.MISSING, "no OBX says of a finding"),
        (["OBR|1", ANY], Fault.MISSING, "names no study"),
        ([REQUEST, STUDY.replace("1.2.3", "../.."), ANY], Fault.DATA_TYPE, "no UID"),
        ([REQUEST, ANY.replace("||||||F", "||||||P")], Fault.TABLE_VALUE, "final"),
        ([REQUEST, ANY.replace("52101004", "7")], Fault.TABLE_VALUE, "none of 52101004"),
        (
            [REQUEST, ANY, ANY.replace("52101004", "272519000")],
            Fault.DATA_TYPE,
            "two OBX say different",
        ),
        (
            [
                REQUEST,
                ANY.replace("52101004", "272519000"),
                ANY.replace("1386000", "35486000"),
            ],
            Fault.DATA_TYPE,
            "subdural is present",
        ),
        (["OBR|1||A-42", f"{ANY}|||20270101"], Fault.DATA_TYPE, "future"),
        (["OBR|1||A-42", f"{ANY}|||2026"], Fault.DATA_TYPE, "a time is none"),
        (["OBR|1||A-42", f"{ANY}|||20260231"], Fault.DATA_TYPE, "never was"),
        (["OBR|1||A-42", f"{ANY}|||20260201+9999"], Fault.DATA_TYPE, "no zone"),
    ],
)
def test_what_is_wrong_with_a_message_is_said(
    segments: list[str], expected: Fault, text: str
) -> None:
    error = fault(*segments)
    assert (error.fault, error.code) == (expected, Acknowledgment.ERROR)
    assert text in str(error)


def test_the_nodes_own_message_is_no_label() -> None:
    """An engine that sends it back must not make a reader of the model."""
    own = as_hl7(FLAGGED).to_er7().encode()
    with pytest.raises(MessageError, match="a probability is none"):
        read_message(own, NOW)


def test_what_stands_in_a_wrong_place_is_told_to_the_sender_and_to_no_log() -> None:
    shifted = [
        (HEADER.replace("2.5.1", "Roe"), ANY),
        (HEADER.replace("ORU^R01", "Roe"), ANY),
        (f"{HEADER}||||||Roe", ANY),
        (HEADER, ANY.replace("CWE", "Roe")),
        (HEADER, ANY.replace("||||||F", "||||||Roe")),
    ]
    for header, observation in shifted:
        error = fault(PATIENT, REQUEST, observation, header=header)
        assert "Roe" not in str(error)
        assert "it is 'Roe'" in error.answer
    error = fault(PATIENT, "OBR|1||A-42", f"{ANY}|||Roe^Jane")
    assert ("Roe" in str(error), "Roe" in error.answer) == (False, True)
    for segments in ([PATIENT, REQUEST], [PATIENT, REQUEST, ANY.replace("52101004", "Roe")]):
        assert "Roe" not in fault(*segments).answer


@pytest.mark.parametrize(
    "error", [None, MessageError(Fault.UNKNOWN_KEY, "no such study | came ^ here")]
)
def test_the_answer_is_an_acknowledgment_that_others_can_read(error: MessageError | None) -> None:
    header = header_of(message(header=HEADER.replace("M-17", "M\\T\\17")))
    answer = acknowledge("ICHNODE", header, error, NOW).decode()

    parsed = hl7.parse(answer)
    assert parsed["MSA"][0][1][0] == ("AA" if error is None else "AE")
    assert parsed.unescape(parsed["MSA"][0][2][0]) == "M&17"
    assert (parsed["MSH"][0][5][0], parsed["MSH"][0][6][0]) == ("RIS", "HOSPITAL")
    strict = parse_message(answer, find_groups=False)
    assert strict.msh.msh_9.to_er7() == "ACK^R01^ACK"
    assert len(strict.msh.msh_10.to_er7()) <= 20
    if error is not None:
        assert strict.err.err_3.to_er7() == "204^Unknown key identifier^HL70357"
        assert parsed.unescape(parsed["ERR"][0][8][0]) == "no such study | came ^ here"


whole = message(PATIENT, REQUEST, STUDY, ANY)


@given(st.data())
def test_a_mutated_message_is_read_or_refused_and_nothing_else(data: st.DataObject) -> None:
    content = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 12))):
        at = data.draw(st.integers(0, len(content)))
        if data.draw(st.booleans()):
            content[at : at + data.draw(st.integers(0, 20))] = data.draw(st.binary(max_size=6))
        else:
            del content[at:]
    header = header_of(bytes(content))
    assert len(header.control_id) <= 199
    try:
        orders = read_message(bytes(content), NOW)
    except MessageError as error:
        assert acknowledge("N", header, error, NOW).count(b"\r") == 3
    else:
        assert orders


# -- by MLLP ---------------------------------------------------------------------------


def fed(pieces: Iterator[bytes] | list[bytes], most: int = 1000) -> list[bytes]:
    framing = Framing(most)
    return [content for piece in pieces for content in framing.feed(piece)]


@given(
    st.lists(
        st.binary(max_size=40).filter(lambda b: b"\x1c\r" not in b + b"\x1c" and 0x0B not in b),
        max_size=5,
    ),
    st.integers(1, 9),
)
def test_messages_come_in_whatever_pieces(messages: list[bytes], size: int) -> None:
    messages = [m for m in messages if not m.endswith(b"\x1c")]
    stream = b"".join(b"\x0b" + m + b"\x1c\r" for m in messages)
    pieces = [stream[at : at + size] for at in range(0, len(stream), size)]
    assert fed(pieces) == messages


def test_of_a_message_that_is_begun_again_the_whole_one_counts() -> None:
    assert fed([b"\x0bMSH|half of", b" it\x0bMSH|all of it\x1c\r"]) == [b"MSH|all of it"]


def test_a_message_without_an_end_is_bounded_and_what_is_none_is_seen() -> None:
    with pytest.raises(TooLongError):
        fed([b"\x0b", *[b"x" * 100] * 11])
    with pytest.raises(TooLongError):
        fed([b"\x0b" + b"x" * 1001 + b"\x1c\r"])
    assert fed([b"\x0b" + b"x" * 1000 + b"\x1c\r"]) == [b"x" * 1000]
    for start in (b"GET / HTTP/1.1\r\n", b"\x16\x03\x01", b"MSH|"):
        with pytest.raises(FramingError):
            fed([start])
