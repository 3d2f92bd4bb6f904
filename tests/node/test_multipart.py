"""Many objects in one body come apart alike however it is cut, and none that is torn is whole."""

import itertools
import tracemalloc
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.multipart import (
    LONGEST_HEADERS,
    RELATED,
    End,
    Headers,
    MalformedError,
    MediaType,
    Multipart,
    Piece,
    UnclearError,
    put_together,
    take_apart,
)

BODY = (
    b"This is a preamble\r\n--b  \r\nContent-Type: application/dicom;\r\n transfer-syntax=*\r\n"
    b"\r\nabc\r\n--a\r\r\n-\r\n--bc\r\n--b-"
    b"\r\n--b\r\n\r\nno headers\r\n--b\r\nX: 1\r\n\r\n--b\r\nX: 2\r\n\r\n\r\n"
    b"--b--\r\nand an epilogue"
)
PARTS = [
    (
        {"content-type": "application/dicom; transfer-syntax=*"},
        b"abc\r\n--a\r\r\n-\r\n--bc\r\n--b-",
    ),
    ({}, b"no headers"),
    ({"x": "1"}, b""),
    ({"x": "2"}, b""),
]


MOST = 1000


def pieces(body: bytes, cuts: list[int]) -> Iterator[bytes]:
    """A body in pieces."""
    edges = [0, *sorted(min(cut, len(body)) for cut in cuts), len(body)]
    for start, end in itertools.pairwise(edges):
        yield body[start:end]


def parts_of(body: bytes, boundary: str, cuts: list[int]) -> list[tuple[dict[str, str], bytes]]:
    """The parts of a body that comes in pieces, each with its headers."""
    multipart = Multipart(boundary)
    found: list[tuple[dict[str, str], bytes]] = []
    is_open = False
    for piece in pieces(body, cuts):
        for event in multipart.feed(piece):
            if isinstance(event, Headers):
                assert not is_open
                found.append((dict(event.fields), b""))
                is_open = True
            elif isinstance(event, Piece):
                assert event.content
                found[-1] = found[-1][0], found[-1][1] + event.content
            else:
                assert isinstance(event, End)
                is_open = False
    multipart.end()
    assert not is_open
    return found


@given(st.lists(st.integers(0, len(BODY)), max_size=40))
def test_parts_are_the_same_however_the_body_is_cut(cuts: list[int]) -> None:
    assert parts_of(BODY, "b", cuts) == PARTS


def test_one_byte_at_a_time_is_enough() -> None:
    assert parts_of(BODY, "b", list(range(len(BODY)))) == PARTS


@given(
    st.lists(st.binary(max_size=60), min_size=1, max_size=5),
    st.lists(st.integers(0, 400), max_size=8),
)
def test_any_content_comes_out_as_it_went_in(contents: list[bytes], cuts: list[int]) -> None:
    body, content_type = put_together(contents)
    boundary = MediaType.of(content_type).boundary
    assert boundary is not None
    assert [content for _, content in parts_of(body, boundary, cuts)] == contents
    assert list(take_apart(pieces(body, cuts), boundary, MOST)) == contents


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "ends before the first part"),
        (b"no part at all", "ends before the first part"),
        (b"--b\r\nX: 1\r\n\r\nabc", "ends in the content"),
        (b"--b\r\nX: 1\r\n\r\nabc\r\n--b", "ends in the content"),
        (b"--b\r\nX: 1\r\n\r\nabc\r\n--b ", "ends in the content"),
        (b"--b\r\nX: 1", "ends in the headers"),
        (b"--b c\r\n\r\nabc\r\n--b--", "something else than a new line"),
        (b"--b\r\nX: 1\r\n\r\nabc\r\n--b  ", "ends behind a boundary"),
        (b"--b\r\n--b--\r\n", "a boundary follows a boundary"),
        (b"--b\r\nno header\r\n\r\nabc\r\n--b--", "among the headers"),
        (b"--b\r\n: no name\r\n\r\nabc\r\n--b--", "among the headers"),
        (b"--b" + b" " * 100_000, "a boundary has no end"),
        (b"--b\r\n" + b"X: 1\r\n" * 100_000, "headers of a part have no end"),
        (b"x" * 100_000, "too much before the first part"),
        (b"--b--" + b"x" * 100_000, "too much behind the last part"),
    ],
)
@pytest.mark.parametrize("step", [1, 1000, 10**6])
def test_what_is_not_made_of_parts_is_told_of(body: bytes, why: str, step: int) -> None:
    if step == 1:
        body = body[: 2 * LONGEST_HEADERS]
    with pytest.raises(MalformedError, match=why):
        parts_of(body, "b", list(range(0, len(body), step)))


