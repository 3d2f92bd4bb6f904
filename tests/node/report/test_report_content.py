"""Content items are encoded as highdicom and pydicom encode them."""

import highdicom.sr as hd
import numpy as np
import pytest

from ml.labels import Label
from node.report import codes
from node.report.sr import content
from node.report.sr.content import Relation

CT = "1.2.840.10008.5.1.4.1.1.2"


def as_highdicom(item: hd.ContentItem, *below: hd.ContentItem) -> bytes:
    if below:
        item.ContentSequence = hd.ContentSequence(below)
    (encoded,) = content.encoded([item])
    return encoded


@pytest.mark.parametrize("value", ["even", "odd", "two\r\nlines ", "a \\ in it", "x" * 70_001])
def test_a_text_is(value):
    item = hd.TextContentItem(codes.COMMENT, value, hd.RelationshipTypeValues.CONTAINS)
    assert content.text(codes.COMMENT, value) == as_highdicom(item)


def test_a_code_is():
    finding = codes.FINDINGS[Label.ANY]
    item = hd.CodeContentItem(codes.FINDING, finding, hd.RelationshipTypeValues.CONTAINS)
    assert content.code(codes.FINDING, finding) == as_highdicom(item)


@pytest.mark.parametrize("value", ["2.25.1", "2.25.12"])
def test_a_uid_is(value):
    item = hd.UIDRefContentItem(
        codes.TRACKING_UID, value, hd.RelationshipTypeValues.HAS_OBS_CONTEXT
    )
    assert content.uid(codes.TRACKING_UID, value, Relation.CONTEXT) == as_highdicom(item)


@pytest.mark.parametrize("value", [0.0, 100.0, 12.5, 99.5400727, 1.23456789e-05, 1 / 3, 1e-300])
def test_a_number_is_with_what_stands_below_it(value):
    item = hd.NumContentItem(codes.PROBABILITY, value, codes.PERCENT, relationship_type="CONTAINS")
    below = hd.CodeContentItem(codes.DERIVATION, codes.MAXIMUM, "HAS CONCEPT MOD")
    ours = content.code(codes.DERIVATION, codes.MAXIMUM, Relation.MODIFIER)
    assert content.number(codes.PROBABILITY, value, codes.PERCENT) == as_highdicom(item)
    assert content.number(codes.PROBABILITY, value, codes.PERCENT, [ours]) == as_highdicom(
        item, below
    )


@pytest.mark.parametrize("frame", [None, 7])
def test_a_region_on_an_image_is(frame):
    corners = [(0, 0), (512, 0), (512, 300), (0, 0)]
    item = hd.ScoordContentItem(
        codes.IMAGE_REGION,
        "POLYLINE",
        np.array(corners, np.float32),
        relationship_type="CONTAINS",
    )
    image = hd.ImageContentItem(
        codes.SOURCE,
        CT,
        "1.2.3",
        None if frame is None else [frame],
        relationship_type="SELECTED FROM",
    )
    ours = content.image(codes.SOURCE, CT, "1.2.3", frame, Relation.SELECTED_FROM)
    assert content.polyline(codes.IMAGE_REGION, corners, ours) == as_highdicom(item, image)


def test_a_container_is():
    item = hd.ContainerContentItem(
        codes.MEASUREMENT_GROUP, False, "1410", hd.RelationshipTypeValues.CONTAINS
    )
    below = hd.TextContentItem(codes.COMMENT, "said", hd.RelationshipTypeValues.CONTAINS)
    ours = content.container(
        codes.MEASUREMENT_GROUP, [content.text(codes.COMMENT, "said")], template="1410"
    )
    assert ours == as_highdicom(item, below)


def test_what_is_not_ascii_is_no_text_of_a_report():
    with pytest.raises(UnicodeEncodeError):
        content.text(codes.COMMENT, "Zürich")
