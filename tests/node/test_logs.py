"""Lines of the log: of the form that was asked for, with the series that they are about."""

import json
import logging
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from node.lease import staying_alive
from node.logs import JSONFormatter, TextFormatter, about, trace_id
from node.settings import LogForm, LogLevel
from tests.node.configuration import complaint, load


@dataclass(frozen=True)
class Named:
    study_instance_uid: str = "1.2.3"
    series_instance_uid: str = "1.2.3.4"


class Lines(logging.Handler):
    """Keeps what is logged, in its form."""

    def __init__(self, formatter: logging.Formatter) -> None:
        super().__init__()
        self.setFormatter(formatter)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


log = logging.getLogger("node.test_logs")


@pytest.fixture
def lines(request: pytest.FixtureRequest) -> Iterator[list[str]]:
    handler = Lines(request.param)
    log.addHandler(handler)
    log.setLevel(logging.DEBUG)
    yield handler.lines
    log.removeHandler(handler)


as_json = pytest.mark.parametrize("lines", [JSONFormatter("receive")], indirect=True)
as_text = pytest.mark.parametrize("lines", [TextFormatter()], indirect=True)


def parsed(lines: list[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in lines]


@as_json
def test_a_line_has_the_names_that_opentelemetry_gives(lines: list[str]) -> None:
    with about(Named()):
        log.warning("%d images\nand a line", 3)
    (line,) = parsed(lines)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\+00:00", line.pop("timestamp"))
    resource = line.pop("resource")
    assert set(resource) == {
        *("service.name", "service.version", "host.name", "process.pid", "ichnode.part")
    }
    assert (resource["service.name"], resource["ichnode.part"]) == ("ichnode", "receive")
    assert line == {
        "severity_text": "WARN",
        "severity_number": 13,
        "body": "3 images\nand a line",
        "attributes": {"dicom.series_instance_uid": "1.2.3.4"},
        "instrumentation_scope": {"name": "node.test_logs"},
        "trace_id": trace_id(Named()),
    }


@as_json
def test_lines_are_about_a_series_only_while_it_is_worked_on(lines: list[str]) -> None:
    log.info("before")
    with about(Named()):
        log.info("in it")
        with about(Named(series_instance_uid="1.9")):
            log.info("in another one")
        log.info("in it again")
    log.info("after")
    found = [line["attributes"].get("dicom.series_instance_uid") for line in parsed(lines)]
    assert found == [None, "1.2.3.4", "1.9", "1.2.3.4", None]


@as_json
def test_one_thread_says_nothing_of_the_series_of_another(lines: list[str]) -> None:
    with about(Named()):
        thread = threading.Thread(target=lambda: log.info("elsewhere"))
        thread.start()
        thread.join()
    assert "trace_id" not in parsed(lines)[0]


@as_json
def test_but_a_lease_is_about_what_it_is_for(lines: list[str]) -> None:
    done = threading.Event()

    def extend() -> None:
        log.info("extended")
        done.set()

    with about(Named()), staying_alive(extend, 0.03):
        assert done.wait(5)
    assert parsed(lines)[0]["trace_id"] == trace_id(Named())


@as_json
def test_an_exception_is_told_in_attributes(lines: list[str]) -> None:
    try:
        int("odd")
    except ValueError:
        log.error("it failed", exc_info=True)
    attributes = parsed(lines)[0]["attributes"]
    assert attributes["exception.type"] == "ValueError"
    assert attributes["exception.stacktrace"].endswith("base 10: 'odd'")


@as_text
def test_a_line_for_people_names_the_series_once(lines: list[str]) -> None:
    with about(Named()):
        log.info("series %s is ready", "1.2.3.4")
        log.info("a lease was not extended")
    log.info("listening")
    assert [line.partition(": ")[2] for line in lines] == [
        "series 1.2.3.4 is ready",
        "a lease was not extended [series 1.2.3.4]",
        "listening",
    ]


def test_a_trace_is_named_by_the_uids_of_the_series_alone() -> None:
    assert trace_id(Named()) == trace_id(Named())
    assert re.fullmatch("[0-9a-f]{32}", trace_id(Named()))
    assert trace_id(Named()) != trace_id(Named(study_instance_uid="1.2.4"))


def test_form_and_level_are_configured(tmp_path: Path) -> None:
    settings = load('[log]\nformat = "json"\nlevel = "warning"\n', tmp_path)
    assert (settings.log.format, settings.log.level) == (LogForm.JSON, LogLevel.WARNING)
    assert "log.format" in complaint('[log]\nformat = "xml"\n', tmp_path)
    assert "log.level" in complaint('[log]\nlevel = "loud"\n', tmp_path)


def test_what_stops_a_part_is_a_line_of_the_same_form(tmp_path: Path) -> None:
    config = tmp_path / "ichnode.toml"
    config.write_text(
        f'home = "{tmp_path}"\n[broker]\nurl = "redis://127.0.0.1:1"\n[log]\nformat = "json"\n'
    )
    done = subprocess.run(
        [sys.executable, "-m", "node", "work", "--queue", "deliver", "--config", str(config)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    (line,) = parsed(done.stderr.splitlines())
    assert line["severity_text"] == "FATAL"
    assert "the broker does not answer" in line["body"]
