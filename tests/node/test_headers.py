"""The headers of a series as a whole."""

from pathlib import Path

from node.headers import read_headers
from tests import ct


def test_the_headers_come_with_their_order_and_without_pixels(tmp_path: Path) -> None:
    found = read_headers(ct.series(tmp_path, [10, 0, 5]))
    assert found.arrangement is not None
    assert [f.instance_number for f in found.arrangement.frames] == [2, 3, 1]
    assert all("PixelData" not in header for header in found.headers)
    assert found.warnings == ()


def test_a_file_that_cannot_be_read_is_a_warning_and_the_others_count(tmp_path: Path) -> None:
    paths = ct.series(tmp_path, [0, 5, 10])
    paths[1].write_bytes(b"broken")
    found = read_headers(paths)
    assert len(found.headers) == 2
    assert len(found.warnings) == 1
    assert paths[1].name in found.warnings[0]


def test_a_series_that_cannot_be_ordered_has_no_arrangement(tmp_path: Path) -> None:
    paths = ct.series(tmp_path, [0, 5], lambda image: image.pop("ImagePositionPatient"))
    found = read_headers(paths)
    assert found.arrangement is None
    assert len(found.headers) == 2


def test_no_files_are_no_headers() -> None:
    found = read_headers([])
    assert (found.headers, found.arrangement) == ((), None)
