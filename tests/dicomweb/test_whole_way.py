"""The whole way by DICOMweb alone: images by WADO-RS, judged, results by STOW-RS."""

import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path

import pydicom
import pytest
from pydicom.uid import CTImageStorage

from node.dicomweb import Web
from node.ledger import State
from tests.certificates import Authority
from tests.dicomweb.servers import nginx_before
from tests.e2e.conftest import Series
from tests.e2e.peers import ICHNODE, Node, Orthanc, kinds, one_set, running_node


@pytest.fixture(scope="module")
def token(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("token") / "token"
    path.touch(0o600)
    path.write_text("a-token")
    return path


@pytest.fixture(scope="module")
def node(
    archive: Orthanc,
    authority: Authority,
    token: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Node]:
    """A node with Orthanc behind TLS and a token, as source and as destination."""
    folder = tmp_path_factory.mktemp("node")
    identity = authority.issue("archive")
    with nginx_before(archive.http_port, folder / "nginx", identity, token_file=token) as port:
        archive_ = (
            f'name = "archive"\nurl = "https://127.0.0.1:{port}/dicom-web"\n'
            f'token_file = "{token}"\ntls_ca = "{authority.certificate}"\n'
        )
        more = f"[[sources]]\n{archive_}poll_s = 1\n[[destinations]]\n{archive_}"
        with running_node(folder, more=more) as running:
            yield running


def ichnode(config: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*ICHNODE, *arguments, "--config", str(config)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_a_series_is_pulled_and_judged_and_its_results_are_stored_beside_it(
    archive: Orthanc, node: Node, new_series: Callable[..., Series]
) -> None:
    series = new_series()
    for file in series.files:
        archive.get("/instances", file.read_bytes())

    done = ichnode(node.config, "fetch", "--study", series.study)

    assert done.returncode == 0, done.stdout + done.stderr
    revision = node.wait_for(series.series, State.DELIVERED)
    stored = archive.instances_of(series.study)
    expected = one_set(len(series.files)) + Counter({CTImageStorage: len(series.files)})
    assert kinds(stored) == expected
    sent = {result.sop_instance_uid for result in node.ledger.results(revision)}
    with Web(node.settings.destinations[0], 5) as web:
        found = {
            match.text("SOPInstanceUID")
            for item in web.series(series.study, {})
            for match in web.instances(series.study, item.text("SeriesInstanceUID"))
        }
    assert sent < found

    again = ichnode(node.config, "fetch", "--study", series.study)

    assert again.returncode == 0, again.stdout + again.stderr
    assert len(node.revisions(series.series)) == 1
    assert kinds(archive.instances_of(series.study)) == expected


def test_what_is_new_today_is_pulled_once_it_stands_still(
    archive: Orthanc, node: Node, new_series: Callable[..., Series]
) -> None:
    def dated(image: pydicom.Dataset, _: int) -> None:
        image.StudyDate = f"{date.today():%Y%m%d}"

    series = new_series(dated)
    for file in series.files:
        archive.get("/instances", file.read_bytes())

    revision = node.wait_for(series.series, State.DELIVERED)

    assert revision.number == 1
    expected = one_set(len(series.files)) + Counter({CTImageStorage: len(series.files)})
    assert kinds(archive.instances_of(series.study)) == expected


def test_secrets_are_in_no_log(node: Node) -> None:
    assert "a-token" not in node.log.read_text()
