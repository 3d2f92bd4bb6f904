"""What a peer can spend of the node's port: time, threads and memory have limits."""

import socket
import struct
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian, generate_uid
from pynetdicom import AE, build_context
from pynetdicom.association import Association
from pynetdicom.dsutils import encode
from pynetdicom.pdu import A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import (
    A_ASSOCIATE,
    ImplementationClassUIDNotification,
    MaximumLengthNotification,
)
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from node.access import STRANGERS
from node.listener import LONGEST_COMMAND, LONGEST_PDU, printable
from node.receive import Receiver
from node.spool import Spool
from tests.fuzz.pdus import CONTEXTS, ECHO, request
from tests.listening import listening

MB = 1024**2
ACCEPTED, P_DATA_TF, ABORT = 0x02, 0x04, 0x07
"""Types of PDUs (PS3.8, 9.3.1)."""


@pytest.fixture
def caught(caplog: pytest.LogCaptureFixture) -> Callable[[str], bool]:
    """Whether a text is in the log, or comes to be soon."""

    def find(text: str) -> bool:
        return soon(lambda: text in caplog.text)

    return find


def soon(what: Callable[[], Any], timeout_s: float = 10) -> bool:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if what():
            return True
        time.sleep(0.02)
    return False


def port(receiver: Receiver) -> int:
    return receiver.settings.dicom.port


def connected(receiver: Receiver) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port(receiver)), 10)
    connection.settimeout(15)
    return connection


def is_closed(connection: socket.socket) -> bool:
    """Read until the peer closes; whether it does."""
    try:
        while connection.recv(65536):
            pass
    except TimeoutError:
        return False
    except OSError:
        return True
    return True


def called(
    receiver: Receiver, title: str = "SCANNER", node: str = "ICHNODE", storage: bool = False
) -> Association:
    ae = AE(title)
    ae.add_requested_context(Verification)
    if storage:
        ae.add_requested_context(CTImageStorage, ExplicitVRLittleEndian)
    return ae.associate("127.0.0.1", port(receiver), ae_title=node)


def echoes(receiver: Receiver) -> bool:
    association = called(receiver)
    if not association.is_established:
        return False
    status = association.send_c_echo()
    association.release()
    return bool(status.get("Status") == 0)


def answer(association: Association) -> tuple[int, int, int]:
    """Result, source and reason of a rejection."""
    assert association.is_rejected
    given = association.acceptor.primitive
    return given.result, given.result_source, given.diagnostic


def image(size: int) -> Dataset:
    dataset = Dataset()
    dataset.SOPClassUID = CTImageStorage
    dataset.SOPInstanceUID = generate_uid()
    dataset.StudyInstanceUID = dataset.SeriesInstanceUID = generate_uid()
    dataset.add_new("PixelData", "OW", bytes(size))
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return dataset


@contextmanager
def raw_association(receiver: Receiver) -> Iterator[socket.socket]:
    """Hold an association for CT images, of which the test writes the bytes."""
    context = build_context(CTImageStorage, ExplicitVRLittleEndian)
    context.context_id = 1
    length, implementation = MaximumLengthNotification(), ImplementationClassUIDNotification()
    length.maximum_length_received = 16384
    implementation.implementation_class_uid = UID("1.2.3.4")
    request = A_ASSOCIATE()
    request.application_context_name = UID("1.2.840.10008.3.1.1.1")
    request.calling_ae_title, request.called_ae_title = "SCANNER", "ICHNODE"
    request.presentation_context_definition_list = [context]
    request.user_information = [length, implementation]
    with connected(receiver) as connection:
        connection.sendall(A_ASSOCIATE_RQ(request).encode())
        assert connection.recv(65536)[0] == ACCEPTED
        yield connection


def p_data(payload: bytes, *, command: bool = False, last: bool = False) -> bytes:
    """A P-DATA-TF PDU with one fragment (PS3.8, 9.3.5)."""
    header = int(command) | 2 * int(last)
    fragment = struct.pack(">IBB", len(payload) + 2, 1, header) + payload
    return struct.pack(">BBI", P_DATA_TF, 0, len(fragment)) + fragment


