"""The bundle: calibrated on some patients, measured on others, whole or not there, told truly."""

import json
from dataclasses import replace

import numpy as np
import pytest
from safetensors.torch import load_file

from ml.bundle import MANIFEST, STAGE1, load_bundle
from ml.detector import Detector
from ml.labels import LABELS
from tests.training import invented, tiny
from training import export, train_fusion
from training.card import CARD, intended_use
from training.export import in_order
from training.measures.calibrate import halves
from training.stage1.checkpoint import load_stage1, save_stage1, stage1_path
from training.stage2.descriptors import Descriptors, How
from training.stage2.fuse import digest, fuse, load_fusion
from training.store import UNKNOWN

STAGE1_DIGEST = digest(tiny.state(0))
STEPS = ("phantom t", "prepare t", "train_slices t models")
TRAINED = tuple(f"python -m training.{step}" for step in STEPS)
LEARNED = (*TRAINED, "python -m training.describe t models seen.npz")
MEASURED = ("python -m training.phantom u", *TRAINED, "python -m training.describe u models u.npz")


def held_out(seed=0, prefix="p", **changes):
    made = invented.descriptors(30, seed=seed, prefix=prefix)
    return replace(made, **{"stage1": STAGE1_DIGEST, "commands": MEASURED, **changes})


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    root = tmp_path_factory.mktemp("export")
    recipe = tiny.recipe(commands=TRAINED)
    save_stage1(stage1_path(root / "models", -1), tiny.state(0), recipe)
    learned = held_out(9, "t", how=How.OUT_OF_FOLD, commands=LEARNED, source="seen heads")
    learned.save(root / "seen.npz")
    typed = [str(root / "seen.npz"), str(root / "stage2.safetensors"), "--epochs", "6"]
    assert train_fusion.main(typed) == 0
    held_out().save(root / "held.npz")
    held_out(5, "c", source="heads to calibrate on").save(root / "calib.npz")
    return root


def typed(work, out, *options, models="models", fusion="stage2.safetensors", held="held.npz"):
    paths = [str(work / models), str(work / fusion), str(work / held), str(out)]
    return export.main([*paths, "--name", "tiny", "--resamples", "50", *options])


@pytest.fixture(scope="module")
def bundle(work):
    assert typed(work, work / "bundle") == 0
    return work / "bundle"


def test_the_bundle_is_what_was_trained(work, bundle):
    loaded = load_bundle(bundle)
    fusion = load_fusion(work / "stage2.safetensors")
    for name, value in loaded.fusion.state_dict().items():
        assert np.array_equal(value, fusion.network.state_dict()[name])
    for name, value in load_file(bundle / STAGE1).items():
        assert np.allclose(value, tiny.state(0)[name], rtol=1e-3, atol=1e-6)


def test_temperature_and_thresholds_come_from_one_half_of_the_patients(work, bundle):
    made = Descriptors.load(work / "held.npz")
    half = halves(made, 0).calibration
    wanted = export.calibrate(half, fuse(load_fusion(work / "stage2.safetensors"), half))
    manifest = load_bundle(bundle).manifest
    assert manifest.temperature == wanted.temperature
    assert manifest.operating_points == wanted.points()


def test_figures_come_from_the_other_half(work, bundle):
    test = halves(Descriptors.load(work / "held.npz"), 0).test
    told = json.loads((bundle / MANIFEST).read_text())["description"]
    assert f"{len(test.lengths)} held-out series, {len(test.logits)} slices" in told
    assert (
        f"{len(test.lengths)} series of {len(set(test.patients))} patients"
        in (bundle / CARD).read_text()
    )


def test_patients_to_calibrate_on_may_be_given(work, tmp_path):
    assert typed(work, tmp_path / "b", "--calibrate-on", str(work / "calib.npz")) == 0
    manifest = load_bundle(tmp_path / "b").manifest
    assert all("heads to calibrate on" in p.chosen_on for p in manifest.operating_points)
    assert "60 held-out series" in manifest.description


