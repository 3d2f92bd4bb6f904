"""Whether the part of the node that runs in this container works: exit code 0, else 1.

What it is told by its command line: who receives has to take connections, a worker to
answer through the broker, who speaks HTTP to say that it lives, who takes labels to listen.
Who polls has no port: it is well as long as it runs. So one check is good for every
container of the image, as HEALTHCHECK and as a probe.
"""

import os
import socket
import sys
import urllib.request
from pathlib import Path

from node.broker import broker_url, check_broker
from node.errors import ConfigError
from node.hints import Queue, celery_app
from node.settings import Settings, load_settings

TIMEOUT_S = 10.0

LISTENING = "0A"
"""State of a socket in Linux' /proc/net/tcp."""


def main(process_id: int) -> int:
    """Look after a process; in a container the first one is the node's."""
    command = Path(f"/proc/{process_id}/cmdline").read_bytes().decode().split("\0")
    try:
        settings = load_settings(_config(command))
        _look(process_id, command, settings)
    except Exception as error:
        print(f"not healthy: {error}", file=sys.stderr)
        return 1
    return 0


def _config(command: list[str]) -> Path | None:
    name = os.environ.get("ICHNODE_CONFIG")
    if "--config" in command:
        name = command[command.index("--config") + 1]
    return Path(name) if name else None


def _look(process_id: int, command: list[str], settings: Settings) -> None:
    if "work" in command:
        for queue in Queue:
            if queue in command:  # else it starts a process for each again when one ends
                _ping(f"{queue}-{process_id}@{socket.gethostname()}", settings)
    elif "web" in command:
        _ask(settings.web.host, settings.web.port)
    elif "dicomweb" in command:
        host, port = settings.dicomweb.host, settings.dicomweb.port
        if settings.dicomweb.tls.is_on:  # it may want a certificate, which is not at hand here
            _connect(host, port)
        else:
            _ask(host, port)
    elif "feedback" in command:
        _find_listening(process_id, settings.feedback.hl7_port)
    elif "poll" not in command:
        _connect(settings.dicom.host, settings.dicom.port)


def _ask(host: str, port: int | None) -> None:
    url = f"http://{_reachable(host)}:{port}/health/live"
    urllib.request.urlopen(url, timeout=TIMEOUT_S).close()


def _connect(host: str, port: int | None) -> None:
    socket.create_connection((_reachable(host), port), TIMEOUT_S).close()


def _find_listening(process_id: int, port: int | None) -> None:
    """Look without a call: who is in none of its networks would be complained of in the log."""
    for table in Path(f"/proc/{process_id}/net").glob("tcp*"):
        for line in table.read_text().splitlines()[1:]:
            _, local, _, state, *_ = line.split()
            if state == LISTENING and int(local.rpartition(":")[2], 16) == port:
                return
    raise RuntimeError(f"nobody listens on port {port}")


def _reachable(host: str) -> str:
    """An address to call who listens on all of them."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104


def _ping(worker: str, settings: Settings) -> None:
    url = broker_url(settings)
    try:
        check_broker(url)
    except ConfigError as error:
        # It waits for the broker as it should: to start it again would mend nothing.
        print(error, file=sys.stderr)
        return
    app = celery_app(url, settings)
    if not app.control.ping(destination=[worker], timeout=TIMEOUT_S / 2, limit=1):
        raise RuntimeError(f"{worker} does not answer")


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 1))
