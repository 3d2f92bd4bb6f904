"""`training.prepare` as it is typed: real and odd input, kills, full disks, and its account."""

import csv
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from ml.labels import LABELS
from ml.series import load_series
from tests import ct
from training import prepare
from training.datasets.rsna import write_labels
from training.errors import TrainingError
from training.jobs import mapped
from training.store import array_path, load_store
from training.store.bake import reduced
from training.store.bake_all import JOURNAL
from training.store.headers import TABLE

ROOT = Path(__file__).resolve().parents[2]


class Data:
    """A folder as Kaggle ships it, of tiny images; `change` alters one before it is written."""

    def __init__(self, folder):
        self.images = folder / "stage_2_train"
        self.csv = folder / "stage_2_train.csv"
        self.store = folder / "store"
        self.labels = {}

    def image(self, name, series=0, number=1, change=None, hu=None, **changes):
        out = ct.image(number, 5.0 * number, hu=head(number) if hu is None else hu, **changes)
        del out.SOPClassUID, out.InstanceNumber, out.SliceThickness
        out.SOPInstanceUID = name
        out.PatientID, out.StudyInstanceUID = f"ID_p{series}", f"ID_t{series}"
        out.SeriesInstanceUID = f"ID_s{series}"
        if change:
            change(out)
        self.images.mkdir(exist_ok=True)
        path = self.images / f"{name}.dcm"
        out.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
        out.file_meta.MediaStorageSOPInstanceUID = "1.2"
        out.save_as(path, enforce_file_format=True)
        self.labels[name] = np.array([0, 0, 0, 0, number % 2, number % 2])
        return path

    def series(self, series, slices=12, **changes):
        return [
            self.image(f"ID_{series:03d}{number:06d}", series, number, **changes)
            for number in range(1, slices + 1)
        ]

    def typed(self, *more):
        if not self.csv.exists():
            write_labels(self.csv, self.labels)
        folders = ["--images", str(self.images), "--out", str(self.store)]
        return ["rsna", *folders, *more, "--labels", str(self.csv)]

    def prepare(self, *more):
        return prepare.main(self.typed(*more))

    def skipped(self):
        with (self.store / "skipped.csv").open() as file:
            return {row["name"]: row["reason"] for row in csv.DictReader(file)}

    def files(self):
        """What the store says and holds, by the name of the file."""
        tables = ("store.json", "series.csv", "slices.csv", "skipped.csv", "warnings.csv")
        paths = [*(self.store / name for name in tables), *(self.store / "hu").iterdir()]
        return {path.name: path.read_bytes() for path in paths}


def head(number):
    """Air, brain and bone."""
    hu = ct.ramp(number) % 100
    hu[0], hu[-1] = -1000, 1500
    hu[0, 0] = number
    return hu


@pytest.fixture
def data(tmp_path):
    return Data(tmp_path)


def said(capsys):
    return capsys.readouterr().err.strip().splitlines()


# -- what comes out ------------------------------------------------------------


def test_files_of_a_flat_folder_become_ordered_labelled_series_in_hu(data, capsys):
    data.series(0)
    data.series(1, slices=14)
    assert data.prepare() == 0
    store = load_store(data.store)
    assert [(one.name, one.patient, one.study, len(one)) for one in store.series] == [
        ("ID_s0", "ID_p0", "ID_t0", 12),
        ("ID_s1", "ID_p1", "ID_t1", 14),
    ]
    for one in store.series:
        assert one.hu()[:, 0, 0].tolist() == list(range(1, len(one) + 1))
        assert (one.thickness_mm, one.spacing_mm, one.rows) == (5.0, (0.5, 0.5), ct.ROWS)
        assert list(one.positions_mm) == sorted(one.positions_mm)
        for uid, labels in zip(one.sop_instance_uids, one.labels, strict=True):
            assert labels.tolist() == data.labels[uid].tolist()
        assert one.study_labels.tolist() == [0, 0, 0, 0, 1, 1]
    out = capsys.readouterr()
    assert out.err == ""
    assert "2 series of 2 patients, 26 slices" in out.out
    assert "subdural               2 series       13 slices" in out.out


def test_the_store_remembers_source_and_command(data):
    data.series(0)
    assert data.prepare("--jobs", "1") == 0
    store = load_store(data.store)
    assert store.source == "RSNA 2019 head CT (stage_2_train.csv)"
    (command,) = store.commands
    assert command.startswith("python -m training.prepare rsna --images stage_2_train --out store")


