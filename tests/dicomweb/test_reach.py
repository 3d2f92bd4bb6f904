"""A DICOMweb destination is asked whether it answers: each illness by its name, with its cure."""

from collections.abc import Callable
from pathlib import Path

import pytest

from node.broker import free_port
from node.check import Finding, Health, check, parts
from node.reach import ReachError, reach
from node.settings import Settings
from tests.certificates import Authority
from tests.dicomweb.conftest import at
from tests.dicomweb.servers import Answer, Told, nginx_before
from tests.e2e.peers import Orthanc


def ill(url: str, **more: object) -> tuple[str, str]:
    """What is wrong with it, and the cure."""
    with pytest.raises(ReachError) as caught:
        reach("ICHNODE", at(url, **more))
    assert len(f"{caught.value}{caught.value.cure}".splitlines()) == 1
    return str(caught.value), caught.value.cure


def test_orthanc_is_well(archive: Orthanc) -> None:
    reach("ICHNODE", at(f"http://127.0.0.1:{archive.http_port}/dicom-web/"))


def test_a_port_where_nothing_listens() -> None:
    port = free_port()
    assert ill(f"http://127.0.0.1:{port}/dicom-web") == (
        "nothing listens there",
        f"is it up, and is {port} the port of its web server?",
    )


def test_a_name_that_nobody_knows() -> None:
    trouble, _ = ill("https://nosuch.invalid/dicom-web")
    assert trouble == "the name nosuch.invalid is not known"


def test_the_wrong_path(archive: Orthanc) -> None:
    trouble, cure = ill(f"http://127.0.0.1:{archive.http_port}/dicomweb")
    assert (trouble, cure) == ("it answers 404 Not Found", "is the path of url right?")


def test_a_page_for_people(told: Told) -> None:
    told.answer = lambda _: Answer(200, b"<html>Welcome</html>", {"Content-Type": "text/html"})
    assert ill(told.url) == (
        "its answer is not DICOM JSON",
        "is the path of url that of DICOMweb?",
    )


def test_a_server_that_takes_no_tls(archive: Orthanc) -> None:
    assert ill(f"https://127.0.0.1:{archive.http_port}/dicom-web") == (
        "it takes no TLS",
        "set http:// in url, or the port that it takes TLS on",
    )


def test_a_server_that_takes_tls_only_or_has_a_certificate_of_a_stranger(
    archive: Orthanc, authority: Authority, secret: Callable[[str], Path], tmp_path: Path
) -> None:
    token, identity = secret("token"), authority.issue("reached")
    with nginx_before(archive.http_port, tmp_path / "nginx", identity, token_file=token) as port:
        trouble, cure = ill(f"http://127.0.0.1:{port}/dicom-web")
        assert trouble == "it takes TLS only"
        assert cure.startswith("set https:// in url, and tls_ca")
        url = f"https://127.0.0.1:{port}/dicom-web"
        trouble, cure = ill(url, token_file=token)
        assert trouble.startswith("its certificate is not taken: ")
        assert cure == "see tls_ca and tls_check_host"
        assert ill(url, tls_ca=authority.certificate) == (
            "it answers 401 Unauthorized",
            "see user and password_file, or token_file",
        )
        reach("ICHNODE", at(url, tls_ca=authority.certificate, token_file=token))


def test_a_secret_that_everybody_can_read(told: Told, secret: Callable[[str], Path]) -> None:
    token = secret("token")
    token.chmod(0o644)
    trouble, _ = ill(told.url, token_file=token)
    assert "can be read or changed by others: chmod 600 it" in trouble
    assert told.got == []


def test_certificates_that_are_gone(told: Told, tmp_path: Path) -> None:
    port = told.url.rpartition(":")[2]
    trouble, cure = ill(f"https://127.0.0.1:{port}", tls_ca=tmp_path / "gone.pem")
    assert "gone.pem cannot be read" in trouble
    assert cure == "see its keys in the configuration"


def test_the_doctor_tells_a_server_that_is_well_from_one_that_is_not(
    archive: Orthanc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def elsewhere(*_: object) -> Finding:
        return Finding("what judges", Health.BAD, "is looked at by other tests")

    monkeypatch.setattr(parts, "_bundle", elsewhere)
    monkeypatch.setattr(parts, "_device", elsewhere)
    well = {"name": "well", "url": f"http://127.0.0.1:{archive.http_port}/dicom-web"}
    ill = {"name": "ill", "url": f"http://127.0.0.1:{archive.http_port}/dicomweb"}
    settings = Settings(home=tmp_path, destinations=[well, ill], sources=[well, ill])

    found = {finding.subject: finding for finding in check(settings)}

    for what in ("destination", "source"):
        good, bad = found[f"{what} well"], found[f"{what} ill"]
        assert (good.health, good.text) == (Health.GOOD, f"{well['url']} answers a QIDO-RS search")
        assert (bad.health, bad.text) == (Health.BAD, f"{ill['url']}: it answers 404 Not Found")
        assert bad.cure == "is the path of url right?"
