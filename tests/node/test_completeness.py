"""When a series counts as whole: evidence first, the clock only without it."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from ml.frames import read_frames
from ml.series import arrange
from node.assemble import wait_until
from node.assemble.completeness import declared_counts, evidence, lacking
from node.headers import SeriesHeaders
from node.ledger import Count, Revision, State
from node.settings import AssembleSettings
from tests import ct

COVERAGE_MM = 100.0
RULES = AssembleSettings(grace_s=2, quiet_s=30)
NOW = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)

Change = Callable[[Dataset], object]


def series(positions: Sequence[float], change: Change | None = None) -> SeriesHeaders:
    images = [ct.image(n, z) for n, z in enumerate(positions, start=1)]
    for image in images:
        if change is not None:
            change(image)
    frames = [f for image in images for f in read_frames(image, Path("x.dcm"))]
    return SeriesHeaders(tuple(images), (), arrange(frames))


def seen(positions: Sequence[float], change: Change | None = None) -> str | None:
    found = series(positions, change)
    return evidence(found.headers, found.arrangement, COVERAGE_MM)


def steps(count: int, step: float = 5.0) -> list[float]:
    return [step * n for n in range(count)]


def setting(**values: object) -> Change:
    def change(image: Dataset) -> None:
        for keyword, value in values.items():
            setattr(image, keyword, value)

    return change


def without(*keywords: str) -> Change:
    def change(image: Dataset) -> None:
        for keyword in keywords:
            del image[keyword]

    return change


# -- what a source counts ------------------------------------------------------


def counted(images: int, *, is_still: bool = True) -> Count:
    return Count(images, "pacs", is_still)


def seen_beside(
    count: Count, positions: Sequence[float], change: Change | None = None
) -> str | None:
    found = series(positions, change)
    return evidence(found.headers, found.arrangement, COVERAGE_MM, count)


UNEVEN = [0.0, 1.0, 7.0, 9.0]


def test_all_images_that_a_source_counts_are_evidence_whatever_the_positions() -> None:
    assert seen(UNEVEN) is None
    assert seen_beside(counted(4), UNEVEN) == "all 4 images that pacs counts are there"


def test_a_source_that_counts_more_outweighs_even_spacing_and_what_is_declared() -> None:
    assert seen(steps(30)) is not None
    assert seen_beside(counted(31), steps(30)) is None
    assert seen_beside(counted(5), UNEVEN, setting(ImagesInAcquisition=4)) is None


def test_a_count_that_may_still_grow_is_no_evidence() -> None:
    assert seen_beside(counted(4, is_still=False), UNEVEN) is None


def test_a_source_that_counts_fewer_than_came_shows_nothing() -> None:
    assert seen_beside(counted(3), UNEVEN) is None
    assert seen_beside(counted(3), steps(30)) == seen(steps(30))


def test_what_is_declared_and_did_not_come_outweighs_what_a_source_counts() -> None:
    assert seen_beside(counted(4), UNEVEN, setting(ImagesInAcquisition=5)) is None


def test_images_that_a_source_counts_and_that_did_not_come_are_warned_of() -> None:
    assert lacking(4, None) is None
    assert lacking(4, counted(4)) is None
    assert lacking(3, counted(4)) == ("3 of 4 images that pacs counts came: slices are missing")


@settings(max_examples=60)
@given(
    st.lists(st.integers(0, 40), min_size=1, max_size=12, unique=True),
    st.integers(0, 40),
    st.booleans(),
)
def test_a_count_makes_a_series_whole_only_where_exactly_so_many_came(
    places: list[int], images: int, is_still: bool
) -> None:
    positions = [5.0 * place for place in places]
    with_count = seen_beside(counted(images, is_still=is_still), positions)
    if seen(positions) is None and with_count is not None:
        assert is_still
        assert images == len(positions)
    if images > len(positions):
        assert with_count is None


# -- declared counts -----------------------------------------------------------


@pytest.mark.parametrize("keyword", ["NumberOfSeriesRelatedInstances", "ImagesInAcquisition"])
def test_a_declared_count_that_is_met_is_evidence_whatever_the_positions(keyword: str) -> None:
    uneven = [0.0, 1.0, 7.0, 9.0]
    assert seen(uneven, setting(**{keyword: 4})) == "all 4 declared images are there"


@pytest.mark.parametrize("keyword", ["NumberOfSeriesRelatedInstances", "ImagesInAcquisition"])
def test_a_declared_count_that_is_not_met_outweighs_even_spacing(keyword: str) -> None:
    assert seen(steps(30)) is not None
    assert seen(steps(30), setting(**{keyword: 31})) is None


def test_each_acquisition_must_be_whole() -> None:
    def two_acquisitions(image: Dataset) -> None:
        image.AcquisitionNumber = 1 if image.InstanceNumber <= 4 else 2
        image.ImagesInAcquisition = 4

    assert declared_counts(series(steps(8), two_acquisitions).headers) == (8, 8)
    assert declared_counts(series(steps(7), two_acquisitions).headers) == (7, 8)
    assert seen(steps(7), two_acquisitions) is None


def test_too_many_of_one_acquisition_do_not_stand_for_another() -> None:
    def uneven(image: Dataset) -> None:
        image.AcquisitionNumber = 1 if image.InstanceNumber <= 6 else 2
        image.ImagesInAcquisition = 4

    assert declared_counts(series(steps(8), uneven).headers) == (6, 8)


def test_a_count_that_only_one_acquisition_declares_says_nothing() -> None:
    def half(image: Dataset) -> None:
        image.AcquisitionNumber = image.InstanceNumber % 2
        if image.AcquisitionNumber:
            image.ImagesInAcquisition = 2

    assert declared_counts(series(steps(4), half).headers) is None


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("value", ["0", "-3", "", "999999999"])
def test_a_count_that_cannot_be_true_is_none(value: str) -> None:
    change = setting(ImagesInAcquisition=value, NumberOfSeriesRelatedInstances=value)
    assert declared_counts(series(steps(4), change).headers) is None


def test_the_count_of_the_series_goes_before_those_of_acquisitions() -> None:
    change = setting(NumberOfSeriesRelatedInstances=5, ImagesInAcquisition=4)
    assert declared_counts(series(steps(4), change).headers) == (4, 5)


# -- spacing -------------------------------------------------------------------


def test_even_slices_over_a_head_are_evidence() -> None:
    assert seen(steps(30)) == "30 evenly spaced slices over 145 mm"


def test_an_extent_smaller_than_a_head_is_not() -> None:
    assert seen(steps(20)) is None
    assert seen(steps(21)) is not None


def test_a_missing_slice_in_the_middle_is_seen() -> None:
    assert seen([z for z in steps(30) if z != 70]) is None


def test_half_of_an_interleaved_series_is_not_evidence() -> None:
    """Every second slice is evenly spaced too, but they do not touch or their numbers jump."""

    def number_of_the_whole(image: Dataset) -> None:
        image.InstanceNumber = 2 * image.InstanceNumber

    assert seen(steps(15, 10)) is None, "slices of 5 mm do not touch at steps of 10 mm"
    no_thickness = without("SliceThickness")

    def both(image: Dataset) -> None:
        number_of_the_whole(image)
        no_thickness(image)

    assert seen(steps(15, 10), both) is None, "every second number is missing"
    assert seen(steps(15, 10), no_thickness) is not None


def test_a_hole_in_the_numbers_is_a_slice_that_is_still_to_come() -> None:
    def hole(image: Dataset) -> None:
        if image.InstanceNumber > 20:
            image.InstanceNumber += 1

    assert seen(steps(30), hole) is None


def test_numbers_may_begin_anywhere_and_run_either_way() -> None:
    def down_from_a_hundred(image: Dataset) -> None:
        image.InstanceNumber = 100 - image.InstanceNumber

    assert seen(steps(30), down_from_a_hundred) is not None


def test_slices_without_numbers_are_judged_by_their_positions() -> None:
    assert seen(steps(30), without("InstanceNumber")) is not None


def test_a_number_that_is_none_is_no_crash() -> None:
    def odd(image: Dataset) -> None:
        image.pop("InstanceNumber")
        image.add_new("InstanceNumber", "FD", float("nan"))

    assert seen(steps(30), odd) is not None


def test_uneven_steps_of_a_real_scanner_are_no_evidence() -> None:
    """GE HiSpeed: 4.2 mm at the base, 7.4 mm above."""
    uneven = [4.2 * n for n in range(12)] + [50.4 + 7.4 * n for n in range(1, 12)]
    assert seen(uneven) is None


def test_slices_that_cannot_be_ordered_are_no_evidence() -> None:
    assert evidence([ct.image()], None, COVERAGE_MM) is None


@settings(max_examples=25)
@given(count=st.integers(22, 60), step=st.floats(5, 10), begin=st.floats(-900, 900), data=st.data())
def test_taking_any_slice_out_of_the_middle_takes_the_evidence_away(
    count: int, step: float, begin: float, data: st.DataObject
) -> None:
    positions = [round(begin + step * n, 3) for n in range(count)]
    change = setting(SliceThickness=round(step, 3))
    assert seen(positions, change) is not None
    gone = data.draw(st.integers(1, count - 2))
    assert seen(positions[:gone] + positions[gone + 1 :], change) is None


# -- how long to wait ----------------------------------------------------------


def revision(last_s: float, released_s: float | None) -> Revision:
    """A revision whose last slice and whose association's end lie so many seconds back."""
    released = None if released_s is None else NOW - timedelta(seconds=released_s)
    return Revision(
        id=1,
        study_instance_uid=ct.STUDY,
        series_instance_uid=ct.SERIES,
        number=1,
        state=State.RECEIVING,
        reason=None,
        detail=None,
        warnings=(),
        maxima=None,
        flagged=(),
        instances=30,
        attempts=0,
        claims=0,
        arrivals=30,
        last_instance_at=NOW - timedelta(seconds=last_s),
        updated_at=NOW,
        released_at=released,
    )


WHOLE, PART = series(steps(30)), series([0, 5, 10, 40])


def until_s(found: datetime | None) -> float:
    assert found is not None
    return (found - NOW).total_seconds()


def test_with_evidence_the_grace_runs_from_the_end_of_the_association() -> None:
    assert until_s(wait_until(revision(3, 1), WHOLE, RULES)) == 1
    assert until_s(wait_until(revision(3, 2), WHOLE, RULES)) == 0


def test_without_evidence_the_quiet_time_runs_from_the_last_slice() -> None:
    assert until_s(wait_until(revision(3, 1), PART, RULES)) == 27


def test_evidence_does_not_count_while_the_association_is_open() -> None:
    assert until_s(wait_until(revision(3, None), WHOLE, RULES)) == 27
