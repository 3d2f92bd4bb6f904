"""An archive with studies that went through the node, and OHIF before it."""

import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pydicom
import pytest
from pydicom.uid import CTImageStorage, generate_uid

from ml.labels import Label
from ml.phantom import make_phantom, write_dicom
from node.ledger import Revision, State
from tests.e2e.peers import ENDS, Node, Orthanc, running_node, running_orthanc
from tests.viewer.ohif import Viewer, browser, missing, site

LARGEST_SCREENSHOT = 150_000
"""Bytes of one that is kept for the docs."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--keep-screenshots", type=Path, metavar="DIR", help="keep what the viewer showed"
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    needed = [*missing(), *(["dcmtk"] if not Path("/usr/bin/echoscu").exists() else [])]
    if needed:
        for item in items:
            if item.path.is_relative_to(Path(__file__).parent):
                item.add_marker(pytest.mark.skip(reason=f"not installed: {', '.join(needed)}"))


@dataclass(frozen=True)
class Study:
    """A study in the archive, with the results that came back."""

    uid: str
    source: Mapping[str, pydicom.Dataset]
    """The images that were judged, by SOP instance UID."""
    results: Mapping[str, Sequence[pydicom.Dataset]]
    """What came back, by `node.report.Kind`, in the order of their numbers."""
    revision: Revision

    @property
    def patient_name(self) -> str:
        """As a list in Latin letters shows it."""
        name = next(iter(self.source.values())).PatientName
        return ", ".join(part for part in str(name).partition("=")[0].split("^") if part)

    def description(self, kind: str) -> str:
        """What the series of a kind of results is called."""
        return str(self.results[kind][0].SeriesDescription)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    """An Orthanc with DICOMweb."""
    with running_orthanc(tmp_path_factory.mktemp("archive"), dicomweb=True) as peer:
        yield peer


@pytest.fixture(scope="module")
def node(archive: Orthanc, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A node that the archive knows, and that gives its results back to the archive."""
    folder = tmp_path_factory.mktemp("node")
    with running_node(folder, [("archive", "ORTHANC", archive.port)]) as running:
        peer = {"AET": "ICHNODE", "Host": "127.0.0.1", "Port": running.port}
        archive.get("/modalities/ichnode", json.dumps(peer).encode(), "PUT")
        yield running


@pytest.fixture(scope="module")
def round_trip(archive: Orthanc, node: Node) -> Callable[[Sequence[Path]], Study]:
    """Store a series in the archive, have it sent to the node, wait for the results there."""

    def go(files: Sequence[Path]) -> Study:
        for file in files:
            archive.get("/instances", file.read_bytes())
        header = pydicom.dcmread(files[0], stop_before_pixels=True)
        study, series = str(header.StudyInstanceUID), str(header.SeriesInstanceUID)
        [found] = archive.get("/tools/lookup", series.encode())
        archive.get("/modalities/ichnode/store", found["ID"].encode())
        revision = node.wait_for(series, *ENDS, timeout_s=180)
        assert revision.state is State.DELIVERED, revision
        kind_of = {r.sop_instance_uid: r.kind for r in node.ledger.results(revision)}
        source, results = {}, defaultdict(list)
        for instance in archive.instances_of(study):
            if instance.SOPClassUID == CTImageStorage:
                source[str(instance.SOPInstanceUID)] = instance
            else:
                results[kind_of[instance.SOPInstanceUID]].append(instance)
        for instances in results.values():
            instances.sort(key=lambda instance: int(instance.InstanceNumber))
        return Study(study, source, results, revision)

    return go


@pytest.fixture(scope="module")
def phantom_series(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], list[Path]]:
    """A synthetic head with a bleed as a study of its own, of the patient with some name."""
    phantom = make_phantom(11, size=256, findings=(Label.INTRAPARENCHYMAL,))

    def make(name: str) -> list[Path]:
        files = write_dicom(phantom, tmp_path_factory.mktemp("phantom"))
        study, series, patient = generate_uid(), generate_uid(), name.partition("^")[0]
        for file in files:
            image = pydicom.dcmread(file)
            image.SpecificCharacterSet = ["", "ISO 2022 IR 87"]  # PS3.5, H.3
            image.PatientName, image.PatientID = name, patient
            image.StudyInstanceUID, image.SeriesInstanceUID = study, series
            image.SOPInstanceUID = generate_uid()
            image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
            image.save_as(file)
        return files

    return make


@pytest.fixture(scope="module")
def phantom_study(
    round_trip: Callable[[Sequence[Path]], Study], phantom_series: Callable[[str], list[Path]]
) -> Study:
    """The synthetic head of a patient with a Japanese name."""
    return round_trip(phantom_series("Yamada^Tarou=山田^太郎=やまだ^たろう"))


REAL = ("ge_hispeed_tilted_28", "cq500_intraparenchymal_30")


@pytest.fixture(
    scope="module",
    params=["phantom", *(pytest.param(name, marks=pytest.mark.data) for name in REAL)],
)
def study(
    request: pytest.FixtureRequest,
    real_series: Callable[[str], list[Path]],
    round_trip: Callable[[Sequence[Path]], Study],
) -> Study:
    """Studies that went through the node."""
    if request.param == "phantom":
        return request.getfixturevalue("phantom_study")
    return round_trip(real_series(request.param))


@pytest.fixture(scope="module")
def _viewer(archive: Orthanc) -> Iterator[Viewer]:
    with site(archive.http_port) as address, browser(address) as viewer:
        yield viewer


@pytest.fixture
def viewer(_viewer: Viewer) -> Iterator[Viewer]:
    """OHIF in a browser, which must find nothing to complain of."""
    _viewer.errors.clear()
    yield _viewer
    assert _viewer.errors == []


@pytest.fixture
def keep(request: pytest.FixtureRequest, viewer: Viewer, tmp_path: Path) -> Callable[[str], None]:
    """Keep a screenshot by its name."""
    folder = request.config.getoption("--keep-screenshots", default=None)

    def shoot(name: str) -> None:
        path = (folder or tmp_path) / f"{name}.png"
        viewer.screenshot(path)
        assert path.stat().st_size < LARGEST_SCREENSHOT

    return shoot
