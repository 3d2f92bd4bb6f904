"""A series that shows no head is skipped whatever its header says; a doubtful one is judged."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset

from ml.errors import NotAHeadError
from node.analyze import Analyzer, analyze
from node.headers import read_headers
from node.offline import judge_series, scan
from node.settings import EligibilitySettings, Settings
from tests import ct
from tests.anatomy import NO_HEADS, UNCLEAR, Stack, chest


@pytest.fixture(scope="module")
def analyzer() -> Analyzer:
    return Analyzer.load(Settings())


def written(what: Stack, folder: Path) -> list[Path]:
    """As a CT series whose header does not say what it shows."""

    def change(image: Dataset) -> None:
        hu = what.hu[image.InstanceNumber - 1]
        image.Rows, image.Columns = hu.shape
        image.PixelData = (hu.astype(np.int32) + 1024).astype("<i2").tobytes()
        image.PixelSpacing = [f"{mm:.6f}" for mm in what.spacing_mm]
        image.BodyPartExamined = ""

    return ct.series(folder, what.positions_mm, change)


def test_a_chest_without_a_body_part_is_not_judged(analyzer: Analyzer, tmp_path: Path) -> None:
    series = read_headers(written(chest(), tmp_path))

    with pytest.raises(NotAHeadError, match=r"cm2 of air or lung in a body 3[45]\d mm wide"):
        analyze(analyzer, series, "digest", [])


def test_whoever_wants_everything_judged_can_have_it(tmp_path: Path) -> None:
    all_of_it = Analyzer.load(Settings(eligibility=EligibilitySettings(check_pixels=False)))
    series = read_headers(written(chest(slices=10), tmp_path))

    found = analyze(all_of_it, series, "digest", [])

    assert len(found.judgement.probabilities) == 10
    assert not any("head" in warning for warning in found.judgement.warnings)


def test_a_doubtful_series_is_judged_with_a_warning(analyzer: Analyzer, tmp_path: Path) -> None:
    series = read_headers(written(UNCLEAR["abdomen of a child"](), tmp_path))

    found = analyze(analyzer, series, "digest", ["from before"])

    assert found.judgement.warnings[0] == "from before"
    assert "this may not be a head: no slice of 20 looked at" in found.judgement.warnings[-1]


def test_a_chest_of_unknown_pixel_spacing_is_judged_with_a_warning(
    analyzer: Analyzer, tmp_path: Path
) -> None:
    files = written(replace(chest(), spacing_mm=(0.0, 0.0)), tmp_path)

    found = analyze(analyzer, read_headers(files), "digest", [])

    assert any("the pixel spacing is not known" in text for text in found.judgement.warnings)


def test_without_a_network_it_is_skipped_with_reason_and_detail(
    analyzer: Analyzer, tmp_path: Path
) -> None:
    written(NO_HEADS["water cylinder"](), tmp_path / "in")
    (found,) = scan(tmp_path / "in").series

    outcome = judge_series(found, analyzer, Settings(), tmp_path / "out")

    said = outcome.as_json()
    assert said["state"] == "skipped"
    assert said["reason"].startswith("not-a-head: no bone on 20 slices")
    assert not (tmp_path / "out").exists()
