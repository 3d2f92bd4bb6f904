from dataclasses import replace

import pytest
from pydicom.uid import UID

from ml.labels import Label
from node.report.identity import device_uid, instance_uid, series_uid, tracking_uid
from node.settings import Kind


def test_a_judgement_names_its_results_the_same_way_every_time(case):
    again = replace(case.judgement)
    assert instance_uid(case.judgement, Kind.SECONDARY_CAPTURE, 3) == instance_uid(
        again, Kind.SECONDARY_CAPTURE, 3
    )
    assert series_uid(case.judgement, Kind.SECONDARY_CAPTURE) == series_uid(
        again, Kind.SECONDARY_CAPTURE
    )


def test_uids_do_not_change_between_versions(case):
    """A PACS holds results of earlier versions under these names."""
    assert instance_uid(case.judgement, Kind.STRUCTURED_REPORT) == (
        "2.25.187013870258796028090483906004501734281"
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"series_instance_uid": "1.2.3"},
        {"input_digest": 64 * "b"},
        {"model": "digest"},
        {"model": "operating point"},
    ],
    ids=str,
)
def test_another_input_gives_other_names(case, changes):
    model = case.judgement.model
    if changes.get("model") == "digest":
        changes = {"model": replace(model, digest=64 * "0")}
    elif changes.get("model") == "operating point":
        changes = {"model": replace(model, operating_point=None)}
    other = replace(case.judgement, **changes)
    for kind in Kind:
        assert instance_uid(case.judgement, kind) != instance_uid(other, kind)
        assert series_uid(case.judgement, kind) != series_uid(other, kind)


def test_no_two_things_share_a_uid(case):
    judgement = case.judgement
    uids = [
        *(instance_uid(judgement, Kind.SECONDARY_CAPTURE, n) for n in range(1, 50)),
        instance_uid(judgement, Kind.STRUCTURED_REPORT),
        *(series_uid(judgement, kind) for kind in Kind),
        *(tracking_uid(judgement, label, n) for label in Label for n in range(50)),
        device_uid(judgement.model),
    ]
    assert len(set(uids)) == len(uids)
    assert all(UID(uid).is_valid for uid in uids)
