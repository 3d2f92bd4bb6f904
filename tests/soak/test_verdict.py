"""What the campaign's verdict sees: each way to lose a result or to have it twice."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydicom.uid import (
    BasicTextSRStorage,
    Comprehensive3DSRStorage,
    CTImageStorage,
    SecondaryCaptureImageStorage,
)

from node.ledger import Delivery, DeliveryState, Instance, Result, Revision, State
from tests.soak.load import Image, SentSeries
from tests.soak.servers import ARCHIVE, ORTHANC, Held
from tests.soak.verdict import Account, Finding, Wrong, altered, is_quiet, judge, strangers

STUDY, SERIES = "1.2", "1.2.3"
NOW = datetime(2026, 1, 1, tzinfo=UTC)
SLICES = 3


def sent(count: int = SLICES) -> SentSeries:
    images = tuple(Image(f"1.2.3.{n}", Path(f"{n}.dcm")) for n in range(count))
    return SentSeries(STUDY, SERIES, images, {image.uid for image in images})


def account(number: int = 1, slices: int = SLICES) -> Account:
    """A revision that is delivered, with one set of results."""
    revision = Revision(
        id=number,
        study_instance_uid=STUDY,
        series_instance_uid=SERIES,
        number=number,
        state=State.DELIVERED,
        reason=None,
        detail=None,
        warnings=(),
        maxima=None,
        flagged=(),
        instances=slices,
        attempts=1,
        claims=1,
        arrivals=slices,
        last_instance_at=NOW,
        updated_at=NOW,
        released_at=NOW,
    )
    instances = tuple(
        Instance(STUDY, SERIES, f"1.2.3.{n}", CTImageStorage, f"{n}", Path(f"{n}.dcm"), "CT")
        for n in range(slices)
    )
    classes = [
        *(Comprehensive3DSRStorage, Comprehensive3DSRStorage, BasicTextSRStorage),
        *([SecondaryCaptureImageStorage] * (slices + 1)),
    ]
    results = tuple(
        Result("kind", f"9.{number}", sop_class, f"9.{number}.{n}", Path(f"{n}.dcm"))
        for n, sop_class in enumerate(classes)
    )
    deliveries = tuple(
        Delivery(n, number, destination, state, 1, NOW, None, None, result)
        for destination, state in (
            (ORTHANC, DeliveryState.COMMITTED),
            (ARCHIVE, DeliveryState.SENT),
        )
        for n, result in enumerate(results)
    )
    return Account(revision, instances, results, deliveries)


def held(*accounts: Account, replacing: bool = True) -> list[Held]:
    """What an archive holds when all of it arrived; each report replaces the one before."""
    return [
        Held(
            STUDY,
            result.sop_instance_uid,
            result.sop_class_uid,
            (f"9.{number}.{index}",) if number and index < 3 and replacing else (),
            result.sop_instance_uid,
        )
        for number, one in enumerate(accounts)
        for index, result in enumerate(one.results)
    ]


def wrongs(found: list[Finding]) -> set[Wrong]:
    return {finding.wrong for finding in found}


def test_one_set_in_each_archive_is_right() -> None:
    one = account()
    assert is_quiet([one])
    assert judge(sent(), [one], {ARCHIVE: held(one), ORTHANC: held(one)}) == []


def test_a_late_image_makes_a_set_that_replaces_the_one_before() -> None:
    before, after = account(1, 2), account(2)
    assert judge(sent(), [before, after], {ARCHIVE: held(before, after)}) == []


def test_a_report_of_old_that_nothing_replaces_is_twice() -> None:
    before, after = account(1, 2), account(2)
    both = held(before, after, replacing=False)
    assert wrongs(judge(sent(), [before, after], {ARCHIVE: both})) == {Wrong.TWICE}


def test_a_second_revision_of_the_same_images_is_twice() -> None:
    both = [account(1), account(2)]
    assert wrongs(judge(sent(), both, {ARCHIVE: held(*both)})) == {Wrong.TWICE}


def test_an_object_that_no_revision_has_made_is_twice() -> None:
    one = account()
    stranger = Held(STUDY, "9.9.9", SecondaryCaptureImageStorage, ())
    assert strangers([[one]], ARCHIVE, held(one)) == []
    assert wrongs(strangers([[one]], ARCHIVE, [*held(one), stranger])) == {Wrong.TWICE}


def test_an_object_that_one_archive_lacks_is_lost() -> None:
    one = account()
    found = judge(sent(), [one], {ARCHIVE: held(one), ORTHANC: held(one)[:-1]})
    assert wrongs(found) == {Wrong.LOST}


def test_a_series_that_the_ledger_does_not_know_is_lost() -> None:
    assert wrongs(judge(sent(), [], {ARCHIVE: []})) == {Wrong.LOST}


def test_an_acknowledged_image_that_does_not_count_is_lost() -> None:
    one = account(slices=2)
    assert Wrong.LOST in wrongs(judge(sent(), [one], {ARCHIVE: held(one)}))


def test_a_series_that_ended_without_a_result_is_lost() -> None:
    one = account()
    failed = replace(one, revision=replace(one.revision, state=State.FAILED))
    assert wrongs(judge(sent(), [failed], {ARCHIVE: held(one)})) == {Wrong.LOST}


@pytest.mark.parametrize(
    ("destination", "state"),
    [(ARCHIVE, DeliveryState.PENDING), (ORTHANC, DeliveryState.SENT)],
)
def test_what_is_not_stored_or_not_committed_is_unfinished(
    destination: str, state: DeliveryState
) -> None:
    one = account()
    deliveries = tuple(
        replace(delivery, state=state) if delivery.destination == destination else delivery
        for delivery in one.deliveries
    )
    under_way = replace(one, deliveries=deliveries)
    assert not is_quiet([under_way])
    assert wrongs(judge(sent(), [under_way], {ARCHIVE: held(one)})) == {Wrong.UNFINISHED}


def test_an_image_that_was_never_acknowledged_is_unfinished() -> None:
    series = sent()
    series.acknowledged.pop()
    assert wrongs(judge(series, [account()], {ARCHIVE: held(account())})) == {Wrong.UNFINISHED}


def test_one_uid_with_two_contents_is_altered() -> None:
    objects = held(account())
    assert altered(ARCHIVE, [*objects, *objects]) == []
    again = replace(objects[0], digest="other")
    assert wrongs(altered(ARCHIVE, [*objects, again])) == {Wrong.ALTERED}
