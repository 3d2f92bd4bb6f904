"""Planes, positions along the normal, and what steps between them say."""

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ml.geometry import ImagePlane, Spacing
from tests.ct import AXIAL

angles = st.floats(-35, 35)
coordinates = st.floats(-1000, 1000)


def tilted(degrees: float) -> tuple[float, ...]:
    """Orientation of a stack under a gantry tilted about the x axis."""
    angle = math.radians(degrees)
    return (1.0, 0.0, 0.0, 0.0, math.cos(angle), math.sin(angle))


def test_the_normal_of_an_axial_plane_points_to_the_head() -> None:
    assert ImagePlane((0, 0, 0), AXIAL).normal == pytest.approx([0, 0, 1])


def test_the_normal_points_to_the_head_even_where_rows_run_the_other_way() -> None:
    assert ImagePlane((0, 0, 0), (-1, 0, 0, 0, 1, 0)).normal == pytest.approx([0, 0, 1])


@given(degrees=angles)
def test_the_tilt_is_the_angle_of_the_gantry(degrees: float) -> None:
    assert ImagePlane((0, 0, 0), tilted(degrees)).tilt_deg == pytest.approx(abs(degrees), abs=1e-4)


@given(degrees=angles, x=coordinates, y=coordinates, step=st.floats(0.1, 20))
def test_moving_within_the_plane_does_not_change_the_position_along_the_normal(
    degrees: float, x: float, y: float, step: float
) -> None:
    plane = ImagePlane((0, 0, 0), tilted(degrees))
    row, column = np.array(plane.orientation[:3]), np.array(plane.orientation[3:])
    there = x * row + y * column + step * plane.normal
    moved = ImagePlane(tuple(there), plane.orientation)
    assert moved.along(plane.normal) == pytest.approx(step, abs=1e-6)


@pytest.mark.parametrize(
    ("position", "orientation"),
    [
        ((0, 0, math.nan), AXIAL),
        ((0, math.inf, 0), AXIAL),
        ((0, 0, 0), (0, 0, 0, 0, 0, 0)),
        ((0, 0, 0), (1, 0, 0, 1, 0, 0)),
        ((0, 0, 0), (math.nan, 0, 0, 0, 1, 0)),
        ((0, 0, 0), (10, 0, 0, 0, 1, 0)),
    ],
)
def test_a_plane_of_unusable_numbers_is_not_usable(
    position: tuple[float, ...], orientation: tuple[float, ...]
) -> None:
    assert not ImagePlane(position, orientation).is_usable()


def test_planes_that_differ_by_rounding_are_parallel_and_a_coronal_one_is_not() -> None:
    axial = ImagePlane((0, 0, 0), AXIAL)
    assert axial.is_parallel(ImagePlane((0, 0, 5), (0.99999, 0.001, 0, 0, 0.99999, 0.002)))
    assert not axial.is_parallel(ImagePlane((0, 0, 5), (1, 0, 0, 0, 0, -1)))


def test_equal_steps_are_even_and_leave_no_gap() -> None:
    spacing = Spacing.of([0, 5, 10, 15])
    assert spacing == Spacing(5, 5, 5, 0)
    assert spacing.is_even
    assert not spacing.has_gap


def test_a_missing_slice_is_a_gap() -> None:
    spacing = Spacing.of([0, 5, 10, 20, 25])
    assert spacing.has_gap
    assert not spacing.is_even


def test_slices_that_share_a_position_are_counted_and_do_not_spoil_the_typical_step() -> None:
    spacing = Spacing.of([0, 0, 5, 5, 10, 15])
    assert (spacing.typical_mm, spacing.shared) == (5, 2)
    assert not spacing.is_even


@pytest.mark.parametrize("positions", [[], [3.0], [3.0, 3.0]])
def test_what_has_no_steps_is_neither_even_nor_has_it_a_gap(positions: list[float]) -> None:
    spacing = Spacing.of(positions)
    assert not spacing.is_even
    assert not spacing.has_gap


@given(
    positions=st.lists(st.floats(-500, 500), min_size=2, max_size=40),
    shift=st.floats(-1000, 1000),
)
def test_steps_do_not_depend_on_where_the_stack_lies(positions: list[float], shift: float) -> None:
    ordered = np.sort(np.round(positions, 1))
    here, there = Spacing.of(ordered), Spacing.of(ordered + round(shift, 1))
    assert here.shared == there.shared
    assert here.typical_mm == pytest.approx(there.typical_mm, abs=1e-6)
    assume(here.shared == 0)
    assert here.least_mm <= here.typical_mm <= here.most_mm
