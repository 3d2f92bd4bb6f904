"""Curves, addresses and names: what needs no server."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.ledger import Place, State
from node.web.course import HEIGHT, WIDTH, draw, middle
from node.web.paging import View, Window, read_place, write_place
from node.web.patient import Patient, read_patient
from tests.ct import image

PROBABILITIES = st.lists(st.floats(0, 1), min_size=1, max_size=40)


@given(PROBABILITIES, st.floats(0, 1))
def test_a_curve_stays_in_its_strip_and_marks_what_reaches_the_threshold(
    values: list[float], threshold: float
) -> None:
    curve = draw(values, threshold)
    points = [tuple(map(float, point.split(","))) for point in curve.line.split()]
    assert len(points) == max(2, len(values))
    assert all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for x, y in points)
    marked = sum(width for _, width in curve.marks) * len(values) / WIDTH
    assert marked == pytest.approx(sum(value >= threshold for value in values), abs=0.1)


def test_without_a_threshold_nothing_is_marked() -> None:
    curve = draw([0.1, 0.9], None)
    assert (curve.flagged, curve.marks, curve.threshold) == ((), (), None)


def test_the_middles_of_slices_are_evenly_apart() -> None:
    assert [middle(number, 4) for number in (1, 2, 3, 4)] == [125, 375, 625, 875]


@given(st.booleans(), st.floats(0, 4e9), st.integers(1, 10**17))
def test_a_place_in_an_address_is_the_same_place(flagged: bool, at: float, id: int) -> None:
    place = Place(flagged, at, id)
    assert read_place(write_place(place)) == place


@given(st.text())
def test_any_other_text_is_none_or_a_place(text: str) -> None:
    assert read_place(text) is None or read_place(write_place(read_place(text) or Place(0, 0, 0)))


def test_an_address_of_a_worklist_says_only_what_differs() -> None:
    assert View().address() == "/"
    assert View(Window.ALL, State.FAILED).address(newest_first=True) == (
        "/?window=all&state=failed&order=newest"
    )
    view = View.of({"window": "7d", "state": "skipped", "flagged": "1"})
    assert view == View(Window.WEEK, State.SKIPPED, only_flagged=True)
    assert View.of({"window": "eternity", "state": "x", "flagged": "yes"}) == View()


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("Roe^Jane", "Roe, Jane"),
        ("Yamada^Tarou=山田^太郎=やまだ^たろう", "Yamada, Tarou 山田, 太郎"),
        ("^", ""),
        ("Roe\x1b[31m^Jane", "Roe [31m, Jane"),
    ],
)
def test_a_name_is_shown_as_people_write_it(name: str, shown: str, tmp_path: Path) -> None:
    header = image()
    header.SpecificCharacterSet = "ISO_IR 192"
    header.PatientName = name
    path = tmp_path / "image.dcm"
    header.save_as(path, enforce_file_format=True)
    assert read_patient(path).name == shown


def test_a_file_that_is_gone_or_broken_names_nobody(tmp_path: Path) -> None:
    broken = tmp_path / "broken.dcm"
    broken.write_bytes(b"DICM" * 100)
    for path in (broken, tmp_path / "gone.dcm"):
        assert read_patient(path) == Patient()
        assert not read_patient(path)
