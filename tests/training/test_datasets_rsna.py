"""The CSV files of RSNA's challenge, and its files sorted into series."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml.labels import LABELS
from training.datasets.rsna import read_labels, read_predictions, write_labels
from training.datasets.rsna_series import sort_series
from training.errors import TrainingError
from training.store.headers import Header

COMPLETE = "".join(f"ID_a_{label},0\n" for label in LABELS)


def csv_file(folder, content, name="labels.csv"):
    path = folder / name
    path.write_text(content, encoding="utf-8")
    return path


# -- labels --------------------------------------------------------------------


def test_labels_stand_in_the_one_order_whatever_the_order_of_the_rows(tmp_path):
    rows = [f"ID_28fbab7eb_{label},{int(label == 'subdural')}\n" for label in LABELS]
    path = csv_file(tmp_path, "ID,Label\n" + "".join(reversed(rows)))
    (found,) = read_labels(path).items()
    assert found[0] == "ID_28fbab7eb"
    assert found[1].dtype == np.uint8
    assert found[1].tolist() == [0, 0, 0, 0, 1, 0]


def test_repeated_rows_of_stage_1_are_taken_once(tmp_path):
    path = csv_file(tmp_path, "ID,Label\n" + COMPLETE + COMPLETE)
    assert list(read_labels(path)) == ["ID_a"]


def test_the_files_of_both_stages_are_joined(tmp_path):
    first = csv_file(tmp_path, "ID,Label\n" + COMPLETE, "stage_1_train.csv")
    second = csv_file(
        tmp_path, "ID,Label\n" + COMPLETE + COMPLETE.replace("ID_a", "ID_b"), "stage_2_train.csv"
    )
    assert list(read_labels(first, second)) == ["ID_a", "ID_b"]


def test_files_that_contradict_each_other_are_told_with_the_line(tmp_path):
    first = csv_file(tmp_path, "ID,Label\n" + COMPLETE, "one.csv")
    second = csv_file(tmp_path, "ID,Label\nID_a_any,1\n", "two.csv")
    with pytest.raises(TrainingError, match=r"two\.csv, line 2: ID_a_any is both 0 and 1"):
        read_labels(first, second)


def test_a_byte_order_mark_and_empty_lines_do_no_harm(tmp_path):
    path = csv_file(tmp_path, "\ufeffID,Label\r\n\r\n" + COMPLETE + "\n")
    assert list(read_labels(path)) == ["ID_a"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("slice,any\n1,0\n", "columns must be ID,Label, not slice,any"),
        ("", "columns must be ID,Label, not "),
        ("ID,Label\nx_any,2\n", "line 2: expected <slice>_<finding>,0 or 1, not x_any,2"),
        ("ID,Label\nx_any,\n", "line 2: expected"),
        ("ID,Label\nx_any\n", "line 2: expected"),
        ("ID,Label\nx_any,0,1\n", "line 2: expected"),
        ("ID,Label\n_any,0\n", "line 2: expected"),
        ("ID,Label\nx_stroke,1\n", "line 2: expected"),
        ("ID,Label\nx_any,1\nx_any,0\n", "line 3: x_any is both 0 and 1"),
        ("ID,Label\nx_any,1\n", "slice x has 1 of 6 findings"),
        ("ID,Label\n" + COMPLETE[:-20], "expected <slice>_<finding>"),
        ("ID,Label\n", "no rows of slices in it"),
    ],
)
def test_a_label_file_that_is_wrong_is_told_with_its_line(tmp_path, content, message):
    with pytest.raises(TrainingError, match=r"labels\.csv") as told:
        read_labels(csv_file(tmp_path, content))
    assert message in str(told.value)


def test_a_file_that_is_still_packed_is_told(tmp_path):
    path = tmp_path / "stage_2_train.csv.zip"
    path.write_bytes(b"PK\x03\x04\xff\xfe\x00\x80" * 9)
    with pytest.raises(TrainingError, match="is it still packed"):
        read_labels(path)


def test_a_folder_in_place_of_a_file_is_told(tmp_path):
    with pytest.raises(TrainingError, match="this is a folder"):
        read_labels(tmp_path)


@given(
    st.dictionaries(
        st.text("abcdef0123456789_.", min_size=1, max_size=12),
        st.lists(st.integers(0, 1), min_size=6, max_size=6),
        min_size=1,
    )
)
def test_labels_come_back_as_they_were_written(tmp_path_factory, labels):
    path = tmp_path_factory.mktemp("labels") / "labels.csv"
    write_labels(path, {name: np.array(row) for name, row in labels.items()})
    assert {name: row.tolist() for name, row in read_labels(path).items()} == labels


# -- predictions ---------------------------------------------------------------


def test_predictions_of_a_submission_keep_all_their_digits(tmp_path):
    values = [0.1, 1e-7, 0.123456789012345, 0.0, 1.0, 0.5]
    rows = "".join(f"ID_a_{n},{v!r}\n" for n, v in zip(LABELS, values, strict=True))
    (found,) = read_predictions(csv_file(tmp_path, "ID,Label\n" + rows)).values()
    assert found.dtype == np.float64
    assert found.tolist() == values


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("ID_a_any,nan", "line 8: expected <slice>_<finding>,a probability, not ID_a_any,nan"),
        ("ID_a_any,1.01", "line 8"),
        ("ID_a_any,-0.1", "line 8"),
        ("ID_a_any,high", "line 8"),
        ("ID_a_any,0", "line 8: ID_a_any is there twice"),
        ("ID_b_any,0.5", "slice ID_b has 1 of 6 findings"),
    ],
)
def test_a_submission_that_is_wrong_is_told_with_its_line(tmp_path, row, message):
    with pytest.raises(TrainingError) as told:
        read_predictions(csv_file(tmp_path, f"ID,Label\n{COMPLETE}{row}\n"))
    assert message in str(told.value)


# -- series --------------------------------------------------------------------


def header(name, series="s1", patient="p1", **changes):
    values = {
        "path": f"{name}.dcm",
        "size": 100,
        "modified": 7,
        "sop_instance_uid": name,
        "patient": patient,
        "study": "t1",
        "series": series,
        "modality": "CT",
        "frames": 0,
        "rows": 8,
        "columns": 8,
    }
    return Header(**{**values, **changes})


def sort(tmp_path, *headers):
    return sort_series(headers, tmp_path, {h.sop_instance_uid for h in headers})


def test_files_of_one_flat_folder_are_sorted_by_series(tmp_path):
    found = sort(tmp_path, header("a", "s1"), header("b", "s2", "p2"), header("c", "s1"))
    assert [(t.name, t.patient, [p.name for p in t.paths]) for t in found.tasks] == [
        ("s1", "p1", ["a.dcm", "c.dcm"]),
        ("s2", "p2", ["b.dcm"]),
    ]


def test_the_name_of_the_file_finds_the_labels_where_identifiers_were_rewritten(tmp_path):
    rewritten = header("ID_a", sop_instance_uid="1.2.3")
    (task,) = sort_series([rewritten], tmp_path, {"ID_a"}).tasks
    assert task.keys == {"1.2.3": "ID_a"}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"modality": "MR"}, "modality MR, not CT"),
        ({"frames": 9}, "9 frames in one file, which has but one label"),
        ({"rows": 0}, "no image in it"),
        ({"series": ""}, "no Series Instance UID"),
        ({"series": "../../etc"}, "its identifier cannot name a file"),
        ({"series": ".hidden"}, "its identifier cannot name a file"),
    ],
)
def test_what_is_no_slice_of_a_series_is_skipped_with_its_reason(tmp_path, changes, reason):
    found = sort(tmp_path, header("good"), header("bad", **changes))
    assert [task.name for task in found.tasks] == ["s1"]
    assert [one.reason for one in found.skipped] == [reason]


def test_a_slice_that_is_there_twice_is_taken_once(tmp_path):
    twin = header("copy", sop_instance_uid="a")
    found = sort(tmp_path, header("a"), twin)
    assert len(found.tasks[0].paths) == 1
    assert found.skipped[0].reason == "the same slice as a.dcm"


def test_a_series_of_two_patients_is_skipped_as_it_could_stand_in_two_folds(tmp_path):
    found = sort(tmp_path, header("a", patient="p1"), header("b", patient="p2"))
    assert not found.tasks
    assert found.skipped[0].reason == "2 patients in one series: p1, p2"


def test_series_of_patients_without_identifier_are_not_taken_for_one_patient(tmp_path):
    found = sort(
        tmp_path,
        header("a", "s1", "", study="t1"),
        header("b", "s2", "", study="t2"),
    )
    assert [task.patient for task in found.tasks] == ["t1", "t2"]


def test_other_files_make_another_signature(tmp_path):
    signatures = {
        sort(tmp_path, *headers).tasks[0].signature
        for headers in (
            [header("a")],
            [header("a", size=101)],
            [header("a", modified=8)],
            [header("a"), header("b")],
        )
    }
    assert len(signatures) == 4
