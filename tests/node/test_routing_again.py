"""A retry goes by the routes of now; what somebody needs and nobody needed before is made."""

from collections.abc import Callable
from pathlib import Path

import pytest

from ml.phantom import make_phantom, write_dicom
from node.ledger import Ledger, Plan, Result, Revision, State
from node.routing import begin_again, plan, routing_of
from node.settings import ReportForm, Settings
from node.spool import Spool
from tests.reporting import an_image, report

COMPREHENSIVE_3D = ReportForm.COMPREHENSIVE_3D.sop_class_uid


@pytest.fixture
def reported(ledger: Ledger, spool: Spool, tmp_path: Path) -> Callable[..., Revision]:
    """A series of one image that was reported and went nowhere."""

    def make(flagged: list[str] | None = None) -> Revision:
        (file, *_) = write_dicom(make_phantom(11, size=64), tmp_path / "phantom")
        image = an_image()
        target = spool.path(image.path)
        target.parent.mkdir(parents=True)
        file.rename(target)
        results = [
            Result("sr", "1.9", COMPREHENSIVE_3D, "1.9.1", Path("sr.dcm")),
            Result("sc", "1.9", "1.2.840.10008.5.1.4.1.1.7", "1.9.2", Path("sc.dcm")),
        ]
        return report(
            ledger, results, Plan(), image=image, flagged=flagged or [], unsent="no route fits"
        )

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
