"""Changes to slices: as far as they are said to go, and never at odds with the labels."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from ml.describe import Preprocess
from ml.windows import PAPER_WINDOWS
from training.stage1.augment import AUGMENTATIONS, Augmentation, _Draw

NONE = AUGMENTATIONS["none"]
CPU = torch.device("cpu")


def gen(seed=0):
    return torch.Generator().manual_seed(seed)


def corner(n=64, size=32):
    """Slices whose upper left quarter is white."""
    batch = torch.zeros(n, 1, size, size)
    batch[:, :, : size // 2, : size // 2] = 1
    return batch


def test_without_changes_a_slice_is_what_the_node_sees():
    hu = torch.randint(-1000, 2000, (5, 40, 40), generator=gen(), dtype=torch.int16)
    preprocess = Preprocess(PAPER_WINDOWS, 24, (0.4, 0.4, 0.4), (0.2, 0.2, 0.2))
    labels = torch.rand(5, 6, generator=gen())
    slices, same = NONE([hu[:2], hu[2:]], labels, preprocess, gen())
    assert torch.equal(same, labels)
    torch.testing.assert_close(slices, preprocess(hu), atol=1e-4, rtol=0)


def test_a_horizontal_flip_changes_left_and_right_only():
    moved = replace(NONE, flip=1.0).geometry(corner(), gen())
    torch.testing.assert_close(moved, corner().flip(-1), atol=1e-4, rtol=0)
    moved = replace(NONE, vertical_flip=1.0).geometry(corner(), gen())
    torch.testing.assert_close(moved, corner().flip(-2), atol=1e-4, rtol=0)


def test_half_of_the_slices_are_flipped_and_none_upside_down_by_default():
    paper = Augmentation()
    assert (paper.flip, paper.vertical_flip) == (0.5, 0.0)
    moved = replace(NONE, flip=0.5).geometry(corner(1000), gen())
    flipped = moved[:, 0, 4, 28] > 0.5
    assert 0.45 < flipped.float().mean() < 0.55
    assert (moved[:, 0, 28, :].abs() < 1e-4).all()


def test_rotations_reach_their_limit_and_no_further():
    matrices = replace(NONE, rotation_deg=20.0).matrices(_Draw(2000, CPU, gen()))
    degrees = torch.rad2deg(torch.atan2(matrices[:, 1, 0], matrices[:, 0, 0]))
    assert 19 < degrees.max() <= 20.001
    assert -19 > degrees.min() >= -20.001


def test_crops_are_of_the_sizes_asked_for_and_lie_inside():
    matrices = replace(NONE, crop=(0.5, 0.8)).matrices(_Draw(2000, CPU, gen()))
    side = matrices[:, 0, 0]
    assert side.min() >= 0.5
    assert side.max() <= 0.8
    for axis in range(2):
        assert (matrices[:, axis, axis] + matrices[:, axis, 2].abs()).max() <= 1.0001


def test_around_a_slice_that_is_made_smaller_is_air():
    moved = replace(NONE, crop=(2.0, 2.0)).geometry(torch.ones(8, 1, 32, 32), gen())
    assert moved.mean() == pytest.approx(0.25, abs=0.04)
    assert moved.min() == 0


def test_a_distortion_is_smooth_and_of_the_size_asked_for():
    ramp = torch.linspace(0, 1, 64).expand(50, 1, 64, 64)
    moved = replace(NONE, distortion=0.02).geometry(ramp, gen())
    away = (moved - ramp)[:, 0, 16:48, 16:48]
    assert 0.01 < away.std() < 0.03
    assert away.diff(dim=1).abs().max() < 0.01


def test_changes_of_values_stay_in_their_limits():
    hu = torch.full((500, 8, 8), 50, dtype=torch.int16)
    changed = replace(NONE, level_hu=4.0).intensity(hu, gen())
    assert 3.9 < (changed - 50).abs().max() <= 4.001
    changed = replace(NONE, gain=0.1).intensity(hu, gen())
    assert 4.9 < (changed - 50).abs().max() <= 5.001
    noisy = replace(NONE, noise_hu=6.0).intensity(hu, gen())
    assert 5 < noisy.std(dim=(1, 2)).max() < 8
    assert hu.unique().tolist() == [50]


@pytest.mark.parametrize("knob", ["texture_hu", "bias_hu"])
def test_texture_and_bias_are_smooth(knob):
    changed = replace(NONE, **{knob: 5.0}).intensity(torch.zeros(50, 64, 64), gen())
    assert 1 < changed.std() < 5
    assert changed.diff(dim=1).std() < 0.7 * changed.std()


def test_kernels_blur_some_slices_and_sharpen_others():
    edge = torch.zeros(200, 16, 16)
    edge[:, :, 8:] = 100
    step = replace(NONE, kernel=1.0).intensity(edge, gen()).diff(dim=2)[:, 8, 7]
    assert step.min() < 50
    assert step.max() > 110


def test_a_bent_grey_scale_keeps_the_order_and_the_ends():
    ramp = torch.linspace(0, 1, 64).expand(50, 3, 2, 64)
    bent = replace(NONE, tone=0.4).bend(ramp, gen())
    assert (bent.diff(dim=3) > 0).all()
    assert bent[..., 0].abs().max() == 0
    assert (bent[..., -1] == 1).all()
    assert (bent - ramp).abs().max() > 0.05


def test_cutmix_mixes_labels_by_the_area_of_what_came_in():
    n = 300
    slices = torch.arange(n).view(n, 1, 1, 1).expand(n, 1, 20, 20).float()
    labels = torch.eye(n)
    mixed, shares = replace(NONE, cutmix=1.0).mix(slices, labels, gen())
    for index in range(n):
        area = torch.bincount(mixed[index].flatten().long(), minlength=n) / 400
        torch.testing.assert_close(shares[index], area)
    kept = shares.diagonal()
    assert 0.5 < kept.mean() < 0.8  # parts beyond the edge are lost, else it were a half
    assert kept.min() < 0.2


def test_cutmix_leaves_the_share_alone_that_it_is_told_to():
    slices = torch.arange(1000).view(-1, 1, 1, 1).expand(-1, 1, 20, 20).float()
    mixed, _ = replace(NONE, cutmix=0.3).mix(slices, torch.zeros(1000, 6), gen())
    touched = (mixed != slices).flatten(1).any(dim=1).float().mean()
    assert 0.24 < touched < 0.31


def test_mixed_labels_are_mixed_losses():
    loss = torch.nn.functional.binary_cross_entropy_with_logits
    logits, a, b = torch.randn(6, generator=gen()), torch.ones(6), torch.zeros(6)
    mixed = loss(logits, 0.3 * a + 0.7 * b)
    torch.testing.assert_close(mixed, 0.3 * loss(logits, a) + 0.7 * loss(logits, b))


@pytest.mark.parametrize("name", list(AUGMENTATIONS))
def test_the_same_generator_makes_the_same_batch_and_labels_stay_shares(name):
    hu = torch.from_numpy(np.random.default_rng(0).integers(-1000, 2000, (14, 48, 48), np.int16))
    labels = torch.randint(0, 2, (14, 6), generator=gen()).float()
    preprocess = Preprocess(PAPER_WINDOWS, 32, (0.4, 0.4, 0.4), (0.2, 0.2, 0.2))
    make = AUGMENTATIONS[name]
    first, again, other = (make([hu], labels, preprocess, gen(s)) for s in (1, 1, 2))
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    assert first[0].shape == (14, 3, 32, 32)
    assert torch.isfinite(first[0]).all()
    assert 0 <= first[1].min() <= first[1].max() <= 1
    assert name == "none" or not torch.equal(first[0], other[0])
