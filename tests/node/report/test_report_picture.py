"""Pictures: what stands on them, and that it can be read."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ml.labels import LABELS, Label, percent
from node.report.orientation import Edges, letters
from node.report.picture.paint import SMALLEST, Canvas, font_of, shorten, wrap
from node.report.picture.series import SeriesPictures
from node.report.picture.slice import draw_brain_window
from node.report.picture.summary import top_slices

ORANGE = (230, 159, 0)
SKY_BLUE = (86, 180, 233)
YELLOW = (240, 228, 66)
MARGIN = 28
PANEL_LEFT = 512 + 2 * MARGIN + 8
GOLDEN = Path(__file__).parent / "golden"


def count(picture, colour):
    return int((picture == np.array(colour, np.uint8)).all(axis=-1).sum())


def with_probability(case, value, label=Label.ANY):
    probabilities = np.zeros_like(case.judgement.probabilities)
    probabilities[:, LABELS.index(label)] = value
    return replace(case.judgement, probabilities=probabilities)


def without_thresholds(judgement):
    return replace(judgement, model=replace(judgement.model, operating_point=None))


def draw(judgement, hu, index=0, edges=None):
    """The picture of a slice in a series that has the same slice everywhere."""
    stack = np.broadcast_to(hu, (len(judgement.slices), *hu.shape))
    return SeriesPictures(judgement, stack).slice(index, edges)


def summary(judgement, hu):
    stack = np.broadcast_to(hu, (len(judgement.slices), *hu.shape))
    return SeriesPictures(judgement, stack).summary()


@pytest.fixture
def hu():
    """A slice of 512 x 512 in which every pixel of a row has another HU."""
    return np.tile(np.arange(-216, 296, dtype=np.int16), (512, 1))


# -- the slice -------------------------------------------------------------


def test_the_slice_is_shown_whole_and_untouched(case, hu):
    picture = draw(case.judgement, hu, edges=Edges("R", "L", "A", "P"))
    shown = picture[MARGIN : MARGIN + 512, MARGIN : MARGIN + 512]
    expected = np.rint(np.clip(hu / 80, 0, 1) * 255).astype(np.uint8)
    assert np.array_equal(shown, np.repeat(expected[..., None], 3, axis=-1))


def test_the_picture_is_a_function_of_its_arguments(case, hu):
    first, second = (draw(case.judgement, hu, 2) for _ in range(2))
    assert first.dtype == np.uint8
    assert np.array_equal(first, second)
    assert np.array_equal(*(summary(case.judgement, hu) for _ in range(2)))


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


SIZES = [(512, 512), (33, 47), (700, 512), (512, 701), (1, 1), (1024, 1024), (16, 16), (511, 513)]


@pytest.mark.parametrize("size", SIZES)
def test_pictures_of_any_slice_have_one_size_with_even_sides_and_room_for_the_words(case, size):
    pictures = SeriesPictures(case.judgement, np.zeros((4, *size), np.int16))
    picture, first = pictures.slice(0), pictures.summary()
    assert picture.shape == first.shape
    rows, columns, channels = picture.shape
    assert rows % 2 == columns % 2 == 0
    assert channels == 3
    assert rows >= 512
    for one in (picture, first):
        assert count(one, YELLOW) > 4000  # "not for clinical use"
        assert (one[:, -4:] == one[0, 0]).all()  # nothing runs out of it


@pytest.mark.parametrize("edge", ["left", "right", "top", "bottom"])
def test_a_letter_stands_at_its_edge_outside_the_slice(case, hu, edge):
    without = draw(case.judgement, hu)
    with_letter = draw(case.judgement, hu, edges=Edges(**{edge: "L"}))
    rows, columns = np.nonzero((without != with_letter).any(axis=-1))
    assert len(rows) > 10
    middle = MARGIN + 256
    where = {
        "left": columns.max() < MARGIN and abs(rows.mean() - middle) < 10,
        "right": MARGIN + 512 <= columns.min() <= columns.max() < PANEL_LEFT
        and abs(rows.mean() - middle) < 10,
        "top": rows.max() < MARGIN and abs(columns.mean() - middle) < 10,
        "bottom": rows.min() >= MARGIN + 512 and abs(columns.mean() - middle) < 10,
    }
    assert where[edge]


# -- what the model says ---------------------------------------------------


def test_a_flagged_slice_is_framed_and_labelled(case, hu):
    threshold = case.judgement.model.operating_point.thresholds[Label.ANY]
    at, below = (
        draw(with_probability(case, value), hu)
        for value in (np.float32(threshold), np.nextafter(np.float32(threshold), np.float32(0)))
    )
    assert count(at[:MARGIN], ORANGE) > 512
    assert count(at[MARGIN : MARGIN + 100, PANEL_LEFT:], ORANGE) > 5000  # the word, in a box
    assert count(below, ORANGE) == 0
    assert count(below, SKY_BLUE) > 0


def test_a_slice_that_is_flagged_for_a_subtype_only_is_flagged(case, hu):
    picture = draw(with_probability(case, 0.9, Label.SUBDURAL), hu)
    assert count(picture[:MARGIN], ORANGE) > 512


def test_a_model_with_no_operating_point_flags_nothing(case, hu):
    judgement = without_thresholds(with_probability(case, 1.0))
    for picture in (draw(judgement, hu), summary(replace(judgement, warnings=()), hu)):
        assert count(picture, ORANGE) == 0
        assert count(picture, SKY_BLUE) > 500


@pytest.mark.parametrize("label", LABELS)
def test_a_bar_is_as_long_as_its_probability(case, hu, label):
    none, half, whole = (
        count(draw(without_thresholds(with_probability(case, value, label)), hu), SKY_BLUE)
        for value in (0.0, 0.5, 1.0)
    )
    assert (half - none) == pytest.approx((whole - none) / 2, rel=0.05)
    assert whole - none > 2000


def test_the_mark_on_the_curve_moves_from_foot_to_head(make_case, hu):
    judgement = replace(make_case(9).judgement, probabilities=np.zeros((9, 6), np.float32))
    strips = [draw(judgement, hu, i)[436:480, PANEL_LEFT : PANEL_LEFT + 320] for i in range(9)]
    marks = [int(strip.astype(int).sum(axis=(0, 2)).argmax()) for strip in strips]
    assert marks == sorted(marks)
    assert len(set(marks)) == 9


def test_probabilities_are_never_rounded_to_certainty():
    shown = [percent(value) for value in (0, 1e-9, 0.0149, 0.5, 0.994, 1 - 1e-9, 1)]
    assert shown == ["0 %", "<1 %", "1 %", "50 %", ">99 %", ">99 %", "100 %"]


def test_long_names_stay_inside_the_picture(case, hu):
    model = replace(case.judgement.model, name=64 * "M", version=32 * "9")
    judgement = replace(case.judgement, model=model)
    for picture in (draw(judgement, hu), summary(judgement, hu)):
        assert (picture[:, -14:] == picture[0, 0]).all()


# -- the summary -----------------------------------------------------------


@pytest.mark.parametrize("slices", [1, 2, 28, 2000])
def test_a_summary_of_any_length_shows_every_curve(make_case, slices):
    case = make_case(slices, rows=16, columns=16)
    none = without_thresholds(replace(case.judgement, warnings=()))
    zeros = np.zeros_like(none.probabilities)
    flat = summary(replace(none, probabilities=zeros), case.volume.hu[0])
    for label in LABELS:
        raised = zeros.copy()
        raised[:, LABELS.index(label)] = 1
        up = summary(replace(none, probabilities=raised), case.volume.hu[0])
        assert (up != flat).any()


def test_the_top_slices_are_the_flagged_ones_and_each_comes_once(case):
    probabilities = np.zeros_like(case.judgement.probabilities)
    probabilities[1, LABELS.index(Label.EPIDURAL)] = 0.25  # flagged, its threshold is 0.2
    probabilities[2, LABELS.index(Label.ANY)] = 0.43  # more probable, but not flagged
    probabilities[2, LABELS.index(Label.SUBDURAL)] = 0.39
    assert top_slices(replace(case.judgement, probabilities=probabilities)) == [
        (1, Label.EPIDURAL),
        (2, Label.ANY),
        (0, Label.INTRAPARENCHYMAL),
    ]


# -- legibility ------------------------------------------------------------


def thin(make_case):
    """2,000 slices, numbered from head to foot, with much to say of them."""
    case = make_case(2000, rows=16, columns=16)
    slices = tuple(
        replace(item, instance_number=2000 - number, position_mm=-1234.5)
        for number, item in enumerate(case.judgement.slices)
    )
    certain = np.full_like(case.judgement.probabilities, 0.999)
    warnings = ("steps of 1.1 to 7.4 mm", "a gantry tilt of 21.5 degrees", "unknown body part")
    return case.judged(slices=slices, probabilities=certain, warnings=warnings)


KINDS = {
    "plain": lambda make: make(),
    "one slice": lambda make: make(1, rows=33, columns=47),
    "thin": thin,
    "enhanced": lambda make: make(3, enhanced=True),
    "wide": lambda make: make(3, rows=512, columns=900),
    "large": lambda make: make(2, rows=1024, columns=1024),
    "no thresholds": lambda make: make().judged(
        model=replace(make().judgement.model, operating_point=None)
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_texts_can_be_read_at_512_pixels_and_do_not_lie_over_each_other(
    make_case, kind, monkeypatch
):
    """A capital of 8 pixels, as near as type of whole pixels comes to it."""
    written = []
    write = Canvas.text

    def noting(self, x, y, text, size, fill=(0, 0, 0), *, anchor="la", room=None):
        font = font_of(self.px(size))
        shown = text if room is None else shorten(text, font, self.px(room))
        capital = font.getbbox("H", anchor="ls")
        box = np.array(font.getbbox(shown, anchor=anchor)) + 2 * (self.px(x), self.px(y))
        written.append((shown, capital[3] - capital[1], box))
        write(self, x, y, text, size, fill, anchor=anchor, room=room)

    monkeypatch.setattr(Canvas, "text", noting)
    case = KINDS[kind](make_case)
    pictures = SeriesPictures(case.judgement, case.volume.hu, case.volume.spacing_mm)
    last = len(case.judgement.slices) - 1
    edges = Edges("AR", "PL", "AL", "PR")
    for drawn in (lambda: pictures.slice(last, edges), pictures.summary):
        written.clear()
        rows, columns, _ = drawn().shape
        assert len(written) > 15
        for number, (text, capital, (left, top, right, bottom)) in enumerate(written):
            assert capital * 512 / columns >= 7.9, text
            assert left >= 0 and top >= 0 and right <= columns and bottom <= rows, text
            for other, _, box in written[:number]:
                apart = right <= box[0] or box[2] <= left or bottom <= box[1] or box[3] <= top
                assert apart or not (text and other), (text, other)
        shortened = [text for text, *_ in written if text.endswith("...")]
        assert len(shortened) <= (kind == "thin")  # its warnings


def test_the_summary_tells_the_warnings(case):
    font = font_of(SMALLEST)
    told = "2 warnings: one that is long; another that is no less long"
    for width in (150, 200, 320):
        *full, last = wrap(told, font, width, 3)
        assert all(font.getlength(line) <= width for line in (*full, last))
        assert told.startswith(" ".join([*full, last.removesuffix("...")]))
        assert last.endswith("...") == (width == 150)
    assert wrap("short", font, 200, 3) == ["short"]
    assert wrap("", font, 200, 3) == []
    hu = case.volume.hu[0]
    one, other = (
        summary(case.judged(warnings=warnings).judgement, hu)
        for warnings in (("a gantry tilt",), ("no body part",))
    )
    assert (one != other).any()
    none = summary(case.judged(warnings=()).judgement, hu)
    rows, columns = np.nonzero((one != none).any(axis=-1))
    assert columns.min() >= PANEL_LEFT
    assert rows.max() - rows.min() < 30  # one line


def golden_case(make_case):
    return make_case(12).judged(warnings=("uneven steps: 1.1 to 7.4 mm, typically 5.0 mm",))


def golden_picture(case, name):
    pictures = SeriesPictures(case.judgement, case.volume.hu, case.volume.spacing_mm)
    return pictures.slice(5, Edges("R", "L", "A", "P")) if name == "slice" else pictures.summary()


def difference(one, other):
    """Largest difference of the means of 4 x 4 pixels, of 255.

    FreeType's versions draw the edges of letters differently. Moving every
    letter by a whole pixel gives 60, another digit 120 and more.
    """
    rows, columns, _ = one.shape
    blocks = np.subtract(one, other, dtype=float)[: rows // 4 * 4, : columns // 4 * 4]
    means = blocks.reshape(rows // 4, 4, columns // 4, 4, 3).mean(axis=(1, 3))
    return np.abs(means).max()


TOLERANCE = 90


@pytest.mark.parametrize("name", ["slice", "summary"])
def test_pictures_look_as_they_did(make_case, name, request):
    """Golden images; `pytest --new-golden` draws them anew."""
    drawn = golden_picture(golden_case(make_case), name)
    if request.config.getoption("--new-golden"):
        Image.fromarray(drawn).quantize(64).save(GOLDEN / f"{name}.png", optimize=True)
    with Image.open(GOLDEN / f"{name}.png") as image:
        golden = np.asarray(image.convert("RGB"))
    assert drawn.shape == golden.shape
    assert difference(drawn, golden) < TOLERANCE


@pytest.mark.parametrize("name", ["slice", "summary"])
def test_a_picture_with_another_digit_does_not_look_the_same(make_case, name):
    case = golden_case(make_case)
    raised = case.judgement.probabilities.copy()
    raised[1 if name == "summary" else 5, LABELS.index(Label.ANY)] += 0.03  # 1 has the maximum
    drawn, other = (golden_picture(one, name) for one in (case, case.judged(probabilities=raised)))
    assert difference(drawn, other) > TOLERANCE


# -- orientation -----------------------------------------------------------


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
