"""Bad store requests: a good one, broken in its head, between its parts or in them, by a seed."""

import random
import socket
import struct
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from tests.fuzz.mutate import mutated
from tests.fuzz.pdus import Ending
from tests.fuzz.seeds import seeds

LISTENING_S = 1.0
"""What is not whole is answered later than that, and not worth the time."""

BOUNDARY = b"b0undary"
TYPES = (
    b'multipart/related; type="application/dicom"; boundary=b0undary',
    b'multipart/related; type="application/dicom"; boundary="b0undary"',
    b"multipart/related; boundary=b0undary",
    b'multipart/related; type="application/dicom+json"; boundary=b0undary',
    b"multipart/related; boundary=" + b"b" * 70,
    b'multipart/related; boundary=""',
    b'multipart/related; boundary*0="b0"; boundary*1="undary"',
    b"multipart/related; boundary*=utf-8''b0undary; boundary=\xff\xfe",
    b'multipart/related; boundary="\\b\\0undary',
    b"application/dicom",
    b"multipart/form-data; boundary=b0undary",
    b"",
    b"/;;=;",
)
HEADERS = (
    b"Content-Type: application/dicom",
    b"content-type:application/dicom; transfer-syntax=1.2.840.10008.1.2.4.50",
    b"Content-Type: application/dicom\r\nContent-Length: 99999999999",
    b"Content-Type: application/dicom+json",
    b"Content-Type: ;;;\r\nContent-Type: application/dicom",
    b"Content-Transfer-Encoding: base64\r\nContent-Type: application/dicom",
    b"X: " + b"y" * 20_000,
    b"X: y\r\n" * 500 + b"Z: z",
    b" folded before anything",
    b"no colon",
    b": no name",
    b"\x00\xff: \x01",
)
DELIMITERS = (
    b"\r\n--b0undary\r\n",
    b"--b0undary",
    b"\r\n--b0undary--",
    b"\r\n",
    b"\r\n\r\n",
    b"--",
)


@dataclass(frozen=True)
class Request:
    """What is sent, in pieces, and how the connection ends."""

    pieces: tuple[bytes, ...]
    ending: Ending


def store_request(rng: random.Random) -> Request:
    """Make one; about one in five is good but for its instances."""
    body = _body(rng)
    content_type = TYPES[0] if rng.random() < 0.75 else rng.choice(TYPES)
    lines = [
        b"POST /dicom-web/studies HTTP/1.1" if rng.random() < 0.9 else rng.choice(_FIRST_LINES),
        b"Host: node",
        b"Content-Type: " + content_type,
    ]
    if rng.random() < 0.1:
        lines.append(rng.choice(_MORE_LINES))
    if rng.random() < 0.3:
        lines.append(b"Transfer-Encoding: chunked")
        body = _chunked(rng, body)
    else:
        lines.append(b"Content-Length: %d" % _length(rng, len(body)))
    whole = b"\r\n".join(lines) + b"\r\n\r\n" + body
    if rng.random() < 0.04:
        whole = whole[: rng.randrange(len(whole))]
    endings = [Ending.HALF] * 20 + [Ending.CLOSE, Ending.RESET, Ending.STAY]
    return Request(_cut(rng, whole), rng.choice(endings))


_FIRST_LINES = (
    b"POST /dicom-web/studies/1.2.3 HTTP/1.1",
    b"POST /dicom-web/studies/%00%ff HTTP/1.1",
    b"POST /dicom-web/studies HTTP/1.0",
    b"POST http://node/dicom-web/studies HTTP/1.1",
    b"OPTIONS * HTTP/1.1",
    b"PUT /dicom-web/studies HTTP/9.9",
    b"\x16\x03\x01\x02\x00\x01",
)
_MORE_LINES = (
    b"Expect: 100-continue",
    b"Content-Encoding: gzip",
    b"Accept: ,;q=;,*/*;q=nan",
    b"Content-Length: 5",
    b"Transfer-Encoding: gzip, chunked",
    b"Authorization: Basic \xff",
    b"X: " + b"y" * 100_000,
    b"Upgrade: websocket\r\nConnection: upgrade",
)


