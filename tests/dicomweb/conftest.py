"""A DICOMweb server of one's own, and one that does as it is told."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ml.labels import Label
from ml.phantom import Phantom, make_phantom
from node.settings import Destination
from tests.certificates import Authority
from tests.dicomweb.servers import NGINX, Told, told_server
from tests.e2e.conftest import Series, series_maker
from tests.e2e.peers import DICOMWEB, Orthanc, running_orthanc

NEEDED = ("/usr/sbin/Orthanc", str(DICOMWEB), NGINX)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    missing = [tool for tool in NEEDED if not Path(tool).exists()]
    if missing:
        for item in items:
            if item.path.is_relative_to(Path(__file__).parent):
                item.add_marker(pytest.mark.skip(reason=f"not installed: {', '.join(missing)}"))


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Who signs certificates here."""
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="session")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    """One Orthanc with DICOMweb for all tests that do not fill it with the same."""
    with running_orthanc(tmp_path_factory.mktemp("archive"), dicomweb=True) as peer:
        yield peer


@pytest.fixture
def told() -> Iterator[Told]:
    """A server that does as it is told."""
    with told_server() as server:
        yield server


@pytest.fixture(scope="session")
def phantom() -> Phantom:
    """A small head with a bleed."""
    return make_phantom(11, size=128, findings=(Label.INTRAPARENCHYMAL,))


@pytest.fixture
def new_series(phantom: Phantom, tmp_path: Path) -> Callable[..., Series]:
    """Make a series that no other test has sent."""
    return series_maker(phantom, tmp_path)


@pytest.fixture
def secret(tmp_path: Path) -> Callable[[str], Path]:
    """Write a file with a secret, for its owner alone."""

    def write(text: str, name: str = "secret") -> Path:
        path = tmp_path / name
        path.touch(0o600)
        path.write_text(text)
        return path

    return write


def at(url: str, **more: object) -> Destination:
    """A destination with a URL."""
    return Destination.model_validate({"name": "web", "url": url, **more})
