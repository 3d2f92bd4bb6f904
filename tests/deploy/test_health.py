"""The check of a container, where the parts that it looks at are not as usual."""

import importlib.util
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from node.broker import free_port
from node.settings import Settings
from tests.certificates import Authority
from tests.deploy.tools import DEPLOY

Look = Callable[[int, list[str], Settings], None]


@pytest.fixture(scope="module")
def look() -> Look:
    """What looks after a process whose command and settings are known."""
    found = importlib.util.spec_from_file_location("health", DEPLOY / "docker" / "health.py")
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module._look  # type: ignore[no-any-return]


@contextmanager
def listening(host: str = "127.0.0.1") -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        server = socket.create_server((host, 0), family=family)
    except OSError:
        pytest.skip(f"this machine has no {host}")
    with server:
        server.settimeout(0.2)
        yield server


def test_stow_that_may_ask_for_certificates_has_to_take_connections(
    look: Look, tmp_path: Path
) -> None:
    server = Authority(tmp_path).issue("node")
    tls = {"certificate": server.certificate, "key": server.key, "client_certificates": "none"}

    with listening() as port:
        number = port.getsockname()[1]
        settings = Settings.model_validate({"dicomweb": {"port": number, "tls": tls}})
        look(os.getpid(), ["ichnode", "dicomweb"], settings)
    with pytest.raises(ConnectionRefusedError):
        look(os.getpid(), ["ichnode", "dicomweb"], settings)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_who_takes_labels_is_not_called(look: Look, host: str) -> None:
    with listening(host) as port:
        settings = Settings.model_validate({"feedback": {"hl7_port": port.getsockname()[1]}})
        look(os.getpid(), ["ichnode", "feedback", "listen"], settings)
        with pytest.raises(TimeoutError):
            port.accept()

    settings = Settings.model_validate({"feedback": {"hl7_port": free_port()}})
    with pytest.raises(RuntimeError, match="nobody listens"):
        look(os.getpid(), ["ichnode", "feedback", "listen"], settings)


def test_who_polls_is_well_as_long_as_it_runs(look: Look) -> None:
    look(
        os.getpid(), ["ichnode", "poll"], Settings.model_validate({"dicom": {"port": free_port()}})
    )
