"""A receiver of its own: what it takes of the machine, and whether it is well."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from http.client import HTTPConnection
from io import BytesIO
from pathlib import Path
from typing import TypeVar

from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid
from pynetdicom import AE
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from node.broker import free_port
from tests import ct

P = TypeVar("P", bound="Port")

IDLE_S = 3
"""The receiver leaves a silent peer after that."""

MOST_AT_ONCE = 30
"""Requests that the service takes, and so threads that it has."""

WELL_S = 5.0
"""So soon C-ECHO and C-STORE must be answered, with all that other processes do."""


@dataclass(frozen=True)
class Use:
    """What a process takes: resident memory in MiB, threads, open files and connections."""

    mib: int
    threads: int
    open: int


@dataclass(frozen=True)
class Port:
    """A receiver that runs."""

    process: "subprocess.Popen[bytes]"
    number: int
    log: Path
    spare: int = 5
    """Threads, open files and connections that it may keep: those of an association's end, or of
    the ledger's pool."""

    def use(self) -> Use:
        """What it takes now."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        values = dict(line.split(":", 1) for line in lines if ":" in line)
        return Use(
            int(values["VmRSS"].split()[0]) >> 10,
            int(values["Threads"]),
            sum(1 for _ in Path(f"/proc/{self.process.pid}/fd").iterdir()),
        )

    def illness(self) -> str | None:
        """What is wrong with it; None if it echoes and stores at once."""
        if self.process.poll() is not None:
            return f"it ended with status {self.process.returncode}"
        start = time.monotonic()
        ae = AE(ae_title="WELL")
        ae.add_requested_context(Verification)
        ae.add_requested_context(CTImageStorage, ExplicitVRLittleEndian)
        association = ae.associate("127.0.0.1", self.number, ae_title="ICHNODE")
        if not association.is_established:
            return "it takes no association"
        try:
            echo, store = association.send_c_echo(), association.send_c_store(_image())
        finally:
            association.release()
        if (echo.get("Status"), store.get("Status")) != (0, 0):
            return f"it answers C-ECHO with {echo!r} and C-STORE with {store!r}"
        taken_s = time.monotonic() - start
        return f"it took {taken_s:.1f} s" if taken_s > WELL_S else None


@dataclass(frozen=True)
class StowPort(Port):
    """A service by STOW-RS that runs; it keeps its threads, each with the ledger open."""

    spare: int = 2 * MOST_AT_ONCE

    def illness(self) -> str | None:
        """What is wrong with it; None if it stores at once."""
        if self.process.poll() is not None:
            return f"it ended with status {self.process.returncode}"
        start = time.monotonic()
        content = BytesIO()
        _image().save_as(content, enforce_file_format=True)
        connection = HTTPConnection("127.0.0.1", self.number, timeout=2 * WELL_S)
        headers = {"Content-Type": "application/dicom"}
        try:
            connection.request("POST", "/dicom-web/studies", content.getvalue(), headers)
            status = connection.getresponse().status
        except OSError as error:
            return f"it takes no request: {error}"
        finally:
            connection.close()
        if status != HTTPStatus.OK:
            return f"it answers with {status}"
        taken_s = time.monotonic() - start
        return f"it took {taken_s:.1f} s" if taken_s > WELL_S else None


def _image() -> Dataset:
    image = ct.image()
    image.SOPInstanceUID = generate_uid()
    image.StudyInstanceUID, image.SeriesInstanceUID = generate_uid(), generate_uid()
    image.file_meta.MediaStorageSOPClassUID = image.SOPClassUID
    image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
    return image


@contextmanager
def running_port(folder: Path) -> Iterator[Port]:
    """Run `ichnode receive` with room for many sessions from one address."""
    number = free_port()
    with _running(folder, "receive", 200, f"port = {number}", "") as (process, log):
        yield from _well(Port(process, number, log))


@contextmanager
def running_stow(folder: Path) -> Iterator[StowPort]:
    """Run `ichnode dicomweb` with room for many requests from one address."""
    number = free_port()
    more = f"[dicomweb]\nport = {number}\n"
    with _running(folder, "dicomweb", MOST_AT_ONCE, "", more) as (process, log):
        yield from _well(StowPort(process, number, log))


def _well(port: P) -> Iterator[P]:
    deadline = time.monotonic() + 90
    while port.illness() is not None:
        if port.process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"the receiver does not start: {port.log.read_text()[-2000:]}")
        time.sleep(0.2)
    yield port


@contextmanager
def _running(
    folder: Path, part: str, most: int, dicom: str, more: str
) -> Iterator[tuple["subprocess.Popen[bytes]", Path]]:
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "ichnode.toml"
    config.write_text(
        f'home = "{folder / "home"}"\n'
        f"[dicom]\n{dicom}\nprocesses = 1\nidle_s = {IDLE_S}\nmax_associations = {most}\n"
        f"max_associations_per_address = {most}\nassociations_per_minute = 100000\n"
        "[assemble]\nquiet_s = 100000\n"  # nothing is to be analyzed, so nobody needs the broker
        f'[broker]\nurl = "redis://127.0.0.1:{free_port()}/0"\n{more}'
    )
    log = folder / f"{part}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "node", part, "--config", str(config)],
            stdout=output,
            stderr=output,
        )
    try:
        yield process, log
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
