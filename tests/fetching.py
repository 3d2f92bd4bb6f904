"""A node that fetches, in this process: its receiver, its ledger and one fetcher."""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydicom

from node.audit import Auditor
from node.broker import free_port
from node.errors import SourceError
from node.fetch import Fetcher, FoundSeries, Outcome, Pace, Query, fetch_all, open_source
from node.fetch.poller import Turns
from node.fetch.source import Source
from node.intake import Intake
from node.ledger import FetchState, Ledger, State, open_ledger
from node.receive import start_receiver
from node.settings import Settings, SourceSettings
from node.spool import Spool


class Silent:
    """Stands for somebody who watches."""

    def __init__(self, came: Callable[[int], None] = lambda _: None) -> None:
        self._came = came

    def asks(self, query: Query, index: int) -> None:
        """Nothing is shown."""

    def found(self, series: int) -> None:
        """Nothing is shown."""

    def came(self, found: FoundSeries, images: int) -> None:
        """Tell the test."""
        self._came(images)

    def ended(self, outcome: Outcome) -> None:
        """Nothing is shown."""

    def rests(self, error: SourceError, pause_s: float) -> None:
        """Nothing is shown."""


@dataclass
class Fetching:
    """A node that fetches from one source."""

    settings: Settings
    rules: SourceSettings
    ledger: Ledger
    spool: Spool
    source: Source
    fetcher: Fetcher
    turns: Turns
    stop: threading.Event

    @property
    def port(self) -> int:
        """Where its receiver listens."""
        return self.settings.dicom.port

    def by_hand(
        self, query: Query, came: Callable[[int], None] = lambda _: None, **how: Any
    ) -> list[Outcome]:
        """Fetch what somebody asks for."""
        return list(fetch_all(self.fetcher, [query], Silent(came), **how))

    def poll(self, query: Query) -> None:
        """Look what is new, and fetch what is due."""
        self.fetcher.note(list(self.fetcher.find(query)))
        self.fetcher.fetch_due()

    def fetch_whatever_comes(self, found: FoundSeries) -> Outcome:
        """Fetch a series though it may be known, as one that is due."""
        uids = found.study_instance_uid, found.series_instance_uid
        values = {"state": FetchState.WANTED, "counted": found.images}
        self.ledger.enter_fetches(self.rules.name, [(*uids, values)])
        row = self.fetcher.seen([found])[uids]
        while True:
            outcome = self.fetcher.fetch(found, row)
            assert outcome is not None
            if outcome.state is not FetchState.WANTED:
                return outcome
            threading.Event().wait(0.1)
            row = self.fetcher.seen([found])[uids]

    def judge(self, uid: str) -> None:
        """Let the newest revision move on, as if it were judged."""
        revision = self.ledger.find(uid)[-1]
        assert self.ledger.move(revision.id, State.RECEIVING, State.DELIVERED, due_at=None)

    def count(self, uid: str) -> tuple[int, int]:
        """How many revisions a series has, and how many images the newest."""
        revisions = self.ledger.find(uid)
        return len(revisions), revisions[-1].instances if revisions else 0

    def files(self, uid: str) -> list[Path]:
        """The files of a series in the spool."""
        return sorted(self.spool.folder.glob(f"*/{uid}/[!.]*.dcm"))

    def pixels_of(self, uid: str) -> dict[str, bytes]:
        """The pixels of every image of a series, by its UID."""
        images = map(pydicom.dcmread, self.files(uid))
        return {str(image.SOPInstanceUID): image.pixel_array.tobytes() for image in images}


@contextmanager
def fetching(
    home: Path,
    title: str = "",
    port: int = 0,
    *,
    url: str | None = None,
    retrieve: str = "get",
    node_port: int | None = None,
    timeout_s: float = 10,
    quiet_s: float = 1,
    max_attempts: int = 3,
    listens: bool = True,
    port_tls: Mapping[str, Any] | None = None,
    **keys: Any,
) -> Iterator[Fetching]:
    """Run a node that fetches from a source.

    Parameters
    ----------
    home : pathlib.Path
    title : str
        AE title of the source.
    port : int
        Where it listens.
    url : str, optional
        Or where its DICOMweb begins.
    retrieve : str
    node_port : int, optional
        Where the node is to listen.
    timeout_s, quiet_s : float
    max_attempts : int
    listens : bool
        Whether anybody can send to it.
    port_tls : mapping, optional
        For those who do.
    **keys
        Further ones of ``[[sources]]``.
    """
    address: dict[str, Any] = {"url": url}
    if url is None:
        address = {"ae_title": title, "host": "127.0.0.1", "port": port, "retrieve": retrieve}
    settings = Settings(
        home=home,
        dicom={"port": node_port or free_port(), "min_free_gb": 0, "tls": port_tls or {}},
        sources=({"name": "pacs", **address, **keys},),
        assemble={"quiet_s": quiet_s, "grace_s": 0},
        fetch={
            "timeout_s": timeout_s,
            "first_pause_s": 0.05,
            "longest_pause_s": 0.1,
            "max_attempts": max_attempts,
        },
    )
    (rules,) = settings.sources
    ledger, spool, stop = open_ledger(settings.ledger_url), Spool(home), threading.Event()
    with Auditor.open(settings, "fetch") as auditor:
        receiver = start_receiver(settings, spool, ledger, auditor) if listens else None
        intake = Intake(settings, spool, ledger, auditor)
        source = open_source(settings, rules)
        fetcher = Fetcher(source, rules, settings, ledger, intake, auditor, Pace(), stop)
        turns = Turns(rules, settings, ledger, intake, auditor, stop)
        try:
            yield Fetching(settings, rules, ledger, spool, source, fetcher, turns, stop)
        finally:
            stop.set()
            if receiver is not None:
                receiver.stop()
            ledger.close()
