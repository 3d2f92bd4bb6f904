from dataclasses import replace

import numpy as np
import pytest

from ml.labels import LABELS, Label
from node.report.orientation import Edges, letters
from node.report.picture.paint import percent
from node.report.picture.render import render
from node.report.picture.slice import draw_brain_window

ORANGE = (230, 159, 0)
SKY_BLUE = (86, 180, 233)
YELLOW = (240, 228, 66)
MARGIN = 24


def count(picture, colour):
    return int((picture == np.array(colour, np.uint8)).all(axis=-1).sum())


def with_probability(case, value, label=Label.ANY):
    probabilities = np.zeros_like(case.judgement.probabilities)
    probabilities[:, LABELS.index(label)] = value
    return replace(case.judgement, probabilities=probabilities)


@pytest.fixture
def hu():
    """A slice of 512 x 512 in which every pixel of a row has another HU."""
    return np.tile(np.arange(-216, 296, dtype=np.int16), (512, 1))


def test_the_slice_is_shown_whole_and_untouched(case, hu):
    picture = render(hu, case.judgement, 0, edges=Edges("R", "L", "A", "P"))
    shown = picture[MARGIN : MARGIN + 512, MARGIN : MARGIN + 512]
    expected = np.rint(np.clip(hu / 80, 0, 1) * 255).astype(np.uint8)
    assert np.array_equal(shown, np.repeat(expected[..., None], 3, axis=-1))


def test_the_picture_is_a_function_of_its_arguments(case, hu):
    first, second = (render(hu, case.judgement, 2) for _ in range(2))
    assert first.dtype == np.uint8
    assert np.array_equal(first, second)


@pytest.mark.parametrize(
    ("rows", "columns", "spacing_mm", "expected"),
    [
        (512, 512, (0.5, 0.5), (512, 512)),
        (512, 512, None, (512, 512)),
        (512, 512, (0.5, 0.25), (1024, 512)),  # rows twice as far apart as columns
        (512, 512, (0.25, 0.5), (512, 1024)),
        (512, 400, (0.5, 0.5), (512, 400)),
        (256, 256, (1.0, 1.0), (512, 512)),
        (100, 80, (1.0, 1.0), (500, 400)),
        (768, 768, (0.3, 0.3), (768, 768)),
        (512, 512, (0.5, 0.5001), (512, 512)),
        (33, 47, (1.0, 1.0), (330, 470)),
    ],
)
def test_a_slice_keeps_its_true_shape_and_every_pixel(rows, columns, spacing_mm, expected):
    image = draw_brain_window(np.zeros((rows, columns), np.int16), spacing_mm)
    assert (image.height, image.width) == expected


@pytest.mark.parametrize("size", [(512, 512), (33, 47), (700, 512), (512, 701), (1, 1)])
def test_a_picture_of_any_slice_has_even_sides_and_room_for_the_panel(case, size):
    picture = render(np.zeros(size, np.int16), case.judgement, 0)
    rows, columns, channels = picture.shape
    assert rows % 2 == columns % 2 == 0
    assert channels == 3
    assert rows >= 512
    assert count(picture, YELLOW) > 5000  # "not for clinical use"


def test_a_flagged_slice_is_framed_and_labelled(case, hu):
    threshold = case.judgement.model.operating_point.thresholds[Label.ANY]
    at, below = (
        render(hu, with_probability(case, value), 0)
        for value in (np.float32(threshold), np.nextafter(np.float32(threshold), np.float32(0)))
    )
    assert count(at[:MARGIN], ORANGE) > 512
    assert count(below, ORANGE) == 0
    assert count(below, SKY_BLUE) > 0


def test_a_model_with_no_operating_point_flags_nothing(case, hu):
    judgement = with_probability(case, 1.0)
    judgement = replace(judgement, model=replace(judgement.model, operating_point=None))
    picture = render(hu, judgement, 0)
    assert count(picture, ORANGE) == 0
    assert count(picture, SKY_BLUE) > 1000