def test_the_card_tells_every_command_once_and_in_order(bundle):
    lines = (bundle / CARD).read_text().splitlines()
    steps = [line.split()[2] for line in lines if line.startswith("    python -m")]
    assert steps == [
        "training.phantom",
        "training.prepare",
        "training.train_slices",
        "training.describe",
        "training.train_fusion",
        "training.phantom",
        "training.describe",
        "training.export",
    ]


@pytest.mark.parametrize(
    "told",
    [
        "# Model card: tiny 1.0",
        "**Not for clinical use.",
        "resnet18 at 32 x 32",
        "9 tiny heads",
        "out-of-fold descriptors of: seen heads",
        "learning rate: 0.0005",
        "## Held-out figures",
        "### Weighted log loss",
        "| balanced |",
        "## Calibration",
        "## Limits",
    ],
)
def test_the_card_tells_model_data_recipe_figures_and_limits(bundle, told):
    assert told in (bundle / CARD).read_text()


def test_the_card_holds_no_path_of_the_machine(work, bundle):
    assert str(work.parent) not in (bundle / CARD).read_text()
    assert str(work.parent) not in (bundle / MANIFEST).read_text()


def test_notes_are_put_into_the_card(work, tmp_path):
    (tmp_path / "notes.md").write_text("## Real series\n\nNone yet.\n")
    assert typed(work, tmp_path / "b", "--notes", str(tmp_path / "notes.md")) == 0
    card = (tmp_path / "b" / CARD).read_text()
    assert card.index("## Calibration") < card.index("## Real series") < card.index("## Limits")


@pytest.mark.parametrize(
    ("source", "told", "expected"),
    [
        ("9 synthetic phantoms", "", "Trained on synthetic phantoms only"),
        ("RSNA 2019, 21744 series", "", "For research"),
        ("RSNA", "For teaching.", "For teaching."),
        ("RSNA", "Not for clinical use. For teaching.", "For teaching."),
    ],
)
def test_not_for_clinical_use_always_comes_first_and_once(source, told, expected):
    use = intended_use(source, told)
    assert use.startswith(f"Not for clinical use. {expected}")
    assert use.count("Not for clinical use") == 1


def test_a_sequence_model_with_mirror_images_goes_all_the_way(work, tmp_path):
    def featured(made):
        features = np.zeros((len(made.logits), tiny.FEATURES), dtype=np.float16)
        features[:, :6] = made.logits
        return replace(made, features=features, flip=True)

    seen = featured(Descriptors.load(work / "seen.npz"))
    seen.save(tmp_path / "seen.npz")
    fusion = tmp_path / "stage2.safetensors"
    options = ["--kind", "sequence", "--epochs", "1", "--hidden", "8"]
    assert train_fusion.main([str(tmp_path / "seen.npz"), str(fusion), *options]) == 0
    featured(Descriptors.load(work / "held.npz")).save(tmp_path / "held.npz")
    assert typed(work, tmp_path / "b", fusion=fusion, held=tmp_path / "held.npz") == 0
    loaded = load_bundle(tmp_path / "b")
    assert loaded.manifest.flip
    assert loaded.manifest.fusion.kind == "sequence"
    detector = Detector(loaded, "cpu")
    described = detector.describe(np.zeros((3, 40, 40), dtype=np.int16))
    assert detector.fuse(described).shape == (3, len(LABELS))
    assert "mirror image" in (tmp_path / "b" / CARD).read_text()


def test_commands_of_several_files_become_one_list():
    assert in_order(("a", "b"), ("b", "", "c"), ("a", "d")) == ("a", "b", "c", "d")


# -- whole or not there, and bad input -----------------------------------------


def refused(capsys, work, out, *options, **names):
    assert typed(work, out, *options, **names) == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("error: ")
    assert not list(out.parent.glob("*.part"))
    return line


