"""Evidence maps: what is drawn, what is said beside it, and the objects that they are in."""

import shutil
import subprocess
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image

from ml.evidence import Evidence
from ml.labels import LABELS, Label
from node.report.check import check
from node.report.errors import ReportError, ResultHeld
from node.report.evidence_map import build_evidence_maps
from node.report.files import write
from node.report.identity import series_uid
from node.report.orientation import Edges
from node.report.origin import Origin
from node.report.picture.heat import draw_evidence, overlaid
from node.report.picture.paint import MARGIN, Canvas, font_of, shorten
from node.report.picture.slice import draw_brain_window
from node.settings import Compression, Kind, ReportSettings

CREATED = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
HEAD = 84 + MARGIN
WIDTH = 2 * 410 + 4 * MARGIN
"""To the slices from above, and of a picture; lengths for a slice of 410."""

needs_dciodvfy = pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="no dciodvfy")


def spot(shape, at=(0.25, 0.75), width=0.08):
    """A map with one bright spot."""
    rows, columns = shape
    y, x = np.ogrid[:rows, :columns]
    away = ((y + 0.5) / rows - at[0]) ** 2 + ((x + 0.5) / columns - at[1]) ** 2
    return np.exp(-away / width**2).astype(np.float32)


def evidence_for(case, *indices, label=Label.SUBDURAL):
    shape = case.volume.hu.shape[1:]
    return [Evidence(index, label, spot(shape)) for index in indices]


def origin_of(case):
    return Origin.of(case.judgement, case.volume, case.sources)


def maps(case, evidence, folder, **settings):
    """The maps of a case as they are read back, after the self-check."""
    origin, wanted = origin_of(case), ReportSettings(**settings)
    read = {}
    for name, built in build_evidence_maps(origin, evidence, wanted, revision=1, created=CREATED):
        write(built, folder / name)
        check(folder / name, built, origin)
        read[name] = pydicom.dcmread(folder / name)
    return read


def draw(case, heat, index=0, edges=None):
    evidence = Evidence(index, Label.SUBDURAL, heat)
    return draw_evidence(
        case.judgement, evidence, case.volume.hu[index], case.volume.spacing_mm, edges
    )


def halves(picture, case, index=0):
    """The plain slice and the one with the map, cut out of a picture."""
    image = draw_brain_window(case.volume.hu[index], case.volume.spacing_mm)
    unit = max(image.size) / 410
    top = round(HEAD * unit)
    found = []
    for number in range(2):
        left = round(((2 * number + 1) * WIDTH / 4 - image.width / unit / 2) * unit)
        found.append(picture[top : top + image.height, left : left + image.width].astype(int))
    return found


# -- the picture ------------------------------------------------------------------


def test_the_slice_stands_beside_the_map_with_nothing_over_it(case):
    image = draw_brain_window(case.volume.hu[0], case.volume.spacing_mm)
    picture = draw(case, spot((64, 64)))
    plain, mapped = halves(picture, case)
    expected = np.repeat(np.asarray(image, dtype=int)[..., None], 3, axis=-1)
    assert np.array_equal(plain, expected)
    assert not np.array_equal(mapped, plain)


def test_colour_is_where_the_evidence_is_and_nowhere_else(case):
    heat = spot((64, 64), at=(0.3, 0.6))
    plain, mapped = halves(draw(case, heat), case)
    changed = np.abs(mapped - plain).sum(axis=-1)
    where = np.asarray(Image.fromarray(heat).resize(changed.shape[::-1], Image.Resampling.BILINEAR))
    assert changed[where < 0.1].max() == 0
    assert changed[where > 0.3].min() > 0
    y, x = np.unravel_index(where.argmax(), where.shape)
    red, green, blue = mapped[y, x]
    assert red > 150 and green > 150 and blue < 100, "the strongest place is yellow"


def test_a_map_of_zeros_leaves_the_slice_as_it_is(case):
    plain, mapped = halves(draw(case, np.zeros((64, 64), np.float32)), case)
    assert np.array_equal(plain, mapped)


def test_more_evidence_is_lighter_on_brain_also_without_colour():
    """Ordered by lightness: Rec. 601 luma, as a printer without colour has it."""
    heat = np.linspace(0.5, 1, 256, dtype=np.float32)[None].repeat(4, axis=0)
    brain = Image.new("RGB", (256, 4), (100, 100, 100))
    luma = np.asarray(overlaid(brain, heat).convert("L"), dtype=int)[2, ::8]
    assert (np.diff(luma) >= 0).all()
    assert luma[-1] - luma[0] > 30


