"""Series are pulled by QIDO-RS and WADO-RS, whatever the server makes of it."""

import json
import time
import tracemalloc
from collections.abc import Callable, Iterator
from datetime import date
from io import BytesIO
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pydicom
import pytest
from pydicom.uid import (
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    JPEG2000Lossless,
    MRImageStorage,
    RLELossless,
    XRayRadiationDoseSRStorage,
)

from node.audit import Auditor
from node.dicomweb import client
from node.errors import NotFetchedError, SourceError
from node.fetch import Fetched, FoundSeries, FoundStudy, Query
from node.fetch.web import WebSource
from node.intake import Intake
from node.ledger import FetchState, Instance, Way, open_ledger
from node.multipart import put_together
from node.receive import start_receiver
from node.settings import Settings
from node.spool import Spool
from tests.dicomweb.servers import Answer, Request, Told, json_answer
from tests.e2e.conftest import Series
from tests.e2e.peers import Orthanc, free_port, running_orthanc, storescu
from tests.fetching import fetching

NewSeries = Callable[..., Series]


class Node:
    """A node that pulls, without the parts that judge."""

    def __init__(self, home: Path, url: str, **dicom: object) -> None:
        self.settings = Settings(
            home=home,
            dicom={"port": free_port(), **dicom},
            sources=[{"name": "web-archive-of-ours", "url": url}],
            fetch={"timeout_s": 2},
        )
        self.spool = Spool(home)
        self.ledger = open_ledger(self.settings.ledger_url)
        self.intake = Intake(self.settings, self.spool, self.ledger, Auditor.silent())
        self.source = WebSource(self.settings, self.settings.sources[0])

    def find(self, query: Query, **more: object) -> list[FoundSeries]:
        return list(self.source.find(query, **more))  # type: ignore[arg-type]

    def fetch(self, found: FoundSeries) -> Fetched:
        batch = self.intake.batch(self.source.peer, self.source.way)
        try:
            return self.source.fetch(found, batch, lambda _: None)
        finally:
            batch.end()

    def held(self, series: str) -> list[Instance]:
        return [
            instance
            for revision in self.ledger.find(series)
            for instance in self.ledger.instances(revision)
        ]

    def quarantined(self) -> list[str]:
        return sorted(path.read_text() for path in self.spool.quarantined.rglob("reason.txt"))


@pytest.fixture
def node_at(tmp_path: Path) -> Iterator[Callable[..., Node]]:
    nodes: list[Node] = []

    def make(url: str, **dicom: object) -> Node:
        nodes.append(Node(tmp_path / f"home{len(nodes)}", url, **dicom))
        return nodes[-1]

    yield make
    for node in nodes:
        node.ledger.close()


@pytest.fixture
def puller(archive: Orthanc, node_at: Callable[..., Node]) -> Node:
    """A node that pulls from Orthanc."""
    return node_at(f"http://127.0.0.1:{archive.http_port}/dicom-web")


def found(series: Series, images: int | None = None) -> FoundSeries:
    return FoundSeries(series.study, series.series, images=images)


def store(archive: Orthanc, series: Series) -> Series:
    for file in series.files:
        archive.get("/instances", file.read_bytes())
    return series


# -- Orthanc ---------------------------------------------------------------------


def test_what_orthanc_has_of_some_days_is_found(
    archive: Orthanc, puller: Node, new_series: NewSeries
) -> None:
    def dated(image: pydicom.Dataset, _: int) -> None:
        image.StudyDate, image.AccessionNumber = "20261120", "A4711"
        image.StudyDescription, image.SeriesDescription = "Schädel", "Head 5mm"
        image.BodyPartExamined, image.ProtocolName = "HEAD", "Routine"

    series = store(archive, new_series(dated, slices=3))
    days = Query(first=date(2026, 11, 19), last=date(2026, 11, 20))

    [match] = puller.find(days)

    assert match == FoundSeries(
        series.study,
        series.series,
        "CT",
        "Head 5mm",
        "Schädel",
        "Routine",
        "HEAD",
        "20261120",
        "120000",
        "A4711",
        3,
    )
    assert puller.find(Query(accession_number="A4711")) == [match]
    assert puller.find(Query(study_instance_uid=series.study)) == [match]
    assert puller.find(Query(first=date(2026, 11, 21), last=date(2026, 11, 22))) == []
    assert puller.find(Query(study_instance_uid=series.study, modality="MR")) == []
    assert puller.find(days, is_settled=lambda study: study.images == 3) == []


