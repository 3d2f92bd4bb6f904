"""A body of many parts is taken apart the same however it is cut, and has limits."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.stow.multipart import LONGEST_HEADERS, End, Headers, MalformedError, Multipart, Piece

BODY = (
    b"This is a preamble\r\n--b  \r\nContent-Type: application/dicom;\r\n transfer-syntax=*\r\n"
    b"\r\nabc\r\n--a\r\r\n-\r\n--b\r\n\r\nno headers\r\n--b\r\nX: 1\r\n\r\n--b\r\nX: 2\r\n\r\n\r\n"
    b"--b--\r\nand an epilogue"
)
PARTS = [
    ({"content-type": "application/dicom; transfer-syntax=*"}, b"abc\r\n--a\r\r\n-"),
    ({}, b"no headers"),
    ({"x": "1"}, b""),
    ({"x": "2"}, b""),
]


def parts_of(body: bytes, boundary: str, cuts: list[int]) -> list[tuple[dict[str, str], bytes]]:
    """The parts of a body that comes in pieces, each with its headers."""
    multipart = Multipart(boundary)
    found: list[tuple[dict[str, str], bytes]] = []
    is_open = False
    edges = [0, *sorted(min(cut, len(body)) for cut in cuts), len(body)]
    for start, end in itertools.pairwise(edges):
        for event in multipart.feed(body[start:end]):
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
    body = b"".join(b"--bound\r\n\r\n" + content + b"\r\n" for content in contents) + b"--bound--"

    if any(b"\r\n--bound" in b"\r\n" + content + b"\r\n" for content in contents):
        return
    assert [content for _, content in parts_of(body, "bound", cuts)] == contents


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "ends before the first part"),
        (b"no part at all", "ends before the first part"),
        (b"--b\r\nX: 1\r\n\r\nabc", "ends in the content"),
        (b"--b\r\nX: 1\r\n\r\nabc\r\n--b", "ends behind a boundary"),
        (b"--b\r\nX: 1", "ends in the headers"),
        (b"--bc\r\n\r\nabc\r\n--b--", "something else than a new line"),
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