def test_several_processes_give_the_same_store_as_one(data):
    for series in range(4):
        data.series(series)
    assert data.prepare() == 0
    alone = data.files()
    shutil.rmtree(data.store)
    assert data.prepare("--jobs", "2") == 0
    together = data.files()
    assert alone.keys() == together.keys()
    assert all(alone[k] == together[k] for k in alone if k != "store.json")


def test_the_wrong_intercept_of_some_series_is_mended(data):
    hu = head(0)

    def wrapped(image):
        ct.stored(image, hu.astype(np.int32) % 4096, bits=12, signed=False)
        image.RescaleIntercept = -1

    data.series(0, change=wrapped)
    assert data.prepare() == 0
    assert np.array_equal(load_store(data.store).series[0].hu()[3], hu)
    assert "rescale intercept -1 cannot be true" in (data.store / "warnings.csv").read_text()


def test_a_series_without_air_is_told_of(data):
    data.series(0, hu=head(0) + np.int16(1024))
    assert data.prepare() == 0
    assert "no air; is the intercept right?" in (data.store / "warnings.csv").read_text()


def test_series_of_another_size_keep_it(data):
    data.series(0)
    data.series(1, hu=np.zeros((20, 30), dtype=np.int16))
    assert data.prepare() == 0
    assert [one.hu().shape[1:] for one in load_store(data.store).series] == [(12, 16), (20, 30)]


def test_the_minority_of_mixed_sizes_is_left_out_and_listed(data):
    data.series(0)
    data.image("ID_odd", 0, 30, hu=np.zeros((20, 30), dtype=np.int16))
    assert data.prepare() == 0
    assert len(load_store(data.store).series[0]) == 12
    assert data.skipped() == {"ID_odd": "20 x 30, the stack 12 x 16"}


def test_identifiers_that_were_rewritten_are_found_by_the_name_of_the_file(data):
    numbers = iter(range(1, 100))
    data.series(0, change=lambda i: setattr(i, "SOPInstanceUID", f"1.2.{next(numbers)}"))
    assert data.prepare() == 0
    assert set(load_store(data.store).series[0].sop_instance_uids) == set(data.labels)


@pytest.mark.data
@pytest.mark.parametrize(
    ("archive", "slices", "labelled"),
    [
        ("rsna_labelled_36", 36, True),
        ("rsna_negative_29", 28, False),
        ("rsna_subdural_28", 27, False),
    ],
)
def test_real_series_come_out_as_the_node_sees_them(
    real_series, tmp_path, capfd, archive, slices, labelled
):
    files = [path for path in real_series(archive) if path.suffix == ".dcm"]
    folder = files[0].parent
    labels = {path.stem: np.zeros(6, dtype=np.uint8) for path in files}
    if labelled:
        with next(folder.glob("slice_labels*.csv")).open() as file:
            for row in csv.DictReader(file):
                labels[row["Image"]] = np.array([int(row[label]) for label in LABELS])
    write_labels(tmp_path / "labels.csv", labels)
    typed = ["--images", str(folder), "--labels", str(tmp_path / "labels.csv")]
    assert prepare.main(["rsna", *typed, "--out", str(tmp_path / "store")]) == 0
    assert capfd.readouterr().err == ""
    (one,) = load_store(tmp_path / "store").series
    volume = load_series(files)
    assert len(one) == slices
    assert np.array_equal(one.hu(), volume.hu)
    assert one.sop_instance_uids == tuple(s.sop_instance_uid for s in volume.slices)
    assert one.patient.startswith("ID_")
    assert one.thickness_mm == pytest.approx(5.0, abs=0.01)
    if labelled:
        assert one.labels.sum(axis=0).tolist() == [0, 9, 8, 0, 0, 11]
        along = np.flatnonzero(one.labels[:, 5])
        assert along.max() - along.min() + 1 == len(along)  # the right order keeps a bleed whole


# -- smaller slices ------------------------------------------------------------


def test_slices_are_averaged_to_a_size_that_is_asked_for(data, capsys):
    data.series(0, hu=np.full((64, 48), 40, dtype=np.int16))
    assert data.prepare("--size", "32") == 0
    (one,) = load_store(data.store).series
    assert one.hu().shape == (12, 32, 24)
    assert (one.hu() == 40).all()
    assert one.spacing_mm == (1.0, 1.0)
    assert data.prepare() == 1
    assert "--size was 32, now it is as it is; give another folder" in said(capsys)[-1]


