"""Archives to fetch from: DCMTK's dcmqrscp, and one that answers as badly as it is told to."""

import os
import signal
import subprocess
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pydicom
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage
from pynetdicom import AE, evt
from pynetdicom.presentation import build_context

from node.broker import free_port
from node.fetch.association import FIND, GET, MOVE
from tests.e2e.peers import _listens, dcmtk, wait_for

Answers = Callable[[Dataset, list[Dataset]], list[Dataset]]


@dataclass
class Dcmqrscp:
    """DCMTK's archive, called QRSCP; it has a process for each association."""

    port: int
    process: "subprocess.Popen[bytes]"

    def kill(self) -> None:
        """Kill it with all that it does just now."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@contextmanager
def running_dcmqrscp(folder: Path, node_port: int, **others: int) -> Iterator[Dcmqrscp]:
    """Run an archive that knows the node, and others by their title and port."""
    (folder / "storage").mkdir(parents=True)
    port = free_port()
    config = folder / "dcmqrscp.cfg"
    config.write_text(
        f"NetworkTCPPort = {port}\nMaxPDUSize = 16384\nMaxAssociations = 16\n"
        "HostTable BEGIN\n"
        + "".join(
            f"{title} = ({title}, 127.0.0.1, {number})\n"
            for title, number in {"ICHNODE": node_port, **others}.items()
        )
        + "HostTable END\n"
        "VendorTable BEGIN\nVendorTable END\n"
        f"AETable BEGIN\nQRSCP {folder / 'storage'} RW (200, 1024mb) ANY\nAETable END\n"
    )
    process = subprocess.Popen(
        [dcmtk("dcmqrscp"), "-c", str(config)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "TCP_NODELAY": "1"},
        start_new_session=True,
    )
    found = Dcmqrscp(port, process)
    try:
        wait_for(lambda: _listens(port), 20, "dcmqrscp to listen")
        yield found
    finally:
        found.kill()


@dataclass
class BadArchive:
    """An archive with images, and what is wrong with it."""

    images: list[Dataset]
    port: int = 0
    node_port: int = 0
    counted: int | None = None
    """What it counts in each series, instead of how many there are."""
    answers: Answers = lambda _asked, found: found
    """What becomes of the answers to a question."""
    tells_images: bool = True
    find_status: int | None = None
    """Instead of any answer to a C-FIND."""
    retrieve_status: int | None = None
    """Instead of any image."""
    gives: Callable[[Sequence[Dataset]], Sequence[Dataset]] = lambda images: images
    """Which images of a series it gives, and says are all."""
    at_image: Callable[[Any, int], None] = lambda _event, _number: None
    """Called before each image that it gives."""
    entity: dict[str, Any] = field(default_factory=dict)
    """What is set on its application entity."""
    asked: list[str] = field(default_factory=list)
    """Levels of what was asked for."""
    keys: dict[str, list[tuple[str, str]]] = field(default_factory=dict)
    """Tags of what is asked of each level."""
    retrievals: int = 0

    @classmethod
    def of(cls, files: Sequence[Path], **wrong: Any) -> "BadArchive":
        """An archive with images from files."""
        return cls([pydicom.dcmread(file) for file in files], **wrong)

    def find(self, event: evt.Event) -> Iterator[tuple[int, Dataset | None]]:
        """Answer a C-FIND."""
        asked = event.identifier
        level = str(asked.QueryRetrieveLevel)
        self.asked.append(level)
        tags = [element.tag for element in asked if element.keyword != "QueryRetrieveLevel"]
        self.keys[level] = [(f"{tag.group:04X}", f"{tag.element:04X}") for tag in tags]
        if self.find_status is not None or (level == "IMAGE" and not self.tells_images):
            yield self.find_status or 0xA900, None
            return
        for answer in self.answers(asked, self._answers(asked, level)):
            yield 0xFF00, answer

    def _answers(self, asked: Dataset, level: str) -> list[Dataset]:
        unique = f"{'SOP' if level == 'IMAGE' else level.title()}InstanceUID"
        counts = Counter(str(image.get(unique)) for image in self.images)
        found: dict[str, Dataset] = {}
        for image in self._matching(asked):
            answer = Dataset()
            answer.QueryRetrieveLevel = level
            for element in asked:
                if element.keyword in image:
                    answer[element.tag] = image[element.tag]
            count = counts[str(image.get(unique))] if self.counted is None else self.counted
            if "NumberOfSeriesRelatedInstances" in asked:
                answer.NumberOfSeriesRelatedInstances = str(count)
            if "NumberOfStudyRelatedInstances" in asked:
                answer.NumberOfStudyRelatedInstances = str(count)
            found[str(image.get(unique))] = answer
        return list(found.values())

    def _matching(self, asked: Dataset) -> list[Dataset]:
        keys = ("StudyInstanceUID", "SeriesInstanceUID", "AccessionNumber")
        wanted = {key: str(asked.get(key) or "") for key in keys}
        return [
            image
            for image in self.images
            if all(not value or str(image.get(key)) == value for key, value in wanted.items())
        ]

    def get(self, event: evt.Event) -> Iterator[Any]:
        """Answer a C-GET."""
        self.retrievals += 1
        if self.retrieve_status is not None:
            yield 1
            yield self.retrieve_status, None
            return
        images = list(self.gives(self._matching(event.identifier)))
        yield len(images)
        for number, image in enumerate(images):
            self.at_image(event, number)
            yield 0xFF00, image

    def move(self, event: evt.Event) -> Iterator[Any]:
        """Answer a C-MOVE."""
        if self.retrieve_status == 0xA801:
            yield None, None
            return
        yield "127.0.0.1", self.node_port, {"contexts": [build_context(CTImageStorage)]}
        yield from self.get(event)


@contextmanager
def running(archive: BadArchive, *handlers: evt.EventHandlerType) -> Iterator[BadArchive]:
    """Let an archive answer."""
    ae = AE("ARCHIVE")
    for model in (FIND, MOVE, GET):
        ae.add_supported_context(model)
    ae.add_supported_context(CTImageStorage, scu_role=True, scp_role=True)
    for name, value in archive.entity.items():
        setattr(ae, name, value)
    archive.port = free_port()
    server = ae.start_server(
        ("127.0.0.1", archive.port),
        block=False,
        evt_handlers=[
            (evt.EVT_C_FIND, archive.find),
            (evt.EVT_C_GET, archive.get),
            (evt.EVT_C_MOVE, archive.move),
            *handlers,
        ],
    )
    try:
        yield archive
    finally:
        server.shutdown()


def in_thread(work: Callable[[], object]) -> threading.Thread:
    """Begin something beside the test."""
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread
