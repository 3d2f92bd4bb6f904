"""A source that takes DICOM over TLS alone: Orthanc, which asks for the node's certificate."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.uid import generate_uid

from node.broker import free_port
from node.check import parts
from node.errors import SourceError
from node.fetch import Query
from node.ledger import FetchState
from tests import ct
from tests.certificates import Authority, Identity
from tests.e2e.peers import Orthanc, running_orthanc
from tests.fetching import Fetching, fetching

SLICES = 4


@dataclass(frozen=True)
class Secured:
    """An archive that takes TLS alone, and what a node needs to talk to it."""

    orthanc: Orthanc
    node_port: int
    authority: Authority
    strangers: Authority
    node: Identity

    def keys(self, **other: Any) -> dict[str, Any]:
        """Of ``[[sources]]``."""
        return {
            "tls": True,
            "tls_ca": self.authority.certificate,
            "tls_certificate": self.node.certificate,
            "tls_key": self.node.key,
            **other,
        }

    def store(self, folder: Path) -> Query:
        """Have it store a series that nobody has; asks for its study."""
        study, uid = generate_uid(), generate_uid()

        def change(image: pydicom.Dataset) -> None:
            image.StudyInstanceUID, image.SeriesInstanceUID = study, uid
            image.SOPInstanceUID = f"{uid[:50]}.{image.InstanceNumber}"

        for file in ct.series(folder, [5.0 * n for n in range(SLICES)], change):
            self.orthanc.get("/instances", file.read_bytes())
        return Query(study_instance_uid=study)


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    folder, node_port = tmp_path_factory.mktemp("secured"), free_port()
    authority = Authority(folder / "authority")
    archive = authority.issue("archive")
    with running_orthanc(
        folder / "orthanc",
        DicomTlsEnabled=True,
        DicomTlsCertificate=str(archive.certificate),
        DicomTlsPrivateKey=str(archive.key),
        DicomTlsTrustedCertificates=str(authority.certificate),
        DicomTlsRemoteCertificateRequired=True,
        DicomAlwaysAllowFind=True,
        DicomAlwaysAllowGet=True,
        DicomAlwaysAllowMove=True,
        DicomModalities={
            "node": {
                "AET": "ICHNODE",
                "Host": "127.0.0.1",
                "Port": node_port,
                "UseDicomTls": True,
            }
        },
    ) as orthanc:
        strangers = Authority(folder / "strangers")
        yield Secured(orthanc, node_port, authority, strangers, authority.issue("node"))


Begin = Callable[..., AbstractContextManager[Fetching]]


@pytest.fixture
def begin(secured: Secured, tmp_path: Path) -> Begin:
    """A node that fetches from it; `shows` is what those see of the node who send to it."""

    def start(shows: Identity | None = None, **keys: Any) -> AbstractContextManager[Fetching]:
        identity = shows or secured.node
        own = {"certificate": identity.certificate, "key": identity.key}
        return fetching(
            tmp_path / "home",
            "ORTHANC",
            secured.orthanc.port,
            node_port=secured.node_port,
            listens=keys.get("retrieve") == "move",
            port_tls=own | {"ca": secured.authority.certificate},
            **secured.keys(**keys),
        )

    return start


@pytest.mark.parametrize("retrieve", ["get", "move"])
def test_a_series_is_asked_for_and_fetched_over_tls(
    secured: Secured, begin: Begin, tmp_path: Path, retrieve: str
) -> None:
    query = secured.store(tmp_path / "images")
    with begin(retrieve=retrieve) as node:
        (outcome,) = node.by_hand(query)
    assert (outcome.state, outcome.images) == (FetchState.FETCHED, SLICES)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("ca", "its certificate is not taken: "),
        ("name", "its certificate is not taken: "),
        ("certificate", "TLS fails: "),
        ("none", "TLS fails: "),
        ("plain", "does not answer"),
    ],
)
def test_a_handshake_that_fails_is_said_in_one_line_and_leaves_the_series_to_be_fetched(
    secured: Secured, begin: Begin, tmp_path: Path, wrong: str, said: str
) -> None:
    stranger = secured.strangers.issue("stranger")
    keys = {
        "ca": {"tls_ca": secured.strangers.certificate},
        "name": {"host": "127.0.0.2"},
        "certificate": {"tls_certificate": stranger.certificate, "tls_key": stranger.key},
        "none": {"tls_certificate": None, "tls_key": None},
        "plain": dict.fromkeys(secured.keys()) | {"tls": False},
    }[wrong]
    query = secured.store(tmp_path / "images")
    with begin(retrieve="get", poll_s=60, still_polls=0) as node:
        found = list(node.fetcher.find(query))
        node.fetcher.note(found)
    began = time.monotonic()
    with begin(retrieve="get", poll_s=60, **keys) as node:
        (row,) = node.ledger.due_fetches("pacs")
        with pytest.raises(SourceError) as caught:
            node.fetcher.fetch(found[0], row)
        assert str(caught.value).startswith("ORTHANC at ")
        assert said in str(caught.value)
        assert time.monotonic() - began < 5
        node.turns.take_one()
        (state,) = node.ledger.sources()
        assert (state.failures, state.waiting, state.given_up) == (1, 1, 0)
    with begin(retrieve="get", poll_s=60) as node:
        (outcome,) = node.by_hand(query)
        assert (outcome.state, outcome.images) == (FetchState.FETCHED, SLICES)


def test_the_doctor_says_what_to_look_at(secured: Secured, begin: Begin) -> None:
    with begin(tls_ca=secured.strangers.certificate) as node:
        (finding,) = parts._source(node.settings, node.rules)
    assert "its certificate is not taken" in finding.text
    assert finding.cure == "see its tls_ca and tls_check_host, tls_certificate and tls_key"
    with begin() as node:
        (finding,) = parts._source(node.settings, node.rules)
    assert finding.text.endswith("answers a C-FIND")


def test_a_node_that_the_archive_does_not_trust_gets_nothing_by_move_and_is_told(
    secured: Secured, begin: Begin, tmp_path: Path
) -> None:
    query = secured.store(tmp_path / "images")
    with begin(secured.strangers.issue("other"), retrieve="move") as node:
        (outcome,) = node.by_hand(query)
        assert outcome.state is FetchState.FAILED
        assert f"does it reach ICHNODE at this machine's address, port {node.port}" in str(
            outcome.detail
        )
    with begin(retrieve="move") as node:
        (outcome,) = node.by_hand(query)
        assert (outcome.state, outcome.images) == (FetchState.FETCHED, SLICES)
