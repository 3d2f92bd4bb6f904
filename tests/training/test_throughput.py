"""The speed of training as a command."""

import json

import pytest

from tests.training import tiny
from training import throughput

KNOBS = ["--preset", "small", "--input-size", "32", "--batch-size", "2", "--threads", "1"]
KNOBS += ["--block", "7", "--blocks-per-series", "1"]
KNOBS += ["--steps", "2", "--warm-up", "1"]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("store")
    tiny.store(folder, patients=4)
    return folder


def test_the_rates_their_ratios_and_the_time_of_all_epochs(store, capsys):
    assert throughput.main([str(store), *KNOBS, "--json", "--series", "1000"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["device"] == "CPU"
    assert found["batch"] == 14
    assert min(found["loader"], found["on_device"], found["bare"]) > 0
    assert found["loader_share"] == pytest.approx(found["loader"] / found["on_device"])
    assert found["changes_share"] == pytest.approx(found["on_device"] / found["bare"])
    assert found["hours"] == pytest.approx(20 * 1000 * 7 / found["loader"] / 3600)


def test_processes_that_read_and_words(store, capsys):
    assert throughput.main([str(store), *KNOBS, "--workers", "1"]) == 0
    told = capsys.readouterr().out
    assert "mobilenet_v3_small at 32 pixels, 14 slices a step, on CPU" in told
    assert "20 epochs of 21744 series" in told


def test_a_folder_that_was_not_prepared_is_told(tmp_path, capsys):
    assert throughput.main([str(tmp_path)]) == 1
    assert "python -m training.prepare" in capsys.readouterr().err
