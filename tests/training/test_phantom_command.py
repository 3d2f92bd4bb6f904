"""`training.phantom` as it is typed: RSNA's layout, the same bytes again, kills and full disks."""

import json
import resource
import subprocess
import sys
from pathlib import Path

import pydicom
import pytest

from ml.labels import LABELS
from ml.phantom import make_phantom
from training import phantom, prepare
from training.datasets.rsna import read_labels
from training.store import load_store

ROOT = Path(__file__).resolve().parents[2]


def drawn(folder, *more, count=2, size=32):
    return phantom.main([str(folder), "--count", str(count), "--size", str(size), *more])


def contents(folder):
    return {
        path.relative_to(folder): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != "about.json"
    }


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """Two phantoms."""
    folder = tmp_path_factory.mktemp("phantoms") / "raw"
    assert drawn(folder) == 0
    return folder


def test_every_image_has_six_labels_under_its_identifier(two):
    labels = read_labels(two / "labels.csv")
    images = [
        pydicom.dcmread(path, stop_before_pixels=True) for path in (two / "images").rglob("*.dcm")
    ]
    assert {str(image.SOPInstanceUID) for image in images} == labels.keys()
    assert (two / "labels.csv").read_text().splitlines()[0] == "ID,Label"
    for seed in (0, 1):
        own = [i for i in images if str(i.PatientID) == f"PHANTOM-{seed:06d}"]
        own.sort(key=lambda image: image.InstanceNumber)
        expected = make_phantom(seed, size=32).labels.tolist()
        assert [labels[str(image.SOPInstanceUID)].tolist() for image in own] == expected
        assert all(len(row) == len(LABELS) for row in expected)


def test_the_same_seeds_give_the_same_bytes_in_several_processes_too(two, tmp_path):
    assert drawn(tmp_path / "again", "--jobs", "2") == 0
    assert contents(tmp_path / "again").keys() == contents(two).keys()
    again, first = contents(tmp_path / "again"), contents(two)
    assert all(again[k] == first[k] for k in first)


def test_a_store_of_phantoms_tells_both_commands(two, tmp_path):
    typed = ["--images", str(two / "images"), "--labels", str(two / "labels.csv")]
    assert prepare.main(["rsna", *typed, "--out", str(tmp_path / "store")]) == 0
    store = load_store(tmp_path / "store")
    assert store.source.startswith("2 synthetic phantoms (ml.phantom, seeds 0 to 1, 32 x 32)")
    assert [command.split()[2] for command in store.commands] == [
        "training.phantom",
        "training.prepare",
    ]
    assert store.series[0].scanner
    about = json.loads((two / "about.json").read_text())
    assert about["commands"] == ["python -m training.phantom raw --count 2 --size 32"]


def test_an_about_file_that_says_nothing_is_told(two, tmp_path, capsys):
    (tmp_path / "about.json").write_text("{}")
    (tmp_path / "images").symlink_to(two / "images")
    typed = ["--images", str(tmp_path / "images"), "--labels", str(two / "labels.csv")]
    assert prepare.main(["rsna", *typed, "--out", str(tmp_path / "store")]) == 1
    assert "about.json does not say source and commands" in capsys.readouterr().err


def test_phantoms_that_are_there_are_not_drawn_again(tmp_path, capsys, monkeypatch):
    folder = tmp_path / "raw"
    assert drawn(folder, count=3) == 0
    whole = contents(folder)
    for path in (folder / "images" / "000001").iterdir():
        path.unlink()
    (folder / "images" / "000001").rmdir()
    seeds = []
    make = phantom.make_phantom
    monkeypatch.setattr(
        phantom, "make_phantom", lambda seed, size: seeds.append(seed) or make(seed, size=size)
    )
    assert drawn(folder, count=3) == 0
    assert seeds == [1]
    assert "2 of 3 phantoms are there already" in capsys.readouterr().out
    images = {k: v for k, v in contents(folder).items() if k.suffix != ".jsonl"}
    assert images == {k: v for k, v in whole.items() if k.suffix != ".jsonl"}


def test_a_half_written_series_of_a_killed_run_is_drawn_again(tmp_path):
    folder = tmp_path / "raw"
    assert drawn(folder) == 0
    whole = contents(folder)
    journal = folder / "drawn.jsonl"
    journal.write_bytes(journal.read_bytes()[:-20])
    (folder / "images" / "000001").rename(folder / "images" / "000001.part")
    (folder / "images" / "000001.part" / "0002.dcm").unlink()
    assert drawn(folder) == 0
    assert contents(folder) == whole


def test_another_size_in_the_same_folder_is_told(two, capsys):
    assert drawn(two, size=40) == 1
    assert "--size was 32, now it is 40; give another folder" in capsys.readouterr().err


def test_phantoms_that_other_code_drew_are_not_mixed_with_new_ones(tmp_path, capsys, monkeypatch):
    assert drawn(tmp_path / "raw", count=1) == 0
    monkeypatch.setattr(phantom, "_code", lambda: "another")
    assert drawn(tmp_path / "raw") == 1
    assert "now it is another; give another folder" in capsys.readouterr().err


def test_a_disk_that_fills_up_is_told_in_one_line_and_the_run_can_go_on(tmp_path):
    typed = [str(tmp_path / "raw"), "--count", "1", "--size", "64"]

    def small():
        resource.setrlimit(resource.RLIMIT_FSIZE, (5_000, 5_000))

    full = subprocess.run(
        [sys.executable, "-m", "training.phantom", *typed],
        cwd=ROOT,
        preexec_fn=small,
        capture_output=True,
        text=True,
        check=False,
    )
    assert full.returncode == 1
    (line,) = full.stderr.strip().splitlines()
    assert "000000 cannot be written: File too large; what is there already stays" in line
    assert list((tmp_path / "raw" / "images").iterdir()) == []
    assert phantom.main(typed) == 0


@pytest.mark.parametrize("more", [["--first-seed", "-1"], ["--count", "0"], ["--size", "16"]])
def test_a_bad_argument_ends_with_2(tmp_path, more):
    with pytest.raises(SystemExit) as stop:
        phantom.main([str(tmp_path / "raw"), *more])
    assert stop.value.code == 2
    assert not (tmp_path / "raw").exists()
