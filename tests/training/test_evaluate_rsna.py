"""`evaluate rsna` scores a submission exactly as Kaggle did."""

import csv
import json

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import log_loss, roc_auc_score

from ml.labels import LABELS
from training import evaluate
from training.measures.submission import score
from training.store import Series, write_store


def write(path, values):
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["ID", "Label"])
        for name, row in values.items():
            rows.writerows((f"{name}_{label}", v) for label, v in zip(LABELS, row, strict=True))
    return path


@pytest.fixture
def files(tmp_path):
    """Labels and predictions of 80 slices, in different orders, some certain and wrong."""
    rng = np.random.default_rng(0)
    truth = {f"ID_{i:09x}": (rng.random(6) < 0.3).astype(int) for i in range(80)}
    predictions = {name: (0.6 * row + 0.4 * rng.random(6)) for name, row in truth.items()}
    predictions["ID_000000003"] = 1.0 - truth["ID_000000003"]
    return (
        write(tmp_path / "labels.csv", truth),
        write(tmp_path / "predictions.csv", dict(reversed(predictions.items()))),
    )


def typed(labels, predictions, *more):
    return ["rsna", "--labels", str(labels), "--predictions", str(predictions), *more]


def rows_of(path):
    with path.open() as file:
        return {row["ID"]: float(row["Label"]) for row in csv.DictReader(file)}


def said(capsys):
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("error: ")
    return line


