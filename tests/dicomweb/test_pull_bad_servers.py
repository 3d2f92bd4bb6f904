"""A server that was ill for a while has lost nothing, and it is told what it did."""

import json
import socket
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from urllib.parse import urlsplit

import pydicom
import pytest

from node.dicomweb import session
from node.ledger import FetchState
from node.multipart import put_together
from tests.dicomweb.servers import Answer, Request, Told, json_answer
from tests.e2e.conftest import Series
from tests.fetching import Fetching, fetching

SLICES = 4

Ill = Callable[["Archive", Request], Answer | None]


class Archive:
    """A server that has one series, and for a while answers otherwise."""

    def __init__(self, series: Series) -> None:
        self.contents = {
            str(pydicom.dcmread(file, stop_before_pixels=True).SOPInstanceUID): file.read_bytes()
            for file in series.files
        }
        self.counted = SLICES
        self.ill: Ill = lambda _, __: None
        self._uids = {"0020000D": _ui(series.study), "0020000E": _ui(series.series)}

    def __call__(self, request: Request) -> Answer:
        if (instead := self.ill(self, request)) is not None:
            return instead
        path = urlsplit(request.path).path
        count = {"vr": "IS", "Value": [self.counted]}
        if path.endswith("/studies"):
            return _found({**self._uids, "00201208": count})
        if path.endswith("/series"):
            return _found({**self._uids, "00080060": _ui("CT"), "00201209": count})
        if path.endswith("/instances"):
            return _found(*({"00080018": _ui(uid)} for uid in self.contents))
        instance = path.rpartition("/instances/")[2]
        one = self.contents.get(instance)
        return parts(list(self.contents.values()) if one is None else [one])


def _ui(value: str) -> dict[str, object]:
    return {"vr": "UI", "Value": [value]}


def _found(*items: dict[str, object]) -> Answer:
    return json_answer(json.dumps(items))


def parts(contents: list[bytes], cut: int | None = None) -> Answer:
    body, content_type = put_together(contents)
    return Answer(200, body[:cut], {"Content-Type": content_type})


def is_retrieval(request: Request) -> bool:
    return "?" not in request.path


def drips(connection: socket.socket) -> None:
    _, content_type = put_together([])
    connection.sendall(f"HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\n\r\n".encode())
    for _ in range(40):
        connection.sendall(b"\r\n")
        time.sleep(0.05)


def half(archive: Archive, request: Request) -> Answer | None:
    whole = is_retrieval(request) and "/instances/" not in request.path
    return parts(list(archive.contents.values())[: SLICES // 2]) if whole else None


def torn(archive: Archive, request: Request) -> Answer | None:
    return parts(list(archive.contents.values()), cut=100) if is_retrieval(request) else None


def retrieval(answer: Answer) -> Ill:
    return lambda _, request: answer if is_retrieval(request) else None


@pytest.mark.parametrize(
    ("ill", "told_then"),
    [
        (half, "2 of 4 images did not come"),
        (torn, "its answer cannot be taken apart: it ends in the content of a part after 0 images"),
        (retrieval(Answer(500)), "it answers 500 Internal Server Error after 0 images"),
        (retrieval(Answer(raw=lambda _: time.sleep(1))), "no answer within 0.3 s after 0 images"),
        (retrieval(Answer(raw=drips)), "its answer is slower than 1024 kB a second"),
        (lambda *_: Answer(401), "it answers 401 Unauthorized: see user and password_file"),
        (lambda *_: Answer(503), "it answers 503 Service Unavailable"),
    ],
    ids=["half", "torn", "500", "silent", "slow", "all 401", "all 503"],
)
def test_a_series_comes_whole_and_once_from_a_server_that_was_ill(
    told: Told,
    new_series: Callable[..., Series],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    ill: Ill,
    told_then: str,
) -> None:
    monkeypatch.setattr(session, "SLOWEST", 1024**2)
    series = new_series(slices=SLICES)
    archive = told.answer = Archive(series)
    archive.ill = ill
    with pulling(tmp_path, told) as node:
        node.turns.take_one()
        assert told_then in what_is_told(node, series)

        archive.ill = lambda _, __: None
        fetch_until_it_has_come(node, series)
        assert node.count(series.series) == (1, SLICES)
        assert len(node.files(series.series)) == SLICES


@pytest.mark.parametrize(
    ("ill", "counted", "remark"),
    [
        (lambda *_: None, 99, "it counts 99 images, and has 4 that the node takes"),
        (lambda *_: None, 1, None),
        (
            lambda archive, request: (
                parts(list(archive.contents.values()) * 2) if is_retrieval(request) else None
            ),
            SLICES,
            "4 images came more than once",
        ),
    ],
    ids=["too many", "too few", "twice"],
)
def test_wrong_counts_and_duplicates_are_told_of_and_cost_nothing(
    told: Told,
    new_series: Callable[..., Series],
    tmp_path: Path,
    ill: Ill,
    counted: int,
    remark: str | None,
) -> None:
    series = new_series(slices=SLICES)
    archive = told.answer = Archive(series)
    archive.ill, archive.counted = ill, counted
    with pulling(tmp_path, told) as node:
        fetch_until_it_has_come(node, series)
        assert node.count(series.series) == (1, SLICES)
        assert node.ledger.find_fetches(series.series)[0].detail == remark


def pulling(folder: Path, told: Told) -> AbstractContextManager[Fetching]:
    quickly = {"poll_s": 1, "still_polls": 0, "timeout_s": 0.3, "max_attempts": 9}
    return fetching(folder / "home", url=told.url, listens=False, **quickly)


def what_is_told(node: Fetching, series: Series) -> str:
    state = node.ledger.source_state("pacs")
    fetches = node.ledger.find_fetches(series.series)
    return f"{state and state.detail} {[fetch.detail for fetch in fetches]}"


def fetch_until_it_has_come(node: Fetching, series: Series) -> None:
    for _ in range(40):
        node.turns.take_one()
        if [f.state for f in node.ledger.find_fetches(series.series)] == [FetchState.FETCHED]:
            return
        time.sleep(0.05)
    raise AssertionError(what_is_told(node, series))