def test_pages_are_asked_for_until_nothing_new_comes(
    archive: Orthanc, puller: Node, new_series: NewSeries, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dated(image: pydicom.Dataset, _: int) -> None:
        image.StudyDate = "20261001"

    studies = {store(archive, new_series(dated, slices=1)).study for _ in range(5)}
    monkeypatch.setattr(client, "PAGE", 2)

    matches = puller.find(Query(first=date(2026, 10, 1), last=date(2026, 10, 1)))

    assert sorted(match.study_instance_uid for match in matches) == sorted(studies)


def test_a_series_is_the_same_whether_it_is_pulled_or_sent(
    archive: Orthanc, puller: Node, node_at: Callable[..., Node], new_series: NewSeries
) -> None:
    series = store(archive, new_series())
    sent_to = node_at(puller.settings.sources[0].url)
    receiver = start_receiver(sent_to.settings, sent_to.spool, sent_to.ledger, Auditor.silent())
    try:
        done = storescu(sent_to.settings.dicom.port, series.files)
        assert done.returncode == 0, done.stderr
    finally:
        receiver.stop()

    fetched = puller.fetch(found(series))

    assert fetched == Fetched(len(series.files))
    digests = [
        {i.sop_instance_uid: i.digest for i in n.held(series.series)} for n in (puller, sent_to)
    ]
    assert len(digests[0]) == len(series.files)
    assert digests[0] == digests[1]
    assert {i.sender for i in puller.held(series.series)} == {"web-archive-of-o"}
    ways = [{arrival.way for arrival in n.ledger.arrivals(0, [], 100)} for n in (puller, sent_to)]
    assert ways == [{Way.WADO_RS}, {Way.C_STORE}]


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless, DeflatedExplicitVRLittleEndian])
def test_images_come_in_the_transfer_syntax_that_they_are_stored_in(
    archive: Orthanc, puller: Node, new_series: NewSeries, syntax: str
) -> None:
    def compressed(image: pydicom.Dataset, _: int) -> None:
        if syntax == DeflatedExplicitVRLittleEndian:
            image.file_meta.TransferSyntaxUID = syntax
        else:
            image.compress(syntax, generate_instance_uid=False)

    series = store(archive, new_series(compressed, slices=2))

    assert puller.fetch(found(series)) == Fetched(2)

    for instance in puller.held(series.series):
        kept = pydicom.dcmread(puller.spool.path(instance.path))
        assert kept.file_meta.TransferSyntaxUID == syntax
        assert kept.pixel_array.shape == (128, 128)


def test_a_series_that_orthanc_does_not_have_is_not_fetched(puller: Node) -> None:
    with pytest.raises(NotFetchedError, match="404 Not Found after 0 images"):
        puller.fetch(FoundSeries("1.2.3", "1.2.4"))
    assert puller.source.instances(FoundSeries("1.2.3", "1.2.4")) is None


def test_a_series_of_which_orthanc_has_lost_an_image_is_not_fetched_as_a_whole(
    tmp_path: Path, node_at: Callable[..., Node], new_series: NewSeries
) -> None:
    with running_orthanc(tmp_path / "orthanc", dicomweb=True, MaximumStorageCacheSize=0) as orthanc:
        series = store(orthanc, new_series(slices=5))
        kept = (tmp_path / "orthanc/storage").glob("??/??/*")
        largest = sorted(kept, key=lambda path: path.stat().st_size)
        largest[-1].unlink()
        puller = node_at(f"http://127.0.0.1:{orthanc.http_port}/dicom-web")

        # It breaks off in the middle of 200, and then cannot say what else it has.
        with pytest.raises(NotFetchedError, match="it answers 500 Internal Server Error after"):
            puller.fetch(found(series))

    assert len(puller.held(series.series)) < 5


