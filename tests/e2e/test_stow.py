"""Series by STOW-RS from real senders, over TLS and with a password: the whole way, once."""

import json
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

from node.broker import free_port
from node.ledger import State
from node.passwords import hash_password
from node.spool import Spool
from node.stow.door import token_hash
from tests.certificates import Authority
from tests.e2e.conftest import Series
from tests.e2e.peers import (
    DICOMWEB,
    Node,
    Orthanc,
    Storescp,
    kinds,
    one_set,
    running_node,
    running_orthanc,
    running_storescp,
    wait_for,
)
from tests.stowing import DICOM_PARTS, STORED, multipart, uids

PASSWORD = "correct horse battery"
TOKEN = "a-token-of-the-router"

pytestmark = pytest.mark.skipif(not DICOMWEB.exists(), reason="not installed: orthanc-dicomweb")


@dataclass(frozen=True)
class Site:
    """A node that takes instances both ways, who sends to it, and its archive."""

    node: Node
    sender: Orthanc
    archive: Storescp
    ca: Path

    @property
    def studies(self) -> str:
        return f"https://127.0.0.1:{self.node.settings.dicomweb.port}/dicom-web/studies"

    def post(self, body: bytes) -> requests.Response:
        headers = {"Content-Type": DICOM_PARTS, "Authorization": f"Bearer {TOKEN}"}
        return requests.post(
            self.studies, data=body, headers=headers, verify=str(self.ca), timeout=60
        )

    def is_there(self) -> bool:
        try:
            address = f"{self.studies.partition('/dicom-web')[0]}/health/ready"
            return requests.get(address, verify=str(self.ca), timeout=5).ok
        except requests.RequestException:
            return False


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("stow")
    authority = Authority(folder / "ca")
    identity = authority.issue("node")
    port = free_port()
    more = f"""
[dicomweb]
port = {port}
users = {{ orthanc = "{hash_password(PASSWORD)}" }}
tokens = {{ router = "{token_hash(TOKEN)}" }}
[dicomweb.tls]
certificate = "{identity.certificate}"
key = "{identity.key}"
client_certificates = "none"
"""
    (folder / "node").mkdir()
    with (
        running_storescp(folder / "archive") as archive,
        running_node(folder / "node", [("pacs", "PACS", archive.port)], more) as node,
        running_orthanc(
            folder / "orthanc",
            dicomweb=True,
            DicomWeb={
                "Enable": True,
                "Root": "/dicom-web/",
                "Servers": {
                    "node": {
                        "Url": f"https://127.0.0.1:{port}/dicom-web/",
                        "Username": "orthanc",
                        "Password": PASSWORD,
                    }
                },
            },
            DicomModalities={"node": ["ICHNODE", "127.0.0.1", node.port]},
            HttpsVerifyPeers=True,
            HttpsCACertificates=str(authority.certificate),
        ) as sender,
    ):
        found = Site(node, sender, archive, authority.certificate)
        wait_for(found.is_there, 30, "the service to be there")
        yield found


def given_to(sender: Orthanc, series: Series) -> str:
    """Give a series to Orthanc; its study's name there."""
    for file in series.files:
        found = sender.get("/instances", file.read_bytes())
    return str(found["ParentStudy"])


def results_of(site: Site, study: str) -> list[object]:
    return [one for one in site.archive.datasets() if one.StudyInstanceUID == study]


