"""A whole node at its default level of logging: what it tells of patients and of itself."""

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pydicom
import pytest

from ml.phantom import Phantom
from node.broker import broker_url, free_port
from node.ledger import State
from tests.e2e.conftest import series_maker
from tests.e2e.peers import (
    ICHNODE,
    Node,
    dcmtk,
    running_node,
    running_storescp,
    storescu,
    wait_for,
)
from tests.listening import listening

SECRETS = {
    "PatientName": "ZYXWVUT^QPONMLK",
    "PatientID": "PID7391846205",
    "PatientBirthDate": "19370413",
    "AccessionNumber": "ACC5528190347",
    "OtherPatientIDs": "OTH4417720938",
    "PatientAddress": "UVULAR LANE 8821",
    "InstitutionName": "GRUBNETSUAH CLINIC",
    "ReferringPhysicianName": "KCIREDERF^OTTO",
    "StudyDescription": "HEAD OF GNAGFLOW",
    "PatientComments": "KNOWS ESUOHTHGIL",
}
WORDS = tuple(word for value in SECRETS.values() for word in value.split("^"))


def telling(image: pydicom.Dataset, _index: int) -> None:
    """Write what must not be told into an image."""
    for keyword, value in SECRETS.items():
        setattr(image, keyword, value)


@dataclass
class Run:
    """A node after a day with all kinds of series."""

    node: Node
    home: Path
    password: str
    command_lines: bytes

    def log(self) -> str:
        return self.node.log.read_text()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """A node with one destination that works and one that is not there."""
    folder = tmp_path_factory.mktemp("node")
    with (
        running_storescp(folder / "pacs") as pacs,
        running_node(
            folder,
            [("pacs", "PACS", pacs.port), ("gone", "GONE", free_port())],
            verbose=False,
        ) as node,
    ):
        wait_for(pacs.folder.is_dir, 10)
        password = broker_url(node.settings).split("@")[0].rpartition(":")[2]
        yield Run(node, node.settings.home, password, all_command_lines())


def all_command_lines() -> bytes:
    """What anyone on the machine sees by `ps`."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                found.append((entry / "cmdline").read_bytes())
            except OSError:
                continue
    return b"\n".join(found)


@pytest.fixture(scope="module")
def told(run: Run, phantom: Phantom, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The node after it was sent series that end in every way."""
    node, make = run.node, series_maker(phantom, tmp_path_factory.mktemp("series"))
    good = make(telling)
    node.send(good.files)

    def derived(image: pydicom.Dataset, index: int) -> None:
        telling(image, index)
        image.ImageType = ["DERIVED", "SECONDARY", "MPR"]
        image.SeriesDescription = SECRETS["PatientComments"]

    def broken(image: pydicom.Dataset, index: int) -> None:
        telling(image, index)
        image.PixelData = image.PixelData[:100]

    def odd(image: pydicom.Dataset, index: int) -> None:
        telling(image, index)
        image.PixelSpacing = None
        image.ImagePositionPatient = None
        image.add_new("PatientBirthDate", "DA", SECRETS["PatientName"])
        image.add_new("PatientWeight", "DS", "1")
        image["PatientWeight"]._value = SECRETS["PatientID"]

    def nameless(image: pydicom.Dataset, index: int) -> None:
        telling(image, index)
        image.StudyInstanceUID = SECRETS["PatientName"]

    skipped, failed = make(derived), make(broken)
    for series in (skipped, failed):
        node.send(series.files)
    storescu(node.port, make(odd, slices=12).files)
    storescu(node.port, make(nameless, slices=2).files)
    node.wait_for(good.series, State.REPORTED, State.DELIVERED)
    again = pydicom.dcmread(good.files[0])
    again.PatientName = SECRETS["PatientName"] + "^II"
    again.save_as(good.files[0])
    node.send(good.files[:1])
    node.kill("receive")

    node.wait_for(skipped.series, State.SKIPPED)
    node.wait_for(failed.series, State.FAILED, State.SKIPPED)
    node.wait_for(good.series, State.REPORTED, State.DELIVERED, count=2)
    wait_for(lambda: "delivery to gone has to wait" in run.log(), 60, "a failed delivery")
    return run


# -- of patients -------------------------------------------------------------------


def test_no_log_tells_who_was_sent(told: Run) -> None:
    log = told.log()

    assert "was refused" in log  # all of it happened
    assert "came again with other content" in log
    assert "receive ended with" in log
    assert [word for word in WORDS if word in log] == []


def test_the_other_files_that_the_node_writes_of_itself_tell_nothing_either(told: Run) -> None:
    logs = [path for path in told.home.rglob("*.log") if path.name != "audit.log"]

    assert [path.name for path in logs] == ["redis.log"]
    assert [word for word in WORDS if word in logs[0].read_text(errors="replace")] == []


