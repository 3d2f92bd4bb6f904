"""A service that takes instances by STOW-RS in this process, and what is sent to it."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from node.audit import Auditor
from node.broker import free_port
from node.ledger import Ledger, open_ledger
from node.settings import Settings
from node.spool import Spool
from node.stow.serve import open_service
from tests.e2e.peers import wait_for

BOUNDARY = "b0undary"
DICOM_PARTS = f'multipart/related; type="application/dicom"; boundary="{BOUNDARY}"'
PART = b"Content-Type: application/dicom"


@dataclass(frozen=True)
class Service:
    """The service on a port."""

    url: str
    settings: Settings
    ledger: Ledger
    spool: Spool

    @property
    def studies(self) -> str:
        return f"{self.url}/dicom-web/studies"

    def post(
        self,
        body: Any,
        content_type: str = DICOM_PARTS,
        study: str | None = None,
        **more: Any,
    ) -> requests.Response:
        """Send a store request."""
        headers = {"Content-Type": content_type} | more.pop("headers", {})
        address = self.studies if study is None else f"{self.studies}/{study}"
        return requests.post(address, data=body, headers=headers, timeout=30, **more)

    def stored(self) -> list[Path]:
        """The files in the spool."""
        return sorted(self.spool.folder.rglob("*.dcm"))

    def quarantined(self) -> list[str]:
        """Why instances were put aside."""
        return [path.read_text() for path in sorted(self.spool.quarantined.rglob("reason.txt"))]


def settings_for(home: Path, dicom: dict[str, Any] | None = None, **dicomweb: Any) -> Settings:
    """Settings of a node that takes instances by STOW-RS."""
    return Settings(
        home=home,
        dicom={"port": free_port(), **(dicom or {})},
        dicomweb={"port": free_port(), **dicomweb},
    )


@contextmanager
def taking(
    home: Path, dicom: dict[str, Any] | None = None, scheme: str = "http", **dicomweb: Any
) -> Iterator[Service]:
    """Run the service in a thread.

    Parameters
    ----------
    home : pathlib.Path
    dicom : dict
        Keys of ``[dicom]``.
    scheme : str
    **dicomweb
        Keys of ``[dicomweb]``.
    """
    settings = settings_for(home, dicom, **dicomweb)
    ledger, spool = open_ledger(settings.ledger_url), Spool(home)
    with (
        Auditor.open(settings, "dicomweb") as auditor,
        open_service(settings, spool, ledger, auditor) as (server, listening),
    ):
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        wait_for(lambda: server.started, 20, "the service to be there")
        try:
            url = f"{scheme}://127.0.0.1:{settings.dicomweb.port}"
            yield Service(url, settings, ledger, spool)
        finally:
            server.should_exit = True
            thread.join(15)
            ledger.close()


def multipart(contents: Sequence[bytes], header: bytes = PART) -> bytes:
    """Instances as the body of a request."""
    delimiter = b"--" + BOUNDARY.encode()
    parts = [delimiter + b"\r\n" + header + b"\r\n\r\n" + content for content in contents]
    return b"\r\n".join([*parts, delimiter + b"--\r\n"])


def uids(response: requests.Response, sequence: str) -> list[str]:
    """SOP Instance UIDs of a sequence of the answer."""
    items = response.json().get(sequence, {"Value": []})["Value"]
    return [item["00081155"]["Value"][0] for item in items]


STORED, FAILED, OTHERS = "00081199", "00081198", "0008119A"


def reasons(response: requests.Response, sequence: str = FAILED) -> list[int]:
    """Failure Reasons of a sequence of the answer."""
    items = response.json().get(sequence, {"Value": []})["Value"]
    return [item["00081197"]["Value"][0] for item in items]
