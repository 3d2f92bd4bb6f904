"""`ichnode check` with Orthanc as the peer: each illness by its name, with its cure."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from node.broker import free_port
from node.check import Finding, Health
from node.reach import ReachError, reach
from node.settings import Destination
from tests.certificates import Authority
from tests.e2e.peers import Orthanc, running_orthanc


def check(folder: Path, text: str) -> dict[str, Finding]:
    """What the command says with a configuration, by subject."""
    config = folder / "check.toml"
    config.write_text(f'home = "{folder / "home"}"\n{text}')
    done = subprocess.run(
        [sys.executable, "-m", "node", "check", "--json", "--config", str(config)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    findings = [
        Finding(**{**finding, "health": Health(finding["health"])})
        for finding in json.loads(done.stdout)["findings"]
    ]
    assert done.returncode == any(finding.health is Health.BAD for finding in findings)
    return {finding.subject: finding for finding in findings}


def answers(peer: Orthanc, node: str = "ICHNODE", **of_the_peer: object) -> None:
    """Ask an Orthanc as a destination."""
    keys = {"ae_title": "ORTHANC", "host": "127.0.0.1", "port": peer.port, **of_the_peer}
    reach(node, Destination.model_validate({"name": "pacs", **keys}))


def ill(peer: Orthanc, node: str = "ICHNODE", **of_the_peer: object) -> ReachError:
    """What is wrong with it."""
    with pytest.raises(ReachError) as caught:
        answers(peer, node, **of_the_peer)
    assert len(str(caught.value).splitlines()) == 1
    return caught.value


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    """An Orthanc that is particular about who it talks to."""
    folder = tmp_path_factory.mktemp("orthanc")
    with running_orthanc(
        folder,
        DicomCheckCalledAet=True,
        DicomAlwaysAllowEcho=False,
        DicomAlwaysAllowStore=False,
        DicomModalities={"node": ["ICHNODE", "127.0.0.1", 11112]},
    ) as peer:
        yield peer


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def orthanc_with_tls(
    authority: Authority, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Orthanc]:
    identity = authority.issue("orthanc")
    with running_orthanc(
        tmp_path_factory.mktemp("orthanc-tls"),
        DicomTlsEnabled=True,
        DicomTlsCertificate=str(identity.certificate),
        DicomTlsPrivateKey=str(identity.key),
        DicomTlsTrustedCertificates=str(authority.certificate),
        DicomTlsRemoteCertificateRequired=False,
    ) as peer:
        yield peer


def test_a_destination_that_is_well(orthanc: Orthanc) -> None:
    answers(orthanc)


def test_the_wrong_title_of_the_peer(orthanc: Orthanc) -> None:
    found = ill(orthanc, ae_title="PACS")

    assert "called AE title not recognised" in str(found)
    assert "set its ae_title to what it calls itself" in found.cure


def test_a_node_that_the_peer_does_not_know(orthanc: Orthanc) -> None:
    found = ill(orthanc, node="UNKNOWN")

    assert "make UNKNOWN with this machine's address known to it" in found.cure


def test_the_wrong_port(orthanc: Orthanc) -> None:
    found = ill(orthanc, port=free_port())

    assert "nothing listens there" in str(found)
    assert "its DICOM port?" in found.cure


def test_a_port_where_something_else_listens(orthanc: Orthanc) -> None:
    assert "does a DICOM application listen there?" in ill(orthanc, port=orthanc.http_port).cure


def test_a_name_that_nobody_knows(orthanc: Orthanc) -> None:
    assert "the name pacs.invalid is not known" in str(ill(orthanc, host="pacs.invalid"))


def test_a_peer_that_takes_tls_only(orthanc_with_tls: Orthanc) -> None:
    found = ill(orthanc_with_tls)

    assert "it takes TLS only" in str(found)
    assert "set tls = true" in found.cure


def test_a_peer_that_takes_no_tls(orthanc: Orthanc) -> None:
    assert "set tls = false" in ill(orthanc, tls=True).cure


def test_a_certificate_of_an_unknown_authority(orthanc_with_tls: Orthanc) -> None:
    found = ill(orthanc_with_tls, tls=True)

    assert "certificate" in str(found)
    assert "tls_ca" in found.cure


def test_tls_that_is_well(orthanc_with_tls: Orthanc, authority: Authority) -> None:
    answers(orthanc_with_tls, tls=True, tls_ca=authority.certificate)


def test_what_is_ill_on_this_machine(tmp_path: Path) -> None:
    broken = tmp_path / "bundle"
    broken.mkdir()
    (broken / "bundle.json").write_text("{")

    found = check(
        tmp_path,
        f'[dicom]\nmin_free_gb = 1e9\n[broker]\nurl = "redis://127.0.0.1:{free_port()}/0"\n'
        f'[analyze]\ndevice = "cuda:7"\n[model]\nbundle = "{broken}"\n'
        f'[ledger]\nurl = "postgresql+psycopg://nobody@127.0.0.1:{free_port()}/nothing"\n',
    )

    for subject, word in [
        ("disk", "make room"),
        ("broker", "is the Redis up?"),
        ("device", "nvidia-smi"),
        ("model", "[model] bundle"),
        ("ledger", "[ledger] url"),
    ]:
        assert found[subject].health is Health.BAD, (subject, found[subject])
        assert word in found[subject].cure, (subject, found[subject])
        assert len(found[subject].text.splitlines()) == 1
