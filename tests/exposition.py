"""Every metric of the node, and the table of them in docs/monitoring.md.

``python -m tests.exposition`` writes the table.
"""

import tempfile
from datetime import UTC, datetime
from pathlib import Path

from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from ml.identity import identify
from node.broker import EmbeddedBroker
from node.hints import Queue
from node.ledger import DAY_S, Instance, JudgingModel, Ledger, open_ledger
from node.metrics import Metrics
from node.processes import end_process
from node.settings import Settings
from node.vitals import GPU, Background, Folder, WorkerState
from tests import drift as invented
from tests.bench.filling import CT
from tests.page import write_between

PAGE = Path(__file__).resolve().parents[1] / "docs" / "monitoring.md"
MARKS = ("<!-- metrics -->", "<!-- /metrics -->")


def everything(home: Path) -> list[Metric]:
    """The metrics of a node that has something of everything: a GPU, a destination, a shadow."""
    settings = Settings(
        home=home,
        destinations=[{"name": "pacs", "ae_title": "PACS", "host": "127.0.0.1", "port": 104}],
        priorities=[{"name": "emergency", "head_start_min": 60, "places": ["ED"]}],
        sources=[{"name": "pacs", "ae_title": "PACS", "host": "127.0.0.1", "port": 104}],
        notify=[{"name": "team", "to": "https://hooks.example/"}],
        shadow={"bundle": "phantom"},
    )
    broker = EmbeddedBroker(home)
    process = broker.start()
    background = Background(settings)
    gpu = GPU("NVIDIA L4", 24 * 1024**3, 6 * 1024**3)
    background._workers.value = (WorkerState("analyze-1@host", Queue.ANALYZE, "cuda:0", gpu),)
    background._folders.value = (Folder("spool", 1, 1, datetime.now(UTC)),)
    ledger = open_ledger(settings.ledger_url)
    ledger.store(Instance("1.2", "1.2.3", "1.2.3.4", CT, "a" * 64, Path("x"), "CT1"), 30)
    ledger.source_answers("pacs")
    _judge_for_weeks(ledger, settings)
    text = Metrics(settings, ledger, background).exposition().decode()
    ledger.close()
    end_process(process, 10)
    return list(text_string_to_metric_families(text))


def _judge_for_weeks(ledger: Ledger, settings: Settings) -> None:
    """As many series on both sides as a comparison needs; the shadow is the same model."""
    model = identify(settings.model.bundle)
    both = JudgingModel(model.name, model.version, model.digest, settings.model.operating_point)
    today = int(ledger.clock() // DAY_S)
    invented.fill(ledger, range(today - 60, today), 10, invented.Site(), judges=(both, both))


def name_of(family: Metric) -> str:
    """A family's name as it is asked for: counters end in _total."""
    return f"{family.name}_total" if family.type == "counter" else family.name


def table(families: list[Metric]) -> str:
    """The table of the page."""
    rows = ["| metric | type | labels | what |", "|---|---|---|---|"]
    for family in families:
        labels = {label for sample in family.samples for label in sample.labels} - {"le"}
        shown = ", ".join(f"`{label}`" for label in sorted(labels))
        rows.append(f"| `{name_of(family)}` | {family.type} | {shown} | {family.documentation} |")
    return "\n".join(rows)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        write_between(PAGE, *MARKS, table(everything(Path(folder))))