# -- searches that are answered badly --------------------------------------------


def element(vr: str, *values: object) -> dict[str, object]:
    return {"vr": vr, "Value": list(values)}


def study(uid: object, images: object = 3) -> dict[str, object]:
    return {"0020000D": element("UI", uid), "00201208": element("IS", images)}


def series_of(uid: str, series: object, images: object = 3) -> dict[str, object]:
    return {
        "0020000D": element("UI", uid),
        "0020000E": element("UI", series),
        "00080060": element("CS", "CT"),
        "00201209": element("IS", images),
    }


class Index:
    """What a server finds."""

    def __init__(self, *studies: object, series: object = (), pages: bool = True) -> None:
        self.studies, self.series, self.pages = list(studies), list(series), pages

    def __call__(self, request: Request) -> Answer:
        asked = parse_qs(urlsplit(request.path).query)
        matches = self.series if "/series" in request.path else self.studies
        if self.pages:
            first = int(asked.get("offset", ["0"])[0])
            matches = matches[first : first + int(asked["limit"][0])]
        return json_answer(json.dumps(matches)) if matches else Answer(204)


def test_a_server_that_knows_no_offset_and_no_limit_gives_each_once(
    told: Told, node_at: Callable[..., Node]
) -> None:
    told.answer = Index(
        study("1.2"), study("1.2"), series=[series_of("1.2", "1.2.1")] * 3, pages=False
    )
    [match] = node_at(told.url).find(Query())
    assert (match.study_instance_uid, match.series_instance_uid) == ("1.2", "1.2.1")
    assert len(told.got) == 4, "each search until nothing new comes"


def test_a_server_that_gives_fewer_than_it_is_asked_for_is_asked_on(
    told: Told, node_at: Callable[..., Node]
) -> None:
    whole = Index(*(study(f"1.2.{n}") for n in range(7)))

    def stingy(request: Request) -> Answer:
        asked = parse_qs(urlsplit(request.path).query)
        first = int(asked.get("offset", ["0"])[0])
        if "/series" in request.path:
            uid = request.path.partition("/studies/")[2].partition("/")[0]
            return json_answer(json.dumps([series_of(uid, f"{uid}.1")]))
        return json_answer(json.dumps(whole.studies[first : first + 3]))

    told.answer = stingy
    assert len(node_at(told.url).find(Query())) == 7


def test_a_server_that_never_ends_is_left(
    told: Told, node_at: Callable[..., Node], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "MOST_MATCHES", 500)
    count = iter(range(10**9))
    told.answer = lambda _: json_answer(
        json.dumps([study(f"1.2.{next(count)}") for _ in range(100)])
    )
    with pytest.raises(SourceError, match="its search finds more than 500"):
        node_at(told.url).find(Query())


def test_no_more_of_many_studies_is_held_than_is_needed(
    told: Told, node_at: Callable[..., Node]
) -> None:
    much = {"00102000": element("LO", "x" * 50_000)}
    studies = [study(f"1.2.{n}") | much for n in range(300)]
    held: list[int] = []

    def stingy(request: Request) -> Answer:
        first = int(parse_qs(urlsplit(request.path).query).get("offset", ["0"])[0])
        return json_answer(json.dumps(studies[first : first + 100]))

    def is_settled(_: FoundStudy) -> bool:
        held.append(tracemalloc.get_traced_memory()[0])
        return True

    told.answer = stingy
    tracemalloc.start()
    node_at(told.url).find(Query(), is_settled=is_settled)
    tracemalloc.stop()
    assert len(held) == 300
    assert held[-1] < 5_000_000


