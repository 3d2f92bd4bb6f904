"""A node whose series have really gone their way, and its web page on a port of its own."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydicom
from pydicom.uid import generate_uid

from node.analyze import Analyzer
from node.broker import free_port
from node.ledger import Instance, Ledger, Revision, open_ledger
from node.reading import read_identity
from node.settings import Settings
from node.spool import Spool, digest_of
from node.sweep import Sweeper
from node.web.serve import open_page
from node.work import Worker
from tests.bench.ledger import Silent
from tests.e2e.peers import wait_for

SENDER = "CT_ER_1"


@dataclass
class Stations:
    """The stations of a node in this process: what is sent to it has gone its way at once."""

    settings: Settings

    def __post_init__(self) -> None:
        self.ledger: Ledger = open_ledger(self.settings.ledger_url)
        self.spool = Spool(self.settings.home)
        self._sweeper = Sweeper(self.settings, self.spool, self.ledger, Silent())
        analyzer = Analyzer.load(self.settings)
        self._worker = Worker(self.settings, self.ledger, self.spool, Silent(), analyzer)

    def send(
        self,
        files: Sequence[Path],
        change: Callable[[pydicom.Dataset], None] | None = None,
        **report: object,
    ) -> Revision:
        """Receive, assemble, analyze and report a series of its own; `report` as `[report]`."""
        study, series = generate_uid(), generate_uid()
        for file in files:
            image = pydicom.dcmread(file)
            image.StudyInstanceUID, image.SeriesInstanceUID = study, series
            image.SOPInstanceUID = generate_uid()
            image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
            if change is not None:
                change(image)
            image.save_as(file)
            revision_id = self.receive(file)
        section = self.settings.report.model_validate(report)
        self._worker.settings = self.settings.model_copy(update={"report": section})
        return self.go_on(revision_id)

    def receive(self, file: Path) -> int:
        """Receive an image; the id of the revision that it is of."""
        content = file.read_bytes()
        found, digest = read_identity(content), digest_of(content)
        path = self.spool.keep(found.study, found.series, found.instance, digest, content)
        instance = Instance(
            found.study, found.series, found.instance, found.sop_class, digest, path, SENDER
        )
        revision_id = self.ledger.store(instance, 0).revision_id
        self.ledger.release([revision_id], 0)
        return revision_id

    def go_on(self, revision_id: int, settings: Settings | None = None) -> Revision:
        """Assemble and analyze what is due."""
        self._sweeper.assemble()
        self._worker.settings = settings or self._worker.settings
        self._worker.analyze(revision_id)
        revision = self.ledger.revision(revision_id)
        assert revision is not None
        return revision


@dataclass(frozen=True)
class Site:
    """A web page on a port."""

    address: str
    settings: Settings


@contextmanager
def running_page(settings: Settings, **web: Any) -> Iterator[Site]:
    """Serve the page of a node in a thread.

    Parameters
    ----------
    settings : Settings
    **web
        Keys of ``[web]``.
    """
    port = free_port()
    section = settings.web.model_validate(
        settings.web.model_dump() | {"port": port} | web, strict=False
    )
    changed = settings.model_copy(update={"web": section})
    with open_page(changed) as (server, listening):
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        wait_for(lambda: server.started, 20, "the page to be served")
        try:
            yield Site(f"http://127.0.0.1:{port}", changed)
        finally:
            server.should_exit = True
            thread.join(10)
