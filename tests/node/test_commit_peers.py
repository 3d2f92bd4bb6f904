"""Storage commitment with peers that are well, ill and odd, over real associations."""

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pydicom.uid import CTImageStorage, MRImageStorage, generate_uid
from pynetdicom import AE, build_role, evt
from pynetdicom.sop_class import StorageCommitmentPushModel as PUSH_MODEL
from pynetdicom.sop_class import StorageCommitmentPushModelInstance as PUSH_MODEL_INSTANCE
from pynetdicom.sop_class import Verification

from node.audit import Auditor
from node.broker import free_port
from node.commit import ask, asking, tell
from node.commit.content import MOST_REFERENCES, Report, Request, read_report, read_request
from node.ledger import DeliveryState, Instance, Ledger, Reference, Revision, State, open_ledger
from node.receive import Receiver, start_receiver
from node.settings import Settings
from node.spool import Spool, digest_of
from tests.conftest import Clock
from tests.node.test_commit_ledger import make_sent

CT = str(CTImageStorage)
WAIT_S, PAUSE_S, LONGEST_S, STEP_S = 600.0, 5.0, 40.0, 1.0


@pytest.fixture
def ledger(tmp_path: Path, clock: Clock) -> Iterator[Ledger]:
    opened = open_ledger(f"sqlite:///{tmp_path}/ledger.sqlite")
    opened.clock = clock
    yield opened
    opened.close()


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path)


class Peer:
    """An archive that is asked to commit, and a modality that is told; it does as it is told."""

    def __init__(self) -> None:
        self.port = free_port()
        self.status = 0x0000  # its answer to requests and to reports
        self.requests: list[Request] = []
        self.reports: list[Report] = []
        self.roles: list[tuple[bool, bool]] = []
        self.asked_by: Callable[[evt.Event, Request], None] = lambda _event, _request: None

    def take_request(self, event: evt.Event) -> tuple[int, None]:
        request = read_request(event.action_information)
        self.requests.append(request)
        self.asked_by(event, request)
        return self.status, None

    def take_report(self, event: evt.Event) -> tuple[int, None]:
        self.reports.append(read_report(event.event_information))
        item = event.assoc.requestor.role_selection[PUSH_MODEL]
        self.roles.append((item.scu_role, item.scp_role))
        return self.status, None


@contextmanager
def running(peer: Peer, *, knows_commitment: bool = True) -> Iterator[Peer]:
    ae = AE(ae_title="PACS")
    ae.add_supported_context(Verification)
    if knows_commitment:
        ae.add_supported_context(PUSH_MODEL, scu_role=True, scp_role=True)
    server = ae.start_server(
        ("127.0.0.1", peer.port),
        block=False,
        evt_handlers=[
            (evt.EVT_N_ACTION, peer.take_request),
            (evt.EVT_N_EVENT_REPORT, peer.take_report),
        ],
    )
    try:
        yield peer
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def peer() -> Iterator[Peer]:
    with running(Peer()) as started:
        yield started


def settings_for(home: Path, port: int, **more: Any) -> Settings:
    address = {"name": "pacs", "ae_title": "PACS", "host": "127.0.0.1", "port": port}
    return Settings(
        home=home,
        dicom={"port": free_port()},
        destinations=[{**address, "commit": True}],
        deliver={
            "first_pause_s": PAUSE_S,
            "longest_pause_s": LONGEST_S,
            "timeout_s": 15,
            "commit_wait_s": WAIT_S,
        },
        **more,
    )


@pytest.fixture
def settings(tmp_path: Path, peer: Peer) -> Settings:
    return settings_for(tmp_path, peer.port)


@pytest.fixture(autouse=True)
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """Most peers report elsewhere: do not wait long for those that report where they are asked."""
    monkeypatch.setattr(asking, "LINGER_S", 0.4)


@pytest.fixture(autouse=True)
def receiver(settings: Settings, spool: Spool, ledger: Ledger) -> Iterator[Receiver]:
    """The node's own port, which reports and requests come to."""
    started = start_receiver(settings, spool, ledger, Auditor.silent())
    yield started
    started.stop()


