"""An archive answers badly: nothing is lost, nothing is believed, and it is said what happened."""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from copy import deepcopy
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import MRImageStorage, SecondaryCaptureImageStorage, generate_uid
from pynetdicom.association import Association

from node.audit import Auditor
from node.errors import SourceError
from node.fetch import FoundSeries, Outcome, Pace, Poller, Query, StoppedError, association
from node.fetch.association import PacsSource
from node.intake import Intake
from node.ledger import FetchState
from tests import ct
from tests.archives import BadArchive, in_thread, running
from tests.e2e.peers import storescu, wait_for
from tests.fetching import Fetching, fetching

SLICES = 6
STUDY, SERIES = ct.STUDY, ct.SERIES
ASKED = Query(study_instance_uid=STUDY)


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    def change(image: Dataset) -> None:
        image.StudyDate = f"{date.today():%Y%m%d}"

    return ct.series(tmp_path / "images", [5.0 * n for n in range(SLICES)], change)


Begin = Callable[..., tuple[BadArchive, Fetching]]


@pytest.fixture
def begin(files: list[Path], tmp_path: Path) -> Iterator[Begin]:
    """Let an archive answer badly, and a node fetch from it."""
    with ExitStack() as stack:

        def both(archive: dict[str, Any], **keys: Any) -> tuple[BadArchive, Fetching]:
            found = stack.enter_context(running(BadArchive.of(files, **archive)))
            node = stack.enter_context(
                fetching(
                    tmp_path / f"home{found.port}",
                    "ARCHIVE",
                    found.port,
                    **({"quiet_s": 0.3, "listens": keys.get("retrieve") == "move"} | keys),
                )
            )
            found.node_port = node.port
            return found, node

        yield both


def the_one(outcomes: list[Outcome]) -> Outcome:
    (found,) = outcomes
    return found


@pytest.mark.parametrize("retrieve", ["get", "move"])
def test_an_archive_that_does_as_it_should_is_no_trouble(begin: Begin, retrieve: str) -> None:
    archive, node = begin({}, retrieve=retrieve)
    assert the_one(node.by_hand(ASKED)).state is FetchState.FETCHED
    assert node.count(SERIES) == (1, SLICES)
    assert archive.retrievals == 1


# -- it refuses -----------------------------------------------------------------


def test_a_move_to_a_node_that_it_does_not_know_says_what_to_do(begin: Begin) -> None:
    _, node = begin({"retrieve_status": 0xA801}, retrieve="move")
    outcome = the_one(node.by_hand(ASKED))
    assert outcome.state is FetchState.FAILED
    assert outcome.detail is not None
    assert "it does not know where to send to (0xA801): make ICHNODE at this" in outcome.detail
    assert str(node.port) in outcome.detail


@pytest.mark.parametrize(
    ("retrieve", "status"),
    [("get", 0xA701), ("get", 0xC000), ("move", 0xA702), ("move", 0xA900), ("move", 0xFE00)],
)
def test_a_retrieval_that_is_refused_fails_with_the_reason(
    begin: Begin, status: int, retrieve: str
) -> None:
    _, node = begin({"retrieve_status": status}, retrieve=retrieve)
    outcome = the_one(node.by_hand(ASKED))
    assert outcome.state is FetchState.FAILED
    assert outcome.detail is not None
    assert f"(0x{status:04X})" in outcome.detail


@pytest.mark.parametrize("status", [0xA700, 0xA900, 0xC001])
def test_a_question_that_is_refused_is_the_sources_illness(begin: Begin, status: int) -> None:
    archive, node = begin({"find_status": status})
    with pytest.raises(SourceError, match=f"0x{status:04X}"):
        node.by_hand(ASKED)
    assert archive.asked == ["STUDY", "STUDY"], "once more without the key that few know"


def test_a_node_that_it_does_not_know_is_told_why(begin: Begin) -> None:
    _, node = begin({"entity": {"require_calling_aet": ["OTHER"]}})
    with pytest.raises(
        SourceError, match="rejects the association: calling AE title not recognised"
    ):
        node.by_hand(ASKED)


