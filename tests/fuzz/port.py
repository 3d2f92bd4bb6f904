"""A receiver of its own: what it takes of the machine, and whether it is well."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid
from pynetdicom import AE
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from node.broker import free_port
from tests import ct

IDLE_S = 3
"""The receiver leaves a silent peer after that."""

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
    folder.mkdir(parents=True, exist_ok=True)
    number = free_port()
    config = folder / "ichnode.toml"
    config.write_text(
        f'home = "{folder / "home"}"\n'
        f"[dicom]\nport = {number}\nprocesses = 1\nidle_s = {IDLE_S}\nmax_associations = 200\n"
        "max_associations_per_address = 200\nassociations_per_minute = 100000\n"
        "[assemble]\nquiet_s = 100000\n"  # nothing is to be analyzed, so nobody needs the broker
        f'[broker]\nurl = "redis://127.0.0.1:{free_port()}/0"\n'
    )
    log = folder / "receive.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "node", "receive", "--config", str(config)],
            stdout=output,
            stderr=output,
        )
    port = Port(process, number, log)
    try:
        deadline = time.monotonic() + 90
        while port.illness() is not None:
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the receiver does not start: {log.read_text()[-2000:]}")
            time.sleep(0.2)
        yield port
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
