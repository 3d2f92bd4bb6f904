"""What comes back is one study of one patient, and opens in OHIF where it should."""

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image

from node.report import Kind
from node.settings import Compression
from tests.e2e.peers import ICHNODE, Orthanc
from tests.viewer.conftest import Study
from tests.viewer.ohif import Viewer

pytestmark = pytest.mark.long

MEASUREMENT_GROUP, IMAGE_REGION, PROBABILITY = "125007", "111030", "122157"
STEPS = 4
"""How many measurements are stepped through."""

TOLERANCE = 6
"""Grey levels between what is stored and what is shown: the browser scales it."""

NAMES = {"Yamada": "phantom", "REMOVED": "tilted", "CQ500": "cq500"}


def _name(study: Study) -> str:
    """What screenshots of a study are called."""
    return next(name for start, name in NAMES.items() if study.patient_name.startswith(start))


def test_the_archive_has_one_study_of_one_patient(archive: Orthanc, study: Study) -> None:
    patients = archive.get("/tools/find", _query("Patient", study, "PatientID"))
    studies = json.loads(archive.get(f"/dicom-web/studies?StudyInstanceUID={study.uid}"))
    series = json.loads(archive.get(f"/dicom-web/studies/{study.uid}/series"))

    assert len(patients) == 1
    assert len(studies) == 1
    modalities = [one["00080060"]["Value"][0] for one in series]
    assert set(modalities) == {"CT", "OT", "SR"}
    assert modalities.count("CT") == modalities.count("OT") == 1
    assert len(study.results[Kind.SECONDARY_CAPTURE]) > len(study.source)  # and the summary


def test_every_result_carries_the_patient_and_study_of_the_source(study: Study) -> None:
    source = next(iter(study.source.values()))

    for result in (one for kind in study.results.values() for one in kind):
        for keyword in ("PatientName", "PatientID", "StudyInstanceUID", "StudyDate", "StudyID"):
            assert result.get(keyword) == source.get(keyword), keyword
        assert result.get("PatientName").original_string == source.PatientName.original_string
        assert result.get("SpecificCharacterSet") == source.get("SpecificCharacterSet")


def test_the_list_shows_it_once(viewer: Viewer, study: Study, keep: Callable[[str], None]) -> None:
    rows = [row for row in viewer.open_list() if study.patient_name in row[0]]
    keep("list")

    assert len(rows) == 1
    assert "CT\\OT\\SR" in rows[0]


