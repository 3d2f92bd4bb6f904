"""The keys of [dicomweb]: what they take, and that nothing is open by mistake."""

import subprocess
import sys
from pathlib import Path

import pytest

from node.check import Finding, Health
from node.check.parts import check
from node.passwords import hash_password
from node.settings import Settings
from node.stow.door import token_hash
from tests.certificates import Authority
from tests.node.configuration import complaint, load
from tests.stowing import settings_for, taking

HASH = hash_password("correct horse battery")
TOKEN = token_hash("token")


def test_nothing_comes_in_by_stow_unless_a_port_is_set(tmp_path: Path) -> None:
    assert load("", tmp_path).dicomweb.port is None
    assert load("[dicomweb]\nport = 8043", tmp_path).dicomweb.host == "127.0.0.1"


@pytest.mark.parametrize(
    "how",
    [
        f'users = {{ pacs = "{HASH}" }}',
        f'tokens = {{ pacs = "{TOKEN}" }}',
        'networks = ["10.0.0.0/8"]',
        '[dicomweb.tls]\ncertificate = "a"\nkey = "b"\nca = "c"',
    ],
    ids=["users", "tokens", "networks", "certificates"],
)
def test_other_machines_may_send_where_they_are_asked_who_they_are(
    tmp_path: Path, how: str
) -> None:
    assert load(f'[dicomweb]\nhost = "0.0.0.0"\nport = 8043\n{how}', tmp_path)


@pytest.mark.parametrize(
    "how", ["", '[dicomweb.tls]\ncertificate = "a"\nkey = "b"\nclient_certificates = "none"']
)
def test_a_port_that_is_open_to_all_is_refused(tmp_path: Path, how: str) -> None:
    said = complaint(f'[dicomweb]\nhost = "0.0.0.0"\nport = 8043\n{how}', tmp_path)

    assert "takes users, tokens, networks or certificates" in said


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("port = 0", ("dicomweb.port", "got 0")),
        ('users = { pacs = "secret" }', ("dicomweb.users.pacs", "--hash-password")),
        ('tokens = { pacs = "secret" }', ("dicomweb.tokens.pacs", "--new-token")),
        ('networks = ["secret"]', ("dicomweb.networks.0", "takes an address or a network")),
        (f'tokens = {{ name-of-17-letters = "{TOKEN}" }}', ("dicomweb.tokens", "match")),
        (
            f'users = {{ pacs = "{HASH}" }}\ntokens = {{ pacs = "{TOKEN}" }}',
            ("dicomweb", "takes each name once"),
        ),
        ("prot = 5", ("unknown key dicomweb.prot", "did you mean port?")),
    ],
)
def test_a_bad_key_is_answered_with_one_line(
    tmp_path: Path, text: str, words: tuple[str, ...]
) -> None:
    said = complaint(f"[dicomweb]\n{text}", tmp_path)

    for word in words:
        assert word in said
    if "network" not in text:
        assert "secret" not in said
    assert HASH not in said and TOKEN not in said


def test_a_token_is_made_and_its_hash_is_taken(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "node", "dicomweb", "--new-token"],
        capture_output=True,
        text=True,
        check=True,
    )
    token, line = done.stdout.splitlines()
    settings = load(f"[dicomweb.tokens]\n{line.replace('NAME', 'router')}", tmp_path)

    assert settings.dicomweb.tokens == {"router": token_hash(token.removeprefix("token: "))}


def test_the_command_says_what_is_missing(tmp_path: Path) -> None:
    for text, said in [
        ("", "see [dicomweb] port"),
        (
            '[dicomweb]\nport = 1\n[dicomweb.tls]\ncertificate = "/a"\nkey = "/b"\n'
            'client_certificates = "none"',
            "[dicomweb.tls] key: /b cannot be read",
        ),
    ]:
        config = tmp_path / "config.toml"
        config.write_text(f'home = "{tmp_path}"\n{text}')
        done = subprocess.run(
            [sys.executable, "-m", "node", "dicomweb", "--config", str(config)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 2
        assert said in " ".join(done.stderr.split())


def found_by_check(settings: Settings, subject: str) -> Finding:
    return next(finding for finding in check(settings) if finding.subject == subject)


def test_check_looks_at_port_senders_and_certificate(tmp_path: Path) -> None:
    with taking(tmp_path / "home", users={"pacs": HASH}) as service:
        taken = found_by_check(service.settings, "dicomweb")
    assert (taken.health, "is taken by a node; 1 senders" in taken.text) == (Health.GOOD, True)
    free = found_by_check(service.settings, "dicomweb")
    assert (free.health, "is free" in free.text) == (Health.GOOD, True)

    in_clear = settings_for(tmp_path / "home", host="0.0.0.0", tokens={"pacs": TOKEN})
    assert found_by_check(in_clear, "dicomweb").health is Health.NOTE

    identity = Authority(tmp_path / "ca").issue("node", days=5)
    tls = {
        "certificate": identity.certificate,
        "key": identity.key,
        "client_certificates": "none",
    }
    with taking(tmp_path / "home", scheme="https", tls=tls) as service:
        assert found_by_check(service.settings, "dicomweb").health is Health.GOOD
        assert found_by_check(service.settings, "certificate for dicomweb").health is Health.NOTE
    with taking(tmp_path / "home") as service:
        port = service.settings.dicomweb.port
        elsewhere = settings_for(tmp_path / "other", port=port, tls=tls)
        assert found_by_check(elsewhere, "dicomweb").health is Health.BAD