@pytest.mark.parametrize(
    ("told_count", "images"),
    [
        (3, 3),
        (3.0, 3),
        ("3", 3),
        (-3, None),
        ("many", None),
        (None, None),
        ([3], None),
        ({"a": 3}, None),
        (True, None),
        (10**30, None),
        (float("nan"), None),
    ],
)
def test_a_count_that_cannot_be_one_is_none(
    told: Told, node_at: Callable[..., Node], told_count: object, images: int | None
) -> None:
    told.answer = Index(study("1.2"), series=[series_of("1.2", "1.2.1", told_count)])
    [match] = node_at(told.url).find(Query())
    assert match.images == images


@pytest.mark.parametrize(
    "odd",
    [
        5,
        None,
        [],
        {},
        {"0020000D": 5},
        {"0020000D": {"vr": "UI"}},
        {"0020000D": {"Value": "1.2"}},
        study("../../etc"),
        study("1.2/series?x=1"),
        study("1" * 65),
    ],
)
def test_a_study_that_has_no_uid_is_passed_over(
    told: Told, node_at: Callable[..., Node], odd: object
) -> None:
    told.answer = Index(odd, study("1.2"), series=[series_of("1.2", "1.2.1")])
    assert len(node_at(told.url).find(Query())) == 1
    assert all("/series" not in r.path or "/studies/1.2/" in r.path for r in told.got)


@pytest.mark.parametrize(
    "query",
    [
        Query(study_instance_uid="1.2"),
        Query(accession_number="A1"),
        Query(first=date(2026, 1, 1), last=date(2026, 1, 2)),
    ],
)
def test_a_study_that_was_not_asked_for_is_passed_over(
    told: Told, node_at: Callable[..., Node], query: Query, caplog: pytest.LogCaptureFixture
) -> None:
    """Of a server that does not know the key that it is asked by, it is all that it has."""
    other = study("1.3") | {
        "00080020": element("DA", "20260103"),
        "00080050": element("SH", "A2"),
    }
    told.answer = Index(other, series=[series_of("1.3", "1.3.1")])
    assert node_at(told.url).find(query) == []
    assert "1 of 1 studies that it answers have no UID or were not asked for" in caplog.text
    assert not any("/series" in request.path for request in told.got)


def test_a_search_that_breaks_off_is_told_of_after_what_it_gave(
    told: Told, node_at: Callable[..., Node]
) -> None:
    index = Index(study("1.2"), study("1.3"), series=[series_of("1.2", "1.2.1")])
    told.answer = lambda request: Answer(503) if "1.3/series" in request.path else index(request)
    got = []
    with pytest.raises(SourceError, match="it answers 503"):
        for match in node_at(told.url).source.find(Query()):
            got.append(match.series_instance_uid)
    assert got == ["1.2.1"]


def test_what_is_settled_is_not_asked_for_its_series(
    told: Told, node_at: Callable[..., Node]
) -> None:
    told.answer = Index(study("1.2", 7))
    asked: list[FoundStudy] = []

    def is_settled(found: FoundStudy) -> bool:
        asked.append(found)
        return True

    assert node_at(told.url).find(Query(), is_settled=is_settled) == []
    assert asked == [FoundStudy("1.2", 7)]
    assert not any("/series" in request.path for request in told.got)


def test_a_server_that_is_away_is_a_source_that_is_ill(node_at: Callable[..., Node]) -> None:
    node = node_at(f"http://127.0.0.1:{free_port()}/dicom-web")
    with pytest.raises(SourceError, match="no connection: connection refused"):
        node.find(Query())
    with pytest.raises(SourceError, match="no connection") as caught:
        node.fetch(FoundSeries("1.2", "1.2.1"))
    assert not isinstance(caught.value, NotFetchedError)


# -- retrievals that are answered badly ------------------------------------------


def content(file: Path, change: Callable[[pydicom.Dataset], None] | None = None) -> bytes:
    image = pydicom.dcmread(file)
    if change is not None:
        change(image)
    buffer = BytesIO()
    image.save_as(buffer)
    return buffer.getvalue()


