"""The files of a series to slices from foot to head."""

import math
from pathlib import Path

import numpy as np
import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from ml.errors import GeometryError, PixelError, SeriesError
from ml.frames import Frame, read_frames, read_header
from ml.geometry import ImagePlane
from ml.series import Volume, arrange, is_bearable, load_series
from tests import ct


def numbers(volume: Volume) -> list[int | None]:
    return [item.instance_number for item in volume.slices]


def frame(number: int, z_mm: float, **changes: object) -> Frame:
    values: dict[str, object] = {
        "path": Path(f"{number}.dcm"),
        "sop_instance_uid": ct.uid(number),
        "frame_number": None,
        "instance_number": number,
        "rows": 4,
        "columns": 4,
        "plane": ImagePlane((0, 0, z_mm), ct.AXIAL),
        "spacing_mm": None,
        "is_localizer": False,
        "scaling": None,
    }
    return Frame(**{**values, **changes})  # type: ignore[arg-type]


def test_slices_come_from_foot_to_head_whatever_the_order_of_the_files(tmp_path: Path) -> None:
    paths = ct.series(tmp_path, [10, -5, 5, 0, -10])
    volume = load_series(reversed(paths))
    assert [item.position_mm for item in volume.slices] == [-10, -5, 0, 5, 10]
    assert numbers(volume) == [5, 2, 4, 3, 1]
    assert volume.hu[:, 0, 0].tolist() == [5, 2, 4, 3, 1]
    assert [item.sop_instance_uid for item in volume.slices] == [ct.uid(n) for n in (5, 2, 4, 3, 1)]


def test_slices_numbered_from_the_head_down_are_turned_round(tmp_path: Path) -> None:
    volume = load_series(ct.series(tmp_path, [20, 15, 10, 5, 0]))
    assert numbers(volume) == [5, 4, 3, 2, 1]


def test_a_feet_first_series_is_ordered_by_the_patient_and_not_by_the_table(
    tmp_path: Path,
) -> None:
    def feet_first(out: Dataset) -> None:
        out.PatientPosition = "FFS"
        out.SliceLocation = -out.ImagePositionPatient[2]

    rows_reversed = (-1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
    paths = ct.series(tmp_path, [0, 5, 10, 15], feet_first, orientation=rows_reversed)
    volume = load_series(paths)
    assert [item.position_mm for item in volume.slices] == [0, 5, 10, 15]
    assert numbers(volume) == [1, 2, 3, 4]


def test_under_a_tilted_gantry_positions_count_along_the_normal(tmp_path: Path) -> None:
    angle = math.radians(20)
    orientation = (1.0, 0.0, 0.0, 0.0, math.cos(angle), math.sin(angle))

    def shear(out: Dataset) -> None:  # the table moves along z, the slices are tilted
        out.ImagePositionPatient = [-120, -110, out.ImagePositionPatient[2]]

    volume = load_series(ct.series(tmp_path, [10, 0, 5], shear, orientation=orientation))
    steps = np.diff([item.position_mm for item in volume.slices])
    assert numbers(volume) == [2, 3, 1]
    assert steps == pytest.approx([5 * math.cos(angle)] * 2, abs=1e-4)
    assert volume.warnings == ()


def test_uneven_steps_are_kept_and_warned_of(tmp_path: Path) -> None:
    volume = load_series(ct.series(tmp_path, [0, 4, 8, 12, 19.4, 26.8]))
    assert len(volume) == 6
    assert volume.warnings == (
        "uneven steps: 4.0 to 7.4 mm, typically 4.0 mm; slices may be missing",
    )


def test_slices_that_share_a_position_are_both_kept_and_warned_of(tmp_path: Path) -> None:
    volume = load_series(ct.series(tmp_path, [0, 5, 5, 10]))
    assert numbers(volume) == [1, 2, 3, 4]
    assert volume.warnings == ("1 slices share a position with another one",)


def test_one_slice_is_a_volume(tmp_path: Path) -> None:
    volume = load_series(ct.series(tmp_path, [3]))
    assert volume.hu.shape == (1, ct.ROWS, ct.COLUMNS)
    assert volume.spacing_mm == (0.5, 0.5)
    assert volume.warnings == ()


@given(
    positions=st.lists(st.integers(-2000, 2000), min_size=1, max_size=30, unique=True),
    data=st.data(),
)
def test_any_order_of_the_frames_gives_the_same_stack(
    positions: list[int], data: st.DataObject
) -> None:
    frames = [frame(number, z / 10) for number, z in enumerate(positions, start=1)]
    shuffled = data.draw(st.permutations(frames))
    found = arrange(shuffled)
    assert found == arrange(frames)
    assert found.positions_mm == tuple(sorted(z / 10 for z in positions))
    assert [f.plane.position[2] for f in found.frames if f.plane] == list(found.positions_mm)


@given(positions=st.lists(st.integers(-3, 3), min_size=1, max_size=12), data=st.data())
def test_no_frame_is_lost_or_invented_where_positions_repeat(
    positions: list[int], data: st.DataObject
) -> None:
    frames = [frame(number, z) for number, z in enumerate(positions, start=1)]
    found = arrange(data.draw(st.permutations(frames)))
    assert sorted(found.frames, key=lambda f: f.instance_number or 0) == frames
    assert found == arrange(frames)


# -- what does not belong to the stack -----------------------------------------


def test_a_localizer_in_the_series_is_left_out_by_name(tmp_path: Path) -> None:
    def second_is_a_localizer(out: Dataset) -> None:
        if out.InstanceNumber == 2:
            out.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]

    volume = load_series(ct.series(tmp_path, [0, 5, 10], second_is_a_localizer))
    assert numbers(volume) == [1, 3]
    assert [str(item) for item in volume.left_out] == [f"slice {ct.uid(2)} left out: a localizer"]
    assert f"slice {ct.uid(2)} left out: a localizer" in volume.warnings


