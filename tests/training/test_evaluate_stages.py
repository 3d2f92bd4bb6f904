"""`evaluate stages` measures both stages on held-out patients, and says what it cannot."""

import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from ml.labels import LABELS
from tests.training.invented import descriptors, fusion, without
from training import evaluate
from training.loss import WEIGHTS
from training.measures.calibrate import POINTS, calibrate, halves, tempered
from training.measures.figures import Unit
from training.measures.measure import measure
from training.measures.metrics import weighted_log_loss
from training.measures.report import markdown
from training.measures.subgroups import MOST, by_scanner, by_thickness
from training.stage2.descriptors import How
from training.stage2.fuse import fuse, load_fusion


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """Held-out descriptors of two stage 1, and three networks of stage 2."""
    root = tmp_path_factory.mktemp("stages")
    made = descriptors()
    made.save(root / "held.npz")
    rng = np.random.default_rng(7)
    again = made.logits + rng.normal(0, 0.5, made.logits.shape).astype(np.float32)
    replace(made, logits=again).save(root / "again.npz")
    descriptors(patients=12, seed=5, prefix="c").save(root / "calibration.npz")
    for seed in range(3):
        fusion(root, seed)
    return root


def typed(work, *fusions, held="held.npz"):
    networks = [str(work / f"stage2-{seed}.safetensors") for seed in fusions]
    return ["--descriptors", str(work / held), "--fusion", *networks]


