"""The page and STOW-RS are served alike: nobody who makes no sense stays, or fills the log."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

import pytest
import requests
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from node import serving
from node.settings import Settings
from tests.certificates import Authority
from tests.stowing import DICOM_PARTS, taking
from tests.web.node import running_page

Serve = Callable[[Path], AbstractContextManager[str]]


@contextmanager
def page(home: Path) -> Iterator[str]:
    with running_page(Settings(home=home)) as site:
        yield site.address


@contextmanager
def stow(home: Path) -> Iterator[str]:
    with taking(home) as service:
        yield service.url


both = pytest.mark.parametrize("serve", [page, stow])


def connected(address: str) -> socket.socket:
    host, port = address.partition("://")[2].split(":")
    return socket.create_connection((host, int(port)), timeout=20)


def heard(connection: socket.socket) -> bytes:
    with suppress(ConnectionError):
        return connection.recv(4096)
    return b""


HEAD = (
    f"POST /dicom-web/studies HTTP/1.1\r\nHost: localhost\r\nContent-Type: {DICOM_PARTS}\r\n"
    "Transfer-Encoding: chunked\r\n"
).encode()


@both
@pytest.mark.parametrize(
    ("first", "then"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00", b"\x00"),
        (b"GET / HTTP/9\r\n\r\n", b"zz"),
        (HEAD + b"\r\nzz\r\n", b"\x00zz\r\n\r\n"),
        (HEAD + b"\r\n5\r\n--b0u\r\nzz\r\n", b"zz"),
        (HEAD + b"Connection: close\r\n\r\n7\r\n--b0und\r\n0\r\n\r\nzz", b"zz"),
        (HEAD + b"Origin: x\r\n\r\n", b"zz\r\n"),  # it is answered before its body comes
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n", b"123456789\x00\r\n\r\n"),
        (b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n\x00\r\n\r\n", b"zz"),
    ],
)
def test_what_is_no_http_leaves_no_trace_in_the_log(
    servers: dict[Serve, str],
    serve: Serve,
    first: bytes,
    then: bytes,
    caplog: pytest.LogCaptureFixture,
) -> None:
    for _ in range(3):
        with connected(servers[serve]) as connection:
            connection.sendall(first)
            heard(connection)
            with suppress(OSError):
                connection.sendall(then)
            heard(connection)

    assert requests.get(f"{servers[serve]}/health/live", timeout=20).text == "alive\n"
    assert "Traceback" not in caplog.text
    assert not [record for record in caplog.records if record.exc_info]
    of_uvicorn = [record.msg for record in caplog.records if record.name == "uvicorn.error"]
    assert len(of_uvicorn) == len(set(of_uvicorn)), "each is said once a minute"


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[Serve, str]]:
    with (
        page(tmp_path_factory.mktemp("page")) as of_page,
        stow(tmp_path_factory.mktemp("stow")) as of_stow,
    ):
        yield {page: of_page, stow: of_stow}


def test_who_does_not_ask_does_not_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving.Connection, "longest_s", 0.3)
    head = b"POST /login HTTP/1.1\r\nHost: localhost\r\n"
    with (
        page(tmp_path) as address,
        connected(address) as silent,
        connected(address) as slow,
        connected(address) as half,
    ):
        begun = time.monotonic()
        slow.sendall(head + b"X-")
        half.sendall(
            head + b"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 99\r\n\r\nn"
        )
        assert heard(silent) == heard(half) == b""
        with suppress(OSError):
            while time.monotonic() - begun < 3:
                slow.sendall(b"a")
                time.sleep(0.1)
        assert heard(slow) == b""
        assert time.monotonic() - begun < 2


@contextmanager
def answering(size: int, longest: float) -> Iterator[socket.socket]:
    """A server whose answers have so many bytes, and somebody who has asked it."""

    class Connection(serving.Connection):
        longest_s = longest

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await Response(b"x" * size)(scope, receive, send)

    server = serving.http_server(app, None, 1, Connection)
    with socket.create_server(("127.0.0.1", 0)) as listening, socket.socket() as asking:
        address = listening.getsockname()
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        asking.settimeout(20)
        asking.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**16)
        asking.connect(address)
        asking.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        try:
            yield asking
        finally:
            server.should_exit = True
            thread.join(10)


SIZE = 20 * 1024**2  # more than a socket holds


def read(connection: socket.socket, pause_s: float) -> int:
    size = 0
    while piece := connection.recv(2**20):
        size += len(piece)
        time.sleep(pause_s)
    return size


def test_who_does_not_read_its_answer_does_not_stay() -> None:
    with answering(SIZE, longest=0.2) as deaf:
        time.sleep(1)
        assert read(deaf, 0) < SIZE


def test_who_reads_slowly_gets_all_of_it() -> None:
    with answering(SIZE, longest=0.1) as slow:
        begun = time.monotonic()
        assert read(slow, 0.002) > SIZE
        assert time.monotonic() - begun > 2 * 0.1


def test_a_tls_handshake_has_no_minute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "HANDSHAKE_S", 0.3)
    node = Authority(tmp_path / "ca").issue("node")
    tls = {"certificate": node.certificate, "key": node.key, "client_certificates": "none"}
    with (
        taking(tmp_path / "home", scheme="https", tls=tls) as service,
        connected(service.url) as silent,
    ):
        begun = time.monotonic()
        assert heard(silent) == b""
        assert time.monotonic() - begun < 5
