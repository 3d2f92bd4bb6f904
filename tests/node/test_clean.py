"""What has ended long ago is removed; what somebody still has to get never is."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from node.clean import DAY_S, Cleaner
from node.commit.answering import judge
from node.commit.content import Status
from node.disk import Disk
from node.drift import day_of
from node.drift.traits import KVP
from node.ledger import (
    NOBODY,
    Claim,
    FetchState,
    Instance,
    Ledger,
    Outcome,
    Reference,
    Result,
    Revision,
    State,
    Stored,
    schema,
)
from node.reconcile import reconcile
from node.settings import Settings
from node.spool import Spool, digest_of
from tests import ct
from tests.claiming import claimed
from tests.conftest import Clock
from tests.e2e.peers import storescu
from tests.listening import listening

CT, SR = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.88.34"
PEER = {"ae_title": "A", "host": "127.0.0.1", "port": 104}
GB = 1024**3


def used(percent: float) -> Disk:
    """A disk of 100 GB."""
    return Disk(int(percent * GB), int((100 - percent) * GB))


ROOM = used(10)


@dataclass
class Node:
    """A node without its processes: its files, its ledger, its cleaner.

    Parameters
    ----------
    settings : Settings
    ledger : Ledger
    clock : Clock
    """

    settings: Settings
    ledger: Ledger
    clock: Clock
    disk: Disk = ROOM

    def __post_init__(self) -> None:
        self.spool = Spool(self.settings.home)
        self.start()

    def start(self) -> None:
        """Begin anew, as after a crash."""
        self.cleaner = Cleaner(self.settings, self.spool, self.ledger, lambda _: self.disk)

    def restart(self) -> None:
        self.start()
        reconcile(self.settings, self.spool, self.ledger, 0.0)

    def look(self) -> None:
        """Let the cleaner come to its end."""
        for _ in range(10):
            self.cleaner._rest_until = 0.0
            self.cleaner.look()

    def receive(self, name: str = "1", numbers: range = range(3), content: str = "a") -> Revision:
        for k in numbers:
            stored = self.ledger.store(self.keep(name, k, content), 30)
        return self.found(stored.revision_id)

    def keep(self, name: str, k: int, content: str = "a") -> Instance:
        """Put an instance into the spool; the ledger does not know of it yet."""
        held = f"{name} {k} {content}".encode() * 50
        names = ("1.2", f"1.2.{name}", f"1.2.{name}.{k}")
        path = self.spool.keep(*names, digest_of(held), held)
        return Instance(*names, CT, digest_of(held), path, "SCANNER")

    def found(self, revision_id: int) -> Revision:
        revision = self.ledger.revision(revision_id)
        assert revision is not None
        return revision

    def report(self, revision: Revision, *destinations: str) -> Revision:
        if revision.state is State.RECEIVING:
            assert self.ledger.ready(revision, [])
        return self.report_claimed(claimed(self.ledger, revision.id), *destinations)

    def report_claimed(self, claim: Claim, *destinations: str) -> Revision:
        revision = claim.revision
        folder = self.spool.results_folder("1.2", revision.series_instance_uid, revision.number)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "sr.dcm").write_bytes(b"sr" * 100)
        result = Result(
            "sr",
            f"1.9.{revision.id}",
            SR,
            f"1.9.{revision.id}.1",
            (folder / "sr.dcm").relative_to(self.spool.results),
        )
        assert self.ledger.report(claim, [result], destinations, warnings=[], maxima={"any": 0.5})
        return self.found(revision.id)

    def deliver(self, revision: Revision, *destinations: str) -> Revision:
        names = destinations or ("pacs",)
        self.report(revision, *names)
        for name in names:
            waiting = [d for d in self.ledger.due_deliveries(name) if d.revision_id == revision.id]
            self.ledger.sent([(delivery, None) for delivery in waiting])
        return self.found(revision.id)

    def end(self, state: State, name: str = "1") -> Revision:
        """Have a series end in a state."""
        revision = self.receive(name)
        if state is State.DELIVERED:
            return self.deliver(revision)
        if state is State.SKIPPED:
            assert self.ledger.skip(revision, "contrast", "C+", [])
        else:
            assert self.ledger.ready(revision, [])
            claim = claimed(self.ledger, revision.id)
            assert self.ledger.fail(claim, "error", "odd")
        assert self.ledger.explain(self.found(revision.id), [], [], "")
        return self.found(revision.id)

    def images(self, name: str = "1") -> list[Path]:
        return sorted((self.spool.folder / "1.2" / f"1.2.{name}").glob("[!.]*"))

    def results(self, name: str = "1") -> list[Path]:
        return sorted((self.spool.results / "1.2" / f"1.2.{name}").rglob("[!.]*.dcm"))

    def days(self, days: float) -> None:
        self.clock.pass_s(days * DAY_S)


@pytest.fixture
def node(ledger: Ledger, clock: Clock, tmp_path: Path) -> Node:
    destinations = [
        {"name": "pacs", **PEER},
        {"name": "archive", "commit": True, **PEER},
    ]
    return Node(Settings(home=tmp_path, destinations=destinations), ledger, clock)


# -- what goes, and when -------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "days"), [(State.DELIVERED, 7), (State.SKIPPED, 7), (State.FAILED, 30)]
)
def test_images_are_kept_as_long_as_the_state_of_their_series_says(
    node: Node, state: State, days: float
) -> None:
    revision = node.end(state)
    node.days(days - 0.1)
    node.look()
    assert len(node.images()) == 3
    node.days(0.2)
    node.look()
    assert node.images() == []
    gone = node.found(revision.id)
    assert gone.images_removed_at == datetime.fromtimestamp(node.clock.now, UTC)
    assert (gone.state, gone.maxima, gone.updated_at, gone.instances) == (
        state,
        revision.maxima,
        revision.updated_at,
        3,
    )
    assert "images removed: its time has passed" in [e.detail for e in node.ledger.history(gone)]
    assert not (node.spool.folder / "1.2").exists()


def test_results_are_kept_for_a_time_of_their_own(node: Node) -> None:
    rules = {"results_days": 2, "delivered_days": 5}
    node.settings = node.settings.model_copy(
        update={"retention": node.settings.retention.model_copy(update=rules)}
    )
    node.start()
    revision = node.end(State.DELIVERED)
    node.days(2.1)
    node.look()
    assert (len(node.images()), node.results()) == (3, [])
    assert node.found(revision.id).results_removed_at is not None
    assert node.found(revision.id).images_removed_at is None
    node.days(3)
    node.look()
    assert node.images() == []


def test_with_0_days_everything_is_kept_for_ever(node: Node) -> None:
    rules = dict.fromkeys(("delivered_days", "skipped_days", "failed_days", "results_days"), 0)
    node.settings = Settings(home=node.settings.home, retention=rules)
    node.start()
    for n, state in enumerate((State.DELIVERED, State.SKIPPED, State.FAILED)):
        node.end(state, str(n))
    node.days(10_000)
    node.look()
    assert [len(node.images(str(n))) for n in range(3)] == [3, 3, 3]
    assert len(node.results("0")) == 1


def test_nothing_that_is_under_way_goes_however_old(node: Node) -> None:
    node.receive("1")
    node.report(node.receive("4"), "pacs")
    node.report(node.receive("5"))  # without a destination they are nowhere else
    analyzed = node.receive("3")
    assert node.ledger.ready(analyzed, [])
    claimed(node.ledger, analyzed.id)
    assert node.ledger.ready(node.receive("2"), [])
    node.disk = used(98)
    node.days(1000)
    node.look()
    assert [len(node.images(str(n))) for n in range(1, 6)] == [3] * 5
    assert [len(node.results(str(n))) for n in (4, 5)] == [1, 1]


def test_what_a_destination_has_not_committed_to_is_kept(node: Node) -> None:
    revision = node.deliver(node.receive(), "pacs", "archive")
    assert revision.state is State.DELIVERED
    node.days(100)
    node.look()
    assert (len(node.images()), len(node.results())) == (3, 1)
    with node.ledger.engine.begin() as connection:
        connection.execute(
            sa.update(schema.delivery)
            .where(schema.delivery.c.destination == "archive")
            .values(state="committed")
        )
    node.look()
    assert (node.images(), node.results()) == ([], [])


def test_a_series_is_kept_until_its_notice_was_made_and_sent(node: Node) -> None:
    revision = node.receive()
    assert node.ledger.skip(revision, "contrast", "C+", [])
    node.days(100)
    node.look()
    assert len(node.images()) == 3, "the notice is made of them"
    notice = Result("notice", "1.9", SR, "1.9.1", Path("notice.dcm"))
    assert node.ledger.explain(node.found(revision.id), [notice], ["pacs"], "a notice says so")
    node.look()
    assert len(node.images()) == 3
    node.ledger.sent([(delivery, None) for delivery in node.ledger.due_deliveries("pacs")])
    node.look()
    assert node.images() == []


@pytest.mark.parametrize(("state", "left"), [(State.SKIPPED, 3), (State.FAILED, 0)])
def test_a_notice_that_nobody_took_keeps_a_skipped_series_but_not_a_failed_one(
    node: Node, state: State, left: int
) -> None:
    revision = node.end(state)
    with node.ledger.engine.begin() as connection:
        notice = Result("notice", "1.9", SR, "1.9.1", Path("notice.dcm"))
        node.ledger.record(connection, revision.id, [notice], ["pacs"], node.clock.now)
    (delivery,) = node.ledger.due_deliveries("pacs")
    node.days(100)
    node.look()
    assert len(node.images()) == 3
    node.ledger.give_up(delivery, "refused")
    node.look()
    assert len(node.images()) == left


# -- what comes later ----------------------------------------------------------


def test_a_series_of_which_a_later_revision_is_under_way_keeps_all_its_images(node: Node) -> None:
    node.end(State.DELIVERED)
    node.days(6.9)
    later = node.receive(numbers=range(3, 4))
    node.days(1)
    node.disk = used(98)
    node.look()
    assert len(node.images()) == 4
    node.disk = ROOM
    node.deliver(node.found(later.id))
    node.days(6.9)
    node.look()
    assert len(node.images()) == 4
    node.days(0.2)
    node.look()
    assert node.images() == []


def test_a_series_of_which_an_earlier_revision_was_not_delivered_keeps_everything(
    node: Node,
) -> None:
    node.report(node.receive(numbers=range(1)), "pacs")
    late = node.receive(numbers=range(1, 2))
    node.report(late, "archive")
    (delivery,) = node.ledger.due_deliveries("archive")
    node.ledger.sent([(delivery, None)])
    with node.ledger.engine.begin() as connection:
        connection.execute(
            sa.update(schema.delivery)
            .where(schema.delivery.c.id == delivery.id)
            .values(state="committed")
        )
    assert [r.state for r in node.ledger.find("1.2.1")] == [State.REPORTED, State.DELIVERED]
    node.days(100)
    node.look()
    assert (len(node.images()), len(node.results())) == (2, 2)


def test_a_late_slice_of_a_removed_series_has_a_revision_that_says_what_it_has(node: Node) -> None:
    first = node.end(State.DELIVERED)
    node.days(8)
    node.look()
    late = node.receive(numbers=range(3, 4))
    assert (late.number, late.instances, late.images_removed_at) == (2, 1, None)
    assert node.found(first.id).instances == 3
    assert node.ledger.removed(late) == 3
    again = node.receive(numbers=range(2))
    assert (again.number, again.instances) == (2, 3)
    assert node.ledger.removed(again) == 1
    node.look()
    assert len(node.images()) == 3


def test_a_content_that_came_back_is_kept_as_long_as_it_is_needed(node: Node) -> None:
    node.deliver(node.receive(numbers=range(1)))
    node.deliver(node.receive(numbers=range(1), content="b"))
    node.days(8)
    node.look()
    assert node.images() == []
    back = node.receive(numbers=range(1))
    with node.ledger.nothing_stored(1) as unneeded:
        (held,) = [node.spool.path(i.path) for i in node.ledger.instances(back)]
        assert held not in {node.spool.path(path) for path in unneeded.instances}
        assert len(unneeded.instances) == 1, "the other content is not needed"
    node.restart()
    assert node.images() == [held]


def test_the_same_content_that_comes_while_it_is_removed_is_not_lost(node: Node) -> None:
    node.end(State.DELIVERED)
    node.days(8)
    ledger, removed = node.ledger, []

    @contextmanager
    def late(series_id: int) -> Iterator[object]:
        """An image is entered between the ledger's word and the removal of the file."""
        if not removed:
            removed.append(ledger.store(node.keep("1", 1), 30))
        with Ledger.nothing_stored(ledger, series_id) as unneeded:
            yield unneeded

    ledger.nothing_stored = late
    node.look()
    del ledger.nothing_stored
    (stored,) = removed
    assert stored.outcome is Outcome.NEW
    assert node.images() == [
        node.spool.path(i.path) for i in ledger.instances(node.found(stored.revision_id))
    ]


