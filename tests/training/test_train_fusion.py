"""Stage 2: it improves on stage 1 for patients it has not seen, and says when it cannot."""

import csv
import gzip
from dataclasses import replace

import numpy as np
import pytest
import torch

from ml.describe import Described
from ml.fusion import AxialFusion, SequenceFusion
from ml.labels import LABELS
from tests.conftest import DATA
from tests.training import invented
from training import train_fusion
from training.errors import TrainingError
from training.measures.calibrate import fit_temperature, tempered
from training.measures.metrics import weighted_log_loss
from training.stage1.checkpoint import load, save
from training.stage2.descriptors import Descriptors, How
from training.stage2.fuse import fuse, load_fusion
from training.store import UNKNOWN
from training.train_fusion import Kind, Knobs, leave_out, train

QUICK = Knobs(epochs=4)
REAL = DATA / "rsna_2285_ordered_series_labels.csv.gz"


def learned_from(seed=1, patients=40, **changes):
    made = replace(invented.descriptors(patients, seed), how=How.OUT_OF_FOLD)
    return replace(made, **changes)


def with_features(made, seed=0):
    """Features that tell on the first slice of a series what is on all of it, and little else."""
    rng = np.random.default_rng(seed)
    features = rng.normal(0, 1, (len(made.logits), 12)).astype(np.float16)
    starts = np.cumsum(made.lengths) - made.lengths
    features[starts, :6] = 4 * made.study_labels
    return replace(made, features=features)


def loss(made, logits):
    return weighted_log_loss(made.labels, tempered(logits))


def command(tmp_path, made, *options):
    """Run the step on descriptors; the exit code and the file."""
    made.save(tmp_path / "made.npz")
    out = tmp_path / "stage2.safetensors"
    return train_fusion.main([str(tmp_path / "made.npz"), str(out), *options]), out


@pytest.mark.parametrize("kind", list(Kind))
def test_both_stages_beat_stage_1_at_its_best_temperature_on_other_patients(kind):
    made, others = (with_features(learned_from(seed), seed) for seed in (1, 2))
    fusion = train(made, Knobs(kind=kind, epochs=15, batch_size=64, learning_rate=3e-3, hidden=16))
    best = tempered(others.logits, fit_temperature(others.labels, others.logits))
    alone = weighted_log_loss(others.labels, best)
    assert loss(others, fuse(fusion, others)) < 0.9 * alone


@pytest.mark.data
@pytest.mark.skipif(not REAL.is_file(), reason="the real labels are not at hand")
def test_findings_as_they_really_run_along_the_axis_are_learned_from():
    groups = {}
    with gzip.open(REAL, "rt") as file:
        for row in csv.DictReader(file):
            groups.setdefault(row["SeriesInstanceUID"], []).append([int(row[k]) for k in LABELS])
            if len(groups) > 160:
                break
    truth = [np.array(rows, dtype=np.uint8) for rows in list(groups.values())[:160]]
    every, count = np.concatenate(truth), len(truth)
    rng = np.random.default_rng(0)
    some = np.array([str(i) for i in range(count)])
    made = replace(
        invented.descriptors(),
        logits=(5.0 * every - 4 + rng.normal(0, 2, every.shape)).astype(np.float32),
        features=np.zeros((len(every), 0), dtype=np.float16),
        labels=every,
        study_labels=np.stack([one.max(axis=0) for one in truth]),
        lengths=np.array([len(one) for one in truth]),
        sop_instance_uids=np.arange(len(every)).astype(str),
        positions_mm=np.arange(len(every)) * 5.0,
        **dict.fromkeys(("series", "patients", "studies", "scanners"), some),
        thickness_mm=np.full(count, 5.0),
    )
    mine, others = leave_out(made, 0.4, seed=0)
    fusion = train(replace(mine, how=How.OUT_OF_FOLD), Knobs(epochs=10, batch_size=128))
    best = tempered(others.logits, fit_temperature(others.labels, others.logits))
    assert loss(others, fuse(fusion, others)) < 0.9 * weighted_log_loss(others.labels, best)


@pytest.mark.parametrize("kind", [Kind.AXIAL, Kind.SEQUENCE])
def test_the_same_seed_gives_the_same_weights_and_another_one_others(tmp_path, kind):
    made = with_features(learned_from(patients=8))
    states = []
    for seed in ("5", "5", "6"):
        torch.manual_seed(int(seed) * len(states))  # what was drawn before has no say
        code, out = command(tmp_path, made, "--kind", kind, "--epochs", "2", "--seed", seed)
        assert code == 0
        states.append(load(out)[0])
    first, again, other = states
    assert all(torch.equal(first[k], again[k]) for k in first)
    assert any(not torch.equal(first[k], other[k]) for k in first)


def test_a_patient_is_either_learned_from_or_chosen_by():
    made = learned_from(patients=10)
    mine, others = leave_out(made, 0.3, seed=0)
    assert not set(mine.patients) & set(others.patients)
    assert set(mine.patients) | set(others.patients) == set(made.patients)
    assert len(set(others.patients)) == 3
    assert leave_out(made, 0.0, seed=0) == (made, None)


def test_one_patient_is_learned_from_without_anyone_to_choose_by():
    epochs = []
    train(learned_from(patients=1), QUICK, epochs.append)
    assert all(np.isnan(epoch.validation) for epoch in epochs)


