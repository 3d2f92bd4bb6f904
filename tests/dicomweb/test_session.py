"""The DICOMweb client proves who it is to the server that it means, and believes no server."""

import base64
import logging
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from node.dicomweb import DICOMwebError, Web, session
from node.errors import ConfigError
from node.settings import Destination
from node.tls import client_context
from tests.certificates import Authority
from tests.dicomweb.conftest import at
from tests.dicomweb.servers import Answer, Told, json_answer, nginx_before, told_server
from tests.e2e.peers import Orthanc, running_orthanc

TIMEOUT_S = 5.0

Secret = Callable[..., Path]


def probe(server: Destination, timeout_s: float = TIMEOUT_S) -> None:
    with Web(server, timeout_s) as web:
        web.probe()


def complaint(server: Destination, timeout_s: float = TIMEOUT_S) -> DICOMwebError:
    with pytest.raises(DICOMwebError) as caught:
        probe(server, timeout_s)
    assert "\n" not in str(caught.value)
    return caught.value


# -- who the node is -------------------------------------------------------------


def test_orthanc_is_asked_with_a_password_over_http_on_this_machine(
    tmp_path: Path, secret: Secret
) -> None:
    password = secret("hunter2\n")
    with running_orthanc(
        tmp_path / "orthanc",
        dicomweb=True,
        AuthenticationEnabled=True,
        RegisteredUsers={"ichnode": "hunter2"},
    ) as orthanc:
        server = at(
            f"http://127.0.0.1:{orthanc.http_port}/dicom-web",
            user="ichnode",
            password_file=password,
        )
        probe(server)
        password.write_text("another")

        error = complaint(server)

        assert (error.status, error.cure) == (401, "see user and password_file, or token_file")