def test_an_image_type_of_the_one_value_localizer_is_a_localizer(tmp_path: Path) -> None:
    out = ct.image()
    out.ImageType = "LOCALIZER"
    path = ct.write(out, tmp_path / "1.dcm")
    assert read_frames(read_header(path), path)[0].is_localizer


def test_a_slice_of_another_orientation_is_left_out_by_name() -> None:
    stray = frame(9, 0, plane=ImagePlane((0, 0, 0), (1, 0, 0, 0, 0, -1)))
    found = arrange([frame(1, 0), stray, frame(2, 5)])
    assert [f.instance_number for f in found.frames] == [1, 2]
    assert [str(item) for item in found.left_out] == [
        f"slice {ct.uid(9)} left out: another orientation than the stack"
    ]


def test_a_slice_of_another_size_is_left_out_with_both_sizes() -> None:
    found = arrange([frame(1, 0), frame(2, 5), frame(3, 10, rows=8)])
    assert [str(item) for item in found.left_out] == [
        f"slice {ct.uid(3)} left out: 8 x 4, the stack 4 x 4"
    ]


def test_the_size_of_the_stack_is_the_most_common_one_of_its_own_orientation() -> None:
    coronal = ImagePlane((0, 0, 0), (1, 0, 0, 0, 0, -1))
    axial = [frame(n, n * 5) for n in range(1, 5)] + [frame(n, n * 5, rows=9) for n in (5, 6)]
    found = arrange([*axial, *(frame(n, n, plane=coronal, rows=9) for n in (7, 8, 9))])
    assert [f.instance_number for f in found.frames] == [1, 2, 3, 4]


def test_what_was_left_out_is_a_warning_of_the_volume(tmp_path: Path) -> None:
    def third_is_coronal(out: Dataset) -> None:
        if out.InstanceNumber == 3:
            out.ImageOrientationPatient = [1, 0, 0, 0, 0, -1]

    volume = load_series(ct.series(tmp_path, [0, 5, 10, 15], third_is_coronal))
    assert f"slice {ct.uid(3)} left out: another orientation than the stack" in volume.warnings
    assert any(text.startswith("uneven") for text in volume.warnings) is False
    assert len(volume) == 3


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("ImagePositionPatient", None),
        ("ImagePositionPatient", [0, 0]),
        ("ImageOrientationPatient", None),
        ("ImageOrientationPatient", [0] * 6),
    ],
)
def test_a_series_without_positions_cannot_be_ordered(
    tmp_path: Path, keyword: str, value: list[float] | None
) -> None:
    def spoil(out: Dataset) -> None:
        if value is None:
            del out[keyword]
        else:
            setattr(out, keyword, value)

    with pytest.raises(GeometryError, match="Image Position"):
        load_series(ct.series(tmp_path, [0, 5, 10], spoil))


def test_no_files_cannot_be_ordered() -> None:
    with pytest.raises(GeometryError):
        load_series([])


