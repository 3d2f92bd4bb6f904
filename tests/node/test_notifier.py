"""What is told of which series, on both databases: each thing once, and until it is taken."""

import ssl
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pydicom
import pytest

from ml.phantom import make_phantom, write_dicom
from node.audit import Auditor
from node.audit.events import NOT_RECORDED
from node.ledger import Instance, Ledger, NotificationState, Revision, State, open_ledger
from node.notify import Notifier
from node.notify.notifier import LEASE_S
from node.settings import Settings
from node.spool import Spool, digest_of
from tests.certificates import Authority
from tests.claiming import claimed
from tests.conftest import Clock
from tests.node.audit_schema import check
from tests.node.test_notify_ways import tls_listener
from tests.receivers import Hook, hook_server

SERIES = "1.2.3.4"


@pytest.fixture
def hook() -> Iterator[Hook]:
    with hook_server() as running:
        yield running


@dataclass
class Desk:
    """A node that tells, and a hand that moves its series."""

    ledger: Ledger
    clock: Clock
    folder: Path
    auditor: Auditor = field(default_factory=Auditor.silent)

    def notifier(self, *rules: dict[str, Any]) -> Notifier:
        settings = Settings.model_validate({"home": self.folder, "notify": rules})
        return Notifier(settings, Spool(self.folder), self.ledger, self.auditor)

    def ready(self, series: str = SERIES, path: Path = Path("none.dcm")) -> Revision:
        instance = Instance("1.2.3", series, f"{series}.1", "1.2", "0" * 64, path, "CT")
        stored = self.ledger.store(instance, 30)
        self.ledger.ready(self.now(stored.revision_id), [])
        return self.now(stored.revision_id)

    def now(self, revision_id: int) -> Revision:
        revision = self.ledger.revision(revision_id)
        assert revision is not None
        return revision

    def reported(self, *flagged: str, series: str = SERIES, path: Path = Path("x")) -> Revision:
        claim = claimed(self.ledger, self.ready(series, path).id)
        maxima = {"any": 0.9, "subdural": 0.8}
        assert self.ledger.report(
            claim, [], [], warnings=[], maxima=maxima, flagged=flagged, said="archive: pacs"
        )
        return self.now(claim.revision.id)

    def failed(self, series: str = SERIES) -> Revision:
        claim = claimed(self.ledger, self.ready(series).id)
        assert self.ledger.fail(claim, "pixel-data", "slice 3 of CT HEAD of Roe is broken")
        return self.now(claim.revision.id)


@pytest.fixture
def desk(ledger: Ledger, clock: Clock, tmp_path: Path) -> Desk:
    return Desk(ledger, clock, tmp_path)


def rule(hook: Hook, name: str = "team", **keys: Any) -> dict[str, Any]:
    return {"name": name, "to": hook.url, **keys}


def look(notifier: Notifier) -> None:
    """What the threads do once a second."""
    notifier.plan()
    for each in notifier.settings.notify:
        notifier.tell(each)


def test_a_flagged_series_is_told_once(desk: Desk, hook: Hook) -> None:
    notifier = desk.notifier(rule(hook, tell="study"))
    revision = desk.reported("subdural", "any")

    look(notifier)
    look(notifier)

    (document,) = hook.documents()
    assert document["type"] == "series.flagged"
    assert "archive" not in str(document), "where results go is nobody's business"
    assert document["data"]["flagged"] == ["subdural", "any"]
    assert document["data"]["probabilities"] == {"any": 0.9, "subdural": 0.8}
    (notification,) = desk.ledger.notifications(revision)
    assert notification.state is NotificationState.TOLD


def test_a_failed_series_is_told_without_what_its_header_says(desk: Desk, hook: Hook) -> None:
    desk.failed()

    look(desk.notifier(rule(hook)))

    (document,) = hook.documents()
    assert (document["type"], document["data"]["reason"]) == ("series.failed", "pixel-data")
    assert "Roe" not in str(document)


def test_nobody_is_told_of_a_series_that_is_not_flagged(desk: Desk, hook: Hook) -> None:
    desk.reported()

    look(desk.notifier(rule(hook)))

    assert hook.got == []
    assert desk.ledger.untold() == []


def test_rules_say_what_is_told_to_whom(desk: Desk, hook: Hook) -> None:
    with hook_server() as other:
        notifier = desk.notifier(
            rule(hook, "subdural", on=["flagged"], findings=["subdural"]),
            rule(other, "errors", on=["failed", "skipped"]),
        )
        desk.reported("any", series="1.1")
        desk.reported("any", "subdural", series="1.2")
        desk.failed("1.3")

        look(notifier)

        assert [d["data"]["flagged"] for d in hook.documents()] == [["any", "subdural"]]
        assert [d["type"] for d in other.documents()] == ["series.failed"]