def store_command() -> bytes:
    """The command of a C-STORE request, as a PDU (PS3.7, 9.3.1.1)."""
    command = Dataset()
    command.AffectedSOPClassUID = CTImageStorage
    command.CommandField = 0x0001
    command.MessageID = 1
    command.Priority = 0
    command.CommandDataSetType = 0x0001
    command.AffectedSOPInstanceUID = "1.2.3"
    encoded = encode(command, is_implicit_vr=True, is_little_endian=True)
    assert encoded is not None
    return p_data(encoded, command=True, last=True)


def last_pdu(connection: socket.socket) -> int:
    """The type of the last PDU before the connection is closed, 0 if there is none."""
    received = b""
    try:
        while some := connection.recv(65536):
            received += some
    except ConnectionResetError:
        pass
    last = 0
    while len(received) >= 6:
        last, _, length = struct.unpack(">BBI", received[:6])
        received = received[6 + length :]
    return last


# -- who may come in ---------------------------------------------------------------


def test_who_calls_another_title_is_told_so(tmp_path: Path) -> None:
    with listening(tmp_path) as receiver:
        assert answer(called(receiver, node="OTHER")) == (1, 1, 7)
        assert echoes(receiver)


def test_who_is_no_peer_is_told_so(tmp_path: Path, caught: Callable[[str], bool]) -> None:
    peers = (
        {"name": "ct1", "ae_title": "CT1", "networks": ["127.0.0.0/8"]},
        {"name": "far", "ae_title": "FAR", "networks": ["10.0.0.0/8"]},
    )
    with listening(tmp_path, peers) as receiver:
        known = called(receiver, "CT1")
        assert known.is_established
        known.release()
        assert answer(called(receiver, "SCANNER")) == (1, 1, 3)
        assert answer(called(receiver, "FAR")) == (1, 1, 3)

    assert caught("from SCANNER was rejected: no peer has its title")
    assert caught("from FAR was rejected: that peer does not call from there")


def test_too_many_associations_from_one_address_are_told_to_come_later(tmp_path: Path) -> None:
    with listening(tmp_path, max_associations_per_address=2) as receiver:
        first, second = called(receiver), called(receiver)
        assert answer(called(receiver)) == (2, 3, 2)
        first.release()
        assert soon(lambda: echoes(receiver))
        second.abort()


def test_an_association_that_was_lost_makes_room_again(tmp_path: Path) -> None:
    with listening(tmp_path, max_associations=1, idle_s=30) as receiver:
        with raw_association(receiver):
            assert answer(called(receiver)) == (2, 3, 2)
        assert soon(lambda: echoes(receiver))


def test_too_many_associations_in_a_minute_are_told_to_come_later(tmp_path: Path) -> None:
    with listening(tmp_path, associations_per_minute=2) as receiver:
        assert echoes(receiver)
        assert echoes(receiver)
        assert answer(called(receiver)) == (2, 3, 1)


def test_strangers_share_a_few_connections_and_peers_still_get_in(tmp_path: Path) -> None:
    """Here all come from one address: who is a stranger is told by the table of peers."""
    far = {"name": "far", "ae_title": "FAR", "networks": ["10.0.0.0/8"]}
    with listening(tmp_path, (far,), idle_s=30) as receiver, ExitStack() as stack:
        held = [stack.enter_context(connected(receiver)) for _ in range(STRANGERS)]
        assert soon(lambda: receiver.server.connections()["127.0.0.1"] == STRANGERS)
        one_more = stack.enter_context(connected(receiver))

        assert is_closed(one_more)
        held[0].settimeout(0.2)
        assert not is_closed(held[0])