def test_the_audit_trail_tells_which_patient_and_study_and_nothing_else(told: Run) -> None:
    """It has to (PS3.15, A.5.3); `[audit] patient = "none"` leaves both out."""
    trail = (told.home / "audit.log").read_text()
    may_tell = {SECRETS["PatientID"], SECRETS["AccessionNumber"]}

    assert {word for word in WORDS if word in trail} == may_tell


def test_names_of_files_tell_nothing_of_patients(told: Run) -> None:
    paths = "\n".join(str(path) for path in told.home.rglob("*"))

    assert "quarantine" in paths
    assert [word for word in WORDS if word in paths] == []


def test_the_secrets_were_sent_indeed(told: Run) -> None:
    """Else the tests above would see nothing of nothing."""
    spool = b"".join(path.read_bytes() for path in (told.home / "spool").rglob("*.dcm"))

    assert [word for word in WORDS if word.encode() not in spool] == []


# -- of the node -------------------------------------------------------------------


def test_all_that_the_node_keeps_is_for_its_user_alone(told: Run) -> None:
    found = [told.home, *told.home.rglob("*")]

    assert {"spool", "results", "quarantine", "ledger.sqlite"} <= {path.name for path in found}
    assert [path for path in found if path.lstat().st_mode & 0o077] == []


def test_the_password_of_the_broker_is_in_no_log_and_on_no_command_line(told: Run) -> None:
    assert len(told.password) > 20
    assert told.password not in told.log()
    assert b"redis" in told.command_lines
    assert told.password.encode() not in told.command_lines


def test_what_commands_write_beside_a_node_is_private_too(tmp_path: Path) -> None:
    config = tmp_path / "ichnode.toml"
    config.write_text(f'home = "{tmp_path / "new" / "home"}"\n')
    command = [*ICHNODE, "status", "--config", config]
    subprocess.run(command, umask=0o022, check=True, capture_output=True)

    written = [tmp_path / "new", *(tmp_path / "new").rglob("*")]
    assert "ledger.sqlite" in [path.name for path in written]
    assert [path for path in written if path.lstat().st_mode & 0o077] == []


def test_a_key_that_others_can_read_stops_the_start_with_one_line(tmp_path: Path) -> None:
    key = tmp_path / "node.key"
    key.write_text("")
    key.chmod(0o644)
    config = tmp_path / "ichnode.toml"
    config.write_text(
        f'home = "{tmp_path / "home"}"\n[dicom.tls]\ncertificate = "{key}"\nkey = "{key}"\n'
        'client_certificates = "none"\n'
    )
    for command in ("up", "receive", "work"):
        done = subprocess.run(
            [*ICHNODE, command, "--config", config],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

        assert done.returncode == 2
        assert done.stderr.strip() == (
            f"ichnode: [dicom.tls] key: {key} can be read or changed by others: chmod 600 it"
        )


# -- who may send ------------------------------------------------------------------


def test_dcmtk_is_told_why_it_is_rejected(tmp_path: Path) -> None:
    """PS3.8, 9.3.4."""
    ct1 = {"name": "ct1", "ae_title": "CT1", "networks": ["127.0.0.1"]}
    far = {"name": "far", "ae_title": "FAR", "networks": ["10.0.0.0/8"]}
    with listening(tmp_path, (ct1, far)) as receiver:
        port = str(receiver.settings.dicom.port)

        def said(calling: str, called: str) -> str:
            done = subprocess.run(
                [dcmtk("echoscu"), "-v", "-aet", calling, "-aec", called, "127.0.0.1", port],
                capture_output=True,
                text=True,
                check=False,
            )
            return done.stdout + done.stderr

        assert "Received Echo Response (Success)" in said("CT1", "ICHNODE")
        assert "Calling AE Title Not Recognized" in said("CT2", "ICHNODE")
        assert "Calling AE Title Not Recognized" in said("FAR", "ICHNODE")
        assert "Called AE Title Not Recognized" in said("CT1", "OTHER")
        assert "Rejected Permanent" in said("CT1", "OTHER")


def test_dcmtk_is_told_to_come_later_where_too_many_are_there(tmp_path: Path) -> None:
    with listening(tmp_path, associations_per_minute=1) as receiver:
        command = [dcmtk("echoscu"), "-v", "-aec", "ICHNODE", "127.0.0.1"]
        command.append(str(receiver.settings.dicom.port))
        said = [
            subprocess.run(command, capture_output=True, text=True, check=False) for _ in range(2)
        ]

    assert [done.returncode == 0 for done in said] == [True, False]
    assert "Rejected Transient" in said[1].stdout + said[1].stderr
    assert "Temporary Congestion" in said[1].stdout + said[1].stderr
