"""Dashboard, alerts and their page: all ask for what there is."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import Metric

from node.ledger import State
from node.metrics.following import Station
from tests.exposition import MARKS, PAGE, everything, name_of, table

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
DASHBOARD = DEPLOY / "grafana" / "ichnode.json"
RULES = [DEPLOY / "prometheus" / name for name in ("alerts.yml", "nothing-received.yml")]
TESTS_OF_RULES = DEPLOY / "prometheus" / "alerts.test.yml"

needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None,
    reason="promtool is not installed (Debian package prometheus)",
)

EVERYWHERE = {"job", "instance"}
"""Labels that Prometheus adds."""


@pytest.fixture(scope="module")
def families(tmp_path_factory: pytest.TempPathFactory) -> list[Metric]:
    return everything(tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def panels() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(DASHBOARD.read_text())["panels"]
    return found


def asked(panels: list[dict[str, Any]]) -> Iterator[tuple[str, str]]:
    """Every expression, and where it stands."""
    for panel in panels:
        for target in panel.get("targets", []):
            yield panel["title"], target["expr"]
    for path in RULES:
        for expression in re.findall(r"^ +expr: (.*)$", path.read_text(), re.MULTILINE):
            yield path.name, expression


def test_every_metric_that_is_asked_for_is_there(
    families: list[Metric], panels: list[dict[str, Any]]
) -> None:
    names = {sample.name for family in families for sample in family.samples}
    wanted = [
        (where, name)
        for where, expression in asked(panels)
        for name in re.findall(r"\bichnode_\w+", expression)
    ]
    assert len(wanted) > 30
    assert [(where, name) for where, name in wanted if name not in names] == []


def test_every_label_that_is_asked_for_is_there(
    families: list[Metric], panels: list[dict[str, Any]]
) -> None:
    labels: dict[str, dict[str, set[str]]] = {}
    for family in families:
        for sample in family.samples:
            for label, value in sample.labels.items():
                labels.setdefault(sample.name, {}).setdefault(label, set()).add(value)
    wrong = []
    for where, expression in asked(panels):
        for name, selector in re.findall(r"\b(ichnode_\w+)\{([^}]*)\}", expression):
            for label, _, value in re.findall(r'(\w+)(=~|!=|=)"([^"]*)"', selector):
                known = labels.get(name, {}).get(label, set())
                if label not in EVERYWHERE and value not in known:
                    wrong.append((where, name, label, value))
        names = re.findall(r"\bichnode_\w+", expression)
        for by in re.findall(r"\bby \(([^)]*)\)", expression):
            for label in by.split(", "):
                if not all(label in labels.get(name, {}) for name in names):
                    wrong.append((where, names, label, "by"))
    assert wrong == []


def test_all_that_there_is_is_shown(families: list[Metric], panels: list[dict[str, Any]]) -> None:
    text = DASHBOARD.read_text()
    assert [f.name for f in families if not re.search(rf"\b{f.name}\w*\b", text)] == []


def test_all_states_and_stations_are_told_of(families: list[Metric]) -> None:
    values = {
        (name_of(family), label, value)
        for family in families
        for sample in family.samples
        for label, value in sample.labels.items()
    }
    assert {("ichnode_series_entered_total", "state", state) for state in State} <= values
    assert {("ichnode_station_seconds", "station", station) for station in Station} <= values


def test_panels_are_told_apart_and_do_not_lie_on_each_other(panels: list[dict[str, Any]]) -> None:
    ids = [panel["id"] for panel in panels]
    assert len(set(ids)) == len(ids)
    places = set()
    for panel in panels:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24
        covered = {(at["x"] + i, at["y"] + k) for i in range(at["w"]) for k in range(at["h"])}
        assert not places & covered, panel["title"]
        places |= covered
    titles = [panel["title"] for panel in panels if panel["type"] == "row"]
    assert titles == ["Now", "Flow", "Latency", "Queues", "Deliveries", "Disk", "GPU", "Fetching"]


def test_every_panel_says_what_it_shows(panels: list[dict[str, Any]]) -> None:
    shown = [panel for panel in panels if panel["type"] != "row"]
    assert [p["title"] for p in shown if not p["description"].endswith(".")] == []
    assert {p["datasource"]["uid"] for p in shown} == {"${datasource}"}


@needs_promtool
def test_promtool_takes_every_expression_of_the_dashboard(
    panels: list[dict[str, Any]], tmp_path: Path
) -> None:
    rules = [
        {"record": f"panel:{number}", "expr": expression.replace("$__rate_interval", "5m")}
        for number, (_, expression) in enumerate(asked(panels))
    ]
    path = tmp_path / "rules.yml"
    path.write_text(json.dumps({"groups": [{"name": "panels", "rules": rules}]}))  # JSON is YAML
    checked = promtool("check", "rules", path)
    assert checked.returncode == 0, checked.stdout + checked.stderr


@needs_promtool
def test_alerts_come_when_they_should_and_only_then() -> None:
    tested = promtool("test", "rules", TESTS_OF_RULES)
    assert tested.returncode == 0, tested.stdout + tested.stderr


def test_every_alert_is_tested_and_told_of_on_the_page() -> None:
    text = "\n".join(path.read_text() for path in RULES)
    alerts = re.findall(r"- alert: (\w+)", text)
    assert len(alerts) > 9
    assert [name for name in alerts if name not in TESTS_OF_RULES.read_text()] == []
    assert [name for name in alerts if f"`{name}`" not in PAGE.read_text()] == []


def test_the_page_lists_every_metric(families: list[Metric]) -> None:
    shown = PAGE.read_text().split(MARKS[0])[1].split(MARKS[1])[0].strip()
    assert shown == table(families), "run `python -m tests.exposition`"


def promtool(*arguments: object) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        ["promtool", *map(str, arguments)], capture_output=True, text=True, check=False
    )
