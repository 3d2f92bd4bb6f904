"""The configuration: what is taken, from where, and the one line that says what is not."""

from pathlib import Path

import pytest

from node.errors import ConfigError
from node.settings import AssembleSettings, Destination, Retrieve, load_settings
from tests.node.configuration import complaint, load

SAMPLE = """
home = "/var/lib/ichnode"

[dicom]
ae_title = "ICHNODE"
host = "127.0.0.1"        # bind address
port = 11112

[[destinations]]
name = "pacs"
ae_title = "PACS"
host = "10.0.0.5"
port = 104

[assemble]
grace_s = 2               # evidence says the series is whole
quiet_s = 30              # no evidence: wait this long for more

[broker]
url = "redis://10.0.0.6/0"

[ledger]
url = "postgresql+psycopg://ichnode@10.0.0.7/ichnode"

[model]
bundle = "phantom"

[web]
host = "127.0.0.1"
port = 8042
"""

PRIORITY = '[[priorities]]\nname = "ed"\nhead_start_min = 60\n'
WEB = '[[destinations]]\nname = "a"\nurl = "{}"\n'
USER = 'user = "{}"\npassword_file = "p"\n'
DESTINATION = '[[destinations]]\nname = "a"\nae_title = "A"\nhost = "h"\nport = 104\n'


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No ichnode.toml lies in the current folder."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


# -- what is taken ---------------------------------------------------------------


def test_without_any_configuration_it_runs_on_this_machine_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    settings = load_settings()
    assert settings.home == tmp_path / "ichnode"
    assert (settings.dicom.ae_title, settings.dicom.host) == ("ICHNODE", "127.0.0.1")
    assert settings.dicom.port == 11112
    assert settings.destinations == ()
    assert settings.assemble == AssembleSettings(grace_s=2, quiet_s=30)
    assert settings.broker.url is None
    assert settings.ledger_url == f"sqlite:///{tmp_path}/ichnode/ledger.sqlite"
    assert settings.model.bundle == "phantom"
    assert (settings.web.host, settings.web.port) == ("127.0.0.1", 8042)
    assert settings.analyze.device == "auto"


def test_the_sample_of_the_manual_is_taken(tmp_path: Path) -> None:
    settings = load(SAMPLE, tmp_path)
    assert settings.home == Path("/var/lib/ichnode")
    pacs = Destination(name="pacs", ae_title="PACS", host="10.0.0.5", port=104)
    assert settings.destinations == (pacs,)
    assert settings.destination("pacs") == pacs
    assert settings.destination("other") is None
    assert settings.broker.url == "redis://10.0.0.6/0"
    assert settings.ledger_url == "postgresql+psycopg://ichnode@10.0.0.7/ichnode"


def test_a_file_in_the_current_folder_is_read_without_being_named() -> None:
    Path("ichnode.toml").write_text("[dicom]\nport = 4242\n")
    assert load_settings().dicom.port == 4242


