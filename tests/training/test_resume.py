"""A training that is killed goes on, and ends as if it had not been."""

import csv
import os
import signal
import subprocess
import sys
import time

import pytest
from safetensors import safe_open
from safetensors.torch import load_file

from tests.training import tiny
from training import train_slices
from training.stage1.history import CLOCK

KNOBS = ["--preset", "small", "--input-size", "32", "--epochs", "4", "--batch-size", "2"]
KNOBS += ["--block", "7", "--blocks-per-series", "1", "--threads", "1", "--folds", "3"]
KNOBS += ["--only", "1", "--validate", "0.5"]
FINAL = "stage1-fold1.safetensors"


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("store")
    tiny.store(folder)
    return folder


@pytest.fixture(scope="module")
def whole(store, tmp_path_factory):
    """A training that nothing came between."""
    out = tmp_path_factory.mktemp("whole") / "models"
    assert train(store, out) == 0
    return out


def train(store, out, *more):
    return train_slices.main([str(store), str(out), *KNOBS, *more])


def rows(out, fold="fold1"):
    """The history without the columns that the clock wrote."""
    with (out / fold / "history.csv").open() as file:
        return [{k: v for k, v in row.items() if k not in CLOCK} for row in csv.DictReader(file)]


def same(a, b):
    first, second = load_file(a / FINAL), load_file(b / FINAL)
    assert first.keys() == second.keys()
    assert all(first[key].equal(second[key]) for key in first)
    assert (a / FINAL).read_bytes() == (b / FINAL).read_bytes()
    assert rows(a) == rows(b)


@pytest.mark.parametrize("delay_s", [0.0, 0.08])
def test_killed_and_resumed_it_ends_with_the_same_bytes(store, whole, tmp_path, capsys, delay_s):
    """Right after an epoch, and in the midst of the next one."""
    out = tmp_path / "models"
    typed = [sys.executable, "-m", "training.train_slices", str(store), str(out), *KNOBS]
    with subprocess.Popen(typed, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            if "epoch 2/4" in line:
                break
        time.sleep(delay_s)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert not (out / FINAL).exists()
    assert (out / "fold1" / "last.safetensors").is_file()
    assert train(store, out) == 0
    assert "goes on after epoch" in capsys.readouterr().out
    same(whole, out)


def test_interrupted_between_an_epoch_and_its_history_it_ends_the_same(
    store, whole, tmp_path, monkeypatch
):
    """The disk fills while curves are written: the epoch counts, the table is made up for."""
    out = tmp_path / "models"

    def full(folder, epochs):
        raise OSError(28, os.strerror(28), str(folder / "history.csv"))

    with monkeypatch.context() as patch:
        patch.setattr(train_slices, "write_history", full)
        assert train(store, out) == 1
    assert train(store, out) == 0
    same(whole, out)


def test_a_full_disk_is_one_line_and_the_epoch_before_stays(
    store, whole, tmp_path, monkeypatch, capsys
):
    out = tmp_path / "models"
    real, calls = train_slices.save_progress, []

    def fills(*args):
        calls.append(args)
        if len(calls) == 3:
            raise OSError(28, os.strerror(28), "last.safetensors")
        real(*args)

    with monkeypatch.context() as patch:
        patch.setattr(train_slices, "save_progress", fills)
        assert train(store, out) == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "No space left on device; make room and run the same command again" in line
    assert train(store, out) == 0
    assert "goes on after epoch 2" in capsys.readouterr().out
    same(whole, out)


def test_a_loss_that_is_not_finite_stops_at_once_and_the_epoch_before_stays(
    store, whole, tmp_path, monkeypatch, capsys
):
    out = tmp_path / "models"
    real, calls = train_slices.Training.learn, []

    def breaks(self, slices, labels):
        calls.append(1)
        return real(self, slices * float("nan") if len(calls) == 5 else slices, labels)

    with monkeypatch.context() as patch:
        patch.setattr(train_slices.Training, "learn", breaks)
        assert train(store, out) == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "fold1: the loss is nan at step 2 of epoch 2" in line
    assert "try a lower --lr" in line
    assert len(calls) == 5
    with safe_open(out / "fold1" / "last.safetensors", "pt") as file:
        assert all(file.get_tensor(key).isfinite().all() for key in file.keys())  # noqa: SIM118
    assert train(store, out) == 0
    same(whole, out)


def test_a_rate_that_is_far_too_high_is_told_without_a_traceback(store, tmp_path, capsys):
    typed = ["--lr", "1e30", "--warmup", "0", "--clip", "0"]
    assert train(store, tmp_path / "models", *typed) == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "fold1: the loss is" in line or "weights are not finite" in line


def test_what_is_trained_is_left_alone(store, whole, capsys):
    before = (whole / FINAL).stat()
    assert train(store, whole) == 0
    assert "fold1: is trained already" in capsys.readouterr().out
    assert (whole / FINAL).stat().st_mtime_ns == before.st_mtime_ns


def test_another_recipe_for_the_same_folder_is_refused_by_what_differs(store, whole, capsys):
    assert train(store, whole, "--lr", "0.003", "--seed", "3") == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "learning_rate was 0.001, now it is 0.003; seed was 0, now it is 3" in line
    assert "--restart" in line


def test_another_recipe_is_refused_while_training_is_not_done_too(
    store, tmp_path, monkeypatch, capsys
):
    def interrupted(*args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(train_slices, "write_history", interrupted)
        assert train(store, tmp_path) == 130
    assert len(capsys.readouterr().err.strip().splitlines()) == 1
    assert train(store, tmp_path, "--epochs", "5") == 1
    assert "epochs was 4, now it is 5" in capsys.readouterr().err
    assert train(store, tmp_path, "--epochs", "1", "--restart") == 0
    assert len(rows(tmp_path)) == 1


def test_a_damaged_state_is_told(store, tmp_path, capsys):
    (tmp_path / "fold1").mkdir()
    (tmp_path / "fold1" / "last.safetensors").write_bytes(b"half of it")
    assert train(store, tmp_path) == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "last.safetensors is not a checkpoint" in line
