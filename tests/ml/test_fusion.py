"""Stage 2: the neighbours of every slice, and the network that looks at them."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ml.describe import Described
from ml.fusion import AxialFusion, SequenceFusion, neighbourhoods


def numbered(count: int) -> torch.Tensor:
    """Descriptors that tell the number of their slice."""
    return torch.arange(count, dtype=torch.float32)[:, None].expand(count, 6).contiguous()


def test_beyond_the_ends_the_edge_is_repeated() -> None:
    around = neighbourhoods(numbered(9))[..., 0]
    assert around[0].tolist() == [0, 0, 0, 0, 1, 2, 3]
    assert around[4].tolist() == [1, 2, 3, 4, 5, 6, 7]
    assert around[8].tolist() == [5, 6, 7, 8, 8, 8, 8]


@given(count=st.integers(1, 40), half=st.integers(0, 6))
def test_each_slice_is_the_middle_of_its_own_neighbourhood(count: int, half: int) -> None:
    around = neighbourhoods(numbered(count), 2 * half + 1)
    assert around.shape == (count, 2 * half + 1, 6)
    assert around[:, half, 0].tolist() == list(range(count))


def test_one_slice_is_its_own_neighbour_on_both_sides() -> None:
    assert neighbourhoods(numbered(1) + 5).eq(5).all()


def test_the_six_values_of_a_descriptor_stay_together() -> None:
    descriptors = torch.arange(60.0).reshape(10, 6)
    assert neighbourhoods(descriptors)[5, 3].tolist() == descriptors[5].tolist()


@pytest.mark.parametrize("neighbours", [1, 7, 9])
def test_the_network_gives_one_logit_for_each_label(neighbours: int) -> None:
    assert AxialFusion(neighbours)(torch.zeros(4, neighbours, 6)).shape == (4, 6)


def test_the_papers_network_is_two_convolutions_and_one_linear_layer() -> None:
    layers = [type(layer).__name__ for layer in AxialFusion().layers]
    assert layers == ["Conv2d", "ReLU", "Conv2d", "ReLU", "Flatten", "Linear"]
    assert AxialFusion().layers[-1].in_features == 32 * 7 * 6


def test_neighbours_change_what_is_said_of_the_middle_slice() -> None:
    torch.manual_seed(1)
    fusion = AxialFusion()
    alone, beside = torch.full((1, 7, 6), -4.0), torch.full((1, 7, 6), -4.0)
    beside[0, 0] = 4.0
    assert not torch.allclose(fusion(alone), fusion(beside))


def described(slices: int, features: int = 5) -> Described:
    """A series of random descriptors, the same each time."""
    generator = torch.Generator().manual_seed(slices)
    return Described(
        torch.randn(slices, 6, generator=generator),
        torch.randn(slices, features, generator=generator),
    )


@torch.inference_mode()
def test_the_papers_network_judges_a_series_slice_by_slice() -> None:
    fusion, series = AxialFusion(), described(9)
    assert torch.equal(fusion.judge(series), fusion(neighbourhoods(series.logits)))


@torch.inference_mode()
def test_an_untrained_sequence_model_says_what_stage_1_said() -> None:
    series = described(9)
    assert torch.equal(SequenceFusion(5, hidden=4).judge(series), series.logits)


@torch.inference_mode()
@pytest.mark.parametrize("far", [0, 11])
def test_a_sequence_model_lets_every_slice_speak_for_every_other(far: int) -> None:
    torch.manual_seed(3)
    fusion = SequenceFusion(5, hidden=4).eval()
    torch.nn.init.ones_(fusion.last.weight)
    series = described(12)
    features = series.features.clone()
    features[far] += torch.tensor([9.0, -9, 9, -9, 0])
    changed = fusion.judge(Described(series.logits, features)) - fusion.judge(series)
    assert (changed.abs().sum(dim=1) > 0).all()


@torch.inference_mode()
def test_series_judged_together_are_judged_as_each_alone() -> None:
    torch.manual_seed(3)
    fusion = SequenceFusion(5, hidden=4).eval()
    torch.nn.init.normal_(fusion.last.weight)
    short, long = described(3), described(8)
    pad = torch.nn.utils.rnn.pad_sequence
    together = fusion(
        pad([short.logits, long.logits], batch_first=True),
        pad([short.features, long.features], batch_first=True),
        torch.tensor([3, 8]),
    )
    assert torch.allclose(together[0, :3], fusion.judge(short), atol=1e-6)
    assert torch.allclose(together[1], fusion.judge(long), atol=1e-6)
