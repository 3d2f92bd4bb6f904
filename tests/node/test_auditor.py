"""The trail beside the work: it never waits, counts what it loses, and the node fills it."""

import errno
import logging
import os
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from xml.etree import ElementTree as ET

import pydicom
import pytest
from pynetdicom import AE
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from node.audit import Action, Alert, Auditor, Peer, Study, Tally, events
from node.audit.auditor import Channel
from node.audit.events import NOT_RECORDED, Process
from node.audit.message import AuditMessage
from node.broker import free_port
from node.intake import MOST_COUNTED
from node.judgement import Model
from node.ledger import Ledger, Way, open_ledger
from node.reading import Identity
from node.receive import Receiver, start_receiver
from node.settings import Settings
from node.spool import Spool
from tests.ct import image
from tests.node.audit_schema import check, detail

PROCESS = Process("receive", "ICHNODE", "node1", 1)
STORESCU = Path("/usr/bin/storescu")


def numbered(number: int) -> AuditMessage:
    """A record that tells itself from others."""
    return events.security_alert(PROCESS, datetime.now(UTC), Alert.REFUSED_PEER, str(number))


def described(message: AuditMessage) -> str:
    """What it says for people."""
    return message.objects[0].details[0][1]


def notice(lost: int, since: datetime) -> AuditMessage:
    """The record of a loss."""
    assert since <= datetime.now(UTC)
    return events.security_alert(
        PROCESS, datetime.now(UTC), Alert.RECORDS_LOST, f"{lost} were lost"
    )


class Fickle:
    """A sink that fails, hangs or works as it is told."""

    name = "fickle"

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.may_go_on = threading.Event()
        self.may_go_on.set()
        self.taken: list[str] = []
        self.tries = 0

    def write(self, message: AuditMessage) -> None:
        self.tries += 1
        self.may_go_on.wait()
        if self.error is not None:
            raise self.error
        self.taken.append(described(message))

    def settle(self) -> None:
        """Nothing is kept back."""

    def close(self) -> None:
        """Nothing is open."""


def soon(what: Callable[[], object]) -> None:
    """Wait until something is true."""
    deadline = time.monotonic() + 10
    while not what():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


def channel(sink: Fickle, most_waiting: int = 100) -> Channel:
    """A channel that tries again quickly."""
    return Channel(sink, most_waiting, notice, first_pause_s=0.02)


# -- the channel -----------------------------------------------------------------


def test_records_are_written_in_their_order_and_all_before_the_end() -> None:
    sink = Fickle()
    trail = channel(sink)
    for number in range(50):
        trail.put(numbered(number))
    trail.close(5)

    assert sink.taken == [str(number) for number in range(50)]


