"""Notifications to real receivers: an HTTP server, an SMTP server and an HL7 listener."""

import asyncio
import base64
import json
import socket
import socketserver
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import hl7
import hl7.mllp
import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, Envelope
from standardwebhooks import Webhook

from node.broker import free_port
from node.errors import NotificationError
from node.notify import ways
from node.notify.ways import reach, send
from node.settings import NotifyRule, SmtpSettings
from tests.certificates import Authority
from tests.node.test_notify_words import FLAGGED
from tests.receivers import Hook, hook_server

SECRET = "whsec_" + base64.b64encode(b"s" * 24).decode()
NO_MAIL = SmtpSettings()


def rule(to: str, **keys: Any) -> NotifyRule:
    return NotifyRule.model_validate({"name": "team", "to": to, **keys})


def refusal(to: str, smtp: SmtpSettings = NO_MAIL, **keys: Any) -> str:
    """What is said of a receiver that does not take it; never what was to be told."""
    with pytest.raises(NotificationError) as caught:
        send(rule(to, **keys), smtp, FLAGGED)
    message = str(caught.value)
    for word in ("Roe", "ID-55", "1.2.3.4", "0.934"):
        assert word not in message
    assert len(message.splitlines()) == 1
    return message


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


# -- webhooks -----------------------------------------------------------------------


@pytest.fixture
def hook() -> Iterator[Hook]:
    with hook_server() as running:
        yield running


def test_a_webhook_is_posted_and_signed(hook: Hook, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text(SECRET + "\n")
    secret.chmod(0o600)

    send(rule(hook.url, secret_file=secret), NO_MAIL, FLAGGED)

    ((headers, body),) = hook.got
    assert Webhook(SECRET).verify(body, headers)["type"] == "series.flagged"
    assert headers["webhook-id"] == FLAGGED.id
    assert json.loads(body)["data"]["patient"] is None


def test_a_secret_that_others_can_read_stops_it(hook: Hook, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text(SECRET)
    secret.chmod(0o644)

    assert "chmod 600" in refusal(hook.url, secret_file=secret)
    assert hook.got == []


@pytest.mark.parametrize("status", [301, 400, 401, 404, 500, 503])
def test_another_answer_than_success_is_a_failure(hook: Hook, status: int) -> None:
    hook.status = status

    assert f"it answers {status}" in refusal(hook.url)


def test_nobody_is_told_whom_a_receiver_names(hook: Hook) -> None:
    with hook_server() as other:
        hook.status, hook.headers = 307, {"Location": other.url}

        assert "307" in refusal(hook.url)
        assert other.got == []


def test_a_receiver_whose_certificate_is_checked(authority: Authority) -> None:
    identity = authority.issue("hook")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(identity.certificate, identity.key)
    with hook_server(context) as hook:
        send(rule(hook.url, ca=authority.certificate, tell="patient"), NO_MAIL, FLAGGED)
        assert json.loads(hook.got[0][1])["data"]["patient"]["id"] == "ID-55"

        assert "certificate" in refusal(hook.url)


def test_nobody_listens() -> None:
    port = free_port()

    assert refusal(f"http://127.0.0.1:{port}/") == "no connection"
    assert "refused" in refusal(f"mllp://127.0.0.1:{port}", tell="patient")
    assert "refused" in refusal("mailto:a@example", SmtpSettings(port=port))


def test_a_receiver_that_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ways, "TIMEOUT_S", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        began = time.monotonic()

        assert "no answer within" in refusal(f"http://127.0.0.1:{port}/")
        assert "no answer within" in refusal(f"mllp://127.0.0.1:{port}", tell="patient")
        assert "no answer within" in refusal(f"mllps://127.0.0.1:{port}", tell="patient")
        assert "does not answer" in refusal("mailto:a@example", SmtpSettings(port=port))
        assert time.monotonic() - began < 5


# -- mail ---------------------------------------------------------------------------


@dataclass
class Inbox:
    """What a mail server has taken; it refuses the recipients that it is told to."""

    refuses: str = ""
    got: list[Envelope] = field(default_factory=list)

    async def handle_RCPT(self, _s: Any, _x: Any, envelope: Envelope, to: str, _o: Any) -> str:
        if to == self.refuses:
            return "550 5.1.1 nobody of that name: Roe"
        envelope.rcpt_tos.append(to)
        return "250 OK"

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Envelope) -> str:
        self.got.append(envelope)
        return "250 OK"


@contextmanager
def mail_server(**options: Any) -> Iterator[tuple[Inbox, int]]:
    inbox = Inbox()
    controller = Controller(inbox, hostname="127.0.0.1", port=free_port(), **options)
    controller.start()
    try:
        yield inbox, controller.port
    finally:
        controller.stop()


def test_a_mail_reaches_everybody_it_is_for() -> None:
    with mail_server() as (inbox, port):
        send(rule("mailto:a@example,b@example"), SmtpSettings(host="127.0.0.1", port=port), FLAGGED)

        (envelope,) = inbox.got
        assert envelope.rcpt_tos == ["a@example", "b@example"]
        assert envelope.mail_from == "ichnode@localhost"
        assert b"a series is flagged" in envelope.content


def test_a_mail_that_one_of_them_does_not_get_is_a_failure() -> None:
    with mail_server() as (inbox, port):
        inbox.refuses = "b@example"
        said = refusal("mailto:a@example,b@example", SmtpSettings(host="127.0.0.1", port=port))
        assert "refuses 1 of the recipients" in said

        inbox.refuses = "a@example"
        said = refusal("mailto:a@example", SmtpSettings(host="127.0.0.1", port=port))
        assert "refuses the recipients" in said


def test_a_mail_over_tls_with_a_password(authority: Authority, tmp_path: Path) -> None:
    identity = authority.issue("mail")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(identity.certificate, identity.key)
    password = tmp_path / "password"
    password.write_text("open sesame\n")
    password.chmod(0o600)

    def authenticate(_s: Any, _x: Any, _e: Any, _m: Any, given: Any) -> AuthResult:
        is_right = (given.login, given.password) == (b"ichnode", b"open sesame")
        return AuthResult(success=is_right, handled=False)

    options = {
        "tls_context": context,
        "require_starttls": True,
        "auth_required": True,
        "authenticator": authenticate,
    }
    with mail_server(**options) as (inbox, port):
        smtp = SmtpSettings.model_validate(
            {
                "host": "127.0.0.1",
                "port": port,
                "security": "starttls",
                "ca": authority.certificate,
                "user": "ichnode",
                "password_file": password,
            }
        )
        send(rule("mailto:a@example"), smtp, FLAGGED)
        assert len(inbox.got) == 1

        password.write_text("open barley\n")
        assert "answers 535" in refusal("mailto:a@example", smtp)


# -- HL7 ----------------------------------------------------------------------------


@contextmanager
def hl7_listener(answer: Callable[[hl7.Message], str]) -> Iterator[tuple[list[hl7.Message], int]]:
    """An HL7 listener by python-hl7; `answer` gives what it answers."""
    got: list[hl7.Message] = []
    ready = threading.Event()
    port = free_port()
    loop = asyncio.new_event_loop()

    async def talk(reader: Any, writer: Any) -> None:
        try:
            message = await reader.readmessage()
        except asyncio.IncompleteReadError:
            return
        got.append(message)
        writer.writemessage(answer(message))
        await writer.drain()
        writer.close()

    async def serve() -> None:
        await hl7.mllp.start_hl7_server(talk, "127.0.0.1", port, encoding="utf-8")
        ready.set()

    def run() -> None:
        loop.run_until_complete(serve())
        loop.run_forever()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert ready.wait(10)
    try:
        yield got, port
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)