def test_the_score_is_that_of_all_rows_of_the_files_with_any_counted_twice(files, capsys):
    assert evaluate.main([*typed(*files), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["score"]
    truth, given = rows_of(files[0]), rows_of(files[1])
    expected = log_loss(
        [int(v) for v in truth.values()],
        np.clip([given[identifier] for identifier in truth], 1e-15, 1 - 1e-15),
        sample_weight=[2 if identifier.endswith("_any") else 1 for identifier in truth],
    )
    assert abs(told["weighted_log_loss"]["value"] - expected) < 1e-9
    assert told["slices"] == 80


def test_each_label_has_its_own_auc_and_log_loss(files, capsys):
    assert evaluate.main([*typed(*files), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["score"]["labels"]
    truth, given = rows_of(files[0]), rows_of(files[1])
    for one in told:
        of_label = [i for i in truth if i.endswith(f"_{one['label']}")]
        t, p = [int(truth[i]) for i in of_label], np.array([given[i] for i in of_label])
        assert one["auc"]["value"] == pytest.approx(roc_auc_score(t, p))
        assert one["log_loss"] == pytest.approx(log_loss(t, np.clip(p, 1e-15, 1 - 1e-15)))
        assert one["positive"] == sum(t)


def test_the_score_is_printed_beside_the_paper_s(files, capsys):
    assert evaluate.main(typed(*files)) == 0
    out = capsys.readouterr().out
    assert "weighted log loss" in out
    assert "0.05341" in out
    assert "intraparenchymal" in out


def test_without_patients_there_are_no_intervals_and_with_them_there_are():
    rng = np.random.default_rng(0)
    truth = (rng.random((200, 6)) < 0.4).astype(np.uint8)
    probability = (truth + 2 * rng.random(truth.shape)) / 3
    plain = score(truth, probability)
    assert np.isnan(plain.weighted_log_loss.low)
    patients = np.array([f"p{i // 5}" for i in range(200)])
    known = score(truth, probability, patients, resamples=100)
    assert known.patients == 40
    assert known.weighted_log_loss.value == plain.weighted_log_loss.value
    assert known.weighted_log_loss.low < known.weighted_log_loss.value
    assert known.labels[0].auc.low < known.labels[0].auc.value < known.labels[0].auc.high


def test_a_store_names_the_patients_that_intervals_are_drawn_from(files, tmp_path, capsys):
    labels, predictions = files
    folder = tmp_path / "store"
    (folder / "hu").mkdir(parents=True)
    series = []
    for i in range(16):
        name = f"series{i}"
        np.save(folder / "hu" / f"{name}.npy", np.zeros((5, 2, 2), dtype=np.int16))
        series.append(
            Series(
                name=name,
                patient=f"p{i}",
                study=name,
                scanner="",
                thickness_mm=5.0,
                sop_instance_uids=tuple(f"ID_{5 * i + k:09x}" for k in range(5)),
                positions_mm=tuple(range(5)),
                labels=np.zeros((5, 6), dtype=np.uint8),
                study_labels=np.zeros(6, dtype=np.uint8),
                path=folder / "hu" / f"{name}.npy",
            )
        )
    write_store(folder, "invented", [], series)
    arguments = [*typed(labels, predictions), "--store", str(folder), "--json"]
    assert evaluate.main(arguments) == 0
    told = json.loads(capsys.readouterr().out)["score"]
    assert told["patients"] == 16
    loss = told["weighted_log_loss"]
    assert loss["low"] < loss["value"] < loss["high"]
    write_store(folder, "invented", [], series[:-1])
    assert evaluate.main(arguments) == 1
    assert "lacks 5 of 80 slices" in said(capsys)


def test_a_label_that_no_slice_has_gets_a_dash_and_the_reason(tmp_path, capsys):
    truth = {f"ID_{i}": [0, *([i % 2] * 5)] for i in range(10)}
    given = {f"ID_{i}": [0.1 + i / 20] * 6 for i in range(10)}
    files = write(tmp_path / "l.csv", truth), write(tmp_path / "p.csv", given)
    assert evaluate.main(typed(*files)) == 0
    out = capsys.readouterr().out
    (row,) = (line for line in out.splitlines() if line.split()[:1] == ["epidural"])
    assert "–" in row.split()
    assert "epidural: no AUC, on none of 10 slices" in out


def test_a_report_is_written_and_its_pictures_open(files, tmp_path):
    out = tmp_path / "out"
    assert evaluate.main(typed(*files, "--out", str(out))) == 0
    assert "weighted log loss" in (out / "report.md").read_text()
    for name in ("roc.png", "reliability.png"):
        with Image.open(out / name) as picture:
            picture.load()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "columns must be ID,Label"),
        (b"ID,Label\n", "no rows of slices"),
        (b"ID,Probability\nID_0_any,0.5\n", "columns must be ID,Label"),
        (b"ID,Label\nID_000000000_any,nan\n", "ID_000000000_any,nan"),
        (b"ID,Label\nID_000000000_any,inf\n", "ID_000000000_any,inf"),
        (b"ID,Label\nID_000000000_any,-0.1\n", "ID_000000000_any,-0.1"),
        (b"ID,Label\nID_000000000_any,\n", "line 2"),
        (b"ID,Label\nID_000000000_stroke,0.1\n", "ID_000000000_stroke"),
        (b"ID,Label\nID_000000000_any,0.1\nID_000000000_any,0.1\n", "is there twice"),
        (b"ID,Label\nID_000000000_any,0.1\n", "has 1 of 6"),
        (b"\x89PNG\r\n\x1a\n\x00\x00" * 40, "predictions.csv"),
        (b"ID," + b"x" * 300_000 + b"\n", "predictions.csv"),
    ],
)
def test_predictions_that_are_wrong_are_told_in_one_line(files, capsys, content, message):
    labels, predictions = files
    predictions.write_bytes(content)
    assert evaluate.main(typed(labels, predictions)) == 1
    line = said(capsys)
    assert message in line
    assert len(line) < 1000


def test_a_slice_without_prediction_is_told(files, capsys):
    labels, predictions = files
    lines = predictions.read_text().splitlines(keepends=True)
    predictions.write_text("".join(lines[:-6]))
    assert evaluate.main(typed(labels, predictions)) == 1
    assert "1 of 80 labelled slices have no prediction (ID_000000000, ...)" in said(capsys)


def test_a_slice_without_label_is_told(files, capsys):
    labels, predictions = files
    with predictions.open("a") as file:
        file.writelines(f"ghost_{label},0.5\n" for label in LABELS)
    assert evaluate.main(typed(labels, predictions)) == 1
    assert "1 of 81 predicted slices have no label (ghost, ...)" in said(capsys)


def test_a_missing_file_is_a_bad_argument(files, tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        evaluate.main(typed(files[0], tmp_path / "nothing.csv"))
    assert stop.value.code == 2
    assert "nothing.csv is not there" in capsys.readouterr().err
