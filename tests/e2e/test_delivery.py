"""Results go to destinations that are well, ill and worse, and arrive once."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import SecondaryCaptureImageStorage
from pynetdicom import AE, evt

from node.audit import Auditor
from node.broker import free_port
from node.deliver.deliverer import LEASE_S, NOTED_TOGETHER, Deliverer
from node.ledger import DeliveryState, Ledger, Revision, State
from node.settings import Settings
from node.spool import Spool
from tests.conftest import Clock
from tests.e2e.peers import running_storescp
from tests.reporting import report_captures

PAUSE_S, LONGEST_S = 5.0, 40.0

Answer = Callable[[evt.Event], int | Dataset]


class Archive:
    """An archive that does as it is told; what it has stored is in `stored`."""

    def __init__(self) -> None:
        self.port = free_port()
        self.answer: Answer = lambda _event: 0x0000
        self.stored: list[str] = []
        self.associations = 0

    def handle(self, event: evt.Event) -> int:
        status = self.answer(event)
        if status == 0:
            self.stored.append(str(event.request.AffectedSOPInstanceUID))
        return status

    def count(self, _event: evt.Event) -> None:
        self.associations += 1


@contextmanager
def running(archive: Archive) -> Iterator[Archive]:
    ae = AE(ae_title="ARCHIVE")
    ae.add_supported_context(SecondaryCaptureImageStorage)
    server = ae.start_server(
        ("127.0.0.1", archive.port),
        block=False,
        evt_handlers=[(evt.EVT_C_STORE, archive.handle), (evt.EVT_ACCEPTED, archive.count)],
    )
    try:
        yield archive
    finally:
        server.shutdown()


@pytest.fixture
def archive() -> Iterator[Archive]:
    with running(Archive()) as started:
        yield started


def settings_for(home: Path, **ports: int) -> Settings:
    return Settings(
        home=home,
        destinations=[
            {"name": name, "ae_title": name.upper(), "host": "127.0.0.1", "port": port}
            for name, port in ports.items()
        ],
        deliver={"first_pause_s": PAUSE_S, "longest_pause_s": LONGEST_S, "timeout_s": 1},
    )


def deliver(destination: str, ledger: Ledger, spool: Spool, settings: Settings) -> int:
    return Deliverer(ledger, spool, settings, Auditor.silent()).deliver(destination)


@pytest.fixture
def reported(ledger: Ledger, spool: Spool) -> Callable[..., Revision]:
    """A series that has results, which wait to be sent."""
    return partial(report_captures, ledger, spool)


def uids(ledger: Ledger, revision: Revision) -> list[str]:
    return [result.sop_instance_uid for result in ledger.results(revision)]


def test_many_series_go_over_one_association(
    archive: Archive, ledger: Ledger, spool: Spool, reported: Callable[..., Revision]
) -> None:
    revisions = [reported("archive") for _ in range(5)]

    stored = deliver("archive", ledger, spool, settings_for(spool.home, archive=archive.port))

    assert stored == 20
    assert archive.associations == 1
    assert archive.stored == [uid for revision in revisions for uid in uids(ledger, revision)]
    assert {ledger.revision(r.id).state for r in revisions} == {State.DELIVERED}


@pytest.mark.parametrize("status", [0xA900, 0xC000, 0x0122])
def test_an_object_that_is_refused_waits_alone(
    archive: Archive,
    ledger: Ledger,
    spool: Spool,
    reported: Callable[..., Revision],
    clock: Clock,
    status: int,
) -> None:
    revision = reported("archive")
    refused = uids(ledger, revision)[1]
    archive.answer = lambda event: (
        status if event.request.AffectedSOPInstanceUID == refused else 0x0000
    )
    settings = settings_for(spool.home, archive=archive.port)

    assert deliver("archive", ledger, spool, settings) == 3

    waiting = ledger.deliveries(revision)[1]
    assert (waiting.state, waiting.attempts) == (DeliveryState.PENDING, 1)
    assert f"0x{status:04X}" in waiting.detail
    assert ledger.due_destinations() == []
    archive.answer = lambda _event: 0x0000
    clock.pass_s(PAUSE_S)
    assert deliver("archive", ledger, spool, settings) == 1
    assert sorted(archive.stored) == sorted(uids(ledger, revision))
    assert ledger.revision(revision.id).state is State.DELIVERED


def test_a_warning_is_a_stored_object_with_a_remark(
    archive: Archive, ledger: Ledger, spool: Spool, reported: Callable[..., Revision]
) -> None:
    revision = reported("archive")
    archive.answer = lambda _event: 0xB000

    assert deliver("archive", ledger, spool, settings_for(spool.home, archive=archive.port)) == 4

    assert {d.detail for d in ledger.deliveries(revision)} == {"stored with warning 0xB000"}


def test_a_full_archive_rests_and_gets_the_rest_when_it_is_well(
    archive: Archive,
    ledger: Ledger,
    spool: Spool,
    reported: Callable[..., Revision],
    clock: Clock,
) -> None:
    revision = reported("archive")
    answers = iter([0x0000, 0xA700])
    archive.answer = lambda _event: next(answers)
    settings = settings_for(spool.home, archive=archive.port)

    assert deliver("archive", ledger, spool, settings) == 1

    assert [d.attempts for d in ledger.deliveries(revision)] == [1, 1, 0, 0]
    assert deliver("archive", ledger, spool, settings) == 0, "it rests"
    archive.answer = lambda _event: 0x0000
    clock.pass_s(PAUSE_S)
    assert deliver("archive", ledger, spool, settings) == 3
    assert sorted(archive.stored) == sorted(uids(ledger, revision))


def test_what_an_archive_says_in_words_is_noted_and_not_logged(
    archive: Archive,
    ledger: Ledger,
    spool: Spool,
    reported: Callable[..., Revision],
    caplog: pytest.LogCaptureFixture,
) -> None:
    full = Dataset()
    full.Status, full.ErrorComment = 0xA700, "no room for Doe^Jane"
    archive.answer = lambda _event: full
    revision = reported("archive")

    assert deliver("archive", ledger, spool, settings_for(spool.home, archive=archive.port)) == 0

    assert "no room for Doe^Jane" in str(ledger.deliveries(revision)[0].detail)
    assert "is out of resources" in caplog.text
    assert "Doe" not in caplog.text


def test_pauses_of_a_destination_that_is_away_grow_up_to_the_longest(
    ledger: Ledger, spool: Spool, reported: Callable[..., Revision], clock: Clock
) -> None:
    reported("away")
    settings = settings_for(spool.home, away=free_port())
    pauses = []
    for _ in range(6):
        assert deliver("away", ledger, spool, settings) == 0
        begin = clock.now
        while ledger.due_destinations() == []:
            clock.pass_s(0.25)
        pauses.append(clock.now - begin)
    for pause, expected in zip(pauses, [5, 10, 20, 40, 40, 40], strict=True):
        assert 0.75 * expected <= pause <= expected + 0.25


def test_after_too_long_a_time_objects_are_given_up_and_can_be_sent_by_hand(
    archive: Archive,
    ledger: Ledger,
    spool: Spool,
    reported: Callable[..., Revision],
    clock: Clock,
) -> None:
    revision = reported("archive")
    away = settings_for(spool.home, archive=free_port())
    assert deliver("archive", ledger, spool, away) == 0
    clock.pass_s(away.deliver.give_up_h * 3600 + 1)
    assert deliver("archive", ledger, spool, away) == 0
    assert {d.state for d in ledger.deliveries(revision)} == {DeliveryState.FAILED}
    assert ledger.due_destinations() == []

    assert ledger.retry(ledger.revision(revision.id), ["archive"])

    well = settings_for(spool.home, archive=archive.port)
    assert deliver("archive", ledger, spool, well) == 4
    assert ledger.revision(revision.id).state is State.DELIVERED


def abort(event: evt.Event) -> int:
    event.assoc.abort()
    return 0xC000


def drop(event: evt.Event) -> int:
    """Close the connection without a word."""
    event.assoc.dul.socket.close()
    return 0xC000


def sleep(_event: evt.Event) -> int:
    time.sleep(1.5)
    return 0xC000


@pytest.mark.parametrize("illness", [abort, drop, sleep])
def test_an_association_that_breaks_off_loses_nothing(
    archive: Archive,
    ledger: Ledger,
    spool: Spool,
    reported: Callable[..., Revision],
    clock: Clock,
    illness: Answer,
) -> None:
    revision = reported("archive")
    archive.answer = lambda event: illness(event) if len(archive.stored) == 2 else 0x0000
    settings = settings_for(spool.home, archive=archive.port)

    assert deliver("archive", ledger, spool, settings) == 2

    archive.answer = lambda _event: 0x0000
    clock.pass_s(PAUSE_S)
    assert deliver("archive", ledger, spool, settings) == 2
    assert sorted(archive.stored) == sorted(uids(ledger, revision))
    assert ledger.revision(revision.id).state is State.DELIVERED


@pytest.mark.parametrize("illness", [abort, drop])
def test_an_object_that_a_peer_breaks_off_for_holds_no_other_up(
    archive: Archive,
    ledger: Ledger,
    spool: Spool,
    reported: Callable[..., Revision],
    clock: Clock,
    illness: Answer,
) -> None:
    revision, other = reported("archive"), reported("archive")
    first = uids(ledger, revision)[0]
    archive.answer = lambda event: (
        illness(event) if event.request.AffectedSOPInstanceUID == first else 0x0000
    )
    settings = settings_for(spool.home, archive=archive.port)

    assert deliver("archive", ledger, spool, settings) == 7

    waiting = ledger.deliveries(revision)[0]
    assert (waiting.state, waiting.attempts) == (DeliveryState.PENDING, 1)
    assert ledger.revision(other.id).state is State.DELIVERED
    assert [d.failures for d in ledger.destinations()] == [0], "it is not ill"
    clock.pass_s(settings.deliver.give_up_h * 3600 + 1)
    deliver("archive", ledger, spool, settings)
    assert [d.state for d in ledger.deliveries(revision)][:2] == [
        DeliveryState.FAILED,
        DeliveryState.SENT,
    ]


def test_many_objects_that_a_peer_breaks_off_for_hold_the_others_up_for_a_while_only(
    archive: Archive,
    ledger: Ledger,
    spool: Spool,
    reported: Callable[..., Revision],
    clock: Clock,
) -> None:
    revision, other = reported("archive"), reported("archive")
    poison = set(uids(ledger, revision))
    archive.answer = lambda event: (
        abort(event) if str(event.request.AffectedSOPInstanceUID) in poison else 0x0000
    )
    settings = settings_for(spool.home, archive=archive.port)
    for _ in range(20):
        if deliver("archive", ledger, spool, settings):
            break
        clock.pass_s(LONGEST_S / 4)

    assert sorted(archive.stored) == sorted(uids(ledger, other))


def cut_off(content: bytes) -> bytes:
    return content[:200]


def without_a_class(content: bytes) -> bytes:
    """Of its file meta information the length of a UID is that of nothing that follows."""
    return content.replace(b"UI\x1a\x00", b"UI\x03\x00", 1)


def of_no_length(content: bytes) -> bytes:
    """The length of its file meta information has none itself."""
    return content.replace(b"UL\x04\x00", b"UL\x02\x00", 1)


@pytest.mark.parametrize("damage", [lambda _: b"", cut_off, without_a_class, of_no_length])
def test_a_file_that_cannot_be_read_holds_no_other_up(
    archive: Archive,
    ledger: Ledger,
    spool: Spool,
    reported: Callable[..., Revision],
    damage: Callable[[bytes], bytes],
) -> None:
    revision = reported("archive")
    file = spool.results / ledger.results(revision)[0].path
    file.write_bytes(damage(file.read_bytes()))

    assert deliver("archive", ledger, spool, settings_for(spool.home, archive=archive.port)) == 3

    waiting = ledger.deliveries(revision)[0]
    assert waiting.state is DeliveryState.PENDING
    assert str(waiting.detail).startswith("0.dcm cannot be ")


def test_an_answer_that_is_lost_makes_the_object_go_again_under_its_uid(
    archive: Archive,
    ledger: Ledger,
    spool: Spool,
    reported: Callable[..., Revision],
    clock: Clock,
) -> None:
    revision = reported("archive")

    def store_and_say_nothing(event: evt.Event) -> int:
        if len(archive.stored) == 2:
            archive.stored.append(str(event.request.AffectedSOPInstanceUID))
            return sleep(event)
        return 0x0000

    archive.answer = store_and_say_nothing
    settings = settings_for(spool.home, archive=archive.port)
    deliver("archive", ledger, spool, settings)
    clock.pass_s(PAUSE_S)
    archive.answer = lambda _event: 0x0000
    deliver("archive", ledger, spool, settings)

    assert len(archive.stored) == 5
    assert set(archive.stored) == set(uids(ledger, revision))
    assert ledger.revision(revision.id).state is State.DELIVERED


def test_the_ledger_learns_of_stored_objects_some_at_a_time(
    archive: Archive,
    ledger: Ledger,
    spool: Spool,
    reported: Callable[..., Revision],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("node.deliver.deliverer.NOTED_AFTER_S", 60)
    revision = reported("archive", objects=2 * NOTED_TOGETHER + 5)
    noted: list[int] = []

    def count_and_store(_event: evt.Event) -> int:
        states = [d.state for d in ledger.deliveries(revision)]
        noted.append(states.count(DeliveryState.SENT))
        return 0x0000

    archive.answer = count_and_store
    deliver("archive", ledger, spool, settings_for(spool.home, archive=archive.port))

    some = NOTED_TOGETHER
    assert noted == [0] * some + [some] * some + [2 * some] * 5
    assert {d.state for d in ledger.deliveries(revision)} == {DeliveryState.SENT}


def test_an_archive_that_takes_its_time_is_noted_object_by_object(
    archive: Archive,
    ledger: Ledger,
    spool: Spool,
    reported: Callable[..., Revision],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("node.deliver.deliverer.NOTED_AFTER_S", 0.2)
    revision = reported("archive")
    noted: list[int] = []

    def store_slowly(_event: evt.Event) -> int:
        noted.append([d.state for d in ledger.deliveries(revision)].count(DeliveryState.SENT))
        time.sleep(0.3)
        return 0x0000

    archive.answer = store_slowly
    deliver("archive", ledger, spool, settings_for(spool.home, archive=archive.port))

    assert noted == [0, 1, 2, 3]


@pytest.mark.parametrize("illness", [abort, drop, sleep])
def test_what_was_stored_before_an_association_breaks_off_is_noted(
    archive: Archive,
    ledger: Ledger,
    spool: Spool,
    reported: Callable[..., Revision],
    clock: Clock,
    illness: Answer,
) -> None:
    count, before = NOTED_TOGETHER + 15, NOTED_TOGETHER + 7
    revision = reported("archive", objects=count)
    archive.answer = lambda event: illness(event) if len(archive.stored) == before else 0x0000
    settings = settings_for(spool.home, archive=archive.port)

    assert deliver("archive", ledger, spool, settings) == before

    states = [d.state for d in ledger.deliveries(revision)]
    assert states == [DeliveryState.SENT] * before + [DeliveryState.PENDING] * (count - before)
    archive.answer = lambda _event: 0x0000
    clock.pass_s(PAUSE_S)
    assert deliver("archive", ledger, spool, settings) == count - before
    assert sorted(archive.stored) == sorted(uids(ledger, revision)), "none lost, none twice"


def test_what_was_stored_and_not_noted_goes_again_under_its_uid(
    archive: Archive,
    ledger: Ledger,
    spool: Spool,
    reported: Callable[..., Revision],
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    revision = reported("archive")

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    settings = settings_for(spool.home, archive=archive.port)
    with monkeypatch.context() as patch:
        patch.setattr(ledger, "sent", die)
        with pytest.raises(KeyboardInterrupt):
            deliver("archive", ledger, spool, settings)
    assert deliver("archive", ledger, spool, settings) == 0, "who died still holds it"
    clock.pass_s(LEASE_S + 1)

    assert deliver("archive", ledger, spool, settings) == 4

    assert archive.stored == 2 * uids(ledger, revision)
    assert ledger.revision(revision.id).state is State.DELIVERED


def test_a_peer_that_listens_and_never_answers_holds_no_other_up(
    tmp_path: Path, ledger: Ledger, spool: Spool, reported: Callable[..., Revision]
) -> None:
    with (
        closing(socket.create_server(("127.0.0.1", 0))) as silent,
        running_storescp(tmp_path / "storescp") as storescp,
    ):
        settings = settings_for(spool.home, silent=silent.getsockname()[1], storescp=storescp.port)
        revision = reported("silent", "storescp")
        begin = time.monotonic()
        ill = threading.Thread(target=deliver, args=("silent", ledger, spool, settings))
        ill.start()
        for _ in range(100):
            if deliver("storescp", ledger, spool, settings):
                break
            time.sleep(0.1)
        assert len(storescp.datasets()) == 4
        ill.join(20)
        assert not ill.is_alive()
        assert time.monotonic() - begin < 10
    states = {(d.destination, d.state) for d in ledger.deliveries(revision)}
    assert states == {("silent", DeliveryState.PENDING), ("storescp", DeliveryState.SENT)}


def test_two_senders_at_once_send_everything_once(
    archive: Archive, ledger: Ledger, spool: Spool, reported: Callable[..., Revision]
) -> None:
    for _ in range(5):
        reported("archive")
    settings = settings_for(spool.home, archive=archive.port)
    senders = [
        threading.Thread(target=deliver, args=("archive", ledger, spool, settings))
        for _ in range(4)
    ]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join(60)
    assert len(archive.stored) == len(set(archive.stored)) == 20


def test_a_file_of_the_results_that_is_gone_is_made_again(
    archive: Archive, ledger: Ledger, spool: Spool, reported: Callable[..., Revision]
) -> None:
    damaged, whole = reported("archive"), reported("archive")
    (spool.results / ledger.results(damaged)[2].path).unlink()

    assert deliver("archive", ledger, spool, settings_for(spool.home, archive=archive.port)) == 4

    assert sorted(archive.stored) == sorted(uids(ledger, whole))
    assert [r.id for r in ledger.due(State.READY)] == [damaged.id]


def test_a_destination_that_is_not_configured_any_more_is_given_up(
    ledger: Ledger, spool: Spool, reported: Callable[..., Revision]
) -> None:
    revision = reported("gone")
    assert deliver("gone", ledger, spool, settings_for(spool.home)) == 0
    assert {d.state for d in ledger.deliveries(revision)} == {DeliveryState.FAILED}
