"""The sweeper reports on series without a result, once and by configuration."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pydicom
import pytest

from ml.labels import Label
from ml.phantom import make_phantom, write_dicom
from node.ledger import Instance, Ledger, Revision, State, open_ledger
from node.settings import Settings
from node.spool import Spool, digest_of
from node.sweep import Sweeper
from tests.claiming import claimed
from tests.conftest import Clock
from tests.node.conftest import Heard

STUDY, SERIES = "1.2.3", "1.2.3.4"


@pytest.fixture
def ledger(tmp_path: Path, clock: Clock) -> Iterator[Ledger]:
    opened = open_ledger(f"sqlite:///{tmp_path}/ledger.sqlite")
    opened.clock = clock
    yield opened
    opened.close()


@pytest.fixture
def sweeper(ledger: Ledger, tmp_path: Path, heard: Heard) -> Callable[..., Sweeper]:
    """A sweeper by what `report.not_analyzed` says."""

    def make(wanted: str = "failed") -> Sweeper:
        pacs = {"name": "pacs", "ae_title": "PACS", "host": "127.0.0.1", "port": 104}
        settings = Settings(home=tmp_path, destinations=[pacs], report={"not_analyzed": wanted})
        return Sweeper(settings, Spool(tmp_path), ledger, heard)

    return make


@pytest.fixture(scope="module")
def slices(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    phantom = make_phantom(11, size=64, findings=(Label.SUBDURAL,))
    return write_dicom(phantom, tmp_path_factory.mktemp("phantom"))[:3]


@pytest.fixture
def ended(ledger: Ledger, slices: list[Path], tmp_path: Path) -> Callable[..., Revision]:
    """Make a series that was received and then failed or was skipped."""

    def make(state: State = State.FAILED, reason: str = "pixel-error", **broken: str) -> Revision:
        for number, file in enumerate(slices, start=1):
            image = pydicom.dcmread(file)
            image.StudyInstanceUID, image.SeriesInstanceUID = STUDY, SERIES
            image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = f"{SERIES}.{number}"
            image.PatientName = "Secret^Patient"
            for keyword, value in broken.items():
                setattr(image, keyword, value)
            image.save_as(tmp_path / "image.dcm")
            content = (tmp_path / "image.dcm").read_bytes()
            digest = digest_of(content)
            path = Spool(tmp_path).keep(STUDY, SERIES, image.SOPInstanceUID, digest, content)
            sop_class = str(image.SOPClassUID)
            stored = ledger.store(
                Instance(STUDY, SERIES, image.SOPInstanceUID, sop_class, digest, path, "CT"), 30
            )
        revision = ledger.revision(stored.revision_id)
        assert revision is not None
        if state is State.SKIPPED:
            assert ledger.skip(revision, reason, "why", [])
        else:
            assert ledger.ready(revision, [])
            claim = claimed(ledger, revision.id)
            assert ledger.fail(claim, reason, "why")
        revision = ledger.revision(revision.id)
        assert revision is not None
        return revision

    return make


def notices(ledger: Ledger, revision: Revision, home: Path) -> list[pydicom.Dataset]:
    return [
        pydicom.dcmread(Spool(home).results / result.path) for result in ledger.results(revision)
    ]


def test_a_failed_series_gets_one_notice_that_goes_to_every_destination(
    sweeper: Callable[..., Sweeper],
    ledger: Ledger,
    ended: Callable[..., Revision],
    tmp_path: Path,
) -> None:
    revision, one = ended(), sweeper()
    for _ in range(3):
        one.explain()

    (notice,) = notices(ledger, revision, tmp_path)
    assert "NOT ANALYZED" in notice.SeriesDescription
    assert "pixel-error (why)" in notice.to_json()
    assert notice.PatientName == "Secret^Patient"
    assert one.hints.deliveries == ["pacs"]
    assert len(ledger.deliveries(revision)) == 1
    assert ledger.revision(revision.id).state is State.FAILED


@pytest.mark.parametrize(
    ("wanted", "state", "expected"),
    [
        ("failed", State.FAILED, 1),
        ("failed", State.SKIPPED, 0),
        ("all", State.FAILED, 1),
        ("all", State.SKIPPED, 1),
        ("none", State.FAILED, 0),
        ("none", State.SKIPPED, 0),
    ],
)
def test_which_series_are_reported_on_is_configured(
    sweeper: Callable[..., Sweeper],
    ledger: Ledger,
    ended: Callable[..., Revision],
    wanted: str,
    state: State,
    expected: int,
) -> None:
    revision = ended(state)
    sweeper(wanted).explain()
    assert len(ledger.results(revision)) == expected
    assert ledger.due(state) == []


def test_a_revision_that_was_overtaken_is_not_explained(
    sweeper: Callable[..., Sweeper], ledger: Ledger, ended: Callable[..., Revision]
) -> None:
    revision = ended()
    late = Instance(STUDY, SERIES, f"{SERIES}.99", "1.2.840.1", "d" * 64, Path("late.dcm"), "CT")
    ledger.store(late, 30)
    sweeper("all").explain()
    assert ledger.results(revision) == []


def test_a_series_whose_files_are_gone_is_noted_once_and_holds_nothing_up(
    sweeper: Callable[..., Sweeper],
    ledger: Ledger,
    ended: Callable[..., Revision],
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
) -> None:
    revision, one = ended(), sweeper()
    for path in Spool(tmp_path).folder.rglob("*.dcm"):
        path.unlink()
    for _ in range(3):
        one.explain()
    assert ledger.results(revision) == []
    details = [event.detail or "" for event in ledger.history(revision)]
    assert sum("no notice can be made" in detail for detail in details) == 1
    assert "Secret" not in caplog.text


def test_after_a_retry_that_fails_otherwise_the_second_notice_names_the_first(
    sweeper: Callable[..., Sweeper],
    ledger: Ledger,
    ended: Callable[..., Revision],
    tmp_path: Path,
) -> None:
    revision, one = ended(), sweeper()
    one.explain()
    assert ledger.retry(revision, [])
    claim = claimed(ledger, revision.id)
    assert ledger.fail(claim, "device-error", "no GPU")
    one.explain()
    first, second = notices(ledger, revision, tmp_path)
    named = second.PredecessorDocumentsSequence[0].ReferencedSeriesSequence[0]
    assert named.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == first.SOPInstanceUID


def test_a_notice_goes_by_the_routes_and_what_nobody_gets_is_kept(
    ledger: Ledger, ended: Callable[..., Revision], heard: Heard, tmp_path: Path
) -> None:
    def one(*routes: dict[str, object]) -> Sweeper:
        at = {"host": "127.0.0.1", "port": 104}
        destinations = [{"name": n, "ae_title": n.upper(), **at} for n in ("pacs", "stroke")]
        settings = Settings(home=tmp_path, destinations=destinations, routes=routes)
        return Sweeper(settings, Spool(tmp_path), ledger, heard)

    flagged = {"name": "stroke", "to": ["stroke"], "flagged": "only"}
    revision = ended()
    one(flagged, {"name": "ct", "to": ["pacs"], "senders": ["CT"]}).explain()
    assert [d.destination for d in ledger.deliveries(revision)] == ["pacs"]
    assert heard.deliveries == ["pacs"]
    assert ledger.history(revision)[-1].detail == "a notice says so; ct: pacs"

    assert ledger.retry(revision, [])
    claim = claimed(ledger, revision.id)
    assert ledger.fail(claim, "worker-lost", "another reason")
    one(flagged).explain()
    assert len(ledger.deliveries(revision)) == 1, "nothing more"
    assert len(notices(ledger, revision, tmp_path)) == 2, "kept all the same"
    assert "no route fits (stroke)" in str(ledger.history(revision)[-1].detail)


def test_a_notice_goes_back_to_its_sender_where_there_is_no_destination(
    ledger: Ledger, ended: Callable[..., Revision], heard: Heard, tmp_path: Path
) -> None:
    ct = {"name": "ct", "ae_title": "CT", "host": "127.0.0.1", "port": 104}
    settings = Settings(home=tmp_path, peers=[ct])
    revision = ended()
    Sweeper(settings, Spool(tmp_path), ledger, heard).explain()
    assert [d.destination for d in ledger.deliveries(revision)] == ["ct"]