@pytest.mark.parametrize("error", [OSError("disk full"), ValueError("what a surprise")])
def test_a_sink_that_fails_is_tried_again_and_nothing_is_lost(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    sink = Fickle()
    sink.error = error
    trail = channel(sink)
    with caplog.at_level(logging.WARNING, "node.audit"):
        for number in range(5):
            trail.put(numbered(number))
        soon(lambda: sink.tries >= 3)
        sink.error = None
        trail.close(5)

    assert sink.taken == ["0", "1", "2", "3", "4"]
    assert [record.levelname for record in caplog.records] == ["ERROR", "WARNING"]
    assert str(error) in caplog.messages[0]
    assert caplog.messages[1] == "audit records go to fickle again"


def test_a_sink_that_hangs_never_holds_up_who_hands_over_and_the_loss_is_recorded() -> None:
    sink = Fickle()
    sink.may_go_on.clear()
    trail = channel(sink, most_waiting=10)

    began = time.monotonic()
    for number in range(10_000):
        trail.put(numbered(number))
    assert time.monotonic() - began < 5

    sink.may_go_on.set()
    soon(lambda: len(sink.taken) == 11)
    trail.put(numbered(10_000))
    trail.close(5)
    assert sink.taken == [*map(str, range(10)), "9990 were lost", "10000"]


def test_a_process_that_ends_does_not_wait_for_a_sink_that_fails(
    caplog: pytest.LogCaptureFixture,
) -> None:
    sink = Fickle()
    sink.error = OSError("away")
    trail = channel(sink)
    for number in range(3):
        trail.put(numbered(number))
    soon(lambda: sink.tries)

    began = time.monotonic()
    trail.close(60)

    assert time.monotonic() - began < 10
    assert caplog.messages[-1] == "3 audit records for fickle are lost"


def test_a_record_that_is_too_large_is_lost_alone() -> None:
    sink = Fickle()
    sink.error = OSError(errno.EMSGSIZE, "Message too long")
    trail = channel(sink)
    trail.put(numbered(1))
    soon(lambda: sink.tries)
    sink.error = None
    trail.put(numbered(2))
    trail.close(5)

    assert sink.taken == ["2", "1 were lost"]


# -- the auditor -----------------------------------------------------------------


def trail_of(home: Path) -> list[ET.Element]:
    """The records in a home, checked by the schema."""
    return [check(line) for line in (home / "audit.log").read_bytes().splitlines()]


def kinds(roots: list[ET.Element]) -> list[str]:
    """The event of each, with what is special to it."""
    found = []
    for root in roots:
        event = root.find("EventIdentification")
        assert event is not None
        found.append(" ".join(code.attrib["originalText"] for code in event))
    return found


def test_a_part_that_runs_begins_and_ends_its_trail(tmp_path: Path) -> None:
    with Auditor.open(Settings(home=tmp_path), "analyze"):
        pass

    assert kinds(trail_of(tmp_path)) == [
        "Application Activity Application Start",
        "Application Activity Application Stop",
    ]


def test_a_part_that_ends_with_an_error_ends_its_trail_too(tmp_path: Path) -> None:
    with pytest.raises(SystemExit), Auditor.open(Settings(home=tmp_path), "analyze"):
        raise SystemExit(0)

    assert len(trail_of(tmp_path)) == 2


def test_file_and_syslog_get_the_same_records(tmp_path: Path) -> None:
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as server:
        server.bind(str(tmp_path / "log"))
        server.settimeout(5)
        with Auditor.open(
            Settings(home=tmp_path, audit={"syslog": f"unix:{tmp_path}/log"}), "deliver"
        ):
            pass
        heard = [server.recv(65536).split(b": ", 1)[1] for _ in range(2)]

    assert heard == (tmp_path / "audit.log").read_bytes().splitlines()


def test_a_syslog_that_is_away_takes_nothing_from_the_file(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, audit={"syslog": f"tcp://127.0.0.1:{free_port()}"})
    with Auditor.open(settings, "deliver"):
        pass

    assert len(trail_of(tmp_path)) == 2


def test_without_file_and_syslog_nothing_is_written(tmp_path: Path) -> None:
    with Auditor.open(Settings(home=tmp_path, audit={"file": "none"}), "receive") as auditor:
        auditor.security_alert(Alert.REFUSED_PEER, "rejected")

    assert list(tmp_path.iterdir()) == []


def test_a_home_that_cannot_be_written_does_not_stop_the_start(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("not a folder")
    with Auditor.open(Settings(home=tmp_path / "file"), "receive"):
        pass

    assert "audit records cannot go to" in caplog.text


def everything(auditor: Auditor, folder: Path) -> None:
    """Record one of each event that names a study."""
    header = image()
    header.AccessionNumber = "ACC-7"
    header.save_as(folder / "sent.dcm", enforce_file_format=True)
    tally = Tally()
    tally.add(Study.of(header), header.SOPClassUID, Action.CREATE)
    auditor.instances_received(Peer("CT", "CT", "10.0.0.9"), tally)
    pacs = {"name": "pacs", "ae_title": "PACS", "host": "10.0.0.5", "port": 104}
    destination = Settings(destinations=[pacs]).destinations[0]
    auditor.instances_sent(destination, [folder / "sent.dcm"])
    model = Model("phantom", "1.0", "ab", "phantoms", "research")
    auditor.series_judged([header], header.SeriesInstanceUID, 1, model)


@pytest.mark.parametrize(
    ("patient", "id_", "accession"), [("id", "T1", ["ACC-7"]), ("none", NOT_RECORDED, [])]
)
def test_the_settings_say_whether_the_patient_is_named_and_never_by_name(
    tmp_path: Path, patient: str, id_: str, accession: list[str]
) -> None:
    with Auditor.open(Settings(home=tmp_path, audit={"patient": patient}), "receive") as auditor:
        everything(auditor, tmp_path)

    roots = trail_of(tmp_path)[1:-1]
    assert len(roots) == 3
    for root in roots:
        study, person = root.findall("ParticipantObjectIdentification")
        assert study.get("ParticipantObjectID") == "1.2.826.0.1.1"
        assert person.get("ParticipantObjectID") == id_
        assert [found.get("Number") for found in study.iter("Accession")] == accession
    text = (tmp_path / "audit.log").read_text()
    assert "Head" not in text
    assert ("T1" in text) is (patient == "id")


# -- the receiver ----------------------------------------------------------------


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    opened = open_ledger(f"sqlite:///{tmp_path}/ledger.sqlite")
    yield opened
    opened.close()


@contextmanager
def receiving(home: Path, ledger: Ledger, **dicom: object) -> Iterator[Receiver]:
    """A receiver with its trail; what it says is written at the end."""
    settings = Settings(home=home, dicom={"port": free_port(), **dicom})
    with Auditor.open(settings, "receive") as auditor:
        receiver = start_receiver(settings, Spool(home), ledger, auditor)
        try:
            yield receiver
        finally:
            receiver.stop()


def write_images(folder: Path, studies: int = 1, slices: int = 3) -> list[Path]:
    """CT images of some studies, each with a patient of its own."""
    folder.mkdir()
    paths = []
    for study in range(studies):
        for number in range(slices):
            dataset = image(100 * study + number)
            dataset.StudyInstanceUID = f"1.2.3.{study}"
            dataset.SeriesInstanceUID = f"1.2.3.{study}.1"
            dataset.PatientID = f"P{study}"
            paths.append(folder / f"{study}-{number}.dcm")
            dataset.save_as(paths[-1], enforce_file_format=True)
    return paths


def send(receiver: Receiver, paths: list[Path], title: str = "SCANNER") -> int:
    """Send files with DCMTK."""
    if not STORESCU.exists():
        pytest.skip("DCMTK is not installed")
    port = str(receiver.settings.dicom.port)
    command = [str(STORESCU), "-aet", title, "-aec", "ICHNODE", "127.0.0.1", port]
    environment = {**os.environ, "TCP_NODELAY": "1"}
    done = subprocess.run(
        [*command, *map(str, paths)], env=environment, capture_output=True, check=False, timeout=60
    )
    return done.returncode


def transfers(roots: list[ET.Element]) -> list[tuple[str | None, ...]]:
    """Of each transfer: sender, address, study, patient, action, outcome, number of instances."""
    found = []
    for root in roots:
        event, sender = root.find("EventIdentification"), root.find("ActiveParticipant")
        assert event is not None and sender is not None
        study, patient = root.findall("ParticipantObjectIdentification")
        (sop_class,) = study.iter("SOPClass")
        found.append(
            (
                sender.get("AlternativeUserID"),
                sender.get("NetworkAccessPointID"),
                study.get("ParticipantObjectID"),
                patient.get("ParticipantObjectID"),
                event.get("EventActionCode"),
                event.get("EventOutcomeIndicator"),
                sop_class.get("NumberOfInstances"),
            )
        )
    return found


FROM = ("AETITLES=SCANNER", "127.0.0.1")


def test_what_an_association_brought_is_recorded_for_each_study(
    tmp_path: Path, ledger: Ledger
) -> None:
    paths = write_images(tmp_path / "images", studies=2)
    with receiving(tmp_path, ledger) as receiver:
        assert send(receiver, paths) == 0

    assert transfers(trail_of(tmp_path)[1:-1]) == [
        (*FROM, "1.2.3.0", "P0", "C", "0", "3"),
        (*FROM, "1.2.3.1", "P1", "C", "0", "3"),
    ]


def test_what_the_node_held_already_and_what_was_changed_is_told_apart(
    tmp_path: Path, ledger: Ledger
) -> None:
    paths = write_images(tmp_path / "images")
    with receiving(tmp_path, ledger) as receiver:
        assert send(receiver, paths) == 0
        changed = pydicom.dcmread(paths[2])
        changed.PixelData = bytes(reversed(changed.PixelData))
        changed.save_as(paths[2])
        assert send(receiver, paths) == 0

    assert transfers(trail_of(tmp_path)[1:-1]) == [
        (*FROM, "1.2.3.0", "P0", "C", "0", "3"),
        (*FROM, "1.2.3.0", "P0", "R", "0", "2"),
        (*FROM, "1.2.3.0", "P0", "U", "0", "1"),
    ]


def test_what_could_not_be_stored_is_recorded_as_a_failure(tmp_path: Path, ledger: Ledger) -> None:
    paths = write_images(tmp_path / "images", slices=1)
    (tmp_path / "spool").write_text("no folder")
    with receiving(tmp_path, ledger) as receiver:
        send(receiver, paths)

    assert transfers(trail_of(tmp_path)[1:-1]) == [(*FROM, "1.2.3.0", "P0", "C", "4", "1")]


def test_a_disk_without_room_for_the_trail_does_not_hold_up_a_sender(
    tmp_path: Path, ledger: Ledger
) -> None:
    paths = write_images(tmp_path / "images")
    settings = Settings(
        home=tmp_path,
        dicom={"port": free_port()},
        audit={"file": "/dev/full", "syslog": f"tls://127.0.0.1:{free_port()}", "max_waiting": 1},
    )
    with Auditor.open(settings, "receive") as auditor:
        receiver = start_receiver(settings, Spool(tmp_path), ledger, auditor)
        assert [send(receiver, paths) for _ in range(3)] == [0, 0, 0]
        receiver.stop()

    assert len(list((tmp_path / "spool").rglob("*.dcm"))) == len(paths)


def test_an_association_with_very_many_studies_is_recorded_in_parts(
    tmp_path: Path, ledger: Ledger
) -> None:
    with receiving(tmp_path, ledger) as receiver:
        batch = receiver.intake.batch(Peer("SCANNER", "SCANNER", "127.0.0.1"), Way.C_STORE)
        for number in range(2 * MOST_COUNTED + 1):
            batch._count(_identity(f"1.2.{number}"), Action.CREATE)
            assert len(batch._tally) < MOST_COUNTED
        batch.end()

    studies = [row[2] for row in transfers(trail_of(tmp_path)[1:-1])]
    assert studies == [f"1.2.{number}" for number in range(2 * MOST_COUNTED + 1)]


def _identity(study: str) -> Identity:
    return Identity("1.2.840.1", study, "1.3", "1.4", Study(study, "P"))


def test_an_instance_that_is_refused_is_an_alert_without_what_it_says(
    tmp_path: Path, ledger: Ledger
) -> None:
    paths = write_images(tmp_path / "images", slices=1)
    bad = pydicom.dcmread(paths[0])
    bad.StudyInstanceUID = "DOE^JANE"
    bad.save_as(paths[0])
    with receiving(tmp_path, ledger) as receiver:
        send(receiver, paths)

    (alert,) = trail_of(tmp_path)[1:-1]
    assert kinds([alert]) == ["Security Alert Instance refused and put aside"]
    (subject,) = alert.findall("ParticipantObjectIdentification")
    (folder,) = (tmp_path / "quarantine").iterdir()
    assert subject.get("ParticipantObjectID") == folder.as_uri()
    assert detail(subject) == {"Alert Description": "an instance was refused with status C000H"}
    assert "AETITLES=SCANNER" in [
        p.get("AlternativeUserID") for p in alert.findall("ActiveParticipant")
    ]


def test_an_association_that_is_rejected_is_an_alert(tmp_path: Path, ledger: Ledger) -> None:
    with receiving(tmp_path, ledger, max_associations=1) as receiver:
        ae = AE("FIRST")
        ae.add_requested_context(Verification)
        first = ae.associate("127.0.0.1", receiver.settings.dicom.port, ae_title="ICHNODE")
        assert first.is_established
        ae.ae_title = "SECOND"
        assert ae.associate(
            "127.0.0.1", receiver.settings.dicom.port, ae_title="ICHNODE"
        ).is_rejected
        first.release()

    (alert,) = trail_of(tmp_path)[1:-1]
    assert kinds([alert]) == ["Security Alert Node Authentication"]
    _, performer = alert.findall("ActiveParticipant")
    assert (performer.get("UserID"), performer.get("NetworkAccessPointID")) == (
        "SECOND",
        "127.0.0.1",
    )


def test_a_peer_without_tls_is_turned_away_by_a_node_with_it_and_that_is_an_alert(
    tmp_path: Path, ledger: Ledger, certificates: Path
) -> None:
    paths = write_images(tmp_path / "images", slices=1)
    tls = {
        "certificate": certificates / "node.pem",
        "key": certificates / "node.key",
        "ca": certificates / "server.pem",
    }
    with receiving(tmp_path, ledger, tls=tls) as receiver:
        assert send(receiver, paths) != 0
        assert send(receiver, paths) != 0  # and this is said once a minute

    (alert,) = trail_of(tmp_path)[1:-1]
    assert kinds([alert]) == ["Security Alert Node Authentication"]
    (subject,) = alert.findall("ParticipantObjectIdentification")
    assert "TLS handshake failed" in detail(subject)["Alert Description"]
    assert subject.get("ParticipantObjectID") == "127.0.0.1"


def test_an_association_that_ends_in_an_abort_is_recorded(tmp_path: Path, ledger: Ledger) -> None:
    (path,) = write_images(tmp_path / "images", slices=1)
    dataset = pydicom.dcmread(path)
    with receiving(tmp_path, ledger) as receiver:
        ae = AE("SCANNER")
        ae.add_requested_context(dataset.SOPClassUID, dataset.file_meta.TransferSyntaxUID)
        association = ae.associate("127.0.0.1", receiver.settings.dicom.port, ae_title="ICHNODE")
        assert association.send_c_store(dataset).Status == 0
        association.abort()
        soon(lambda: not receiver._batches)

    assert transfers(trail_of(tmp_path)[1:-1]) == [(*FROM, "1.2.3.0", "P0", "C", "0", "1")]


def test_a_hostile_calling_title_is_one_line_of_the_trail(tmp_path: Path, ledger: Ledger) -> None:
    path = write_images(tmp_path / "images", slices=1)
    with receiving(tmp_path, ledger) as receiver:
        send(receiver, path, title='<a b="&">')

    assert transfers(trail_of(tmp_path)[1:-1])[0][0] == 'AETITLES=<a b="&">'
