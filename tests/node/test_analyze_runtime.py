"""What runs stage 1 in a worker, and on how many threads."""

import sys

import pytest
import torch

from ml.errors import DeviceError
from node.analyze import Analyzer
from node.settings import AnalyzeSettings, Settings


def load(**keys: object) -> Analyzer:
    return Analyzer.load(Settings(analyze=AnalyzeSettings(device="cpu", **keys)))


def test_a_worker_on_a_cpu_takes_openvino_unless_told_otherwise() -> None:
    assert load().detector.runtime == "openvino"
    assert load(runtime="torch").detector.runtime == "torch"


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
