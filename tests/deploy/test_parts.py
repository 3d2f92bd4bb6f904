"""Every part that a node can have can be run in every way, and stands in the table of parts."""

import re
from collections.abc import Iterable

import pytest
import yaml

from node.settings import Settings
from node.up import parts_of
from tests.deploy.tools import DEPLOY, ROOT

EVERYTHING = Settings.model_validate(
    {
        "dicom": {"processes": 1},
        "dicomweb": {"port": 8043},
        "feedback": {"hl7_port": 2575},
        "shadow": {"bundle": "phantom"},
        "sources": [{"name": "a", "ae_title": "A", "host": "a", "port": 104, "poll_s": 60}],
    }
)
PARTS = {name: " ".join(command) for name, command in parts_of(EVERYTHING).items()}

PAGE = (ROOT / "docs" / "operations.md").read_text()


def commands(words: Iterable[list[str]]) -> set[str]:
    return {" ".join(command) for command in words}


def test_a_node_has_the_parts_that_are_looked_for_here() -> None:
    assert set(PARTS) == {
        *("receive", "analyze", "deliver", "web"),
        *("dicomweb", "poll", "feedback", "shadow"),
    }


@pytest.mark.parametrize("part", PARTS)
def test_the_table_has_every_part(part: str) -> None:
    (row,) = re.findall(rf"^\| \*\*{part}\*\*.*$", PAGE, re.MULTILINE)

    _, command, port, *_ = (cell.strip() for cell in row.strip("| ").split(" | "))
    assert command == f"`ichnode {PARTS[part]}`"
    own = {
        "receive": EVERYTHING.dicom.port,
        "web": EVERYTHING.web.port,
        "dicomweb": EVERYTHING.dicomweb.port,
        "feedback": EVERYTHING.feedback.hl7_port,
    }
    assert port.split()[0].strip(",") == str(own.get(part, "none"))


def test_compose_runs_every_part() -> None:
    services = yaml.safe_load((DEPLOY / "compose" / "compose.yaml").read_text())["services"]

    assert set(PARTS.values()) <= commands(
        service["command"] for service in services.values() if "command" in service
    )
    for part in ("dicomweb", "poll", "feedback", "shadow"):
        assert services[part]["profiles"] == [part]


def test_systemd_runs_every_part() -> None:
    started = {
        re.sub(r"%i$", queue, command)
        for unit in (DEPLOY / "systemd").glob("*.service")
        for command in re.findall(r"^ExecStart=\S+/ichnode (.*)$", unit.read_text(), re.MULTILINE)
        for queue in ("analyze", "deliver", "shadow")
    }

    assert set(PARTS.values()) <= started


def test_the_image_tells_every_port() -> None:
    (ports,) = re.findall(
        r"^EXPOSE (.*)$", (DEPLOY / "docker" / "Dockerfile").read_text(), re.MULTILINE
    )

    assert ports.split() == ["11112", "8042", "8043", "2575"]
