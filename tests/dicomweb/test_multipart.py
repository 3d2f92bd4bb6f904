"""Bodies of many parts are taken apart as they come, and none that is torn passes for whole."""

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.dicomweb import DICOMwebError
from node.dicomweb.multipart import kind_and_boundary, put_together, take_apart

MOST = 1000

contents = st.lists(st.binary(max_size=200), max_size=5)


def pieces(body: bytes, sizes: list[int]) -> Iterator[bytes]:
    """A body in pieces of some sizes."""
    at = 0
    for size in sizes:
        yield body[at : at + size]
        at += size
    yield body[at:]


def parts(body: bytes, boundary: bytes = b"b", most: int = MOST) -> list[bytes | None]:
    return list(take_apart([body], boundary, most))


@given(contents=contents, sizes=st.lists(st.integers(0, 300), max_size=10))
def test_what_is_put_together_comes_apart_again_in_whatever_pieces_it_comes(
    contents: list[bytes], sizes: list[int]
) -> None:
    body, content_type = put_together(contents)
    kind, boundary = kind_and_boundary(content_type)
    assert kind == "multipart/related"
    assert boundary is not None
    assert list(take_apart(pieces(body, sizes), boundary, MOST)) == contents


@given(contents=contents.filter(bool), share=st.floats(0, 1, exclude_max=True))
def test_a_body_that_is_cut_off_anywhere_gives_its_whole_parts_and_an_error(
    contents: list[bytes], share: float
) -> None:
    body, content_type = put_together(contents)
    _, boundary = kind_and_boundary(content_type)
    assert boundary is not None
    end = body.rindex(b"--")  # those after it say that it is the last
    got = []
    with pytest.raises(DICOMwebError, match="breaks off"):
        for part in take_apart([body[: int(end * share)]], boundary, MOST):
            got.append(part)
    assert got == contents[: len(got)]


def test_what_divides_the_parts_is_drawn_anew_each_time() -> None:
    assert put_together([b"x"])[1] != put_together([b"x"])[1]


def test_a_part_that_is_too_large_is_left_out_and_not_held() -> None:
    large = b"x" * 64 * 1024
    body = b"--b\r\n\r\none\r\n--b\r\n\r\n" + large * 20 + b"\r\n--b\r\n\r\nthree\r\n--b--"
    assert parts(body) == [b"one", None, b"three"]
    longest = 0

    def watched() -> Iterator[bytes]:
        nonlocal longest
        for at in range(0, len(body), 1000):
            frame = reader.gi_frame
            longest = max(longest, len(frame.f_locals["held"]) if frame else 0)
            yield body[at : at + 1000]

    reader = take_apart(watched(), b"b", MOST)
    assert list(reader) == [b"one", None, b"three"]
    assert longest < 20_000


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (b"--b--", []),
        (b"--b\r\nA: 1\r\nB: 2\r\n\r\nx\r\n--b--\r\n", [b"x"]),
        (b"--b  \r\n\r\nx\r\n--b\t\r\n\r\ny\r\n--b--", [b"x", b"y"]),
        (b"preamble\r\n--b\r\n\r\nx\r\n--b--epilogue\r\n--b\r\n\r\ny", [b"x"]),
        (b"--b\r\n\r\nx\r\n--bb\r\n--c\r\n--b--", [b"x\r\n--bb\r\n--c"]),
        (b"--b\r\nno headers\r\n--b--", [b""]),
    ],
)
def test_bodies_as_servers_write_them(body: bytes, found: list[bytes]) -> None:
    assert parts(body) == found
    assert list(take_apart((body[i : i + 1] for i in range(len(body))), b"b", MOST)) == found


@pytest.mark.parametrize(
    ("content_type", "kind", "boundary"),
    [
        ('multipart/related; type="application/dicom"; boundary=x', "multipart/related", b"x"),
        ('Multipart/Related;BOUNDARY="a b:c"', "multipart/related", b"a b:c"),
        ("multipart/related", "multipart/related", None),
        ("multipart/related; boundary=", "multipart/related", None),
        (f"multipart/related; boundary={'x' * 73}", "multipart/related", b"x" * 73),
        (f"multipart/related; boundary={'x' * 201}", "multipart/related", None),
        ("multipart/related; boundary*=utf-8''x%00", "multipart/related", None),
        ("application/dicom", "application/dicom", None),
        ("", "text/plain", None),
        ("x\r\ny: z", "text/plain", None),
    ],
)
def test_the_head_line_of_a_body_is_read(
    content_type: str, kind: str, boundary: bytes | None
) -> None:
    assert kind_and_boundary(content_type) == (kind, boundary)
