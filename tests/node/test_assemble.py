"""Station 2 on a real spool and ledger: what becomes of a series that has come to rest."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydicom.dataset import Dataset

from node.assemble import assemble
from node.ledger import Count, Instance, Ledger, Revision, State, open_ledger
from node.settings import Settings
from node.spool import Spool, digest_of
from tests import ct
from tests.conftest import Clock


class Station:
    """A spool and a ledger to receive into and to assemble from."""

    def __init__(self, home: Path, clock: Clock) -> None:
        self.settings = Settings(home=home)
        self.spool = Spool(home)
        self.clock = clock
        self.ledger: Ledger = open_ledger(self.settings.ledger_url)
        self.ledger.clock = clock
        self.scratch = home / "scratch"

    def receive(self, images: list[Dataset]) -> Revision:
        """What the receiver does, without an association."""
        for image in images:
            content = ct.write(image, self.scratch / "image.dcm").read_bytes()
            digest = digest_of(content)
            uid = str(image.SOPInstanceUID)
            path = self.spool.keep(ct.STUDY, ct.SERIES, uid, digest, content)
            stored = self.ledger.store(
                Instance(ct.STUDY, ct.SERIES, uid, str(image.SOPClassUID), digest, path, "CT"), 30
            )
        self.ledger.release([stored.revision_id], 2)
        return self.revision(stored.revision_id)

    def revision(self, revision_id: int) -> Revision:
        found = self.ledger.revision(revision_id)
        assert found is not None
        return found

    def assemble(self, revision: Revision) -> tuple[bool, Revision]:
        now = datetime.fromtimestamp(self.clock.now, UTC)
        seen = self.revision(revision.id)
        ready = assemble(seen, self.ledger, self.spool, self.settings, now)
        return ready, self.revision(revision.id)


@pytest.fixture
def station(tmp_path: Path, clock: Clock) -> Station:
    return Station(tmp_path, clock)


def images(
    count: int = 24, change: Callable[[Dataset], object] | None = None, step: float = 5
) -> list[Dataset]:
    found = [ct.image(n, step * n) for n in range(1, count + 1)]
    for image in found:
        if change is not None:
            change(image)
    return found


def test_a_whole_series_is_ready_after_the_grace(station: Station) -> None:
    revision = station.receive(images())
    ready, after = station.assemble(revision)
    assert (ready, after.state) == (False, State.RECEIVING)
    station.clock.pass_s(2)
    ready, after = station.assemble(revision)
    assert (ready, after.state, after.warnings) == (True, State.READY, ())


def test_without_evidence_it_is_ready_when_it_was_quiet_for_long_enough(station: Station) -> None:
    revision = station.receive(images(12))
    station.clock.pass_s(2)
    assert station.assemble(revision)[1].state is State.RECEIVING
    assert station.ledger.due(State.RECEIVING) == [], "it is not looked at before its time"
    station.clock.pass_s(28)
    assert [r.id for r in station.ledger.due(State.RECEIVING)] == [revision.id]
    assert station.assemble(revision)[0]


def test_missing_slices_are_a_warning_once_the_wait_is_over(station: Station) -> None:
    def declared(image: Dataset) -> None:
        image.NumberOfSeriesRelatedInstances = 30

    revision = station.receive(images(24, declared))
    station.clock.pass_s(30)
    ready, after = station.assemble(revision)
    assert ready
    assert after.warnings == ("24 of 30 declared images came: slices are missing",)


def test_all_that_a_pacs_counts_need_not_wait_and_fewer_wait_and_are_warned_of(
    station: Station,
) -> None:
    count = Count(12, "pacs", is_still=True)
    station.ledger.expect(ct.STUDY, ct.SERIES, count)
    revision = station.receive(images(11))
    station.clock.pass_s(2)
    assert station.assemble(revision)[1].state is State.RECEIVING
    last = station.receive(images(12)[11:])
    assert last.id == revision.id
    station.clock.pass_s(2)
    assert station.assemble(revision)[0], "12 slices of 5 mm alone are no evidence"

    station.ledger.expect(ct.STUDY, ct.SERIES, Count(14, "pacs", is_still=True))
    late = station.receive([ct.image(13, 65.0)])
    assert late.number == 2
    station.clock.pass_s(2)
    assert station.assemble(late)[1].state is State.RECEIVING
    station.clock.pass_s(28)
    ready, after = station.assemble(late)
    assert ready
    assert after.warnings == ("13 of 14 images that pacs counts came: slices are missing",)


def test_a_series_that_may_not_be_judged_is_skipped_with_the_reason(station: Station) -> None:
    def contrast(image: Dataset) -> None:
        image.SeriesDescription = "CT HEAD C+"

    revision = station.receive(images(24, contrast))
    station.clock.pass_s(2)
    ready, after = station.assemble(revision)
    assert (ready, after.state, after.reason) == (False, State.SKIPPED, "contrast")
    assert after.detail == "the description says 'C+'"


def test_images_that_came_again_with_other_content_are_a_warning(station: Station) -> None:
    station.receive(images())
    changed = ct.image(5, 25, hu=ct.ramp(77))
    revision = station.receive([changed])
    station.clock.pass_s(30)
    _, after = station.assemble(revision)
    assert after.warnings == ("1 images came again with other content; the newest count",)


def test_a_file_that_is_gone_from_the_spool_is_a_warning(station: Station) -> None:
    revision = station.receive(images())
    gone = station.ledger.instances(revision)[3]
    station.spool.path(gone.path).unlink()
    station.clock.pass_s(30)
    _, after = station.assemble(revision)
    assert after.state is State.READY
    assert any(gone.path.name in text for text in after.warnings)
