"""The traits of a series: what a model may be sensitive to, and nothing of the patient."""

import math

import numpy as np
import pytest
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from ml.phantom import make_phantom
from ml.series import Slice, Volume
from node.drift import UNSAID
from node.drift.measure import traits_of
from node.drift.traits import INPUTS, KERNEL, LONGEST, SLICES, SOFT_MEAN
from tests.cases import Case, make_case


def found(case: Case) -> dict[str, tuple[str, float]]:
    counts = traits_of(case.volume, case.sources)
    return {count.trait: (count.bin, count.value) for count in counts}


def test_a_series_is_measured_by_header_and_pixels() -> None:
    traits = found(
        make_case(
            6, SliceThickness="5", KVP="120", ConvolutionKernel=["H31s", "3"], spacing_mm=(0.5, 0.5)
        )
    )
    assert set(traits) == {trait.name for trait in INPUTS}
    assert traits["slices"] == ("6", 6)
    assert traits["spacing_mm"] == ("5", 5)
    assert traits["slice_thickness_mm"] == ("5", 5)
    assert traits["pixel_spacing_mm"] == ("0.5", 0.5)
    assert traits["soft_tissue_hu"] == ("35", 35)
    assert traits["soft_tissue_deviation_hu"] == ("0", 0)
    assert traits["bone_share"] == ("0", 0)
    assert traits["kvp"][0] == "120"
    assert traits["kernel"][0] == "H31s 3"
    assert traits["scanner"][0] == "Scanner Works Ring 1"


def test_nothing_of_the_patient_is_counted() -> None:
    text = str(found(make_case()))
    for word in ("Doe", "4711", "1950", "A1", "Roe", "076Y", "2026", "1.2.826"):
        assert word not in text


def test_what_is_not_said_is_counted_as_that() -> None:
    case = make_case(1, Manufacturer=None, ManufacturerModelName=None, spacing_mm=None)
    traits = found(case)
    for name in ("spacing_mm", "slice_thickness_mm", "pixel_spacing_mm", "kvp", "kernel"):
        assert traits[name] == (UNSAID, 0.0), name
    assert traits["scanner"][0] == UNSAID


def test_pixels_without_soft_tissue_are_no_number() -> None:
    slices = tuple(Slice("1", None, 1, float(k)) for k in range(3))
    air = Volume(np.full((3, 8, 8), -1000, np.int16), slices)
    traits = {count.trait: count.bin for count in traits_of(air, [Dataset()])}
    assert traits["soft_tissue_hu"] == traits["bone_share"] == UNSAID


def test_an_enhanced_image_says_its_thickness_for_all_frames() -> None:
    case = make_case(4, enhanced=True)
    measures = Dataset()
    measures.SliceThickness = "2.5"
    case.sources[0].SharedFunctionalGroupsSequence[0].PixelMeasuresSequence = [measures]
    assert found(case)["slice_thickness_mm"] == ("2.5", 2.5)


def test_of_an_enhanced_image_tube_and_kernel_are_those_of_its_frames() -> None:
    case = make_case(4, enhanced=True)
    header = case.sources[0]
    tube, reconstruction = Dataset(), Dataset()
    tube.KVP, reconstruction.ConvolutionKernel = "140", ["Br40", "3"]
    header.SharedFunctionalGroupsSequence[0].CTReconstructionSequence = [reconstruction]
    header.PerFrameFunctionalGroupsSequence[0].CTXRayDetailsSequence = [tube]
    traits = found(case)
    assert traits["kvp"][0] == "140"
    assert traits["kernel"][0] == "Br40 3"


def test_a_value_that_cannot_be_read_is_not_said_and_hides_no_other() -> None:
    case = make_case(2, ConvolutionKernel="H31s")
    for keyword, vr, value in (("KVP", "FD", b"120"), ("SliceThickness", "DS", b"5\\2.5 ")):
        tag = Tag(keyword)
        case.sources[0][tag] = RawDataElement(tag, vr, len(value), value, 0, False, True)
    traits = found(case)
    assert traits["kvp"][0] == traits["slice_thickness_mm"][0] == UNSAID
    assert traits["kernel"][0] == "H31s"
    assert traits["slices"] == ("2", 2)


@pytest.mark.parametrize("value", [math.nan, math.inf, -1e300, "much", None])
def test_a_number_that_is_none_is_not_said(value: float | str | None) -> None:
    assert SOFT_MEAN.count(value).bin == UNSAID


def test_every_number_falls_into_a_bin_named_by_its_lower_edge() -> None:
    assert SOFT_MEAN.count(-500).bin == "-inf"
    assert SOFT_MEAN.count(31.99).bin == "31"
    assert SOFT_MEAN.count(900).bin == "80"
    for trait in INPUTS:
        assert len(trait.edges) < 100, trait.name  # a ledger takes no more on a day
        assert list(trait.edges) == sorted(set(trait.edges))
    assert SLICES.count(0).bin == "0"


def test_a_word_is_cut_and_cleaned() -> None:
    assert KERNEL.count("a\x00b\n\tc\u202e").bin == "ab c"
    assert len(KERNEL.count("x" * 1000).bin) == LONGEST


def head(shift_hu: int) -> Volume:
    hu = make_phantom(5, size=64).hu + np.int16(shift_hu)
    return Volume(hu, tuple(Slice("1", None, n, 5.0 * n) for n in range(len(hu))))


def test_a_calibration_that_is_off_moves_the_mean_of_soft_tissue() -> None:
    means = [
        next(c.value for c in traits_of(head(by), []) if c.trait == "soft_tissue_hu")
        for by in (0, 5)
    ]
    assert 2 < means[1] - means[0] < 6