def test_areas_are_averaged_whole_and_in_part():
    even = np.array([[[0, 10, 20, 30], [2, 12, 22, 32]] * 2], dtype=np.int16)
    assert reduced(even, 2).tolist() == [[[6, 26], [6, 26]]]
    odd = np.array([[[0, 30, 60]] * 3], dtype=np.int16)
    assert reduced(odd, 2)[0, 0].tolist() == [10, 50]


# -- bad input -----------------------------------------------------------------


def test_files_that_cannot_be_used_are_listed_with_their_reasons_and_skipped(data):
    paths = data.series(0)
    paths[0].with_name("empty.dcm").write_bytes(b"")
    paths[0].with_name("text.dcm").write_text("I am a text")
    paths[0].with_name("header.dcm").write_bytes(paths[0].read_bytes()[:200])
    data.image("ID_mr", 5, change=lambda image: setattr(image, "Modality", "MR"))
    data.image("ID_lost", 6, change=lambda image: delattr(image, "ImagePositionPatient"))
    assert data.prepare() == 0
    assert [one.name for one in load_store(data.store).series] == ["ID_s0"]
    reasons = data.skipped()
    assert reasons["empty.dcm"] == "empty"
    assert "cannot be read as DICOM" in reasons["text.dcm"]
    assert reasons["ID_mr.dcm"] == "modality MR, not CT"
    assert "Image Position" in reasons["ID_s6"]
    assert "header.dcm" in reasons


@pytest.mark.parametrize("index", [0, 5, 11])
def test_a_slice_with_short_pixel_data_is_left_out_wherever_it_lies(data, index):
    paths = data.series(0)
    paths[index].write_bytes(paths[index].read_bytes()[:-50])
    assert data.prepare() == 0
    (one,) = load_store(data.store).series
    assert len(one) == 11
    assert paths[index].stem not in one.sop_instance_uids
    assert "pixel data cannot be decoded" in data.skipped()[paths[index].stem]


def test_a_series_with_many_short_slices_is_skipped_whole(data):
    data.series(0)
    for path in data.series(1)[:4]:
        path.write_bytes(path.read_bytes()[:-50])
    assert data.prepare() == 0
    assert [one.name for one in load_store(data.store).series] == ["ID_s0"]
    assert data.skipped()["ID_s1"].startswith("4 of 12 slices cannot be decoded")


def test_images_without_labels_and_labels_without_images_are_listed(data, capsys):
    data.series(0)
    data.series(1)
    labels = {name: row for name, row in data.labels.items() if not name.startswith("ID_001")}
    write_labels(data.csv, labels | {"ID_ghost": np.zeros(6)})
    assert data.prepare() == 0
    assert [one.name for one in load_store(data.store).series] == ["ID_s0"]
    assert Counter(data.skipped().values()) == {"no labels": 12, "no image": 1}
    out = capsys.readouterr().out
    assert "skipped: slice, no labels: 12" in out
    assert "skipped: label, no image: 1" in out


@pytest.mark.parametrize("missing", ["label", "image"])
def test_strictly_a_missing_image_or_label_is_an_error(data, capsys, missing):
    data.series(0)
    last, *_ = sorted(data.labels, reverse=True)
    if missing == "label":
        del data.labels[last]
    else:
        (data.images / f"{last}.dcm").unlink()
    assert data.prepare("--strict") == 1
    (line,) = said(capsys)
    assert last in line
    assert f"no {missing}" in line


def test_labels_of_other_images_are_one_error(data, capsys):
    data.series(0)
    write_labels(data.csv, {"ID_ghost": np.zeros(6)})
    assert data.prepare() == 1
    (line,) = said(capsys)
    assert line.startswith("error: none of the 1 slices of ")
    assert "ID_ghost" in line
    assert "ID_000000001.dcm: no labels, and 11 more" in line


def test_a_folder_without_files_is_told(data, capsys):
    data.series(0)
    for path in data.images.iterdir():
        path.unlink()
    assert data.prepare() == 1
    assert said(capsys)[-1].endswith("no files in it")


