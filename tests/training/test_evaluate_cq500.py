"""`evaluate cq500` prints the paper's Table 1 beside a run."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ml.labels import LABELS
from tests.conftest import DATA
from tests.training.invented import descriptors, fusion
from training import evaluate
from training.datasets.cq500 import FINDINGS, READERS
from training.measures.calibrate import tempered
from training.stage2.fuse import fuse, load_fusion

PUBLISHED = {
    "ICH": "0.9419",
    "IPH": "0.9544",
    "IVH": "0.9310",
    "SAH": "0.9574",
    "SDH": "0.9521",
    "EDH": "0.9731",
}
COLUMNS = ["name", *(FINDINGS[label] for label in LABELS)]


def write_reads(path, truth):
    """Two readers who agree and one who says the contrary."""
    header = ["name", "Category", *(f"{r}:{FINDINGS[x]}" for r in READERS for x in LABELS)]
    with path.open("w", newline="", encoding="utf-8-sig") as file:
        rows = csv.writer(file)
        rows.writerow(header)
        for name, found in truth.items():
            rows.writerow([name, "B1", *found, *found, *(1 - found)])
    return path


def write_predictions(path, predictions, columns=COLUMNS):
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(columns)
        rows.writerows([name, *values] for name, values in predictions.items())
    return path


@pytest.fixture
def files(tmp_path):
    """Reads and predictions of 40 scans."""
    rng = np.random.default_rng(0)
    truth = {f"CQ500-CT-{i}": (rng.random(6) < 0.4).astype(int) for i in range(40)}
    predictions = {n: np.round((t + 2 * rng.random(6)) / 3, 3) for n, t in truth.items()}
    return (
        write_reads(tmp_path / "reads.csv", truth),
        write_predictions(tmp_path / "predictions.csv", predictions),
    )


def typed(reads, predictions, *more):
    return ["cq500", "--reads", str(reads), "--predictions", str(predictions), "--resamples", "50",
            *more]  # fmt: skip


def said(capsys):
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("error: ")
    return line


@pytest.mark.data
def test_the_published_probabilities_give_the_published_column(capsys):
    reads, predictions = DATA / "cq500_reads.csv", DATA / "cq500_qure_prediction_probabilities.csv"
    if not reads.is_file():
        pytest.skip("the readers' votes of CQ500 are not at hand")
    assert evaluate.main(typed(reads, predictions)) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    rows = {line[0]: line for line in lines if line}
    for finding, area in PUBLISHED.items():
        _, chilamkurthy, _, run, *_ = rows[finding]
        assert chilamkurthy == run == area
        assert rows[finding][-3:][1:] == ["of", "491"]


def test_published_columns_stand_beside_the_run(files, capsys):
    assert evaluate.main(typed(*files)) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    rows = {line[0]: line for line in lines if line}
    for finding, area in PUBLISHED.items():
        assert rows[finding][1] == area
    assert rows["IVH"][2] == "0.9832"
    assert rows["mean"][2] == "0.9710"


def test_json_is_one_document_and_nothing_else(files, capsys):
    assert evaluate.main(typed(*files, "--json")) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["scans"] == 40
    assert [row["label"] for row in told["rows"]][:2] == ["any", "intraparenchymal"]
    for row in told["rows"]:
        assert row["run"]["low"] <= row["run"]["value"] <= row["run"]["high"]


def test_a_report_is_written_and_its_picture_opens(files, tmp_path, capsys):
    out = tmp_path / "out"
    assert evaluate.main(typed(*files, "--out", str(out))) == 0
    assert "| ICH | 0.9419 | 0.9612 |" in (out / "report.md").read_text()
    assert "training.evaluate cq500" in (out / "report.md").read_text()
    with Image.open(out / "roc.png") as picture:
        picture.load()
    assert json.loads((out / "figures.json").read_text())["scans"] == 40


def test_a_finding_that_no_scan_has_gets_a_dash_and_the_reason(tmp_path, capsys):
    rng = np.random.default_rng(0)
    truth = {f"s{i}": np.array([0, *(rng.random(5) < 0.5)]).astype(int) for i in range(20)}
    reads = write_reads(tmp_path / "reads.csv", truth)
    predictions = write_predictions(tmp_path / "p.csv", {n: rng.random(6) for n in truth})
    assert evaluate.main(typed(reads, predictions)) == 0
    out = capsys.readouterr().out
    (row,) = (line for line in out.splitlines() if line.split()[:1] == ["EDH"])
    assert "–" in row.split()
    assert "EDH: on none of 20 scans" in out


# -- an own model ---------------------------------------------------------------


def own(tmp_path, made, truth):
    made.save(tmp_path / "cq500.npz")
    reads = write_reads(tmp_path / "reads.csv", truth)
    network = fusion(tmp_path)
    return network, ["cq500", "--reads", str(reads), "--descriptors", str(tmp_path / "cq500.npz"),
                     "--fusion", str(network), "--resamples", "50", "--json"]  # fmt: skip


def test_a_study_counts_with_its_highest_slice_of_all_its_series(tmp_path, capsys):
    made = descriptors(patients=12)
    truth = {}
    for study, found in zip(made.studies, made.study_labels.astype(int), strict=True):
        truth[str(study)] = np.maximum(truth.get(str(study), found), found)
    network, arguments = own(tmp_path, made, truth)
    capsys.readouterr()
    assert evaluate.main(arguments) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["scans"] == 12
    slices = tempered(fuse(load_fusion(network), made))[:, -1]
    highest = slices.reshape(12, -1).max(axis=1)  # two series each, one after the other
    positive = np.array([truth[f"p{i}"][-1] for i in range(12)]) == 1
    pairs = [float(p > n) for p in highest[positive] for n in highest[~positive]]
    assert told["rows"][0]["run"]["value"] == pytest.approx(np.mean(pairs))
    assert told["rows"][0]["stage1"]["value"] is not None
    assert any("training.describe" in line for line in told["commands"])


def test_scans_that_could_not_be_described_are_listed_not_invented(tmp_path, capsys):
    made = descriptors(patients=6)
    truth = {f"p{i}": np.array([i % 2] * 6) for i in range(8)}
    _, arguments = own(tmp_path, made, truth)
    capsys.readouterr()
    assert evaluate.main(arguments) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["scans"] == 6
    assert told["left_out"] == ["p6", "p7"]


def test_descriptors_of_another_data_set_are_told(tmp_path, capsys):
    _, arguments = own(tmp_path, descriptors(patients=6), {"CQ500-CT-0": np.ones(6, dtype=int)})
    capsys.readouterr()
    assert evaluate.main(arguments) == 1
    assert "none of the 6 scans with predictions was read" in said(capsys)


def test_logits_that_are_not_finite_are_told(tmp_path, capsys):
    made = descriptors(patients=6)
    broken = made.logits.copy()
    broken[3] = np.inf
    _, arguments = own(
        tmp_path, replace(made, logits=broken), {f"p{i}": np.array([i % 2] * 6) for i in range(6)}
    )
    capsys.readouterr()
    assert evaluate.main(arguments) == 1
    assert "not finite" in said(capsys)


# -- bad input ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no column name"),
        (b"name,ICH\nCQ500-CT-0,0.5\n", "no column EDH"),
        (b"name,ICH,IPH,IVH,SAH,SDH,EDH\n", "no scans in it"),
        (b"name,ICH,IPH,IVH,SAH,SDH,EDH\nCQ500-CT-0,nan,0,0,0,0,0\n", "ICH of CQ500-CT-0"),
        (b"name,ICH,IPH,IVH,SAH,SDH,EDH\nCQ500-CT-0,1.5,0,0,0,0,0\n", "ICH of CQ500-CT-0"),
        (b"name,ICH,IPH,IVH,SAH,SDH,EDH\nCQ500-CT-0,,0,0,0,0,0\n", "ICH of CQ500-CT-0"),
        (b"name,ICH,IPH,IVH,SAH,SDH,EDH\na,0,0,0,0,0,0\na,0,0,0,0,0,0\n", "a is there twice"),
        (b"name,ICH,IPH,IVH,SAH,SDH,EDH\nCQ500-CT-0,0,0,0,0,0,0\n", "39 scans of"),
        (b"name,ICH,IPH,IVH,SAH,SDH,EDH\nother,0,0,0,0,0,0\n", "none of the 1 scans"),
        (b"\x00\xff\xfe\x93NUMPY" * 50, "predictions.csv"),
        (b"x" * 300_000 + b"\n1\n", "predictions.csv"),
    ],
)
def test_predictions_that_are_wrong_are_told_in_one_line(files, capsys, content, message):
    reads, predictions = files
    predictions.write_bytes(content)
    assert evaluate.main(typed(reads, predictions)) == 1
    line = said(capsys)
    assert message in line
    assert len(line) < 1000


def test_a_scan_that_nobody_read_is_told(files, capsys):
    reads, predictions = files
    with predictions.open("a") as file:
        file.write("CQ500-CT-999,0,0,0,0,0,0\n")
    assert evaluate.main(typed(reads, predictions)) == 1
    assert "1 of the file were not read (CQ500-CT-999" in said(capsys)


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["cq500"],
        ["cq500", "--reads", "nothing.csv", "--predictions", "nothing.csv"],
        ["cq500", "--reads", "{reads}"],
        ["cq500", "--reads", "{reads}", "--fusion", "{reads}"],
        ["cq500", "--reads", "{reads}", "--predictions", "{reads}", "--fusion", "{reads}"],
        ["cq500", "--reads", "{reads}", "--predictions", "{reads}", "--resamples", "0"],
    ],
)
def test_bad_arguments_end_with_2(files, arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        evaluate.main([one.format(reads=files[0]) for one in arguments])
    assert stop.value.code == 2
    assert "error" in capsys.readouterr().err


def test_a_report_that_cannot_be_written_is_told(files, tmp_path, capsys):
    (tmp_path / "out").write_text("a file")
    assert evaluate.main(typed(*files, "--out", str(tmp_path / "out"))) == 1
    assert "out" in said(capsys)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
@pytest.mark.parametrize("name", ["roc.png", "figures.json", "report.md"])
def test_a_full_disk_is_told_and_an_older_report_stays(files, tmp_path, capsys, name):
    out = tmp_path / "out"
    assert evaluate.main(typed(*files, "--out", str(out))) == 0
    before = (out / name).read_bytes()
    (out / f"{name}.part").symlink_to("/dev/full")
    capsys.readouterr()
    assert evaluate.main(typed(*files, "--out", str(out))) == 1
    line = said(capsys)
    assert name in line
    assert "No space left on device" in line
    assert (out / name).read_bytes() == before
