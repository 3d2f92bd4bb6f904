"""Stage 1 as a command: what it writes, where it begins, how it shares work, what it refuses."""

import math
import os
import subprocess
import sys
from dataclasses import asdict, fields, replace

import numpy as np
import pytest
import torch
import torchvision
from safetensors.torch import load_file, save_file
from torch import nn

from ml.describe import build_backbone, last_linear
from ml.errors import BundleError
from tests.training import tiny
from training import train_slices
from training.errors import TrainingError
from training.loss import WEIGHTS, slice_losses
from training.measures.metrics import weighted_log_loss
from training.stage1.checkpoint import Recipe, load_stage1, save_stage1
from training.stage1.presets import PRESETS, Knobs
from training.stage1.weights import initial_backbone
from training.train_slices import create_average, create_optimizer, learning_rate

pytestmark = pytest.mark.long

KNOBS = ["--preset", "small", "--input-size", "32", "--epochs", "1", "--threads", "1"]
KNOBS += ["--block", "7", "--blocks-per-series", "1", "--batch-size", "8"]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("store")
    tiny.store(folder)
    return folder


def train(store, out, *more):
    return train_slices.main([str(store), str(out), *KNOBS, "--folds", "1", *more])


def said(capsys):
    (line,) = capsys.readouterr().err.strip().splitlines()
    return line


# -- what comes out ----------------------------------------------------------


def test_a_model_on_everything_and_one_for_each_fold_that_say_how_they_came_about(store, tmp_path):
    assert train(store, tmp_path, "--folds", "2") == 0
    names = {"stage1.safetensors", "stage1-fold0.safetensors", "stage1-fold1.safetensors"}
    assert {path.name for path in tmp_path.glob("*.safetensors")} == names
    for name, fold in zip(sorted(names), (0, 1, -1), strict=True):
        state, recipe = load_stage1(tmp_path / name)
        build_backbone(recipe.backbone).load_state_dict(state)
        assert (recipe.fold, recipe.folds, recipe.input_size) == (fold, 2, 32)
        assert recipe.source == tiny.TRAINED
        first, last = recipe.commands
        assert first == "python -m training.prepare t"
        assert last.startswith("python -m training.train_slices")
        assert str(tmp_path) not in last
    assert {path.name for path in (tmp_path / "fold1").iterdir()} == {"history.csv", "curves.png"}


def test_models_on_several_machines_or_in_several_processes_are_the_same(store, tmp_path):
    apart, together = tmp_path / "a", tmp_path / "b"
    for only in ("all", "0", "1"):
        assert train(store, apart, "--folds", "2", "--only", only) == 0
    assert train(store, together, "--folds", "2", "--jobs", "2") == 0
    for path in apart.glob("*.safetensors"):
        first, second = load_file(path), load_file(together / path.name)
        assert all(first[key].equal(second[key]) for key in first)


