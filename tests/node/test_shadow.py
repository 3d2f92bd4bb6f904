"""The shadow judges what was reported, gives way, and changes nothing of what is sent."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ml.errors import IchnodeError
from ml.labels import LABELS, Label
from ml.phantom import make_phantom, write_dicom
from node.analyze import Analyzer
from node.check import Finding, Health, check
from node.clean import Cleaner
from node.ledger import Instance, Revision, Shadow, ShadowState, State
from node.reading import read_identity
from node.settings import Settings
from node.shadow import ShadowWorker, settings_of_shadow
from node.spool import PROBABILITIES, SHADOW, digest_of
from tests.models import write_bundle
from tests.web.node import Stations

POINT = {
    "name": "balanced",
    "chosen_on": "nothing",
    "thresholds": {label.value: 0.5 for label in LABELS},
}


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two models with other weights and thresholds."""
    folder = tmp_path_factory.mktemp("bundles")
    write_bundle(folder / "first", name="first", operating_points=[POINT])
    write_bundle(
        folder / "second", name="second", version="9.9", temperature=3.0, operating_points=[POINT]
    )
    return folder / "first", folder / "second"


@pytest.fixture(scope="module")
def second(bundles: tuple[Path, Path]) -> Analyzer:
    """The model of the shadow."""
    return Analyzer.load(settings_of_shadow(_settings(Path("/nowhere"), bundles)))


def _settings(home: Path, bundles: tuple[Path, Path], **changes: Any) -> Settings:
    fields: dict[str, Any] = {
        "home": home,
        "assemble": {"grace_s": 0, "quiet_s": 0},
        "model": {"bundle": str(bundles[0])},
        "shadow": {"bundle": str(bundles[1])},
        "analyze": {"runtime": "torch", "batch_size": 4, "lease_s": 5},
    }
    return Settings(**{**fields, **changes})


class House:
    """A node with a shadow, in this process."""

    def __init__(self, settings: Settings, analyzer: Analyzer, folder: Path) -> None:
        self.stations = Stations(settings)
        self.ledger, self.spool = self.stations.ledger, self.stations.spool
        self.worker = ShadowWorker(settings, self.ledger, self.spool, analyzer)
        self._folder = folder
        self._count = 0

    def files(self) -> list[Path]:
        """A head that nobody has seen."""
        self._count += 1
        head = make_phantom(8, size=64, findings=(Label.SUBDURAL,))
        return write_dicom(head, self._folder / f"series{self._count}")

    def send(self) -> Revision:
        """A series that goes its way."""
        return self.stations.send(self.files())

    def judge_all(self) -> None:
        """What the sweeper would have the worker do."""
        for shadow_id in self.ledger.due_shadows():
            self.worker.judge(shadow_id)

    def shadow(self, revision: Revision) -> Shadow:
        found = self.ledger.shadow_of(revision.id)
        assert found is not None
        return found

    def results(self, revision: Revision) -> Path:
        return self.spool.results_folder(
            revision.study_instance_uid, revision.series_instance_uid, revision.number
        )

    def wait(self, revision: Revision) -> None:
        """Make a series wait for the model that reports, as it stands."""
        assert self.ledger.make_again(revision.id, "for a test")


@pytest.fixture
def house(bundles: tuple[Path, Path], second: Analyzer, tmp_path: Path) -> Iterator[House]:
    found = House(_settings(tmp_path / "home", bundles), second, tmp_path)
    yield found
    found.ledger.close()


def test_it_judges_the_same_slices_and_keeps_what_it_says_beside_the_results(house: House) -> None:
    revision = house.send()
    house.judge_all()

    shadow = house.shadow(revision)
    assert shadow.state is ShadowState.JUDGED
    assert shadow.judge is not None and shadow.judge.name == "second"
    assert shadow.primary_maxima == revision.maxima != shadow.maxima
    kept = json.loads((house.results(revision) / SHADOW).read_text())
    reported = json.loads((house.results(revision) / PROBABILITIES).read_text())
    assert kept["model"]["digest"] == shadow.judge.digest
    assert kept["compared_with"] == reported["model"]["digest"] == shadow.primary.digest
    slices = [
        [item["sop_instance_uid"] for item in document["series"][0]["slices"]]
        for document in (kept, reported)
    ]
    assert slices[0] == slices[1]
    assert kept["series"][0]["probabilities"] == shadow.maxima