@pytest.mark.parametrize(
    ("rows", "columns", "spacing_mm"),
    [(64, 64, (3, 3)), (512, 512, (1, 1)), (32, 96, None), (96, 33, (1, 1)), (100, 100, (2, 1))],
)
def test_pictures_of_any_slice_have_even_sides_and_two_slices_side_by_side(
    make_case, rows, columns, spacing_mm
):
    case = make_case(2, rows=rows, columns=columns, spacing_mm=spacing_mm)
    picture = draw(case, spot((rows, columns)))
    assert picture.dtype == np.uint8
    assert picture.shape[0] % 2 == picture.shape[1] % 2 == 0
    plain, mapped = halves(picture, case)
    changed = np.nonzero(np.abs(mapped - plain).sum(axis=-1))
    y, x = (places.mean() / size for places, size in zip(changed, plain.shape[:2], strict=True))
    assert (y, x) == pytest.approx((0.25, 0.75), abs=0.06)


@pytest.mark.parametrize(
    "shape", [(64, 64), (512, 512), (1024, 1024), (512, 200), (200, 512), (16, 16)]
)
@pytest.mark.parametrize("label", LABELS)
def test_texts_can_be_read_at_512_pixels_and_do_not_lie_over_each_other(
    make_case, shape, label, monkeypatch
):
    written = []
    write_text = Canvas.text

    def noting(self, x, y, text, size, fill=(0, 0, 0), *, anchor="la", room=None):
        font = font_of(self.px(size))
        shown = text if room is None else shorten(text, font, self.px(room))
        capital = font.getbbox("H", anchor="ls")
        box = np.array(font.getbbox(shown, anchor=anchor)) + 2 * (self.px(x), self.px(y))
        written.append((shown, capital[3] - capital[1], box))
        write_text(self, x, y, text, size, fill, anchor=anchor, room=room)

    monkeypatch.setattr(Canvas, "text", noting)
    case = make_case(3, rows=shape[0], columns=shape[1])
    evidence = Evidence(1, label, spot(shape))
    picture = draw_evidence(
        case.judgement, evidence, case.volume.hu[1], edges=Edges("AR", "PL", "AL", "PR")
    )
    rows, columns, _ = picture.shape
    for number, (text, capital, (left, top, right, bottom)) in enumerate(written):
        assert capital * 512 / columns >= 7.9, text
        assert left >= 0 and top >= 0 and right <= columns and bottom <= rows, text
        assert not text.endswith("..."), text
        for other, _, box in written[:number]:
            apart = right <= box[0] or box[2] <= left or bottom <= box[1] or box[3] <= top
            assert apart, (text, other)


def test_the_picture_says_what_it_is_of_and_what_it_is_not(case, monkeypatch):
    said = []
    write_text = Canvas.text

    def noting(self, x, y, text, *arguments, **options):
        said.append(text)
        write_text(self, x, y, text, *arguments, **options)

    monkeypatch.setattr(Canvas, "text", noting)
    probability = case.judgement.probability(2, Label.SUBDURAL)
    draw(case, spot((64, 64)), index=2, edges=Edges("R", "L", "A", "P"))
    assert f"Subdural {probability:.0%}".replace("%", " %") in said
    assert "Slice 3 / 4" in said
    assert any(case.judgement.model.name in text for text in said)
    assert any("Aid to understanding the model, not a segmentation." in text for text in said)
    assert "NOT FOR CLINICAL USE" in said
    assert said.count("low") == said.count("high") == 1
    assert [said.count(letter) for letter in "RLAP"] == [2, 2, 2, 2]


# -- the objects ------------------------------------------------------------------


def test_each_evidence_becomes_one_object_of_a_series_of_its_own(case, tmp_path):
    found = maps(case, evidence_for(case, 1, 3), tmp_path)
    assert list(found) == ["map-002.dcm", "map-004.dcm"]
    for index, dataset in zip((1, 3), found.values(), strict=True):
        item = case.judgement.slices[index]
        assert dataset.SOPClassUID.name == "Secondary Capture Image Storage"
        assert dataset.SeriesInstanceUID == series_uid(case.judgement, Kind.EVIDENCE_MAP)
        assert dataset.SeriesNumber == 307
        assert dataset.InstanceNumber == item.instance_number
        (source,) = dataset.SourceImageSequence
        assert source.ReferencedSOPInstanceUID == item.sop_instance_uid
        assert dataset.PatientOrientation == ["L", "P"]
        assert "not for clinical use" in dataset.SeriesDescription
        for part in ("subdural", "not a segmentation", "Not for clinical use", "2 of 4 flagged"):
            assert part in dataset.DerivationDescription
        assert "ImagePositionPatient" not in dataset
    uids = {dataset.SOPInstanceUID for dataset in found.values()}
    assert len(uids) == 2


