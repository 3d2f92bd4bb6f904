"""Results go by STOW-RS to servers that are well, ill and worse, and are stored once."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from io import BytesIO
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pydicom
import pytest
from pydicom.uid import ImplicitVRLittleEndian

from node.audit import Auditor
from node.deliver import Deliverer, stow
from node.ledger import DeliveryState, Ledger, Revision, State
from node.multipart import RELATED, MediaType, take_apart
from node.settings import Destination, Settings
from node.spool import Spool
from tests.certificates import Authority
from tests.conftest import Clock
from tests.dicomweb.servers import Answer, Request, Told, json_answer, nginx_before
from tests.e2e.peers import Orthanc
from tests.reporting import report_captures

PAUSE_S, LONGEST_S = 5.0, 40.0

Reported = Callable[..., Revision]


@pytest.fixture
def reported(ledger: Ledger, spool: Spool) -> Reported:
    """A series that has results, which wait to be sent to `web`."""
    return partial(report_captures, ledger, spool, "web")


def settings_for(home: Path, url: str, **more: object) -> Settings:
    return Settings(
        home=home,
        destinations=[{"name": "web", "url": url, **more}],
        deliver={"first_pause_s": PAUSE_S, "longest_pause_s": LONGEST_S, "timeout_s": 2},
    )


def deliver(ledger: Ledger, spool: Spool, url: str, **more: object) -> int:
    settings = settings_for(spool.home, url, **more)
    return Deliverer(ledger, spool, settings, Auditor.silent()).deliver("web")


def uids(ledger: Ledger, revision: Revision) -> list[str]:
    return [result.sop_instance_uid for result in ledger.results(revision)]


def states(ledger: Ledger, revision: Revision) -> list[DeliveryState]:
    return [delivery.state for delivery in ledger.deliveries(revision)]


SENT, PENDING = DeliveryState.SENT, DeliveryState.PENDING


class Archive:
    """What an archive would do with a request; `stored` is what it has, in the order it came."""

    def __init__(self) -> None:
        self.stored: list[str] = []
        self.requests: list[list[str]] = []
        self.failing: dict[str, int] = {}
        self.warning: dict[str, int] = {}
        self.untold: set[str] = set()
        self.before: Callable[[list[str]], Answer | None] = lambda _: None

    def __call__(self, request: Request) -> Answer:
        if request.method == "GET":
            [uid] = parse_qs(urlsplit(request.path).query)["SOPInstanceUID"]
            found = [{"00080018": {"vr": "UI", "Value": [uid]}}] if uid in self.stored else []
            return json_answer(json.dumps(found))
        sent = objects(request)
        self.requests.append(sent)
        if (instead := self.before(sent)) is not None:
            return instead
        referenced, failed = [], []
        for uid in sent:
            item = {"00081155": {"vr": "UI", "Value": [uid]}}
            if uid in self.failing:
                failed.append(item | {"00081197": {"vr": "US", "Value": [self.failing[uid]]}})
                continue
            self.stored.append(uid)
            if uid in self.warning:
                item |= {"00081196": {"vr": "US", "Value": [self.warning[uid]]}}
            if uid not in self.untold:
                referenced.append(item)
        body = {
            "00081198": {"vr": "SQ", "Value": failed},
            "00081199": {"vr": "SQ", "Value": referenced},
        }
        status = 200 if not failed else 202 if referenced else 409
        return json_answer(json.dumps(body), status)


def objects(request: Request) -> list[str]:
    """SOP Instance UIDs of what a request holds."""
    kind = MediaType.of(request.headers["content-type"])
    assert kind.name == RELATED
    assert kind.boundary is not None
    found = []
    for part in take_apart([request.body], kind.boundary, 10**9):
        assert part is not None
        dataset = pydicom.dcmread(pydicom.filebase.DicomBytesIO(part))
        found.append(str(dataset.SOPInstanceUID))
    return found


@pytest.fixture
def pacs(told: Told) -> Archive:
    archive = Archive()
    told.answer = archive
    return archive


# -- well ------------------------------------------------------------------------


def test_orthanc_stores_the_files_as_they_are(
    archive: Orthanc, ledger: Ledger, spool: Spool, reported: Reported
) -> None:
    revision = reported(objects=5)

    assert deliver(ledger, spool, f"http://127.0.0.1:{archive.http_port}/dicom-web") == 5

    assert states(ledger, revision) == [SENT] * 5
    assert ledger.revision(revision.id).state is State.DELIVERED
    for result in ledger.results(revision):
        [found] = archive.get("/tools/lookup", result.sop_instance_uid.encode())
        kept = archive.get(f"/instances/{found['ID']}/file")
        assert kept == (spool.results / result.path).read_bytes()


def test_orthanc_gets_objects_in_the_transfer_syntax_that_is_wanted(
    archive: Orthanc, ledger: Ledger, spool: Spool, reported: Reported
) -> None:
    revision = reported(objects=2)
    url = f"http://127.0.0.1:{archive.http_port}/dicom-web"

    assert deliver(ledger, spool, url, transfer_syntax="implicit") == 2

    for result in ledger.results(revision):
        [found] = archive.get("/tools/lookup", result.sop_instance_uid.encode())
        kept = pydicom.dcmread(BytesIO(archive.get(f"/instances/{found['ID']}/file")))
        assert kept.file_meta.TransferSyntaxUID == ImplicitVRLittleEndian
        assert kept == pydicom.dcmread(spool.results / result.path)


def test_what_comes_again_is_there_once(
    archive: Orthanc, ledger: Ledger, spool: Spool, reported: Reported
) -> None:
    revision = reported(objects=3)
    url = f"http://127.0.0.1:{archive.http_port}/dicom-web"
    with running_sender(ledger, spool, revision, url) as sender:
        for path in paths(ledger, spool, revision):
            assert sender.send(path) is None

    assert deliver(ledger, spool, url) == 3

    assert len(archive.instances_of(study_of(ledger, spool, revision))) == 3


def paths(ledger: Ledger, spool: Spool, revision: Revision) -> list[Path]:
    return [spool.results / result.path for result in ledger.results(revision)]


def study_of(ledger: Ledger, spool: Spool, revision: Revision) -> str:
    return str(pydicom.dcmread(paths(ledger, spool, revision)[0]).StudyInstanceUID)


@contextmanager
def running_sender(
    ledger: Ledger, spool: Spool, revision: Revision, url: str
) -> Iterator[stow.StowSender]:
    settings = settings_for(spool.home, url)
    sent = paths(ledger, spool, revision)
    with stow.StowSender(settings.destinations[0], sent, settings.deliver) as sender:
        yield sender


def test_objects_of_many_series_go_together_and_each_is_noted_on_its_own(
    told: Told,
    pacs: Archive,
    ledger: Ledger,
    spool: Spool,
    reported: Reported,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stow, "MOST_TOGETHER", 6)
    revisions = [reported(), reported()]

    assert deliver(ledger, spool, told.url) == 8

    assert [len(request) for request in pacs.requests] == [6, 2]
    assert pacs.stored == [uid for revision in revisions for uid in uids(ledger, revision)]
    assert {ledger.revision(r.id).state for r in revisions} == {State.DELIVERED}


def test_a_request_does_not_grow_without_bound(
    told: Told,
    pacs: Archive,
    ledger: Ledger,
    spool: Spool,
    reported: Reported,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stow, "MOST_BYTES", 6000)
    reported(objects=5, size=2000)

    assert deliver(ledger, spool, told.url) == 5

    assert [len(request) for request in pacs.requests] == [2, 2, 1]


def test_a_warning_is_a_stored_object_with_a_remark(
    told: Told, pacs: Archive, ledger: Ledger, spool: Spool, reported: Reported
) -> None:
    revision = reported()
    pacs.warning[uids(ledger, revision)[2]] = 0xB000

    assert deliver(ledger, spool, told.url) == 4

    details = [delivery.detail for delivery in ledger.deliveries(revision)]
    assert details[2] == "stored with warning 0xB000"


# -- one object is refused -------------------------------------------------------


@pytest.mark.parametrize("reason", [0xA900, 0xC000, 0x0110, 0x0122])
def test_an_object_that_is_refused_waits_alone(
    told: Told,
    pacs: Archive,
    ledger: Ledger,
    spool: Spool,
    reported: Reported,
    clock: Clock,
    reason: int,
) -> None:
    revision = reported()
    refused = uids(ledger, revision)[1]
    pacs.failing[refused] = reason

    assert deliver(ledger, spool, told.url) == 3

    waiting = ledger.deliveries(revision)[1]
    assert (waiting.state, waiting.attempts) == (PENDING, 1)
    assert f"answers 0x{reason:04X}" in waiting.detail
    assert ledger.due_destinations() == []
    pacs.failing.clear()
    clock.pass_s(PAUSE_S)
    assert deliver(ledger, spool, told.url) == 1
    assert sorted(pacs.stored) == sorted(uids(ledger, revision))
    assert ledger.revision(revision.id).state is State.DELIVERED


def test_objects_that_are_all_refused_wait_for_their_time(
    told: Told, pacs: Archive, ledger: Ledger, spool: Spool, reported: Reported
) -> None:
    revision = reported()
    pacs.failing = dict.fromkeys(uids(ledger, revision), 0xC000)

    assert deliver(ledger, spool, told.url) == 0  # 409, and it says which

    assert states(ledger, revision) == [PENDING] * 4
    assert len(pacs.requests) == 1


@pytest.mark.parametrize("status", [400, 409, 413, 415, 500])
def test_the_object_that_a_whole_request_is_refused_for_is_found(
    told: Told,
    pacs: Archive,
    ledger: Ledger,
    spool: Spool,
    reported: Reported,
    status: int,
) -> None:
    revision = reported()
    bad = uids(ledger, revision)[1]
    pacs.before = lambda sent: Answer(status) if bad in sent else None

    assert deliver(ledger, spool, told.url) == 3

    assert states(ledger, revision) == [SENT, PENDING, SENT, SENT]
    assert f"answers {status}" in ledger.deliveries(revision)[1].detail
    assert [len(request) for request in pacs.requests] == [4, 1, 1, 1, 1]


def test_nginx_finds_one_object_too_large_and_the_others_go(
    archive: Orthanc,
    authority: Authority,
    ledger: Ledger,
    spool: Spool,
    reported: Reported,
    secret: Callable[..., Path],
    tmp_path: Path,
) -> None:
    small, large = reported(objects=2), reported(objects=1, size=10_000)
    token = secret("a-token")
    identity = authority.issue("small")
    with nginx_before(
        archive.http_port,
        tmp_path / "nginx",
        identity,
        token_file=token,
        more="client_max_body_size 8k;",
    ) as port:
        url = f"https://127.0.0.1:{port}/dicom-web"
        more = {"token_file": token, "tls_ca": authority.certificate}
        assert deliver(ledger, spool, url, **more) == 2

    assert states(ledger, small) == [SENT, SENT]
    [waiting] = ledger.deliveries(large)
    assert "answers 413 Request Entity Too Large" in waiting.detail


# -- it does not say -------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "body"),
    [(200, b""), (200, b"<html>"), (200, b"[]"), (200, b'{"00081199": 5}'), (204, b""), (409, b"")],
)
def test_an_object_that_the_answer_does_not_name_counts_where_a_search_finds_it(
    told: Told,
    pacs: Archive,
    ledger: Ledger,
    spool: Spool,
    reported: Reported,
    status: int,
    body: bytes,
) -> None:
    revision = reported(objects=2)
    there, lost = uids(ledger, revision)
    pacs.stored.append(there)
    pacs.before = lambda _: Answer(status, body)

    assert deliver(ledger, spool, told.url) == 1

    found, missed = ledger.deliveries(revision)
    assert (found.state, missed.state) == (SENT, PENDING)
    assert "and a search finds it" in found.detail
    assert f"answers {status} and nothing of the object, and a search does not" in missed.detail
    assert lost in missed.result.sop_instance_uid


def test_an_object_that_is_untold_among_others_is_searched_for(
    told: Told, pacs: Archive, ledger: Ledger, spool: Spool, reported: Reported
) -> None:
    revision = reported()
    pacs.untold.add(uids(ledger, revision)[3])

    assert deliver(ledger, spool, told.url) == 4

    assert [r.method for r in told.got] == ["POST", "GET"]


def test_without_a_search_no_silence_counts_as_stored(
    told: Told, ledger: Ledger, spool: Spool, reported: Reported
) -> None:
    revision = reported(objects=1)
    told.answer = lambda request: Answer(200 if request.method == "POST" else 501)

    assert deliver(ledger, spool, told.url) == 0

    [waiting] = ledger.deliveries(revision)
    assert waiting.state is PENDING
    assert "no search is answered: it answers 501" in waiting.detail


def test_an_object_that_is_a_duplicate_counts_where_a_search_finds_it(
    told: Told, pacs: Archive, ledger: Ledger, spool: Spool, reported: Reported
) -> None:
    revision = reported(objects=2)
    there, lost = uids(ledger, revision)
    pacs.failing = {there: 0x0111, lost: 0x0111}
    pacs.stored.append(there)

    assert deliver(ledger, spool, told.url) == 1

    assert states(ledger, revision) == [SENT, PENDING]


# -- the server is ill -----------------------------------------------------------


def rests(ledger: Ledger) -> tuple[float, str]:
    """For how long the destination rests, and why."""
    [state] = ledger.destinations()
    assert state.rests_until is not None
    return state.rests_until.timestamp() - ledger.clock(), state.detail or ""


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (301, "it sends the node elsewhere: set url to where it is"),
        (401, "answers 401 Unauthorized: see user and password_file, or token_file"),
        (403, "answers 403 Forbidden: its user, or who the token is for, needs the right"),
        (404, "answers 404 Not Found: is the path of url right?"),
        (405, "answers 405 Method Not Allowed"),
        (502, "answers 502 Bad Gateway"),
        (503, "answers 503 Service Unavailable"),
        (507, "answers 507 Insufficient Storage"),
    ],
)
def test_a_server_that_is_ill_rests_and_gets_everything_later(
    told: Told,
    pacs: Archive,
    ledger: Ledger,
    spool: Spool,
    reported: Reported,
    clock: Clock,
    status: int,
    words: str,
) -> None:
    revision = reported()
    pacs.before = lambda _: Answer(status)

    assert deliver(ledger, spool, told.url) == 0

    pause, why = rests(ledger)
    assert 0.75 * PAUSE_S <= pause <= PAUSE_S
    assert words in why
    assert len(pacs.requests) == 1
    pacs.before = lambda _: None
    clock.pass_s(PAUSE_S)
    assert deliver(ledger, spool, told.url) == 4
    assert pacs.stored == uids(ledger, revision)


@pytest.mark.parametrize(
    ("status", "asked", "least", "most"),
    [
        (503, "20", 20, 20),
        (429, "20", 20, 20),
        (503, "99999", LONGEST_S, LONGEST_S),
        (503, "1", 3.7, 5),
    ],
)
def test_a_server_that_says_how_long_it_is_busy_is_left_alone_so_long_and_not_for_ever(
    told: Told,
    pacs: Archive,
    ledger: Ledger,
    spool: Spool,
    reported: Reported,
    status: int,
    asked: str,
    least: float,
    most: float,
) -> None:
    reported()
    pacs.before = lambda _: Answer(status, b"", {"Retry-After": asked})

    deliver(ledger, spool, told.url)

    pause, _ = rests(ledger)
    assert least - 0.01 <= pause <= most + 0.01


def test_a_server_that_answers_500_to_one_after_the_other_is_ill(
    told: Told, pacs: Archive, ledger: Ledger, spool: Spool, reported: Reported
) -> None:
    reported(objects=10)
    pacs.before = lambda _: Answer(500)

    assert deliver(ledger, spool, told.url) == 0

    assert [len(request) for request in pacs.requests] == [10, 1, 1]
    assert "answers 500 Internal Server Error" in rests(ledger)[1]


def test_a_server_that_answers_500_now_and_then_is_well(
    told: Told, pacs: Archive, ledger: Ledger, spool: Spool, reported: Reported
) -> None:
    revision = reported()
    first, _, third, _ = uids(ledger, revision)
    pacs.before = lambda sent: Answer(500) if {first, third} & set(sent) else None

    assert deliver(ledger, spool, told.url) == 2

    assert states(ledger, revision) == [PENDING, SENT, PENDING, SENT]


def test_a_full_server_rests_once_all_that_it_has_answered_is_noted(
    told: Told,
    pacs: Archive,
    ledger: Ledger,
    spool: Spool,
    reported: Reported,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stow, "MOST_TOGETHER", 4)
    revision = reported(objects=8)
    pacs.failing[uids(ledger, revision)[1]] = 0xA700

    assert deliver(ledger, spool, told.url) == 3

    assert states(ledger, revision) == [SENT, PENDING, SENT, SENT, *[PENDING] * 4]
    assert "is out of resources" in rests(ledger)[1]
    assert len(pacs.requests) == 1


def test_a_server_that_hangs_up_gets_the_same_again(
    told: Told, pacs: Archive, ledger: Ledger, spool: Spool, reported: Reported, clock: Clock
) -> None:
    revision = reported()

    def store_and_hang_up(sent: list[str]) -> Answer:
        pacs.stored.extend(sent)
        return Answer(raw=lambda connection: None)

    pacs.before = store_and_hang_up
    assert deliver(ledger, spool, told.url) == 0
    assert "it ends the connection without an answer" in rests(ledger)[1]

    pacs.before = lambda _: None
    clock.pass_s(PAUSE_S)
    assert deliver(ledger, spool, told.url) == 4
    assert set(pacs.stored) == set(uids(ledger, revision))
    assert ledger.revision(revision.id).state is State.DELIVERED


@pytest.mark.parametrize("number", [0, 2])
def test_an_object_that_a_server_hangs_up_for_holds_no_other_up(
    told: Told,
    pacs: Archive,
    ledger: Ledger,
    spool: Spool,
    reported: Reported,
    number: int,
) -> None:
    revision = reported()
    odd = uids(ledger, revision)[number]
    pacs.before = lambda sent: Answer(raw=lambda connection: None) if odd in sent else None

    assert deliver(ledger, spool, told.url) == 3

    assert sorted(pacs.stored) == sorted(set(uids(ledger, revision)) - {odd})
    waiting = ledger.deliveries(revision)[number]
    assert (waiting.state, waiting.attempts) == (PENDING, 1)
    assert "it ends the connection without an answer" in waiting.detail
    [state] = ledger.destinations()
    assert state.rests_until is None


def test_the_audit_trail_tells_what_went_and_was_not_answered_for(
    told: Told,
    pacs: Archive,
    ledger: Ledger,
    spool: Spool,
    reported: Reported,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stow, "MOST_TOGETHER", 2)
    revision = reported(objects=5)
    pacs.before = lambda _: Answer(503) if len(pacs.requests) > 1 else None
    records: list[tuple[list[Path], list[Path]]] = []

    def record(_: Auditor, __: Destination, stored: list[Path], failed: list[Path]) -> None:
        records.append((stored, failed))

    monkeypatch.setattr(Auditor, "instances_sent", record)

    deliver(ledger, spool, told.url)

    went = paths(ledger, spool, revision)
    assert records == [(went[:2], went[2:4])]


def test_what_was_stored_before_the_server_fell_ill_is_noted(
    told: Told,
    pacs: Archive,
    ledger: Ledger,
    spool: Spool,
    reported: Reported,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stow, "MOST_TOGETHER", 2)
    revision = reported()
    pacs.before = lambda _: Answer(503) if len(pacs.requests) > 1 else None

    assert deliver(ledger, spool, told.url) == 2

    assert states(ledger, revision) == [SENT, SENT, PENDING, PENDING]


def test_a_file_that_cannot_be_sent_keeps_no_other_back(
    told: Told, pacs: Archive, ledger: Ledger, spool: Spool, reported: Reported
) -> None:
    revision = reported()
    junk, _, odd, _ = paths(ledger, spool, revision)
    junk.write_bytes(b"junk")
    image = pydicom.dcmread(odd)
    del image.SeriesInstanceUID
    image.save_as(odd)

    assert deliver(ledger, spool, told.url) == 2

    assert states(ledger, revision) == [PENDING, SENT, PENDING, SENT]
    assert "0.dcm cannot be sent: " in ledger.deliveries(revision)[0].detail


def test_certificates_that_cannot_be_read_are_told_of(
    ledger: Ledger, spool: Spool, reported: Reported, tmp_path: Path
) -> None:
    reported(objects=1)
    deliver(ledger, spool, "https://127.0.0.1:9", tls_ca=tmp_path / "gone.pem")
    assert "cannot be reached: destination web: tls_ca" in rests(ledger)[1]
