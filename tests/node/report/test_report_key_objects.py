"""Key objects and presentation states: the flagged slices, and nothing else."""

import shutil
import subprocess
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image

from ml.labels import LABELS, Label
from ml.windows import BRAIN
from node.report.check import check
from node.report.files import write
from node.report.key_objects import build_key_objects
from node.report.origin import Origin
from node.report.presentation import build_presentation_states

CREATED = datetime(2026, 1, 1, tzinfo=UTC)
RESCALED = {"RescaleSlope": 1, "RescaleIntercept": -1024, "Rows": 64, "Columns": 64}


def flagged(case, *indices, label=Label.SUBDURAL):
    probabilities = np.zeros_like(case.judgement.probabilities)
    probabilities[list(indices), LABELS.index(label)] = 0.9
    return case.judged(probabilities=probabilities)


def origin_of(case):
    return Origin.of(case.judgement, case.volume, case.sources)


def key_objects(case, folder, revision=1):
    built = build_key_objects(origin_of(case), revision=revision, created=CREATED)
    if built is None:
        return None
    write(built, folder / "ko.dcm")
    check(folder / "ko.dcm", built, origin_of(case))
    return pydicom.dcmread(folder / "ko.dcm")


def states(case, folder):
    found = []
    for number, built in enumerate(
        build_presentation_states(origin_of(case), revision=1, created=CREATED)
    ):
        path = folder / f"pr-{number}.dcm"
        write(built, path)
        check(path, built, origin_of(case))
        found.append(pydicom.dcmread(path))
    return found


def uids(case, *indices):
    return [case.volume.slices[index].sop_instance_uid for index in indices]


def without_point(case):
    return case.judged(model=replace(case.judgement.model, operating_point=None))


# -- key objects -----------------------------------------------------------


@pytest.mark.parametrize("indices", [(1,), (0, 2), (0, 1, 2, 3)])
def test_the_flagged_slices_are_the_key_objects_and_the_evidence(case, tmp_path, indices):
    document = key_objects(flagged(case, *indices), tmp_path)
    images = [i for i in document.ContentSequence if i.ValueType == "IMAGE"]
    named = [i.ReferencedSOPSequence[0].ReferencedSOPInstanceUID for i in images]
    assert named == uids(case, *indices)
    (study,) = document.CurrentRequestedProcedureEvidenceSequence
    (series,) = study.ReferencedSeriesSequence
    evidence = [sop.ReferencedSOPInstanceUID for sop in series.ReferencedSOPSequence]
    assert evidence == named


def test_key_objects_say_what_flagged_them_and_what_they_are_not_for(case, tmp_path):
    document = key_objects(flagged(case, 2), tmp_path)
    (said,) = (
        item.TextValue
        for item in document.ContentSequence
        if item.ValueType == "TEXT" and item.RelationshipType == "CONTAINS"
    )
    assert said.startswith("NOT FOR CLINICAL USE. 1 of 4 slices flagged by model phantom 0.1.0")
    assert "subdural 90.0 % (slice 3)" in said
    assert document.SeriesDescription.endswith("not for clinical use")


def test_nothing_flagged_gives_no_objects(case, tmp_path):
    for none in (flagged(case), without_point(flagged(case, 1))):
        assert key_objects(none, tmp_path) is None
        assert states(none, tmp_path) == []


def test_frames_of_an_enhanced_image_are_named(make_case, tmp_path):
    case = flagged(make_case(3, enhanced=True), 0, 2)
    document = key_objects(case, tmp_path)
    frames = [
        i.ReferencedSOPSequence[0].ReferencedFrameNumber
        for i in document.ContentSequence
        if i.ValueType == "IMAGE"
    ]
    assert frames == [1, 3]
    (series,) = document.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence
    assert len(series.ReferencedSOPSequence) == 1


def test_another_revision_or_judgement_has_another_name(case, tmp_path):
    first = key_objects(flagged(case, 1), tmp_path)
    other = key_objects(flagged(case, 1).judged(input_digest=64 * "b"), tmp_path)
    assert first.SOPInstanceUID != other.SOPInstanceUID


# -- presentation states ---------------------------------------------------


def test_a_state_shows_the_flagged_slices_in_the_brain_window(make_case, tmp_path):
    case = flagged(make_case(**RESCALED), 1, 3)
    (state,) = states(case, tmp_path)
    (series,) = state.ReferencedSeriesSequence
    assert [i.ReferencedSOPInstanceUID for i in series.ReferencedImageSequence] == uids(case, 1, 3)
    (window,) = state.SoftcopyVOILUTSequence
    assert (window.WindowCenter, window.WindowWidth) == (BRAIN.level, BRAIN.width)
    assert (state.RescaleSlope, state.RescaleIntercept) == (1, -1024)
    (area,) = state.DisplayedAreaSelectionSequence
    assert area.DisplayedAreaBottomRightHandCorner == [64, 64]