def test_what_came_about_before_there_were_rules_is_not_told(desk: Desk, hook: Hook) -> None:
    desk.reported("any")
    look(desk.notifier())

    look(desk.notifier(rule(hook)))

    assert hook.got == []


def test_a_series_that_fails_again_is_told_again(desk: Desk, hook: Hook) -> None:
    notifier = desk.notifier(rule(hook))
    revision = desk.failed()
    look(notifier)
    assert desk.ledger.retry(revision, [])
    claim = claimed(desk.ledger, revision.id)
    desk.ledger.fail(claim, "pixel-data", "again")

    look(notifier)

    ids = [headers["webhook-id"] for headers, _ in hook.got]
    assert len(ids) == len(set(ids)) == 2


def test_a_commitment_that_is_refused_tells_nothing_again(desk: Desk, hook: Hook) -> None:
    """The revision is reported once more, and nobody has judged it once more."""
    notifier = desk.notifier(rule(hook))
    revision = desk.reported("any")
    look(notifier)
    with desk.ledger.engine.begin() as connection:
        desk.ledger.note(connection, revision.id, State.REPORTED, "sent again", desk.clock.now)

    look(notifier)

    assert len(hook.got) == 1


def test_what_is_not_taken_is_told_again_with_growing_pauses(desk: Desk, hook: Hook) -> None:
    hook.status = 500
    notifier = desk.notifier(rule(hook))
    revision = desk.reported("any")
    look(notifier)
    look(notifier)
    assert len(hook.got) == 1

    desk.clock.pass_s(5)
    look(notifier)
    desk.clock.pass_s(5)
    look(notifier)
    assert len(hook.got) == 2
    (waits,) = desk.ledger.notifications(revision)
    assert (waits.state, waits.detail) == (NotificationState.PENDING, "it answers 500")
    assert desk.ledger.untaken_notifications() == [waits]

    hook.status = 200
    desk.clock.pass_s(10)
    look(notifier)
    ids = {headers["webhook-id"] for headers, _ in hook.got}
    assert (len(hook.got), len(ids)) == (3, 1)
    assert desk.ledger.untaken_notifications() == []


def test_what_a_wrong_certificate_holds_up_is_told_once_that_is_mended(
    desk: Desk, tmp_path: Path
) -> None:
    authority, stranger = Authority(tmp_path / "ca"), Authority(tmp_path / "other")
    theirs = authority.issue("ris")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(theirs.certificate, theirs.key)
    revision = desk.reported("any")
    with tls_listener(context) as (got, port):
        keys = {"name": "ris", "to": f"mllps://127.0.0.1:{port}", "tell": "patient"}
        look(desk.notifier(keys | {"ca": stranger.certificate}))
        (waits,) = desk.ledger.notifications(revision)
        assert waits.state is NotificationState.PENDING
        assert (waits.detail or "").startswith("its certificate is not taken")
        assert got == []

        desk.clock.pass_s(60)
        look(desk.notifier(keys | {"ca": authority.certificate}))

        (told,) = desk.ledger.notifications(revision)
        assert (told.state, len(got)) == (NotificationState.TOLD, 1)


def test_what_nobody_takes_is_given_up_and_can_be_begun_again(desk: Desk, hook: Hook) -> None:
    hook.status = 500
    notifier = desk.notifier(rule(hook))
    revision = desk.reported("any")
    hours = notifier.settings.deliver.give_up_h
    for _ in range(20):
        look(notifier)
        desk.clock.pass_s(hours * 3600 / 10)
    (given_up,) = desk.ledger.notifications(revision)
    assert given_up.state is NotificationState.FAILED
    asked = len(hook.got)
    look(notifier)
    assert len(hook.got) == asked

    hook.status = 200
    assert desk.ledger.retry_notifications() == 1
    look(notifier)

    (told,) = desk.ledger.notifications(revision)
    assert told.state is NotificationState.TOLD


def test_a_clock_that_was_set_back_holds_nothing_up(desk: Desk, hook: Hook) -> None:
    hook.status = 500
    notifier = desk.notifier(rule(hook))
    desk.reported("any")
    look(notifier)
    hook.status = 200

    desk.clock.pass_s(-86_400)
    look(notifier)

    assert len(hook.got) == 2
    assert desk.ledger.untaken_notifications() == []