def test_no_more_is_held_than_could_begin_a_delimiter() -> None:
    multipart = Multipart("b" * 70)
    list(multipart.feed(b"--" + b"b" * 70 + b"\r\n\r\n"))
    given = b"\r\n--" * 25_000
    passed_on = sum(
        len(event.content)
        for start in range(0, len(given), 1000)
        for event in multipart.feed(given[start : start + 1000])
        if isinstance(event, Piece)
    )

    assert len(given) - passed_on < 80


# -- whole parts, as they are pulled -------------------------------------------------


@given(st.lists(st.binary(max_size=60), min_size=1, max_size=5), st.floats(0, 1, exclude_max=True))
def test_a_body_that_is_cut_off_anywhere_gives_its_whole_parts_and_an_error(
    contents: list[bytes], share: float
) -> None:
    body, content_type = put_together(contents)
    boundary = MediaType.of(content_type).boundary
    assert boundary is not None
    end = body.rindex(b"--")  # those after it say that it is the last
    got = []
    with pytest.raises(MalformedError, match="it ends"):
        for part in take_apart([body[: int(end * share)]], boundary, MOST):
            got.append(part)
    assert got == contents[: len(got)]


def test_what_divides_the_parts_is_drawn_anew_each_time() -> None:
    assert put_together([b"x"])[1] != put_together([b"x"])[1]


def test_a_part_that_is_too_large_is_left_out_and_not_held() -> None:
    large = b"x" * 1024 * 1024
    body = b"--b\r\n\r\none\r\n--b\r\n\r\n" + large + b"\r\n--b\r\n\r\nthree\r\n--b--"
    tracemalloc.start()
    found = list(take_apart(pieces(body, list(range(0, len(body), 1000))), "b", MOST))
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert found == [b"one", None, b"three"]
    assert most < 200_000
    assert list(take_apart([body], "b", len(large))) == [b"one", large, b"three"]
    assert list(take_apart([body], "b", len(large) - 1)) == [b"one", None, b"three"]


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (b"--b--", []),
        (b"--b\r\nA: 1\r\nB: 2\r\n\r\nx\r\n--b--\r\n", [b"x"]),
        (b"--b  \r\n\r\nx\r\n--b\t\r\n\r\ny\r\n--b--", [b"x", b"y"]),
        (b"preamble\r\n--b\r\n\r\nx\r\n--b--epilogue\r\n--b\r\n\r\ny", [b"x"]),
        (b"--b\r\n\r\nx\r\n--bb\r\n--c\r\n--b--", [b"x\r\n--bb\r\n--c"]),
    ],
)
def test_bodies_as_servers_write_them(body: bytes, found: list[bytes]) -> None:
    assert list(take_apart([body], "b", MOST)) == found
    assert list(take_apart((body[i : i + 1] for i in range(len(body))), "b", MOST)) == found


# -- the head line of a body ---------------------------------------------------------


@pytest.mark.parametrize(
    ("content_type", "kind", "boundary"),
    [
        (f'{RELATED}; type="application/dicom"; boundary=x', RELATED, "x"),
        ('Multipart/Related;BOUNDARY="a b:c"', RELATED, "a b:c"),
        (RELATED, RELATED, None),
        (f"{RELATED}; boundary=", RELATED, None),
        (f"{RELATED}; boundary={'x' * 73}", RELATED, "x" * 73),
        (f"{RELATED}; boundary={'x' * 201}", RELATED, None),
        (f'{RELATED}; boundary="a\\"b"', RELATED, None),
        (f'{RELATED}; boundary="a "', RELATED, None),
        (f"{RELATED}; boundary*=utf-8''x%00", RELATED, None),
        ("application/dicom", "application/dicom", None),
        ("", "", None),
        ("x\r\ny: z", "x\r\ny: z", None),
    ],
)
def test_a_media_type_is_read(content_type: str, kind: str, boundary: str | None) -> None:
    found = MediaType.of(content_type)
    assert (found.name, found.boundary) == (kind, boundary)


def test_a_media_type_that_takes_long_to_read_is_not_read() -> None:
    with pytest.raises(UnclearError, match="more than 1024 characters"):
        MediaType.of(RELATED + ";" * 16_000)


@given(st.text(max_size=60))
def test_any_media_type_is_read_or_told_of(parameters: str) -> None:
    try:
        found = MediaType.of(f"{RELATED};{parameters}")
    except UnclearError:
        return
    assert found.boundary is None or "\n" not in found.boundary
