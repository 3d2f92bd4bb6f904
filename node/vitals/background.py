"""Looks that take long: done again and again in threads, and remembered."""

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Generic, TypeVar

from ml.errors import first_line
from node.broker import broker_url
from node.errors import ConfigError
from node.hints import Asking, Queue
from node.reach import ReachError, reach
from node.settings import Destination, Settings
from node.spool import Spool
from node.vitals.records import GPU, Echo, Folder, WorkerState

log = logging.getLogger(__name__)

WORKERS_EVERY_S = 10.0
FOLDERS_EVERY_S = 3600.0

_FILES_AT_ONCE = 1000
_REST = 9.0
"""Walking through a folder rests for this many times as long as it has worked."""

T = TypeVar("T")


class Repeated(Generic[T]):
    """A look that is done again and again in a thread of its own.

    Parameters
    ----------
    look : callable
    every_s : float
        Seconds between the end of one look and the begin of the next.
    stop : threading.Event
        Ends it.
    """

    def __init__(self, look: Callable[[], T], every_s: float, stop: threading.Event) -> None:
        self.value: T | None = None
        """What was found last; None before the first look has ended."""
        self._look = look
        self._every_s = every_s
        self._stop = stop
        self._is_ill = False
        self.thread = threading.Thread(target=self._run, daemon=True, name="vitals")

    def _run(self) -> None:
        while True:
            try:
                self.value = self._look()
                self._is_ill = False
            except Exception as error:  # the next look may succeed
                if not self._is_ill:  # once, not at every look
                    log.warning("a look at the node did not succeed: %s", first_line(error))
                self._is_ill = True
            if self._stop.wait(self._every_s):
                return


class Background:
    """What is known of workers and folders, as a context: its threads run meanwhile.

    Parameters
    ----------
    settings : Settings
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._stop = threading.Event()
        self._asking: Asking | None = None
        self._workers = Repeated(self.ask_workers, WORKERS_EVERY_S, self._stop)
        self._folders = Repeated(self._walk, FOLDERS_EVERY_S, self._stop)
        self._echoes: dict[str, Echo] = {}

    def __enter__(self) -> "Background":
        for repeated in (self._workers, self._folders):
            repeated.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()

    @property
    def workers(self) -> tuple[WorkerState, ...] | None:
        """The workers that answered when they were last asked; None before that."""
        return self._workers.value

    @property
    def folders(self) -> tuple[Folder, ...]:
        """What the folders of home held when they were last walked through."""
        return self._folders.value or ()

    @property
    def echoes(self) -> tuple[Echo, ...]:
        """What destinations answered when they were last asked."""
        return tuple(self._echoes.values())

    def echo(self, destination: Destination) -> Echo:
        """Ask a destination whether it answers, and remember what it answers."""
        trouble = None
        try:
            reach(self._settings.dicom.ae_title, destination)
        except ReachError as error:
            trouble = f"{destination.where}: {error}: {error.cure}"
        found = Echo(destination.name, datetime.now(UTC), trouble)
        self._echoes[destination.name] = found
        return found

    def ask_workers(self) -> tuple[WorkerState, ...]:
        """Ask every worker how it is: takes a second."""
        try:
            url = broker_url(self._settings)
        except ConfigError:  # the broker that `up` would start does not run
            return ()
        if self._asking is None or self._asking.url != url:  # `up` has started another one
            self._asking = Asking(url, self._settings)
        answers = sorted(self._asking.ask().items())
        return tuple(_as_worker(name, said) for name, said in answers)

    def _walk(self) -> tuple[Folder, ...]:
        spool = Spool(self._settings.home)
        folders = (spool.folder, spool.results, spool.quarantined)
        return tuple(measure(folder, self._stop) for folder in folders)


def _as_worker(name: str, answer: dict[str, Any]) -> WorkerState:
    gpu = answer.get("gpu")
    return WorkerState(
        name,
        Queue(name.partition("-")[0]),
        answer.get("device"),
        None if gpu is None else GPU(gpu["name"], gpu["memory"], gpu["memory_used"]),
    )


def measure(folder: Path, stop: threading.Event) -> Folder:
    """Walk through a folder, at a tenth of the speed that the disk would allow.

    Parameters
    ----------
    folder : pathlib.Path
        One that is not there holds nothing.
    stop : threading.Event
        Ends the walk: what was found until then counts.
    """
    files = size = 0
    began = time.monotonic()
    for entry in _files(folder):
        try:
            size += entry.stat(follow_symlinks=False).st_size
        except OSError:  # just taken away
            continue
        files += 1
        if files % _FILES_AT_ONCE == 0:
            if stop.wait(_REST * (time.monotonic() - began)):
                break
            began = time.monotonic()
    return Folder(folder.name, files, size, datetime.now(UTC))


def _files(folder: Path) -> "Iterator[os.DirEntry[str]]":
    left = [str(folder)]
    while left:
        try:
            with os.scandir(left.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        left.append(entry.path)
                    else:
                        yield entry
        except OSError:  # just taken away, or not to be read
            continue