def test_what_was_removed_is_not_tried_again(node: Node) -> None:
    ended = [node.end(state, str(n)) for n, state in enumerate((State.SKIPPED, State.FAILED))]
    node.days(31)
    node.look()
    for revision in ended:
        assert not node.ledger.retry(revision, ["pacs"]), "as it was read before"
        assert not node.ledger.retry(node.found(revision.id), ["pacs"])
        assert node.found(revision.id).state is revision.state


def test_results_of_a_series_that_is_tried_again_are_kept(node: Node) -> None:
    revision = node.end(State.FAILED)
    node.days(8)
    node.look()
    assert node.found(revision.id).results_removed_at is not None
    assert node.ledger.retry(node.found(revision.id), ["pacs"])
    node.report(node.found(revision.id), "pacs")
    node.restart()
    assert len(node.results()) == 1


def test_a_sender_is_told_that_the_node_has_no_such_instance_any_more(node: Node) -> None:
    node.end(State.DELIVERED)
    asked = (Reference(CT, "1.2.1.0"), Reference(CT, "1.2.1.1"))
    assert len(judge("1.9", asked, node.ledger, node.spool).committed) == 2
    node.images()[0].unlink()
    assert [s for _, s in judge("1.9", asked, node.ledger, node.spool).failed] == [
        Status.PROCESSING_FAILURE
    ]
    node.days(8)
    node.look()
    assert [s for _, s in judge("1.9", asked, node.ledger, node.spool).failed] == [
        Status.NO_SUCH_INSTANCE
    ] * 2


