"""A head is told from what is none by its pixels, and never taken for something else."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.data import get_testdata_file

from ml.anatomy import (
    FEWEST_SLICES,
    MOST_SLICES,
    Anatomy,
    Finding,
    Section,
    look_at_anatomy,
    measure,
)
from ml.phantom import Phantom, make_phantom
from ml.series import Volume, load_series
from tests.anatomy import NO_HEADS, SIZE, UNCLEAR, Canvas, Stack, chest, stack


def look(what: Stack) -> Anatomy:
    return look_at_anatomy(what.hu, what.spacing_mm, what.positions_mm)


def stack_of(phantom: Phantom) -> Stack:
    return Stack(phantom.hu, (phantom.pixel_spacing_mm,) * 2, np.array(phantom.positions_mm))


def stack_of_volume(volume: Volume) -> Stack:
    assert volume.spacing_mm is not None
    positions_mm = np.array([one.position_mm for one in volume.slices])
    return Stack(volume.hu, volume.spacing_mm, positions_mm)


def part(whole: Stack, begin: int, end: int) -> Stack:
    return Stack(whole.hu[begin:end], whole.spacing_mm, whole.positions_mm[begin:end])


def copies(files: list[Path], count: int = 10) -> Stack:
    """A series of one slice again and again, for want of its neighbours."""
    volume = load_series(files)
    assert volume.spacing_mm is not None
    return Stack(np.repeat(volume.hu[:1], count, axis=0), volume.spacing_mm, np.arange(count) * 5.0)


# -- what is no head -----------------------------------------------------------


SEEN = {
    "chest": "cm2 of air or lung in a body 3[45]. mm wide",
    "chest of a child": "cm2 of air or lung in a body 19. mm wide",
    "abdomen": "a body 3[34]. mm wide: a trunk",
    "pelvis": "a trunk",
    "thighs": "bone that encloses nothing",
    "knee": "bone that encloses nothing in a body 13. mm wide",
    "water cylinder": "no bone on .* a body 2[01]. mm wide of about -?0 HU",
    "water cylinder in a large image": "no bone on .* of about -?0 HU",
    "phantom with inserts": "bone that encloses nothing",
    "air": "nothing but air",
    "noise": "noise or not in HU",
    "noise of soft tissue": "more than fits into",
}


@pytest.mark.parametrize("name", NO_HEADS)
def test_what_is_no_head_is_told_with_what_was_seen(name: str) -> None:
    anatomy = look(NO_HEADS[name]())

    assert anatomy.finding is Finding.NOT_A_HEAD
    assert re.search(SEEN[name], anatomy.detail), anatomy.detail


@pytest.mark.parametrize("name", UNCLEAR)
def test_what_is_hard_to_tell_is_not_taken_for_a_head_without_a_word(name: str) -> None:
    assert look(UNCLEAR[name]()).finding is not Finding.HEAD


@pytest.mark.data
def test_a_real_chest_is_no_head(real_series: Callable[[str], list[Path]]) -> None:
    files = {file.name: file for file in real_series("wg04_ct_syntaxes")}

    trunk, head = (look(copies([files[name]])) for name in ("CT1_UNC", "CT2_UNC"))

    assert trunk.finding is Finding.NOT_A_HEAD
    assert "cm2 of air or lung in a body 33" in trunk.detail
    assert head.finding is Finding.HEAD


def test_a_spine_seen_through_a_small_image_is_doubtful() -> None:
    spine = look(copies([Path(str(get_testdata_file("CT_small.dcm")))]))

    assert spine.finding is Finding.DOUBTFUL
    assert spine.skulls == 0


# -- what is a head ------------------------------------------------------------


@pytest.mark.parametrize("name", ["693_J2KI.dcm", "J2K_pixelrep_mismatch.dcm"])
def test_heads_that_come_with_pydicom_are_heads(name: str) -> None:
    assert look(copies([Path(str(get_testdata_file(name)))])).finding is Finding.HEAD


@pytest.mark.parametrize("size", [32, 64])
def test_a_phantom_is_a_head_however_coarse(size: int) -> None:
    for seed in range(2):
        assert look(stack_of(make_phantom(seed, size=size))).finding is Finding.HEAD, seed


@pytest.mark.data
@pytest.mark.parametrize(
    "name",
    [
        "cq500_intraparenchymal_30",
        "cq500_negative_30",
        "ge_hispeed_tilted_28",
        "rsna_labelled_36",
        "rsna_negative_29",
        "rsna_subdural_28",
    ],
)
def test_a_real_head_is_one_and_no_part_of_it_is_taken_for_something_else(
    real_series: Callable[[str], list[Path]], name: str
) -> None:
    head = stack_of_volume(load_series(real_series(name)))

    assert look(head).finding is Finding.HEAD
    unknown = look_at_anatomy(head.hu, None, head.positions_mm)
    assert unknown.finding is Finding.HEAD
    for begin in range(0, len(head.hu) - 9, 6):
        assert look(part(head, begin, begin + 10)).finding is not Finding.NOT_A_HEAD, begin


def _angle_deg(head: Stack) -> np.ndarray:
    rows, columns = head.hu.shape[1:]
    y, x = np.mgrid[:rows, :columns]
    return np.degrees(np.arctan2(y - rows / 2, x - columns / 2)) % 360


def _without_bone(head: Stack, turn_deg: float) -> np.ndarray:
    gap = (_angle_deg(head) < turn_deg) & (head.hu > 130)
    return np.where(gap, 40, head.hu)


def _window(head: Stack, field_mm: float) -> np.ndarray:
    half = int(field_mm / head.spacing_mm[0] / 2)
    middle = head.hu.shape[1] // 2
    return head.hu[:, middle - half : middle + half, middle - half : middle + half]


def _streaks(head: Stack) -> np.ndarray:
    struck = np.arange(len(head.hu)) % 2 == 0
    streaks = 600 * np.sin(np.radians(37 * _angle_deg(head)))
    return head.hu + struck[:, None, None] * streaks


def _gas(head: Stack) -> np.ndarray:
    rows, columns = head.hu.shape[1:]
    y, x = np.mgrid[:rows, :columns]
    away_mm = np.hypot(y - rows / 2, x - columns / 2) * head.spacing_mm[0]
    brain = (away_mm < 45) & (head.hu > 0) & (head.hu < 100)
    return np.where(brain, -900, head.hu)


def _frame(head: Stack) -> np.ndarray:
    rows, columns = head.hu.shape[1:]
    y, x = np.mgrid[:rows, :columns]
    away_mm = np.hypot(y - rows / 2, x - columns / 2) * head.spacing_mm[0]
    return np.where((away_mm > 103) & (away_mm < 107), 3000, head.hu)


def _noisy(head: Stack, sigma_hu: float) -> np.ndarray:
    return head.hu + np.random.default_rng(7).normal(0, sigma_hu, head.hu.shape)


HARD: dict[str, Callable[[Stack], np.ndarray]] = {
    "a third of the skull taken out": lambda head: _without_bone(head, 120),
    "half of the skull taken out": lambda head: _without_bone(head, 180),
    "all bone taken out": lambda head: _without_bone(head, 360),
    "the thin skull of an infant": lambda head: np.where(
        head.hu > 100, 100 + 0.3 * (head.hu - 100), head.hu
    ),
    "an image within the brain": lambda head: _window(head, 110),
    "an image as wide as the brain": lambda head: _window(head, 150),
    "streaks of metal on every other slice": _streaks,
    "gas instead of brain": _gas,
    "a stereotactic frame": _frame,
    "much noise": lambda head: _noisy(head, 60),
    "movement": lambda head: (head.hu + np.roll(head.hu, 5, axis=2)) / 2,
    "foam all around": lambda head: np.where(head.hu < -300, -900, head.hu),
    "values 60 HU too low": lambda head: head.hu - 60,
    "values 1000 HU too high": lambda head: head.hu + 1000,
    "upside down": lambda head: head.hu[::-1, ::-1],
    "lying on the side": lambda head: np.rot90(head.hu, axes=(1, 2)),
}


@pytest.fixture(scope="module")
def head() -> Stack:
    return stack_of(make_phantom(3, size=SIZE))


@pytest.mark.parametrize("name", HARD)
def test_a_head_that_is_hard_to_tell_is_never_taken_for_something_else(
    head: Stack, name: str
) -> None:
    hu = HARD[name](head).clip(-1024, 3071).astype(np.int16)

    anatomy = look_at_anatomy(hu, head.spacing_mm, head.positions_mm)

    assert anatomy.finding is not Finding.NOT_A_HEAD, anatomy.detail


def test_a_few_slices_of_the_vertex_or_the_base_are_not_taken_for_something_else(
    head: Stack,
) -> None:
    last = len(head.hu)
    for begin, end in ((0, 10), (last - 10, last), (0, 6), (last - 6, last)):
        assert look(part(head, begin, end)).finding is not Finding.NOT_A_HEAD


def test_a_head_at_the_end_of_a_long_scan_is_doubtful_and_the_share_is_said(
    head: Stack,
) -> None:
    trunk = chest(head.spacing_mm[0] * SIZE, 0.55, slices=6 * len(head.hu))
    hu = np.concatenate([trunk.hu, head.hu])

    anatomy = look(Stack(hu, head.spacing_mm, np.arange(len(hu)) * 5.0))

    assert anatomy.finding is Finding.DOUBTFUL
    assert 0 < anatomy.skulls < anatomy.slices / 4
    assert f"a skull is on {anatomy.skulls} of {anatomy.slices} slices" in anatomy.detail


# -- what is not known ---------------------------------------------------------


@pytest.mark.parametrize(
    "spacing_mm", [None, (0.0, 0.0), (float("nan"), 1.0), (1e-6, 1e-6), (9.0, 9.0)]
)
def test_without_a_pixel_spacing_that_can_be_true_nothing_is_called_something_else(
    spacing_mm: tuple[float, float] | None,
) -> None:
    trunk = chest()

    anatomy = look_at_anatomy(trunk.hu, spacing_mm, trunk.positions_mm)

    assert anatomy.finding is Finding.DOUBTFUL
    assert "cm2 of air or lung" in anatomy.detail


def test_a_few_slices_are_never_called_something_else() -> None:
    trunk = chest()

    assert look(part(trunk, 0, FEWEST_SLICES)).finding is Finding.NOT_A_HEAD
    assert look(part(trunk, 0, FEWEST_SLICES - 1)).finding is Finding.DOUBTFUL


def test_a_ring_of_bone_around_water_is_doubtful() -> None:
    def ring(canvas: Canvas, _: float) -> None:
        canvas.fill(900, 0, 0, 90)
        canvas.fill(0, 0, 0, 80)

    anatomy = look(stack(ring, field_mm=250))

    assert anatomy.finding is Finding.DOUBTFUL
    assert anatomy.detail == "what the bone encloses measures 0 HU, other than a brain"


@settings(max_examples=30)
@given(
    shape=st.tuples(*[st.integers(1, 40)] * 3),
    spacing_mm=st.none() | st.tuples(*[st.floats()] * 2) | st.tuples(*[st.floats(0.1, 20)] * 2),
    low=st.integers(-1024, 3000),
    spread=st.integers(1, 4000),
)
def test_no_pixels_and_no_spacing_are_too_odd_to_be_looked_at(
    shape: tuple[int, int, int],
    spacing_mm: tuple[float, float] | None,
    low: int,
    spread: int,
) -> None:
    hu = np.random.default_rng(0).integers(low, low + spread, shape).astype(np.int16)

    anatomy = look_at_anatomy(hu, spacing_mm, np.arange(shape[0], dtype=float))

    assert anatomy.detail
    assert anatomy.slices <= min(MOST_SLICES, shape[0])
    if anatomy.finding is Finding.NOT_A_HEAD:
        assert anatomy.slices >= FEWEST_SLICES or anatomy.slices == 0


# -- a slice -------------------------------------------------------------------


def drawn(*circles: tuple[float, float]) -> Section:
    """Measure circles around the middle of 240 mm: HU and radius in mm, from the outside in."""

    def draw(canvas: Canvas, _: float) -> None:
        for hu, radius_mm in circles:
            canvas.fill(hu, 0, 0, radius_mm)

    made = stack(draw, field_mm=240, slices=1, noise_hu=0)
    return measure(made.hu[0], made.spacing_mm)


def test_a_skull_is_measured_in_mm() -> None:
    skull = drawn((40, 90), (900, 80), (35, 70))

    assert skull.is_skull
    assert skull.ring == 1
    assert skull.ring_mm == pytest.approx(70, abs=4)
    assert skull.scalp_mm == pytest.approx(10, abs=4)
    assert skull.soft_mm == pytest.approx(70, abs=6)
    assert skull.soft_hu == pytest.approx(35, abs=1)
    assert skull.width_mm == pytest.approx(180, abs=5)
    assert skull.body_cm2 == pytest.approx(np.pi * 81, rel=0.03)
    assert skull.bone_cm2 == pytest.approx(np.pi * (64 - 49), rel=0.15)
    assert (skull.air_cm2, skull.cut) == (0, 0)


def test_air_within_the_body_is_counted_and_air_outside_is_not() -> None:
    hollow = drawn((40, 90), (-850, 50))

    assert hollow.air_cm2 == pytest.approx(np.pi * 25, rel=0.06)
    assert hollow.has_lungs
    assert not hollow.is_skull


def test_a_body_beyond_the_edge_of_the_image_is_cut() -> None:
    assert drawn((40, 200)).cut == 1
    assert drawn((40, 60)).cut == 0


def test_nothing_but_a_tube_is_no_body() -> None:
    assert drawn((40, 9)) == Section()