def test_every_flagged_slice_has_its_own_words(make_case, tmp_path):
    case = flagged(make_case(**RESCALED), 1, 3)
    (state,) = states(case, tmp_path)
    for annotation, uid in zip(state.GraphicAnnotationSequence, uids(case, 1, 3), strict=True):
        (image,) = annotation.ReferencedImageSequence
        assert image.ReferencedSOPInstanceUID == uid
        (words,) = annotation.TextObjectSequence
        assert "subdural 90.0 %" in words.UnformattedTextValue
        assert "not for clinical use" in words.UnformattedTextValue


def test_images_that_become_hu_in_another_way_get_a_state_of_their_own(make_case, tmp_path):
    case = make_case(**RESCALED)
    case.sources[2].RescaleIntercept = -1000
    one, other = states(flagged(case, 0, 1, 2), tmp_path)
    assert (one.RescaleIntercept, other.RescaleIntercept) == (-1024, -1000)
    named = [
        i.ReferencedSOPInstanceUID
        for i in other.ReferencedSeriesSequence[0].ReferencedImageSequence
    ]
    assert named == uids(case, 2)
    assert one.SOPInstanceUID != other.SOPInstanceUID


def test_frames_of_one_image_stand_together(make_case, tmp_path):
    case = make_case(3, enhanced=True, Rows=64, Columns=64)
    transformation = pydicom.Dataset()
    transformation.RescaleSlope, transformation.RescaleIntercept = 1, -1024
    (shared,) = case.sources[0].SharedFunctionalGroupsSequence
    shared.PixelValueTransformationSequence = [transformation]
    (state,) = states(flagged(case, 0, 2), tmp_path)
    (image,) = state.ReferencedSeriesSequence[0].ReferencedImageSequence
    assert image.ReferencedFrameNumber == [1, 3]


# -- judges that do not know this project ----------------------------------


def complaints(path: Path) -> str:
    done = subprocess.run(["dciodvfy", path], capture_output=True, check=False)
    return (done.stdout + done.stderr).decode(errors="replace")


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="no dciodvfy")
@pytest.mark.parametrize(
    ("charset", "name"),
    [
        ("ISO_IR 100", "Müller^Jörg"),
        (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう"),
        (["", "ISO 2022 IR 149"], "Hong^Gildong=洪^吉洞=홍^길동"),
        ("ISO_IR 144", "Люкceмбypг^Иван"),
        ("ISO_IR 192", "Wang^XiaoDong=王^小東="),
    ],
)
def test_dciodvfy_has_nothing_to_say(make_case, tmp_path, charset, name):
    case = flagged(make_case(SpecificCharacterSet=charset, PatientName=name, **RESCALED), 1, 3)
    key_objects(case, tmp_path)
    states(case, tmp_path)
    assert complaints(tmp_path / "ko.dcm").split() == ["KeyObjectSelectionDocument"]
    assert complaints(tmp_path / "pr-0.dcm").split() == ["GrayscaleSoftcopyPresentationState"]


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="no dciodvfy")
def test_dciodvfy_would_have_seen_a_fault(make_case, tmp_path):
    case = flagged(make_case(**RESCALED), 1)
    key_objects(case, tmp_path)
    (state,) = states(case, tmp_path)
    del state.PresentationLUTShape
    state.save_as(tmp_path / "pr-0.dcm")
    assert "Error" in complaints(tmp_path / "pr-0.dcm")
    document = pydicom.dcmread(tmp_path / "ko.dcm")
    del document.CurrentRequestedProcedureEvidenceSequence
    document.save_as(tmp_path / "ko.dcm")
    assert "Error" in complaints(tmp_path / "ko.dcm")


@pytest.mark.skipif(not Path("/usr/bin/dsrdump").exists(), reason="no DCMTK")
def test_dcmtk_reads_the_key_objects(case, tmp_path):
    key_objects(flagged(case, 1), tmp_path)
    done = subprocess.run(
        ["/usr/bin/dsrdump", tmp_path / "ko.dcm"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0
    assert done.stderr in ("", "W: Check for template constraints not yet supported\n")
    assert "Key Object Selection Document" in done.stdout


@pytest.mark.data
@pytest.mark.skipif(not Path("/usr/bin/dcmp2pgm").exists(), reason="no DCMTK")
def test_dcmtk_shows_a_real_slice_as_our_brain_window_does(real_case, tmp_path):
    case = flagged(real_case, 3)
    assert len(states(case, tmp_path)) == 1
    uid = uids(case, 3)[0]
    (source,) = (s for s in case.sources if s.SOPInstanceUID == uid)
    image = pydicom.dcmread(source.filename)
    if image.file_meta.TransferSyntaxUID.is_compressed:
        image.decompress(generate_instance_uid=False)
    image.save_as(tmp_path / "image.dcm")
    done = subprocess.run(
        [
            "/usr/bin/dcmp2pgm",
            "-p",
            *(tmp_path / f for f in ("pr-0.dcm", "image.dcm", "shown.pgm")),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    with Image.open(tmp_path / "shown.pgm") as shown:
        seen = np.asarray(shown).astype(float)
    expected = BRAIN.apply(case.volume.hu[3].astype(np.float32)) * 255
    assert seen.shape == expected.shape
    # PS3.3, C.11.2.1.2.1: its window ends half a HU earlier; a HU is 3.2 grey levels
    assert np.abs(seen - expected).max() <= 3.2
