"""Descriptors: by which model each patient is described, and what is not described at all."""

import dataclasses

import numpy as np
import pytest
import torch

from ml.bundle import load_bundle, save_bundle
from ml.describe import build_backbone, last_linear
from ml.detector import Detector
from ml.fusion import AxialFusion
from tests.training import tiny
from training import describe
from training.stage1.checkpoint import load_stage1, save_stage1, stage1_path
from training.stage2.descriptors import Descriptors, How
from training.store.folds import folds


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    root = tmp_path_factory.mktemp("describe")
    tiny.store(root / "seen")
    tiny.store(root / "unseen", 6, tiny.OTHERS, "u", seed=1)
    tiny.models(root / "models")
    return root


@pytest.fixture
def said(capsys):
    return lambda: capsys.readouterr().err.strip().splitlines()


def made(work, tmp_path, store="seen", *options, models="models"):
    """Descriptors by the command, None where it refuses; made once where nothing is altered."""
    kept = work if models == "models" else tmp_path
    out = kept / ("_".join((store, *options)) + ".npz")
    typed = [str(work / store), str(work / models), str(out), "--device", "cpu", *options]
    if out.exists() or describe.main(typed) == 0:
        return Descriptors.load(out)
    return None


def by_model(work, fold, hu):
    """What one checkpoint says of a series, computed without `training.describe`."""
    state, recipe = load_stage1(stage1_path(work / "models", fold))
    backbone = build_backbone(recipe.backbone).eval()
    backbone.load_state_dict(state)
    with torch.inference_mode():
        return backbone(recipe.preprocess()(torch.tensor(hu))).numpy()


def test_a_store_that_was_trained_on_is_described_by_models_that_had_not_seen_the_patient(
    work, tmp_path
):
    found = made(work, tmp_path)
    assert found.how is How.OUT_OF_FOLD
    store = tiny.load_store(work / "seen")
    dealt = folds(store.series, 3, seed=0)
    assert set(dealt.values()) == {0, 1, 2}
    for one, logits in zip(store.series, found.split(found.logits), strict=True):
        expected = by_model(work, dealt[one.name], one.hu())
        assert np.allclose(logits, expected, atol=1e-4)
        assert not np.allclose(logits, by_model(work, -1, one.hu()), atol=1e-2)


def test_a_store_that_was_not_trained_on_is_described_by_the_model_on_everything(work, tmp_path):
    found = made(work, tmp_path, "unseen")
    assert found.how is How.HELD_OUT
    store = tiny.load_store(work / "unseen")
    for one, logits in zip(store.series, found.split(found.logits), strict=True):
        assert np.allclose(logits, by_model(work, -1, one.hu()), atol=1e-4)


def test_in_sample_is_there_to_compare_with_and_says_why_not_to_learn_from_it(work, tmp_path, said):
    found = made(work, tmp_path, "seen", "--how", "in-sample")
    assert found.how is How.IN_SAMPLE
    assert "over-confident" in said()[-1]
    one = tiny.load_store(work / "seen").series[0]
    assert np.allclose(found.split(found.logits)[0], by_model(work, -1, one.hu()), atol=1e-4)


def test_descriptors_tell_labels_patients_and_every_command_before_them(work, tmp_path):
    found = made(work, tmp_path, "unseen")
    store = tiny.load_store(work / "unseen")
    assert np.array_equal(found.labels, np.concatenate([one.labels for one in store.series]))
    assert list(found.patients) == [one.patient for one in store.series]
    steps = [command.split()[2] for command in found.commands]
    assert steps == [
        "training.prepare",
        "training.prepare",
        "training.train_slices",
        "training.describe",
    ]


def test_features_are_what_the_last_layer_makes_logits_of(work, tmp_path):
    found = made(work, tmp_path, "unseen", "--features")
    assert found.features.shape == (len(found.logits), tiny.FEATURES)
    assert found.features.dtype == np.float16
    backbone = build_backbone(tiny.BACKBONE)
    backbone.load_state_dict(tiny.state(0))
    with torch.inference_mode():
        again = last_linear(backbone)(torch.from_numpy(found.features).float()).numpy()
    assert np.abs(again - found.logits).max() < 0.02 * np.abs(found.logits).max()


def test_the_mirror_image_counts_as_much_as_the_slice(work, tmp_path):
    found = made(work, tmp_path, "unseen", "--flip")
    assert found.flip
    one = tiny.load_store(work / "unseen").series[1]
    ways = [by_model(work, -1, hu) for hu in (one.hu(), one.hu()[:, :, ::-1].copy())]
    assert np.allclose(found.split(found.logits)[1], np.mean(ways, axis=0), atol=1e-4)
    assert not np.allclose(ways[0], ways[1], atol=1e-2)


