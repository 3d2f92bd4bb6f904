"""What the node sends arrives byte for byte, and a peer that does not read holds nobody up."""

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage
from pynetdicom import AE, evt
from pynetdicom.pdu import P_DATA_TF

from node.deliver import Sender
from node.errors import DeliveryError
from node.requestor import PIECE
from node.settings import DeliverSettings, Destination
from tests.certificates import Authority, Identity

Handlers = list[tuple[object, Callable[[evt.Event], object]]]


@contextmanager
def archive(
    handlers: Handlers, longest: int = 16384, identity: Identity | None = None
) -> Iterator[int]:
    """Run an archive that stores nothing, with TLS if it has a certificate; gives its port."""
    ae = AE(ae_title="ARCHIVE")
    ae.add_supported_context(SecondaryCaptureImageStorage)
    ae.maximum_pdu_size = longest
    tls = None
    if identity is not None:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(identity.certificate, identity.key)
    server = ae.start_server(
        ("127.0.0.1", 0),
        block=False,
        ssl_context=tls,
        evt_handlers=[(evt.EVT_C_STORE, lambda _: 0), *handlers],
    )
    # What it does not read is to stay with the sender, not in the kernel.
    server.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 256 * 1024)
    try:
        yield server.socket.getsockname()[1]
    finally:
        server.shutdown()


def sender(port: int, timeout_s: float = 10, authority: Authority | None = None) -> Sender:
    keys: dict[str, object] = {"name": "archive", "ae_title": "ARCHIVE", "host": "127.0.0.1"}
    if authority is not None:
        keys.update(tls=True, tls_ca=authority.certificate)
    peer = Destination.model_validate({**keys, "port": port})
    rules = DeliverSettings(timeout_s=timeout_s)
    return Sender("ICHNODE", peer, [SecondaryCaptureImageStorage], rules)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(params=["plain", "tls"])
def trusted(request: pytest.FixtureRequest, authority: Authority) -> Authority | None:
    """The authority of an archive with TLS; None for one without."""
    return authority if request.param == "tls" else None


def identity_of(trusted: Authority | None) -> Identity | None:
    return None if trusted is None else trusted.issue("archive")


def capture(path: Path, size: int) -> Path:
    image = Dataset()
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image.SOPClassUID, image.SOPInstanceUID = SecondaryCaptureImageStorage, "1.2.3"
    image.PatientName = "Test^Head"
    image.add_new(0x7FE00010, "OB", bytes(n % 251 for n in range(1000)) * (size // 1000))
    image.save_as(path, enforce_file_format=True)
    return path


@pytest.mark.parametrize("longest", [0, 128, 1023, 16384, 1024**2])
def test_an_object_arrives_as_it_is_in_pdus_that_are_not_longer_than_the_peer_takes(
    tmp_path: Path, longest: int, trusted: Authority | None
) -> None:
    lengths: list[int] = []
    arrived: list[bytes] = []

    def measure(event: evt.Event) -> None:
        if isinstance(event.pdu, P_DATA_TF):
            lengths.append(event.pdu.pdu_length)

    def store(event: evt.Event) -> int:
        arrived.append(event.request.DataSet.getvalue())
        return 0

    path = capture(tmp_path / "1.dcm", 700_000 if longest == 0 or longest > 1023 else 20_000)
    handlers: Handlers = [(evt.EVT_PDU_RECV, measure), (evt.EVT_C_STORE, store)]
    with (
        archive(handlers, longest, identity_of(trusted)) as port,
        sender(port, 10, trusted) as sending,
    ):
        for _ in range(3):
            assert sending.send(path) is None

    assert arrived[0] == arrived[1] == arrived[2]
    assert path.read_bytes().endswith(arrived[0])
    assert len(arrived[0]) > path.stat().st_size - 1000
    assert max(lengths) <= min(longest or PIECE, PIECE)


@pytest.mark.parametrize("longest", [1, 6])
def test_a_peer_that_takes_no_pdu_at_all_is_told_from_one_that_does(
    tmp_path: Path, longest: int
) -> None:
    path = capture(tmp_path / "1.dcm", 10_000)
    with (
        archive([], longest) as port,
        pytest.raises(DeliveryError, match="cannot be sent"),
        sender(port, 2) as sending,
    ):
        sending.send(path)


def test_a_peer_that_stops_reading_is_not_waited_for_longer_than_for_an_answer(
    tmp_path: Path, trusted: Authority | None
) -> None:
    stopped = threading.Event()

    def stop(event: evt.Event) -> None:
        if isinstance(event.pdu, P_DATA_TF):
            stopped.wait(30)

    path = capture(tmp_path / "1.dcm", 20_000_000)
    try:
        with archive([(evt.EVT_PDU_RECV, stop)], 0, identity_of(trusted)) as port:
            begin = time.monotonic()
            with (
                pytest.raises(DeliveryError, match="gives no answer"),
                sender(port, 1, trusted) as sending,
            ):
                sending.send(path)
            assert time.monotonic() - begin < 8
            stopped.set()
    finally:
        stopped.set()


def test_an_object_may_be_on_its_way_for_longer_than_an_answer(tmp_path: Path) -> None:
    def read_slowly(event: evt.Event) -> None:
        if isinstance(event.pdu, P_DATA_TF):
            time.sleep(0.02)

    # Of this the kernel holds a tenth at most, which is what an answer has to wait for.
    path = capture(tmp_path / "1.dcm", 60_000_000)
    with archive([(evt.EVT_PDU_RECV, read_slowly)], 0) as port, sender(port, 3) as sending:
        begin = time.monotonic()
        assert sending.send(path) is None
        assert time.monotonic() - begin > 3


def test_a_peer_that_goes_away_in_the_middle_of_an_object_is_noticed_at_once(
    tmp_path: Path, trusted: Authority | None
) -> None:
    def hang_up(event: evt.Event) -> None:
        if isinstance(event.pdu, P_DATA_TF):
            event.assoc.dul.socket.socket.shutdown(socket.SHUT_RDWR)

    path = capture(tmp_path / "1.dcm", 20_000_000)
    with archive([(evt.EVT_PDU_RECV, hang_up)], 0, identity_of(trusted)) as port:
        begin = time.monotonic()
        with (
            pytest.raises(DeliveryError, match="gives no answer"),
            sender(port, 10, trusted) as sending,
        ):
            sending.send(path)
        assert time.monotonic() - begin < 5


def test_the_loop_of_the_association_takes_no_answer_from_the_sender(tmp_path: Path) -> None:
    class AlwaysSet(threading.Event):
        """Lets the loop run while an answer is waited for, as it seldom does by itself."""

        def is_set(self) -> bool:
            return True

        def wait(self, timeout: float | None = None) -> bool:
            time.sleep(0.001)
            return True

    path = capture(tmp_path / "1.dcm", 10_000)
    with archive([]) as port, sender(port, 2) as sending:
        assert sending.association is not None
        sending.association._reactor_checkpoint = AlwaysSet()
        for _ in range(30):
            assert sending.send(path) is None
