"""Bad sessions of the DICOM Upper Layer protocol (PS3.8, 9.3), by a random generator.

A session is what one connection sends, in steps; the peer is a node that is well.
"""

import random
import socket
import struct
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum

from pydicom.uid import (
    CTImageStorage,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    generate_uid,
)

from tests.fuzz.mutate import LENGTHS, mutated
from tests.fuzz.seeds import seeds

APPLICATION = b"1.2.840.10008.3.1.1.1"
VERIFICATION = b"1.2.840.10008.1.1"
ANSWER_S = 2.0
"""How long an answer is waited for."""


class Ending(Enum):
    """How a session leaves."""

    CLOSE = "closes"
    RESET = "resets"
    HALF = "closes one way and listens"
    STAY = "stays silent"


@dataclass(frozen=True)
class Session:
    """What one connection sends.

    Parameters
    ----------
    steps : tuple of bytes
        An answer is waited for after each but the last.
    ending : Ending
    """

    steps: tuple[bytes, ...]
    ending: Ending


# -- what is right ---------------------------------------------------------------


def item(kind: int, value: bytes, length: int | None = None) -> bytes:
    """An item of an A-ASSOCIATE-RQ (PS3.8, 9.3.2)."""
    return struct.pack(">BBH", kind, 0, len(value) if length is None else length & 0xFFFF) + value


def pdu(kind: int, value: bytes, length: int | None = None) -> bytes:
    """A PDU with its length, true or not."""
    said = len(value) if length is None else length & 0xFFFFFFFF
    return struct.pack(">BBI", kind, 0, said) + value


def request(*contexts: bytes, called: bytes = b"ICHNODE", more: bytes = b"") -> bytes:
    """An A-ASSOCIATE-RQ (PS3.8, table 9-11)."""
    user = item(0x51, struct.pack(">I", 16384)) + item(0x52, b"1.2.3.4") + more
    variable = item(0x10, APPLICATION) + b"".join(contexts) + item(0x50, user)
    return pdu(1, struct.pack(">HH16s16s32x", 1, 0, called.ljust(16), b"FUZZ".ljust(16)) + variable)


def context(number: int, abstract: bytes, *transfers: bytes) -> bytes:
    """A presentation context (PS3.8, table 9-13)."""
    syntaxes = item(0x30, abstract) + b"".join(item(0x40, uid) for uid in transfers)
    return item(0x20, struct.pack(">B3x", number) + syntaxes)


CONTEXTS = (
    context(1, VERIFICATION, ImplicitVRLittleEndian.encode()),
    context(3, CTImageStorage.encode(), ExplicitVRLittleEndian.encode()),
)


def data(number: int, control: int, fragment: bytes, length: int | None = None) -> bytes:
    """A P-DATA-TF of one fragment (PS3.8, 9.3.5 and E.2)."""
    said = len(fragment) + 2 if length is None else length & 0xFFFFFFFF
    return pdu(4, struct.pack(">IBB", said, number, control) + fragment)


def command(field: int, uid: bytes, *, has_data: bool, instance: bytes = b"") -> bytes:
    """A command set in Implicit VR Little Endian (PS3.7, 6.3 and E.1)."""

    def element(number: int, value: bytes) -> bytes:
        value += b"\0" * (len(value) % 2)
        return struct.pack("<HHI", 0, number, len(value)) + value

    rest = (
        element(0x0002, uid)
        + element(0x0100, struct.pack("<H", field))
        + element(0x0110, b"\1\0")
        + element(0x0700, b"\0\0")
        + element(0x0800, struct.pack("<H", 1 if has_data else 0x0101))
        + (element(0x1000, instance) if instance else b"")
    )
    return element(0, struct.pack("<I", len(rest))) + rest


ECHO = data(1, 3, command(0x30, VERIFICATION, has_data=False))
RELEASE = pdu(5, bytes(4))
ABORT = pdu(7, bytes(4))


def store(rng: random.Random, dataset: bytes) -> bytes:
    """A C-STORE with a dataset in some fragments."""
    uid = generate_uid(entropy_srcs=[str(rng.random())]).encode()
    sent = data(3, 3, command(1, CTImageStorage.encode(), has_data=True, instance=uid))
    size = rng.choice((100, 1000, 16000))
    parts = [dataset[at : at + size] for at in range(0, len(dataset), size)] or [b""]
    for number, part in enumerate(parts, start=1):
        sent += data(3, 2 if number == len(parts) else 0, part)
    return sent


# -- what is wrong ---------------------------------------------------------------


def session(rng: random.Random) -> Session:
    """A bad session."""
    kinds = (
        _garbage,
        _bad_request,
        _bad_request,
        _lying_lengths,
        _bad_data,
        _bad_data,
        _bad_command,
        _bad_dataset,
        _out_of_order,
        _out_of_order,
    )
    steps = rng.choice(kinds)(rng)
    if rng.random() < 0.3:  # it breaks off in the middle
        at = rng.randrange(len(steps))
        last = steps[at][: rng.randint(0, len(steps[at]))]
        steps = (*steps[:at], last)
    return Session(steps, rng.choices(list(Ending), (60, 20, 15, 5))[0])


def _garbage(rng: random.Random) -> tuple[bytes, ...]:
    return (
        rng.choice(
            (
                rng.randbytes(rng.choice((1, 5, 6, 7, 100, 5000))),
                b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
                b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + rng.randbytes(40),
                pdu(rng.randrange(256), rng.randbytes(50)),
                pdu(rng.choice((1, 4)), b"", 0xFFFFFFFF) + bytes(rng.choice((0, 100, 300_000))),
                b"",
            )
        ),
    )