# -- time --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "said",
    [b"", b"\x01", b"\x01\x00\x00\x00\x10\x00half a request", b"\x16\x03\x01\x02\x00\x01"],
    ids=["nothing", "a byte", "half a PDU", "TLS"],
)
def test_who_connects_and_does_not_ask_is_left(tmp_path: Path, said: bytes) -> None:
    with listening(tmp_path, idle_s=0.5) as receiver, connected(receiver) as connection:
        began = time.monotonic()
        connection.sendall(said)

        assert is_closed(connection)
        assert time.monotonic() - began < 10
        assert soon(lambda: not receiver.server.connections())


def test_who_stops_in_the_middle_of_a_pdu_is_left(tmp_path: Path) -> None:
    with listening(tmp_path, idle_s=0.5) as receiver, raw_association(receiver) as connection:
        connection.sendall(p_data(bytes(1000))[:500])

        assert is_closed(connection)
        assert soon(lambda: not receiver.server.connections())


def test_who_sends_a_byte_now_and_then_is_left(tmp_path: Path) -> None:
    """Each byte comes before the connection counts as silent; the PDU as a whole is too slow."""
    with listening(tmp_path, idle_s=0.6) as receiver, raw_association(receiver) as connection:
        began = time.monotonic()
        with pytest.raises((ConnectionError, TimeoutError)):
            for byte in p_data(bytes(2000)):
                connection.sendall(bytes([byte]))
                time.sleep(0.2)

        assert time.monotonic() - began < 10


def test_who_says_nothing_in_an_association_is_left(tmp_path: Path) -> None:
    with listening(tmp_path, idle_s=0.5) as receiver, raw_association(receiver) as connection:
        assert is_closed(connection)
        assert soon(lambda: not receiver.server.connections())


def test_a_peer_that_waits_for_the_node_is_not_silent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep = Spool.keep

    def slowly(*given: Any) -> Path:
        time.sleep(2)
        return keep(*given)

    monkeypatch.setattr(Spool, "keep", slowly)
    with listening(tmp_path, idle_s=0.5) as receiver:
        association = called(receiver, storage=True)
        assert association.send_c_store(image(1000)).Status == 0x0000
        association.release()


def test_connections_that_ask_for_nothing_keep_nobody_else_out(tmp_path: Path) -> None:
    """They are fewer than twice the associations of an address, and count as none."""
    with (
        listening(
            tmp_path, max_associations=3, max_associations_per_address=3, idle_s=30
        ) as receiver,
        ExitStack() as stack,
    ):
        for _ in range(5):
            stack.enter_context(connected(receiver))
        assert soon(lambda: receiver.server.connections().total() == 5)

        assert echoes(receiver)


def test_a_flood_of_connections_starts_few_threads(tmp_path: Path) -> None:
    with listening(tmp_path, max_associations=3, idle_s=30) as receiver, ExitStack() as stack:
        before = threading.active_count()
        flood = [stack.enter_context(connected(receiver)) for _ in range(60)]

        assert is_closed(flood[-1])
        assert threading.active_count() - before <= 2 * 2 * 3


# -- memory ------------------------------------------------------------------------


def test_a_pdu_that_is_too_long_is_answered_with_an_abort_and_not_read(tmp_path: Path) -> None:
    with listening(tmp_path) as receiver, raw_association(receiver) as connection:
        connection.sendall(struct.pack(">BBI", P_DATA_TF, 0, 2**32 - 1))

        assert last_pdu(connection) == ABORT
        assert soon(lambda: echoes(receiver))


def test_the_longest_pdu_that_is_allowed_is_taken(tmp_path: Path) -> None:
    with listening(tmp_path) as receiver, raw_association(receiver) as connection:
        connection.sendall(store_command())
        connection.sendall(p_data(bytes(LONGEST_PDU - 6), last=True))

        connection.settimeout(10)
        assert connection.recv(6)[0] == P_DATA_TF  # an answer, of whatever kind