def test_the_home_may_begin_with_a_tilde_or_be_relative(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert load('home = "~/node"', tmp_path).home == tmp_path / "node"
    assert load('home = "node"', tmp_path).home == Path.cwd() / "node"


def test_what_was_read_cannot_be_changed(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="frozen"):
        load("", tmp_path).dicom.port = 1


# -- the environment -------------------------------------------------------------


def test_the_environment_goes_before_the_file_and_leaves_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ICHNODE_DICOM__PORT", "104")
    monkeypatch.setenv("ICHNODE_HOME", str(tmp_path / "there"))
    settings = load(SAMPLE.replace('"ICHNODE"', '"MINE"'), tmp_path)
    assert settings.home == tmp_path / "there"
    assert (settings.dicom.port, settings.dicom.ae_title) == (104, "MINE")


def test_a_destination_may_be_a_web_server(tmp_path: Path) -> None:
    text = WEB.format("https://pacs.example:8443/dicom-web/") + 'tls_ca = "/etc/ca.pem"'
    [pacs] = load(text, tmp_path).destinations
    assert (pacs.url, pacs.tls) == ("https://pacs.example:8443/dicom-web", True)
    assert (pacs.where, pacs.address) == (pacs.url, ("pacs.example", 8443))
    [near] = load(WEB.format("http://localhost") + USER.format("a"), tmp_path).destinations
    assert (near.tls, near.address) == (False, ("localhost", 80))


def test_destinations_come_as_json_in_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    value = '[{"name": "b", "ae_title": "B", "host": "h", "port": 105}]'
    monkeypatch.setenv("ICHNODE_DESTINATIONS", value)
    assert [d.name for d in load(DESTINATION, tmp_path).destinations] == ["b"]


def test_an_empty_variable_is_as_good_as_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ICHNODE_LEDGER__URL", "")
    monkeypatch.setenv("ICHNODE_HOME", "")
    assert load('home = "/var/lib/x"', tmp_path).ledger_url == "sqlite:////var/lib/x/ledger.sqlite"


@pytest.mark.parametrize(
    ("name", "value", "parts"),
    [
        ("ICHNODE_DICOM__PORT", "many", ("dicom.port", "'many'", "integer")),
        ("ichnode_dicom__port", "0", ("dicom.port", "'0'", "greater than or equal to 1")),
        ("ICHNODE_DICOM__PRT", "104", ("unknown key dicom.prt", "did you mean port?")),
        ("ICHNODE_DICOM", '{"port": 0}', ("dicom.port", "0", "greater than")),
        ("ICHNODE_DICOM", "port=3", ("'port=3'", "JSON")),
        ("ICHNODE_DESTINATIONS", "pacs", ("'pacs'", "JSON")),
        ("ICHNODE_DESTINATIONS", '[{"ae_title": "A"}]', ("destinations.0.name is missing",)),
        ("ICHNODE_DESTINATIONS", '[{"name": "../a"}]', ("destinations.0.name", "'../a'")),
        ("ICHNODE_DESTINATIONS__0__PORT", "104", ("unknown variable",)),
        ("ICHNODE_DICM__PORT", "104", ("unknown variable", "did you mean ICHNODE_DICOM?")),
        ("ICHNODE_PORT", "104", ("unknown variable",)),
        ("ICHNODE_ELIGIBILITY__BONE_WORDS", "bone", ("'bone'", "JSON")),
    ],
)
def test_a_bad_variable_is_named_with_what_it_got_and_what_it_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str, parts: tuple[str, ...]
) -> None:
    monkeypatch.setenv("ICHNODE_DICOM__AE_TITLE", "GOOD")
    monkeypatch.setenv("ICHNODE_DICOM__HOST", "not-json")
    monkeypatch.setenv(name, value)
    message = complaint("", tmp_path)
    assert name in message
    for part in parts:
        assert part in message


def test_a_bad_key_of_the_file_is_not_blamed_on_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ICHNODE_DICOM", '{"ae_title": "X"}')
    message = complaint("[dicom]\nport = 0\n", tmp_path)
    assert message.startswith(f"{tmp_path}/my.toml: dicom.port: got 0")