def _flipped(rng: random.Random, content: bytes) -> bytes:
    changed = bytearray(content)
    for _ in range(rng.randint(1, 8)):
        changed[rng.randrange(len(changed))] = rng.randrange(256)
    return bytes(changed)


def _bad_request(rng: random.Random) -> tuple[bytes, ...]:
    many = [context(n % 256, VERIFICATION, b"1.2.840.10008.1.2") for n in range(1, 600, 2)]
    odd = rng.choice(
        (
            _flipped(rng, request(*CONTEXTS)),
            request(),
            request(*many),
            request(*CONTEXTS, called=rng.choice((b"", b"OTHER", b"\xff\xfe\0", b"A" * 16))),
            request(context(rng.randrange(256), rng.randbytes(9), rng.randbytes(9))),
            request(context(1, b"1" * 65), context(1, b"", b"")),
            request(*CONTEXTS, more=item(0x58, bytes((1, 0, 0, 4)) + b"user" + bytes(2))),
            request(*CONTEXTS, more=item(rng.randrange(256), rng.randbytes(20))),
            request(*CONTEXTS, more=item(0x56, b"\0\x40" + b"1" * 9)),
        )
    )
    return odd, ECHO, RELEASE


def _lying_lengths(rng: random.Random) -> tuple[bytes, ...]:
    lie = rng.choice(LENGTHS)
    value = request(*CONTEXTS)[6:]
    at = rng.choice([n for n in range(68, len(value) - 4) if value[n + 1] == 0])
    inner = value[: at + 2] + struct.pack(">H", lie & 0xFFFF) + value[at + 4 :]
    return rng.choice((pdu(1, value, lie), pdu(1, inner))), ECHO


def _bad_data(rng: random.Random) -> tuple[bytes, ...]:
    lie = rng.choice(LENGTHS)
    fragment = command(0x30, VERIFICATION, has_data=False)
    odd = rng.choice(
        (
            data(1, 3, fragment, lie),
            data(rng.randrange(256), rng.randrange(256), fragment),
            pdu(4, struct.pack(">IBB", len(fragment) + 2, 1, 3) + fragment, lie),
            pdu(4, b""),
            pdu(4, rng.randbytes(rng.choice((1, 3, 5, 6, 50)))),
            _flipped(rng, ECHO),
            data(1, 1, fragment) * rng.choice((2, 200)),
            data(3, 0, rng.randbytes(3000)) * rng.choice((1, 50)),
            b"".join(data(1, 1, fragment[n : n + 1]) for n in range(len(fragment))),
            ECHO * 40,
        )
    )
    return request(*CONTEXTS), odd, RELEASE


def _bad_command(rng: random.Random) -> tuple[bytes, ...]:
    field = rng.choice(
        (0x01, 0x10, 0x20, 0x21, 0x30, 0x0FFF, 0x0100, 0x0130, 0x8001, 0x8030, 0xFFFF)
    )
    number, uid = rng.choice(((1, VERIFICATION), (3, CTImageStorage.encode())))
    right = command(field, uid, has_data=rng.random() < 0.5, instance=b"1.2.3")
    odd = rng.choice(
        (right, _flipped(rng, right), right[: rng.randrange(len(right))], b"", right * 2)
    )
    return request(*CONTEXTS), data(number, 3, odd) + data(number, 2, rng.randbytes(30)), RELEASE


def _bad_dataset(rng: random.Random) -> tuple[bytes, ...]:
    content = mutated(rng, seeds())
    return request(*CONTEXTS), store(rng, content[rng.choice((0, 132, 350)) :]), ECHO, RELEASE


def _out_of_order(rng: random.Random) -> tuple[bytes, ...]:
    parts = [
        request(*CONTEXTS),
        ECHO,
        RELEASE,
        ABORT,
        pdu(2, bytes(68)),
        pdu(3, bytes(4)),
        pdu(6, bytes(4)),
    ]
    steps = [rng.choice(parts) for _ in range(rng.randint(1, 6))]
    if rng.random() < 0.7:
        steps[0] = parts[0]
    return tuple(steps) if rng.random() < 0.5 else (b"".join(steps),)


# -- the wire --------------------------------------------------------------------

_ANSWERS = {2: "accepted", 3: "rejected", 4: "answered", 6: "released", 7: "aborted"}


def attack(port: int, bad: Session, stay: "list[socket.socket]") -> str:
    """Hold a session with a node.

    Parameters
    ----------
    port : int
        On loopback.
    bad : Session
    stay : list of socket.socket
        Gets the connection of one that stays silent.

    Returns
    -------
    str
        The last that the node said, or that it closed or said nothing.
    """
    heard = "nothing"
    connection = socket.create_connection(("127.0.0.1", port), ANSWER_S)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        for number, step in enumerate(bad.steps, start=1):
            connection.sendall(step)
            if number < len(bad.steps):
                heard = _listen(connection, ANSWER_S) or heard
        if bad.ending is Ending.HALF:
            with suppress(OSError):  # the node may have closed it
                connection.shutdown(socket.SHUT_WR)
            heard = _listen(connection, ANSWER_S) or heard
        elif bad.ending is Ending.STAY:
            stay.append(connection)
            return heard
    except (ConnectionError, TimeoutError):
        heard = "closed" if heard == "nothing" else heard
    with suppress(OSError):
        if bad.ending is Ending.RESET:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()
    return heard


def _listen(connection: socket.socket, timeout_s: float) -> str | None:
    """What comes back: the kind of its first PDU; None for silence."""
    connection.settimeout(timeout_s)
    try:
        answer = connection.recv(65536)
    except TimeoutError:
        return None
    return _ANSWERS.get(answer[0], "something else") if answer else "closed"