def test_without_evidence_there_is_no_object(case, tmp_path):
    assert maps(case, [], tmp_path) == {}


def test_the_same_evidence_gives_the_same_bytes(case, tmp_path):
    written = []
    for folder in (tmp_path / "one", tmp_path / "other"):
        folder.mkdir()
        maps(case, evidence_for(case, 2), folder)
        written.append((folder / "map-003.dcm").read_bytes())
    assert written[0] == written[1]


def test_the_self_check_would_see_a_picture_that_is_cut_short(case, tmp_path):
    origin = origin_of(case)
    ((_, one),) = build_evidence_maps(
        origin, evidence_for(case, 2), ReportSettings(), revision=1, created=CREATED
    )
    one.PixelData = one.PixelData[:-2]
    write(one, tmp_path / "map.dcm")
    with pytest.raises(ResultHeld, match="cut short"):
        check(tmp_path / "map.dcm", one, origin)


@pytest.mark.parametrize("compression", [c for c in Compression if c is not Compression.NONE])
def test_compression_loses_nothing(case, tmp_path, compression):
    (tmp_path / "packed").mkdir()
    plain = maps(case, evidence_for(case, 1), tmp_path)["map-002.dcm"]
    packed = maps(case, evidence_for(case, 1), tmp_path / "packed", compression=compression)
    assert packed["map-002.dcm"].file_meta.TransferSyntaxUID.is_compressed
    assert np.array_equal(packed["map-002.dcm"].pixel_array, plain.pixel_array)


def test_a_map_of_another_size_than_its_slice_is_refused(case):
    wrong = [Evidence(0, Label.ANY, np.zeros((32, 64), np.float32))]
    built = build_evidence_maps(
        origin_of(case), wrong, ReportSettings(), revision=1, created=CREATED
    )
    with pytest.raises(ReportError, match=r"slice 1 has shape \(32, 64\), the slice \(64, 64\)"):
        next(built)


def test_an_enhanced_image_is_referred_to_by_its_frame(make_case, tmp_path):
    case = make_case(3, enhanced=True)
    found = maps(case, evidence_for(case, 1), tmp_path)["map-002.dcm"]
    (source,) = found.SourceImageSequence
    assert source.ReferencedFrameNumber == found.InstanceNumber == 2


def said_of(path: Path) -> list[str]:
    done = subprocess.run(["dciodvfy", path], check=False, capture_output=True, text=True)
    return done.stderr.split("\n")[:-1] + ([] if done.returncode == 0 else ["failed"])


@needs_dciodvfy
@pytest.mark.parametrize("compression", Compression)
@pytest.mark.parametrize("enhanced", [False, True])
def test_dciodvfy_has_nothing_to_say(make_case, tmp_path, compression, enhanced):
    case = make_case(3, enhanced=enhanced)
    found = maps(case, evidence_for(case, 0, 2), tmp_path, compression=compression)
    assert len(found) == 2
    for name in found:
        assert said_of(tmp_path / name) == ["SCImage"]


@needs_dciodvfy
def test_dciodvfy_would_see_a_fault(case, tmp_path):
    found = maps(case, evidence_for(case, 0), tmp_path)["map-001.dcm"]
    del found.ConversionType
    found.save_as(tmp_path / "broken.dcm")
    assert any("ConversionType" in line for line in said_of(tmp_path / "broken.dcm"))


@pytest.mark.data
def test_a_real_slice_is_shown_with_its_map(real_case, tmp_path):
    case = replace(real_case)
    found = maps(case, evidence_for(case, 0, 5), tmp_path)
    assert [dataset.Rows % 2 for dataset in found.values()] == [0, 0]
    for index, dataset in zip((0, 5), found.values(), strict=True):
        plain, mapped = halves(dataset.pixel_array, case, index)
        assert 0 < (np.abs(plain - mapped).sum(axis=-1) > 0).mean() < 0.1
