"""Certificates and keys of the configuration: each mistake is one line that names it."""

import shutil
import ssl
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from node.check import Health, check
from node.errors import ConfigError
from node.settings import Destination, Settings, TLSSettings
from node.tls import check_files, client_context, expires, server_context
from tests.certificates import Authority, Identity
from tests.node.configuration import complaint, load

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def node(authority: Authority) -> Identity:
    return authority.issue("node")


def tls(identity: Identity, **more: Any) -> TLSSettings:
    keys = {"certificate": identity.certificate, "key": identity.key, "client_certificates": "none"}
    return TLSSettings(**{**keys, **more})


def what_is_wrong(make: Callable[[], object]) -> str:
    with pytest.raises(ConfigError) as caught:
        make()
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


# -- what is negotiated ------------------------------------------------------------


def test_suites_are_those_with_forward_secrecy_and_authenticated_encryption(
    node: Identity,
) -> None:
    """RFC 9325, 4.2."""
    peer = Destination(name="pacs", ae_title="PACS", host="localhost", port=104, tls=True)
    for context in (server_context(tls(node)), client_context(peer)):
        assert context is not None
        assert context.minimum_version is ssl.TLSVersion.TLSv1_2
        for suite in context.get_ciphers():
            assert suite["aead"]
            assert suite["protocol"] == "TLSv1.3" or suite["name"].startswith("ECDHE-")


def test_without_a_certificate_there_is_no_tls() -> None:
    assert server_context(TLSSettings()) is None
    assert client_context(Destination(name="a", ae_title="A", host="h", port=1)) is None


def test_client_certificates_are_required_unless_it_says_otherwise(
    node: Identity, authority: Authority
) -> None:
    asked = {
        given: server_context(tls(node, ca=authority.certificate, client_certificates=given))
        for given in ("required", "optional", "none")
    }
    by_default = server_context(
        TLSSettings(certificate=node.certificate, key=node.key, ca=authority.certificate)
    )

    assert [context and context.verify_mode for context in (*asked.values(), by_default)] == [
        ssl.CERT_REQUIRED,
        ssl.CERT_OPTIONAL,
        ssl.CERT_NONE,
        ssl.CERT_REQUIRED,
    ]


def test_a_destination_has_to_show_a_certificate_for_its_host() -> None:
    peer = {"name": "pacs", "ae_title": "PACS", "host": "h", "port": 104, "tls": True}
    strict = client_context(Destination(**peer))
    lax = client_context(Destination(**peer, tls_check_host=False))

    assert strict is not None
    assert lax is not None
    assert (strict.check_hostname, lax.check_hostname) == (True, False)
    assert strict.verify_mode is lax.verify_mode is ssl.CERT_REQUIRED


# -- mistakes ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ('certificate = "/c.pem"\n', "takes certificate and key together"),
        ('key = "/c.key"\n', "takes certificate and key together"),
        ('ca = "/ca.pem"\n', "takes certificate and key where there is a ca"),
        ('certificate = "/c.pem"\nkey = "/c.key"\n', "takes ca to check peers by"),
        ('client_certificates = "maybe"\n', "'required', 'optional' or 'none'"),
        ('cert = "/c.pem"\n', "unknown key dicom.tls.cert"),
    ],
)
def test_keys_that_do_not_go_together_are_told(tmp_path: Path, text: str, wrong: str) -> None:
    assert wrong in complaint(f"[dicom.tls]\n{text}", tmp_path)


@pytest.mark.parametrize("key", ['tls_ca = "/ca.pem"', "tls_check_host = false"])
def test_a_destination_that_was_to_have_tls_is_not_called_without(tmp_path: Path, key: str) -> None:
    text = f'[[destinations]]\nname = "a"\nae_title = "A"\nhost = "h"\nport = 104\n{key}\n'

    assert "takes tls = true" in complaint(text, tmp_path)


def test_a_file_that_is_not_there_is_named(node: Identity) -> None:
    missing = Path("/none/node.pem")

    assert "[dicom.tls] certificate /none/node.pem" in what_is_wrong(
        lambda: server_context(tls(node, certificate=missing))
    )
    assert "[dicom.tls] key: /none/node.pem cannot be read" in what_is_wrong(
        lambda: server_context(tls(node, key=missing))
    )
    assert "[dicom.tls] ca: /none/node.pem cannot be read" in what_is_wrong(
        lambda: server_context(tls(node, ca=missing))
    )


def test_a_key_of_another_certificate_is_told(node: Identity, authority: Authority) -> None:
    other = authority.issue("other")

    assert "the key is that of another certificate" in what_is_wrong(
        lambda: server_context(tls(node, key=other.key))
    )


def test_a_file_that_is_no_certificate_is_told(node: Identity, tmp_path: Path) -> None:
    (tmp_path / "no.pem").write_text("hello")

    assert "is it PEM?" in what_is_wrong(
        lambda: server_context(tls(node, certificate=tmp_path / "no.pem"))
    )