@pytest.mark.parametrize("label", LABELS)
def test_a_bar_is_as_long_as_its_probability(case, hu, label):
    judgement = replace(case.judgement, model=replace(case.judgement.model, operating_point=None))
    none, half, whole = (
        count(
            render(hu, replace(with_probability(case, value, label), model=judgement.model), 0),
            SKY_BLUE,
        )
        for value in (0.0, 0.5, 1.0)
    )
    assert (half - none) == pytest.approx((whole - none) / 2, rel=0.05)
    assert whole - none > 2000


def test_the_mark_on_the_curve_moves_from_foot_to_head(make_case, hu):
    judgement = replace(make_case(9).judgement, probabilities=np.zeros((9, 6), np.float32))
    pictures = [render(hu, judgement, index) for index in range(9)]
    strips = [picture[416:470, 560:880].astype(int) for picture in pictures]
    marks = [int(strip.sum(axis=(0, 2)).argmax()) for strip in strips]
    assert marks == sorted(marks)
    assert len(set(marks)) == 9


def test_probabilities_are_never_rounded_to_certainty():
    shown = [percent(value) for value in (0, 1e-9, 0.0149, 0.5, 0.994, 1 - 1e-9, 1)]
    assert shown == ["0 %", "<1 %", "1 %", "50 %", ">99 %", ">99 %", "100 %"]


def test_long_names_stay_inside_the_panel(case, hu):
    model = replace(case.judgement.model, name=64 * "M", version=32 * "9")
    picture = render(hu, replace(case.judgement, model=model), 0)
    ground = picture[0, 0]
    assert (picture[:, -14:] == ground).all()


ORIENTATIONS = {
    "supine, head first": ((1, 0, 0, 0, 1, 0), Edges("R", "L", "A", "P")),
    "seen from the head": ((-1, 0, 0, 0, 1, 0), Edges("L", "R", "A", "P")),
    "prone": ((-1, 0, 0, 0, -1, 0), Edges("L", "R", "P", "A")),
    "coronal": ((1, 0, 0, 0, 0, -1), Edges("R", "L", "H", "F")),
    "sagittal": ((0, 1, 0, 0, 0, -1), Edges("A", "P", "H", "F")),
    "turned by 90 degrees": ((0, 1, 0, -1, 0, 0), Edges("A", "P", "L", "R")),
    "gantry tilt": ((1, 0, 0, 0, 0.948324, -0.317305), Edges("R", "L", "A", "P")),
    "head turned by 45 degrees": (
        (0.7071, 0.7072, 0, -0.7071, 0.7072, 0),
        Edges("AR", "PL", "AL", "PR"),
    ),
}


@pytest.mark.parametrize(("orientation", "edges"), ORIENTATIONS.values(), ids=ORIENTATIONS)
def test_edges_name_the_side_of_the_patient(orientation, edges):
    assert Edges.of(orientation) == edges


def test_every_direction_has_a_name():
    random = np.random.default_rng(1).normal(size=(2000, 3))
    for direction in random / np.linalg.norm(random, axis=1, keepdims=True):
        assert letters(direction)


@pytest.mark.parametrize("edge", ["left", "right", "top", "bottom"])
def test_a_letter_stands_at_its_edge_outside_the_slice(case, hu, edge):
    without = render(hu, case.judgement, 0)
    with_letter = render(hu, case.judgement, 0, edges=Edges(**{edge: "L"}))
    rows, columns = np.nonzero((without != with_letter).any(axis=-1))
    assert len(rows) > 10
    where = {
        "left": columns.max() < MARGIN and abs(rows.mean() - 280) < 10,
        "right": columns.min() >= MARGIN + 512 and abs(rows.mean() - 280) < 10,
        "top": rows.max() < MARGIN and abs(columns.mean() - 280) < 10,
        "bottom": rows.min() >= MARGIN + 512 and abs(columns.mean() - 280) < 10,
    }
    assert where[edge]
