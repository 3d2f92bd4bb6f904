"""What comes over the association that asks: slowly, in part, without end."""

import socket
import threading
import time
from io import BytesIO

import pytest
from pydicom.uid import CTImageStorage
from pynetdicom import AE
from pynetdicom.association import Association
from pynetdicom.dimse_messages import C_STORE_RQ
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.pdu_primitives import P_DATA
from pynetdicom.transport import AssociationSocket

from node.fetch import incoming
from node.fetch.incoming import Bounded, Limits
from tests.archives import in_thread

SILENCE_S = 0.3


@pytest.fixture
def messages() -> Bounded:
    """Gathers what a peer sends that may be silent for a while."""
    association = Association(AE(), "requestor")
    association.dimse_timeout = SILENCE_S
    return Bounded(association, Limits(10_000, "sends too much", 3))


def fragments(size: int, of: int = 1000) -> list[P_DATA]:
    """An image in so many bytes, as it comes."""
    image = C_STORE()
    image.MessageID, image.Priority = 1, 2
    image.AffectedSOPClassUID, image.AffectedSOPInstanceUID = CTImageStorage, "1.2.3"
    image.DataSet = BytesIO(b"\0" * size)
    request = C_STORE_RQ()
    request.primitive_to_message(image)
    return list(request.encode_msg(1, of))


def dripping(messages: Bounded, parts: list[P_DATA], every_s: float) -> threading.Thread:
    def send() -> None:
        for part in parts:
            messages.receive_primitive(part)
            time.sleep(every_s)

    return in_thread(send)


def test_an_image_that_takes_long_is_waited_for_as_long_as_it_comes(messages: Bounded) -> None:
    sender = dripping(messages, fragments(8000), SILENCE_S / 3)
    _, image = messages.get_msg(block=True)
    sender.join()
    assert image is not None
    assert len(image.DataSet.getvalue()) == 8000


def test_one_that_stops_in_the_middle_is_left(messages: Bounded) -> None:
    dripping(messages, fragments(8000)[:3], 0)
    assert messages.get_msg(block=True) == (None, None)
    assert messages.trouble == "says nothing for 0.3 s"


def test_one_that_only_drips_is_left(messages: Bounded, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(incoming, "SLOWEST_RATE", 100_000)
    dripping(messages, fragments(8000), SILENCE_S / 3)
    began = time.monotonic()
    assert messages.get_msg(block=True) == (None, None)
    assert time.monotonic() - began < 2 * SILENCE_S


def test_a_pdu_that_only_drips_is_not_read_to_its_end(
    messages: Bounded, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(incoming, "SLOWEST_RATE", 100_000)
    near, far = socket.socketpair()
    made = AssociationSocket(messages.assoc, client_socket=near)
    connection = incoming._Connection(made, SILENCE_S, messages)
    ended = threading.Event()

    def drip() -> None:
        while not ended.wait(SILENCE_S / 3):
            far.send(b"x")

    dripping = in_thread(drip)
    with pytest.raises(TimeoutError, match="of 1000 bytes came in time"):
        connection.recv(1000)
    ended.set()
    dripping.join()
    far.close()
    near.close()


def test_one_that_sends_too_much_is_left(messages: Bounded) -> None:
    for part in fragments(12_000):
        messages.receive_primitive(part)
    assert messages.get_msg(block=True) == (None, None)
    assert messages.trouble == "sends too much"


def test_a_pdu_that_is_too_long_is_not_read(messages: Bounded) -> None:
    messages.check(10_000)
    with pytest.raises(OSError, match="a PDU of 4294967295 bytes"):
        messages.check(0xFFFFFFFF)
    assert messages.get_msg(block=True) == (None, None)
    assert messages.trouble == "sends too much"


def test_one_that_does_not_wait_for_answers_is_left(messages: Bounded) -> None:
    for part in fragments(100) * 9:
        messages.receive_primitive(part)
    while messages.get_msg(block=True) != (None, None):
        pass
    assert messages.trouble == "does not wait for answers"
