"""Series are fetched from Orthanc and from DCMTK's dcmqrscp, by C-GET and by C-MOVE."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.uid import JPEGLSLossless, RLELossless, generate_uid

from node.broker import free_port
from node.deliver import store_files
from node.fetch import FoundSeries, Query
from node.ledger import FetchState, Way
from node.reconcile import reconcile
from node.settings import Destination
from tests import ct
from tests.archives import in_thread, running_dcmqrscp
from tests.e2e.peers import running_orthanc, storescu
from tests.fetching import Fetching, fetching

SLICES = 12


@dataclass(frozen=True)
class Archive:
    """A real archive that knows a node at a port."""

    title: str
    port: int
    node_port: int

    def store(self, files: list[Path]) -> None:
        """Have it store files as they are."""
        peer = Destination(name="a", ae_title=self.title, host="127.0.0.1", port=self.port)
        assert store_files("SCANNER", peer, files, lambda: None) == []


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Archive]]:
    """Both of them, for all tests."""
    node_port = free_port()
    with (
        running_orthanc(
            tmp_path_factory.mktemp("orthanc"),
            DicomModalities={"node": ["ICHNODE", "127.0.0.1", node_port]},
            DicomAlwaysAllowFind=True,
            DicomAlwaysAllowGet=True,
            DicomAlwaysAllowMove=True,
        ) as orthanc,
        running_dcmqrscp(tmp_path_factory.mktemp("dcmqrscp"), node_port) as dcmqrscp,
    ):
        yield {
            "orthanc": Archive("ORTHANC", orthanc.port, node_port),
            "dcmqrscp": Archive("QRSCP", dcmqrscp.port, node_port),
        }


@dataclass(frozen=True)
class Series:
    """A series on disk."""

    study: str
    uid: str
    files: list[Path]
    accession: str
    day: date

    @property
    def query(self) -> Query:
        """Ask for its study."""
        return Query(study_instance_uid=self.study)


@pytest.fixture
def new_series(tmp_path: Path) -> Callable[..., Series]:
    """Make a series that no archive has."""
    count = 0

    def make(slices: int = SLICES, syntax: str | None = None) -> Series:
        nonlocal count
        count += 1
        study, uid = generate_uid(), generate_uid()
        accession = uid[-12:]

        def change(image: pydicom.Dataset) -> None:
            image.StudyInstanceUID, image.SeriesInstanceUID = study, uid
            image.SOPInstanceUID = f"{uid[:50]}.{image.InstanceNumber}"
            image.AccessionNumber = accession
            image.StudyDate, image.StudyTime = "20260102", "101500"
            image.StudyDescription, image.SeriesDescription = "CT Head", "5.0 soft"
            image.StudyID, image.SeriesNumber, image.PatientSex = "1", 2, "O"
            if syntax is not None:
                image.compress(syntax, generate_instance_uid=False)

        steps = [5.0 * n for n in range(slices)]
        files = ct.series(tmp_path / f"series{count}", steps, change)
        return Series(study, uid, files, accession, date(2026, 1, 2))

    return make


@pytest.fixture(params=["orthanc-get", "orthanc-move", "dcmqrscp-get", "dcmqrscp-move"])
def way(
    request: pytest.FixtureRequest, archives: dict[str, Archive], tmp_path: Path
) -> Iterator[tuple[Archive, Fetching]]:
    """An archive, and a node that fetches from it."""
    name, retrieve = request.param.split("-")
    with node_beside(archives[name], retrieve, tmp_path) as node:
        yield archives[name], node


@contextmanager
def node_beside(archive: Archive, retrieve: str, folder: Path, **keys: Any) -> Iterator[Fetching]:
    with fetching(
        folder / "home",
        archive.title,
        archive.port,
        retrieve=retrieve,
        node_port=archive.node_port,
        **keys,
    ) as node:
        yield node


def test_a_series_is_fetched_once_with_every_image(
    way: tuple[Archive, Fetching], new_series: Callable[..., Series]
) -> None:
    archive, node = way
    series = new_series()
    archive.store(series.files)
    (outcome,) = node.by_hand(series.query)
    assert (outcome.state, outcome.images) == (FetchState.FETCHED, SLICES)
    ways = [image.way for image in node.ledger.arrivals(0, [], 100)]
    assert ways == [Way(f"c-{node.rules.retrieve}")] * SLICES
    assert node.pixels_of(series.uid) == {
        str(image.SOPInstanceUID): image.pixel_array.tobytes()
        for image in map(pydicom.dcmread, series.files)
    }
    (again,) = node.by_hand(series.query)
    assert (again.state, again.images) == (FetchState.KNOWN, 0)
    assert [revision.number for revision in node.ledger.find(series.uid)] == [1]


def test_a_study_is_found_by_accession_number_and_by_its_day(
    way: tuple[Archive, Fetching], new_series: Callable[..., Series]
) -> None:
    archive, node = way
    series, other = new_series(), new_series()
    archive.store([*series.files, *other.files])
    (found,) = node.fetcher.find(Query(accession_number=series.accession))
    assert found.series_instance_uid == series.uid
    assert (found.images, found.study_description) == (SLICES, "CT Head")
    of_day = {
        f.series_instance_uid for f in node.fetcher.find(Query(first=series.day, last=series.day))
    }
    assert {series.uid, other.uid} <= of_day
    nothing = Query(first=date(2026, 1, 3), last=date(2026, 1, 4))
    assert list(node.fetcher.find(nothing)) == []


def test_what_was_pushed_is_not_fetched(
    way: tuple[Archive, Fetching], new_series: Callable[..., Series]
) -> None:
    archive, node = way
    series = new_series()
    archive.store(series.files)
    assert storescu(node.port, series.files).returncode == 0
    (outcome,) = node.by_hand(series.query)
    assert outcome.state is FetchState.KNOWN
    assert node.count(series.uid) == (1, SLICES)


def test_what_is_pushed_after_it_was_fetched_changes_nothing(
    way: tuple[Archive, Fetching], new_series: Callable[..., Series]
) -> None:
    archive, node = way
    series = new_series()
    archive.store(series.files)
    node.by_hand(series.query)
    node.judge(series.uid)
    assert storescu(node.port, series.files).returncode == 0
    assert node.count(series.uid) == (1, SLICES)


def test_push_and_pull_at_once_are_one_series(
    way: tuple[Archive, Fetching], new_series: Callable[..., Series]
) -> None:
    archive, node = way
    series = new_series()
    archive.store(series.files)
    push = in_thread(lambda: storescu(node.port, series.files))
    outcome = node.fetch_whatever_comes(FoundSeries(series.study, series.uid, images=SLICES))
    push.join()
    assert outcome.state in (FetchState.FETCHED, FetchState.KNOWN)
    assert node.count(series.uid) == (1, SLICES)


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless])
@pytest.mark.parametrize("order", ["push first", "pull first"])
def test_the_same_series_compressed_by_the_pacs_is_judged_once(
    archives: dict[str, Archive],
    new_series: Callable[..., Series],
    tmp_path: Path,
    syntax: str,
    order: str,
) -> None:
    archive, series = archives["orthanc"], new_series()
    packed = [_compressed(file, syntax, tmp_path / "packed" / file.name) for file in series.files]
    archive.store(packed)
    with node_beside(archive, "get", tmp_path) as node:
        if order == "push first":
            assert storescu(node.port, series.files[:8]).returncode == 0
            node.judge(series.uid)
            (outcome,) = node.by_hand(series.query)
            assert (outcome.state, outcome.images) == (FetchState.FETCHED, SLICES - 8)
            assert node.count(series.uid) == (2, SLICES)
        else:
            (outcome,) = node.by_hand(series.query)
            assert (outcome.state, outcome.images) == (FetchState.FETCHED, SLICES)
            node.judge(series.uid)
            assert storescu(node.port, series.files).returncode == 0
            assert node.count(series.uid) == (1, SLICES)
        assert len(node.files(series.uid)) == SLICES
        digests = {file.name: file.stat().st_ino for file in node.files(series.uid)}
        reconcile(node.settings, node.spool, node.ledger, float("inf"))
        assert digests == {file.name: file.stat().st_ino for file in node.files(series.uid)}


def _compressed(file: Path, syntax: str, target: Path) -> Path:
    image = pydicom.dcmread(file)
    image.compress(syntax, generate_instance_uid=False)
    return ct.write(image, target)


def test_late_images_at_the_pacs_make_a_new_revision_of_all(
    way: tuple[Archive, Fetching], new_series: Callable[..., Series]
) -> None:
    archive, node = way
    series = new_series()
    archive.store(series.files[:8])
    node.by_hand(series.query)
    node.judge(series.uid)
    archive.store(series.files[8:])
    (outcome,) = node.by_hand(series.query)
    assert (outcome.state, outcome.images) == (FetchState.FETCHED, 4)
    assert node.count(series.uid) == (2, SLICES)


def test_a_series_that_is_still_sent_to_the_pacs_is_waited_for(
    archives: dict[str, Archive], new_series: Callable[..., Series], tmp_path: Path
) -> None:
    archive, series = archives["orthanc"], new_series()
    with node_beside(archive, "get", tmp_path, poll_s=60) as node:
        day = replace(series.query, study_instance_uid=None, accession_number=series.accession)
        archive.store(series.files[:5])
        for images in (5, 9, SLICES):
            archive.store(series.files[:images])
            node.poll(day)
            assert node.ledger.find(series.uid) == []
        node.poll(day)
        assert node.count(series.uid) == (1, SLICES)
        revision = node.ledger.find(series.uid)[0]
        assert revision.count is not None
        assert (revision.count.images, revision.count.is_still) == (SLICES, True)
        node.judge(series.uid)
        node.poll(day)
        assert node.count(series.uid) == (1, SLICES)


def test_an_archive_that_dies_in_the_middle_loses_nothing(
    new_series: Callable[..., Series], tmp_path: Path
) -> None:
    series, node_port = new_series(40), free_port()
    with running_dcmqrscp(tmp_path / "mortal", node_port) as mortal:
        archive = Archive("QRSCP", mortal.port, node_port)
        archive.store(series.files)
        with node_beside(archive, "get", tmp_path) as node:
            (outcome,) = node.by_hand(series.query, lambda n: mortal.kill() if n == 10 else None)
            assert outcome.state is FetchState.FAILED
            assert outcome.detail is not None
            assert "breaks off" in outcome.detail
            assert 10 <= node.count(series.uid)[1] < 40
    with running_dcmqrscp(tmp_path / "heir", node_port) as heir:
        archive = Archive("QRSCP", heir.port, node_port)
        archive.store(series.files)
        with node_beside(archive, "get", tmp_path) as node:
            (outcome,) = node.by_hand(series.query)
            assert outcome.state is FetchState.FETCHED
            assert node.count(series.uid)[1] == 40


def test_the_audit_trail_tells_what_was_asked(
    archives: dict[str, Archive], new_series: Callable[..., Series], tmp_path: Path
) -> None:
    series = new_series()
    archives["orthanc"].store(series.files)
    with node_beside(archives["orthanc"], "get", tmp_path) as node:
        node.by_hand(series.query)
    trail = (tmp_path / "home" / "audit.log").read_text()
    assert "110112" in trail, "Query"
    assert series.study in trail
    assert trail.count("110104") >= 1, "DICOM Instances Transferred"