def test_a_study_that_orthanc_sends_both_ways_at_once_is_analyzed_once(
    site: Site, new_series: Callable[..., Series]
) -> None:
    series = new_series()
    study = given_to(site.sender, series)
    failures: list[Exception] = []

    def send(path: str, what: dict[str, object]) -> None:
        try:
            site.sender.get(path, json.dumps(what).encode())
        except Exception as error:
            failures.append(error)

    ways = [
        threading.Thread(
            target=send,
            args=("/dicom-web/servers/node/stow", {"Resources": [study], "Synchronous": True}),
        ),
        threading.Thread(target=send, args=("/modalities/node/store", {"Resources": [study]})),
    ]
    for way in ways:
        way.start()
    for way in ways:
        way.join(60)

    assert failures == []
    revision = site.node.wait_for(series.series, State.DELIVERED)
    assert len(site.node.ledger.instances(revision)) == len(series.files)
    time.sleep(3)  # longer than it takes until a late image would make a new revision
    assert len(site.node.revisions(series.series)) == 1
    assert kinds(results_of(site, series.study)) == one_set(len(series.files))
    assert len(list(Spool(site.node.settings.home).folder.rglob(f"{series.series}/*.dcm"))) == len(
        series.files
    )


def test_a_study_that_orthanc_stows_is_named_by_its_user(
    site: Site, new_series: Callable[..., Series]
) -> None:
    series = new_series()
    study = given_to(site.sender, series)
    site.sender.get(
        "/dicom-web/servers/node/stow",
        json.dumps({"Resources": [study], "Synchronous": True}).encode(),
    )

    revision = site.node.wait_for(series.series, State.DELIVERED)
    assert {one.sender for one in site.node.ledger.instances(revision)} == {"orthanc"}
    log = site.node.log.read_text()
    assert "came from orthanc" in log
    assert "Phantom" not in log  # the patient's name


def test_what_was_answered_is_there_whatever_is_killed(
    site: Site, new_series: Callable[..., Series]
) -> None:
    series = new_series()
    contents = [file.read_bytes() for file in series.files]
    half = len(contents) // 2
    answered = uids(site.post(multipart(contents[:half])), STORED)
    assert len(answered) == half

    # The process is killed with the rest of the series under way, and starts again.
    body = multipart(contents)
    context = ssl.create_default_context(cafile=str(site.ca))
    port = site.node.settings.dicomweb.port
    with (
        socket.create_connection(("127.0.0.1", port), timeout=20) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as connection,
    ):
        connection.sendall(
            f"POST /dicom-web/studies HTTP/1.1\r\nHost: node\r\nContent-Type: {DICOM_PARTS}\r\n"
            f"Authorization: Bearer {TOKEN}\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        )
        connection.sendall(body[: len(body) * 3 // 4])
        spool = Spool(site.node.settings.home)
        wait_for(lambda: len(list(spool.folder.rglob(f"{series.series}/*.dcm"))) > half, 20)
        before = site.node.children()["dicomweb"]
        site.node.kill("dicomweb")
    (revision,) = site.node.revisions(series.series)
    kept = {one.sop_instance_uid: one for one in site.node.ledger.instances(revision)}
    assert set(answered) <= set(kept)
    assert all(spool.holds(one.path, one.digest) for one in kept.values())

    wait_for(site.is_there, 30, "the service to be there again")
    assert site.node.children()["dicomweb"] != before
    response = site.post(body)
    assert response.status_code == 200
    assert len(uids(response, STORED)) == len(contents)
    newest = site.node.wait_for(series.series, State.DELIVERED)
    assert len(site.node.ledger.instances(newest)) == len(contents)


def test_curl_sends_with_a_token(
    site: Site, new_series: Callable[..., Series], tmp_path: Path
) -> None:
    series = new_series(slices=2)
    body = tmp_path / "body"
    body.write_bytes(multipart([file.read_bytes() for file in series.files]))
    command = ["curl", "-s", "--cacert", str(site.ca), "-H", f"Content-Type: {DICOM_PARTS}"]
    command += ["-H", f"Authorization: Bearer {TOKEN}", "-H", "Transfer-Encoding: chunked"]
    command += ["--data-binary", f"@{body}", f"{site.studies}/{series.study}"]
    done = subprocess.run(command, capture_output=True, timeout=60, check=True)

    assert len(json.loads(done.stdout)[STORED]["Value"]) == 2
