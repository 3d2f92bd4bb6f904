"""A whole node that logs for machines: each line parses, and tells which series it is about."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pydicom
import pytest

from node.hints import Queue
from node.ledger import State
from node.logs import trace_id
from node.vitals import Background
from tests.e2e.conftest import Series
from tests.e2e.peers import running_node, running_storescp, wait_for
from tests.e2e.test_access import WORDS, telling

pytestmark = pytest.mark.long

JSON = '[log]\nformat = "json"\n'


def test_every_station_says_which_series_its_lines_are_about(
    tmp_path: Path, new_series: Callable[..., Series]
) -> None:
    def broken(image: pydicom.Dataset, index: int) -> None:
        telling(image, index)
        image.PixelData = image.PixelData[:100]

    good, failing = new_series(telling), new_series(broken)
    with (
        running_storescp(tmp_path / "pacs") as pacs,
        running_node(tmp_path, [("pacs", "PACS", pacs.port)], JSON, verbose=False) as node,
    ):
        for series in (good, failing):
            node.send(series.files)
        delivered = node.wait_for(good.series, State.DELIVERED)
        failed = node.wait_for(failing.series, State.FAILED)
        workers = {worker.queue: worker for worker in Background(node.settings).ask_workers()}
        wait_for(lambda: "is delivered" in node.log.read_text(), 10, "the last line")
    text = node.log.read_text()
    lines: list[dict[str, Any]] = [json.loads(line) for line in text.splitlines()]

    about = [line for line in lines if line.get("trace_id") == trace_id(delivered)]
    assert [(line["resource"]["ichnode.part"], line["body"]) for line in about] == [
        ("receive", f"series {good.series}: {len(good.files)} images came from SCANNER"),
        ("receive", f"series {good.series} is ready: {len(good.files)} images, routine"),
        ("analyze", f"series {good.series} is reported"),
        ("deliver", f"series {good.series} is delivered"),
    ]
    assert {line["attributes"]["dicom.series_instance_uid"] for line in about} == {good.series}
    (wrong,) = [
        line
        for line in lines
        if line.get("trace_id") == trace_id(failed) and line["severity_text"] == "ERROR"
    ]
    assert failing.series in wrong["body"]
    assert [line for line in lines if good.series in str(line) and "trace_id" not in line] == []
    assert {line["resource"]["service.name"] for line in lines} == {"ichnode"}
    assert "up" in {line["resource"]["ichnode.part"] for line in lines}
    assert [word for word in WORDS if word in text] == []
    assert workers[Queue.ANALYZE].device in ("cpu", "cuda")