@pytest.fixture(scope="module")
def token(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("token") / "token"
    path.touch(0o600)
    path.write_text("a-good-token\n")
    return path


@pytest.fixture(scope="module")
def guarded(
    archive: Orthanc,
    authority: Authority,
    token: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[str]:
    """Orthanc behind nginx, which takes TLS and asks for a token."""
    folder = tmp_path_factory.mktemp("nginx") / "it"
    identity = authority.issue("nginx")
    with nginx_before(archive.http_port, folder, identity, token_file=token) as port:
        yield f"https://127.0.0.1:{port}/dicom-web"


def test_a_token_that_was_renewed_is_taken_from_the_next_request_on(
    guarded: str, authority: Authority, secret: Secret
) -> None:
    file = secret("a-bad-token")
    server = at(guarded, token_file=file, tls_ca=authority.certificate)
    with Web(server, TIMEOUT_S) as web:
        with pytest.raises(DICOMwebError, match="401 Unauthorized: see user and password_file"):
            web.probe()
        file.write_text("a-good-token\n")
        web.probe()


def test_a_certificate_of_ones_own_authority_is_taken_and_no_other(
    guarded: str, authority: Authority, token: Path, tmp_path: Path
) -> None:
    probe(at(guarded, token_file=token, tls_ca=authority.certificate))

    strangers = Authority(tmp_path / "strangers")
    for ca in ({}, {"tls_ca": strangers.certificate}):
        error = complaint(at(guarded, token_file=token, **ca))
        assert "its certificate is not taken" in error.trouble
        assert error.cure == "see tls_ca and tls_check_host"


def test_no_authority_is_trusted_besides_those_that_are_named(
    guarded: str, authority: Authority, token: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = client_context(at(guarded, tls_ca=authority.certificate))
    assert context is not None
    monkeypatch.setattr(session, "client_context", lambda _: context)

    probe(at(guarded, token_file=token, tls_ca=authority.certificate))

    [trusted] = context.get_ca_certs()
    assert trusted["subject"] == ((("commonName", "Test CA"),),)


def test_a_certificate_has_to_name_the_host_unless_it_is_said_not_to(
    archive: Orthanc, authority: Authority, token: Path, tmp_path: Path
) -> None:
    other = authority.issue("other", names="DNS:other.example")
    with nginx_before(archive.http_port, tmp_path / "nginx", other, token_file=token) as port:
        server = {"token_file": token, "tls_ca": authority.certificate}
        url = f"https://127.0.0.1:{port}/dicom-web"
        assert "its certificate is not taken" in str(complaint(at(url, **server)))
        probe(at(url, **server, tls_check_host=False))


def test_a_server_that_asks_for_a_certificate_gets_the_nodes(
    archive: Orthanc, authority: Authority, token: Path, tmp_path: Path
) -> None:
    mine = authority.issue("node")
    more = f"ssl_verify_client on; ssl_client_certificate {authority.certificate};"
    peer = authority.issue("peer")
    with nginx_before(
        archive.http_port, tmp_path / "nginx", peer, token_file=token, more=more
    ) as port:
        server = {"token_file": token, "tls_ca": authority.certificate}
        url = f"https://127.0.0.1:{port}/dicom-web"
        assert complaint(at(url, **server)).status == 400
        probe(at(url, **server, tls_certificate=mine.certificate, tls_key=mine.key))


def test_old_tls_is_not_spoken(authority: Authority) -> None:
    identity = authority.issue("old")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(identity.certificate, identity.key)
    context.set_ciphers("AES256-SHA:@SECLEVEL=0")
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with told_server(context) as told:
        error = complaint(at(told.url, tls_ca=authority.certificate))
    assert "TLS fails" in error.trouble


@pytest.mark.parametrize(
    ("text", "mode", "words"),
    [
        ("good", 0o644, "can be read or changed by others: chmod 600 it"),
        ("", 0o600, "takes one line with the secret"),
        ("two\nlines", 0o600, "takes one line with the secret"),
        ("good bad", 0o600, "takes a token without spaces"),
        ("pässword", 0o600, "takes a token without spaces"),
    ],
)
def test_a_secret_that_cannot_be_used_is_told_of_and_not_told(
    told: Told, secret: Secret, text: str, mode: int, words: str
) -> None:
    path = secret(text)
    path.chmod(mode)

    error = complaint(at(told.url, token_file=path))

    assert words in str(error)
    assert str(path) in str(error)
    assert not text or text not in str(error).replace(str(path), "")
    assert told.got == []


def test_a_secret_that_is_gone_is_told_of(told: Told, tmp_path: Path) -> None:
    error = complaint(at(told.url, token_file=tmp_path / "gone"))
    assert str(error).endswith("gone cannot be read: no such file or directory")


def test_a_password_may_hold_any_letter(told: Told, secret: Secret) -> None:
    told.answer = lambda _: json_answer("[]")
    probe(at(told.url, user="änna", password_file=secret("pä:ss wörd")))
    [request] = told.got
    sent = request.headers["authorization"].removeprefix("Basic ")
    assert base64.b64decode(sent).decode() == "änna:pä:ss wörd"


def test_a_key_that_cannot_be_used_is_a_fault_of_the_configuration(
    authority: Authority, tmp_path: Path
) -> None:
    identity = authority.issue("mine")
    gone = tmp_path / "gone.key"
    server = at("https://pacs", tls_certificate=identity.certificate, tls_key=gone)
    with pytest.raises(ConfigError, match="tls_key"):
        Web(server, TIMEOUT_S)


# -- nobody else -----------------------------------------------------------------


def test_a_redirect_is_not_followed(told: Told, secret: Secret) -> None:
    with told_server() as other:
        told.answer = lambda _: Answer(307, b"x" * 20_000_000, {"Location": other.url})

        error = complaint(at(told.url, token_file=secret("token")))

        assert error.cure == "set url to where it is"
        assert other.got == []


def test_the_environment_names_no_proxy_and_no_password(
    told: Told, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    told.answer = lambda _: json_answer("[]")
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login me password hunter2\n")
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")

    probe(at(told.url))

    [request] = told.got
    assert "authorization" not in request.headers


def test_a_cookie_is_not_kept(told: Told) -> None:
    told.answer = lambda _: Answer(200, b"[]", {"Set-Cookie": "who=you"})
    with Web(at(told.url), TIMEOUT_S) as web:
        web.probe()
        web.probe()
    assert all("cookie" not in request.headers for request in told.got)


def test_the_host_is_named_with_its_port(told: Told) -> None:
    told.answer = lambda _: json_answer("[]")
    probe(at(told.url))
    [request] = told.got
    assert f"http://{request.headers['host']}/dicom-web" == told.url


def test_a_space_in_a_search_is_no_plus(told: Told) -> None:
    told.answer = lambda _: json_answer("[]")
    with Web(at(told.url), TIMEOUT_S) as web:
        list(web.studies({"AccessionNumber": "A 1+2&é"}))
    [request] = told.got
    assert "AccessionNumber=A%201%2B2%26%C3%A9" in request.path


def test_logs_hold_neither_secrets_nor_what_was_searched_for(
    told: Told, secret: Secret, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "node")
    told.answer = lambda _: Answer(500, b"", {"Warning": "299 who: ACC-4711 Doe^John"})
    server = at(told.url, user="me", password_file=secret("hunter2"))
    with Web(server, TIMEOUT_S) as web, pytest.raises(DICOMwebError) as caught:
        list(web.studies({"AccessionNumber": "ACC-4711"}))
    assert "ACC-4711" not in str(caught.value)
    said = [record.getMessage() for record in caplog.records if record.name.startswith("node")]
    assert not any(word in text for text in said for word in ("hunter2", "ACC-4711"))


# -- whatever it answers ---------------------------------------------------------


def endless(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/dicom+json\r\n\r\n[")
    while True:
        connection.sendall(b"{}," * 100_000)


def test_an_answer_without_end_is_left(told: Told) -> None:
    told.answer = lambda _: Answer(raw=endless)
    assert str(complaint(at(told.url))) == "its answer is longer than 8 MB"


def test_an_answer_that_drips_is_left(told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    def drip(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        for _ in range(1000):
            connection.sendall(b" ")
            time.sleep(0.05)

    monkeypatch.setattr(session, "SLOWEST", 1024)
    told.answer = lambda _: Answer(raw=drip)
    began = time.monotonic()
    assert str(complaint(at(told.url), 0.5)) == "its answer is slower than 1 kB a second"
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("drop", [b"H", b"X-Y: z\r\n"])
def test_an_answer_whose_head_drips_is_left(told: Told, drop: bytes) -> None:
    def drip(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n")
        for _ in range(80):
            connection.sendall(drop)
            time.sleep(0.05)

    told.answer = lambda _: Answer(raw=drip)
    began = time.monotonic()
    assert str(complaint(at(told.url), 0.5)) == "no answer within 0.5 s"
    assert time.monotonic() - began < 3


def test_an_answer_that_never_comes_is_not_waited_for(told: Told) -> None:
    told.answer = lambda _: Answer(raw=lambda connection: time.sleep(1))
    assert str(complaint(at(told.url), 0.2)) == "no answer within 0.2 s"


@contextmanager
def reading(pause_s: float) -> Iterator[str]:
    """A server that reads what it is sent 64 kB at a time, with pauses, and answers {}."""

    def serve() -> None:
        with suppress(OSError), server.accept()[0] as connection:
            head, _, body = connection.recv(2**16).partition(b"\r\n\r\n")
            left = int(head.lower().split(b"content-length: ")[1].split()[0]) - len(body)
            while left > 0:
                left -= len(connection.recv(2**16))
                time.sleep(pause_s)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")

    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


SENT = bytes(16 * 1024**2)  # more than sockets hold


def test_a_line_that_is_slow_and_steady_is_fast_enough() -> None:
    with reading(pause_s=0.01) as url, Web(at(url), 1.5) as web:
        began = time.monotonic()
        assert web.store([SENT]).status == 200
        assert time.monotonic() - began > 1.5


def test_a_server_that_hardly_takes_anything_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "SLOWEST", 16 * 1024**2)
    began = time.monotonic()
    with (
        reading(pause_s=0.02) as url,
        Web(at(url), 0.5) as web,
        pytest.raises(DICOMwebError, match="it takes less than 16384 kB a second"),
    ):
        web.store([SENT])
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("compressed", [b"\x1f\x8b\x08", b"[]"])
def test_an_answer_that_is_compressed_is_not_unpacked(told: Told, compressed: bytes) -> None:
    told.answer = lambda _: Answer(200, compressed, {"Content-Encoding": "gzip"})
    assert "compresses" in str(complaint(at(told.url)))
    assert told.got[0].headers["accept-encoding"] == "identity"


@pytest.mark.parametrize(
    "body",
    [
        b"<html>Log in</html>",
        b"\xff\xfe",
        b'"text"',
        b"42",
        b"[" * 100_000,
        b"9" * 10_000,
        b'{"a":',
    ],
)
def test_an_answer_that_is_no_dicom_json_is_told_of(told: Told, body: bytes) -> None:
    told.answer = lambda _: Answer(200, body, {"Content-Type": "text/html"})
    error = complaint(at(told.url))
    assert error.trouble == "its answer is not DICOM JSON"
    assert error.cure == "is the path of url that of DICOMweb?"


@contextmanager
def cut_off(data: bytes) -> Iterator[str]:
    """A server that answers a connection with some bytes, and hangs up."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(data)

        threading.Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "it ends the connection without an answer"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "it ends the connection without an answer"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n[", "it breaks off in the middle"),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n[",
            "it breaks off in the middle",
        ),
    ],
)
def test_a_connection_that_is_cut_is_told_of(data: bytes, words: str) -> None:
    with cut_off(data) as url:
        assert words in str(complaint(at(url)))


@pytest.mark.parametrize(
    ("status", "cure"),
    [
        (401, "see user and password_file, or token_file"),
        (403, "its user, or who the token is for, needs the right"),
        (404, "is the path of url right?"),
        (405, "does it take that there? is the path of url right?"),
        (500, ""),
        (799, ""),
    ],
)
def test_an_answer_of_failure_comes_with_a_cure_where_there_is_one(
    told: Told, status: int, cure: str
) -> None:
    told.answer = lambda _: Answer(status)
    error = complaint(at(told.url))
    assert (error.status, error.cure) == (status, cure)
    assert str(error).startswith(f"it answers {status}")


@pytest.mark.parametrize(
    ("value", "after_s"),
    [("17", 17.0), ("-1", 0.0), ("١", 0.0), ("9" * 400, 0.0), ("Fri, 31 Dec 1999", 0.0)],
)
def test_a_server_that_is_busy_says_for_how_long(told: Told, value: str, after_s: float) -> None:
    told.answer = lambda _: Answer(503, b"", {"Retry-After": value.encode().decode("latin-1")})
    assert complaint(at(told.url)).after_s == after_s


def test_a_server_is_asked_once(told: Told) -> None:
    told.answer = lambda _: Answer(503)
    complaint(at(told.url))
    assert len(told.got) == 1, "dicomweb-client would ask five times"


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://127.0.0.1:9/dicom-web", "no connection: connection refused"),
        ("http://nosuch.invalid/dicom-web", "no connection: "),
    ],
)
def test_a_server_that_is_not_there_is_told_of(url: str, words: str) -> None:
    assert words in str(complaint(at(url)))


def test_tls_on_one_side_alone_is_told_of(archive: Orthanc) -> None:
    error = complaint(at(f"https://127.0.0.1:{archive.http_port}/dicom-web"))
    assert error.trouble == "TLS fails: wrong version number"