def test_an_instance_that_is_too_large_is_refused_and_the_next_one_stored(
    tmp_path: Path, caught: Callable[[str], bool]
) -> None:
    with listening(tmp_path, max_instance_mb=1) as receiver:
        association = called(receiver, storage=True)
        assert association.send_c_store(image(MB + 1)).Status == 0xA700
        assert association.send_c_store(image(1000)).Status == 0x0000
        association.release()

    assert caught("instances are not taken: one has more than 1 MB")
    assert len(list(tmp_path.rglob("*.dcm"))) == 1


def test_instances_that_are_too_large_together_are_refused(tmp_path: Path) -> None:
    with listening(tmp_path, max_instance_mb=100, max_receiving_mb=2) as receiver:
        with raw_association(receiver) as one:
            one.sendall(store_command())
            for _ in range(12):
                one.sendall(p_data(bytes(128 * 1024)))
            association = called(receiver, storage=True)
            assert soon(lambda: association.send_c_store(image(MB)).Status == 0xA700)
        assert soon(lambda: association.send_c_store(image(MB)).Status == 0x0000)
        association.release()


def test_a_dataset_without_end_takes_no_more_memory_than_the_limit(
    tmp_path: Path, caught: Callable[[str], bool]
) -> None:
    fragment = p_data(bytes(128 * 1024))
    with listening(tmp_path, max_instance_mb=4, idle_s=1) as receiver:
        with raw_association(receiver) as connection:
            connection.sendall(store_command())
            tracemalloc.start()
            try:
                with pytest.raises((ConnectionError, TimeoutError)):
                    for _ in range(100_000):
                        connection.sendall(fragment)
                _, peak = tracemalloc.get_traced_memory()
            finally:
                tracemalloc.stop()
        assert echoes(receiver)

    assert peak < 3 * 4 * MB
    assert caught("is ended: ValueError in a message")


