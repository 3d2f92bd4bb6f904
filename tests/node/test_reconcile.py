"""Spool and ledger after a crash, a restored backup, a hand in the wrong folder."""

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pydicom
import pytest

from node.ledger import Instance, Ledger, Outcome, State, open_ledger
from node.reconcile import UNKNOWN_SENDER, Reconciled, reconcile
from node.settings import Settings
from node.spool import Spool, digest_of
from tests import ct
from tests.claiming import claimed

QUIET_S = 30.0


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path)


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path)


@pytest.fixture
def ledger(settings: Settings, tmp_path: Path) -> Iterator[Ledger]:
    opened = open_ledger(settings.ledger_url)
    yield opened
    opened.close()


@pytest.fixture
def found(settings: Settings, spool: Spool, ledger: Ledger) -> Callable[[], Reconciled]:
    return lambda: reconcile(settings, spool, ledger, time.time() + 1)


def kept(spool: Spool, folder: Path, number: int) -> Instance:
    """An image that lies in the spool; the ledger does not know it yet."""
    image = ct.image(number)
    content = ct.write(image, folder / f"{number}.dcm").read_bytes()
    digest = digest_of(content)
    names = str(image.StudyInstanceUID), str(image.SeriesInstanceUID), str(image.SOPInstanceUID)
    path = spool.keep(*names, digest, content)
    return Instance(*names, str(image.SOPClassUID), digest, path, "SCANNER")


@pytest.fixture
def instances(spool: Spool, tmp_path: Path) -> list[Instance]:
    """Three images of one series in the spool."""
    return [kept(spool, tmp_path / "source", number) for number in range(3)]


def test_what_is_together_is_left_as_it_is(
    found: Callable[[], Reconciled], ledger: Ledger, instances: list[Instance]
) -> None:
    for instance in instances:
        ledger.store(instance, QUIET_S)
    assert found() == Reconciled()


def test_an_empty_home_is_fine(found: Callable[[], Reconciled]) -> None:
    assert found() == Reconciled()


def test_instances_that_the_ledger_does_not_know_are_taken_up(
    found: Callable[[], Reconciled], ledger: Ledger, instances: list[Instance]
) -> None:
    ledger.store(instances[0], QUIET_S)
    assert found() == Reconciled(adopted=2)
    (revision,) = ledger.recent(9)
    assert (revision.state, revision.instances) == (State.RECEIVING, 3)
    assert [i.sender for i in ledger.instances(revision)][1:] == [UNKNOWN_SENDER] * 2
    assert ledger.store(instances[1], QUIET_S).outcome is Outcome.DUPLICATE
    assert found() == Reconciled()


def test_what_a_receiver_is_just_writing_is_left_to_it(
    settings: Settings, spool: Spool, ledger: Ledger, instances: list[Instance]
) -> None:
    assert reconcile(settings, spool, ledger, time.time() - 60) == Reconciled()


def test_a_content_that_was_replaced_is_known(
    found: Callable[[], Reconciled], ledger: Ledger, spool: Spool, instances: list[Instance]
) -> None:
    old = instances[0]
    ledger.store(old, QUIET_S)
    for instance in instances[1:]:
        ledger.store(instance, QUIET_S)
    image = pydicom.dcmread(spool.path(old.path))
    image.PatientComments = "changed"
    changed = spool.path(old.path).with_name("changed")
    image.save_as(changed)
    content = changed.read_bytes()
    changed.unlink()
    names = old.study_instance_uid, old.series_instance_uid, old.sop_instance_uid
    path = spool.keep(*names, digest_of(content), content)
    ledger.store(Instance(*names, old.sop_class_uid, digest_of(content), path, "SCANNER"), QUIET_S)
    assert found() == Reconciled()


@pytest.mark.parametrize("damage", [b"", b"zeros", b"cut"])
def test_a_torn_file_that_the_ledger_does_not_know_is_put_aside(
    found: Callable[[], Reconciled],
    ledger: Ledger,
    spool: Spool,
    instances: list[Instance],
    damage: bytes,
) -> None:
    file = spool.path(instances[0].path)
    size = file.stat().st_size
    torn = {b"": b"", b"zeros": bytes(size), b"cut": file.read_bytes()[: size // 2]}[damage]
    file.write_bytes(torn)
    assert found() == Reconciled(adopted=2, torn=1)
    assert not file.exists()
    (aside,) = spool.quarantined.iterdir()
    assert (aside / "instance.dcm").read_bytes() == torn
    assert file.name in (aside / "reason.txt").read_text()


@pytest.mark.parametrize("state", [State.RECEIVING, State.READY, State.ANALYZING])
@pytest.mark.parametrize("damage", ["gone", "altered"])
def test_a_series_under_way_that_has_lost_a_file_fails_and_says_so(
    found: Callable[[], Reconciled],
    ledger: Ledger,
    spool: Spool,
    instances: list[Instance],
    state: State,
    damage: str,
) -> None:
    for instance in instances:
        stored = ledger.store(instance, QUIET_S)
    if state is not State.RECEIVING:
        assert ledger.ready(ledger.revision(stored.revision_id), [])
    if state is State.ANALYZING:
        claimed(ledger, stored.revision_id)
    file = spool.path(instances[1].path)
    content = file.read_bytes()
    if damage == "gone":
        file.unlink()
    else:
        file.write_bytes(content[:-1] + b"?")

    assert found().lost == 1

    revision = ledger.revision(stored.revision_id)
    assert (revision.state, revision.reason) == (State.FAILED, "instance-lost")
    assert revision.detail.startswith("1 images were received and are gone")
    assert [r.id for r in ledger.due(State.FAILED)] == [revision.id], "a notice is due"
    assert ledger.instances(revision) == [instances[0], instances[2]]

    file.write_bytes(content)
    again = ledger.store(instances[1], QUIET_S)
    assert again.outcome is Outcome.NEW
    newest = ledger.revision(again.revision_id)
    assert (newest.number, newest.instances) == (2, 3), "sent again, the series is whole"


def test_files_of_what_is_done_are_not_asked_for(
    found: Callable[[], Reconciled], ledger: Ledger, spool: Spool, instances: list[Instance]
) -> None:
    for instance in instances:
        stored = ledger.store(instance, QUIET_S)
    assert ledger.skip(ledger.revision(stored.revision_id), "contrast", "iodine", [])
    spool.path(instances[0].path).unlink()
    assert found() == Reconciled()


def test_half_written_files_go_when_nobody_can_be_writing_them(
    found: Callable[[], Reconciled], spool: Spool, instances: list[Instance]
) -> None:
    folder = spool.path(instances[0].path).parent
    old, new = folder / ".1.2.3.aa.part", folder / ".1.2.3.bb.part"
    for part in (old, new):
        part.write_bytes(b"half")
    os.utime(old, (time.time() - 7200,) * 2)
    assert found().parts == 1
    assert not old.exists()
    assert new.exists()


def test_strange_things_in_the_spool_are_left_alone(
    found: Callable[[], Reconciled], spool: Spool, instances: list[Instance]
) -> None:
    (spool.folder / "README").write_text("not ours")
    (spool.folder / "1.2.3" / "file").parent.mkdir(exist_ok=True)
    (spool.folder / "1.2.3" / "file").write_text("not ours")
    (spool.folder / "loop").symlink_to(spool.folder)
    assert found().adopted == 3
    assert (spool.folder / "README").exists()