def test_what_is_sent_is_to_the_byte_what_it_is_without_a_shadow(
    house: House, bundles: tuple[Path, Path], second: Analyzer, tmp_path: Path
) -> None:
    files = house.files()
    revision = house.stations.send(files)
    house.judge_all()
    settings = _settings(tmp_path / "alone", bundles, shadow={})
    alone = House(settings, second, tmp_path)
    other = _again(alone, files, revision)

    names = sorted(path.name for path in house.results(revision).iterdir())
    assert set(names) - {path.name for path in alone.results(other).iterdir()} == {SHADOW}
    for path in alone.results(other).iterdir():
        assert path.read_bytes() == (house.results(revision) / path.name).read_bytes(), path.name
    assert house.ledger.results(revision) == alone.ledger.results(other)
    assert alone.ledger.due_shadows() == []
    alone.ledger.close()


def _again(house: House, files: list[Path], like: Revision) -> Revision:
    """The very files of a series, received at the same time by another node."""
    ledger, spool = house.ledger, house.spool
    ledger.clock = like.last_instance_at.timestamp
    for file in files:
        content = file.read_bytes()
        found, digest = read_identity(content), digest_of(content)
        path = spool.keep(found.study, found.series, found.instance, digest, content)
        image = Instance(
            found.study, found.series, found.instance, found.sop_class, digest, path, "CT"
        )
        revision_id = ledger.store(image, 0).revision_id
    ledger.release([revision_id], 0)
    return house.stations.go_on(revision_id)


def test_it_does_not_begin_while_a_series_waits_for_the_model_that_reports(house: House) -> None:
    revision, other = house.send(), house.send()
    house.wait(other)
    house.judge_all()
    assert house.shadow(revision).state is ShadowState.PENDING
    assert house.shadow(revision).claims == 0
    house.stations.go_on(other.id)
    house.judge_all()
    assert house.shadow(revision).state is ShadowState.JUDGED


def test_in_the_middle_of_a_series_it_gives_way_and_begins_again(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    revision, other = house.send(), house.send()
    describer = house.worker.analyzer.detector._describer
    windowed = describer.window
    batches = 0

    def window(hu: Any) -> Any:
        nonlocal batches
        batches += 1
        if batches == 2:
            house.wait(other)
        return windowed(hu)

    monkeypatch.setattr(describer, "window", window)
    house.worker.judge(house.shadow(revision).id)
    assert batches == 2
    shadow = house.shadow(revision)
    assert (shadow.state, shadow.attempts, shadow.claims) == (ShadowState.PENDING, 0, 1)
    house.stations.go_on(other.id)
    house.judge_all()
    assert house.shadow(revision).state is ShadowState.JUDGED


def test_where_it_has_a_gpu_of_its_own_it_need_not_wait(
    bundles: tuple[Path, Path], second: Analyzer, tmp_path: Path
) -> None:
    settings = _settings(
        tmp_path / "home", bundles, shadow={"bundle": str(bundles[1]), "yields": False}
    )
    house = House(settings, second, tmp_path)
    revision, other = house.send(), house.send()
    house.wait(other)
    house.worker.judge(house.shadow(revision).id)
    assert house.shadow(revision).state is ShadowState.JUDGED
    house.ledger.close()


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_bytes(b"torn")])
def test_images_that_are_gone_or_altered_are_no_failure(
    house: House, damage: Callable[[Path], object]
) -> None:
    revision = house.send()
    damage(house.spool.path(house.ledger.instances(revision)[3].path))
    house.judge_all()
    shadow = house.shadow(revision)
    assert shadow.state is ShadowState.SKIPPED
    assert shadow.detail == "1 images are gone from the spool or altered there"
    assert not (house.results(revision) / SHADOW).exists()
    assert house.ledger.revision(revision.id) == revision


def _remove(house: House, revision: Revision, **days: float) -> None:
    """Let the time of a series pass."""
    ledger = house.ledger
    now = ledger.clock()
    ledger.clock = lambda: now + 3600
    settings = house.stations.settings.model_copy(
        update={"retention": house.stations.settings.retention.model_copy(update=days)}
    )
    cleaner = Cleaner(settings, house.spool, ledger)
    assert cleaner.look().files > 0


