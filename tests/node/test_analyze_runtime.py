"""What runs stage 1 in a worker, and on how many threads."""

import sys
from pathlib import Path

import pytest
import torch

from ml.errors import DeviceError
from node.analyze import Analyzer
from node.check import Finding, Health, check
from node.settings import AnalyzeSettings, Settings


def load(**keys: object) -> Analyzer:
    return Analyzer.load(Settings(analyze=AnalyzeSettings(device="cpu", **keys)))


def test_a_worker_on_a_cpu_takes_openvino_unless_told_otherwise() -> None:
    assert load().detector.runtime == "openvino"
    assert load(runtime="torch").detector.runtime == "torch"


def doctor_on_stage_1(home: Path, **keys: object) -> Finding:
    found = check(Settings(home=home, analyze=AnalyzeSettings(device="cpu", **keys)))
    return next(finding for finding in found if finding.subject == "stage 1")


def test_the_doctor_says_what_runs_stage_1(tmp_path: Path) -> None:
    assert doctor_on_stage_1(tmp_path) == Finding("stage 1", Health.GOOD, "by openvino")
    by_torch = doctor_on_stage_1(tmp_path, runtime="torch")
    assert by_torch == Finding("stage 1", Health.GOOD, "by torch")


def test_the_doctor_notes_that_stage_1_takes_longer_than_it_could(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    assert doctor_on_stage_1(tmp_path).health is Health.NOTE
    assert doctor_on_stage_1(tmp_path, runtime="openvino").health is Health.BAD


def test_openvino_that_is_asked_for_and_is_not_there_stops_the_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(DeviceError, match=r"runtime 'openvino'.*take 'auto' or 'torch'"):
        load(runtime="openvino")


def test_a_worker_keeps_to_the_threads_that_it_may_have() -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        load(threads=1)
        assert torch.get_num_threads() == 1
        torch.set_num_threads(2)
        load(threads=0)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