def test_a_folder_without_a_usable_series_is_told_with_a_reason(data, capsys):
    data.series(0, change=lambda image: delattr(image, "ImageOrientationPatient"))
    assert data.prepare() == 1
    (line,) = said(capsys)
    assert "no series is usable" in line
    assert "Image Orientation" in line


@pytest.mark.parametrize("missing", ["--images", "--labels"])
def test_a_path_that_is_not_there_is_a_bad_argument(data, capsys, missing):
    data.series(0)
    typed = data.typed()
    typed[typed.index(missing) + 1] = "nowhere"
    with pytest.raises(SystemExit) as stop:
        prepare.main(typed)
    assert stop.value.code == 2
    assert "nowhere is not there" in said(capsys)[-1]


def test_a_wrong_label_file_is_told_before_anything_is_read(data, capsys):
    data.series(0)
    data.csv.write_text("slice,any\n1,0\n")
    assert data.prepare() == 1
    assert "columns must be ID,Label, not slice,any" in said(capsys)[-1]
    assert not data.store.exists()


def test_images_that_are_a_file_are_told(data, capsys):
    data.series(0)
    write_labels(data.csv, data.labels)
    data.images = data.csv
    assert data.prepare() == 1
    assert "Not a directory" in said(capsys)[-1]


# -- again and again -----------------------------------------------------------


def test_a_second_run_does_only_what_is_missing(data, capsys):
    data.series(0)
    data.series(1)
    assert data.prepare() == 0
    first = data.files()
    kept = array_path(data.store, "ID_s0")
    array_path(data.store, "ID_s1").unlink()
    before = kept.stat().st_mtime_ns
    assert data.prepare() == 0
    assert "1 of 2 series are there already" in capsys.readouterr().out
    assert kept.stat().st_mtime_ns == before
    assert data.files() == first


def test_a_header_is_not_read_twice_but_a_file_that_changed_is(data):
    data.series(0)
    assert data.prepare() == 0
    noted = (data.store / TABLE).read_text()
    assert len(noted.splitlines()) == 13
    assert data.prepare() == 0
    assert (data.store / TABLE).read_text() == noted
    data.image("ID_000000001", 0, 1, change=lambda image: setattr(image, "PatientName", "Longer"))
    assert data.prepare() == 0
    assert len((data.store / TABLE).read_text().splitlines()) == 14
    assert len(load_store(data.store).series[0]) == 12


def test_a_file_that_was_mended_is_taken_in(data):
    paths = data.series(0)
    whole = paths[4].read_bytes()
    paths[4].write_bytes(whole[:-50])
    assert data.prepare() == 0
    assert len(load_store(data.store).series[0]) == 11
    paths[4].write_bytes(whole)
    assert data.prepare() == 0
    assert len(load_store(data.store).series[0]) == 12
    assert data.skipped() == {}


def test_other_pixels_under_the_same_names_are_taken_in(data):
    data.series(0)
    assert data.prepare() == 0
    data.series(0, hu=head(77))
    assert data.prepare() == 0
    assert (load_store(data.store).series[0].hu()[:, 0, 0] == 77).all()


def test_other_labels_are_noticed_and_come_into_the_tables(data, capsys):
    data.series(0)
    assert data.prepare() == 0
    write_labels(data.csv, {name: np.ones(6) for name in data.labels})
    assert data.prepare() == 0
    assert "labels of 1 series are not as they were" in capsys.readouterr().out
    assert (load_store(data.store).series[0].labels == 1).all()


def test_series_that_are_gone_are_told(data, capsys):
    data.series(0)
    paths = data.series(1)
    assert data.prepare() == 0
    for path in paths:
        path.unlink()
    assert data.prepare() == 0
    assert "1 series are no longer in the tables" in capsys.readouterr().out


def test_a_damaged_array_is_found_and_done_anew_when_checksums_are_compared(data, capsys):
    data.series(0)
    assert data.prepare() == 0
    path = array_path(data.store, "ID_s0")
    good = path.read_bytes()
    path.write_bytes(good[:-1] + b"\x7f")
    assert prepare.main(["check", str(data.store)]) == 1
    assert "ID_s0.npy has changed since it was written" in said(capsys)[-1]
    assert data.prepare("--verify") == 0
    assert path.read_bytes() == good
    assert prepare.main(["check", str(data.store)]) == 0