def multipart(contents: list[bytes], cut: int | None = None, status: int = 200) -> Answer:
    body, content_type = put_together(contents)
    headers = {"Content-Type": content_type}
    return Answer(status, body if cut is None else body[:cut], headers)


def test_parts_that_are_not_what_was_asked_for_are_put_aside_and_the_others_taken(
    told: Told, node_at: Callable[..., Node], new_series: NewSeries
) -> None:
    def unknown_class(image: pydicom.Dataset) -> None:
        image.SOPClassUID = image.file_meta.MediaStorageSOPClassUID = "1.2.3.4"

    def other_meta(image: pydicom.Dataset) -> None:
        image.file_meta.MediaStorageSOPInstanceUID = "1.2.3"

    series, other = new_series(slices=6), new_series(slices=1)
    files = series.files
    parts = [
        content(files[0]),
        b"junk",
        b"",
        other.files[0].read_bytes(),
        content(files[1], unknown_class),
        content(files[2], other_meta),
        content(files[3]).replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.9\0", 1),
        content(files[4])[:200],
        content(files[0]),
        content(files[5]),
    ]
    told.answer = lambda _: multipart(parts)
    node = node_at(told.url)

    fetched = node.fetch(found(series))

    assert (fetched.given, fetched.failed) == (2, 7)
    assert fetched.remarks == (
        "7 images were refused, see the quarantine",
        "1 images came more than once",
    )
    assert len(node.held(series.series)) == 2
    assert node.held(other.series) == []
    reasons = "\n".join(node.quarantined())
    assert reasons.count("from web-archive-of-o: ") == 7
    for words in (
        "it is of another series than the one that was asked for",
        "SOPClassUID is 1.2.3.4, which the node does not take",
        "in the dataset and '1.2.3' in the command",
        "its transfer syntax, '1.2.840.10008.1.2.9', cannot be decoded",
    ):
        assert words in reasons


def test_a_report_of_the_dose_beside_the_images_is_let_go_and_alarms_nobody(
    told: Told, node_at: Callable[..., Node], new_series: NewSeries
) -> None:
    def report(image: pydicom.Dataset) -> None:
        image.SOPClassUID = image.file_meta.MediaStorageSOPClassUID = XRayRadiationDoseSRStorage

    series = new_series(slices=3)
    told.answer = lambda _: multipart(
        [content(series.files[0]), content(series.files[1], report), content(series.files[2])]
    )
    node = node_at(told.url)

    fetched = node.fetch(found(series))

    assert (fetched.given, fetched.failed) == (2, 0)
    assert fetched.remarks == ("1 objects are of classes that the node does not take",)
    assert node.quarantined() == []


def test_an_instance_that_is_too_large_is_left_out(
    told: Told, node_at: Callable[..., Node], new_series: NewSeries
) -> None:
    def larger(image: pydicom.Dataset) -> None:
        image.Rows = image.Columns = 1024
        image.PixelData = bytes(2 * 1024 * 1024)

    series = new_series(slices=3)
    first, second, third = series.files
    told.answer = lambda _: multipart([content(first), content(second, larger), content(third)])

    fetched = node_at(told.url, max_instance_mb=1).fetch(found(series))

    assert (fetched.given, fetched.failed) == (2, 1)
    assert fetched.remarks == ("1 images have more than 1 MB: see [dicom] max_instance_mb",)


class Broken:
    """A server that breaks off when it gives a whole series; `lost` it does not give at all."""

    def __init__(
        self, series: Series, lost: tuple[int, ...] = (), index: Answer | None = None
    ) -> None:
        self.contents = {
            str(pydicom.dcmread(file, stop_before_pixels=True).SOPInstanceUID): file.read_bytes()
            for file in series.files
        }
        self.lost = {sorted(self.contents)[number] for number in lost}
        listed = [{"00080018": element("UI", uid)} for uid in self.contents]
        self.index = index or json_answer(json.dumps(listed))
        self.breaks = lambda: multipart(list(self.contents.values()), cut=100_000)

    def __call__(self, request: Request) -> Answer:
        path = urlsplit(request.path).path
        uid = path.rpartition("/instances/")[2]
        if uid in self.lost:
            return Answer(404)
        if uid in self.contents:
            return multipart([self.contents[uid]])
        if path.endswith(("/instances", "/studies")):
            return self.index
        return self.breaks()