def test_a_command_without_end_ends_the_association(tmp_path: Path) -> None:
    with listening(tmp_path) as receiver, raw_association(receiver) as connection:
        for _ in range(LONGEST_COMMAND // 10_000 + 1):
            connection.sendall(p_data(bytes(10_000), command=True))

        assert last_pdu(connection) == ABORT


def test_requests_without_waiting_for_answers_end_the_association(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caught: Callable[[str], bool]
) -> None:
    with listening(tmp_path, idle_s=5) as receiver, raw_association(receiver) as connection:
        monkeypatch.setattr(Spool, "quarantine", lambda *_: time.sleep(1) or tmp_path)
        for _ in range(20):
            try:
                connection.sendall(store_command() + p_data(b"no dataset", last=True))
            except OSError:
                break

        assert caught("it does not wait for answers")


def test_a_request_that_comes_before_the_answer_to_another_is_answered_too(tmp_path: Path) -> None:
    with listening(tmp_path) as receiver, raw_association(receiver) as connection:
        connection.sendall(2 * (store_command() + p_data(b"no dataset", last=True)))

        answers = b""
        while answers.count(b"1.2.3\0") < 2:
            some = connection.recv(65536)
            assert some
            answers += some


def test_an_image_in_many_small_fragments_is_stored(tmp_path: Path) -> None:
    dataset = image(1000)
    dataset.SOPInstanceUID = "1.2.3"  # as the command has it
    encoded = encode(dataset, is_implicit_vr=False, is_little_endian=True)
    assert encoded is not None
    pieces = [encoded[start : start + 7] for start in range(0, len(encoded), 7)]
    with listening(tmp_path) as receiver, raw_association(receiver) as connection:
        connection.sendall(store_command())
        for piece in pieces[:-1]:
            connection.sendall(p_data(piece))
        connection.sendall(p_data(pieces[-1], last=True))
        assert connection.recv(6)[0] == P_DATA_TF

    [stored] = tmp_path.rglob("*.dcm")
    assert stored.read_bytes().endswith(encoded)


@pytest.mark.parametrize(
    "message",
    [
        p_data(b"", command=True, last=True),
        p_data(b"\xff" * 40, command=True, last=True),
        p_data(b"no command before it", last=True),
        struct.pack(">BBI", 0x04, 0, 4) + struct.pack(">I", 0),
        struct.pack(">BBI", 0x04, 0, 6) + struct.pack(">IBB", 2, 3, 3),
    ],
    ids=["empty command", "no command", "no command first", "empty fragment", "other context"],
)
def test_a_message_that_is_none_ends_its_association_alone(tmp_path: Path, message: bytes) -> None:
    with listening(tmp_path, idle_s=3) as receiver, raw_association(receiver) as connection:
        connection.sendall(message)

        assert last_pdu(connection) in (0, ABORT)
        assert echoes(receiver)
        assert soon(lambda: not receiver.server.connections())


# -- disk --------------------------------------------------------------------------


def test_with_little_room_on_the_disk_instances_are_put_off(
    tmp_path: Path, caught: Callable[[str], bool]
) -> None:
    with listening(tmp_path, min_free_gb=1e9) as receiver:
        association = called(receiver, storage=True)
        assert association.send_c_store(image(1000)).Status == 0xA700
        assert association.send_c_echo().Status == 0x0000
        association.release()

    assert caught("instances are not taken: less than 1e+09 GB are free")
    assert not (tmp_path / "spool").exists()


def test_a_quarantine_that_is_full_keeps_no_more(
    tmp_path: Path, caught: Callable[[str], bool]
) -> None:
    bad = image(100_000)
    bad.StudyInstanceUID = "../../etc"
    with listening(tmp_path, max_quarantine_gb=250_000 / 1024**3) as receiver:
        association = called(receiver, storage=True)
        statuses = [association.send_c_store(bad).Status for _ in range(4)]
        association.release()

    assert len(set(statuses)) == 1
    assert statuses[0] & 0xF000 == 0xC000
    assert len(list((tmp_path / "quarantine").iterdir())) == 2
    assert caught("refused instances are not kept")


def test_a_title_breaks_no_line_of_the_log(
    tmp_path: Path, caught: Callable[[str], bool], caplog: pytest.LogCaptureFixture
) -> None:
    assert printable("CT1\n2026 ERROR ") == "CT1?2026 ERROR"
    assert printable("\x1b[2JCT1") == "?[2JCT1"
    with listening(tmp_path, require_called_ae=True) as receiver:
        ae = AE("A|B")
        ae.add_requested_context(Verification)
        assert ae.associate("127.0.0.1", port(receiver), ae_title="OTHER").is_rejected

        assert caught("an association from A|B was rejected")
    assert all("\n" not in record.getMessage() for record in caplog.records)


def test_a_request_that_makes_no_sense_is_aborted_and_closed(
    tmp_path: Path, caught: Callable[[str], bool]
) -> None:
    """Who asks as a user of kind 9: there are five (PS3.7, D.3.3.7.1)."""
    identity = struct.pack(">BBHBBHH", 0x58, 0, 6, 9, 0, 0, 0)
    with listening(tmp_path) as receiver, connected(receiver) as connection:
        connection.sendall(request(*CONTEXTS, more=identity))
        assert connection.recv(6)[0] == ABORT
        connection.shutdown(socket.SHUT_WR)
        assert is_closed(connection)
        assert caught("is ended: ValueError in a PDU")


def test_an_answer_that_comes_after_the_abort_does_not_keep_the_connection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """C-ECHO is answered while the association is being aborted: the peer broke the rules."""
    ended: list[object] = []
    monkeypatch.setattr(threading, "excepthook", ended.append)
    with listening(tmp_path) as receiver:
        for _ in range(30):
            with connected(receiver) as connection:
                connection.sendall(request(*CONTEXTS))
                connection.recv(1000)
                connection.sendall(ECHO + request(*CONTEXTS))
                assert connection.recv(1000)
                connection.shutdown(socket.SHUT_WR)
                assert is_closed(connection)
    assert ended == []