def test_it_is_called_by_one_association_at_a_time(
    begin: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls, calling = list[object](), PacsSource._calling

    @contextmanager
    def alone(source: PacsSource, *how: Any) -> Iterator[Association]:
        assert not calls, "not every archive takes two"
        calls.append(how)
        with calling(source, *how) as opened:
            yield opened
        calls.pop()

    monkeypatch.setattr(PacsSource, "_calling", alone)

    def uncounted(_asked: Dataset, found: list[Dataset]) -> list[Dataset]:
        for answer in found:
            answer.pop("NumberOfSeriesRelatedInstances", None)
        return found

    _, node = begin({"answers": uncounted})
    (found,) = node.fetcher.find(ASKED)
    assert found.images == SLICES


# -- it gives less than it says -------------------------------------------------


def test_success_without_any_image_is_not_believed(begin: Begin) -> None:
    _, node = begin({"gives": lambda _: []}, retrieve="get")
    outcome = the_one(node.by_hand(ASKED))
    assert outcome.state is FetchState.FAILED
    assert outcome.detail == f"{SLICES} of {SLICES} images did not come"
    assert node.ledger.find(SERIES) == []


def test_half_a_series_is_kept_and_the_rest_is_fetched_another_time(begin: Begin) -> None:
    archive, node = begin({"gives": lambda images: images[:3]})
    outcome = the_one(node.by_hand(ASKED))
    assert (outcome.state, outcome.detail) == (
        FetchState.FAILED,
        f"3 of {SLICES} images did not come",
    )
    assert node.count(SERIES) == (1, 3)
    archive.gives = lambda images: images
    time.sleep(node.settings.assemble.quiet_s)
    outcome = the_one(node.by_hand(ASKED))
    assert (outcome.state, outcome.images) == (FetchState.FETCHED, 3)
    assert node.count(SERIES) == (1, SLICES)


def test_images_that_it_cannot_send_are_told_and_tried_again(begin: Begin) -> None:
    broken: list[bool] = [True]

    def gives(images: Any) -> Any:
        if not broken[0]:
            return images
        other = deepcopy(images[2])
        other.SOPClassUID = MRImageStorage
        return [*images[:2], other, *images[3:]]

    _, node = begin({"gives": gives}, poll_s=60, still_polls=0)
    node.poll(ASKED)
    (row,) = node.ledger.find_fetches(SERIES)
    assert row.state is FetchState.WANTED
    assert row.detail is not None
    assert row.detail.startswith(f"1 of {SLICES} images did not come: 1 images could not be sent")
    broken[0] = False
    wait_for(lambda: node.ledger.due_fetches("pacs"), 10)
    time.sleep(node.settings.assemble.quiet_s)
    node.fetcher.fetch_due()
    assert node.ledger.find_fetches(SERIES)[0].state is FetchState.FETCHED
    assert node.count(SERIES) == (1, SLICES)


def test_a_series_that_never_comes_is_given_up_after_some_tries(begin: Begin) -> None:
    archive, node = begin(
        {"gives": lambda images: images[:3], "tells_images": False},
        poll_s=60,
        still_polls=0,
        max_attempts=3,
        quiet_s=0,
    )
    node.poll(ASKED)
    for _ in range(5):
        time.sleep(0.15)
        node.fetcher.fetch_due()
    (row,) = node.ledger.find_fetches(SERIES)
    assert (row.state, archive.retrievals) == (FetchState.FAILED, 3)
    assert [(s.failed, s.given_up) for s in node.ledger.sources()] == [(1, 1)]
    archive.gives = lambda images: images
    assert node.ledger.retry_fetches(["pacs"], STUDY) == 1
    node.fetcher.fetch_due()
    assert node.ledger.find_fetches(SERIES)[0].state is FetchState.FETCHED


def test_a_wrong_count_is_put_right_by_the_images_themselves(begin: Begin) -> None:
    archive, node = begin({"counted": SLICES + 3})
    outcome = the_one(node.by_hand(ASKED))
    assert outcome.state is FetchState.FETCHED
    assert outcome.detail == f"it counts {SLICES + 3} images, and has {SLICES} that the node takes"
    assert "IMAGE" in archive.asked
    (revision,) = node.ledger.find(SERIES)
    assert revision.count is not None
    assert revision.count.images == SLICES, "so that nothing waits for what is not there"


def test_a_wrong_count_that_nothing_puts_right_is_told(begin: Begin) -> None:
    _, node = begin({"counted": SLICES + 1, "tells_images": False})
    outcome = the_one(node.by_hand(ASKED))
    assert outcome.state is FetchState.FAILED
    assert outcome.detail == f"1 of {SLICES + 1} images did not come"
    assert node.count(SERIES) == (1, SLICES), "what came is judged all the same"


def captured(image: Dataset, series: str) -> Dataset:
    """An object that the node does not take, as CT write them: a report of the dose."""
    other = deepcopy(image)
    other.SOPClassUID, other.SeriesInstanceUID = SecondaryCaptureImageStorage, series
    other.SOPInstanceUID = generate_uid()
    return other


@pytest.mark.parametrize("retrieve", ["get", "move"])
def test_a_series_without_a_single_image_is_no_failure(begin: Begin, retrieve: str) -> None:
    archive, node = begin({}, retrieve=retrieve, poll_s=60, still_polls=0)
    archive.images = [captured(archive.images[0], "1.9.9")]
    node.poll(ASKED)
    (row,) = node.ledger.find_fetches("1.9.9")
    assert (row.state, row.next_try_at) == (FetchState.KNOWN, None)
    assert row.detail == "none of its images is one that the node takes"
    node.poll(ASKED)
    assert archive.retrievals == 1


def test_an_object_that_the_node_does_not_take_keeps_no_series_back(begin: Begin) -> None:
    archive, node = begin({})
    archive.images.append(captured(archive.images[0], SERIES))
    outcome = the_one(node.by_hand(ASKED))
    assert (outcome.state, outcome.images) == (FetchState.FETCHED, SLICES)
    (revision,) = node.ledger.find(SERIES)
    assert revision.count is not None
    assert revision.count.images == SLICES


# -- it breaks off --------------------------------------------------------------


@pytest.mark.parametrize("retrieve", ["get", "move"])
def test_what_came_before_it_broke_off_is_kept(begin: Begin, retrieve: str) -> None:
    broken: list[bool] = [True]

    def abort(event: Any, number: int) -> None:
        if broken[0] and number == 3:
            event.assoc.abort()

    archive, node = begin({"at_image": abort}, retrieve=retrieve)
    outcome = the_one(node.by_hand(ASKED))
    assert (outcome.state, outcome.images) == (FetchState.FAILED, 3)
    where = f"ARCHIVE at 127.0.0.1:{archive.port}"
    assert outcome.detail == f"3 of {SLICES} images did not come: {where} breaks off"
    assert node.ledger.sources()[0].images == 3
    broken[0] = False
    time.sleep(node.settings.assemble.quiet_s)
    assert the_one(node.by_hand(ASKED)).state is FetchState.FETCHED
    assert node.count(SERIES) == (1, SLICES)


def test_one_that_is_silent_is_left_and_holds_no_other_up(begin: Begin, files: list[Path]) -> None:
    def hang(_event: Any, number: int) -> None:
        if number == 2:
            time.sleep(4)

    _, node = begin({"at_image": hang}, timeout_s=1)
    began = time.monotonic()
    outcome = the_one(node.by_hand(ASKED))
    assert time.monotonic() - began < 4
    assert outcome.state is FetchState.FAILED
    assert str(outcome.detail).endswith("says nothing for 1 s")
    assert node.count(SERIES) == (1, 2)


def test_one_that_is_not_there_leaves_the_series_to_be_fetched(begin: Begin) -> None:
    archive, node = begin({}, poll_s=60, still_polls=0)
    found = list(node.fetcher.find(ASKED))
    node.fetcher.note(found)
    with fetching(node.settings.home.with_name("away"), "ARCHIVE", 9, poll_s=60) as away:
        away.fetcher.note(found)
        row = away.fetcher.seen(found)[STUDY, SERIES]
        with pytest.raises(SourceError, match=r"cannot be reached|does not answer"):
            away.fetcher.fetch(found[0], row)
        (row,) = away.ledger.find_fetches(SERIES)
        assert (row.state, row.attempts) == (FetchState.WANTED, 0)
    assert archive.retrievals == 0


# -- what it says of itself cannot be -------------------------------------------


def hostile(asked: Dataset, found: list[Dataset]) -> list[Dataset]:
    """The answers, and what was not asked for: other UIDs, none, wildcards, the same again."""
    level = str(asked.QueryRetrieveLevel)
    if level == "IMAGE":
        return found
    unique = "StudyInstanceUID" if level == "STUDY" else "SeriesInstanceUID"
    odd = []
    for value in ("", "*", "1.2\\1.3", "../../etc/passwd", "9" * 200, "1.2.3 or 1=1", None):
        answer = deepcopy(found[0])
        if value is None:
            del answer[unique]
        else:
            setattr(answer, unique, value)
        odd.append(answer)
    stranger = deepcopy(found[0])
    stranger.StudyInstanceUID = "1.9.9"
    empty = Dataset()
    empty.QueryRetrieveLevel = level
    return [*odd, stranger, empty, *found, *found]


@pytest.mark.filterwarnings("ignore")
def test_answers_that_cannot_be_are_passed_over_and_counted_in_the_log(
    begin: Begin, caplog: pytest.LogCaptureFixture
) -> None:
    _, node = begin(
        {"answers": lambda a, f: f if a.QueryRetrieveLevel == "IMAGE" else hostile(a, f)}
    )
    with caplog.at_level(logging.WARNING):
        outcomes = node.by_hand(ASKED)
    assert [o.found.series_instance_uid for o in outcomes] == [SERIES]
    assert outcomes[0].state is FetchState.FETCHED
    said = [
        r.getMessage()
        for r in caplog.records
        if "answers are there twice" in r.getMessage() or "it answers" in r.getMessage()
    ]
    assert len(said) == 2, "studies, and series"
    assert not any("passwd" in r.getMessage() for r in caplog.records if r.name.startswith("node"))
    assert len(node.ledger.find_fetches(STUDY)) == 1


def test_a_series_of_another_study_than_was_asked_for_is_passed_over(begin: Begin) -> None:
    def strange(asked: Dataset, found: list[Dataset]) -> list[Dataset]:
        if asked.QueryRetrieveLevel == "SERIES":
            found = [deepcopy(found[0]), *found]
            found[0].StudyInstanceUID = "1.9.9"
        return found

    _, node = begin({"answers": strange})
    today = Query(first=date.today(), last=date.today())
    assert [found.study_instance_uid for found in node.fetcher.find(today)] == [STUDY]


@pytest.mark.filterwarnings("ignore")
def test_counts_that_cannot_be_are_none(begin: Begin) -> None:
    def odd(asked: Dataset, found: list[Dataset]) -> list[Dataset]:
        for answer in found:
            if "NumberOfSeriesRelatedInstances" in asked:
                answer.add_new("NumberOfSeriesRelatedInstances", "LO", "-5; DROP TABLE fetch")
        return found

    _, node = begin({"answers": odd})
    (found,) = node.fetcher.find(ASKED)
    assert found.images == SLICES, "counted one by one instead"


def test_answers_without_end_are_not_waited_for(
    begin: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(association, "MOST_ANSWERS", 200)

    def many(asked: Dataset, found: list[Dataset]) -> list[Dataset]:
        return [*found, *(answered(found[0], str(n)) for n in range(2_000))]

    _, node = begin({"answers": many})
    began = time.monotonic()
    with pytest.raises(SourceError, match=r"does not wait for answers|more than 200 answers"):
        node.by_hand(ASKED)
    assert time.monotonic() - began < 10


def answered(like: Dataset, number: str) -> Dataset:
    answer = deepcopy(like)
    answer.StudyInstanceUID = f"1.9.{number}"
    return answer


def test_thousands_of_studies_are_noted(begin: Begin, files: list[Path]) -> None:
    image = pydicom.dcmread(files[0], stop_before_pixels=True)
    archive, node = begin({}, poll_s=60)
    archive.images = []
    for number in range(1200):
        one = deepcopy(image)
        one.SeriesInstanceUID = f"1.2.3.{number}"
        archive.images.append(one)
    node.fetcher.note(list(node.fetcher.find(ASKED)))
    assert len(node.fetcher.seen([FoundSeries(STUDY, f"1.2.3.{n}") for n in range(1200)])) == 1200


def test_an_image_of_another_series_is_put_aside(begin: Begin) -> None:
    def gives(images: Any) -> Any:
        stranger = deepcopy(images[0])
        stranger.SeriesInstanceUID, stranger.SOPInstanceUID = "1.9.9", generate_uid()
        return [stranger, *images]

    _, node = begin({"gives": gives})
    outcome = the_one(node.by_hand(ASKED))
    assert outcome.state is FetchState.FETCHED
    assert outcome.detail is not None
    assert "1 images were refused, see the quarantine" in outcome.detail
    assert node.ledger.find("1.9.9") == []
    (reason,) = node.spool.quarantined.glob("*/reason.txt")
    assert "of another series than the one that was asked for" in reason.read_text()


def test_an_answer_that_is_too_long_is_not_gathered(begin: Begin) -> None:
    def long(asked: Dataset, found: list[Dataset]) -> list[Dataset]:
        for answer in found:
            answer.add_new("StudyDescription", "UT", "x" * 100_000)
        return found

    _, node = begin({"answers": long})
    with pytest.raises(SourceError, match="gives an answer that is too long after 0 answers"):
        node.by_hand(ASKED)


def test_an_image_that_is_too_large_ends_the_fetch(begin: Begin, files: list[Path]) -> None:
    archive, node = begin({})
    archive.images = archive.images[:1]
    archive.images[0].PixelData = b"\0" * 3_000_000
    node.settings.dicom.__dict__["max_instance_mb"] = 2
    outcome = the_one(node.by_hand(ASKED))
    assert outcome.state is FetchState.FAILED
    assert "an image of more than 2 MB, see [dicom] max_instance_mb" in str(outcome.detail)
    assert node.ledger.find(SERIES) == []


def test_a_disk_that_is_full_ends_the_fetch_and_says_so(begin: Begin) -> None:
    _, node = begin({})
    node.settings.dicom.__dict__["min_free_gb"] = 10**9
    outcome = the_one(node.by_hand(ASKED))
    assert outcome.state is FetchState.FAILED
    assert outcome.detail is not None
    assert "see [dicom] min_free_gb" in outcome.detail


# -- the node is stopped, killed, there twice -----------------------------------


def test_who_is_stopped_in_the_middle_leaves_it_as_it_was(begin: Begin) -> None:
    _, node = begin({})

    def stop(images: int) -> None:
        if images == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        node.by_hand(ASKED, stop)
    (row,) = node.ledger.find_fetches(SERIES)
    assert (row.state, row.attempts) == (FetchState.WANTED, 0)
    time.sleep(node.settings.assemble.quiet_s)
    assert the_one(node.by_hand(ASKED)).state is FetchState.FETCHED


def test_a_poller_that_was_killed_is_followed_by_another(begin: Begin) -> None:
    _, node = begin({}, poll_s=60, still_polls=0)
    found = list(node.fetcher.find(ASKED))
    node.fetcher.note(found)
    (row,) = node.ledger.due_fetches("pacs")
    assert node.ledger.claim_fetch(row, SLICES, lease_s=0.3) is not None  # and then it is killed
    assert node.ledger.due_fetches("pacs") == []
    assert the_one(node.by_hand(ASKED)).state is FetchState.FETCHING, "another one has it"
    time.sleep(0.4)
    node.fetcher.fetch_due()
    assert node.ledger.find_fetches(SERIES)[0].state is FetchState.FETCHED
    assert node.count(SERIES) == (1, SLICES)


def test_two_that_poll_the_same_source_fetch_a_series_once(begin: Begin) -> None:
    archive, node = begin({}, poll_s=60, still_polls=0)
    stop = threading.Event()
    with Auditor.open(node.settings, "poll") as auditor:
        intake = Intake(node.settings, node.spool, node.ledger, auditor)
        pollers = [Poller(node.settings, node.ledger, intake, auditor) for _ in range(3)]
        threads = [in_thread(lambda p=p: p.run(stop)) for p in pollers]
        wait_for(
            lambda: [f for f in node.ledger.find_fetches(SERIES) if f.state is FetchState.FETCHED],
            20,
        )
        stop.set()
        for thread in threads:
            thread.join(10)
    assert archive.retrievals == 1
    assert archive.asked.count("STUDY") == 1
    (state,) = node.ledger.sources()
    assert (state.fetched, state.images, state.failures) == (1, SLICES, 0)
    assert state.polled_at is not None
    assert state.answered_at is not None


def test_a_source_that_is_ill_rests_and_comes_back(begin: Begin) -> None:
    archive, node = begin({"find_status": 0xA700}, poll_s=0.1, still_polls=0)
    node.turns.take_one()
    (state,) = node.ledger.sources()
    assert state.failures == 1
    assert state.rests_until is not None
    assert state.detail is not None
    assert "out of resources" in state.detail
    asked = len(archive.asked)
    node.turns.take_one()
    assert len(archive.asked) == asked, "it rests"
    archive.find_status = None
    wait_for(lambda: not node.ledger.is_resting("pacs"), 5)
    node.turns.take_one()
    (state,) = node.ledger.sources()
    assert (state.failures, state.detail, state.fetched) == (0, None, 1)


def test_a_study_that_nothing_is_left_of_is_not_asked_for_its_series_again(begin: Begin) -> None:
    archive, node = begin({}, poll_s=0.05, still_polls=0)
    for _ in range(4):
        node.turns.take_one()
        time.sleep(0.1)
    assert archive.asked.count("STUDY") == 4
    assert archive.asked.count("SERIES") == 2, "once more after it was fetched"


def test_a_series_that_it_tells_of_no_more_is_fetched_as_it_is(begin: Begin) -> None:
    hidden: list[bool] = []
    archive, node = begin(
        {"answers": lambda asked, found: found if not hidden else found[:0]},
        poll_s=0.1,
        still_polls=5,
    )
    node.turns.take_one()
    hidden.append(True)
    assert archive.retrievals == 0
    time.sleep(0.1)
    node.turns.take_one()
    assert archive.retrievals == 0
    time.sleep(0.3)
    node.turns.take_one()
    assert node.ledger.find_fetches(SERIES)[0].state is FetchState.FETCHED


def test_what_it_tells_of_is_remembered_and_forgotten_when_it_tells_no_more(
    begin: Begin,
) -> None:
    archive, node = begin({}, poll_s=60, min_images=100)
    for image in archive.images:
        del image.StudyDate  # so that every poll finds it

    def look(day: int) -> bool:
        node.ledger.clock = lambda: time.time() + day * 86_400
        node.turns.take_one()
        assert node.ledger.forget_fetches(["pacs"], 0.0, 0, 100) is None
        return bool(node.ledger.find_fetches(SERIES))

    assert [look(day) for day in range(6)] == [True] * 6
    archive.images = []
    assert look(6), "a day is none yet"
    assert not look(8)


def test_days_on_which_it_did_not_answer_are_asked_for_when_it_does(
    begin: Begin, caplog: pytest.LogCaptureFixture
) -> None:
    archive, node = begin({}, poll_s=60, still_polls=0, look_back_days=0)
    for image in archive.images:
        image.StudyDate = f"{date.today() - timedelta(days=2):%Y%m%d}"
    node.ledger.clock = lambda: time.time() - 3 * 86_400
    node.ledger.source_answers("pacs")
    node.ledger.clock = time.time
    node.turns.take_one()
    assert node.ledger.find_fetches(SERIES)[0].state is FetchState.FETCHED
    assert archive.asked.count("STUDY") == 4, "three days, and today"
    assert "source pacs last told on" in caplog.text


def test_what_is_new_is_asked_for_though_much_is_left_to_be_fetched(begin: Begin) -> None:
    archive, node = begin({}, poll_s=60, still_polls=0)
    other = [deepcopy(image) for image in archive.images]
    for image in other:
        image.SeriesInstanceUID, image.SOPInstanceUID = "1.9.9", generate_uid()
    archive.images += other
    node.fetcher.note(list(node.fetcher.find(ASKED)))
    assert node.fetcher.fetch_due(lambda: True) == 1
    assert node.fetcher.fetch_due() == 1


def test_a_rate_holds_while_images_come(begin: Begin) -> None:
    _, node = begin({})
    node.fetcher._pace = Pace(images_per_second=10)
    began = time.monotonic()
    assert the_one(node.by_hand(ASKED)).state is FetchState.FETCHED
    assert time.monotonic() - began > 0.9 * SLICES / 10


def test_a_stop_is_heard_while_a_rate_is_kept(begin: Begin) -> None:
    _, node = begin({})
    node.fetcher._pace = Pace(images_per_second=0.01)
    in_thread(lambda: (time.sleep(0.5), node.stop.set()))
    with pytest.raises(StoppedError):
        node.by_hand(ASKED)


def test_a_series_that_is_just_being_pushed_is_waited_for_and_then_known(
    begin: Begin, files: list[Path]
) -> None:
    archive, node = begin({}, quiet_s=1.5, listens=True)
    assert storescu(node.port, files[:2]).returncode == 0
    push = in_thread(lambda: (time.sleep(0.5), storescu(node.port, files[2:])))
    outcome = the_one(node.by_hand(ASKED))
    push.join()
    assert (outcome.state, outcome.detail) == (FetchState.KNOWN, "it was just sent")
    assert archive.retrievals == 0


def test_a_dry_run_changes_nothing(begin: Begin) -> None:
    archive, node = begin({})
    outcome = the_one(node.by_hand(ASKED, is_dry_run=True))
    assert outcome.state is FetchState.WANTED
    assert (archive.retrievals, node.ledger.find_fetches(SERIES)) == (0, [])


def test_what_the_rules_refuse_is_fetched_when_somebody_insists(begin: Begin) -> None:
    archive, node = begin({}, min_images=100)
    outcome = the_one(node.by_hand(ASKED))
    assert (outcome.state, outcome.detail) == (
        FetchState.REFUSED,
        "it has fewer images than min_images (100)",
    )
    assert archive.retrievals == 0
    assert the_one(node.by_hand(ASKED, is_any=True)).state is FetchState.FETCHED
