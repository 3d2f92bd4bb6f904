"""`ichnode init`: from a few answers to a file that the node starts with."""

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from node.settings import load_settings

INIT = [sys.executable, "-m", "node", "init"]


def init(
    *arguments: str | Path, folder: Path, **environment: str
) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*INIT, *map(str, arguments)],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, **environment},
    )


def answering(*answers: str, folder: Path) -> str:
    """Type answers to the questions, as at a terminal; gives what was on the screen."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(INIT, cwd=folder, stdin=theirs, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        os.write(ours, "".join(f"{answer}\n" for answer in answers).encode())
        screen = b""
        try:
            while chunk := os.read(ours, 4096):
                screen += chunk
        except OSError:  # the other side has closed
            pass
        assert process.wait(60) == 0, screen.decode()
    os.close(ours)
    return screen.decode()


def test_what_is_asked_becomes_the_configuration(tmp_path: Path) -> None:
    screen = answering(
        str(tmp_path / "home"),
        "ICH 1",
        "y",
        "104",
        "PACS@pacs.example:104",
        "spare=PACS2@[fe80::2]:11112",
        "",
        "CT1@10.0.1.0/24",
        "CT2",
        "",
        folder=tmp_path,
    )

    settings = load_settings(tmp_path / "ichnode.toml")
    assert settings.home == tmp_path / "home"
    assert (settings.dicom.ae_title, settings.dicom.host) == ("ICH 1", "0.0.0.0")
    assert settings.dicom.port == 104
    assert [(d.name, d.ae_title, d.host, d.port) for d in settings.destinations] == [
        ("pacs", "PACS", "pacs.example", 104),
        ("spare", "PACS2", "fe80::2", 11112),
    ]
    assert [(p.name, [str(n) for n in p.networks]) for p in settings.peers] == [
        ("ct1", ["10.0.1.0/24"]),
        ("ct2", []),
    ]
    assert "ichnode check --config ichnode.toml" in screen


def test_an_answer_that_cannot_be_used_is_asked_for_again(tmp_path: Path) -> None:
    screen = answering(
        str(tmp_path / "home"), "A" * 17, "OURS", "n", "0", "port", "11113", "PACS", "", "@x", "",
        folder=tmp_path,
    )  # fmt: skip

    settings = load_settings(tmp_path / "ichnode.toml")
    assert (settings.dicom.ae_title, settings.dicom.port) == ("OURS", 11113)
    assert settings.destinations == settings.peers == ()
    assert "takes 1 to 16 printable ASCII characters" in screen
    assert "write AE_TITLE@HOST:PORT" in screen


def test_flags_answer_without_questions(tmp_path: Path) -> None:
    done = init(
        "etc/node.toml", "--yes", "--home", tmp_path, "--ae-title", "OURS", "--host", "0.0.0.0",
        "--port", "4242", "--destination", "PACS@10.0.0.5:104", "--peer", "CT1",
        "--ledger", "postgresql+psycopg://ichnode@db/ichnode", "--broker", "redis://redis/0",
        folder=tmp_path,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    settings = load_settings(tmp_path / "etc" / "node.toml")
    assert settings.broker.url == "redis://redis/0"
    assert settings.ledger_url == "postgresql+psycopg://ichnode@db/ichnode"
    assert settings.destination("pacs") is not None
    assert settings.peer("CT1") is not None
    assert (tmp_path / "etc" / "node.toml").stat().st_mode & 0o777 == 0o644
    assert "known to PACS" in done.stdout


def test_a_destination_with_a_url_needs_no_title(tmp_path: Path) -> None:
    done = init(
        "--yes", "--destination", "https://pacs.example/dicom-web", "--destination",
        "vna=http://10.0.0.5:8042/dicom-web", folder=tmp_path,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    assert "known to" not in done.stdout
    first, second = load_settings(tmp_path / "ichnode.toml").destinations
    assert (first.name, first.url) == ("pacs.example", "https://pacs.example/dicom-web")
    assert (first.tls, first.address) == (True, ("pacs.example", 443))
    assert (second.name, second.address, second.tls) == ("vna", ("10.0.0.5", 8042), False)


def test_a_file_with_a_password_is_for_its_owner_alone(tmp_path: Path) -> None:
    done = init("--yes", "--broker", "redis://:secret@redis/0", folder=tmp_path)

    assert (tmp_path / "ichnode.toml").stat().st_mode & 0o777 == 0o600
    assert "secret" not in done.stdout + done.stderr


def test_variables_of_who_writes_it_are_not_written(tmp_path: Path) -> None:
    init("--yes", folder=tmp_path, ICHNODE_DICOM__PORT="4242")

    assert load_settings(tmp_path / "ichnode.toml").dicom.port == 11112


def test_a_file_that_is_there_is_kept_unless_told_otherwise(tmp_path: Path) -> None:
    file = tmp_path / "ichnode.toml"
    file.write_text("[dicom]\nport = 4242\n")

    refused = init("--yes", folder=tmp_path)

    assert refused.returncode == 2
    assert "--force" in refused.stderr
    assert load_settings(file).dicom.port == 4242
    assert init("--yes", "--force", folder=tmp_path).returncode == 0
    assert load_settings(file).dicom.port == 11112


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--destination", "PACS"], "'PACS' is no destination: write AE_TITLE@HOST:PORT, or https"),
        (["--destination", "https://host/a?b"], "url: got 'https://host/a?b', takes https://"),
        (["--destination", "PACS@host:0"], "port: got '0', should be greater"),
        (["--destination", "PACS@host:99999"], "port: got '99999', should be less"),
        (["--destination", 'a b"]\n=X@host:1'], "name: got"),
        (["--destination", f"{'P' * 17}@host:104"], "takes 1 to 16 printable ASCII characters"),
        (["--destination", "A@h:1", "--destination", "A@i:1"], "takes each name once"),
        (["--peer", "CT1@nowhere"], "takes an address or a network"),
        (["--peer", ""], "'' is no peer"),
        (["--port", "70000"], "dicom.port: got 70000"),
        (["--ae-title", "Ü"], "takes 1 to 16 printable ASCII characters"),
        (["--broker", "amqp://x"], "broker.url: got 'amqp://x'"),
        (["/dev/null/x.toml"], "/dev/null/x.toml cannot be written"),
        ([], "there is nobody to ask: give --yes"),
    ],
)
def test_what_cannot_be_used_is_told_in_one_line(
    tmp_path: Path, arguments: list[str], complaint: str
) -> None:
    done = init(*arguments, *(["--yes"] if arguments else []), folder=tmp_path)

    assert done.returncode == 2
    assert complaint in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "ichnode.toml").exists()
