"""A volume to probabilities."""

from pathlib import Path

import numpy as np
import pytest
import torch

from ml.bundle import Bundle, load_bundle
from ml.detector import Detector, choose_device
from ml.errors import IchnodeError
from ml.series import Slice, Volume
from tests import models

SLICES = 9


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    models.write_bundle(tmp_path / "tiny")
    return load_bundle(tmp_path / "tiny")


@pytest.fixture(scope="module")
def volume() -> Volume:
    rng = np.random.default_rng(3)
    brighter = np.linspace(0, 20, SLICES)[:, None, None]
    hu = (rng.integers(0, 100, (SLICES, 40, 48)) * brighter).astype(np.int16)
    return Volume(hu, tuple(Slice(f"1.{n}", None, n, 5.0 * n) for n in range(SLICES)))


def test_every_slice_gets_six_probabilities(bundle: Bundle, volume: Volume) -> None:
    found = Detector(bundle, "cpu").detect(volume)
    assert found.shape == (SLICES, 6)
    assert found.dtype == np.float32
    assert found.min() >= 0
    assert found.max() <= 1
    assert found.std(axis=0).min() > 1e-6, "slices that differ are judged alike"


@pytest.mark.parametrize("batch_size", [1, 4, 16])
def test_each_slice_goes_through_stage_1_exactly_once(
    bundle: Bundle, volume: Volume, batch_size: int
) -> None:
    batches: list[int] = []
    bundle.backbone.register_forward_hook(lambda _m, inputs, _out: batches.append(len(inputs[0])))
    Detector(bundle, "cpu", batch_size).detect(volume)
    assert sum(batches) == SLICES
    assert max(batches) <= batch_size


def test_stage_1_sees_the_slices_in_their_order(bundle: Bundle, volume: Volume) -> None:
    seen: list[torch.Tensor] = []
    bundle.backbone.register_forward_hook(lambda _m, inputs, _out: seen.append(inputs[0]))
    Detector(bundle, "cpu", 2).describe(volume.hu)
    expected = bundle.preprocess(torch.from_numpy(volume.hu))
    assert torch.allclose(torch.cat(seen), expected, atol=1e-6)


def test_the_result_does_not_depend_on_the_batch_size(bundle: Bundle, volume: Volume) -> None:
    one, all_together = (Detector(bundle, "cpu", size).detect(volume) for size in (1, 16))
    assert np.abs(one - all_together).max() < 1e-5


def test_the_same_volume_gives_the_same_bits_again(bundle: Bundle, volume: Volume) -> None:
    detector = Detector(bundle, "cpu")
    assert (detector.detect(volume) == detector.detect(volume)).all()


def test_turning_the_stack_over_does_not_just_turn_the_result_over(
    bundle: Bundle, volume: Volume
) -> None:
    """Stage 2 knows foot from head: a wrong order would be a wrong result."""
    detector = Detector(bundle, "cpu")
    turned = Volume(volume.hu[::-1].copy(), volume.slices[::-1])
    assert np.abs(detector.detect(turned)[::-1] - detector.detect(volume)).max() > 1e-6


def test_a_volume_of_one_slice_is_judged(bundle: Bundle, volume: Volume) -> None:
    one = Volume(volume.hu[:1], volume.slices[:1])
    assert Detector(bundle, "cpu").detect(one).shape == (1, 6)


def test_progress_tells_how_many_slices_are_done(bundle: Bundle, volume: Volume) -> None:
    told: list[int] = []
    Detector(bundle, "cpu", 4).detect(volume, told.append)
    assert told == [4, 8, 9]


def test_a_model_that_asks_for_it_sees_the_mirror_image_of_each_slice_too(
    tmp_path: Path, volume: Volume
) -> None:
    models.write_bundle(tmp_path / "plain")
    models.write_bundle(tmp_path / "flip", flip=True)
    plain = Detector(load_bundle(tmp_path / "plain"), "cpu")
    both = Detector(load_bundle(tmp_path / "flip"), "cpu").describe(volume.hu).logits
    mirrored = volume.hu[:, :, ::-1].copy()
    expected = (plain.describe(volume.hu).logits + plain.describe(mirrored).logits) / 2
    assert torch.allclose(both, expected, atol=1e-5)
    assert not torch.allclose(both, plain.describe(volume.hu).logits, atol=1e-3)


def test_logits_are_divided_by_the_temperature(tmp_path: Path, volume: Volume) -> None:
    logits = []
    for temperature in (1.0, 2.5):
        models.write_bundle(tmp_path / str(temperature), temperature=temperature)
        found = Detector(load_bundle(tmp_path / str(temperature)), "cpu").detect(volume)
        logits.append(np.log(found / (1 - found)))
    assert np.allclose(logits[0] / 2.5, logits[1], atol=1e-4)


def test_a_sequence_model_is_given_the_features_of_the_whole_series(
    tmp_path: Path, volume: Volume
) -> None:
    fusion = models.sequence_fusion(models.SEQUENCE_FEATURES)
    models.write_sequence_bundle(tmp_path / "sequence", fusion)
    detector = Detector(load_bundle(tmp_path / "sequence"), "cpu", 4)
    described = detector.describe(volume.hu)
    assert described.features.shape == (SLICES, models.SEQUENCE_FEATURES)
    found = detector.detect(volume)
    with torch.inference_mode():
        assert np.allclose(found, fusion.judge(described).sigmoid().numpy(), atol=1e-6)
    assert np.abs(found - described.logits.sigmoid().numpy()).max() > 1e-3


def test_judging_leaves_no_gradients_behind(bundle: Bundle, volume: Volume) -> None:
    assert Detector(bundle, "cpu").describe(volume.hu).logits.requires_grad is False


@pytest.mark.parametrize("stage", ["backbone", "fusion"])
def test_a_probability_that_is_no_number_is_an_error(
    bundle: Bundle, volume: Volume, stage: str
) -> None:
    with torch.no_grad():
        *_, last = getattr(bundle, stage).parameters()
        last.fill_(torch.nan)
    with pytest.raises(IchnodeError, match="not a number"):
        Detector(bundle, "cpu").detect(volume)


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is there")
def test_without_a_gpu_auto_is_the_cpu_and_cuda_is_an_error() -> None:
    assert choose_device("auto") == torch.device("cpu")
    with pytest.raises(IchnodeError, match="no GPU is there"):
        choose_device("cuda")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU is there")
def test_with_a_gpu_auto_takes_it_and_says_the_same_as_the_cpu(
    bundle: Bundle, volume: Volume
) -> None:
    on_cpu = Detector(bundle, "cpu").detect(volume)
    detector = Detector(bundle)
    assert detector.device.type == "cuda"
    assert np.abs(detector.detect(volume) - on_cpu).max() < 1e-2
