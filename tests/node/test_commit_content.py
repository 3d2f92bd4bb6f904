"""Requests for storage commitment and reports on it, whole and broken."""

from collections.abc import Callable
from io import BytesIO

import hypothesis.strategies as st
import pytest
from hypothesis import given
from pydicom import Dataset
from pydicom.uid import CTImageStorage, generate_uid
from pynetdicom.dsutils import decode, encode

from node.commit.content import (
    MOST_REFERENCES,
    EventType,
    Report,
    Request,
    Status,
    UnusableContentError,
    failure_text,
    read_report,
    read_request,
)
from node.ledger import Reference

TRANSACTION = "1.2.840.99.1"
CT = str(CTImageStorage)


def references(count: int) -> tuple[Reference, ...]:
    return tuple(Reference(CT, f"1.2.3.{n + 1}") for n in range(count))


def over_the_wire(dataset: Dataset, *, implicit: bool) -> Dataset:
    encoded = encode(dataset, is_implicit_vr=implicit, is_little_endian=True)
    assert encoded is not None
    return decode(BytesIO(encoded), is_implicit_vr=implicit, is_little_endian=True)


@pytest.mark.parametrize("implicit", [True, False])
def test_a_request_comes_out_as_it_went_in(implicit: bool) -> None:
    request = Request(TRANSACTION, references(3))

    assert read_request(over_the_wire(request.as_dataset(), implicit=implicit)) == request


@pytest.mark.parametrize("implicit", [True, False])
@pytest.mark.parametrize(("committed", "failed"), [(3, 0), (2, 1), (0, 2)])
def test_a_report_comes_out_as_it_went_in(committed: int, failed: int, implicit: bool) -> None:
    found = references(committed + failed)
    report = Report(TRANSACTION, found[:committed], tuple((r, 0x0112) for r in found[committed:]))

    assert read_report(over_the_wire(report.as_dataset(), implicit=implicit)) == report


def test_the_event_type_says_whether_all_was_committed_to() -> None:
    (one,) = references(1)
    assert Report(TRANSACTION, (one,), ()).event_type is EventType.ALL_COMMITTED
    assert Report(TRANSACTION, (), ((one, 0x0110),)).event_type is EventType.FAILURES_EXIST


def test_an_empty_sequence_is_left_out_of_a_report() -> None:
    """Each is required only where it has an item (PS3.4, table J.3-2)."""
    (one,) = references(1)
    assert "FailedSOPSequence" not in Report(TRANSACTION, (one,), ()).as_dataset()
    assert "ReferencedSOPSequence" not in Report(TRANSACTION, (), ((one, 0x0110),)).as_dataset()


def test_an_instance_that_is_named_twice_counts_once() -> None:
    twice = Request(TRANSACTION, references(2) * 2)
    assert read_request(twice.as_dataset()).references == references(2)


def without(keyword: str) -> Callable[[Dataset], None]:
    def change(dataset: Dataset) -> None:
        delattr(dataset, keyword)

    return change


def with_value(keyword: str, value: object) -> Callable[[Dataset], None]:
    def change(dataset: Dataset) -> None:
        setattr(dataset, keyword, value)

    return change


def in_item(keyword: str, value: str | None) -> Callable[[Dataset], None]:
    def change(dataset: Dataset) -> None:
        item = dataset.ReferencedSOPSequence[1]
        if value is None:
            delattr(item, keyword)
        else:
            setattr(item, keyword, value)

    return change


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI", "ignore:The value length")
@pytest.mark.parametrize(
    "change",
    [
        without("TransactionUID"),
        with_value("TransactionUID", ""),
        with_value("TransactionUID", "../../etc"),
        with_value("TransactionUID", ["1.2", "1.3"]),
        with_value("TransactionUID", "1." * 40 + "1"),
        without("ReferencedSOPSequence"),
        with_value("ReferencedSOPSequence", []),
        in_item("ReferencedSOPInstanceUID", None),
        in_item("ReferencedSOPInstanceUID", "Doe^Jane"),
        in_item("ReferencedSOPClassUID", None),
        in_item("ReferencedSOPClassUID", "x"),
    ],
)
def test_a_request_with_a_uid_that_is_none_is_refused(change: Callable[[Dataset], None]) -> None:
    dataset = Request(TRANSACTION, references(3)).as_dataset()
    change(dataset)
    with pytest.raises(UnusableContentError) as caught:
        read_request(dataset)
    assert caught.value.status is Status.INVALID_ARGUMENT
    assert "Doe" not in str(caught.value)


def test_a_request_for_too_many_instances_is_refused_before_they_are_read() -> None:
    dataset = Dataset()
    dataset.TransactionUID = TRANSACTION
    dataset.ReferencedSOPSequence = [Dataset()] * (MOST_REFERENCES + 1)
    with pytest.raises(UnusableContentError) as caught:
        read_request(dataset)
    assert caught.value.status is Status.RESOURCE_LIMITATION


def test_a_failure_without_a_reason_is_a_failure_all_the_same() -> None:
    dataset = Report(TRANSACTION, (), ((references(1)[0], 0x0112),)).as_dataset()
    del dataset.FailedSOPSequence[0].FailureReason
    assert read_report(dataset).failed == ((references(1)[0], 0x0110),)


@given(st.binary(max_size=300), st.booleans())
@pytest.mark.filterwarnings("ignore")
def test_bytes_of_any_kind_are_refused_or_read(noise: bytes, implicit: bool) -> None:
    whole = encode(
        Request(TRANSACTION, references(2)).as_dataset(),
        is_implicit_vr=implicit,
        is_little_endian=True,
    )
    assert whole is not None
    for content in (noise, whole[: len(noise)] + noise, whole[: len(whole) // 2] + noise):
        try:
            dataset = decode(BytesIO(content), is_implicit_vr=implicit, is_little_endian=True)
        except Exception:  # pynetdicom answers these itself
            continue
        for read in (read_request, read_report):
            try:
                found = read(dataset)
            except UnusableContentError:
                continue
            assert found.transaction_uid


def test_reasons_are_told_with_their_number() -> None:
    assert failure_text(0x0112) == "0x0112, it has no such instance"
    assert failure_text(0xC123).startswith("0xC123")


def test_uids_of_the_node_itself_are_taken() -> None:
    request = Request(str(generate_uid(prefix=None)), references(1))
    assert read_request(request.as_dataset()) == request
