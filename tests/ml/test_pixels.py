"""Stored values to HU."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ml.errors import PixelError
from ml.pixels import AIR_HU, Scaling, padding_range

stored_values = arrays(np.int16, (3, 4), elements=st.integers(-32768, 32767))


def plain(**changes: object) -> Scaling:
    values: dict[str, object] = {"slope": 1.0, "intercept": 0.0, "bits_stored": 16, "signed": True}
    return Scaling(**{**values, **changes})  # type: ignore[arg-type]


@given(
    stored=stored_values,
    slope=st.floats(0.01, 10),
    intercept=st.floats(-3000, 3000),
)
def test_hu_are_slope_times_value_plus_intercept_within_what_int16_holds(
    stored: np.ndarray, slope: float, intercept: float
) -> None:
    hu = plain(slope=slope, intercept=intercept).to_hu(stored)
    exact = stored.astype(np.float64) * slope + intercept
    assert hu.dtype == np.int16
    assert hu.shape == stored.shape
    assert np.abs(hu - exact.clip(AIR_HU, 32767)).max() <= 0.5 + 1e-6


@given(stored=stored_values, intercept=st.integers(-1024, 1024))
def test_whole_numbers_are_not_rounded(stored: np.ndarray, intercept: int) -> None:
    hu = plain(intercept=float(intercept)).to_hu(stored)
    assert (hu == (stored.astype(int) + intercept).clip(AIR_HU, 32767)).all()


def test_a_fractional_slope_rounds_to_the_nearest_hu() -> None:
    hu = plain(slope=0.5, intercept=0.25).to_hu(np.array([[3, 4, -7]], np.int16))
    assert hu.tolist() == [[2, 2, -3]]


def test_unsigned_16_bits_do_not_wrap() -> None:
    stored = np.array([[65535, 40000]], np.uint16)
    hu = plain(intercept=-32768, signed=False).to_hu(stored)
    assert hu.tolist() == [[32767, 7232]]


def test_nothing_is_below_air() -> None:
    assert plain().to_hu(np.array([[-3024, -1024]], np.int16)).tolist() == [[AIR_HU, AIR_HU]]


@pytest.mark.parametrize(
    ("slope", "intercept"), [(0, 0), (math.nan, 0), (1, math.nan), (math.inf, 0), (1, -math.inf)]
)
def test_a_slope_of_zero_or_of_no_number_gives_no_hu(slope: float, intercept: float) -> None:
    with pytest.raises(PixelError, match="give no HU"):
        plain(slope=slope, intercept=intercept)


@pytest.mark.parametrize("intercept", [1e10, -1e300, 3e9])
def test_an_absurd_intercept_is_clipped_and_does_not_overflow(intercept: float) -> None:
    hu = plain(intercept=intercept).to_hu(np.zeros((1, 1), np.int16))
    assert hu.item() in (AIR_HU, 32767)


# -- padding -------------------------------------------------------------------


@given(stored=stored_values, first=st.integers(-32768, 32767), width=st.integers(0, 3000))
def test_all_in_the_padding_range_is_air_and_nothing_else_is_touched(
    stored: np.ndarray, first: int, width: int
) -> None:
    last = min(first + width, 32767)
    hu = plain(intercept=100.0, padding=(first, last)).to_hu(stored)
    inside = (stored >= first) & (stored <= last)
    assert (hu[inside] == AIR_HU).all()
    assert (hu[~inside] == plain(intercept=100.0).to_hu(stored)[~inside]).all()


def test_padding_that_would_look_like_bone_is_air() -> None:
    scaling = plain(
        intercept=-1024.0, padding=padding_range(3000, None, bits_allocated=16, signed=True)
    )
    assert scaling.to_hu(np.array([[3000, 2999]], np.int16)).tolist() == [[AIR_HU, 1975]]


@given(value=st.integers(-32768, 32767), bits=st.just(16))
def test_a_negative_padding_value_encoded_as_unsigned_is_read_as_signed(
    value: int, bits: int
) -> None:
    wrongly = value % (1 << bits)
    assert padding_range(wrongly, None, bits_allocated=bits, signed=True) == (value, value)
    assert padding_range(value, None, bits_allocated=bits, signed=True) == (value, value)


def test_a_padding_value_of_unsigned_pixels_encoded_as_signed_is_read_as_unsigned() -> None:
    assert padding_range(-2000, None, bits_allocated=16, signed=False) == (63536, 63536)


@pytest.mark.parametrize(("value", "limit"), [(-2000, -1500), (-1500, -2000), (63536, 64036)])
def test_the_range_limit_may_lie_on_either_side(value: int, limit: int) -> None:
    assert padding_range(value, limit, bits_allocated=16, signed=True) == (-2000, -1500)


def test_a_limit_without_a_value_is_no_padding() -> None:
    assert padding_range(None, -1500, bits_allocated=16, signed=True) is None


# -- RSNA's wrong intercept ----------------------------------------------------


def test_twelve_unsigned_bits_without_an_intercept_are_wrapped_hu() -> None:
    scaling = plain(intercept=0.0, bits_stored=12, signed=False)
    stored = np.array([[0, 40, 3095, 3096, 4095]], np.uint16)
    assert scaling.intercept_is_wrong
    assert scaling.to_hu(stored).tolist() == [[0, 40, 3095, -1000, -1]]


@pytest.mark.parametrize(
    "changes",
    [
        {"intercept": -1024.0, "bits_stored": 12, "signed": False},
        {"intercept": 0.0, "bits_stored": 12, "signed": True},
        {"intercept": 0.0, "bits_stored": 16, "signed": False},
    ],
)
def test_any_other_combination_is_taken_at_its_word(changes: dict[str, object]) -> None:
    scaling = plain(**changes)
    assert not scaling.intercept_is_wrong
    assert scaling.to_hu(np.array([[3096]], np.uint16)).item() == 3096 + scaling.intercept


@pytest.mark.parametrize("kind", ["<i2", "<u2"])
@pytest.mark.parametrize("intercept", [-70000, -33000, -31744, -1024, 0, 5, 1024, 40000, 999999])
@pytest.mark.parametrize("padding", [None, (-2000, -2000), (100, 3000), (60000, 70000)])
def test_sixteen_bits_become_the_same_hu_as_wider_ones(
    kind: str, intercept: float, padding: tuple[int, int] | None
) -> None:
    values = np.random.default_rng(1).integers(*_ends(kind), 4096, endpoint=True).astype(kind)
    values[:6] = [*_ends(kind), 0, 24, 100, 3000]
    scaling = Scaling(1.0, intercept, bits_stored=16, signed=kind == "<i2", padding=padding)
    assert (scaling.to_hu(values) == scaling.to_hu(values.astype(np.int32))).all()


def _ends(kind: str) -> tuple[int, int]:
    return np.iinfo(kind).min, np.iinfo(kind).max