def test_a_new_bundle_replaces_an_old_one(work, tmp_path):
    for version in ("1.0", "2.0"):
        assert typed(work, tmp_path / "b", "--model-version", version) == 0
    assert load_bundle(tmp_path / "b").manifest.version == "2.0"
    assert [p.name for p in tmp_path.iterdir()] == ["b"]


def test_an_old_bundle_stays_when_the_new_one_cannot_be_finished(
    work, tmp_path, capsys, monkeypatch
):
    assert typed(work, tmp_path / "b") == 0
    before = {p.name: p.read_bytes() for p in (tmp_path / "b").iterdir()}

    def full(*_args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(export, "model_card", full)
    assert "No space left" in refused(capsys, work, tmp_path / "b", "--model-version", "2.0")
    assert before == {p.name: p.read_bytes() for p in (tmp_path / "b").iterdir()}


def test_a_folder_that_is_no_bundle_is_not_replaced(work, tmp_path, capsys):
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "thesis.tex").write_text("irreplaceable")
    assert "is no bundle" in refused(capsys, work, tmp_path / "b")
    assert (tmp_path / "b" / "thesis.tex").read_text() == "irreplaceable"


def test_a_name_that_no_bundle_can_have_is_told(work, tmp_path, capsys):
    assert "name: String should match" in refused(
        capsys, work, tmp_path / "b", "--name", "../phantom"
    )
    assert not (tmp_path / "b").exists()


def test_stage_2_of_another_stage_1_is_refused(work, tmp_path, capsys):
    save_stage1(stage1_path(tmp_path / "models", -1), tiny.state(1), tiny.recipe())
    line = refused(capsys, work, tmp_path / "b", models=tmp_path / "models")
    assert "stage2.safetensors is of another stage 1" in line


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"stage1": "cd"}, "invented heads is of another stage 1"),
        ({"how": How.IN_SAMPLE}, "are in-sample: stage 1 learned from these patients"),
        ({"how": How.OUT_OF_FOLD}, "are out-of-fold: stage 1 learned from these patients"),
        ({"flip": True}, "describe both alike"),
        ({"labels": np.full((720, 6), UNKNOWN, np.uint8)}, "slices have no labels"),
    ],
)
def test_descriptors_that_cannot_measure_are_refused(work, tmp_path, capsys, changes, complaint):
    held_out(**changes).save(tmp_path / "held.npz")
    assert complaint in refused(capsys, work, tmp_path / "b", held=tmp_path / "held.npz")


def test_a_finding_that_no_threshold_can_be_chosen_for_is_told(work, tmp_path, capsys):
    invented.without(held_out(), 0).save(tmp_path / "held.npz")
    line = refused(capsys, work, tmp_path / "b", held=tmp_path / "held.npz")
    assert "epidural is on none or all of the held-out slices" in line


def test_the_same_patients_on_both_sides_are_refused(work, tmp_path, capsys):
    options = ("--calibrate-on", str(work / "held.npz"))
    assert "patients stand both in" in refused(capsys, work, tmp_path / "b", *options)


@pytest.mark.parametrize("place", ["models/stage1.safetensors", "stage2.safetensors", "held.npz"])
def test_a_file_that_is_cut_short_is_named(work, tmp_path, capsys, place):
    whole = (work / place).read_bytes()
    cut = tmp_path / place
    cut.parent.mkdir(exist_ok=True)
    cut.write_bytes(whole[: len(whole) // 2])
    names = {"models/stage1.safetensors": {"models": tmp_path / "models"}}.get(
        place, {"held" if place.endswith("npz") else "fusion": cut}
    )
    assert cut.name in refused(capsys, work, tmp_path / "b", **names)


def test_a_checkpoint_of_stage_2_is_not_taken_for_one_of_stage_1(work, tmp_path, capsys):
    path = stage1_path(tmp_path / "models", -1)
    path.parent.mkdir()
    path.write_bytes((work / "stage2.safetensors").read_bytes())
    line = refused(capsys, work, tmp_path / "b", models=tmp_path / "models")
    assert "stage1.safetensors" in line
    with pytest.raises(export.TrainingError):
        load_stage1(path)