def test_a_weak_key_is_told(authority: Authority) -> None:
    """RFC 9325, 4.5: 2048 bits at least."""
    weak = authority.issue("weak", bits=1024)

    assert "too weak" in what_is_wrong(lambda: server_context(tls(weak)))


def test_a_key_with_a_passphrase_asks_nobody_for_it(node: Identity, tmp_path: Path) -> None:
    locked = tmp_path / "locked.key"
    subprocess.run(
        ["openssl", "pkey", "-in", node.key, "-aes256", "-passout", "pass:secret", "-out", locked],
        check=True,
    )
    locked.chmod(0o600)

    assert "has a passphrase" in what_is_wrong(lambda: server_context(tls(node, key=locked)))


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o660, 0o622])
def test_a_key_that_others_can_read_or_change_is_refused(
    node: Identity, tmp_path: Path, mode: int
) -> None:
    key = tmp_path / "node.key"
    shutil.copy(node.key, key)
    key.chmod(mode)

    assert f"{key} can be read or changed by others: chmod 600 it" in what_is_wrong(
        lambda: server_context(tls(node, key=key))
    )


def test_every_destination_and_peer_is_looked_at(node: Identity) -> None:
    ill = {"name": "x", "ae_title": "X", "host": "h", "port": 104, "tls": True, "tls_ca": "/none"}

    assert "destination x: tls_ca: /none" in what_is_wrong(
        lambda: check_files(Settings(destinations=(ill,)))
    )
    assert "peer x: tls_ca: /none" in what_is_wrong(lambda: check_files(Settings(peers=(ill,))))


def test_so_is_whoever_is_told_and_the_doctor_too(
    authority: Authority, node: Identity, tmp_path: Path
) -> None:
    rule = {"name": "team", "to": "mllps://127.0.0.1:1", "tell": "patient"}
    mine = {"certificate": node.certificate, "key": node.key}
    other = authority.issue("other").key
    for wrong, said in (
        ({"ca": "/none"}, "notify team: ca: /none cannot be read"),
        (mine | {"key": other}, "the key is that of another certificate"),
    ):
        told = what_is_wrong(lambda: check_files(Settings(notify=(rule | wrong,))))  # noqa: B023
        assert told.startswith("notify team:")
        assert said in told
    found = check(Settings(home=tmp_path, notify=(rule | mine,)))
    assert next(f for f in found if f.subject == "certificate for team").health is Health.NOTE


# -- secrets in files --------------------------------------------------------------


def test_a_url_with_a_password_comes_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "broker.url"
    file.write_text("redis://:secret@10.0.0.1/0\n")
    file.chmod(0o600)

    settings = load(f'[broker]\nurl_file = "{file}"\n', tmp_path)

    assert settings.broker.url == "redis://:secret@10.0.0.1/0"


@pytest.mark.parametrize(
    ("content", "mode", "more", "wrong"),
    [
        ("redis://:secret@h/0", 0o644, "", "chmod 600"),
        ("redis://:secret@h/0", 0o600, 'url = "redis://h/0"', "url or url_file, not both"),
        ("just-secret", 0o600, "", "takes a file with a URL"),
        (None, 0o600, "", "takes a file that can be read"),
    ],
)
def test_a_file_with_a_url_that_cannot_be_used_is_told_without_what_it_says(
    tmp_path: Path, content: str | None, mode: int, more: str, wrong: str
) -> None:
    file = tmp_path / "broker.url"
    if content is not None:
        file.write_text(content)
        file.chmod(mode)

    line = complaint(f'[broker]\nurl_file = "{file}"\n{more}\n', tmp_path)

    assert wrong in line
    assert "secret" not in line


def test_a_url_in_a_file_can_be_given_by_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "ledger.url"
    file.write_text("postgresql+psycopg://ichnode:secret@db/ichnode")
    file.chmod(0o600)
    monkeypatch.setenv("ICHNODE_LEDGER__URL_FILE", str(file))

    assert load("", tmp_path).ledger_url == "postgresql+psycopg://ichnode:secret@db/ichnode"


# -- the doctor --------------------------------------------------------------------


def test_the_end_of_a_certificate_is_told(node: Identity) -> None:
    left = expires(node.certificate, node.key) - datetime.now(UTC)

    assert timedelta(days=1, hours=23) < left <= timedelta(days=2)


def test_a_certificate_that_has_ended_is_told(authority: Authority) -> None:
    over = authority.issue("over", days=-1)

    assert "certificate has expired" in what_is_wrong(lambda: expires(over.certificate, over.key))


@pytest.mark.parametrize(
    ("days", "health", "text"),
    [
        (400, Health.GOOD, "expires on"),
        (3, Health.NOTE, "in 2 days"),
        (-1, Health.BAD, "certificate has expired"),
    ],
)
def test_the_doctor_tells_of_certificates_before_they_end(
    authority: Authority, tmp_path: Path, days: int, health: Health, text: str
) -> None:
    shown = authority.issue(f"for{days}", days=days)
    settings = Settings(home=tmp_path, dicom={"tls": tls(shown)})

    finding = next(f for f in check(settings) if f.subject == "certificate of the node")

    assert finding.health is health
    assert text in finding.text