# -- a disk that fills up ------------------------------------------------------


def test_above_the_mark_the_oldest_goes_until_the_lower_mark(node: Node) -> None:
    for n in range(4):
        node.end(State.DELIVERED, str(n))
        node.days(0.1)
    node.days(1)
    node.look()
    assert all(node.images(str(n)) for n in range(4))

    class Filled:
        """Each series takes 5 percent."""

        @property
        def disk(self) -> Disk:
            return used(68 + 5 * sum(bool(node.images(str(n))) for n in range(4)))

    filled = Filled()
    node.cleaner = Cleaner(node.settings, node.spool, node.ledger, lambda _: filled.disk)
    node.look()
    assert [bool(node.images(str(n))) for n in range(4)] == [False, False, False, True]
    assert filled.disk.percent == 73


def test_what_has_just_ended_stays_however_full_the_disk_is(node: Node) -> None:
    """The soak campaign found it: late images were judged without those before, and skipped."""
    node.end(State.DELIVERED)
    node.disk = used(99)
    node.days(0.9)
    node.look()
    assert len(node.images()) == 3

    node.days(0.2)
    node.look()
    assert node.images() == []


def test_a_disk_that_is_full_of_what_must_stay_is_told_of_once(
    node: Node, caplog: pytest.LogCaptureFixture
) -> None:
    node.end(State.FAILED, "1")
    node.receive("2")
    node.disk = Disk(90 * GB, GB // 2)
    with caplog.at_level(logging.INFO, "node.clean"):
        node.look()
    assert [len(node.images(n)) for n in "12"] == [3, 3]
    errors = [r.message for r in caplog.records if r.levelno == logging.ERROR]
    assert any("images are refused with A700" in text for text in errors)
    assert len([t for t in errors if "nothing is left that has ended and may go" in t]) == 1
    node.days(31)
    node.look()
    assert [len(node.images(n)) for n in "12"] == [0, 3]


def test_one_look_ends_soon_however_much_is_to_go(node: Node) -> None:
    for n in range(30):
        node.end(State.SKIPPED, str(n))
    node.days(8)
    node.cleaner.look()
    left = sum(bool(node.images(str(n))) for n in range(30))
    assert left > 0
    node.look()
    node.look()
    assert sum(bool(node.images(str(n))) for n in range(30)) < left


# -- crashes -------------------------------------------------------------------


class Killed(BaseException):
    """The process ends here."""


@pytest.mark.parametrize("after", range(8))
def test_whatever_step_is_the_last_before_a_crash_nothing_wrong_is_left(
    node: Node, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    """Each rename and each deletion of a file is a step."""
    revision = node.end(State.DELIVERED)
    node.days(8)
    steps = []
    for name in ("rename", "unlink"):
        real = getattr(Path, name)

        def dying(self: Path, *args: object, real: object = real, **kwargs: object) -> object:
            steps.append(self)
            if len(steps) > after:
                raise Killed
            return real(self, *args, **kwargs)

        monkeypatch.setattr(Path, name, dying)
    with pytest.raises(Killed):
        node.look()
    monkeypatch.undo()
    assert node.found(revision.id).images_removed_at is not None
    node.restart()
    node.restart()
    node.look()
    assert (node.images(), node.results()) == ([], [])
    assert [r.id for r in node.ledger.find("1.2.1")] == [revision.id]
    assert node.found(revision.id).state is State.DELIVERED


def test_a_crash_before_the_first_file_goes_leaves_no_series_that_is_taken_up_again(
    node: Node,
) -> None:
    revision = node.end(State.DELIVERED)
    node.days(8)

    def killed(_ended: object) -> None:
        raise Killed

    node.cleaner.take_away = killed
    with pytest.raises(Killed):
        node.look()
    assert len(node.images()) == 3
    node.restart()
    assert node.images() == []
    assert [r.id for r in node.ledger.find("1.2.1")] == [revision.id]


# -- rows and refused instances ------------------------------------------------


def test_rows_go_after_everything_else_where_that_is_wanted(node: Node) -> None:
    node.settings = Settings(home=node.settings.home, retention={"ledger_days": 100})
    node.start()
    node.end(State.DELIVERED, "1")
    node.end(State.FAILED, "2")
    node.receive("3")
    node.days(99)
    node.look()
    assert len(node.ledger.recent(9)) == 3
    node.days(2)
    node.look()
    assert [r.series_instance_uid for r in node.ledger.recent(9)] == ["1.2.3"]
    with node.ledger.reading() as connection:
        for table in (schema.series, schema.revision):
            assert connection.execute(sa.select(sa.func.count()).select_from(table)).scalar() == 1
        for table in (schema.result, schema.delivery):
            assert connection.execute(sa.select(sa.func.count()).select_from(table)).scalar() == 0
    assert len(node.images("3")) == 3


def test_counts_of_days_go_after_their_time_but_for_those_that_are_compared(node: Node) -> None:
    today = int(node.clock.now // DAY_S)
    kept = {"drift_days": 300}
    accepted = {"reference_from": day_of(today - 900), "reference_days": 20}
    node.settings = Settings(home=node.settings.home, retention=kept, drift=accepted)
    node.start()
    days = [today - ago for ago in (1000, 901, 900, 881, 880, 400, 301, 300, 34, 1, 0)]
    with node.ledger.engine.begin() as connection:
        for day in days:
            node.ledger.count_traits(connection, [KVP.count("120")], NOBODY, NOBODY, day * DAY_S)

    def left() -> list[int]:
        found = node.ledger.trait_tallies
        return [today - day for day in days if found(day, day, NOBODY, NOBODY)]

    node.look()
    assert left() == [900, 881, 300, 34, 1, 0]
    node.settings = Settings(home=node.settings.home, retention=kept)
    node.start()
    node.days(300)
    node.look()
    assert left() == [0]


def test_counts_are_kept_as_long_as_they_are_compared_whatever_their_time(node: Node) -> None:
    today = int(node.clock.now // DAY_S)
    node.settings = Settings(home=node.settings.home, retention={"drift_days": 1})
    node.start()
    for day in (today - 104, today - 103):  # 14 recent days, and 90 before them
        with node.ledger.engine.begin() as connection:
            node.ledger.count_traits(connection, [KVP.count("120")], NOBODY, NOBODY, day * DAY_S)
    node.look()
    assert node.ledger.trait_tallies(0, today - 104, NOBODY, NOBODY) == []
    assert node.ledger.trait_tallies(today - 103, today, NOBODY, NOBODY)


def test_what_a_source_tells_of_no_more_is_forgotten(node: Node) -> None:
    source = {"name": "pacs", "poll_s": 60, **PEER}
    node.settings = Settings(home=node.settings.home, sources=[source])
    refused = {"state": FetchState.REFUSED, "counted": 1}
    series = [(f"1.2.{n}", f"1.2.{n}.1", refused) for n in range(250)]
    node.ledger.enter_fetches("pacs", series)
    node.days(3)
    node.ledger.still_has("pacs", ["1.2.7"])
    node.ledger.source_answers("pacs")
    node.start()
    node.look()
    remembered = node.ledger.fetches("pacs", [uid for _, uid, _ in series])
    assert [row.study_instance_uid for row in remembered] == ["1.2.7"]


def test_refused_instances_go_by_their_age(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = node.spool.quarantine(b"odd", "odd")
    node.look()
    assert folder.exists()
    later = folder.stat().st_mtime + 31 * DAY_S
    monkeypatch.setattr("node.clean.time.time", lambda: later)
    node.start()
    node.look()
    assert not folder.exists()


def test_an_image_that_is_removed_while_it_is_entered_is_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The spool had it, so it was not written; then it was removed; then the ledger takes it."""
    file = ct.write(ct.image(1), tmp_path / "1.dcm")

    def removed_first(ledger: Ledger, *arguments: Any) -> Stored:
        for path in (tmp_path / "home" / "spool").rglob("*.dcm"):
            path.unlink()
        return store(ledger, *arguments)

    store = Ledger.store
    monkeypatch.setattr(Ledger, "store", removed_first)
    with listening(tmp_path / "home") as receiver:
        assert storescu(receiver.settings.dicom.port, [file]).returncode == 0
        (revision,) = receiver.intake.ledger.recent(2)
        (image,) = receiver.intake.ledger.instances(revision)
        assert receiver.intake.spool.holds(image.path, image.digest)


def test_an_image_is_stored_though_its_folder_is_removed_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = Spool(tmp_path)
    removed = []
    real = Path.open

    def removed_first(self: Path, *arguments: Any, **further: Any) -> Any:
        if not removed and self.name.endswith(".part"):
            self.parent.rmdir()
            removed.append(self)
        return real(self, *arguments, **further)

    monkeypatch.setattr(Path, "open", removed_first)
    path = spool.keep("1.2", "1.2.3", "1.2.3.4", digest_of(b"x"), b"x")
    assert removed
    assert spool.holds(path, digest_of(b"x"))
