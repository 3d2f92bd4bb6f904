"""The store: what is written comes back, what is damaged is told, patients keep together."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.errors import TrainingError
from training.files import Journal, whole, writing
from training.store import SERIES, SLICES, UNKNOWN, Series, array_path, load_store, write_store
from training.store.folds import folds


def series(folder, name="s1", patient="p1", n=3, any_=1, **changes):
    path = array_path(folder, name)
    path.parent.mkdir(exist_ok=True, parents=True)
    hu = np.arange(n * 20, dtype=np.int16).reshape(n, 4, 5)
    np.save(path, hu)
    labels = np.zeros((n, 6), dtype=np.uint8)
    labels[0, [4, 5]] = any_
    values = {
        "name": name,
        "patient": patient,
        "study": "t, with a comma",
        "scanner": "Maker Model 7",
        "thickness_mm": 4.9999,
        "sop_instance_uids": tuple(f"{name}.{i}" for i in range(n)),
        "positions_mm": tuple(5.0 * i - 0.1 for i in range(n)),
        "labels": labels,
        "study_labels": labels.max(axis=0),
        "path": path,
        "rows": 4,
        "columns": 5,
        "spacing_mm": (0.5, 0.25),
        "crc32": 0,
    }
    return Series(**{**values, **changes})


@pytest.fixture
def store(tmp_path):
    write_store(tmp_path, "phantoms", ("a", "b"), [series(tmp_path), series(tmp_path, "s2", "p2")])
    return tmp_path


def test_a_store_comes_back_as_it_was_written(store):
    found = load_store(store)
    assert (found.source, found.commands, found.slices) == ("phantoms", ("a", "b"), 6)
    one, expected = found.series[0], series(store)
    for field in (
        "name",
        "patient",
        "study",
        "scanner",
        "thickness_mm",
        "sop_instance_uids",
        "positions_mm",
        "path",
        "rows",
        "columns",
        "spacing_mm",
    ):
        assert getattr(one, field) == getattr(expected, field)
    assert np.array_equal(one.labels, expected.labels)
    assert np.array_equal(one.study_labels, expected.study_labels)
    assert one.hu()[2, 3, 4] == 59


def test_unknown_labels_stay_unknown(tmp_path):
    unknown = np.full((3, 6), UNKNOWN, dtype=np.uint8)
    write_store(tmp_path, "", (), [series(tmp_path, labels=unknown)])
    assert (load_store(tmp_path).series[0].labels == UNKNOWN).all()


def test_arrays_are_read_when_they_are_touched(store):
    assert isinstance(load_store(store).series[0].hu(), np.memmap)


def test_a_folder_that_is_no_store_says_how_to_make_one(tmp_path):
    with pytest.raises(TrainingError, match=r"python -m training\.prepare"):
        load_store(tmp_path)


@pytest.mark.parametrize("table", [SERIES, SLICES, "store.json"])
@pytest.mark.parametrize("damage", ["cut", "emptied", "removed", "binary"])
def test_a_damaged_table_is_told(store, table, damage):
    path = store / table
    if damage == "removed":
        path.unlink()
    else:
        content = {"cut": path.read_bytes()[:-7], "emptied": b"", "binary": b"\xff\x00" * 50}
        path.write_bytes(content[damage])
    with pytest.raises(TrainingError, match=r"python -m training\.prepare"):
        load_store(store)


def test_a_missing_array_is_told(store):
    array_path(store, "s2").unlink()
    with pytest.raises(TrainingError, match=r"s2\.npy is not there"):
        load_store(store)


def test_an_array_that_was_cut_is_told(store):
    path = array_path(store, "s1")
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(TrainingError, match=r"s1\.npy is damaged .*prepare again"):
        load_store(store).series[0].hu()


def test_an_array_of_another_shape_is_told(store):
    np.save(array_path(store, "s1"), np.zeros((2, 4, 5), dtype=np.int16))
    with pytest.raises(TrainingError, match=r"holds int16 \(2, 4, 5\), the store says int16"):
        load_store(store).series[0].hu()


def test_an_array_of_objects_is_never_unpickled(store):
    np.save(array_path(store, "s1"), np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(TrainingError, match="damaged"):
        load_store(store).series[0].hu()


# -- files ---------------------------------------------------------------------


def test_a_file_that_cannot_be_finished_leaves_the_one_before(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("before")
    with pytest.raises(RuntimeError), whole(path) as file:
        file.write(b"half")
        raise RuntimeError
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_is_told_with_what_to_do(tmp_path):
    with (
        pytest.raises(TrainingError, match="No space left on device; what is there already stays"),
        writing(tmp_path / "x"),
        open("/dev/full", "wb", buffering=0) as full,
    ):
        full.write(b"x")


def test_a_journal_forgets_a_line_that_was_cut(tmp_path):
    path = tmp_path / "done.jsonl"
    with Journal(path, {"size": 1}) as journal:
        journal.append({"n": 1})
        journal.append({"n": 2})
    path.write_bytes(path.read_bytes()[:-3])
    with Journal(path, {"size": 1}) as journal:
        assert journal.entries == [{"n": 1}]
        journal.append({"n": 3})
    with Journal(path, {"size": 1}) as journal:
        assert journal.entries == [{"n": 1}, {"n": 3}]


def test_a_journal_is_not_gone_on_with_under_other_conditions(tmp_path):
    with Journal(tmp_path / "done.jsonl", {"--size": 256}):
        pass
    with pytest.raises(TrainingError, match="--size was 256, now it is 64; give another folder"):
        Journal(tmp_path / "done.jsonl", {"--size": 64})


def test_only_one_process_writes_a_journal(tmp_path):
    with (
        Journal(tmp_path / "done.jsonl", {}),
        pytest.raises(TrainingError, match="written by another process"),
    ):
        Journal(tmp_path / "done.jsonl", {})


# -- folds ---------------------------------------------------------------------


def dealt(tmp_path, patients, count, seed):
    found = [
        series(tmp_path, f"s{i}", f"p{patient}", n=1, any_=int(bleeds))
        for i, (patient, bleeds) in enumerate(patients)
    ]
    return {one.name: one.patient for one in found}, folds(found, count, seed), found


@settings(max_examples=50, deadline=None)
@given(
    patients=st.lists(st.tuples(st.integers(0, 12), st.booleans()), min_size=1, max_size=40),
    count=st.integers(1, 4),
    seed=st.integers(0, 1000),
)
def test_a_patient_never_stands_in_two_folds(tmp_path_factory, patients, count, seed):
    folder = tmp_path_factory.mktemp("folds")
    try:
        patient, fold, found = dealt(folder, patients, count, seed)
    except TrainingError:
        bleeding = {p for p, bleeds in patients if bleeds}
        assert len({p for p, _ in patients}) < count or len(bleeding) < count
        return
    assert fold.keys() == patient.keys()
    assert set(fold.values()) <= set(range(count))
    where = {}
    for name, k in fold.items():
        assert where.setdefault(patient[name], k) == k
    assert folds(reversed(found), count, seed) == fold
    if count > 1:
        positive = {fold[one.name] for one in found if one.study_labels[5]}
        assert positive == set(range(count))


def test_another_seed_deals_otherwise(tmp_path):
    patients = [(i, i % 2 == 0) for i in range(20)]
    assert dealt(tmp_path, patients, 2, 0)[1] != dealt(tmp_path, patients, 2, 1)[1]


def test_a_fold_without_a_positive_is_told_with_how_many_folds_there_can_be(tmp_path):
    with pytest.raises(TrainingError, match=r"no positive: 2 of 9 patients .* at most 2 folds"):
        dealt(tmp_path, [(i, i < 2) for i in range(9)], 5, 0)


def test_fewer_patients_than_folds_is_told(tmp_path):
    with pytest.raises(TrainingError, match="2 patients cannot be dealt to 3 folds"):
        dealt(tmp_path, [(0, True), (1, True)], 3, 0)
