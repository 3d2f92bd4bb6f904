"""DICOM over TLS with DCMTK and OpenSSL, in both directions."""

import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from node.broker import free_port
from node.deliver import echo, store_files
from node.errors import DeliveryError
from node.receive import Receiver
from node.settings import Destination
from tests.certificates import Authority, Identity
from tests.e2e.conftest import Series
from tests.e2e.peers import dcmtk, running_storescp, wait_for
from tests.listening import listening


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def strangers(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """One that nobody here trusts."""
    return Authority(tmp_path_factory.mktemp("strangers"))


@pytest.fixture(scope="module")
def node(authority: Authority) -> Identity:
    return authority.issue("node")


@pytest.fixture(scope="module")
def peer(authority: Authority) -> Identity:
    return authority.issue("peer")


@pytest.fixture(scope="module")
def receiver(
    authority: Authority, node: Identity, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Receiver]:
    """A node that asks for certificates."""
    tls = {"certificate": node.certificate, "key": node.key, "ca": authority.certificate}
    with listening(tmp_path_factory.mktemp("home"), tls=tls) as running:
        yield running


def port(receiver: Receiver) -> int:
    return receiver.settings.dicom.port


def with_tls(identity: Identity, authority: Authority) -> list[str]:
    """Options of DCMTK's tools."""
    return [
        *("--enable-tls", str(identity.key), str(identity.certificate)),
        *("--add-cert-file", str(authority.certificate)),
    ]


def tool(
    name: str, receiver: Receiver, options: Sequence[str], files: Sequence[Path] = ()
) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [dcmtk(name), "-aec", "ICHNODE", *options, "127.0.0.1", str(port(receiver))]
        + [str(file) for file in files],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def still_echoes(receiver: Receiver, peer: Identity, authority: Authority) -> bool:
    return tool("echoscu", receiver, with_tls(peer, authority)).returncode == 0


# -- who calls the node ------------------------------------------------------------


def test_dcmtk_sends_to_the_node_with_tls(
    receiver: Receiver, peer: Identity, authority: Authority, new_series: Callable[..., Series]
) -> None:
    series = new_series(slices=3)
    done = tool("storescu", receiver, with_tls(peer, authority), series.files)

    assert done.returncode == 0, done.stderr
    stored = receiver.intake.spool.folder / series.study / series.series
    assert len(list(stored.iterdir())) == 3


@pytest.mark.parametrize("profile", ["--profile-bcp195", "--profile-bcp195-nd"])
def test_the_profiles_of_dcmtk_are_served(
    receiver: Receiver, peer: Identity, authority: Authority, profile: str
) -> None:
    options = [*with_tls(peer, authority), profile]

    assert tool("echoscu", receiver, options).returncode == 0


def test_without_a_certificate_nobody_gets_in(
    receiver: Receiver, peer: Identity, authority: Authority
) -> None:
    anonymous = ["--anonymous-tls", "--add-cert-file", str(authority.certificate)]

    assert tool("echoscu", receiver, anonymous).returncode != 0
    assert still_echoes(receiver, peer, authority)


def test_a_certificate_of_another_authority_is_not_taken(
    receiver: Receiver, strangers: Authority, authority: Authority
) -> None:
    stranger = strangers.issue("stranger")

    assert tool("echoscu", receiver, with_tls(stranger, authority)).returncode != 0


def test_a_certificate_that_has_ended_is_not_taken(
    receiver: Receiver, authority: Authority
) -> None:
    over = authority.issue("over", days=-1)

    assert tool("echoscu", receiver, with_tls(over, authority)).returncode != 0


def test_a_peer_sees_that_the_node_is_the_node(
    receiver: Receiver, peer: Identity, strangers: Authority
) -> None:
    assert tool("echoscu", receiver, with_tls(peer, strangers)).returncode != 0


@pytest.mark.parametrize("asked", ["optional", "none"])
def test_certificates_of_peers_are_asked_for_by_config(
    authority: Authority, node: Identity, tmp_path: Path, asked: str
) -> None:
    tls = {"certificate": node.certificate, "key": node.key, "client_certificates": asked}
    anonymous = ["--anonymous-tls", "--add-cert-file", str(authority.certificate)]
    with listening(tmp_path, tls={**tls, "ca": authority.certificate}) as receiver:
        assert tool("echoscu", receiver, anonymous).returncode == 0


def s_client(receiver: Receiver, peer: Identity, *options: str) -> str:
    """What OpenSSL says of a handshake."""
    done = subprocess.run(
        [
            *("openssl", "s_client", "-connect", f"127.0.0.1:{port(receiver)}", "-brief"),
            *("-cert", str(peer.certificate), "-key", str(peer.key), *options),
        ],
        input="",
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    return done.stdout + done.stderr


@pytest.mark.parametrize(
    ("options", "version", "suite"),
    [
        (["-tls1_3"], "TLSv1.3", "TLS_AES_256_GCM_SHA384"),
        (["-tls1_2"], "TLSv1.2", "ECDHE-ECDSA-AES256-GCM-SHA384"),
        (["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256"], "TLSv1.2", "AES128-GCM-SHA256"),
    ],
)
def test_versions_and_suites_of_bcp_195_are_negotiated(
    receiver: Receiver, peer: Identity, options: list[str], version: str, suite: str
) -> None:
    said = s_client(receiver, peer, *options)

    assert f"Protocol version: {version}" in said
    assert suite in said


@pytest.mark.parametrize(
    "options",
    [
        ["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"],
        ["-tls1", "-cipher", "ALL:@SECLEVEL=0"],
        ["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-SHA256"],
        ["-tls1_2", "-cipher", "ECDHE-ECDSA-AES256-SHA"],
        ["-tls1_2", "-cipher", "AECDH-AES128-SHA:@SECLEVEL=0"],
        ["-tls1_2", "-cipher", "ECDHE-ECDSA-NULL-SHA:@SECLEVEL=0"],
    ],
    ids=lambda options: "-".join(options)[1:],
)
def test_old_versions_and_weak_suites_are_refused(
    receiver: Receiver, peer: Identity, options: list[str]
) -> None:
    said = s_client(receiver, peer, *options)

    assert "alert handshake failure" in said or "alert protocol version" in said
    assert "CONNECTION ESTABLISHED" not in said


def test_static_rsa_is_refused(authority: Authority, tmp_path: Path) -> None:
    rsa = authority.issue("rsa", bits=2048)
    tls = {"certificate": rsa.certificate, "key": rsa.key, "client_certificates": "none"}
    with listening(tmp_path, tls=tls) as receiver:
        assert "ESTABLISHED" in s_client(receiver, rsa, "-tls1_2")
        refused = s_client(receiver, rsa, "-tls1_2", "-cipher", "AES128-GCM-SHA256")

    assert "alert handshake failure" in refused


def test_plain_dicom_to_the_port_fails_at_once_and_hangs_nobody(
    receiver: Receiver, peer: Identity, authority: Authority
) -> None:
    began = time.monotonic()

    assert tool("echoscu", receiver, []).returncode != 0
    assert time.monotonic() - began < 10
    assert still_echoes(receiver, peer, authority)


def test_tls_to_a_plain_port_fails_at_once(
    peer: Identity, authority: Authority, tmp_path: Path
) -> None:
    with listening(tmp_path) as receiver:
        began = time.monotonic()

        assert tool("echoscu", receiver, with_tls(peer, authority)).returncode != 0
        assert time.monotonic() - began < 10
        assert tool("echoscu", receiver, []).returncode == 0


def test_handshakes_that_do_not_end_hold_up_nobody(
    receiver: Receiver, peer: Identity, authority: Authority
) -> None:
    """They come first and say nothing, or the beginning of a handshake."""
    slow = [socket.create_connection(("127.0.0.1", port(receiver))) for _ in range(8)]
    try:
        for connection in slow[::2]:
            connection.sendall(b"\x16\x03\x01\x02\x00\x01")
        began = time.monotonic()

        assert still_echoes(receiver, peer, authority)
        assert time.monotonic() - began < 10
    finally:
        for connection in slow:
            connection.close()


def test_a_handshake_that_does_not_end_is_left(
    authority: Authority, node: Identity, tmp_path: Path
) -> None:
    tls = {"certificate": node.certificate, "key": node.key, "client_certificates": "none"}
    with (
        listening(tmp_path, tls=tls, idle_s=1) as receiver,
        socket.create_connection(("127.0.0.1", port(receiver))) as connection,
    ):
        connection.settimeout(10)
        for byte in b"\x16\x03\x01\x02\x00\x01":  # now and then a byte does not help
            connection.sendall(bytes([byte]))
            time.sleep(0.1)

        assert connection.recv(100) == b""


# -- whom the node calls -----------------------------------------------------------


@contextmanager
def archive(folder: Path, *options: str) -> Iterator[int]:
    """Run DCMTK's storescp; gives its port."""
    port = free_port()
    with running_storescp(folder, port, *options):
        wait_for(lambda: is_open(port), 10, "storescp to listen")
        yield port


def is_open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def destination(port: int, authority: Authority, node: Identity, **more: object) -> Destination:
    keys: dict[str, object] = {
        **{"name": "pacs", "ae_title": "PACS", "host": "127.0.0.1", "port": port, "tls": True},
        **{"tls_ca": authority.certificate, "tls_certificate": node.certificate},
        **{"tls_key": node.key, **more},
    }
    return Destination.model_validate(keys)


def why_it_fails(peer: Destination) -> str:
    with pytest.raises(DeliveryError) as caught:
        echo("ICHNODE", peer, 10)
    return str(caught.value)


def test_the_node_sends_to_dcmtk_with_tls(
    authority: Authority,
    node: Identity,
    peer: Identity,
    new_series: Callable[..., Series],
    tmp_path: Path,
) -> None:
    series = new_series(slices=3)
    with archive(tmp_path / "pacs", *with_tls(peer, authority)) as port:
        refused = store_files(
            "ICHNODE", destination(port, authority, node), series.files, lambda: None
        )

    assert refused == []
    assert len(list((tmp_path / "pacs").iterdir())) == 3


def test_a_destination_of_another_authority_is_not_called(
    authority: Authority, strangers: Authority, node: Identity, tmp_path: Path
) -> None:
    stranger = strangers.issue("archive")
    with archive(tmp_path / "pacs", *with_tls(stranger, authority)) as port:
        why = why_it_fails(destination(port, authority, node))

    assert "PACS at 127.0.0.1" in why
    assert "its certificate is not taken: unable to get local issuer certificate" in why


def test_a_destination_whose_certificate_has_ended_is_not_called(
    authority: Authority, node: Identity, tmp_path: Path
) -> None:
    over = authority.issue("over-archive", days=-1)
    with archive(tmp_path / "pacs", *with_tls(over, authority)) as port:
        why = why_it_fails(destination(port, authority, node))

    assert "its certificate is not taken: certificate has expired" in why


def test_a_destination_with_the_certificate_of_another_host_is_called_only_if_told_so(
    authority: Authority, node: Identity, tmp_path: Path
) -> None:
    elsewhere = authority.issue("elsewhere", names="DNS:pacs.example")
    with archive(tmp_path / "pacs", *with_tls(elsewhere, authority)) as port:
        why = why_it_fails(destination(port, authority, node))
        echo("ICHNODE", destination(port, authority, node, tls_check_host=False), 10)

    assert "its certificate is not taken: IP address mismatch" in why


def test_a_destination_that_wants_a_certificate_says_so(
    authority: Authority, node: Identity, peer: Identity, tmp_path: Path
) -> None:
    with archive(tmp_path / "pacs", *with_tls(peer, authority)) as port:
        without = destination(port, authority, node, tls_certificate=None, tls_key=None)
        why = why_it_fails(without)

    assert "TLS fails" in why


def test_a_destination_without_tls_is_not_sent_anything(
    authority: Authority, node: Identity, tmp_path: Path
) -> None:
    with archive(tmp_path / "pacs") as port:
        began = time.monotonic()
        why = why_it_fails(destination(port, authority, node))

    assert "does not answer" in why
    assert time.monotonic() - began < 30


def test_a_destination_with_old_tls_only_is_not_called(
    authority: Authority, node: Identity, peer: Identity
) -> None:
    port = free_port()
    server = subprocess.Popen(
        [
            *("openssl", "s_server", "-accept", str(port), "-quiet"),
            *("-tls1_1", "-cipher", "ALL:@SECLEVEL=0"),
            *("-cert", str(peer.certificate), "-key", str(peer.key)),
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_for(lambda: is_open(port), 10, "s_server to listen")
        why = why_it_fails(destination(port, authority, node))
    finally:
        server.kill()
        server.wait()

    assert "TLS fails" in why


def test_the_certificate_that_the_node_shows_is_its_own(receiver: Receiver, node: Identity) -> None:
    shown = ssl.get_server_certificate(("127.0.0.1", port(receiver)))

    assert shown.split() == node.certificate.read_text().split()
