"""The command line as a user meets it: no peers, no server."""

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pydicom
import pytest
from click.testing import Result
from pydicom.uid import Comprehensive3DSRStorage, generate_uid
from typer.testing import CliRunner

from ml.labels import LABELS, Label
from ml.phantom import make_phantom, write_dicom
from node.cli import app

pytestmark = pytest.mark.long


def ichnode(*arguments: str | Path, home: Path) -> Result:
    """Run a command in this process: PyTorch takes seconds to be loaded."""
    config = home / "test.toml"
    if not config.exists():
        home.mkdir(parents=True, exist_ok=True)
        config.write_text(f'home = "{home / "home"}"\n[dicom]\nport = 1\n')
    return CliRunner().invoke(app, [*map(str, arguments), "--config", str(config)])


def judged(done: Result) -> Any:
    assert done.exit_code == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the series of a small head that bleeds."""
    folder = tmp_path_factory.mktemp("head")
    write_dicom(make_phantom(5, size=128, findings=(Label.SUBDURAL,)), folder)
    return folder


def test_help_comes_at_once_and_names_every_command() -> None:
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "node", "--help"],
        capture_output=True,
        text=True,
        check=True,
    )

    assert time.monotonic() - began < 5
    for heavy in ("torch", "pydicom", "sqlalchemy", "celery", "numpy"):
        assert f"| {heavy}\n" not in done.stderr, f"{heavy} is imported for --help"
    names = "demo init up receive dicomweb poll fetch work web analyze status show retry route"
    names += " notify purge check feedback"
    for name in names.split():
        assert name in done.stdout
    assert "Not for clinical use" in " ".join(done.stdout.split())


@pytest.mark.parametrize(
    "module",
    [
        "node.sweep",
        "node.receive",
        "node.reconcile",
        "node.work",
        "node.web.serve",
        "node.stow.serve",
    ],
)
def test_who_does_not_judge_does_without_pytorch(module: str) -> None:
    """It takes seconds to import and some hundred MB: receivers and deliverers are many."""
    subprocess.run(
        [sys.executable, "-c", f"import {module}, sys; assert 'torch' not in sys.modules"],
        check=True,
    )


def test_analyze_gives_the_document_that_the_design_describes(head: Path, tmp_path: Path) -> None:
    document = judged(ichnode("analyze", head, "--json", home=tmp_path))

    assert set(document) == {"model", "series"}
    assert set(document["model"]) == {"name", "version", "digest"}
    (series,) = document["series"]
    assert (series["state"], series["reason"]) == ("analyzed", None)
    assert list(series["probabilities"]) == [label.value for label in LABELS]
    assert len(series["slices"]) == len(list(head.iterdir()))
    positions = [item["position_mm"] for item in series["slices"]]
    assert positions == sorted(positions)
    for label in LABELS:
        values = [item["probabilities"][label.value] for item in series["slices"]]
        assert series["probabilities"][label.value] == max(values)
        assert all(0 <= value <= 1 for value in values)


def test_another_process_judges_the_same_whatever_its_files_are_called(
    head: Path, tmp_path: Path
) -> None:
    shuffled = tmp_path / "shuffled"
    shuffled.mkdir()
    for number, file in enumerate(sorted(head.iterdir())):
        shutil.copyfile(file, shuffled / f"{(number * 7) % 101:03d}.bin")

    first = ichnode("analyze", head, "--out", tmp_path / "a", "--json", home=tmp_path)
    command = ["analyze", shuffled, "--out", tmp_path / "b", "--json"]
    second = subprocess.run(
        [sys.executable, "-m", "node", *command, "--config", tmp_path / "test.toml"],
        capture_output=True,
        text=True,
        check=True,
    )

    assert json.loads(second.stdout) == judged(first)
    uids = [
        {pydicom.dcmread(path).SOPInstanceUID for path in out.rglob("*.dcm")}
        for out in (tmp_path / "a", tmp_path / "b")
    ]
    assert uids[0] == uids[1] != set()


def test_analyze_writes_results_of_the_same_study(head: Path, tmp_path: Path) -> None:
    done = ichnode("analyze", head, "--out", tmp_path / "out", "--png", home=tmp_path)

    assert done.exit_code == 0, done.stderr
    source = pydicom.dcmread(next(head.iterdir()), stop_before_pixels=True)
    folder = tmp_path / "out" / source.SeriesInstanceUID
    report = pydicom.dcmread(folder / "sr.dcm")
    assert report.SOPClassUID == Comprehensive3DSRStorage
    assert report.StudyInstanceUID == source.StudyInstanceUID
    assert len(list(folder.glob("sc-*.dcm"))) == 1 + len(list(head.iterdir()))
    assert (folder / "summary.png").is_file()
    assert len(list(folder.glob("overlay-*.png"))) == len(list(head.iterdir()))
    assert "Not for clinical use" in done.stdout


def test_analyze_passes_over_other_files_and_copies_and_says_so(head: Path, tmp_path: Path) -> None:
    mixed = tmp_path / "mixed"
    shutil.copytree(head, mixed / "disc")
    shutil.copytree(head, mixed / "disc (copy)")
    (mixed / "README.txt").write_text("no DICOM")
    (mixed / "broken.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"\x08\x00garbage")
    (mixed / "empty.dcm").touch()

    (series,) = judged(ichnode("analyze", mixed, "--json", home=tmp_path))["series"]

    assert len(series["slices"]) == len(list(head.iterdir()))
    assert any("copies" in warning for warning in series["warnings"])


def test_analyze_judges_one_series_and_skips_the_next_with_its_reason(
    head: Path, tmp_path: Path
) -> None:
    both = tmp_path / "both"
    shutil.copytree(head, both / "plain")
    (both / "bone").mkdir()
    uid = generate_uid()
    for file in head.iterdir():
        image = pydicom.dcmread(file)
        image.SeriesInstanceUID, image.SOPInstanceUID = uid, generate_uid()
        image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
        image.ConvolutionKernel = "BONEPLUS"
        image.save_as(both / "bone" / file.name)

    found = judged(ichnode("analyze", both, "--json", home=tmp_path))["series"]

    states = {item["series_instance_uid"]: item for item in found}
    assert states[uid]["state"] == "skipped"
    assert "BONEPLUS" in states[uid]["reason"]
    assert {item["state"] for item in found} == {"analyzed", "skipped"}


def test_analyze_of_what_cannot_be_decoded_fails_and_names_the_slices(
    head: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    for file in head.iterdir():
        image = pydicom.dcmread(file)
        image.PixelData = image.PixelData[:64]
        image.save_as(broken / file.name)

    done = ichnode("analyze", broken, "--json", home=tmp_path)

    assert done.exit_code == 1
    (series,) = json.loads(done.stdout)["series"]
    assert series["state"] == "failed"
    assert str(pydicom.dcmread(next(head.iterdir())).SOPInstanceUID)[:20] in series["reason"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("analyze", "nowhere-at-all"), "no file or folder"),
        (("show", "1.2.3"), "no study or series 1.2.3"),
        (("retry", "1.2.3"), "no study or series 1.2.3"),
        (("retry",), "a UID, --failed or --destination"),
        (("retry", "1.2.3", "--failed"), "a UID, --failed or --destination"),
        (("retry", "--failed"), "nothing to do again"),
        (("retry", "--destination", "nowhere"), "no destination 'nowhere'"),
        (("work", "--queue", "nonsense"), "nonsense"),
        (("receive",), "no broker"),
        (("analyze", "nowhere-at-all", "--png"), "--png needs --out"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(
    tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    done = ichnode(*arguments, home=tmp_path)

    assert done.exit_code in (1, 2)
    assert done.stdout == ""
    assert said in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_results_that_cannot_be_written_are_told_in_one_line(head: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")

    done = ichnode("analyze", head, "--out", tmp_path / "file", home=tmp_path)

    assert done.exit_code == 2
    assert "cannot be written" in done.stderr
    assert "Traceback" not in done.stderr


def test_analyze_writes_nothing_outside_its_folder(head: Path, tmp_path: Path) -> None:
    hostile = tmp_path / "hostile"
    hostile.mkdir()
    for file in head.iterdir():
        image = pydicom.dcmread(file)
        image.SeriesInstanceUID = "../../x"
        image.save_as(hostile / file.name)

    (series,) = judged(
        ichnode("analyze", hostile, "--out", tmp_path / "a" / "b", "--json", home=tmp_path)
    )["series"]

    assert series["state"] == "analyzed"
    assert any("no SR" in warning for warning in series["warnings"])
    assert not list(tmp_path.rglob("sr.dcm"))


def test_an_empty_folder_has_no_series(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()

    done = ichnode("analyze", tmp_path / "empty", home=tmp_path)

    assert done.exit_code == 2
    assert "no DICOM series" in done.stderr


def test_check_finds_what_is_wrong_and_says_the_cure(tmp_path: Path) -> None:
    home = tmp_path / "ill"
    home.mkdir()
    (home / "test.toml").write_text(
        f'home = "{home / "home"}"\n[model]\nbundle = "nowhere"\n'
        '[[destinations]]\nname = "gone"\nae_title = "GONE"\nhost = "127.0.0.1"\nport = 1\n'
        '[broker]\nurl = "redis://127.0.0.1:1/0"\n'
    )

    done = ichnode("check", "--json", home=home)

    assert done.exit_code == 1
    health = {f["subject"]: f for f in json.loads(done.stdout)["findings"]}
    for subject in ("model", "destination gone", "broker"):
        assert health[subject]["health"] == "bad", subject
        assert health[subject]["cure"]
    assert health["home"]["health"] == health["ledger"]["health"] == "good"


def test_check_sees_that_a_commitment_could_not_be_heard(tmp_path: Path) -> None:
    (tmp_path / "test.toml").write_text(
        f'home = "{tmp_path}/home"\n[dicom]\nport = 1\n[[peers]]\nname = "ct"\nae_title = "CT"\n'
        '[[destinations]]\nname = "pacs"\nae_title = "PACS"\nhost = "127.0.0.1"\nport = 1\n'
        "commit = true\n"
    )
    found = json.loads(ichnode("check", "--json", home=tmp_path).stdout)["findings"]
    (commitment,) = [f for f in found if f["subject"] == "commitment of pacs"]
    assert (commitment["health"], "[[peers]]" in commitment["cure"]) == ("bad", True)


def test_status_of_a_new_node_says_how_to_begin(tmp_path: Path) -> None:
    assert "ichnode up" in ichnode("status", home=tmp_path).stdout
    document = judged(ichnode("status", "--json", home=tmp_path))
    assert (document["series"], document["destinations"]) == ([], [])
    assert document["disk"]["free"] > 0


@pytest.mark.data
@pytest.mark.parametrize(
    "name",
    [
        "ge_hispeed_tilted_28",
        "cq500_negative_30",
        "cq500_intraparenchymal_30",
        "rsna_labelled_36",
        "rsna_negative_29",
        "rsna_subdural_28",
    ],
)
def test_analyze_judges_every_slice_of_a_real_series(
    real_series: Callable[[str], list[Path]], tmp_path: Path, name: str
) -> None:
    files = [file for file in real_series(name) if file.suffix == ".dcm"]

    document = judged(ichnode("analyze", files[0].parent, "--json", home=tmp_path))

    analyzed = [item for item in document["series"] if item["state"] == "analyzed"]
    assert len(analyzed) == 1
    assert len(analyzed[0]["slices"]) == len(files)


def test_analyze_passes_over_a_file_whose_header_cannot_be_understood(
    head: Path, tmp_path: Path
) -> None:
    odd = tmp_path / "odd"
    shutil.copytree(head, odd)
    file = sorted(odd.iterdir())[0]
    image = pydicom.dcmread(file)
    image.add_new("PerFrameFunctionalGroupsSequence", "LO", "no sequence")
    image.save_as(file)

    (series,) = judged(ichnode("analyze", odd, "--json", home=tmp_path))["series"]

    assert len(series["slices"]) == len(list(head.iterdir())) - 1
    assert any(file.name in warning for warning in series["warnings"])