def test_the_node_describes_a_slice_as_training_does(work, tmp_path):
    found = made(work, tmp_path, "unseen")
    save_bundle(
        tmp_path / "bundle",
        tiny.state(0),
        AxialFusion().state_dict(),
        name="tiny",
        version="1",
        description="",
        trained_on="",
        intended_use="Tests only.",
        backbone=tiny.BACKBONE,
        input_size=tiny.SIZE,
    )
    detector = Detector(load_bundle(tmp_path / "bundle"), "cpu")
    one = tiny.load_store(work / "unseen").series[0]
    told = detector.describe(one.hu()).logits.numpy()
    # A bundle keeps half precision.
    assert np.abs(told - found.split(found.logits)[0]).max() < 0.02 * np.abs(told).max()


# -- bad input ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("store", "how", "complaint"),
    [
        ("seen", "held-out", "it is not held out"),
        ("unseen", "out-of-fold", "can only be described held-out"),
        ("unseen", "in-sample", "can only be described held-out"),
    ],
)
def test_a_store_is_not_described_as_what_it_is_not(work, tmp_path, said, store, how, complaint):
    assert made(work, tmp_path, store, "--how", how) is None
    (line,) = said()
    assert line.startswith("error: ")
    assert complaint in line


def test_without_fold_models_there_is_no_out_of_fold(work, tmp_path, said):
    tiny.models(tmp_path / "single", folds=1)
    assert made(work, tmp_path, models=tmp_path / "single") is None
    assert "no fold models were trained" in said()[-1]


def test_a_missing_fold_model_is_named(work, tmp_path, said):
    folder = tiny.models(tmp_path / "models")
    stage1_path(folder, 1).unlink()
    assert made(work, tmp_path, models=folder) is None
    assert "stage1-fold1.safetensors is not there" in said()[-1]
    assert not list(tmp_path.glob("*.npz*"))


def test_a_fold_model_of_another_recipe_is_refused(work, tmp_path, said):
    folder = tiny.models(tmp_path / "models")
    other = tiny.recipe(1, input_size=64)
    save_stage1(stage1_path(folder, 1), tiny.state(1), other)
    assert made(work, tmp_path, models=folder) is None
    assert "is of another recipe" in said()[-1]


def test_a_checkpoint_of_another_architecture_is_refused(work, tmp_path, said):
    folder = tmp_path / "models"
    save_stage1(stage1_path(folder, -1), tiny.state(0, "shufflenet_v2_x0_5"), tiny.recipe())
    assert made(work, tmp_path, "unseen", models=folder) is None
    assert "holds no weights of resnet18" in said()[-1]


def test_a_checkpoint_that_is_cut_short_is_refused(work, tmp_path, said):
    folder = tiny.models(tmp_path / "models", folds=1)
    path = stage1_path(folder, -1)
    path.write_bytes(path.read_bytes()[:-100])
    assert made(work, tmp_path, "unseen", models=folder) is None
    (line,) = said()
    assert "is not a checkpoint" in line


def test_what_is_not_finite_is_not_kept(work, tmp_path, said):
    broken = {k: v.clone() for k, v in tiny.state(0).items()}
    broken["fc.bias"][0] = torch.nan
    save_stage1(stage1_path(tmp_path / "models", -1), broken, tiny.recipe())
    assert made(work, tmp_path, "unseen", models=tmp_path / "models") is None
    assert "stage 1 gave logits that are not finite" in said()[-1]
    assert not list(tmp_path.glob("*.npz*"))


@pytest.mark.parametrize("kept", [0, 10, 1000, -30])
def test_descriptors_that_are_cut_short_are_refused_in_one_line(work, tmp_path, kept):
    made(work, tmp_path, "unseen")
    path = tmp_path / "cut.npz"
    path.write_bytes((work / "unseen.npz").read_bytes()[:kept])
    with pytest.raises(describe.TrainingError, match=r"not made by training\.describe") as caught:
        Descriptors.load(path)
    assert "\n" not in str(caught.value)


def test_descriptors_that_do_not_hold_together_are_refused(work, tmp_path):
    found = made(work, tmp_path, "unseen")
    dataclasses.replace(found, labels=found.labels[:-1]).save(tmp_path / "short.npz")
    with pytest.raises(describe.TrainingError, match="labels has shape"):
        Descriptors.load(tmp_path / "short.npz")
    dataclasses.replace(found, lengths=found.lengths + 1).save(tmp_path / "long.npz")
    with pytest.raises(describe.TrainingError, match="do not add up"):
        Descriptors.load(tmp_path / "long.npz")


def test_a_store_that_was_prepared_again_with_other_series_is_refused(tmp_path, said):
    before = tiny.store(tmp_path / "store", patients=6)
    tiny.models(tmp_path / "models", series=before.digest)
    tiny.store(tmp_path / "store", patients=9)
    typed = [str(tmp_path / "store"), str(tmp_path / "models"), str(tmp_path / "out.npz")]
    assert describe.main([*typed, "--device", "cpu"]) == 1
    assert "no longer holds the series that stage 1 was trained on" in said()[-1]
