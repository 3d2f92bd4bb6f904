"""How a notification goes: webhook, SMTP, MLLP."""

import contextlib
import smtplib
import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

import requests
from hl7apy.exceptions import HL7apyException
from hl7apy.parser import parse_message

from ml.errors import first_line
from node.errors import ConfigError, NotificationError
from node.notify.occurrence import Occurrence
from node.notify.words import as_hl7, as_json, as_mail, signature
from node.settings import MLLP, MailSecurity, NotifyRule, SmtpSettings, Way
from node.settings.security import check_private
from node.tls import complaint, receiver_context

TIMEOUT_S = 10.0
"""For each step of a receiver."""

REFUSAL_S = 0.5
"""With TLS 1.3 a listener refuses the node's certificate only after the handshake: to hear why."""

_BEGIN, _END = b"\x0b", b"\x1c\x0d"
"""What an HL7 v2 message stands between on a connection (MLLP)."""

_LONGEST_ANSWER = 64 * 1024


def send(rule: NotifyRule, smtp: SmtpSettings, occurrence: Occurrence) -> None:
    """Tell of an occurrence, as much as the rule allows, and see that it was taken.

    Raises
    ------
    NotificationError
        If it was not; it does not quote what was told.
    """
    told = occurrence.told(rule.tell)
    try:
        if rule.way is Way.MAIL:
            _mail(rule, smtp, told)
        elif rule.way in MLLP:
            _hl7(rule, told)
        else:
            _post(rule, told)
    except NotificationError:
        raise
    except (OSError, ValueError, smtplib.SMTPException, ConfigError) as error:
        raise NotificationError(_complaint(error)) from None


def reach(rule: NotifyRule, smtp: SmtpSettings) -> None:
    """See whether a receiver can be reached, and a secret read; nothing is told.

    Raises
    ------
    NotificationError, OSError, ValueError
        If not.
    """
    if rule.secret_file is not None:
        _secret(rule.secret_file)
    if rule.way is Way.MAIL:
        try:
            with _mail_server(smtp) as server:
                server.noop()
        except smtplib.SMTPException as error:
            raise NotificationError(_complaint(error)) from None
        return
    if rule.way in MLLP:
        try:
            with _listener(rule):
                return
        except ssl.SSLError as error:
            raise NotificationError(complaint(error)) from None
    url = urlsplit(rule.to)
    port = url.port or {Way.HTTP: 80, Way.HTTPS: 443}[rule.way]
    socket.create_connection((url.hostname, port), TIMEOUT_S).close()


def _complaint(error: Exception) -> str:
    """What went wrong, without what the other side or the library quotes of the message."""
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        return "the mail server refuses the recipients"
    if isinstance(error, smtplib.SMTPServerDisconnected):
        return "the mail server does not answer, or ends the connection"
    if isinstance(error, smtplib.SMTPResponseException):
        return f"the mail server answers {error.smtp_code}"
    if isinstance(error, requests.exceptions.SSLError):
        return "its certificate or TLS is not taken"
    if isinstance(error, ssl.SSLError):
        return complaint(error)
    if isinstance(error, requests.Timeout | TimeoutError):
        return f"no answer within {TIMEOUT_S:.0f} s"
    if isinstance(error, requests.ConnectionError):
        return "no connection"
    return first_line(error)


def _secret(path: Path) -> str:
    check_private(path)
    return path.read_text(encoding="utf-8").strip()


def _post(rule: NotifyRule, occurrence: Occurrence) -> None:
    body, now = as_json(occurrence), int(time.time())
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "ichnode",
        "webhook-id": occurrence.id,
        "webhook-timestamp": str(now),
    }
    if rule.secret_file is not None:
        headers["webhook-signature"] = signature(
            _secret(rule.secret_file), occurrence.id, now, body
        )
    answer = requests.post(
        rule.to,
        data=body,
        headers=headers,
        timeout=TIMEOUT_S,
        allow_redirects=False,  # nobody else is to be told
        verify=True if rule.ca is None else str(rule.ca),
        stream=True,  # what it says is of no interest, however long
    )
    answer.close()
    if not 200 <= answer.status_code < 300:
        raise NotificationError(f"it answers {answer.status_code}")


def _mail(rule: NotifyRule, smtp: SmtpSettings, occurrence: Occurrence) -> None:
    people = unquote(urlsplit(rule.to).path)
    message = as_mail(occurrence, smtp.sender, people)
    with _mail_server(smtp) as server:
        refused = server.send_message(message)
    if refused:
        raise NotificationError(f"the mail server refuses {len(refused)} of the recipients")


@contextlib.contextmanager
def _mail_server(smtp: SmtpSettings) -> Iterator[smtplib.SMTP]:
    context = ssl.create_default_context(cafile=None if smtp.ca is None else str(smtp.ca))
    if smtp.security is MailSecurity.TLS:
        server: smtplib.SMTP = smtplib.SMTP_SSL(
            smtp.host, smtp.port, timeout=TIMEOUT_S, context=context
        )
    else:
        server = smtplib.SMTP(smtp.host, smtp.port, timeout=TIMEOUT_S)
    with server:
        if smtp.security is MailSecurity.STARTTLS:
            server.starttls(context=context)
        if smtp.user is not None and smtp.password_file is not None:
            server.login(smtp.user, _secret(smtp.password_file))
        yield server


def _hl7(rule: NotifyRule, occurrence: Occurrence) -> None:
    message = as_hl7(occurrence)
    control_id = message.msh.msh_10.to_er7()
    with _listener(rule) as connection:
        connection.sendall(_BEGIN + message.to_er7().encode() + _END)
        answer = _answer(connection)
    try:
        acknowledgment = parse_message(answer, validation_level=None).msa
        code, of = acknowledgment.msa_1.to_er7(), acknowledgment.msa_2.to_er7()
    except (HL7apyException, AttributeError, IndexError) as error:
        raise NotificationError("its answer is no acknowledgment") from error
    if of != control_id:
        raise NotificationError("it acknowledges another message")
    if code not in ("AA", "CA"):
        raise NotificationError(f"it answers {code[:2]!r}")


@contextlib.contextmanager
def _listener(rule: NotifyRule) -> Iterator[socket.socket]:
    """A connection with an HL7 listener, by TLS where its address says so."""
    url = urlsplit(rule.to)
    context = receiver_context(rule) if rule.way is Way.HL7_TLS else None
    with socket.create_connection((url.hostname, url.port), TIMEOUT_S) as plain:
        if context is None:
            yield plain
            return
        with context.wrap_socket(plain, server_hostname=url.hostname) as connection:
            connection.settimeout(REFUSAL_S)
            with contextlib.suppress(TimeoutError):
                connection.recv(1)
                raise NotificationError("it ends the connection, or speaks first")
            connection.settimeout(TIMEOUT_S)
            yield connection


def _answer(connection: socket.socket) -> str:
    """Read an HL7 message up to its end."""
    deadline = time.monotonic() + TIMEOUT_S
    answer = b""
    while _END not in answer:
        if time.monotonic() > deadline:
            raise TimeoutError
        piece = connection.recv(4096)
        if not piece or len(answer) > _LONGEST_ANSWER:
            raise NotificationError("it does not acknowledge")
        answer += piece
    return answer.partition(_END)[0].lstrip(_BEGIN).decode(errors="replace")
