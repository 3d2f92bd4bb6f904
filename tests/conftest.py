"""What many tests share."""

import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
"""Real series, beside the project where they are at hand."""


@pytest.fixture(autouse=True)
def no_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run every test without the ICHNODE_* variables of whoever runs it."""
    for name in list(os.environ):
        if name.upper().startswith("ICHNODE_"):
            monkeypatch.delenv(name)


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
