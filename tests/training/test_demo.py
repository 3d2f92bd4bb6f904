"""`make train-demo` in a small size: every step as it is typed, from phantoms to a judged head."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ml.bundle import load_bundle
from ml.labels import LABELS
from training.stage1.checkpoint import stage1_path

pytestmark = pytest.mark.long

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """The folder of a demonstration, and what it printed."""
    folder = tmp_path_factory.mktemp("train-demo")
    size = {"PHANTOMS": 8, "HELD_OUT": 36, "PHANTOM_SIZE": 48, "INPUT_SIZE": 32}
    size |= {"EPOCHS": 1, "FOLDS": 2, "JOBS": 1, "OMP_NUM_THREADS": 1, "OPENBLAS_NUM_THREADS": 1}
    environment = os.environ | {name: str(value) for name, value in size.items()}
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    environment["PYTHONPATH"] = str(ROOT)
    done = subprocess.run(
        ["sh", str(ROOT / "training" / "demo.sh")],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder, done.stdout


def test_the_bundle_it_makes_names_every_command_that_led_to_it(work):
    folder, _ = work
    assert load_bundle(folder / "bundle").manifest.name == "train-demo"
    card = (folder / "bundle" / "MODEL_CARD.md").read_text()
    steps = ("phantom", "prepare", "train_slices", "describe", "train_fusion", "export")
    places = [card.index(f"    python -m training.{step} ") for step in steps]
    assert places == sorted(places)


def test_it_prints_both_stages_against_stage_1_alone_over_three_seeds(work):
    _, printed = work
    assert "(mean over 3 runs" in printed
    assert "below stage 1 alone" in printed or "above stage 1 alone" in printed


def test_the_node_judges_a_head_with_the_bundle(work):
    folder, printed = work
    assert "Model train-demo 1.0" in printed
    (series,) = (folder / "analyzed").iterdir()
    assert len(list(series.iterdir())) > 20


def test_out_of_fold_models_and_a_report_with_pictures_are_there(work):
    folder, _ = work
    assert all(stage1_path(folder / "models", fold).is_file() for fold in (-1, 0, 1))
    assert sorted(path.suffix for path in (folder / "report").iterdir()).count(".png") >= 3
    figures = json.loads((folder / "report" / "figures.json").read_text())
    assert all(str(label) in json.dumps(figures) for label in LABELS)
