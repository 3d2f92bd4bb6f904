"""The parts of a node as processes that are kept running."""

import fcntl
import logging
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from node.broker import EmbeddedBroker, broker_url, check_broker
from node.errors import ConfigError
from node.hints import Queue, queues_of
from node.port import open_port
from node.processes import end_process, start_process
from node.settings import Settings

log = logging.getLogger(__name__)

RECEIVE = "receive"
WEB = {"web": ["web"]}
DICOMWEB = {"dicomweb": ["dicomweb"]}
FEEDBACK = {"feedback": ["feedback", "listen"]}
POLL = {"poll": ["poll"]}
"""Name of a part, and the command of `ichnode` that it runs."""


def workers(settings: Settings) -> dict[str, list[str]]:
    """The parts that work, one for each queue."""
    return {queue.value: ["work", "--queue", queue.value] for queue in queues_of(settings)}


def receivers(settings: Settings) -> dict[str, list[str]]:
    """The parts that receive, all on one port; the first of them assembles too."""
    others = range(2, settings.dicom.processes + 1)
    return {RECEIVE: [RECEIVE]} | {f"{RECEIVE} {n}": [RECEIVE, "--further"] for n in others}


def parts_of(settings: Settings) -> dict[str, list[str]]:
    """All parts of a node on one machine: those that every node has, and those configured."""
    parts = receivers(settings) | workers(settings)
    if settings.web.with_up:
        parts |= WEB
    if settings.dicomweb.port is not None:
        parts |= DICOMWEB
    if settings.feedback.hl7_port is not None:
        parts |= FEEDBACK
    if settings.polled:
        parts |= POLL
    return parts


END_TIMEOUT_S = 20.0
FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 30.0
BAD_CONFIG = 2
"""Exit code of a part whose configuration or model cannot be used."""

DISPENSABLE = frozenset({Queue.SHADOW.value})
"""Parts without which the node starts and works."""

DISPENSED_S = 600.0
"""Until such a part is started again that cannot work as it is configured, seconds."""

SETTLED_S = 60.0
"""A part that ran for this long starts with the first pause again when it ends."""


@dataclass
class _Part:
    """A process that is started again whenever it ends."""

    name: str
    start: Callable[[], "subprocess.Popen[bytes]"]
    process: "subprocess.Popen[bytes] | None" = None
    started_at: float = 0.0
    start_at: float = 0.0
    pause_s: float = FIRST_PAUSE_S
    starts: int = 0

    def keep_running(self, now: float) -> None:
        if self.process is not None and self.process.poll() is not None:
            is_badly_configured = self.process.returncode == BAD_CONFIG
            if is_badly_configured and self.name in DISPENSABLE:
                log.error("the node goes on without %s, which says why it cannot", self.name)
                self.process, self.start_at = None, now + DISPENSED_S
                return
            if self.starts == 1 and is_badly_configured:
                raise ConfigError(f"the node cannot start: {self.name} says why")
            log.error("%s ended with %s, starting again", self.name, self.process.returncode)
            if now - self.started_at > SETTLED_S:
                self.pause_s = FIRST_PAUSE_S
            self.process = None
            self.start_at = now + self.pause_s
            self.pause_s = min(2 * self.pause_s, LONGEST_PAUSE_S)
        if self.process is None and now >= self.start_at:
            try:
                self.process, self.started_at = self.start(), now
                self.starts += 1
            except (ConfigError, OSError) as error:
                log.error("%s cannot be started: %s", self.name, error)
                self.start_at = now + self.pause_s


class Supervisor:
    """Starts the parts of a node and starts them again when they end.

    Parameters
    ----------
    settings : Settings
    parts : mapping of str to list of str
        Of `receivers` and `workers`.
    config : pathlib.Path, optional
        The file that the parts read their settings from.
    with_broker : bool
        Start a broker too, if none is configured and none runs.
    verbose : bool
        Whether the parts log what they do.
    log_file : pathlib.Path, optional
        Takes what the parts print, instead of this process's stderr.
    """

    def __init__(
        self,
        settings: Settings,
        parts: Mapping[str, list[str]],
        config: Path | None,
        *,
        with_broker: bool = False,
        verbose: bool = False,
        log_file: Path | None = None,
    ) -> None:
        self.settings = settings
        self._commands = parts
        self._config = config
        self._verbose = verbose
        self._log_file = log_file
        self._with_broker = with_broker
        self._broker: EmbeddedBroker | None = None
        self._port: socket.socket | None = None
        self._parts: list[_Part] = []

    @property
    def processes(self) -> dict[str, int]:
        """Name and process id of every part that runs."""
        return {p.name: p.process.pid for p in self._parts if p.process is not None}

    def start(self) -> None:
        """Start every part, on a port that is open from now on.

        Raises
        ------
        ConfigError
            If the broker does not answer, or the port cannot be opened.
        """
        receiving = [command[0] == RECEIVE for command in self._commands.values()]
        if any(receiving):
            self._port = open_port(self.settings)
        if not all(receiving):  # who only receives goes on without a broker
            self._find_broker()
        for name, arguments in self._commands.items():
            self._parts.append(_Part(name, self._starter(arguments)))
        self.keep_running()

    def _find_broker(self) -> None:
        """Look whether the broker answers; start one where that is to be done."""
        try:
            check_broker(broker_url(self.settings))
        except ConfigError:
            if self.settings.broker.url or not self._with_broker:
                raise
            self._broker = EmbeddedBroker(self.settings.home)
            broker = _Part("broker", self._broker.start)
            broker.process, broker.started_at = self._broker.start(), time.monotonic()
            self._parts.append(broker)

    def _starter(self, arguments: list[str]) -> Callable[[], "subprocess.Popen[bytes]"]:
        command = [sys.executable, "-m", "node", *arguments]
        descriptors = []
        if self._port is not None and arguments[0] == RECEIVE:
            descriptors = [self._port.fileno()]
            command += ["--socket", str(self._port.fileno())]
        if self._config is not None:
            command += ["--config", str(self._config)]
        if self._verbose:
            command.append("--verbose")
        return lambda: start_process(command, self._log_file, descriptors)

    def keep_running(self) -> None:
        """Start again what has ended."""
        for part in self._parts:
            part.keep_running(time.monotonic())

    def stop(self) -> None:
        """End every part, the broker after those that talk to it."""
        if self._port is not None:
            self._port.close()
        running = [p.process for p in self._parts if p.process is not None]
        for process in running[1:] if self._broker is not None else running:
            process.terminate()  # all at once: a worker takes seconds to end
        for process in reversed(running):
            end_process(process, END_TIMEOUT_S)
        if self._broker is not None:
            self._broker.forget()


@contextmanager
def one_at_a_time(home: Path) -> Iterator[None]:
    """Hold the home for one node.

    Raises
    ------
    ConfigError
        If another one runs in it.
    """
    try:
        home.mkdir(parents=True, exist_ok=True)
        lock = (home / "up.lock").open("w")
    except OSError as error:
        raise ConfigError(f"home {home} cannot be written: {error.strerror}") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ConfigError(f"another `ichnode up` runs in {home}") from None
        yield


def run_until_told(supervisor: Supervisor) -> None:
    """Keep the parts running until SIGINT or SIGTERM."""
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    try:
        supervisor.start()
        while not stop.wait(0.2):
            supervisor.keep_running()
        log.info("stopping")
    finally:
        supervisor.stop()