def test_the_epoch_that_was_best_on_patients_left_out_is_kept():
    made, epochs = learned_from(patients=12), []
    knobs = Knobs(epochs=40, learning_rate=0.02, noise=0, validation=0.3)
    fusion = train(made, knobs, epochs.append)
    _, others = leave_out(made, 0.3, knobs.seed)
    best = min(epoch.validation for epoch in epochs)
    assert best < epochs[-1].validation, "nothing was learned by heart; the test shows nothing"
    assert loss(others, fuse(fusion, others)) == pytest.approx(best, rel=1e-4)


def test_what_is_written_is_read_with_what_it_was_made_by(tmp_path):
    made = with_features(learned_from(patients=6, stage1="ab", flip=True))
    options = ("--kind", "sequence", "--hidden", "8", "--epochs", "1")
    code, out = command(tmp_path, made, *options)
    assert code == 0
    fusion = load_fusion(out)
    assert isinstance(fusion.network, SequenceFusion)
    assert (fusion.stage1, fusion.flip, fusion.how) == ("ab", True, How.OUT_OF_FOLD)
    assert [c.split()[2] for c in fusion.commands] == ["training.describe", "training.train_fusion"]
    first = made.split(made.logits)[0], made.split(made.features)[0].astype(np.float32)
    with torch.inference_mode():
        alone = fusion.network.judge(Described(*map(torch.from_numpy, first)))
    assert np.allclose(fuse(fusion, made)[: len(alone)], alone.numpy(), atol=1e-6)


# -- bad input ---------------------------------------------------------------


def refused(capsys, tmp_path, made, *options):
    code, out = command(tmp_path, made, *options)
    assert code == 1
    assert not out.exists()
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert line.startswith("error: ")
    return line


def test_studies_without_labels_of_slices_cannot_be_learned_from(capsys, tmp_path):
    made = learned_from()
    labels = np.full_like(made.labels, UNKNOWN)
    assert "slices have no labels" in refused(capsys, tmp_path, replace(made, labels=labels))


def test_descriptors_that_are_not_finite_cannot_be_learned_from(capsys, tmp_path):
    made = learned_from()
    made.logits[3, 2] = np.nan
    assert "descriptors are not finite" in refused(capsys, tmp_path, made)


def test_a_loss_that_is_no_number_stops_the_training(capsys, tmp_path):
    line = refused(capsys, tmp_path, learned_from(patients=4), "--lr", "1e30", "--noise", "0")
    assert "the loss is" in line
    assert "try a lower learning rate" in line


def test_a_sequence_model_needs_features(capsys, tmp_path):
    line = refused(capsys, tmp_path, learned_from(), "--kind", "sequence")
    assert "describe again with --features" in line


def test_a_finding_that_is_on_no_slice_is_told(capsys, tmp_path):
    made = invented.without(learned_from(), 0)
    assert command(tmp_path, made, "--epochs", "1")[0] == 0
    assert f"warning: epidural is on none of {len(made.labels)} slices" in capsys.readouterr().err


def test_learning_from_in_sample_descriptors_is_told(capsys, tmp_path):
    assert command(tmp_path, learned_from(how=How.IN_SAMPLE), "--epochs", "1")[0] == 0
    assert "over-confident" in capsys.readouterr().err


@pytest.mark.parametrize("options", [["--lr", "-1"], ["--validation", "1"], ["--epochs", "0"]])
def test_settings_that_cannot_be_are_bad_arguments(tmp_path, options):
    with pytest.raises(SystemExit) as stop:
        command(tmp_path, learned_from(patients=2), *options)
    assert stop.value.code == 2


def test_descriptors_of_another_stage_1_are_not_judged():
    fusion = train(learned_from(patients=4, stage1="ab"), Knobs(epochs=1))
    with pytest.raises(TrainingError, match="of another stage 1"):
        fuse(fusion, learned_from(patients=2, stage1="cd"))


def test_descriptors_with_mirror_images_are_not_judged_by_what_learned_without():
    fusion = train(learned_from(patients=4), Knobs(epochs=1))
    with pytest.raises(TrainingError, match="describe both alike"):
        fuse(fusion, learned_from(patients=2, flip=True))


@pytest.mark.parametrize(
    ("features", "complaint"), [(0, "have none"), (5, "they are of another backbone")]
)
def test_a_sequence_model_judges_only_features_of_its_backbone(features, complaint):
    made = with_features(learned_from(patients=4))
    fusion = train(made, Knobs(kind=Kind.SEQUENCE, epochs=1, hidden=4))
    with pytest.raises(TrainingError, match=complaint):
        fuse(fusion, replace(made, features=made.features[:, :features]))


def test_only_what_train_fusion_wrote_is_taken_for_a_network(tmp_path):
    path = tmp_path / "x.safetensors"
    save(path, AxialFusion().state_dict(), {})
    with pytest.raises(TrainingError, match=r"not made by training\.train_fusion"):
        load_fusion(path)
    code, good = command(tmp_path, learned_from(patients=2), "--epochs", "1")
    assert code == 0
    state, told = load(good)
    save(path, {**state, "layers.0.bias": torch.zeros(3)}, told)
    with pytest.raises(TrainingError, match=r"not made by training\.train_fusion"):
        load_fusion(path)
    path.write_bytes(good.read_bytes()[:-10])
    with pytest.raises(TrainingError, match="is not a checkpoint"):
        load_fusion(path)
    assert isinstance(Descriptors.load(tmp_path / "made.npz"), Descriptors)