def told(capsys, *arguments):
    capsys.readouterr()
    assert evaluate.main(["stages", *map(str, arguments), "--resamples", "40", "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def said(capsys):
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("error: ")
    return line


def test_losses_are_those_of_the_patients_that_nothing_was_chosen_on(work, capsys):
    found = told(capsys, *typed(work, 0))
    split = halves(descriptors())
    network = load_fusion(work / "stage2-0.safetensors")
    truth = split.test.labels
    alone = weighted_log_loss(truth, tempered(split.test.logits))
    both = weighted_log_loss(truth, tempered(fuse(network, split.test)))
    losses = found["runs"][0]["losses"]
    assert losses["stage1"]["value"] == pytest.approx(alone)
    assert losses["both"]["value"] == pytest.approx(both)
    assert losses["reduction"]["value"] == pytest.approx(100 * (1 - both / alone))
    baseline = losses["smoothed"]["value"]
    assert losses["reduction_smoothed"]["value"] == pytest.approx(100 * (1 - both / baseline))
    assert found["figures"]["patients"] == len(set(split.test.patients))
    assert found["figures"]["calibration"]["patients"] == len(set(split.calibration.patients))


def test_several_seeds_are_measured_each_and_together(work, capsys):
    found = told(capsys, *typed(work, 0, 1, 2))
    reductions = [run["losses"]["reduction"]["value"] for run in found["runs"]]
    assert len(set(reductions)) == 3
    assert found["mean"]["reduction"] == pytest.approx(np.mean(reductions))
    assert "mean over 3 runs" in found["verdict"]
    side = "below" if np.mean(reductions) >= 0 else "above"
    assert f"{abs(np.mean(reductions)):.1f} % {side} stage 1 alone" in found["verdict"]


def test_seeds_of_stage_1_are_paired_with_their_networks_in_order(work, capsys):
    found = told(capsys, *typed(work, 0, 1), *typed(work, 2, held="again.npz"))
    assert [(run["descriptors"], run["fusion"]) for run in found["runs"]] == [
        ("held.npz", "stage2-0.safetensors"),
        ("held.npz", "stage2-1.safetensors"),
        ("again.npz", "stage2-2.safetensors"),
    ]


def test_other_patients_can_be_given_to_calibrate_on(work, capsys):
    found = told(capsys, *typed(work, 0), "--calibrate-on", work / "calibration.npz")
    assert found["figures"]["calibration"]["patients"] == 12
    assert found["figures"]["patients"] == 20


def test_the_table_and_the_verdict_are_printed(work, capsys):
    assert evaluate.main(["stages", *typed(work, 0, 1, 2), "--resamples", "40"]) == 0
    out = capsys.readouterr().out
    assert "Weighted log loss on held-out slices" in out
    assert "each at its own temperature" in out
    for words in ("AUC on slices", "AUC on series", "Operating points", "Expected calibration",
                  "By slice thickness", "By scanner"):  # fmt: skip
        assert words in out


def test_the_report_holds_all_figures_and_its_pictures_open(work, tmp_path, capsys):
    out = tmp_path / "report"
    arguments = [*typed(work, 0, 1), "--resamples", "40", "--out", str(out), "--json"]
    assert evaluate.main(["stages", *arguments]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads((out / "figures.json").read_text())
    text = (out / "report.md").read_text()
    for label in LABELS:
        assert f"| {label} |" in text
    assert "    python -m training.describe invented" in text
    assert "training.train_fusion" in text
    assert "training.evaluate stages" in text
    pictures = sorted(out.glob("*.png"))
    assert [p.name for p in pictures] == ["losses.png", "reliability.png", "roc.png",
                                          "subgroups.png"]  # fmt: skip
    for path in pictures:
        assert f"]({path.name})" in text
        with Image.open(path) as picture:
            picture.load()
            assert min(picture.size) > 100
    assert not list(out.glob("*.part"))


def test_a_finding_that_nobody_has_gets_dashes_and_reasons_everywhere(work, tmp_path, capsys):
    without(descriptors(), 0).save(tmp_path / "held.npz")
    network = str(work / "stage2-0.safetensors")
    arguments = ["--descriptors", str(tmp_path / "held.npz"), "--fusion", network]
    out = tmp_path / "report"
    assert evaluate.main(["stages", *arguments, "--resamples", "40", "--out", str(out)]) == 0
    text = (out / "report.md").read_text()
    assert "- epidural: on none of 240 slices" in text
    assert "- epidural: on none of 20 series" in text
    assert "- epidural: no threshold" in text
    assert "| high sensitivity | epidural | – | – | – | – | – |" in text
    found = json.loads((out / "figures.json").read_text())["figures"]
    assert found["discrimination"][0]["both"]["value"] is None
    assert found["at_points"][0]["threshold"] is None


# -- what is measured ------------------------------------------------------------


@pytest.fixture(scope="module")
def measured(work):
    """Figures of one network, and what they were measured on."""
    split = halves(descriptors(patients=40))
    network = load_fusion(work / "stage2-0.safetensors")
    calibration = calibrate(split.calibration, fuse(network, split.calibration))
    logits = fuse(network, split.test)
    return measure(split.test, logits, calibration, resamples=100), split.test, logits


def test_sensitivity_and_specificity_count_slices_from_the_threshold_on(measured):
    figures, test, logits = measured
    p = tempered(logits, figures.calibration.temperature).astype(np.float32)
    for one in figures.at_points:
        if one.unit is not Unit.SLICE:
            continue
        c = LABELS.index(one.label)
        called, present = p[:, c] >= np.float32(one.threshold), test.labels[:, c] == 1
        assert one.sensitivity.value == pytest.approx(called[present].mean())
        assert one.specificity.value == pytest.approx((~called)[~present].mean())
        assert one.sensitivity.low <= one.sensitivity.value <= one.sensitivity.high


def test_a_series_is_called_when_its_highest_slice_is(measured):
    figures, test, logits = measured
    highest = tempered(logits, figures.calibration.temperature).reshape(len(test.series), -1, 6)
    highest = highest.max(axis=1).astype(np.float32)
    for one in figures.at_points:
        if one.unit is Unit.SERIES and one.point == "balanced":
            c = LABELS.index(one.label)
            called, present = (
                highest[:, c] >= np.float32(one.threshold),
                test.study_labels[:, c] == 1,
            )
            assert one.sensitivity.value == pytest.approx(called[present].mean())
            assert one.positive + one.negative == len(test.series)


def test_sensitivity_falls_and_specificity_grows_from_point_to_point(measured):
    figures, _, _ = measured
    for label in LABELS:
        for unit in Unit:
            points = [x for x in figures.at_points if x.label == label and x.unit is unit]
            assert [x.point for x in points] == list(POINTS)
            assert sorted(points, key=lambda x: -x.sensitivity.value) == points
            assert sorted(points, key=lambda x: x.specificity.value) == points


def test_subgroups_together_are_all_series_and_their_losses_average_to_the_whole(measured):
    figures, _, _ = measured
    for by in ("slice thickness", "scanner"):
        groups = [one for one in figures.subgroups if one.by == by]
        assert sum(one.series for one in groups) == figures.series
        total = sum(one.both * one.slices for one in groups) / figures.slices
        assert total == pytest.approx(figures.losses.both.value)
    assert WEIGHTS.sum() == pytest.approx(1)


def test_the_card_s_markdown_names_patients_temperature_and_every_table(measured):
    figures, _, _ = measured
    text = markdown(figures, level=2)
    assert f"of {figures.patients} patients" in text
    assert f"{figures.calibration.temperature:.3f}" in text
    assert text.count("\n## ") == 8
    assert "weighted log loss" in str(figures)


def test_thickness_is_grouped_between_fixed_edges():
    found = by_thickness(np.array([0.6, 1.5, 5.0, 7.0, np.nan, 0.0]))
    assert {name: list(np.flatnonzero(chosen)) for name, chosen in found.items()} == {
        "below 1.5 mm": [0],
        "1.5 to 3.5 mm": [1],
        "3.5 to 6 mm": [2],
        "6 mm or more": [3],
        "not told": [4, 5],
    }


def test_rare_scanners_are_taken_together():
    names = np.array([*(f"s{i:02}" for i in range(MOST + 3)), "s00", "s00", ""])
    found = by_scanner(names)
    assert next(iter(found)) == "s00"
    assert len(found) == MOST + 1
    assert found["4 others"].sum() == 4
    assert sum(chosen.sum() for chosen in found.values()) == len(names)


# -- bad input -------------------------------------------------------------------


def refused(work, capsys, made, path, *more):
    made.save(path)
    network = str(work / "stage2-0.safetensors")
    arguments = ["--descriptors", str(path), "--fusion", network, *more]
    assert evaluate.main(["stages", *arguments]) == 1
    return said(capsys)


def test_logits_that_are_not_finite_are_told(work, tmp_path, capsys):
    made = descriptors()
    broken = made.logits.copy()
    broken[:] = np.nan
    line = refused(work, capsys, replace(made, logits=broken), tmp_path / "x.npz")
    assert "logits of stage 1 are not finite" in line
    assert "x.npz" in line


def test_studies_without_slice_labels_are_sent_to_cq500(work, tmp_path, capsys):
    made = descriptors()
    unread = replace(made, labels=np.full_like(made.labels, 255))
    assert "training.evaluate cq500" in refused(work, capsys, unread, tmp_path / "x.npz")


def test_one_patient_is_told_what_to_do(work, tmp_path, capsys):
    assert "--calibrate-on" in refused(work, capsys, descriptors(patients=1), tmp_path / "x.npz")


def test_calibrating_on_those_who_are_measured_is_refused(work, tmp_path, capsys):
    line = refused(
        work, capsys, descriptors(), tmp_path / "x.npz", "--calibrate-on", str(work / "held.npz")
    )
    assert "20 patients stand both" in line


@pytest.mark.parametrize("how", [How.OUT_OF_FOLD, How.IN_SAMPLE])
def test_patients_that_were_learned_from_are_not_measured_on(work, tmp_path, capsys, how):
    learned = replace(descriptors(), how=how)
    line = refused(work, capsys, learned, tmp_path / "x.npz")
    assert f"learned from ({how})" in line


def test_runs_on_different_slices_are_not_compared(work, tmp_path, capsys):
    descriptors(seed=3).save(tmp_path / "other.npz")
    more = typed(work, 1, held=tmp_path / "other.npz")
    assert evaluate.main(["stages", *typed(work, 0), *more]) == 1
    assert "are of different slices" in said(capsys)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut short", b"name,ICH\n"])
def test_something_else_than_descriptors_is_told(work, tmp_path, capsys, content):
    (tmp_path / "x.npz").write_bytes(content)
    network = str(work / "stage2-0.safetensors")
    arguments = ["--descriptors", str(tmp_path / "x.npz"), "--fusion", network]
    assert evaluate.main(["stages", *arguments]) == 1
    assert "was not made by training.describe" in said(capsys)


def test_something_else_than_a_network_is_told(work, tmp_path, capsys):
    (tmp_path / "x.safetensors").write_bytes(b"not weights")
    arguments = [
        "--descriptors",
        str(work / "held.npz"),
        "--fusion",
        str(tmp_path / "x.safetensors"),
    ]
    assert evaluate.main(["stages", *arguments]) == 1
    assert "x.safetensors" in said(capsys)


@pytest.mark.parametrize(
    "more",
    [
        ["--descriptors", "{held}"],
        ["--calibrate-on", "{held}", "--calibrate-on", "{held}"],
        ["--fusion", "nothing.safetensors"],
        ["--resamples", "many"],
        ["--seed", "-1"],
    ],
)
def test_bad_arguments_end_with_2(work, capsys, more):
    with pytest.raises(SystemExit) as stop:
        more = [one.format(held=work / "held.npz") for one in more]
        evaluate.main(["stages", *typed(work, 0), *more])
    assert stop.value.code == 2
