"""Labels by HL7 from a real client, and what becomes of those who send something else."""

import contextlib
import logging
import os
import re
import select
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hl7
import pytest
from hl7.client import MLLPClient
from pydantic import ValidationError

from ml.errors import IchnodeError
from node.audit import Auditor
from node.broker import free_port
from node.feedback import intake
from node.feedback.intake import Intake
from node.feedback.listener import Listener
from node.ledger import Instance, Ledger, ReadingSource, Tally, open_ledger
from node.settings import Settings
from node.spool import Spool
from tests.certificates import Authority, Identity
from tests.ct import image
from tests.node.test_feedback_ledger import ANY, CT, judge, tally

PAGE = Path(__file__).resolve().parents[2] / "docs" / "feedback.md"


def example() -> str:
    """The message that the documents show."""
    block = re.search(r"```hl7\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert block is not None
    return "\r".join(block[1].strip().splitlines()) + "\r"


@dataclass
class Port:
    """A node that listens for labels."""

    number: int
    ledger: Ledger
    home: Path

    def ask(self, message: str) -> hl7.Message:
        """Send a message by a real client; the answer."""
        with MLLPClient("127.0.0.1", self.number) as client:
            return hl7.parse(client.send_message(message))

    @contextlib.contextmanager
    def connected(self) -> Iterator[socket.socket]:
        with socket.create_connection(("127.0.0.1", self.number), 10) as connection:
            yield connection

    def audited(self, word: str = "Label") -> str:
        """The audit trail, as soon as a word stands in it."""
        until = time.monotonic() + 10
        path = self.home / "audit.log"
        while time.monotonic() < until and word not in (path.exists() and path.read_text()):
            time.sleep(0.05)
        return path.read_text()


@contextlib.contextmanager
def listening(ledger: Ledger, home: Path, **feedback: Any) -> Iterator[Port]:
    number = free_port()
    settings = Settings(home=home, feedback={"hl7_port": number, **feedback})
    with (
        Auditor.open(settings, "feedback") as auditor,
        Listener(settings, Intake(ledger, Spool(home), auditor)) as listener,
        listener.serving(),
    ):
        yield Port(number, ledger, home)


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Port]:
    ledger = open_ledger(f"sqlite:///{tmp_path}/ledger.sqlite")
    judge(ledger, "1.2.3.4", ANY, study="1.2.3", accession="A-42")
    with listening(ledger, tmp_path, max_connections=3, message_s=1, idle_s=2) as port:
        yield port
    ledger.close()


def code(answer: hl7.Message) -> tuple[str, str, str]:
    """Acknowledgment code, error code, and what is said."""
    try:
        error = answer.segment("ERR")
    except KeyError:
        return str(answer["MSA"][0][1]), "", ""
    return str(answer["MSA"][0][1]), str(error[3][0][0]), answer.unescape(str(error[8]))


def test_the_example_of_the_documents_is_taken(node: Port) -> None:
    answer = node.ask(example())

    assert code(answer) == ("AA", "", "")
    assert str(answer["MSA"][0][2]) == "RIS-4711"
    assert tally(node.ledger) == Tally(1, 1, 1, 0, 0, 0)
    (reading,) = node.ledger.readings("1.2.3", "1.2.3.4")
    assert (reading.reader, reading.source, reading.series_instance_uid) == (
        "RIS",
        ReadingSource.HL7,
        None,
    )
    assert code(node.ask(example())) == ("AA", "", "")  # whose answer was lost
    assert len(node.ledger.readings("1.2.3", "1.2.3.4")) == 1
    assert "1.2.3" in node.audited()


def test_an_accession_number_or_a_series_is_enough(node: Port) -> None:
    without = "\r".join(s for s in example().split("\r") if "110180" not in s)
    assert code(node.ask(without))[0] == "AA"
    of_series = example().replace("110180", "112002").replace("1.2.3|", "1.2.3.4|")
    assert code(node.ask(of_series))[0] == "AA"
    assert len(node.ledger.readings("1.2.3", "1.2.3.4")) == 2


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (("||1.2.3|", "||1.2.9|"), ("AE", "204", "no such study came to this node")),
        (("OBX|1|ST", "OBX|1|NM"), ("AA", "", "")),
        (("CWE|1386000", "NM|1386000"), ("AE", "102", "a probability is none")),
        (("ORU^R01", "ORM^O01"), ("AR", "200", "only ORU^R01")),
        (("|P|2.5.1", "|D|2.5.1"), ("AR", "202", "does not count")),
    ],
)
def test_what_is_wrong_is_answered_with_why(
    node: Port, change: tuple[str, str], expected: tuple[str, str, str]
) -> None:
    said = code(node.ask(example().replace(*change)))
    assert said[:2] == expected[:2]
    assert expected[2] in said[2]


