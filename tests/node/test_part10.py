"""A file as others write it is taken apart, whatever stands before its dataset."""

import struct
from io import BytesIO

import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.uid import ExplicitVRLittleEndian

from node.errors import RefusedInstance
from node.intake import file_content
from node.part10 import LONGEST_META, take_apart
from tests.ct import image, uid

DATASET = b"\x08\x00\x16\x00UI\x02\x001\x00"


def encoded(dataset: pydicom.Dataset) -> bytes:
    out = BytesIO()
    dataset.save_as(out, enforce_file_format=True)
    return out.getvalue()


def element(number: int, vr: bytes, value: bytes) -> bytes:
    return struct.pack("<HH2sH", 2, number, vr, len(value)) + value


def test_uids_and_dataset_of_a_file_are_those_that_pydicom_wrote() -> None:
    one = image(3)
    one.file_meta.PrivateInformationCreatorUID = "1.2.3"
    one.file_meta.PrivateInformation = bytes(70_000)[:40_000]
    content = encoded(one)

    found = take_apart(content)

    assert found.sop_class == one.SOPClassUID
    assert found.instance == uid(3)
    assert found.transfer_syntax == ExplicitVRLittleEndian
    assert content.endswith(bytes(found.dataset))
    assert bytes(found.dataset[:6]) == b"\x08\x00\x08\x00CS"  # its first element, ImageType


def test_what_the_node_wrote_is_taken_apart_and_written_again_the_same() -> None:
    content = file_content("1.2", "1.2.345", "1.2.840.10008.1.2.1", DATASET)
    found = take_apart(content)

    assert file_content(found.sop_class, found.instance, found.transfer_syntax, found.dataset) == (
        content
    )


def test_the_length_of_the_meta_information_is_not_needed() -> None:
    content = bytes(128) + b"DICM" + element(0x10, b"UI", b"1.2\x00") + DATASET

    found = take_apart(content)
    assert (found.sop_class, found.transfer_syntax) == ("", "1.2")
    assert bytes(found.dataset) == DATASET


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "no DICM"),
        (bytes(128) + b"DICX", "no DICM"),
        (bytes(128) + b"DICM" + b"\x02\x00\x10", "cut short"),
        (bytes(128) + b"DICM" + b"\x02\x00\x01\x00OB\x00\x00\xff", "cut short"),
        (bytes(128) + b"DICM" + b"\x02\x00\x01\x00OB\x00\x00\xff\xff\xff\xff", "has no end"),
        (bytes(128) + b"DICM" + element(0x10, b"UI", b"1.2.3.4.5.6")[:-3], "has no end"),
        (bytes(128) + b"DICM" + element(0x10, b"UI", b"1.2\x00") * LONGEST_META, "has no end"),
    ],
)
def test_what_is_no_file_is_refused(content: bytes, why: str) -> None:
    with pytest.raises(RefusedInstance, match=why):
        take_apart(content)


@given(st.binary(max_size=200))
def test_any_bytes_are_taken_apart_or_refused(content: bytes) -> None:
    for given_ in (content, bytes(128) + b"DICM" + content, bytes(128) + b"DICM\x02\x00" + content):
        try:
            found = take_apart(given_)
        except RefusedInstance:
            continue
        assert given_.endswith(bytes(found.dataset))
