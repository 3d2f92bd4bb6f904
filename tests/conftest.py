"""What many tests share."""

import logging
import os
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import pytest

from node.ledger import Ledger, open_ledger
from node.spool import Spool
from tests.postgresql import Postgresql, binaries

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
"""Real series, beside the project where they are at hand."""


# How long one example takes says nothing on a machine that others use too.
hypothesis.settings.register_profile("ichnode", deadline=None)
hypothesis.settings.load_profile("ichnode")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--new-golden", action="store_true", help="draw the golden images anew")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that take minutes come first, so that no core waits for the last of them."""
    items.sort(key=lambda item: item.get_closest_marker("long") is None)


@pytest.fixture(autouse=True)
def no_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run every test without the ICHNODE_* variables of whoever runs it."""
    for name in list(os.environ):
        if name.upper().startswith("ICHNODE_"):
            monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def no_log_left() -> Iterator[None]:
    """Take away what a test, or a command that it ran, has logged to."""
    root = logging.getLogger()
    before = list(root.handlers)
    yield
    for handler in [handler for handler in root.handlers if handler not in before]:
        root.removeHandler(handler)


class Clock:
    """A clock that moves when it is told to."""

    def __init__(self) -> None:
        self.now = 1_790_000_000.0

    def __call__(self) -> float:
        return self.now

    def pass_s(self, seconds: float) -> None:
        """Let time go by."""
        self.now += seconds


@pytest.fixture
def clock() -> Clock:
    """A clock to inject instead of `time.time`."""
    return Clock()


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    """An empty spool."""
    return Spool(tmp_path)


@pytest.fixture
def ledger(tmp_path: Path, clock: Clock) -> Iterator[Ledger]:
    """A ledger in SQLite, with a clock that is moved by hand."""
    opened = open_ledger(f"sqlite:///{tmp_path}/ledger.sqlite")
    opened.clock = clock
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def real_series(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], list[Path]]:
    """Unpack an archive of real series by name: its files, in the order of their names."""
    unpacked: dict[str, list[Path]] = {}

    def files(name: str) -> list[Path]:
        archive = DATA / f"{name}.tar.xz"
        if not archive.is_file():
            pytest.skip(f"the real series {archive.name} is not at hand")
        if name not in unpacked:
            folder = tmp_path_factory.mktemp(name)
            with tarfile.open(archive) as tar:
                tar.extractall(folder, filter="data")
            found = (p for p in folder.rglob("*") if p.is_file())
            unpacked[name] = sorted(p for p in found if p.suffix not in (".json", ".csv"))
        return unpacked[name]

    return files


@pytest.fixture(scope="session")
def postgresql_url() -> Iterator[str]:
    """URL of a PostgreSQL cluster of the tests' own."""
    if binaries() is None:
        pytest.skip("PostgreSQL's server is not installed")
    server = Postgresql("-c fsync=off")
    try:
        server.create()
        yield server.url
    finally:
        server.remove()