def test_a_receiver_that_fails_holds_no_other_up(desk: Desk, hook: Hook) -> None:
    with hook_server() as ill:
        ill.status = 503
        desk.reported("any", series="1.1")
        desk.reported("any", series="1.2")

        look(desk.notifier(rule(ill, "ill"), rule(hook, "well")))

        assert len(ill.got) == 1  # the rest waits for it
        assert len(hook.got) == 2


def test_who_was_killed_while_telling_leaves_it_to_the_next(desk: Desk, hook: Hook) -> None:
    notifier = desk.notifier(rule(hook))
    revision = desk.reported("any")
    notifier.plan()
    (notification,) = desk.ledger.due_notifications("team", 1000)
    assert desk.ledger.claim_notification(notification, LEASE_S)  # and killed

    look(notifier)
    assert hook.got == []
    desk.clock.pass_s(LEASE_S + 1)
    look(notifier)

    assert len(hook.got) == 1
    (told,) = desk.ledger.notifications(revision)
    assert told.state is NotificationState.TOLD


def test_of_many_that_tell_at_once_one_does(desk: Desk, hook: Hook, url: str) -> None:
    desk.reported("any")
    others = [open_ledger(url) for _ in range(4)]
    for other in others:
        other.clock = desk.clock
    settings = desk.notifier(rule(hook)).settings
    spool, silent = Spool(desk.folder), Auditor.silent()
    notifiers = [Notifier(settings, spool, other, silent) for other in others]

    threads = [threading.Thread(target=look, args=(notifier,)) for notifier in notifiers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for notifier in notifiers:
        look(notifier)
        notifier.ledger.close()

    assert len(hook.got) == 1


def of_jane_roe(desk: Desk) -> Path:
    """An image of hers, in the spool."""
    folder = desk.folder / "series"
    write_dicom(make_phantom(3, size=32), folder)
    file = sorted(folder.iterdir())[0]
    image = pydicom.dcmread(file)
    image.PatientID, image.PatientName, image.AccessionNumber = "ID-55", "Roe^Jane", "A77"
    image.save_as(file)
    content = file.read_bytes()
    return Spool(desk.folder).keep("1.2.3", SERIES, "1.2.3.4.1", digest_of(content), content)


def test_whose_it_is_comes_from_the_image_where_that_is_wanted(desk: Desk, hook: Hook) -> None:
    desk.reported("any", path=of_jane_roe(desk))
    notifier = desk.notifier(rule(hook, tell="study"))

    look(notifier)

    (document,) = hook.documents()
    assert document["data"]["study"]["accession_number"] == "A77"
    assert document["data"]["study"]["study_instance_uid"] == "1.2.3"
    assert document["data"]["patient"] is None
    assert "Roe" not in str(document)


@pytest.mark.parametrize("shown", ["id", "none"])
def test_what_leaves_the_node_of_a_study_stands_in_the_audit_trail(
    desk: Desk, hook: Hook, shown: str
) -> None:
    settings = Settings(home=desk.folder, audit={"patient": shown})
    with closing(Auditor.open(settings, "receive")) as desk.auditor, hook_server() as refuses:
        refuses.status = 500
        desk.reported("any", path=of_jane_roe(desk))
        rules = (
            {"name": "event", "to": hook.url, "tell": "event"},
            {"name": "study", "to": f"{hook.url}?token=secret", "tell": "study"},
            {"name": "patient", "to": refuses.url, "tell": "patient"},
        )
        look(desk.notifier(*rules))

    lines = (desk.folder / "audit.log").read_bytes().splitlines()
    told = {root.findall("ActiveParticipant")[1].get("UserID"): root for root in map(check, lines)}
    assert set(told) == {"study", "patient"}
    for name, outcome in (("study", "0"), ("patient", "4")):
        event = told[name].find("EventIdentification")
        assert event is not None
        assert event.get("EventOutcomeIndicator") == outcome
        study, patient = told[name].findall("ParticipantObjectIdentification")
        assert study.get("ParticipantObjectID") == "1.2.3"
        assert patient.get("ParticipantObjectID") == ("ID-55" if shown == "id" else NOT_RECORDED)
    assert b"Roe" not in b"".join(lines)
    assert b"secret" not in b"".join(lines)


def test_a_series_whose_images_are_gone_is_told_all_the_same(desk: Desk, hook: Hook) -> None:
    desk.reported("any", path=Path("gone.dcm"))

    look(desk.notifier(rule(hook, tell="study")))

    (document,) = hook.documents()
    assert document["data"]["study"]["accession_number"] == ""