def test_processes_of_torchrun_train_one_model_that_the_first_writes(store, tmp_path):
    typed = ["-m", "training.train_slices", str(store), str(tmp_path / "out"), *KNOBS]
    typed += ["--folds", "1", "--batch-size", "4", "--epochs", "2"]
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    done = subprocess.run(
        [*launch, *typed],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert [line.partition(",")[0] for line in done.stdout.splitlines()] == [
        "all: epoch 1/2",
        "all: epoch 2/2",
    ]
    assert (tmp_path / "out" / "stage1.safetensors").is_file()


def test_it_learns_what_there_is_to_see(store, tmp_path):
    knobs = ["--preset", "small", "--backbone", "resnet18", "--input-size", "32", "--lr", "0.001"]
    knobs += ["--epochs", "6", "--blocks-per-series", "2", "--augmentation", "none"]
    knobs += ["--cutmix", "0", "--folds", "1", "--threads", "1"]
    assert train_slices.main([str(store), str(tmp_path), *knobs]) == 0
    last = (tmp_path / "all" / "history.csv").read_text().splitlines()[-1]
    assert float(last.split(",")[1]) < 0.1


# -- the recipe --------------------------------------------------------------


def test_the_paper_is_the_default():
    paper = PRESETS["paper"][0]
    assert paper == Knobs()
    assert (paper.backbone, paper.weights, paper.input_size) == ("resnet50", "imagenet", 512)
    assert (paper.block, paper.batch_size, paper.epochs, paper.learning_rate) == (7, 16, 20, 5e-4)


def test_every_preset_is_of_a_backbone_that_there_is_and_of_a_paper():
    for name, (knobs, told) in PRESETS.items():
        assert knobs.backbone in torchvision.models.list_models(module=torchvision.models)
        assert name == "paper" or any(year in told for year in ("2019", "2021", "2022"))


def test_every_knob_is_an_option_with_its_meaning(capsys):
    with pytest.raises(SystemExit):
        train_slices.main(["--help"])
    told = capsys.readouterr().out
    for one in fields(Knobs):
        assert (one.metadata.get("option") or "--" + one.name.replace("_", "-")) in told
    assert "Liu et al. 2022" in told.replace("\n", " ")


def test_the_loss_is_that_of_the_challenge():
    rng = np.random.default_rng(0)
    logits, truth = rng.normal(0, 2, (40, 6)), rng.integers(0, 2, (40, 6))
    weights = torch.from_numpy(WEIGHTS).float()
    loss = slice_losses(torch.from_numpy(logits), torch.from_numpy(truth).float(), weights).mean()
    expected = weighted_log_loss(truth, 1 / (1 + np.exp(-logits)))
    assert float(loss) == pytest.approx(expected, rel=1e-5)


def recipe(**changes):
    return tiny.recipe(**changes)


def test_the_rate_warms_up_and_falls_along_a_cosine():
    made = recipe(learning_rate=1.0, warmup=0.1)
    rates = [learning_rate(step, 100, made) for step in range(100)]
    assert rates[0] == pytest.approx(1 / 11)
    assert max(rates) == rates[10] == 1.0
    assert rates[:11] == sorted(rates[:11])
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[55] == pytest.approx(0.5)
    assert rates[-1] < 0.001


def test_norms_and_biases_do_not_decay():
    model = build_backbone("resnet18")
    cpu = torch.device("cpu")
    decayed, others = create_optimizer(model, recipe(weight_decay=0.1), cpu).param_groups
    assert (decayed["weight_decay"], others["weight_decay"]) == (0.1, 0.0)
    assert all(p.ndim > 1 for p in decayed["params"])
    assert sum(len(g["params"]) for g in (decayed, others)) == len(list(model.parameters()))


def test_the_mean_of_weights_follows_fast_at_first_and_slowly_later():
    model = nn.Sequential(nn.Linear(1, 1, bias=False), nn.BatchNorm1d(1))
    average = create_average(model, 0.9)
    kept = 0.0
    for step in range(200):
        with torch.no_grad():
            model[0].weight.fill_(step)
            model[1].running_mean.fill_(step)
        average.update_parameters(model)
        decay = min(0.9, (1 + step) / (10 + step))
        kept = step if step == 0 else decay * kept + (1 - decay) * step
    assert average.module[0].weight.item() == pytest.approx(kept, rel=1e-4)
    assert average.module[1].running_mean.item() == pytest.approx(kept, rel=1e-4)
    assert create_average(model, 0.0) is None


@pytest.mark.parametrize(
    ("knob", "value"), [("epochs", 0), ("learning_rate", -1.0), ("warmup", 1.5), ("ema", math.nan)]
)
def test_a_knob_that_makes_no_sense_is_refused(knob, value):
    with pytest.raises(TrainingError, match="must"):
        replace(Knobs(), **{knob: value})


def test_a_recipe_is_read_as_it_was_written(tmp_path):
    made = recipe(warmup=0.125, commands=("python -m a 'b c'", "d"))
    save_stage1(tmp_path / "a", {"x": torch.zeros(1)}, made)
    assert load_stage1(tmp_path / "a")[1] == made
    assert Recipe(**asdict(made)) == made


# -- where it begins ---------------------------------------------------------

BACKBONES = ["resnet18", "mobilenet_v3_small", "densenet121", "regnet_y_400mf", "convnext_tiny"]
BACKBONES += ["efficientnet_v2_s"]


@pytest.mark.parametrize("name", BACKBONES)
def test_weights_of_imagenet_fill_all_but_the_last_layer(name, tmp_path):
    torch.manual_seed(1)
    theirs = torchvision.models.get_model(name, weights=None)
    torch.save(theirs.state_dict(), tmp_path / "weights.pth")
    model = initial_backbone(name, str(tmp_path / "weights.pth"))
    mine, source = model.state_dict(), theirs.state_dict()
    differing = {key for key in mine if not torch.equal(mine[key], source[key])}
    last = last_linear(model)
    prefix = next(key for key, module in model.named_modules() if module is last)
    assert differing == {f"{prefix}.weight", f"{prefix}.bias"}


def test_the_old_names_in_densenets_file_are_understood(tmp_path):
    theirs = torchvision.models.densenet121().state_dict()
    old = {
        key.replace("norm1.", "norm.1.").replace("conv2.", "conv.2."): value
        for key, value in theirs.items()
    }
    assert old.keys() != theirs.keys()
    save_file(old, tmp_path / "old.safetensors")
    model = initial_backbone("densenet121", str(tmp_path / "old.safetensors"))
    key = "features.denseblock1.denselayer1.conv2.weight"
    assert torch.equal(model.state_dict()[key], theirs[key])


def test_weights_of_another_backbone_are_told(store, tmp_path, capsys):
    save_file(build_backbone("resnet34").state_dict(), tmp_path / "other.safetensors")
    weights = ["--weights", str(tmp_path / "other.safetensors")]
    assert train(store, tmp_path / "out", *weights) == 1
    assert "is of another architecture than mobilenet_v3_small" in said(capsys)


def test_a_damaged_or_missing_file_of_weights_is_told(store, tmp_path, capsys):
    for name in ("bad.pth", "bad.safetensors"):
        (tmp_path / name).write_bytes(b"not weights")
        assert train(store, tmp_path / "out", "--weights", str(tmp_path / name)) == 1
        assert "is damaged or holds more than tensors" in said(capsys)
    assert train(store, tmp_path / "out", "--weights", str(tmp_path / "no.pth")) == 1
    assert "no such file; give imagenet, none or a file" in said(capsys)


def test_a_pickle_that_would_run_code_is_refused(store, tmp_path, capsys):
    class Harm:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "harm"),)

    torch.save({"x": Harm()}, tmp_path / "harm.pth")
    assert train(store, tmp_path / "out", "--weights", str(tmp_path / "harm.pth")) == 1
    assert "more than tensors" in said(capsys)
    assert not (tmp_path / "harm").exists()