def test_an_accession_number_of_two_studies_or_of_none_is_refused(node: Port) -> None:
    judge(node.ledger, "1.5.1", study="1.5", accession="A-42")
    without = "\r".join(s for s in example().split("\r") if "110180" not in s)
    assert "2 studies have" in code(node.ask(without))[2]
    assert "give the Study Instance UID" in code(node.ask(without.replace("A-42", "A-1")))[2]


def test_a_series_under_way_is_found_by_what_its_images_say(
    node: Port, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = image()
    made.StudyInstanceUID, made.AccessionNumber = "1.7", "A-7"
    path = Path("1.7") / "image.dcm"
    (Spool(node.home).path(path)).parent.mkdir(parents=True)
    made.save_as(Spool(node.home).path(path), enforce_file_format=True)
    node.ledger.store(Instance("1.7", "1.7.1", "1.7.1.1", CT, "d" * 64, path, "SCANNER"), 30)
    without = "\r".join(s for s in example().split("\r") if "110180" not in s)
    assert code(node.ask(without.replace("A-42", "A-7")))[0] == "AA"
    assert len(node.ledger.readings("1.7", "1.7.1")) == 1
    read: list[Path] = []
    monkeypatch.setattr(intake, "header_of", lambda path: read.append(path) or made)
    for n in range(3):
        assert code(node.ask(without.replace("A-42", f"B-{n}")))[1] == "204"
    assert read == []  # once is enough


def test_where_ihe_has_the_accession_number_the_order_may_have_another_one(node: Port) -> None:
    without = "\r".join(s for s in example().split("\r") if "110180" not in s)
    both = without.replace(f"|A-42|18748-4^Diagnostic Imaging Report^LN{'|' * 14}", "|{}")
    for filler, placer in (("F-9", "A-42"), ("A-42", "P-1")):
        assert code(node.ask(both.format(f"{filler}{'|' * 15}{placer}")))[0] == "AA"
    assert len(node.ledger.readings("1.2.3", "1.2.3.4")) == 1  # the same, said twice


def test_nothing_of_a_message_is_logged(node: Port, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    shifted = example().replace("|CWE|", "|Doe|")
    for message in (example(), example().replace("52101004", "7"), "MSH|^~\\&|Doe|Jane", shifted):
        node.ask(message)
    assert caplog.messages
    for word in ("Doe", "Jane", "12345", "A-42"):
        assert word not in caplog.text


def test_with_the_ledger_away_a_message_has_to_come_again(
    node: Port, monkeypatch: pytest.MonkeyPatch
) -> None:
    node.ledger.engine.dispose()
    for file in node.home.glob("ledger.sqlite*"):
        file.rename(f"{file}.away")
    (node.home / "ledger.sqlite").mkdir()
    assert code(node.ask(example()))[:2] == ("AR", "207")


def test_whoever_sends_nonsense_without_end_fills_no_log(
    node: Port, caplog: pytest.LogCaptureFixture
) -> None:
    for n in range(10):
        node.ask(example().replace("ORU^R01", f"X{n}^R01"))
    assert len(caplog.messages) == 1


# -- who sends something else ------------------------------------------------------------


def received(connection: socket.socket) -> bytes:
    """All that comes until the connection ends."""
    connection.settimeout(10)
    found = b""
    with contextlib.suppress(ConnectionError):
        while piece := connection.recv(4096):
            found += piece
    return found


@pytest.mark.parametrize(
    "sent", [b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\x00", b"\x0b" + b"x" * 300_000]
)
def test_who_speaks_something_else_or_without_end_is_left(node: Port, sent: bytes) -> None:
    with node.connected() as connection:
        with contextlib.suppress(ConnectionError):
            connection.sendall(sent)
        answer = received(connection)
    assert (b"MSA|AR|" in answer) is (len(sent) > 1000)
    assert code(node.ask(example()))[0] == "AA"


def test_who_sends_too_slowly_or_nothing_is_left(node: Port) -> None:
    with node.connected() as slow, node.connected() as silent:
        began = time.monotonic()
        slow.settimeout(0.1)
        with contextlib.suppress(ConnectionError):
            while time.monotonic() - began < 5:
                slow.sendall(b"\x0b" if time.monotonic() - began < 0.1 else b"x")
                with contextlib.suppress(TimeoutError):
                    if slow.recv(1) == b"":
                        break
        assert time.monotonic() - began < 4
        assert received(silent) == b""
    assert time.monotonic() - began < 5


def test_who_has_nothing_to_say_is_left_without_a_word(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ledger = open_ledger(f"sqlite:///{tmp_path}/ledger.sqlite")
    with listening(ledger, tmp_path, idle_s=0.3) as port, port.connected() as silent:
        assert received(silent) == b""
    assert caplog.messages == []


def test_half_a_message_does_nothing(node: Port) -> None:
    with node.connected() as connection:
        connection.sendall(b"\x0b" + example().encode())
    assert code(node.ask(example().replace("RIS-4711", "2")))[0] == "AA"
    assert len(node.ledger.readings("1.2.3", "1.2.3.4")) == 1


def test_no_more_than_some_are_let_in_and_others_find_room_later(node: Port) -> None:
    with contextlib.ExitStack() as open_ones:
        for _ in range(3):
            open_ones.enter_context(node.connected())
        time.sleep(0.2)
        with node.connected() as turned_away:
            assert received(turned_away) == b""
    until = time.monotonic() + 5
    while time.monotonic() < until:
        with contextlib.suppress(Exception):
            assert code(node.ask(example()))[0] == "AA"
            return
    raise AssertionError("nobody is let in any more")


def test_several_messages_come_over_one_connection(node: Port) -> None:
    with node.connected() as connection:
        frame = b"\x0b" + example().encode() + b"\x1c\r"
        connection.sendall(frame * 3)
        connection.shutdown(socket.SHUT_WR)
        assert received(connection).count(b"MSA|AA|RIS-4711") == 3


def test_who_is_in_no_network_that_is_named_may_not_send(tmp_path: Path) -> None:
    ledger = open_ledger(f"sqlite:///{tmp_path}/ledger.sqlite")
    with (
        listening(ledger, tmp_path, hl7_networks=["10.0.0.0/8"]) as port,
        port.connected() as connection,
    ):
        assert received(connection) == b""
        record = port.audited("Node Authentication")
    assert 'NetworkAccessPointID="127.0.0.1"' in record


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


def said_by_tls(port: Port, authority: Authority, identity: Identity | None = None) -> bytes:
    """What OpenSSL's own client is answered by, when it sends the example."""
    shown = () if identity is None else ("-cert", identity.certificate, "-key", identity.key)
    with subprocess.Popen(
        [
            *("openssl", "s_client", "-connect", f"127.0.0.1:{port.number}", "-quiet"),
            *("-CAfile", authority.certificate, "-verify_return_error", *shown),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as client:
        assert client.stdin is not None
        assert client.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            client.stdin.write(b"\x0b" + example().encode() + b"\x1c\r")
            client.stdin.flush()
        is_said = select.select([client.stdout], [], [], 10)[0]
        answer = os.read(client.stdout.fileno(), 4096) if is_said else b""
        client.kill()
    return answer


@pytest.mark.parametrize("certificates", ["required", "optional", "none"])
def test_with_tls_who_shows_what_it_has_to_is_heard(
    tmp_path: Path, authority: Authority, certificates: str
) -> None:
    mine, theirs = authority.issue("node"), authority.issue("ris")
    stranger = Authority(tmp_path / "other").issue("stranger")
    ledger = open_ledger(f"sqlite:///{tmp_path}/ledger.sqlite")
    judge(ledger, "1.2.3.4", ANY, study="1.2.3")
    tls = {"certificate": mine.certificate, "key": mine.key, "client_certificates": certificates}
    if certificates != "none":
        tls["ca"] = authority.certificate
    with listening(ledger, tmp_path, tls=tls) as port:
        assert b"MSA|AA" in said_by_tls(port, authority, theirs)
        assert (b"MSA|AA" in said_by_tls(port, authority)) is (certificates != "required")
        assert (b"MSA|AA" in said_by_tls(port, authority, stranger)) is (certificates == "none")
        with port.connected() as plain:
            plain.sendall(b"\x0b" + example().encode() + b"\x1c\r")
            assert b"MSA" not in received(plain)
        assert "Node Authentication" in port.audited("Node Authentication")
    assert len(ledger.readings("1.2.3", "1.2.3.4")) == 1


def test_who_has_a_wrong_certificate_is_told_of_and_may_come_again(
    tmp_path: Path, authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    mine, over = authority.issue("node"), authority.issue("over", days=-1)
    ledger = open_ledger(f"sqlite:///{tmp_path}/ledger.sqlite")
    judge(ledger, "1.2.3.4", ANY, study="1.2.3")
    tls = {"certificate": mine.certificate, "key": mine.key, "ca": authority.certificate}
    with listening(ledger, tmp_path, tls=tls) as port:
        assert b"MSA" not in said_by_tls(port, authority, over)
        assert "its certificate is not taken: certificate has expired" in caplog.text
        assert b"MSA|AA" in said_by_tls(port, authority, authority.issue("ris"))


def test_a_port_that_is_taken_stops_the_start_with_one_line(tmp_path: Path) -> None:
    ledger = open_ledger(f"sqlite:///{tmp_path}/ledger.sqlite")
    with listening(ledger, tmp_path) as port:
        settings = Settings(home=tmp_path, feedback={"hl7_port": port.number})
        intake = Intake(ledger, Spool(tmp_path), Auditor.silent())
        with pytest.raises(IchnodeError, match=r"see \[feedback\] hl7_host"):
            Listener(settings, intake)


def test_others_than_this_machine_are_heard_only_where_they_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="takes hl7_networks with hl7_host"):
        Settings(home=tmp_path, feedback={"hl7_port": 2575, "hl7_host": "0.0.0.0"})
