"""A phantom is a pure function of its seed, labelled truly, and valid DICOM."""

import re
import shutil
import subprocess

import numpy as np
import pydicom
import pytest

from ml.labels import LABELS, SUBTYPES, Label
from ml.phantom import make_phantom, write_dicom
from ml.series import load_series

ANY = LABELS.index(Label.ANY)


def test_the_same_seed_gives_the_same_bytes(tmp_path):
    first, second = make_phantom(5, size=64), make_phantom(5, size=64)
    assert first.hu.tobytes() == second.hu.tobytes()
    assert first.labels.tobytes() == second.labels.tobytes()
    a = write_dicom(first, tmp_path / "a")
    b = write_dicom(second, tmp_path / "b")
    assert [p.read_bytes() for p in a] == [p.read_bytes() for p in b]


def test_another_seed_gives_another_head_and_other_identifiers(tmp_path):
    paths = [write_dicom(make_phantom(s, size=64), tmp_path / str(s))[0] for s in (1, 2)]
    one, other = (pydicom.dcmread(path) for path in paths)
    for keyword in ("PatientID", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
        assert one[keyword].value != other[keyword].value
    assert one.PixelData != other.PixelData


def test_the_same_seed_with_other_arguments_is_another_series():
    keys = {
        make_phantom(3, size=64).key,
        make_phantom(3, size=32).key,
        make_phantom(3, size=64, findings=()).key,
        make_phantom(3, size=64, findings=(Label.SUBDURAL,)).key,
    }
    assert len(keys) == 4


@pytest.mark.parametrize("label", SUBTYPES)
def test_a_finding_that_is_asked_for_is_on_several_slices_and_alone(label):
    for seed in range(4):
        phantom = make_phantom(seed, size=96, findings=(label,))
        assert phantom.labels[:, LABELS.index(label)].sum() >= 2, f"seed {seed}"
        assert [f.label for f in phantom.findings] == [label]
        others = [i for i, other in enumerate(LABELS) if other not in (label, Label.ANY)]
        assert not phantom.labels[:, others].any()


def test_any_is_the_maximum_of_the_others():
    for seed in range(8):
        labels = make_phantom(seed, size=64).labels
        assert labels.dtype == np.uint8
        assert np.array_equal(labels[:, ANY], np.delete(labels, ANY, axis=1).max(axis=1))


def test_a_labelled_slice_really_differs_from_the_same_head_without_blood():
    phantom = make_phantom(2, size=96, findings=(Label.INTRAPARENCHYMAL,))
    bright = ((phantom.hu > 45) & (phantom.hu < 100)).sum(axis=(1, 2))
    seen = phantom.labels[:, ANY] == 1
    middle = slice(len(phantom) // 3, None)  # muscle and marrow are as bright further down
    assert bright[middle][seen[middle]].mean() > bright[middle][~seen[middle]].mean()


def test_about_half_of_the_heads_have_no_bleed_and_every_kind_occurs():
    heads = [make_phantom(seed, size=32) for seed in range(60)]
    assert 15 <= sum(not head.findings for head in heads) <= 45
    assert {f.label for head in heads for f in head.findings} == set(SUBTYPES)


def test_a_head_runs_from_the_base_to_the_vertex():
    phantom = make_phantom(9, size=128)
    assert 24 <= len(phantom) <= 44
    bone = (phantom.hu > 300).sum(axis=(1, 2))
    brain = ((phantom.hu > 10) & (phantom.hu < 60)).sum(axis=(1, 2))
    middle = len(phantom) // 2
    assert brain[middle] > 2 * brain[-1]
    assert bone[middle] > 0
    assert np.all(np.diff(phantom.positions_mm) > 0)


def test_what_is_written_is_read_back(tmp_path):
    for seed in (1, 6):
        phantom = make_phantom(seed, size=64)
        volume = load_series(write_dicom(phantom, tmp_path / str(seed)))
        assert np.array_equal(volume.hu, phantom.hu)
        assert volume.warnings == ()
        assert np.allclose([s.position_mm for s in volume.slices], phantom.positions_mm, atol=0.01)
        assert np.allclose(np.diff(phantom.positions_mm), phantom.spacing_mm, atol=0.01)


def test_a_tilted_gantry_shows_in_the_orientation(tmp_path):
    phantom = next(p for p in (make_phantom(s, size=32) for s in range(40)) if p.tilt_deg > 8)
    image = pydicom.dcmread(write_dicom(phantom, tmp_path)[0])
    assert float(image.GantryDetectorTilt) == phantom.tilt_deg
    sine = -float(image.ImageOrientationPatient[5])
    assert sine == pytest.approx(np.sin(np.radians(phantom.tilt_deg)), abs=1e-5)


def test_a_slice_of_512_lies_where_one_of_256_lies():
    small, large = make_phantom(4, size=256, findings=()), make_phantom(4, size=512, findings=())
    halved = large.hu.reshape(len(large), 256, 2, 256, 2).mean(axis=(2, 4))
    middle = len(small) // 2
    difference = np.abs(halved[middle] - small.hu[middle])
    assert large.hu.shape == (len(small), 512, 512)
    assert np.median(difference) < 15


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dicom3tools is not installed")
def test_dciodvfy_has_nothing_to_say(tmp_path):
    for seed in (1, 6):
        path = write_dicom(make_phantom(seed, size=64), tmp_path / str(seed))[0]
        run = subprocess.run(["dciodvfy", path], capture_output=True, text=True, check=False)
        said = run.stdout + run.stderr
        assert run.returncode == 0, said
        assert not re.search(r"^(Error|Warning)", said, re.MULTILINE), said


@pytest.mark.parametrize(
    ("seed", "arguments"),
    [(-1, {}), (0, {"size": 8}), (0, {"findings": (Label.ANY,)})],
)
def test_what_cannot_be_drawn_is_refused(seed, arguments):
    with pytest.raises(ValueError, match=r"phantom needs|findings must"):
        make_phantom(seed, **arguments)
