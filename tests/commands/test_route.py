"""`ichnode route`: by the worked examples of its page, of series that came, and as JSON."""

import json
import re
import shlex
from collections.abc import Callable
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner, Result

from node.cli import app
from node.facts import SeriesFacts
from node.ledger import Instance, open_ledger
from node.routing import decide
from node.settings import Flagged, Kind, Route, Settings, load_settings
from node.show.routes import routing
from tests.reporting import report

PAGE = Path("docs/routing.md")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.M | re.S)


def examples() -> list[tuple[str, str, str]]:
    """Rules, command and what it prints, of each worked example."""
    (_, systems), *rest = BLOCKS
    found, rules = [], ""
    for language, text in rest:
        if language == "toml":
            rules = text
            continue
        for command, printed in re.findall(r"^\$ (.+)\n((?:[^$].*\n)+)", text, re.M):
            found.append((systems + rules, command, printed))
    return found


@pytest.fixture
def ichnode(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Run a command with a configuration, in a terminal of 80 columns."""
    monkeypatch.setenv("COLUMNS", "80")

    def run(rules: str, *arguments: str) -> Result:
        config = tmp_path / "ichnode.toml"
        config.write_text(f'home = "{tmp_path}"\n{rules}')
        return CliRunner().invoke(app, [*arguments, "--config", str(config)])

    return run


def lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.splitlines()]


@pytest.mark.parametrize(("rules", "command", "printed"), examples())
def test_a_worked_example_of_the_page_is_what_the_command_says(
    ichnode: Callable[..., Result], rules: str, command: str, printed: str
) -> None:
    name, *arguments = shlex.split(command)
    assert name == "ichnode"
    done = ichnode(rules, *arguments)
    assert done.exit_code == 0, done.output
    assert lines(done.stdout) == lines(printed)


def test_the_page_has_examples_and_every_key_and_kind_of_a_route() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert len(examples()) >= 6
    for key in set(Route.model_fields) - {"name"}:
        assert f"| `{key}" in text, key
    for kind in Kind:
        assert f"| `{kind}` |" in text, kind
    assert Flagged.ONLY in text


FLAGGED_ONLY = """
[[destinations]]
name = "pacs"
ae_title = "PACS"
host = "10.0.0.5"
port = 104
[[routes]]
name = "alarm"
to = ["pacs"]
flagged = "only"
senders = ["CT*"]
"""


def test_a_series_that_came_is_told_by_its_uid(
    ichnode: Callable[..., Result], tmp_path: Path
) -> None:
    ledger = open_ledger(f"sqlite:///{tmp_path}/ledger.sqlite")
    image = Instance("1.2", "1.2.3", "1.2.3.1", "1.2.840.1", "d" * 64, Path("1.dcm"), "CT1")
    ledger.store(image, 30)
    ledger.close()
    done = ichnode(FLAGGED_ONLY, "route", "1.2.3")
    assert "Series 1.2.3, revision 1, receiving, not judged" in done.stdout
    assert "alarm  no    flagged: nothing is" in done.stdout
    assert ichnode(FLAGGED_ONLY, "route", "1.2.4").exit_code == 1


DESTINATIONS = """
[[destinations]]
name = "web"
url = "https://pacs.example/dicom-web"
transfer_syntax = "jpeg-ls"
[[destinations]]
name = "list"
ae_title = "LIST"
host = "10.0.0.7"
port = 104
ups = true
[[destinations]]
name = "ward"
ae_title = "WARD"
host = "10.0.0.8"
port = 104
structured_report = "enhanced"
transfer_syntax = "implicit"
[[routes]]
name = "all"
to = ["web"]
[[routes]]
name = "reports"
to = ["ward"]
kinds = ["sr"]
[[routes]]
name = "look"
to = ["list"]
kinds = ["ups"]
"""


def test_each_that_gets_something_is_told_with_where_it_is_and_in_which_form(
    ichnode: Callable[..., Result],
) -> None:
    done = ichnode(DESTINATIONS, "route", "--sender", "CT1")
    assert lines(done.stdout)[-3:] == [
        "web (https://pacs.example/dicom-web) gets everything; pictures in jpeg-ls",
        "ward (WARD) gets sr; sr as enhanced; in implicit VR",
        "list (LIST) gets a workitem",
    ]


def test_of_a_series_without_images_it_is_said_that_their_headers_are_not_known(
    tmp_path: Path,
) -> None:
    config = tmp_path / "ichnode.toml"
    config.write_text(DESTINATIONS)
    settings = load_settings(config)
    ledger = open_ledger(f"sqlite:///{tmp_path}/ledger.sqlite")
    revision = report(ledger, [], ())
    ledger.close()
    for removed_at, is_told in ((None, False), (revision.last_instance_at, True)):
        console = Console(file=StringIO(), width=80)
        purged = replace(revision, images_removed_at=removed_at)
        routing(console, decide(SeriesFacts(("CT1",)), (), settings), settings, purged)
        assert ("its images were removed" in console.file.getvalue()) is is_told


def test_the_same_as_json(ichnode: Callable[..., Result]) -> None:
    done = ichnode(FLAGGED_ONLY, "route", "--sender", "CT1", "--flagged", "any", "--json")
    assert json.loads(done.stdout) == {
        "series": [
            {
                "routes": [{"name": "alarm", "fits": True, "why_not": None, "to": ["pacs"]}],
                "destinations": {"pacs": [kind for kind in Kind if kind is not Kind.WORKITEM]},
                "no_address_of": [],
            }
        ]
    }


def test_without_rules_it_says_what_is_so_by_default(ichnode: Callable[..., Result]) -> None:
    done = ichnode("", "route", "--sender", "CT1")
    assert lines(done.stdout)[-1] == "results stay here: no address is known of CT1"


def test_a_uid_goes_without_invented_facts(ichnode: Callable[..., Result]) -> None:
    done = ichnode(FLAGGED_ONLY, "route", "1.2.3", "--sender", "CT1")
    assert done.exit_code == 2
    assert "a UID goes without" in done.stderr


def test_the_systems_of_the_page_are_a_configuration(tmp_path: Path) -> None:
    config = tmp_path / "ichnode.toml"
    config.write_text(BLOCKS[0][1])
    assert isinstance(load_settings(config), Settings)