@contextmanager
def calling_node(settings: Settings, *, as_scp: bool = False, title: str = "PACS") -> Iterator[Any]:
    ae = AE(ae_title=title)
    ae.add_requested_context(PUSH_MODEL)
    roles = [build_role(PUSH_MODEL, scp_role=True)] if as_scp else []
    association = ae.associate("127.0.0.1", settings.dicom.port, ae_title="ICHNODE", ext_neg=roles)
    assert association.is_established
    try:
        yield association
    finally:
        association.release()


def report_to_node(settings: Settings, report: Report, event_type: int | None = None) -> int:
    with calling_node(settings, as_scp=True) as association:
        answer, _ = association.send_n_event_report(
            report.as_dataset(),
            report.event_type if event_type is None else event_type,
            PUSH_MODEL,
            PUSH_MODEL_INSTANCE,
        )
    return int(answer.Status)


def ask_node(settings: Settings, request: Request | None, title: str = "PACS") -> int:
    dataset = None if request is None else request.as_dataset()
    with calling_node(settings, title=title) as association:
        answer, _ = association.send_n_action(dataset, 1, PUSH_MODEL, PUSH_MODEL_INSTANCE)
    return int(answer.Status)


def all_of(request: Request) -> Report:
    return Report(request.transaction_uid, request.references, ())


def states(ledger: Ledger, revision: Revision) -> set[DeliveryState]:
    return {delivery.state for delivery in ledger.deliveries(revision)}


def details(ledger: Ledger, revision: Revision) -> set[str | None]:
    return {delivery.detail for delivery in ledger.deliveries(revision)}


def state_of(ledger: Ledger, revision: Revision) -> State:
    found = ledger.revision(revision.id)
    assert found is not None
    return found.state


# The node asks.


def test_a_report_on_an_association_of_its_own_commits(
    peer: Peer, ledger: Ledger, settings: Settings
) -> None:
    revision = make_sent(ledger, "pacs")
    assert ask("pacs", ledger, settings) == 3
    (request,) = peer.requests
    assert [r.sop_instance_uid for r in request.references] == [
        d.result.sop_instance_uid for d in ledger.deliveries(revision)
    ]
    assert states(ledger, revision) == {DeliveryState.SENT}

    assert report_to_node(settings, all_of(request)) == 0x0000

    assert states(ledger, revision) == {DeliveryState.COMMITTED}
    assert ask("pacs", ledger, settings) == 0