def test_an_oru_is_taken_when_it_is_acknowledged() -> None:
    with hl7_listener(lambda message: str(message.create_ack("AA"))) as (got, port):
        send(rule(f"mllp://127.0.0.1:{port}", tell="patient"), NO_MAIL, FLAGGED)

        (message,) = got
        assert str(message.segment("PID")[3]) == "ID-55"
        assert str(message.segment("MSH")[10]) == FLAGGED.id[:20]


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda message: str(message.create_ack("AE")), "it answers 'AE'"),
        (lambda message: str(message.create_ack("AR")), "it answers 'AR'"),
        (lambda _: "MSH|^~\\&|||||||ACK|1|P|2.5.1\rMSA|AA|another\r", "another message"),
        (lambda _: "no HL7 at all", "no acknowledgment"),
        (lambda _: "MSH|^~\\&|||||||ACK|1|P|2.5.1\r", "another message"),
    ],
)
def test_another_answer_of_an_hl7_listener_is_a_failure(
    answer: Callable[[hl7.Message], str], said: str
) -> None:
    with hl7_listener(answer) as (_, port):
        assert said in refusal(f"mllp://127.0.0.1:{port}", tell="patient")


@contextmanager
def tls_listener(context: ssl.SSLContext) -> Iterator[tuple[list[hl7.Message], int]]:
    """One by TLS, which says why it does not take a certificate."""
    got: list[hl7.Message] = []

    class Conversation(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with suppress(OSError), context.wrap_socket(self.request, server_side=True) as peer:
                content = peer.recv(65536)
                if content:
                    got.append(hl7.parse(content.strip(b"\x0b\x1c\r").decode() + "\r"))
                    peer.sendall(b"\x0b" + str(got[-1].create_ack("AA")).encode() + b"\x1c\r")

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Conversation) as server:
        threading.Thread(target=server.serve_forever, args=(0.1,), daemon=True).start()
        yield got, server.server_address[1]
        server.shutdown()


def test_an_oru_goes_by_tls_to_whom_the_certificate_is_of(
    authority: Authority, tmp_path: Path
) -> None:
    theirs, mine = authority.issue("ris"), authority.issue("ichnode")
    stranger = Authority(tmp_path)
    other = stranger.issue("stranger")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(theirs.certificate, theirs.key)
    context.load_verify_locations(authority.certificate)
    context.verify_mode = ssl.CERT_REQUIRED
    keys: dict[str, Any] = {"tell": "patient", "ca": authority.certificate}
    right = keys | {"certificate": mine.certificate, "key": mine.key}
    with tls_listener(context) as (got, port):
        to = f"mllps://127.0.0.1:{port}"
        for wrong, said in (
            (keys, "certificate required"),
            (keys | {"certificate": other.certificate, "key": other.key}, "unknown ca"),
            (right | {"ca": stranger.certificate}, "its certificate is not taken"),
        ):
            assert said in refusal(to, **wrong)
            with pytest.raises(NotificationError, match=said):
                reach(rule(to, **wrong), NO_MAIL)
        assert got == []

        send(rule(to, **right), NO_MAIL, FLAGGED)
        reach(rule(to, **right), NO_MAIL)

        assert [str(message.segment("PID")[3]) for message in got] == ["ID-55"]
