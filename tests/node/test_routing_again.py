"""A retry goes by the routes of now; what somebody needs and nobody needed before is made."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ml.phantom import make_phantom, write_dicom
from node.ledger import Instance, Ledger, Plan, Result, Revision, State, open_ledger
from node.routing import begin_again, plan, routing_of
from node.settings import ReportForm, Settings
from node.spool import Spool, digest_of
from tests.claiming import claimed
from tests.conftest import Clock

COMPREHENSIVE_3D = ReportForm.COMPREHENSIVE_3D.sop_class_uid


@pytest.fixture
def ledger(tmp_path: Path, clock: Clock) -> Iterator[Ledger]:
    opened = open_ledger(f"sqlite:///{tmp_path}/ledger.sqlite")
    opened.clock = clock
    yield opened
    opened.close()


@pytest.fixture
def reported(ledger: Ledger, tmp_path: Path) -> Callable[..., Revision]:
    """A series of one image that was reported and went nowhere."""

    def make(flagged: list[str] | None = None) -> Revision:
        (file, *_) = write_dicom(make_phantom(11, size=64), tmp_path / "phantom")
        content = file.read_bytes()
        names = ("1.2", "1.2.3", "1.2.3.1")
        path = Spool(tmp_path).keep(*names, digest_of(content), content)
        image = Instance(*names, "1.2.840.1", digest_of(content), path, "CT")
        revision = ledger.revision(ledger.store(image, 30).revision_id)
        assert revision is not None
        assert ledger.ready(revision, [])
        claim = claimed(ledger, revision.id)
        results = [
            Result("sr", "1.9", COMPREHENSIVE_3D, "1.9.1", Path("sr.dcm")),
            Result("sc", "1.9", "1.2.840.10008.5.1.4.1.1.7", "1.9.2", Path("sc.dcm")),
        ]
        assert ledger.report(
            claim,
            results,
            Plan(),
            warnings=[],
            maxima={"any": 0.5},
            flagged=flagged or [],
            unsent="no route fits",
        )
        again = ledger.revision(revision.id)
        assert again is not None
        return again

    return make


def settings(home: Path, *routes: dict[str, object], **more: object) -> Settings:
    pacs = {"name": "pacs", "ae_title": "PACS", "host": "127.0.0.1", "port": 104, **more}
    return Settings(home=home, destinations=[pacs], routes=routes)


def again(revision: Revision, ledger: Ledger, rules: Settings) -> bool:
    return begin_again(revision, ledger, Spool(rules.home), rules)


def test_what_went_nowhere_goes_where_a_route_says_by_now(
    ledger: Ledger, reported: Callable[..., Revision], tmp_path: Path
) -> None:
    revision = reported()
    assert not again(
        revision, ledger, settings(tmp_path, {"name": "a", "to": ["pacs"], "flagged": "only"})
    )
    assert again(
        revision, ledger, settings(tmp_path, {"name": "a", "to": ["pacs"], "kinds": ["sc"]})
    )
    assert [d.result.kind for d in ledger.deliveries(revision)] == ["sc"]


def test_a_retry_reads_the_headers_that_routes_go_by(
    ledger: Ledger, reported: Callable[..., Revision], tmp_path: Path
) -> None:
    revision = reported()
    other = {"name": "a", "to": ["pacs"], "descriptions": ["knee"]}
    assert not again(revision, ledger, settings(tmp_path, other))
    head = {"name": "a", "to": ["pacs"], "descriptions": ["head|phantom"]}
    rules = settings(tmp_path, head)
    spool = Spool(tmp_path)
    assert routing_of(revision, ledger, spool, rules).verdicts[0].why_not is None
    assert again(revision, ledger, rules)
    assert len(ledger.deliveries(revision)) == 2


def test_what_was_flagged_is_flagged_at_a_retry_too(
    ledger: Ledger, reported: Callable[..., Revision], tmp_path: Path
) -> None:
    revision = reported(["any"])
    assert again(
        revision, ledger, settings(tmp_path, {"name": "a", "to": ["pacs"], "flagged": "only"})
    )
    assert len(ledger.due_deliveries("pacs")) == 2


def test_a_class_that_nobody_wanted_before_is_made(
    ledger: Ledger, reported: Callable[..., Revision], tmp_path: Path
) -> None:
    revision = reported()
    rules = settings(tmp_path, {"name": "a", "to": ["pacs"]}, structured_report="enhanced")
    assert again(revision, ledger, rules)
    moved = ledger.revision(revision.id)
    assert moved is not None
    assert (moved.state, moved.reason) == (State.READY, None)
    assert ledger.history(revision)[-1].detail == "a destination wants what was not made before"


def test_a_destination_that_a_route_names_no_more_still_gets_what_was_planned(
    ledger: Ledger, reported: Callable[..., Revision], tmp_path: Path
) -> None:
    revision = reported()
    assert again(revision, ledger, settings(tmp_path, {"name": "a", "to": ["pacs"]}))
    later = settings(tmp_path, {"name": "a", "to": ["pacs"], "senders": ["OTHER"]})
    spool = Spool(tmp_path)
    now = routing_of(revision, ledger, spool, later)
    assert plan(now, ledger.results(revision), later) == Plan()
    assert again(revision, ledger, later)
    assert len(ledger.due_deliveries("pacs")) == 2