def test_a_server_that_breaks_off_gives_the_rest_one_by_one(
    told: Told, node_at: Callable[..., Node], new_series: NewSeries
) -> None:
    series = new_series(slices=8)
    told.answer = Broken(series)
    node = node_at(told.url)

    assert node.fetch(found(series)) == Fetched(8)

    assert len(node.held(series.series)) == 8
    one_by_one = [request for request in told.got if "/instances/" in request.path]
    assert 0 < len(one_by_one) < 8, "what has come whole is not asked for again"
    for instance in node.held(series.series):
        kept = pydicom.dcmread(node.spool.path(instance.path))
        assert len(kept.PixelData) == 2 * 128 * 128


def test_a_server_that_cannot_give_a_whole_series_gives_its_images(
    told: Told, node_at: Callable[..., Node], new_series: NewSeries
) -> None:
    series = new_series(slices=4)
    told.answer = broken = Broken(series, lost=(1, 3))
    broken.breaks = lambda: Answer(500)

    fetched = node_at(told.url).fetch(found(series))

    assert fetched == Fetched(2, 2, ("2 images it does not give",))


def test_a_server_that_gives_nothing_more_is_not_asked_for_ever(
    told: Told, node_at: Callable[..., Node], new_series: NewSeries
) -> None:
    series = new_series(slices=10)
    told.answer = broken = Broken(series, lost=tuple(range(10)))
    broken.breaks = lambda: Answer(500)
    with pytest.raises(NotFetchedError, match="it answers 404 Not Found after 0 images"):
        node_at(told.url).fetch(found(series))
    assert sum("/instances/" in request.path for request in told.got) == 3


@pytest.mark.parametrize(
    "index", [Answer(501), Answer(204), json_answer("[{}]")], ids=["none", "empty", "odd"]
)
def test_half_a_series_without_a_list_of_the_rest_is_not_a_series(
    told: Told, node_at: Callable[..., Node], new_series: NewSeries, index: Answer
) -> None:
    series = new_series(slices=8)
    told.answer = Broken(series, index=index)
    node = node_at(told.url)
    with pytest.raises(NotFetchedError, match=r"after [1-7] images"):
        node.fetch(found(series))
    assert 0 < len(node.held(series.series)) < 8, "what came whole is kept"


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (Answer(200, b"<html>", {"Content-Type": "text/html"}), "not multipart/related"),
        (Answer(200, b"x", {"Content-Type": "multipart/related"}), "not multipart/related"),
        (Answer(200, b"x", {"Content-Type": "application/zip"}), "not multipart/related"),
        (Answer(401), "it answers 401"),
        (Answer(406), "it answers 406"),
        (Answer(503), "it answers 503"),
    ],
)
def test_a_server_that_does_not_answer_as_it_should_is_ill(
    told: Told, node_at: Callable[..., Node], answer: Answer, words: str
) -> None:
    told.answer = lambda _: answer
    with pytest.raises(SourceError, match=words) as caught:
        node_at(told.url).fetch(FoundSeries("1.2", "1.2.1"))
    assert not isinstance(caught.value, NotFetchedError)


@pytest.mark.parametrize(
    "answer",
    [
        Answer(400),
        Answer(403),
        Answer(406),
        Answer(200, b"<html>", {"Content-Type": "text/html"}),
        Answer(raw=lambda connection: None),
    ],
    ids=["400", "403", "406", "a page", "it hangs up"],
)
def test_a_series_that_it_does_not_give_is_no_illness_of_a_server_that_answers(
    told: Told, node_at: Callable[..., Node], answer: Answer
) -> None:
    searched = json_answer("[]")
    told.answer = lambda request: searched if "?" in request.path else answer
    with pytest.raises(NotFetchedError, match="after 0 images"):
        node_at(told.url).fetch(FoundSeries("1.2", "1.2.1"))


