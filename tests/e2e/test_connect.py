"""What docs/connect.md says of Orthanc, done: its blocks are taken as they stand there."""

import json
import re
from collections.abc import Callable
from pathlib import Path

from node.broker import free_port
from node.ledger import State
from tests.e2e.conftest import Series
from tests.e2e.peers import Orthanc, kinds, one_set, running_node, start_orthanc, storescu

PAGE = Path(__file__).resolve().parents[2] / "docs" / "connect.md"


def block(language: str) -> str:
    (found,) = re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(), re.DOTALL)
    return found


def test_an_orthanc_that_is_set_up_as_the_page_says_forwards_and_gets_results(
    tmp_path: Path, new_series: Callable[..., Series]
) -> None:
    series = new_series()
    peer = Orthanc(free_port(), free_port())
    with running_node(tmp_path, [("pacs", "ORTHANC", peer.port)]) as node:
        configuration = json.loads(block("json"))
        title, _, documented = configuration["DicomModalities"]["ichnode"]
        assert (title, documented) == ("ICHNODE", 11112)
        configuration["DicomModalities"]["ichnode"][2] = node.port
        del configuration["DicomPort"]
        folder = tmp_path / "orthanc"
        folder.mkdir()
        (folder / "forward.lua").write_text(block("lua"))
        process = start_orthanc(folder, peer, **configuration)
        try:
            done = storescu(peer.port, series.files, "-aec", "ORTHANC")
            assert done.returncode == 0, done.stderr
            node.wait_for(series.series, State.DELIVERED)

            sent_back = [d for d in peer.instances_of(series.study) if d.Modality != "CT"]
            assert kinds(sent_back) == one_set(len(series.files))
            assert len(node.revisions(series.series)) == 1
        finally:
            process.terminate()
            process.wait(30)
