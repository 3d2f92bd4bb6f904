"""Stage 1: what a slice goes through before the backbone, and which backbones there are."""

import numpy as np
import pytest
import torch

from ml.describe import Describer, Preprocess, build_backbone, last_linear
from ml.errors import BundleError
from ml.windows import PAPER_WINDOWS

PLAIN = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)


def test_a_slice_becomes_one_channel_for_each_window() -> None:
    channels = Preprocess(PAPER_WINDOWS, 8, *PLAIN)(torch.full((2, 8, 8), 40, dtype=torch.int16))
    assert channels.shape == (2, 3, 8, 8)
    assert channels.dtype == torch.float32
    assert channels[0, :, 0, 0].tolist() == pytest.approx([0.5, 72.5 / 215, 840 / 2800])


def test_channels_are_normalised_each_by_its_own_mean_and_deviation() -> None:
    preprocess = Preprocess(PAPER_WINDOWS, 8, (0.5, 0.1, 0.2), (0.5, 0.25, 2.0))
    channels = preprocess(torch.full((1, 8, 8), 3000))
    assert channels[0, :, 0, 0].tolist() == pytest.approx([1.0, 3.6, 0.4])


@pytest.mark.parametrize(("rows", "columns"), [(8, 16), (16, 8), (7, 16), (512, 512), (5, 5)])
def test_every_shape_becomes_the_square_that_the_backbone_takes(rows: int, columns: int) -> None:
    assert Preprocess(PAPER_WINDOWS, 16, *PLAIN)(torch.zeros(1, rows, columns)).shape == (
        1,
        3,
        16,
        16,
    )


def test_a_slice_that_is_not_square_is_padded_with_black_and_not_stretched() -> None:
    channels = Preprocess(PAPER_WINDOWS, 16, *PLAIN)(torch.full((1, 8, 16), 80))
    assert (channels[0, 0, 4:12] == 1).all()
    assert (channels[0, 0, :4] == 0).all()
    assert (channels[0, 0, 12:] == 0).all()


def test_windows_come_before_resizing_so_that_bone_does_not_bleed_into_the_brain() -> None:
    checks = torch.tensor([[2000.0, 0.0], [0.0, 2000.0]]).repeat(8, 8)[None]
    brain = Preprocess(PAPER_WINDOWS, 8, *PLAIN)(checks)[0, 0]
    # Windowed first, half of the pixels are white; resized first, all would be.
    assert brain.mean().item() == pytest.approx(0.5, abs=0.05)


def test_shrinking_averages_and_does_not_drop_pixels() -> None:
    hu = torch.zeros(1, 64, 64)
    hu[0, ::8] = 80  # a thin line that falls between the pixels that are left
    brain = Preprocess(PAPER_WINDOWS, 8, *PLAIN)(hu)[0, 0]
    assert brain.mean().item() == pytest.approx(1 / 8, abs=0.02)
    assert brain.min().item() > 0.05


@pytest.mark.parametrize(("rows", "size"), [(64, 64), (64, 48), (48, 64)])
def test_a_batch_is_windowed_as_its_slices_are_alone(rows: int, size: int) -> None:
    preprocess = Preprocess(PAPER_WINDOWS, size, (0.4, 0.3, 0.2), (0.2, 0.3, 0.4))
    hu = torch.randint(-1024, 2000, (3, rows, 64), generator=torch.Generator().manual_seed(1))
    together = preprocess.window(hu.short())
    alone = [preprocess.window(one[None].short()) for one in hu]
    assert (together == torch.cat(alone)).all()
    assert together.is_contiguous(memory_format=torch.channels_last)


def test_windowing_can_be_differentiated() -> None:
    hu = torch.full((2, 8, 8), 40.0, requires_grad=True)
    Preprocess(PAPER_WINDOWS, 8, *PLAIN).window(hu).sum().backward()
    assert hu.grad is not None
    assert hu.grad[1, 3, 3].item() == pytest.approx(1 / 80 + 1 / 215 + 1 / 2800)


def test_the_papers_backbone_has_one_output_for_each_label() -> None:
    backbone = build_backbone("resnet50")
    assert backbone.fc.out_features == 6
    assert len(list(backbone.layer3)) == 6


@pytest.mark.parametrize("name", ["resnet49", "", "fasterrcnn_resnet50_fpn", "../resnet50"])
def test_what_torchvision_does_not_have_as_a_classifier_is_refused_by_name(name: str) -> None:
    with pytest.raises(BundleError, match="has no classifier"):
        build_backbone(name)


@pytest.mark.parametrize(
    "name",
    [
        "resnet50",
        "convnext_tiny",
        "efficientnet_v2_s",
        "mobilenet_v3_small",
        "densenet121",
        "vit_b_16",
        "swin_t",
        "maxvit_t",
    ],
)
def test_features_are_what_makes_the_logits(name: str) -> None:
    with torch.device("meta"):
        assert last_linear(build_backbone(name)).out_features == 6


@pytest.mark.parametrize("flip", [False, True])
def test_the_last_layer_makes_the_logits_of_the_features(flip: bool) -> None:
    torch.manual_seed(0)
    backbone = build_backbone("mobilenet_v3_small").eval()
    preprocess = Preprocess(PAPER_WINDOWS, 32, *PLAIN)
    describer = Describer(
        preprocess, backbone, torch.device("cpu"), batch_size=2, flip=flip, features=True
    )
    hu = np.random.default_rng(1).integers(0, 80, (3, 32, 32)).astype(np.int16)
    hu.flags.writeable = False
    described = describer.describe(hu)
    assert described.features.shape == (3, 1024)
    with torch.inference_mode():
        assert torch.allclose(
            last_linear(backbone)(described.features), described.logits, atol=1e-5
        )


def test_features_cost_nothing_where_they_are_not_asked_for() -> None:
    backbone = build_backbone("squeezenet1_1").eval()
    describer = Describer(Preprocess(PAPER_WINDOWS, 32, *PLAIN), backbone, torch.device("cpu"))
    assert describer.describe(np.zeros((2, 32, 32), np.int16)).features.shape == (2, 0)


def test_a_backbone_without_a_linear_layer_has_no_features_to_give() -> None:
    with pytest.raises(BundleError, match="SqueezeNet has no linear layer"):
        last_linear(build_backbone("squeezenet1_1"))