def test_a_damaged_table_of_headers_is_made_anew(data):
    data.series(0)
    assert data.prepare() == 0
    for damage in (b"nonsense\n", b"\xff\xfe\n", (data.store / TABLE).read_bytes()[:-5]):
        (data.store / TABLE).write_bytes(damage)
        assert data.prepare() == 0
        assert len(load_store(data.store).series[0]) == 12


# -- kills and full disks ------------------------------------------------------

COMMAND = [sys.executable, "-m", "training.prepare"]


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """A data set of 100 series, and what a store of it holds when nothing interrupts."""
    data = Data(tmp_path_factory.mktemp("many"))
    for series in range(100):
        data.series(series, slices=3)
    assert data.prepare() == 0
    return data, {name: content for name, content in data.files().items() if name != "store.json"}


@pytest.fixture
def hears_ctrl_c():
    """Programs that are started hear Ctrl-C, also where the tests are a shell's background job."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def started(data, jobs):
    """A run in a process group of its own, that has done a few series."""
    process = subprocess.Popen(
        [*COMMAND, *data.typed("--jobs", str(jobs))],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    journal = data.store / JOURNAL
    deadline = time.monotonic() + 60
    while not (journal.is_file() and journal.read_bytes().count(b"\n") > 4):
        assert process.poll() is None
        assert time.monotonic() < deadline
    return process


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_run_that_was_killed_ends_as_one_that_was_not(many, tmp_path, jobs):
    data, expected = many
    data.store = tmp_path / "store"
    process = started(data, jobs)
    process.kill()
    process.communicate()
    done = (data.store / JOURNAL).read_bytes().count(b"\n") - 1
    assert 3 < done < 100
    assert not (data.store / "series.csv").exists()
    (data.store / "hu" / "ID_s99.npy.part").write_bytes(b"half an array")
    assert data.prepare() == 0
    resumed = data.files()
    assert resumed.keys() - {"store.json"} == expected.keys()
    assert all(resumed[name] == expected[name] for name in expected)
    assert len(load_store(data.store).series) == 100


@pytest.mark.usefixtures("hears_ctrl_c")
@pytest.mark.parametrize("jobs", [1, 2])
def test_a_run_that_is_interrupted_at_the_keyboard_says_so_in_one_line(many, tmp_path, jobs):
    data, _ = many
    data.store = tmp_path / "store"
    process = started(data, jobs)
    os.killpg(process.pid, signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 130
    (line,) = told.strip().splitlines()
    assert line.startswith("interrupted; what was done stays")


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_a_disk_that_fills_up_is_told_in_one_line_and_the_run_can_go_on(data, jobs):
    data.series(0)
    data.series(1, slices=80, hu=np.zeros((80, 80), dtype=np.int16))
    typed = data.typed("--jobs", jobs)

    def small():
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    full = subprocess.run(
        [*COMMAND, *typed], cwd=ROOT, preexec_fn=small, capture_output=True, text=True, check=False
    )
    assert full.returncode == 1
    (line,) = full.stderr.strip().splitlines()
    assert line.startswith("error: ")
    assert "ID_s1.npy cannot be written: File too large; what is there already stays" in line
    assert sorted(path.name for path in (data.store / "hu").iterdir()) == ["ID_s0.npy"]
    assert prepare.main(typed) == 0
    assert len(load_store(data.store).series) == 2


def test_a_disk_that_is_too_small_is_told_before_the_work(data, capsys, monkeypatch):
    data.series(0)
    usage = shutil.disk_usage(data.images)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=100))
    assert data.prepare() == 1
    assert "0.0 GB are free; make room, or keep smaller slices with --size 256" in said(capsys)[-1]


def test_a_worker_that_is_killed_is_told(tmp_path):
    with pytest.raises(TrainingError, match="fewer --jobs"):
        list(mapped(os._exit, [1, 1], jobs=2))


def test_no_process_outlives_a_parent_that_was_killed(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(
        "import os, pathlib, time\n"
        "from training.jobs import mapped\n"
        "def work(path):\n"
        "    pathlib.Path(path).write_text(str(os.getpid()))\n"
        "    time.sleep(60)\n"
        "if __name__ == '__main__':\n"
        "    list(mapped(work, ['worker'], jobs=2))\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    parent = subprocess.Popen([sys.executable, program], cwd=tmp_path, env=environment)
    told = tmp_path / "worker"
    deadline = time.monotonic() + 30
    while not (told.is_file() and told.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    worker = Path("/proc", told.read_text())
    assert worker.exists()
    parent.kill()
    parent.wait()
    while worker.exists() and "zombie" not in (worker / "status").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.02)


# -- CQ500 ---------------------------------------------------------------------


@pytest.fixture
def cq500(tmp_path):
    for number in (1, 2):

        def change(image, number=number):
            image.SeriesDescription = "Plain" if number == 1 else "BONE"
            image.SeriesInstanceUID = f"1.2.{number}"

        place = tmp_path / "images" / f"CQ500CT{number} CQ500CT{number}" / "Unknown Study"
        ct.series(place / "CT Plain", [5.0 * i for i in range(14)], change)
    findings = ("ICH", "IPH", "IVH", "SDH", "EDH", "SAH")
    header = ",".join(f"R{r}:{f}" for r in (1, 2, 3) for f in findings)
    rows = [f"CQ500-CT-{n}" + ",1,0,0,1,0,0" * 3 for n in (1, 2, 3)]
    (tmp_path / "reads.csv").write_text("\n".join([f"name,{header}", *rows]) + "\n")
    return tmp_path


def cq500_typed(folder, *more):
    paths = ("--images", folder / "images", "--reads", folder / "reads.csv")
    return ["cq500", *map(str, paths), "--out", str(folder / "store"), *more]


def test_a_scan_has_the_majority_of_its_readers_and_unknown_slices(cq500, capsys):
    assert prepare.main(cq500_typed(cq500)) == 0
    store = load_store(cq500 / "store")
    (one,) = store.series
    assert (one.patient, one.study, one.name) == ("CQ500-CT-1", "CQ500-CT-1", "1.2.1")
    assert one.study_labels.tolist() == [0, 0, 0, 0, 1, 1]
    assert (one.labels == 255).all()
    assert store.source == "CQ500 head CT (reads.csv, majority of 3 readers)"
    with (cq500 / "store" / "skipped.csv").open() as file:
        skipped = {row["name"]: row["reason"] for row in csv.DictReader(file)}
    assert skipped["CQ500-CT-3"] == "no images"
    assert skipped["CQ500-CT-2"] == "no series that is plain axial head CT"
    assert "any                    1 series\n" in capsys.readouterr().out


def test_scans_that_are_there_are_not_done_again(cq500, capsys):
    assert prepare.main(cq500_typed(cq500)) == 0
    assert prepare.main(cq500_typed(cq500)) == 0
    assert "1 of 2 series are there already" in capsys.readouterr().out


def test_scans_that_no_one_read_are_one_error(cq500, capsys):
    (cq500 / "images").rename(cq500 / "elsewhere")
    (cq500 / "images").mkdir()
    assert prepare.main(cq500_typed(cq500)) == 1
    assert "none of the 3 scans" in said(capsys)[-1]


def test_strictly_a_scan_without_images_is_an_error(cq500, capsys):
    assert prepare.main(cq500_typed(cq500, "--strict")) == 1
    assert "--strict: scan CQ500-CT-3: no images" in said(capsys)[-1]


def test_a_store_of_one_data_set_is_not_gone_on_with_by_another(cq500, capsys):
    assert prepare.main(cq500_typed(cq500)) == 0
    data = Data(cq500)
    data.series(0)
    assert data.prepare() == 1
    assert "data set was cq500, now it is rsna" in said(capsys)[-1]


# -- patients set apart ----------------------------------------------------------


def test_held_out_patients_go_to_a_store_of_their_own_and_share_the_arrays(data, tmp_path):
    for series in range(12):
        data.series(series, slices=8)
    assert data.prepare("--hold-out", "0.3") == 0
    learned, held = load_store(data.store), load_store(tmp_path / "store-held-out")
    patients = [{one.patient for one in store.series} for store in (learned, held)]
    assert not patients[0] & patients[1]
    assert len(patients[0] | patients[1]) == 12
    assert learned.source != held.source
    for one in held.series:
        assert one.path.stat().st_ino == array_path(data.store, one.name).stat().st_ino
        assert np.array_equal(one.hu(), np.load(array_path(data.store, one.name)))
    assert data.prepare("--hold-out", "0.3") == 0  # and again
    assert load_store(tmp_path / "store-held-out").source == held.source


def test_a_share_that_holds_nobody_out_is_told(data, capsys):
    data.series(0)
    assert data.prepare("--hold-out", "0.0001") == 1
    assert "none of 1 series is held out" in capsys.readouterr().err