def test_variables_of_others_are_none_of_its_business(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DICOM__PORT", "nonsense")
    monkeypatch.setenv("ICHNODE_CONFIG", "/etc/ichnode.toml")
    assert load("", tmp_path).dicom.port == 11112


# -- what is not taken -----------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("colour = 1", ("unknown key colour", "known: home, dicom")),
        ("hom = '/x'", ("unknown key hom", "did you mean home?")),
        ("[dicom]\nprt = 104", ("unknown key dicom.prt", "did you mean port?")),
        ("[dicm]\nport = 104", ("unknown key dicm", "did you mean dicom?")),
        ("[dicom]\nport = 0", ("dicom.port", "got 0", "greater than or equal to 1")),
        ("[dicom]\nport = 65536", ("dicom.port", "got 65536", "65535")),
        ("[dicom]\nport = 'a'", ("dicom.port", "got 'a'", "integer")),
        ("dicom = 5", ("dicom", "got 5")),
        ("[assemble]\ngrace_s = -1", ("assemble.grace_s", "got -1", "greater than or equal to 0")),
        ("[assemble]\ngrace_s = nan", ("assemble.grace_s", "got nan", "finite")),
        ("[assemble]\nquiet_s = 'soon'", ("assemble.quiet_s", "got 'soon'", "number")),
        ("[analyze]\ndevice = 'gpu'", ("analyze.device", "got 'gpu'", "auto|cpu|cuda")),
        ("[analyze]\nbatch_size = 0", ("analyze.batch_size", "got 0")),
        ("[analyze]\nruntime = 'onnx'", ("analyze.runtime", "got 'onnx'", "openvino")),
        ("[analyze]\nthreads = -1", ("analyze.threads", "got -1")),
        ("[deliver]\ntimeout_s = 0", ("deliver.timeout_s", "got 0", "greater than 0")),
        ("[broker]\nurl = 'amqp://x'", ("broker.url", "got 'amqp://x'", "redis")),
        ("[ledger]\nurl = 'mysql://x'", ("ledger.url", "got 'mysql://x'", "sqlite|postgresql")),
        (
            "[eligibility]\nbone_words = ['(']",
            ("eligibility.bone_words.0", "got '('", "takes a regular"),
        ),
        ("[eligibility]\nbone_words = 'bone'", ("eligibility.bone_words", "got 'bone'")),
        ("[web]\nhost = 5", ("web.host", "got 5", "string")),
        (DESTINATION.replace("port", "prt"), ("destinations.0",)),
        (DESTINATION.replace("port = 104", ""), ("destinations.0: ", "takes port as well")),
        (DESTINATION.replace('name = "a"', ""), ("destinations.0.name is missing",)),
        (DESTINATION.replace('"h"', '""'), ("destinations.0.host", "got ''")),
        (DESTINATION.replace('name = "a"', 'name = "../a"'), ("destinations.0.name", "'../a'")),
        (DESTINATION * 2, ("destinations", "takes each name once")),
        (PRIORITY * 2, ("priorities", "takes each name once")),
        (PRIORITY.replace("ed", "routine"), ("priorities.0.name", "'routine'", "another word")),
        (PRIORITY.replace("60", "'soon'"), ("priorities.0.head_start_min", "got 'soon'")),
        (PRIORITY.replace("60", "nan"), ("priorities.0.head_start_min", "got nan")),
        (PRIORITY.replace("60", "1e9"), ("priorities.0.head_start_min", "525600")),
        (PRIORITY + "places = ['(']", ("priorities.0.places.0", "takes a regular")),
        (DESTINATION + 'url = "https://h"', ("takes ae_title, host and port, or url, not both",)),
        ('[[destinations]]\nname = "a"', ("takes ae_title, host and port, or url",)),
        (WEB.format("ftp://h"), ("destinations.0.url", "got 'ftp://h'", "takes https://host/path")),
        (WEB.format("https://h:x"), ("destinations.0.url", "takes https://host/path")),
        (WEB.format("https:///p"), ("destinations.0.url", "takes https://host/path")),
        (WEB.format("https://h/p?q=1"), ("destinations.0.url", "and no more")),
        (WEB.format("https://h/a b"), ("destinations.0.url", "takes https://host/path")),
        (WEB.format("https://me:hunter2@h"), ("got 'https://me:***@h'", "user and password_file")),
        (WEB.format("https://h") + 'user = "a"', ("takes user and password_file together",)),
        (WEB.format("https://h") + USER.format("a:b"), ("destinations.0.user", "a colon")),
        (
            WEB.format("https://h") + USER.format("a") + 'token_file = "t"',
            ("takes user and password_file, or token_file, not both",),
        ),
        (WEB.format("http://h") + 'token_file = "t"', ("takes https:// in url where there is",)),
        (DESTINATION + 'token_file = "t"', ("takes url where there is a password or a token",)),
        (WEB.format("http://h") + "tls = true", ("takes https:// in url with tls = true",)),
        (WEB.format("https://h") + "tls = false", ("takes https:// in url with tls = true",)),
        (
            WEB.format("https://h").replace("destinations", "sources") + 'retrieve = "get"',
            ("sources.0", "takes ae_title, host and port where there is retrieve"),
        ),
        (WEB.format("https://h") + "commit = true", ("DICOMweb has no such service",)),
    ],
)
def test_a_bad_key_is_named_with_what_it_got_and_what_it_takes(
    tmp_path: Path, text: str, parts: tuple[str, ...]
) -> None:
    message = complaint(text, tmp_path)
    assert message.startswith(f"{tmp_path}/my.toml: ")
    for part in parts:
        assert part in message


