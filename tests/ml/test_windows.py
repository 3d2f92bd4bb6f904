"""The three grey-scale windows."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ml.windows import BONE, BRAIN, PAPER_WINDOWS, SUBDURAL, Window


@pytest.mark.parametrize(
    ("window", "lower", "upper"), [(BRAIN, 0, 80), (SUBDURAL, -32.5, 182.5), (BONE, -800, 2000)]
)
def test_a_window_runs_from_its_lower_edge_to_its_upper_one(
    window: Window, lower: float, upper: float
) -> None:
    hu = np.array([lower - 1, lower, (lower + upper) / 2, upper, upper + 1])
    assert window.apply(hu) == pytest.approx([0, 0, 0.5, 1, 1])


def test_the_channels_are_those_of_the_paper_in_its_order() -> None:
    assert [(w.level, w.width) for w in PAPER_WINDOWS] == [(40, 80), (75, 215), (600, 2800)]


@given(
    hu=st.lists(st.floats(-1024, 32767, width=32), min_size=1, max_size=20),
    level=st.integers(-500, 1000),
    width=st.integers(1, 4000),
)
def test_numpy_and_torch_agree_and_stay_between_0_and_1(
    hu: list[float], level: int, width: int
) -> None:
    window = Window("any", level, width)
    by_numpy = window.apply(np.array(hu, np.float32))
    by_torch = window.apply(torch.tensor(hu, dtype=torch.float32))
    assert np.abs(by_numpy - by_torch.numpy()).max() < 1e-6
    assert by_numpy.min() >= 0
    assert by_numpy.max() <= 1
