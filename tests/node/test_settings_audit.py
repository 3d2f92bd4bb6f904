"""[audit]: what is taken, and the one line that says what is not."""

from pathlib import Path

import pytest

from node.settings import AuditSettings
from tests.node.configuration import complaint, load


def test_by_default_the_trail_is_a_file_in_home_and_names_patients_by_id(tmp_path: Path) -> None:
    audit = load("", tmp_path).audit
    assert (audit.file, audit.syslog, audit.facility) == ("audit.log", "none", "authpriv")
    assert audit.patient == "id"
    assert audit == AuditSettings()


@pytest.mark.parametrize(
    "syslog",
    [
        "none",
        "unix:/dev/log",
        "udp://10.0.0.5",
        "udp://10.0.0.5:514",
        "udp://[::1]:514",
        "tcp://log.example:601",
        "tls://log.example:6514",
    ],
)
def test_a_syslog_server_is_none_a_socket_or_a_host(tmp_path: Path, syslog: str) -> None:
    assert load(f"[audit]\nsyslog = '{syslog}'", tmp_path).audit.syslog == syslog


@pytest.mark.parametrize(
    "syslog",
    [
        "",
        "/dev/log",
        "unix:dev/log",
        "unix://host/dev/log",
        "udp://",
        "udp://host:many",
        "udp://host:70000",
        "tcp://me@host:514",
        "tls://host:6514/there",
        "http://host",
    ],
)
def test_what_is_no_syslog_server_is_refused(tmp_path: Path, syslog: str) -> None:
    message = complaint(f"[audit]\nsyslog = '{syslog}'", tmp_path)
    assert "audit.syslog" in message
    assert "takes none, unix:/dev/log, or udp, tcp or tls" in message


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("facility = 'loud'", ("audit.facility", "got 'loud'", "authpriv")),
        ("patient = 'name'", ("audit.patient", "got 'name'", "'id' or 'none'")),
        ("rotate_mb = 0", ("audit.rotate_mb", "got 0", "greater than 0")),
        ("rotate_days = -1", ("audit.rotate_days", "got -1", "greater than 0")),
        ("max_waiting = 0", ("audit.max_waiting", "got 0", "greater than or equal to 1")),
        ("file = ''", ("audit.file", "got ''")),
        ("tls_key = 'a'", ("audit", "takes tls_certificate and tls_key together")),
    ],
)
def test_a_bad_key_is_named_with_what_it_takes(
    tmp_path: Path, text: str, parts: tuple[str, ...]
) -> None:
    message = complaint(f"[audit]\n{text}", tmp_path)
    for part in parts:
        assert part in message