def test_a_report_on_the_association_of_the_request_commits(
    peer: Peer, ledger: Ledger, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers: list[int] = []

    def report_here(event: evt.Event, request: Request) -> None:
        def send() -> None:
            time.sleep(0.1)  # the answer to the request goes first
            answer, _ = event.assoc.send_n_event_report(
                all_of(request).as_dataset(), 1, PUSH_MODEL, PUSH_MODEL_INSTANCE
            )
            answers.append(answer.Status)

        threading.Thread(target=send).start()

    peer.asked_by = report_here
    monkeypatch.setattr(asking, "LINGER_S", 30)
    revision = make_sent(ledger, "pacs")
    begin = time.monotonic()

    ask("pacs", ledger, settings)

    assert time.monotonic() - begin < 15, "what was heard is not waited for"
    assert wait_until(lambda: answers == [0x0000])
    assert states(ledger, revision) == {DeliveryState.COMMITTED}


def test_what_the_peer_does_not_commit_to_is_sent_again(
    peer: Peer, ledger: Ledger, settings: Settings, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    revision = make_sent(ledger, "pacs")
    ask("pacs", ledger, settings)
    uid, references = peer.requests[0].transaction_uid, peer.requests[0].references

    status = report_to_node(settings, Report(uid, references[:2], ((references[2], 0x0112),)))

    assert status == 0x0000
    assert state_of(ledger, revision) is State.REPORTED
    lost = ledger.deliveries(revision)[2]
    assert lost.state is DeliveryState.PENDING
    assert lost.detail == "not committed: 0x0112, it has no such instance"
    assert "did not commit to 1 objects" in caplog.text
    clock.pass_s(PAUSE_S)
    ledger.sent([(ledger.due_deliveries("pacs")[0], None)])
    assert ask("pacs", ledger, settings) == 1
    assert peer.requests[1].references == references[2:]
    report_to_node(settings, all_of(peer.requests[1]))
    assert states(ledger, revision) == {DeliveryState.COMMITTED}
    assert state_of(ledger, revision) is State.DELIVERED


def test_a_report_that_never_comes_is_asked_for_again_until_it_is_given_up(
    peer: Peer, ledger: Ledger, settings: Settings, clock: Clock
) -> None:
    revision = make_sent(ledger, "pacs")
    ask("pacs", ledger, settings)
    clock.pass_s(WAIT_S - 1)
    assert ledger.destinations_to_ask(["pacs"], 0) == []
    clock.pass_s(1)
    assert ledger.destinations_to_ask(["pacs"], 0) == ["pacs"]
    ask("pacs", ledger, settings)
    assert len({request.transaction_uid for request in peer.requests}) == 2

    clock.pass_s(settings.deliver.give_up_h * 3600)
    assert ask("pacs", ledger, settings) == 0

    assert details(ledger, revision) == {"sent; storage commitment not heard of within 72 h"}
    assert len(peer.requests) == 2
    assert ledger.destinations_to_ask(["pacs"], 0) == []
    assert report_to_node(settings, all_of(peer.requests[0])) == 0x0000, "better late than never"
    assert states(ledger, revision) == {DeliveryState.COMMITTED}


def test_a_report_that_comes_twice_is_answered_and_changes_nothing(
    peer: Peer, ledger: Ledger, settings: Settings
) -> None:
    revision = make_sent(ledger, "pacs")
    ask("pacs", ledger, settings)
    request = peer.requests[0]
    denial = Report(request.transaction_uid, (), tuple((r, 0x0110) for r in request.references))

    assert report_to_node(settings, all_of(request)) == 0x0000
    assert report_to_node(settings, all_of(request)) == 0x0000
    assert report_to_node(settings, denial) == 0x0000

    assert states(ledger, revision) == {DeliveryState.COMMITTED}
    assert state_of(ledger, revision) is State.DELIVERED


def test_a_report_of_an_unknown_transaction_is_answered_with_failure_and_logged(
    ledger: Ledger, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    revision = make_sent(ledger, "pacs")
    references = tuple(Reference(CT, f"1.2.4.9.{n}") for n in range(3))

    assert report_to_node(settings, Report("1.2.3.4.5", references, ())) == 0x0115

    assert "PACS reports on storage commitment 1.2.3.4.5" in caplog.text
    assert states(ledger, revision) == {DeliveryState.SENT}


def test_a_report_of_an_unknown_kind_or_without_sense_is_answered_with_failure(
    peer: Peer, ledger: Ledger, settings: Settings
) -> None:
    revision = make_sent(ledger, "pacs")
    ask("pacs", ledger, settings)
    whole = all_of(peer.requests[0])

    assert report_to_node(settings, whole, event_type=3) == 0x0113
    assert report_to_node(settings, Report("", whole.committed, ())) == 0x0115
    nameless = (Reference(CT, ""),)
    assert report_to_node(settings, Report(whole.transaction_uid, nameless, ())) == 0x0115

    assert states(ledger, revision) == {DeliveryState.SENT}


def test_a_report_for_which_the_database_is_away_is_to_come_again(
    peer: Peer, ledger: Ledger, settings: Settings
) -> None:
    make_sent(ledger, "pacs")
    ask("pacs", ledger, settings)
    with ledger.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE delivery RENAME TO away")
    assert report_to_node(settings, all_of(peer.requests[0])) == 0x0110


def test_a_peer_that_does_not_know_storage_commitment_is_asked_once(
    ledger: Ledger, tmp_path: Path, clock: Clock
) -> None:
    with running(Peer(), knows_commitment=False) as simple:
        settings = settings_for(tmp_path, simple.port)
        revision = make_sent(ledger, "pacs")

        assert ask("pacs", ledger, settings) == 0

        where = f"PACS at 127.0.0.1:{simple.port}"
        assert details(ledger, revision) == {f"sent; {where} does not accept storage commitment"}
        assert states(ledger, revision) == {DeliveryState.SENT}
        assert state_of(ledger, revision) is State.DELIVERED
        clock.pass_s(WAIT_S)
        assert ledger.destinations_to_ask(["pacs"], 0) == []


@pytest.mark.parametrize("status", [0x0122, 0x0211])
def test_a_peer_that_says_it_cannot_commit_is_asked_once(
    peer: Peer, ledger: Ledger, settings: Settings, clock: Clock, status: int
) -> None:
    peer.status = status
    revision = make_sent(ledger, "pacs")
    assert ask("pacs", ledger, settings) == 0
    (detail,) = details(ledger, revision)
    assert detail is not None
    assert f"0x{status:04X}" in detail
    clock.pass_s(WAIT_S)
    assert ledger.destinations_to_ask(["pacs"], 0) == []


def pauses_until_due(clock: Clock, is_due: Callable[[], Any]) -> float:
    begin = clock.now
    while not is_due():
        clock.pass_s(STEP_S)
    return clock.now - begin


@pytest.mark.parametrize("illness", ["away", "busy"])
def test_a_peer_that_is_ill_is_asked_after_growing_pauses(
    peer: Peer, ledger: Ledger, tmp_path: Path, clock: Clock, illness: str
) -> None:
    peer.status = 0x0213
    port = peer.port if illness == "busy" else free_port()
    settings = settings_for(tmp_path, port)
    revision = make_sent(ledger, "pacs")
    for expected in (5, 10, 20, 40, 40):
        assert ask("pacs", ledger, settings) == 0
        pause = pauses_until_due(clock, lambda: ledger.destinations_to_ask(["pacs"], 0))
        assert 0.75 * expected <= pause <= expected + STEP_S
    assert states(ledger, revision) == {DeliveryState.SENT}
    peer.status = 0x0000
    assert ask("pacs", ledger, settings_for(tmp_path, peer.port)) == 3


def test_a_destination_that_is_to_be_asked_no_more_is_let_alone(
    peer: Peer, ledger: Ledger, settings: Settings, tmp_path: Path, clock: Clock
) -> None:
    revision = make_sent(ledger, "pacs")
    ask("pacs", ledger, settings)
    clock.pass_s(WAIT_S)

    assert ask("pacs", ledger, Settings(home=tmp_path)) == 0

    assert states(ledger, revision) == {DeliveryState.SENT}
    assert ledger.destinations_to_ask([], 0) == []
    assert len(peer.requests) == 1


# The node is asked.


@pytest.fixture
def receive(ledger: Ledger, spool: Spool) -> Callable[..., list[Reference]]:
    """Put instances into spool and ledger."""

    def store(count: int, content: bytes = b"image") -> list[Reference]:
        study, series = (str(generate_uid(prefix=None)) for _ in range(2))
        references = []
        for number in range(count):
            uid, whole = f"{series}.{number}", content + str(number).encode()
            digest = digest_of(whole)
            path = spool.keep(study, series, uid, digest, whole)
            ledger.store(Instance(study, series, uid, CT, digest, path, "CT"), 30)
            references.append(Reference(CT, uid))
        return references

    return store


def tell_due(ledger: Ledger, spool: Spool, settings: Settings) -> list[bool]:
    return [tell(report_id, ledger, spool, settings) for report_id in ledger.due_reports()]


def file_of(ledger: Ledger, spool: Spool, reference: Reference) -> Path:
    (instance,) = ledger.current_instances([reference.sop_instance_uid])[reference.sop_instance_uid]
    return spool.path(instance.path)


def test_a_sender_is_told_what_the_node_has_on_an_association_of_its_own(
    peer: Peer,
    ledger: Ledger,
    spool: Spool,
    settings: Settings,
    receive: Callable[..., list[Reference]],
) -> None:
    request = Request("1.2.3", tuple(receive(3)))

    assert ask_node(settings, request) == 0x0000
    assert peer.reports == [], "the request was answered, the report is owed"
    assert tell_due(ledger, spool, settings) == [True]

    assert peer.reports == [all_of(request)]
    assert peer.roles == [(False, True)], "the node calls, and is the SCP"
    assert tell_due(ledger, spool, settings) == []


def test_the_node_commits_only_to_what_is_whole_on_its_disk_at_this_moment(
    peer: Peer,
    ledger: Ledger,
    spool: Spool,
    settings: Settings,
    receive: Callable[..., list[Reference]],
) -> None:
    whole, altered, gone, other_class = receive(4)
    unknown = Reference(CT, "1.2.3.4")
    conflict = Reference(str(MRImageStorage), other_class.sop_instance_uid)
    ask_node(settings, Request("1.2.3", (whole, altered, gone, conflict, unknown)))
    file_of(ledger, spool, altered).write_bytes(b"something else")
    file_of(ledger, spool, gone).unlink()

    tell_due(ledger, spool, settings)

    (report,) = peer.reports
    assert report.committed == (whole,)
    assert dict(report.failed) == {
        altered: 0x0110,
        gone: 0x0110,
        conflict: 0x0119,
        unknown: 0x0112,
    }


def test_while_the_spool_is_away_nobody_is_told_that_all_is_lost(
    peer: Peer,
    ledger: Ledger,
    spool: Spool,
    settings: Settings,
    receive: Callable[..., list[Reference]],
    clock: Clock,
) -> None:
    request = Request("1.2.3", tuple(receive(2)))
    ask_node(settings, request)
    spool.folder.rename(spool.home / "unmounted")
    assert tell_due(ledger, spool, settings) == [False]
    (spool.home / "unmounted").rename(spool.folder)
    clock.pass_s(PAUSE_S)
    assert tell_due(ledger, spool, settings) == [True]
    assert peer.reports == [all_of(request)]


def test_a_sender_that_is_away_is_told_after_growing_pauses_until_it_hears(
    ledger: Ledger,
    spool: Spool,
    settings: Settings,
    receive: Callable[..., list[Reference]],
    clock: Clock,
    peer: Peer,
) -> None:
    request = Request("1.2.3", tuple(receive(2)))
    ask_node(settings, request)
    away = settings_for(spool.home, free_port())
    for expected in (5, 10, 20, 40, 40):
        assert tell_due(ledger, spool, away) == [False]
        pause = pauses_until_due(clock, ledger.due_reports)
        assert 0.75 * expected <= pause <= expected + STEP_S
    peer.status = 0x0110
    assert tell_due(ledger, spool, settings) == [False], "it did not say that it has heard"
    peer.status = 0x0000
    clock.pass_s(LONGEST_S)
    assert tell_due(ledger, spool, settings) == [True]
    assert peer.reports[-1] == all_of(request)


def test_a_sender_that_stays_away_is_given_up_and_may_ask_again(
    ledger: Ledger,
    spool: Spool,
    settings: Settings,
    receive: Callable[..., list[Reference]],
    clock: Clock,
    peer: Peer,
    caplog: pytest.LogCaptureFixture,
) -> None:
    request = Request("1.2.3", tuple(receive(2)))
    ask_node(settings, request)
    clock.pass_s(settings.deliver.give_up_h * 3600 + 1)
    assert tell_due(ledger, spool, settings_for(spool.home, free_port())) == [False]
    assert "PACS is not told of its storage commitment any more" in caplog.text
    clock.pass_s(LONGEST_S)
    assert ledger.due_reports() == []

    ask_node(settings, request)
    assert tell_due(ledger, spool, settings) == [True]


def test_an_address_of_peers_goes_before_that_of_a_destination(
    peer: Peer, ledger: Ledger, spool: Spool, receive: Callable[..., list[Reference]]
) -> None:
    listed = {"name": "ct", "ae_title": "PACS", "host": "127.0.0.1", "port": peer.port}
    settings = settings_for(spool.home, free_port(), peers=[listed])
    report_id = ledger.owe_report("PACS", "1.2.3", receive(1))
    assert report_id is not None
    assert tell(report_id, ledger, spool, settings)
    assert len(peer.reports) == 1


def test_a_sender_without_an_address_is_told_where_it_asked(
    ledger: Ledger, settings: Settings, receive: Callable[..., list[Reference]]
) -> None:
    request = Request("1.2.3", tuple(receive(3)))
    heard = threading.Event()
    reports: list[Report] = []

    def hear(event: evt.Event) -> tuple[int, None]:
        reports.append(read_report(event.event_information))
        heard.set()
        return 0x0000, None

    with calling_node(settings, title="CT") as association:
        association.bind(evt.EVT_N_EVENT_REPORT, hear)
        answer, _ = association.send_n_action(
            request.as_dataset(), 1, PUSH_MODEL, PUSH_MODEL_INSTANCE
        )
        assert answer.Status == 0x0000
        assert heard.wait(10)
        time.sleep(0.2)  # its answer goes back
    assert reports == [all_of(request)]
    assert wait_until(lambda: not is_owed(ledger))


def test_a_sender_without_an_address_that_does_not_wait_makes_a_line_that_says_what_to_do(
    ledger: Ledger,
    spool: Spool,
    settings: Settings,
    receive: Callable[..., list[Reference]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.ERROR)
    references = receive(1)
    slow_file = file_of(ledger, spool, references[0])
    slow_file.unlink()
    os.mkfifo(slow_file)

    assert ask_node(settings, Request("1.2.3", tuple(references)), title="CT") == 0x0000

    slow_file.write_bytes(b"read after the sender has gone")
    assert wait_until(lambda: not is_owed(ledger))
    assert "name its host and port in [[peers]]" in caplog.text


def is_owed(ledger: Ledger) -> bool:
    with ledger.reading() as connection:
        found = connection.exec_driver_sql("SELECT 1 FROM owed_report WHERE state = 'owed'")
        return found.first() is not None


def wait_until(what: Callable[[], bool], timeout_s: float = 20) -> bool:
    deadline = time.monotonic() + timeout_s
    while not what():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


@pytest.mark.parametrize(
    ("action", "instance", "status"),
    [(2, PUSH_MODEL_INSTANCE, 0x0123), (1, "1.2.3", 0x0112)],
)
def test_another_action_or_another_instance_is_refused(
    ledger: Ledger, settings: Settings, action: int, instance: str, status: int
) -> None:
    content = Request("1.2.3", (Reference(CT, "1.2"),)).as_dataset()
    with calling_node(settings) as association:
        answer, _ = association.send_n_action(content, action, PUSH_MODEL, instance)
    assert answer.Status == status
    assert ledger.due_reports() == []


def test_a_request_without_sense_is_refused_and_nothing_is_owed(
    ledger: Ledger, settings: Settings
) -> None:
    assert ask_node(settings, None) == 0x0115
    assert ask_node(settings, Request("", (Reference(CT, "1.2"),))) == 0x0115
    assert ask_node(settings, Request("1.2.3", ())) == 0x0115
    assert ask_node(settings, Request("1.2.3", (Reference(CT, "../x"),))) == 0x0115
    assert ledger.due_reports() == []


def test_other_instances_under_a_transaction_in_use_are_refused(
    ledger: Ledger, settings: Settings
) -> None:
    assert ask_node(settings, Request("1.2.3", (Reference(CT, "1.2"),))) == 0x0000
    assert ask_node(settings, Request("1.2.3", (Reference(CT, "1.2"),))) == 0x0000
    assert ask_node(settings, Request("1.2.3", (Reference(CT, "1.3"),))) == 0x0115
    assert len(ledger.due_reports()) == 1


def test_ten_thousand_references_are_asked_for_and_told_of(
    peer: Peer,
    ledger: Ledger,
    spool: Spool,
    settings: Settings,
    receive: Callable[..., list[Reference]],
) -> None:
    known = receive(20)
    unknown = [Reference(CT, f"1.2.840.113619.2.55.3.{n}") for n in range(9_980)]
    assert len(known + unknown) < MOST_REFERENCES

    assert ask_node(settings, Request("1.2.3", (*unknown, *known))) == 0x0000
    assert tell_due(ledger, spool, settings) == [True]

    (report,) = peer.reports
    assert report.committed == tuple(known)
    assert report.failed == tuple((reference, 0x0112) for reference in unknown)