@pytest.mark.parametrize("text", ["nan", "inf", "abc", "1,5"])
@pytest.mark.filterwarnings("ignore")
def test_a_slice_whose_position_is_not_a_number_is_left_out_by_name(
    tmp_path: Path, text: str
) -> None:
    paths = ct.series(tmp_path, [0, 7.125, 14])
    content = paths[1].read_bytes()
    assert content.count(b"7.125") == 1
    paths[1].write_bytes(content.replace(b"7.125", text.ljust(5).encode()))
    volume = load_series(paths)
    assert numbers(volume) == [1, 3]
    assert volume.left_out[0].reason == "no usable image position or orientation"


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
def test_series_like_those_of_rsna_are_read_as_they_are(tmp_path: Path) -> None:
    """UIDs that are none, and neither SOP class nor number nor thickness nor image type."""

    def like_rsna(out: Dataset) -> None:
        name = f"ID_{out.InstanceNumber:09x}"
        for keyword in (
            "SOPClassUID",
            "InstanceNumber",
            "SliceThickness",
            "ImageType",
            "SeriesDescription",
            "BodyPartExamined",
            "ConvolutionKernel",
        ):
            del out[keyword]
        out.SOPInstanceUID = name
        out.StudyInstanceUID, out.SeriesInstanceUID = "ID_study", "ID_series"

    paths = []
    for number, z_mm in enumerate([10, 0, 5], start=1):
        out = ct.image(number, z_mm)
        like_rsna(out)
        path = tmp_path / f"ID_{number}.dcm"
        out.preamble = bytes(128)
        pydicom.dcmwrite(path, out)
        paths.append(path)
    volume = load_series(paths)
    assert [item.sop_instance_uid for item in volume.slices] == [
        "ID_000000002",
        "ID_000000003",
        "ID_000000001",
    ]
    assert numbers(volume) == [None, None, None]
    assert volume.hu[:, 0, 0].tolist() == [2, 3, 1]


# -- a volume, and how much of it may be lost -----------------------------------


@pytest.mark.parametrize(
    "hu", [np.zeros((2, 4, 4), np.float32), np.zeros((4, 4), np.int16), np.zeros((3, 4, 4), "i2")]
)
def test_a_volume_refuses_hu_that_do_not_fit_its_slices(hu: np.ndarray) -> None:
    volume_slices = arrange([frame(1, 0), frame(2, 5)]).frames
    with pytest.raises(SeriesError, match="int16"):
        Volume(hu, volume_slices)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("lost", "total", "bearable"),
    [
        ([], 1, True),
        ([5], 30, True),
        ([5, 9, 20], 30, True),
        ([5, 6], 30, False),
        ([0], 30, False),
        ([29], 30, False),
        ([5, 9, 20, 25], 30, False),
        ([1], 9, False),
        ([1], 10, True),
        ([0], 1, False),
    ],
)
def test_lonely_losses_inside_the_stack_are_bearable_up_to_a_tenth(
    lost: list[int], total: int, bearable: bool
) -> None:
    assert is_bearable(lost, total) is bearable


def spoilt(folder: Path, count: int, bad: set[int]) -> list[Path]:
    """A series whose slices of these numbers end before their pixel data does."""
    paths = ct.series(folder, [5.0 * n for n in range(count)])
    for number in bad:
        content = paths[number - 1].read_bytes()
        paths[number - 1].write_bytes(content[:-100])
    return paths


def test_one_truncated_slice_inside_is_left_out_and_named(tmp_path: Path) -> None:
    volume = load_series(spoilt(tmp_path, 12, {5}))
    assert numbers(volume) == [1, 2, 3, 4, 6, 7, 8, 9, 10, 11, 12]
    assert volume.hu[:, 0, 0].tolist() == [1, 2, 3, 4, 6, 7, 8, 9, 10, 11, 12]
    assert [item.name for item in volume.left_out] == [ct.uid(5)]
    assert [text for text in volume.warnings if ct.uid(5) in text]


@pytest.mark.parametrize("bad", [{5, 6}, {1}, {12}])
def test_neighbours_or_an_end_that_cannot_be_decoded_fail_the_series_by_name(
    tmp_path: Path, bad: set[int]
) -> None:
    with pytest.raises(PixelError) as caught:
        load_series(spoilt(tmp_path, 12, bad))
    assert f"{len(bad)} of 12 slices cannot be decoded" in str(caught.value)
    for number in bad:
        assert ct.uid(number) in str(caught.value)


def test_a_long_list_of_lost_slices_is_cut_but_counted(tmp_path: Path) -> None:
    with pytest.raises(PixelError, match=r"8 of 12 slices .*; and 3 more"):
        load_series(spoilt(tmp_path, 12, set(range(1, 9))))


@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(order=st.permutations(range(6)))
def test_files_read_in_any_order_give_the_same_volume(tmp_path: Path, order: list[int]) -> None:
    folder = tmp_path / "series"
    paths = sorted(folder.glob("*")) or ct.series(folder, [0, 5, 10, 15, 20, 25])
    volume = load_series(paths[index] for index in order)
    assert volume.hu[:, 0, 0].tolist() == [1, 2, 3, 4, 5, 6]