def test_a_series_that_is_never_given_keeps_no_other_back_and_is_given_up(
    told: Told, new_series: NewSeries, tmp_path: Path
) -> None:
    series = new_series(slices=3)
    parts = multipart([content(file) for file in series.files])
    forbidden = series_of("1.2", "1.2.1")
    own = series_of(series.study, series.series)

    def archive(request: Request) -> Answer:
        path = urlsplit(request.path).path
        if path.endswith(f"/studies/{series.study}/series"):
            return Index(series=[own])(request)
        if path.endswith("/studies/1.2/series"):
            return Index(series=[forbidden])(request)
        if path.endswith("/studies"):
            return Index(study("1.2"), study(series.study))(request)
        return parts if path.endswith(f"/series/{series.series}") else Answer(403)

    told.answer = archive
    with fetching(tmp_path / "home", url=told.url, poll_s=1, still_polls=0, max_attempts=2) as node:
        for _ in range(8):
            node.turns.take_one()
            time.sleep(0.12)

        assert node.count(series.series) == (1, 3)
        [fetch] = node.ledger.find_fetches("1.2.1")
        assert fetch.state is FetchState.FAILED
        assert f"{told.url}: it answers 403 Forbidden after 0 images" in (fetch.detail or "")
        state = node.ledger.source_state("pacs")
        assert state is not None
        assert (state.failures, state.failed, state.fetched) == (0, 1, 1)


def test_images_that_the_node_does_not_take_are_not_missed(
    told: Told, node_at: Callable[..., Node]
) -> None:
    def listed(uid: str, *sop_class: str) -> dict[str, object]:
        told_class = {"00080016": element("UI", *sop_class)} if sop_class else {}
        return {"00080018": element("UI", uid), **told_class}

    told.answer = Index(
        series=[listed("1.1", CTImageStorage), listed("1.2", MRImageStorage), listed("1.3")]
    )
    source = node_at(told.url).source
    assert source.instances(FoundSeries("1", "1.2")) == {"1.1", "1.3"}
    told.answer = Index(series=[listed("1.2", MRImageStorage)])
    assert source.instances(FoundSeries("1", "1.2")) == set(), "it tells, and has none"


def test_an_answer_without_any_part_gives_nothing(told: Told, node_at: Callable[..., Node]) -> None:
    told.answer = lambda _: Answer(204)
    assert node_at(told.url).fetch(FoundSeries("1.2", "1.2.1")) == Fetched(0)


def test_a_series_without_uids_is_asked_for_nowhere(
    told: Told, node_at: Callable[..., Node]
) -> None:
    node = node_at(told.url)
    for odd in (FoundSeries("1.2/..", "1.3"), FoundSeries("1.2", "1.3?x"), FoundSeries("", "1")):
        with pytest.raises(NotFetchedError):
            node.fetch(odd)
        with pytest.raises(NotFetchedError):
            node.source.instances(odd)
    assert told.got == []


def test_a_full_disk_ends_the_retrieval(
    told: Told, node_at: Callable[..., Node], new_series: NewSeries
) -> None:
    series = new_series(slices=3)
    told.answer = lambda _: multipart([content(file) for file in series.files])
    node = node_at(told.url, min_free_gb=10**9)
    with pytest.raises(NotFetchedError, match="are free in"):
        node.fetch(found(series))
    assert node.held(series.series) == []


def test_who_fetches_may_end_it(
    told: Told, node_at: Callable[..., Node], new_series: NewSeries
) -> None:
    series = new_series(slices=3)
    told.answer = lambda _: multipart([content(file) for file in series.files])
    node = node_at(told.url)

    class Stopped(Exception):
        pass

    def progress(given: int) -> None:
        if given == 2:
            raise Stopped

    batch = node.intake.batch(node.source.peer, node.source.way)
    with pytest.raises(Stopped):
        node.source.fetch(found(series), batch, progress)
    batch.end()
    assert len(node.held(series.series)) == 2
