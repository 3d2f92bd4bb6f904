"""What in [[routes]] cannot be stops the start with one line that names the key."""

from pathlib import Path

import pytest

from node.errors import ConfigError
from node.settings import Settings, load_settings

PACS = """
[[destinations]]
name = "pacs"
ae_title = "PACS"
host = "10.0.0.1"
port = 104
"""
CT = """
[[peers]]
name = "ct"
ae_title = "CT"
host = "10.0.0.9"
port = 104
"""
MUTE = """
[[peers]]
name = "mute"
ae_title = "MUTE"
"""


def route(to: str = '["pacs"]', more: str = "", name: str = "one") -> str:
    return f'[[routes]]\nname = "{name}"\nto = {to}\n{more}\n'


def load(text: str, tmp_path: Path) -> Settings:
    file = tmp_path / "ichnode.toml"
    file.write_text(text)
    return load_settings(file)


BACK = route('["sender"]')
WITH_ADDRESS = "takes a sender with an address: [[peers]] with host and port"

BROKEN = [
    (
        "a destination that is not there",
        PACS + route('["pacs", "pacss"]'),
        "routes.0.to: got 'pacss', takes names of [[destinations]]: pacs, sender",
    ),
    ("none at all", PACS + route("[]"), "routes.0.to: got [], should"),
    ("a name twice", PACS + route() + route(), "routes: got"),
    (
        "a destination twice",
        PACS + route('["pacs", "pacs"]'),
        "routes.0.to: got ['pacs', 'pacs'], takes each name once",
    ),
    (
        "no peer has an address",
        PACS.replace('"PACS"', '"X"') and BACK + MUTE,
        f"routes.0.to: got 'sender', {WITH_ADDRESS}",
    ),
    (
        "that peer has none",
        CT + MUTE + route('["sender"]', 'senders = ["CT", "MUTE"]'),
        f"routes.0.senders: got 'MUTE', {WITH_ADDRESS}, where `to` has sender",
    ),
    (
        "a kind that is not made",
        PACS + route(more='kinds = ["sr", "ko"]'),
        "routes.0.kinds: got 'ko', takes kinds that are made: [report] key_objects is false",
    ),
    (
        "notices, of which there are none",
        PACS + route(more='kinds = ["notice"]') + '[report]\nnot_analyzed = "none"\n',
        "routes.0.kinds: got 'notice', takes kinds that are made: [report] not_analyzed is none",
    ),
    (
        "workitems for who takes none",
        PACS + route(more='kinds = ["ups"]'),
        "routes.0.kinds: got 'ups', takes a destination in `to` that has ups = true",
    ),
    (
        "flagged notices",
        PACS + route(more='kinds = ["notice"]\nflagged = "only"'),
        "routes.0.flagged: got 'only', takes other kinds than notice, which is never flagged",
    ),
    (
        "notices with a finding",
        PACS + route(more='kinds = ["notice"]\nfindings = ["any"]'),
        "routes.0.findings: got ['any'], takes other kinds than notice, which is never flagged",
    ),
    (
        "a finding that is none",
        PACS + route(more='findings = ["stroke"]'),
        "routes.0.findings.0: got 'stroke', should be 'epidural'",
    ),
    (
        "a kind that is none",
        PACS + route(more='kinds = ["pdf"]'),
        "routes.0.kinds.0: got 'pdf', should be 'sr'",
    ),
    (
        "a key that is none",
        PACS + route(more="flaged = true"),
        "unknown key routes.0.flaged; did you mean flagged?",
    ),
    (
        "words that are none",
        PACS + route(more='descriptions = ["("]'),
        "routes.0.descriptions.0: got '(', takes a regular expression",
    ),
    (
        "a destination of the name that stands for the sender",
        PACS.replace('"pacs"', '"sender"') + CT + BACK,
        "destinations.0.name: got 'sender', takes another name: in [[routes]] sender is who sent",
    ),
    (
        "two systems of one name",
        PACS + CT.replace('"ct"', '"pacs"') + BACK,
        "peers.0.name: got 'pacs', takes another name than a destination with another address",
    ),
]


@pytest.mark.parametrize(("text", "line"), [b[1:] for b in BROKEN], ids=[b[0] for b in BROKEN])
def test_a_route_that_cannot_be_is_told_in_one_line(tmp_path: Path, text: str, line: str) -> None:
    with pytest.raises(ConfigError) as raised:
        load(text, tmp_path)
    said = str(raised.value)
    assert said.startswith(f"{tmp_path / 'ichnode.toml'}: ")
    assert line in said
    assert "\n" not in said


def test_a_broken_route_from_the_environment_names_the_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ICHNODE_ROUTES", '[{"name": "one", "to": ["nowhere"]}]')
    with pytest.raises(
        ConfigError, match=r"environment ICHNODE_ROUTES: routes.0.to: got 'nowhere'"
    ):
        load(PACS, tmp_path)


def test_one_system_may_be_peer_and_destination_under_one_name(tmp_path: Path) -> None:
    same = CT.replace('"ct"', '"pacs"').replace("10.0.0.9", "10.0.0.1")
    settings = load(PACS + same + BACK, tmp_path)
    assert [recipient.ae_title for recipient in settings.recipients] == ["PACS"]
    assert settings.recipient("CT") == settings.destination("pacs")


def test_names_of_peers_that_nothing_goes_back_to_are_nobodys_business(tmp_path: Path) -> None:
    clash = CT.replace('"ct"', '"pacs"')
    assert load(PACS + clash + route(), tmp_path).recipients[0].ae_title == "PACS"
    assert load(PACS + clash, tmp_path).destination("pacs").host == "10.0.0.1"


def test_a_peer_is_called_as_its_table_says(tmp_path: Path) -> None:
    with_tls = CT + 'tls = true\ntls_ca = "/etc/ichnode/ca.pem"\ntls_check_host = false\n'
    settings = load(with_tls + BACK, tmp_path)
    (recipient,) = settings.recipients
    assert (recipient.name, recipient.ae_title, recipient.host) == ("ct", "CT", "10.0.0.9")
    assert recipient.tls
    assert not recipient.tls_check_host
    assert not recipient.commit