def test_the_study_shows_images_captures_and_reports(
    viewer: Viewer, study: Study, keep: Callable[[str], None]
) -> None:
    viewer.open_study(study.uid)
    viewer.scroll(len(study.source) // 2)
    assert _shows_something(viewer.settled(_shows_something))
    keep(f"{_name(study)}-study")

    described = {(str(r[0].Modality), str(r[0].SeriesDescription)) for r in study.results.values()}
    shown = viewer.series()
    assert described <= set(shown)
    assert sorted(modality for modality, _ in shown) == ["CT", "OT", "SR", "SR", "SR"]


def test_captures_show_as_they_are_stored_and_scroll_from_foot_to_head(
    viewer: Viewer, study: Study, keep: Callable[[str], None]
) -> None:
    captures = study.results[Kind.SECONDARY_CAPTURE]
    likeliest, _ = next(_measurements(study.results[Kind.STRUCTURED_REPORT][0]))
    [index] = [i for i, one in enumerate(captures) if i > 0 and likeliest in _sources(one)]
    viewer.open_study(study.uid)
    viewer.show(study.description(Kind.SECONDARY_CAPTURE))

    shown = viewer.settled(_is_picture_of(captures[0].pixel_array))
    keep(f"{_name(study)}-summary")
    assert viewer.place() == (int(captures[0].InstanceNumber), 1, len(captures))
    assert _is_picture_of(captures[0].pixel_array)(shown)
    assert _warns(shown)
    assert not _is_picture_of(captures[index].pixel_array)(shown)  # another one would be noticed

    place = viewer.scroll(index)
    shown = viewer.settled(_is_picture_of(captures[index].pixel_array))
    keep(f"{_name(study)}-capture")
    assert place == (int(captures[index].InstanceNumber), index + 1, len(captures))
    assert _is_picture_of(captures[index].pixel_array)(shown)
    assert _warns(shown)


def test_the_report_of_findings_leads_to_the_flagged_slices(
    viewer: Viewer, study: Study, keep: Callable[[str], None]
) -> None:
    [report] = study.results[Kind.STRUCTURED_REPORT]
    expected = [
        (int(study.source[uid].InstanceNumber), f"Probability: {probability:.2f} %")
        for uid, probability in _measurements(report)
    ][:STEPS]
    assert study.revision.maxima is not None
    assert expected[0][1] == f"Probability: {100 * study.revision.maxima['any']:.2f} %"

    viewer.open_report(study.uid, study.description(Kind.STRUCTURED_REPORT))

    assert viewer.until(lambda: _reading(viewer), expected[0].__eq__) == expected[0]
    assert _shows_something(viewer.settled(_shows_something))
    keep(f"{_name(study)}-report")
    for one in expected[1:]:
        viewer.step()
        assert viewer.until(lambda: _reading(viewer), one.__eq__) == one


def test_the_report_for_software_opens_too(viewer: Viewer, phantom_study: Study) -> None:
    [report] = phantom_study.results[Kind.SLICE_REPORT]
    image, probability = next(_measurements(report))
    instance = int(phantom_study.source[image].InstanceNumber)

    viewer.open_report(phantom_study.uid, phantom_study.description(Kind.SLICE_REPORT))

    written = viewer.until(viewer.written, bool)
    assert viewer.place().instance == instance
    assert f"Probability: {probability:.2f} %" in written


def test_the_report_in_words_reads_well(
    viewer: Viewer, study: Study, keep: Callable[[str], None]
) -> None:
    viewer.open_study(study.uid)
    viewer.show(study.description(Kind.TEXT_REPORT))
    keep(f"{_name(study)}-text")

    text = " ".join(viewer.text().split())
    assert "NOT FOR CLINICAL USE" in text
    assert study.revision.maxima is not None
    for label, probability in study.revision.maxima.items():
        assert label in text
        assert probability < 0.001 or f"{100 * probability:.1f} %" in text


@pytest.mark.parametrize("compression", [Compression.JPEG_LS])  # all were seen; each takes its time
def test_compressed_captures_in_one_object_show_too(
    viewer: Viewer,
    archive: Orthanc,
    phantom_series: Callable[[str], list[Path]],
    tmp_path: Path,
    compression: Compression,
) -> None:
    files = phantom_series(f"Compressed^{compression}")
    config, out = tmp_path / "ichnode.toml", tmp_path / "results"
    config.write_text(f'[report]\ncapture = "multi-frame"\ncompression = "{compression}"\n')
    arguments = ["analyze", files[0].parent, "--config", config, "--out", out]
    subprocess.run([*ICHNODE, *map(str, arguments)], check=True, capture_output=True)
    for file in (*files, *out.rglob("*.dcm")):
        archive.get("/instances", file.read_bytes())
    [capture] = [pydicom.dcmread(file) for file in out.rglob("sc*.dcm")]

    viewer.open_study(str(capture.StudyInstanceUID))
    viewer.show(str(capture.SeriesDescription))

    is_shown = _is_picture_of(capture.pixel_array[0])
    shown = viewer.settled(is_shown)
    assert viewer.place().count == len(files) + 1
    assert is_shown(shown)
    assert _warns(shown)


# -- what is stored --------------------------------------------------------


def _query(level: str, study: Study, keyword: str) -> bytes:
    value = str(next(iter(study.source.values()))[keyword].value)
    return json.dumps({"Level": level, "Query": {keyword: value}}).encode()


def _sources(capture: pydicom.Dataset) -> list[str]:
    """The images that a capture was made from."""
    return [str(item.ReferencedSOPInstanceUID) for item in capture.SourceImageSequence]


def _measurements(report: pydicom.Dataset) -> Iterator[tuple[str, float]]:
    """Image and probability of every measurement group, in their order."""

    def items(parent: pydicom.Dataset, concept: str) -> Iterator[pydicom.Dataset]:
        for item in parent.get("ContentSequence", ()):
            name = item.get("ConceptNameCodeSequence")
            if name and name[0].CodeValue == concept:
                yield item
            else:
                yield from items(item, concept)

    for group in items(report, MEASUREMENT_GROUP):
        [region] = items(group, IMAGE_REGION)
        [probability] = items(group, PROBABILITY)
        image = region.ContentSequence[0].ReferencedSOPSequence[0]
        value = probability.MeasuredValueSequence[0].NumericValue
        yield str(image.ReferencedSOPInstanceUID), float(value)


# -- what is shown ---------------------------------------------------------


def _reading(viewer: Viewer) -> tuple[int, str]:
    """The image that a report leads to, and what is written there."""
    return viewer.place().instance, ", ".join(viewer.written())


def _shows_something(shown: np.ndarray) -> bool:
    """A head, not the air above it: grey levels differ (about 20 levels in the latter)."""
    return float(shown.std()) > 40


def _is_picture_of(pixels: np.ndarray) -> Callable[[np.ndarray], bool]:
    """Whether a viewport shows a capture as it is stored, fitted in."""
    stored = Image.fromarray(pixels)

    def is_it(shown: np.ndarray) -> bool:
        rows, columns = shown.shape[:2]
        scale = min(rows / stored.height, columns / stored.width)
        size = round(stored.width * scale), round(stored.height * scale)
        fitted = np.asarray(stored.resize(size, Image.Resampling.BILINEAR), dtype=float)
        top, left = (rows - size[1]) // 2, (columns - size[0]) // 2
        part = shown[top : top + size[1], left : left + size[0]]
        return float(np.abs(fitted - part).mean()) < TOLERANCE

    return is_it


def _warns(shown: np.ndarray) -> bool:
    """The yellow field with "NOT FOR CLINICAL USE" is there."""
    red, green, blue = np.moveaxis(shown.astype(int), -1, 0)
    return float(((red > 200) & (green > 180) & (blue < 120)).mean()) > 0.005
