"""A node that fetches, the whole way: polled from Orthanc, judged once, back into Orthanc."""

import json
import os
import signal
import subprocess
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pydicom

from node.broker import free_port
from node.deliver import store_files
from node.ledger import FetchState, State
from node.settings import Destination
from tests.e2e.conftest import Series
from tests.e2e.peers import ICHNODE, Node, kinds, one_set, running_node, running_orthanc, wait_for


def today(image: pydicom.Dataset, _index: int) -> None:
    image.StudyDate = f"{date.today():%Y%m%d}"


def store(port: int, series: Series, slices: slice = slice(None)) -> None:
    peer = Destination(name="orthanc", ae_title="ORTHANC", host="127.0.0.1", port=port)
    assert store_files("SCANNER", peer, series.files[slices], lambda: None) == []


def ask(node: Node, *arguments: str) -> Any:
    done = subprocess.run(
        [*ICHNODE, *arguments, "--config", str(node.config), "--json"],
        capture_output=True,
        text=True,
        check=False,
    )
    return json.loads(done.stdout)


def test_what_a_pacs_has_is_polled_pushed_and_judged_once(
    new_series: Callable[..., Series], tmp_path: Path
) -> None:
    port = free_port()
    with running_orthanc(
        tmp_path / "orthanc",
        DicomModalities={"node": ["ICHNODE", "127.0.0.1", port]},
        DicomAlwaysAllowMove=True,
        DicomAlwaysAllowFind=True,
    ) as orthanc:
        polled, both = new_series(today), new_series(today)
        store(orthanc.port, polled)
        source = (
            '[[sources]]\nname = "archive"\nae_title = "ORTHANC"\nhost = "127.0.0.1"\n'
            f"port = {orthanc.port}\npoll_s = 1\n[fetch]\nfirst_pause_s = 1\n"
        )
        more = f"{source}[assemble]\ngrace_s = 1\nquiet_s = 2\n"
        destinations = [("orthanc", "ORTHANC", orthanc.port)]
        with running_node(tmp_path, destinations, more, dicom_port=port) as node:
            revision = node.wait_for(polled.series, State.DELIVERED)
            assert revision.instances == len(polled.files)
            assert not any("slices are missing" in warning for warning in revision.warnings)

            # Pushed to both, and the poller killed meanwhile.
            store(orthanc.port, both)
            wait_for(lambda: node.ledger.find_fetches(both.series), 20, "the poller to see it")
            for process in node.children()["poll"]:
                os.kill(process, signal.SIGKILL)
            node.send(both.files)
            node.wait_for(both.series, State.DELIVERED)
            wait_for(
                lambda: [
                    row
                    for row in node.ledger.find_fetches(both.series)
                    if row.state in (FetchState.KNOWN, FetchState.FETCHED)
                ],
                60,
                "the next poller to be done with it",
            )
            assert len(node.revisions(both.series)) == 1

            results = orthanc.instances_of(both.study)
            results = [d for d in results if d.Modality != "CT"]
            assert kinds(results) == one_set(len(both.files))

            (state,) = ask(node, "status")["sources"]
            assert (state["name"], state["failures"], state["waiting"]) == ("archive", 0, 0)
            assert state["fetched"] + state["known"] >= 2
            (row,) = ask(node, "show", both.study)["fetches"]
            assert (row["counted"], row["source"]) == (len(both.files), "archive")
            (outcome,) = ask(node, "fetch", "--study", polled.study)["series"]
            assert (outcome["state"], outcome["images"]) == ("known", 0)
