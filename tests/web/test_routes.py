"""A series by the routes, from its images to what the page says of it."""

import json
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pydicom
import pytest
from pydicom.uid import Comprehensive3DSRStorage, EnhancedSRStorage, generate_uid

from ml.phantom import make_phantom, write_dicom
from node.ledger import NO_ROUTE, Revision, State
from node.routing import begin_again
from node.settings import Kind, Settings
from tests.web.node import SENDER, Stations, running_page

PACS = {"name": "pacs", "ae_title": "PACS", "host": "127.0.0.1", "port": 1}
FLAGGED_ONLY = {"name": "alarm", "to": ["pacs"], "flagged": "only"}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return Settings(
        home=tmp_path_factory.mktemp("node"),
        destinations=[PACS],
        routes=[FLAGGED_ONLY],
        assemble={"grace_s": 0, "quiet_s": 0},
        analyze={"runtime": "torch"},
    )


@pytest.fixture(scope="module")
def stations(base: Settings) -> Stations:
    return Stations(base)


@pytest.fixture
def send(stations: Stations, tmp_path: Path) -> Callable[[Settings], Revision]:
    """Send a head without a bleed to a node with a configuration."""

    def go(settings: Settings) -> Revision:
        files = write_dicom(make_phantom(4, size=128, findings=()), tmp_path / "head")
        stations.settings = settings
        return stations.send(files)

    return go


def changed(base: Settings, **sections: object) -> Settings:
    return Settings(**{**base.model_dump(exclude_defaults=True), **sections})


def names(stations: Stations, revision: Revision) -> set[str]:
    return {delivery.destination for delivery in stations.ledger.deliveries(revision)}


def classes(stations: Stations, revision: Revision) -> set[str]:
    return {result.sop_class_uid for result in stations.ledger.results(revision)}


def test_what_no_route_names_is_kept_and_the_page_says_why(
    stations: Stations, send: Callable[[Settings], Revision], base: Settings
) -> None:
    revision = send(base)
    assert (revision.state, revision.reason) == (State.REPORTED, NO_ROUTE)
    assert names(stations, revision) == set()
    kept = [stations.spool.results / r.path for r in stations.ledger.results(revision)]
    assert kept
    assert all(path.is_file() for path in kept)
    with running_page(base) as site:
        page = get(f"{site.address}/series/{revision.id}")
        assert "no-route" in page
        assert "no route fits (alarm)" in page
        assert "no-route" in get(f"{site.address}/?show=all")
        known = json.loads(get(f"{site.address}/api/series/{revision.id}"))
    assert known["reason"] == NO_ROUTE
    assert known["deliveries"] == []

    everything = changed(base, routes=[{"name": "all", "to": ["pacs"]}])
    assert begin_again(revision, stations.ledger, stations.spool, everything)
    assert names(stations, revision) == {"pacs"}
    assert stations.ledger.revision(revision.id).reason is None


def get(address: str) -> str:
    with urllib.request.urlopen(address, timeout=20) as answer:
        return answer.read().decode()


def test_the_system_page_lists_the_routes_and_what_destinations_want(base: Settings) -> None:
    wanted = {"structured_report": "enhanced", "transfer_syntax": "jpeg-ls", "ups": True}
    routes = [
        {**FLAGGED_ONLY, "senders": ["ED*"], "descriptions": ["stroke"]},
        {"name": "all", "to": ["pacs"], "kinds": ["sr", "notice"]},
        {"name": "bleeds", "to": ["pacs"], "findings": ["subdural"]},
    ]
    settings = changed(base, destinations=[{**PACS, **wanted}], routes=routes)
    with running_page(settings) as site:
        page = get(f"{site.address}/system")
    assert "senders: ED*; descriptions: stroke; flagged: everything to pacs" in page
    assert "all series: sr, notice to pacs" in page
    assert "flagged for subdural: everything to pacs" in page
    assert "workitems, enhanced SR, jpeg-ls" in page


def test_a_class_that_a_retry_needs_is_made_and_the_other_stays(
    stations: Stations, send: Callable[[Settings], Revision], base: Settings
) -> None:
    revision = send(base)
    assert EnhancedSRStorage not in classes(stations, revision)
    enhanced = changed(
        base,
        destinations=[{**PACS, "structured_report": "enhanced"}],
        routes=[{"name": "all", "to": ["pacs"], "kinds": ["sr"]}],
    )
    assert begin_again(revision, stations.ledger, stations.spool, enhanced)
    again = stations.go_on(revision.id, enhanced)
    assert again.state is State.REPORTED
    assert {EnhancedSRStorage, Comprehensive3DSRStorage} <= classes(stations, revision)
    (delivery,) = stations.ledger.deliveries(revision)
    sent = pydicom.dcmread(stations.spool.results / delivery.result.path)
    assert sent.SOPClassUID == EnhancedSRStorage
    assert sent.SOPInstanceUID == delivery.result.sop_instance_uid


def test_the_workitem_of_a_later_revision_names_the_one_that_it_replaces(
    stations: Stations, send: Callable[[Settings], Revision], base: Settings, tmp_path: Path
) -> None:
    settings = changed(base, destinations=[{**PACS, "ups": True}], routes=[])
    first = send(settings)
    *_, file = sorted((tmp_path / "head").iterdir())
    late = pydicom.dcmread(file)
    late.SOPInstanceUID = late.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    late.ImagePositionPatient[2] += 4.8
    late.save_as(file)
    second = stations.go_on(stations.receive(file), settings)
    assert (second.number, second.state) == (2, State.REPORTED)
    before, after = workitem(stations, first), workitem(stations, second)
    assert "ReplacedProcedureStepSequence" not in before
    (replaced,) = after.ReplacedProcedureStepSequence
    assert replaced.ReferencedSOPInstanceUID == before.SOPInstanceUID


def workitem(stations: Stations, revision: Revision) -> pydicom.Dataset:
    (result,) = (r for r in stations.ledger.results(revision) if r.kind == Kind.WORKITEM)
    return pydicom.dcmread(stations.spool.results / result.path)


def test_without_a_destination_results_go_back_to_the_sender(
    stations: Stations, send: Callable[[Settings], Revision], base: Settings
) -> None:
    scanner = {"name": "er", "ae_title": SENDER, "host": "127.0.0.1", "port": 1}
    revision = send(changed(base, destinations=[], routes=[], peers=[scanner]))
    assert names(stations, revision) == {"er"}
    assert stations.ledger.history(revision)[-1].detail == "back to the sender: er"
    stranger = send(changed(base, destinations=[], routes=[]))
    assert (stranger.state, stranger.reason) == (State.REPORTED, None)
    assert stations.ledger.history(stranger)[-1].detail == (
        f"results stay here: no address is known of {SENDER}"
    )


def test_every_destination_gets_everything_without_routes(
    stations: Stations, send: Callable[[Settings], Revision], base: Settings
) -> None:
    revision = send(changed(base, routes=[]))
    assert names(stations, revision) == {"pacs"}
    assert len(stations.ledger.deliveries(revision)) == len(stations.ledger.results(revision))
    assert stations.ledger.history(revision)[-1].detail is None