def _body(rng: random.Random) -> bytes:
    parts = []
    for _ in range(rng.choice((0, 1, 1, 2, 3, 20))):
        header = HEADERS[0] if rng.random() < 0.8 else rng.choice(HEADERS)
        parts.append(b"--" + BOUNDARY + b"\r\n" + header + b"\r\n\r\n" + _content(rng))
    body = b"\r\n".join([*parts, b"--" + BOUNDARY + b"--\r\n"])
    changes: Sequence[Callable[[], bytes]] = (
        lambda: body,
        lambda: b"preamble\r\n" + body + b"epilogue",
        lambda: b"x" * 50_000 + body,
        lambda: body.replace(b"\r\n", b"\n"),
        lambda: body.removesuffix(b"--\r\n"),
        lambda: _inserted(rng, body),
        lambda: body.replace(b"--b0undary", b"--b0undary" + b" " * rng.choice((1, 300)), 1),
    )
    return body if rng.random() < 0.5 else rng.choice(changes)()


def _content(rng: random.Random) -> bytes:
    chance = rng.random()
    if chance < 0.2:
        return rng.choice(seeds())
    if chance < 0.3:
        return rng.choice((b"", b"no file", bytes(128) + b"DICM", bytes(rng.randrange(70_000))))
    if chance < 0.4:  # in its file meta information
        content = bytearray(rng.choice(seeds()))
        content[rng.randrange(128, 350)] = rng.randrange(256)
        return bytes(content)
    return mutated(rng, seeds())


def _inserted(rng: random.Random, body: bytes) -> bytes:
    at = rng.randrange(len(body) + 1)
    return body[:at] + rng.choice(DELIMITERS) + body[at:]


def _length(rng: random.Random, length: int) -> int:
    if rng.random() < 0.95:
        return length
    return max(length + rng.choice((-1, 1, -100, 100, 10**12)), 0)


def _chunked(rng: random.Random, body: bytes) -> bytes:
    out, at = [], 0
    while at < len(body):
        piece = body[at : at + rng.choice((1, 100, 5000, 70_000))] if len(out) < 300 else body[at:]
        at += len(piece)
        out.append(b"%x\r\n%s\r\n" % (len(piece), piece))
    if rng.random() < 0.1:
        out.append(rng.choice((b"zz\r\n", b"ffffffffffffffffff\r\n", b"-1\r\n")))
    return b"".join([*out, b"0\r\n\r\n"])


def _cut(rng: random.Random, whole: bytes) -> tuple[bytes, ...]:
    edges = sorted(rng.randrange(len(whole) + 1) for _ in range(rng.choice((0, 0, 1, 5))))
    return tuple(whole[a:b] for a, b in zip([0, *edges], [*edges, len(whole)], strict=True))


def send(port: int, bad: Request, stay: "list[socket.socket]") -> str:
    """Send a request to a node.

    Parameters
    ----------
    port : int
        On loopback.
    bad : Request
    stay : list of socket.socket
        Gets the connection of one that stays silent.

    Returns
    -------
    str
        The status that it was answered with, or that it was not.
    """
    connection = socket.create_connection(("127.0.0.1", port), LISTENING_S)
    heard = b""
    with suppress(OSError):  # the node may have closed it
        for piece in bad.pieces:
            connection.sendall(piece)
        if bad.ending is Ending.STAY:
            stay.append(connection)
            return "nothing, it stays"
        if bad.ending is Ending.HALF:  # it listens, and that is all
            heard = connection.recv(1000)
    with suppress(OSError):
        if bad.ending is Ending.RESET:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()
    version, _, rest = heard.partition(b" ")
    return rest[:3].decode("ascii", "replace") if version.startswith(b"HTTP/") else "nothing"
