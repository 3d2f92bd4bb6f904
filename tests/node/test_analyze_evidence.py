"""Evidence in an analysis: there where it is wanted and something is flagged."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ml.bundle import OperatingPoint
from ml.labels import LABELS, Label
from ml.phantom import make_phantom, write_dicom
from node.analyze import Analyzer, analyze
from node.headers import SeriesHeaders, read_headers
from node.settings import ReportSettings, Settings


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> SeriesHeaders:
    phantom = make_phantom(11, size=64, findings=(Label.SUBDURAL,))
    folder = tmp_path_factory.mktemp("phantom")
    return read_headers(write_dicom(phantom, folder)[5:12])


@pytest.fixture(scope="module")
def analyzer() -> Analyzer:
    return Analyzer.load(Settings(report=ReportSettings(evidence_maps=True)))


def with_threshold(analyzer: Analyzer, value: float) -> Analyzer:
    point = OperatingPoint(
        name="test", chosen_on="nothing", thresholds=dict.fromkeys(LABELS, value)
    )
    return replace(analyzer, model=replace(analyzer.model, operating_point=point))


def test_evidence_is_for_flagged_slices_and_has_their_size(
    analyzer: Analyzer, series: SeriesHeaders
) -> None:
    found = analyze(with_threshold(analyzer, 0.0), series, "digest", [])
    assert [one.index for one in found.evidence] == found.judgement.flagged_slices()
    assert {one.heat.shape for one in found.evidence} == {found.volume.hu.shape[1:]}
    assert all(one.label is not Label.ANY for one in found.evidence)


def test_without_flagged_slices_or_an_operating_point_there_is_none(
    analyzer: Analyzer, series: SeriesHeaders
) -> None:
    assert analyze(with_threshold(analyzer, 1.0), series, "digest", []).evidence == ()
    blind = replace(analyzer, model=replace(analyzer.model, operating_point=None))
    assert analyze(blind, series, "digest", []).evidence == ()


def test_probabilities_are_the_same_with_and_without_evidence(
    analyzer: Analyzer, series: SeriesHeaders
) -> None:
    wanted = with_threshold(analyzer, 0.0)
    plain = replace(wanted, evidence_maps=False)
    with_maps, without = (analyze(one, series, "digest", []) for one in (wanted, plain))
    assert with_maps.evidence
    assert without.evidence == ()
    assert np.array_equal(with_maps.judgement.probabilities, without.judgement.probabilities)


def test_evidence_is_not_looked_for_by_default(tmp_path: Path) -> None:
    assert Analyzer.load(Settings(home=tmp_path)).evidence_maps is False