def test_offline_without_weights_says_which_file_goes_where(store, tmp_path, capsys, monkeypatch):
    def offline(*args, **kwargs):
        raise OSError("Name or service not known")

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    monkeypatch.setattr("torch.hub.download_url_to_file", offline)
    assert train(store, tmp_path / "out", "--weights", "imagenet") == 1
    line = said(capsys)
    assert "mobilenet_v3_small-047dcff4.pth" in line
    assert str(tmp_path / "hub" / "checkpoints") in line
    assert "--weights none" in line


def test_weights_in_the_cache_of_torchvision_are_taken(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    theirs = torchvision.models.mobilenet_v3_small().state_dict()
    torch.save(theirs, tmp_path / "checkpoints" / "mobilenet_v3_small-047dcff4.pth")
    model = initial_backbone("mobilenet_v3_small", "imagenet")
    key = "features.0.0.weight"
    assert torch.equal(model.state_dict()[key], theirs[key])


# -- what is refused ---------------------------------------------------------


@pytest.mark.parametrize(
    "more",
    [["--only", "7"], ["--only", "all", "--folds", "1", "--jobs", "0"], ["--validate", "2"]],
)
def test_bad_arguments_end_with_2(store, tmp_path, more):
    with pytest.raises(SystemExit) as stop:
        train(store, tmp_path, *more)
    assert stop.value.code == 2


def test_an_unknown_backbone_is_refused():
    with pytest.raises(BundleError, match="no classifier 'resnet51'"):
        initial_backbone("resnet51", "imagenet")


@pytest.mark.parametrize("workers", ["0", "1"])
def test_a_truncated_series_is_one_line_that_names_it(tmp_path, capsys, workers):
    tiny.store(tmp_path / "store")
    (path, *_) = (tmp_path / "store").rglob("t1.npy")
    path.write_bytes(path.read_bytes()[:-2000])
    assert train(tmp_path / "store", tmp_path / "out", "--folds", "1", "--workers", workers) == 1
    line = said(capsys)
    assert "t1.npy is damaged" in line
    assert "Traceback" not in line


def test_something_that_is_not_a_checkpoint_of_stage_1_is_told(tmp_path):
    save_file({"x": torch.zeros(1)}, tmp_path / "a.safetensors")
    with pytest.raises(TrainingError, match="does not say how it was trained"):
        load_stage1(tmp_path / "a.safetensors")
