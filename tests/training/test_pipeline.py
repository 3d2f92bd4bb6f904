"""Every step of the training on a few tiny phantoms, and what it says to bad input."""

import json

import numpy as np
import pytest
from safetensors.torch import load_file

from ml.bundle import load_bundle
from ml.detector import Detector
from ml.labels import LABELS
from ml.phantom import make_phantom, write_dicom
from ml.series import load_series
from training import describe, export, phantom, prepare, train_fusion, train_slices
from training.datasets.rsna import read_labels
from training.stage2.descriptors import Descriptors
from training.store import load_store
from training.store.folds import folds


def prepared(images, labels, out, *more):
    """Exit code of the command."""
    folders = ["--images", str(images), "--labels", str(labels), "--out", str(out)]
    return prepare.main(["rsna", *folders, *more])


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """Raw and baked phantoms to train on and to hold out."""
    root = tmp_path_factory.mktemp("training")
    for name, seed, count in (("train", "0", "9"), ("held", "552", "40")):
        raw = root / name
        assert phantom.main([str(raw), "--count", count, "--first-seed", seed, "--size", "64"]) == 0
        assert prepared(raw / "images", raw / "labels.csv", root / f"{name}-baked") == 0
    return root


@pytest.fixture(scope="module")
def bundle(work):
    """The folder of a bundle that every step had its part in."""
    models, steps = work / "models", work / "steps"
    settings = ["--preset", "small", "--input-size", "64", "--epochs", "1"]
    typed = [str(work / "train-baked"), str(models), *settings, "--folds", "3", "--threads", "1"]
    assert train_slices.main(typed) == 0
    seen, unseen = str(steps / "seen.npz"), str(steps / "unseen.npz")
    assert describe.main([str(work / "train-baked"), str(models), seen]) == 0
    assert describe.main([str(work / "held-baked"), str(models), unseen]) == 0
    fusion = str(steps / "stage2.safetensors")
    assert train_fusion.main([seen, fusion, "--epochs", "2"]) == 0
    out = work / "bundle"
    assert (
        export.main([str(models), fusion, unseen, str(out), "--name", "tiny", "--resamples", "50"])
        == 0
    )
    return out


def test_the_steps_make_a_bundle_that_the_detector_loads(bundle, tmp_path):
    detector = Detector(load_bundle(bundle), device="cpu")
    volume = load_series(write_dicom(make_phantom(900, size=64), tmp_path))
    probabilities = detector.detect(volume)
    assert probabilities.shape == (len(volume), len(LABELS))
    assert ((probabilities >= 0) & (probabilities <= 1)).all()


def test_the_bundle_says_what_it_is_and_how_it_was_made(bundle):
    manifest = json.loads((bundle / "bundle.json").read_text())
    assert manifest["intended_use"].startswith("Not for clinical use.")
    assert "9 synthetic phantoms" in manifest["trained_on"]
    assert "training.train_slices" in manifest["trained_on"]
    assert {p["name"] for p in manifest["operating_points"]} == {
        "high_sensitivity",
        "balanced",
        "high_specificity",
    }
    for point in manifest["operating_points"]:
        assert "40 synthetic phantoms" in point["chosen_on"]
    card = (bundle / "MODEL_CARD.md").read_text()
    assert "| both stages |" in card
    steps = [line.split()[2] for line in card.splitlines() if line.startswith("    python -m")]
    assert steps == [
        "training.phantom",
        "training.prepare",
        "training.train_slices",
        "training.describe",
        "training.train_fusion",
        "training.phantom",
        "training.prepare",
        "training.describe",
        "training.export",
    ]


def test_thresholds_grow_from_sensitive_to_specific(bundle):
    points = {p.name: p for p in load_bundle(bundle).manifest.operating_points}
    for label in LABELS:
        low, middle, high = (
            points[name].thresholds[label]
            for name in ("high_sensitivity", "balanced", "high_specificity")
        )
        assert 0 <= low <= middle <= high <= 1


def test_training_again_gives_the_same_weights(work, tmp_path):
    settings = ["--preset", "small", "--input-size", "32", "--epochs", "1"]
    for name in ("a", "b"):
        typed = [str(work / "train-baked"), str(tmp_path / name), *settings, "--folds", "1"]
        assert train_slices.main([*typed, "--threads", "1"]) == 0
    a, b = (load_file(tmp_path / name / "stage1.safetensors") for name in "ab")
    assert all(np.array_equal(a[k], b[k]) for k in a)


def test_baking_keeps_hu_labels_and_order(work):
    baked = load_store(work / "train-baked")
    assert len(baked.series) == 9
    truth = read_labels(work / "train" / "labels.csv")
    for one in baked.series:
        assert one.hu().dtype == np.int16
        assert len(one.hu()) == len(one)
        assert list(one.positions_mm) == sorted(one.positions_mm)
        for uid, labels in zip(one.sop_instance_uids, one.labels, strict=True):
            assert np.array_equal(truth[uid], labels)


def test_a_patient_is_in_one_fold_only(work):
    series = load_store(work / "train-baked").series
    dealt = folds(series, 3, seed=0)
    assert sorted(set(dealt.values())) == [0, 1, 2]
    assert dealt == folds(series, 3, seed=0)


def test_out_of_fold_descriptors_cover_every_slice_once(work, bundle):
    seen = Descriptors.load(work / "steps" / "seen.npz")
    baked = load_store(work / "train-baked")
    assert seen.logits.shape == (baked.slices, len(LABELS))
    assert [len(one) for one in seen.split(seen.labels)] == [len(one) for one in baked.series]


# -- bad input ---------------------------------------------------------------


def said(capsys):
    return capsys.readouterr().err.strip().splitlines()


@pytest.mark.parametrize("step", [train_slices, describe, train_fusion, export])
def test_a_missing_folder_is_a_bad_argument(step, tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        step.main([str(tmp_path / "nothing")] * 4)
    assert stop.value.code == 2
    assert "nothing is not there" in said(capsys)[-1]


def test_training_on_a_folder_that_was_not_prepared_says_how_to_prepare_it(tmp_path, capsys):
    assert train_slices.main([str(tmp_path), str(tmp_path / "out")]) == 1
    assert "python -m training.prepare" in said(capsys)[-1]


def test_an_unknown_backbone_is_told(work, tmp_path, capsys):
    typed = [str(work / "train-baked"), str(tmp_path), "--backbone", "resnet51", "--folds", "1"]
    assert train_slices.main(typed) == 1
    assert "no classifier 'resnet51'" in said(capsys)[-1]


def test_more_folds_than_patients_is_told(work, tmp_path, capsys):
    typed = [str(work / "train-baked"), str(tmp_path), "--folds", "50"]
    assert train_slices.main(typed) == 1
    assert "9 patients cannot be dealt to 50 folds" in said(capsys)[-1]


def test_something_that_is_not_descriptors_is_told(work, tmp_path, capsys):
    labels = str(work / "train" / "labels.csv")
    assert train_fusion.main([labels, str(tmp_path / "x.safetensors")]) == 1
    assert "was not made by training.describe" in said(capsys)[-1]