@pytest.mark.parametrize(
    "text", ["[dicom", "port = ", "a = 1\na = 2", "[dicom]\nport = 1\n[dicom]\nhost = 'x'"]
)
def test_what_is_not_toml_is_named_with_the_place(tmp_path: Path, text: str) -> None:
    message = complaint(text, tmp_path)
    assert "my.toml is not TOML" in message
    assert message.endswith(")"), "the parser says where"


def test_a_file_of_bytes_that_are_no_text_is_not_toml(tmp_path: Path) -> None:
    (tmp_path / "my.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="is not TOML"):
        load_settings(tmp_path / "my.toml")


def test_a_file_that_is_missing_or_a_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"gone\.toml cannot be read: No such file"):
        load_settings(tmp_path / "gone.toml")
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        load_settings(tmp_path)


def test_a_password_in_a_url_that_is_not_taken_is_not_printed(tmp_path: Path) -> None:
    message = complaint("[ledger]\nurl = 'postgresql://me:hunter2@h/db'", tmp_path)
    assert "hunter2" not in message
    assert "postgresql://me:***@h/db" in message


# -- AE titles -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("title", "taken"), [("A", "A"), ("X" * 16, "X" * 16), ("  MY AE ", "MY AE")]
)
def test_an_ae_title_has_1_to_16_characters_and_its_outer_spaces_do_not_count(
    tmp_path: Path, title: str, taken: str
) -> None:
    assert load(f"[dicom]\nae_title = '{title}'", tmp_path).dicom.ae_title == taken


@pytest.mark.parametrize("title", ["", "   ", "X" * 17, "ÄRZTE", "A\\\\B", "A\\tB", "A\\nB"])
def test_what_is_no_ae_title_is_refused(tmp_path: Path, title: str) -> None:
    assert "dicom.ae_title" in complaint(f'[dicom]\nae_title = "{title}"', tmp_path)


@pytest.mark.parametrize("name", ["auto", "torch", "openvino"])
def test_what_runs_stage_1_is_taken_by_name(name: str, tmp_path: Path) -> None:
    path = tmp_path / "ichnode.toml"
    path.write_text(f"[analyze]\nruntime = '{name}'\nthreads = 2\n")
    settings = load_settings(path)
    assert (settings.analyze.runtime, settings.analyze.threads) == (name, 2)


ADDRESS = 'name = "pacs"\nae_title = "PACS"\nhost = "10.0.0.5"\nport = 104\n'


def test_a_source_has_an_address_and_a_name_of_its_own(tmp_path: Path) -> None:
    (source,) = load(f"[[sources]]\n{ADDRESS}", tmp_path).sources
    assert (source.retrieve, source.poll_s) == (Retrieve.MOVE, 0)
    assert "sources.0" in complaint('[[sources]]\nname = "pacs"\nhost = "h"\n', tmp_path)
    assert "takes ae_title, host and port" in complaint('[[sources]]\nname = "pacs"\n', tmp_path)
    twice = complaint(f"[[sources]]\n{ADDRESS}[[sources]]\n{ADDRESS}", tmp_path)
    assert "takes each name once" in twice


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ('retrieve = "push"', "sources.0.retrieve: got 'push'"),
        ("poll_s = -1", "sources.0.poll_s: got -1"),
        ('descriptions = ["("]', "takes a regular expression"),
        ("min_images = 9\nmax_images = 8", "min_images that is not above max_images"),
        ("polls = 1", "unknown key sources.0.polls"),
        ('tls_ca = "/x"', "takes tls = true"),
    ],
)
def test_a_bad_key_of_a_source_is_named(tmp_path: Path, key: str, said: str) -> None:
    assert said in complaint(f"[[sources]]\n{ADDRESS}{key}\n", tmp_path)
