"""Peers and series for the tests that go the whole way."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pydicom
import pytest
from pydicom.uid import CTImageStorage, generate_uid

from ml.labels import Label
from ml.phantom import Phantom, make_phantom, write_dicom
from tests.e2e.peers import Node, Orthanc, running_node, running_orthanc

NEEDED = ("/usr/bin/storescu", "/usr/bin/storescp", "/usr/bin/echoscu", "/usr/sbin/Orthanc")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    missing = [tool for tool in NEEDED if not Path(tool).exists()]
    if missing:
        for item in items:
            if item.path.is_relative_to(Path(__file__).parent):
                item.add_marker(pytest.mark.skip(reason=f"not installed: {', '.join(missing)}"))


@dataclass(frozen=True)
class Series:
    """A series on disk."""

    study: str
    series: str
    files: tuple[Path, ...]

    @classmethod
    def of(cls, files: list[Path]) -> "Series":
        header = pydicom.dcmread(files[0], stop_before_pixels=True)
        return cls(str(header.StudyInstanceUID), str(header.SeriesInstanceUID), tuple(files))


@pytest.fixture(scope="session")
def phantom() -> Phantom:
    """A small head with a bleed."""
    return make_phantom(11, size=128, findings=(Label.INTRAPARENCHYMAL,))


@pytest.fixture
def new_series(phantom: Phantom, tmp_path: Path) -> Callable[..., Series]:
    """Make a series that no other test has sent, with changes to each image."""
    return series_maker(phantom, tmp_path)


def series_maker(phantom: Phantom, folder: Path) -> Callable[..., Series]:
    """Give what makes series in a folder."""
    count = 0

    def make(
        change: Callable[[pydicom.Dataset, int], None] | None = None, slices: int | None = None
    ) -> Series:
        nonlocal count
        count += 1
        files = write_dicom(phantom, folder / f"series{count}")[:slices]
        study, series = generate_uid(), generate_uid()
        for index, file in enumerate(files):
            image = pydicom.dcmread(file)
            image.StudyInstanceUID, image.SeriesInstanceUID = study, series
            image.SOPInstanceUID = generate_uid()
            image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
            if change is not None:
                change(image, index)
            image.save_as(file)
        return Series(str(study), str(series), tuple(files))

    return make


@pytest.fixture(scope="session")
def orthanc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    """One Orthanc for all tests."""
    with running_orthanc(tmp_path_factory.mktemp("orthanc")) as peer:
        yield peer


@pytest.fixture(scope="session")
def node(tmp_path_factory: pytest.TempPathFactory, orthanc: Orthanc) -> Iterator[Node]:
    """One node for the tests that do not break it, with Orthanc as its destination."""
    with running_node(
        tmp_path_factory.mktemp("node"), [("orthanc", "ORTHANC", orthanc.port)], processes=2
    ) as running:
        yield running


@pytest.fixture(scope="session")
def sendable_series(
    real_series: Callable[[str], list[Path]], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Series]:
    """A real series as a scanner could send it: RSNA's with valid UIDs, in copies."""
    valid: dict[str, list[Path]] = {}

    def series(name: str) -> Series:
        files = real_series(name)
        if not name.startswith("rsna"):
            return Series.of(files)
        if name not in valid:
            folder = tmp_path_factory.mktemp(f"{name}_valid")
            valid[name] = [_with_valid_uids(f, folder / f.name) for f in files]
        return Series.of(valid[name])

    return series


def _with_valid_uids(file: Path, target: Path) -> Path:
    """An RSNA image as a node can get it: a copy with valid UIDs and SOP class."""
    image = pydicom.dcmread(file)
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
        setattr(image, keyword, generate_uid(entropy_srcs=[str(image.get(keyword))]))
    image.SOPClassUID = CTImageStorage
    image.file_meta.MediaStorageSOPClassUID = CTImageStorage
    image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
    image.save_as(target)
    return target