def test_a_series_whose_images_were_removed_before_is_skipped(house: House) -> None:
    revision = house.send()
    assert _delivered(house, revision).state is State.DELIVERED
    _remove(house, revision, delivered_days=0.01, results_days=0)
    house.judge_all()
    shadow = house.shadow(revision)
    assert (shadow.state, shadow.detail) == (
        ShadowState.SKIPPED,
        "its images were removed before",
    )


def _delivered(house: House, revision: Revision) -> Revision:
    """As if every archive had taken it."""
    with house.ledger.engine.begin() as connection:
        connection.exec_driver_sql(
            f"UPDATE revision SET state = 'delivered' WHERE id = {revision.id}"
        )
    return replace(revision, state=State.DELIVERED)


def test_what_it_said_goes_with_the_results(house: House) -> None:
    revision = house.send()
    house.judge_all()
    assert (house.results(revision) / SHADOW).is_file()
    _delivered(house, revision)
    _remove(house, revision, delivered_days=0, results_days=0.01)
    assert not house.results(revision).exists()
    assert house.shadow(revision).state is ShadowState.JUDGED


def test_results_that_are_removed_while_it_judges_leave_nothing_behind(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    revision = house.send()
    _delivered(house, revision)
    keep = house.worker._keep

    def late(*arguments: Any) -> None:
        _remove(house, revision, delivered_days=0, results_days=0.01)
        keep(*arguments)

    monkeypatch.setattr(house.worker, "_keep", late)
    house.judge_all()
    shadow = house.shadow(revision)
    assert (shadow.state, shadow.detail) == (
        ShadowState.SKIPPED,
        "its results were removed meanwhile",
    )
    assert not house.results(revision).exists()


def test_of_a_series_that_has_grown_only_the_newest_revision_is_judged(house: House) -> None:
    revision = house.send()
    image = house.ledger.instances(revision)[0]
    house.ledger.store(replace(image, digest="f" * 64), 0)
    house.judge_all()
    shadow = house.shadow(revision)
    assert shadow.state is ShadowState.SKIPPED
    assert shadow.detail == "more slices came before: see the next revision"


@pytest.mark.parametrize(
    ("error", "states"),
    [
        (IchnodeError("a probability that is not a number"), [ShadowState.FAILED]),
        (OSError(28, "No space left on device"), [ShadowState.PENDING] * 4),
        (
            RuntimeError("Doe^Jane"),
            [ShadowState.PENDING, ShadowState.PENDING, ShadowState.FAILED],
        ),
    ],
)
def test_an_error_of_the_shadow_is_its_own(
    house: House,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
    states: list[ShadowState],
) -> None:
    revision = house.send()

    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(house.worker.analyzer.detector._describer, "describe", fail)
    for state in states:
        house.worker.judge(house.shadow(revision).id)
        assert house.shadow(revision).state is state
    assert "Doe" not in caplog.text
    assert house.ledger.revision(revision.id) == revision


def test_the_doctor_says_what_a_broken_shadow_is_ill_with(
    bundles: tuple[Path, Path], tmp_path: Path
) -> None:
    copied = shutil.copytree(bundles[1], tmp_path / "second")

    def told() -> Finding:
        settings = _settings(tmp_path, bundles, shadow={"bundle": str(copied)})
        return next(finding for finding in check(settings) if finding.subject == "shadow")

    assert told().health is Health.GOOD
    (copied / "stage1.safetensors").write_bytes(b"torn")
    assert told().health is Health.BAD
    assert "stage1.safetensors is not what bundle.json says" in told().text


def test_a_header_that_cannot_be_measured_does_not_hold_the_report_up(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    def odd(*_: object) -> None:
        raise ValueError("Doe^Jane")

    monkeypatch.setattr("node.work.traits_of", odd)
    assert house.send().state is State.REPORTED


def test_its_process_leaves_cores_and_memory_to_all_others() -> None:
    told = (
        "import os, node.work; node.work.step_back(); "
        "print(os.nice(0), open('/proc/self/oom_score_adj').read())"
    )
    done = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["19", "1000"]
