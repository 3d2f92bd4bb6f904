"""The same data as JSON, and what monitors ask."""

import json
import logging
import re
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from fastapi.openapi.models import OpenAPI
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families

from ml.phantom import make_phantom, write_dicom
from node.ledger import State
from node.report import Kind
from node.settings import Settings
from node.web import values
from node.web.desk import CAPTURE, EVIDENCE, Desk
from node.web.pages import KINDS
from tests.e2e.peers import wait_for
from tests.web.conftest import Series
from tests.web.node import Site, Stations, running_page
from tests.web.test_door import ask


def get(site: Site, path: str) -> Any:
    answer = ask(site.address + path)
    assert answer.status == 200, answer.body
    return json.loads(answer.body)


def test_a_worklist_goes_on_where_it_ended(site: Site, series: Series) -> None:
    seen, after = [], ""
    for _ in range(10):
        page = get(site, f"/api/series?limit=2{after}")
        seen += [values.Row.model_validate(row).id for row in page["series"]]
        if page["next"] is None:
            break
        after = f"&after={page['next']}"
    assert len(seen) == len(set(seen)) >= 5
    assert series.flagged.id in seen[:4]


def test_a_worklist_of_one_priority_has_nothing_else(site: Site, series: Series) -> None:
    (urgent,) = get(site, "/api/series?priority=emergency")["series"]
    assert (urgent["id"], urgent["priority"]) == (series.flagged.id, "emergency")
    assert get(site, "/api/series?priority=none-such")["series"] == []
    assert get(site, f"/api/series/{series.calm.id}")["priority"] is None


def test_a_series_is_told_with_every_slice(site: Site, series: Series) -> None:
    found = values.Series.model_validate(get(site, f"/api/series/{series.flagged.id}"))
    assert found.flagged and found.state is State.REPORTED
    assert len(found.slices) == found.images
    assert [step.state for step in found.history] == ["receiving", "ready", "analyzing", "reported"]
    assert {delivery.destination for delivery in found.deliveries} == {"pacs", "archive"}
    course = found.courses[0]
    assert course.assessment is values.Assessment.PRESENT
    assert course.maximum == max(item.probabilities[course.label] for item in found.slices)
    assert course.threshold is not None and course.maximum >= course.threshold


def test_a_series_says_who_was_told_of_it(site: Site, stations: Stations, series: Series) -> None:
    ledger = stations.ledger
    (untold,) = (item for item in ledger.untold() if item.revision_id == series.failed.id)
    ledger.plan_notifications(untold, ["team"])
    (due,) = ledger.due_notifications("team", 1000)
    assert ledger.claim_notification(due, 60)
    ledger.not_told(due, "it answers 500", None)

    found = values.Series.model_validate(get(site, f"/api/series/{series.failed.id}"))
    (told,) = found.told
    assert (told.rule, told.state, told.detail) == ("team", State.FAILED, "it answers 500")
    page = ask(f"{site.address}/series/{series.failed.id}").body
    assert b"team: failed, given up (it answers 500)" in page


def test_the_json_never_tells_whose_a_series_is(stations: Stations, series: Series) -> None:
    with running_page(stations.settings, show_patient=True) as telling:
        for path in ("/api/series", f"/api/series/{series.flagged.id}", "/api/system"):
            assert b"Roe" not in ask(telling.address + path).body


def test_pictures_are_what_was_sent(site: Site, series: Series) -> None:
    for number in (0, 1, series.flagged.instances):
        answer = ask(f"{site.address}/api/series/{series.flagged.id}/pictures/{number}")
        with Image.open(BytesIO(answer.body)) as picture:
            assert picture.size == (912, 568)
        assert answer.headers["cache-control"] == "no-store"  # none stays on a workstation's disk


@pytest.mark.parametrize("is_turned", [False, True], ids=["foot-first", "head-first"])
def test_pictures_are_the_same_where_all_captures_are_one_object(
    site: Site, stations: Stations, is_turned: bool, tmp_path: Path
) -> None:
    def numbered(image: pydicom.Dataset) -> None:
        if is_turned:
            image.InstanceNumber = 100 - image.InstanceNumber

    phantom = make_phantom(4, size=64)
    one, many = (
        stations.send(write_dicom(phantom, tmp_path / name), numbered, **form)
        for name, form in (
            ("one", {"capture": "multi-frame", "compression": "jpeg-2000"}),
            ("many", {}),
        )
    )
    for number in (0, 1, 5, one.instances):
        pictures = [
            np.asarray(Image.open(BytesIO(ask(f"{site.address}{path}").body)))
            for path in (
                f"/api/series/{one.id}/pictures/{number}",
                f"/api/series/{many.id}/pictures/{number}",
            )
        ]
        assert np.array_equal(*pictures), number


@pytest.mark.parametrize(
    "path",
    [
        "/api/series/0",
        "/api/series/99999",
        "/api/series/9223372036854775808",
        "/api/series/1/pictures/1000",
        "/api/series/1/evidence/1",
        "/series/99999",
        "/series/..%2f..%2fetc%2fpasswd",
        "/series/1/pictures/-1.png",
        "/static/../app.py",
        "/static/%2e%2e/app.py",
        "/api/find?uid=../../etc",
        "/api/series?limit=1000000",
        "/api/series?after=x",
        "/api/series?after=0_nan_1",
        "/api/series?state=owned",
        "/api/feedback?model=99",
        "/api/feedback?model=9223372036854775808",
        "/api/feedback?finding=owned",
        "/api/feedback/unlabelled?after=x",
        "/feedback?model=99",
        "/" + "a" * 8000,
    ],
)
def test_what_is_not_there_is_refused_by_name_and_nothing_fails(site: Site, path: str) -> None:
    answer = ask(site.address + path)
    assert answer.status in (404, 422), answer.body
    assert b"Traceback" not in answer.body


@pytest.mark.parametrize(
    "query",
    [
        "after=1_1e999_1",
        "after=1_1_99999999999999999999",
        "after=%00&window=%F0%9F%92%A9&state=x&order=y",
        "slice=99999999",
        "said=%3Cscript%3E",
        "window=all&window=24h",
    ],
)
def test_an_address_that_means_nothing_is_the_worklist_all_the_same(site: Site, query: str) -> None:
    answer = ask(f"{site.address}/?{query}")
    assert answer.status == 200
    assert b"%3Cscript" not in answer.body


def test_retry_and_resend_say_what_came_of_them(
    site: Site, stations: Stations, series: Series
) -> None:
    address = site.address
    answer = ask(f"{address}/api/series/{series.calm.id}/retry", {})
    assert json.loads(answer.body) == {"done": True, "said": "begun again"}  # its deliveries
    (first, *_) = stations.ledger.deliveries(series.calm)
    stations.ledger.give_up(first, "refused")
    assert json.loads(ask(f"{address}/api/destinations/pacs/resend", {}).body)["done"] is True
    assert not stations.ledger.dead_letters("pacs")
    assert ask(f"{address}/api/destinations/nobody/resend", {}).status == 404
    echo = json.loads(ask(f"{address}/api/destinations/archive/echo", {}).body)
    assert echo["done"] is False


def test_the_description_is_openapi_and_has_every_answer(site: Site) -> None:
    document = get(site, "/api/openapi.json")
    OpenAPI.model_validate(document)
    assert set(document["paths"]) == {
        "/api/series",
        "/api/find",
        "/api/series/{id}",
        "/api/series/{id}/pictures/{number}",
        "/api/series/{id}/evidence/{number}",
        "/api/series/{id}/retry",
        "/api/series/{id}/labels",
        "/api/feedback",
        "/api/feedback/unlabelled",
        "/api/destinations/{name}/resend",
        "/api/destinations/{name}/echo",
        "/api/drift",
        "/api/system",
    }
    for path in ("/docs", "/redoc", "/openapi.json"):
        assert ask(site.address + path).status == 404


def test_monitors_are_told_counts_without_a_login_and_no_uid(
    stations: Stations, series: Series
) -> None:
    users = {"anna": "scrypt$14$" + "A" * 22 + "==$" + "A" * 43 + "="}
    with running_page(stations.settings, users=users) as locked:
        assert ask(f"{locked.address}/health/live", Host="10.1.2.3").status == 200
        ready = ask(f"{locked.address}/health/ready")
        assert ready.status == 503  # no broker runs here
        assert b"ledger: well" in ready.body and b"broker: ill" in ready.body
        metrics = ask(f"{locked.address}/metrics").body.decode()
    assert list(text_string_to_metric_families(metrics))
    assert re.search(r"\d+\.\d+\.\d+\.\d+\.\d+", metrics) is None
    with running_page(stations.settings, metrics=False) as closed:
        assert ask(f"{closed.address}/metrics").status == 404


def test_a_page_that_has_not_changed_is_not_sent_again(site: Site) -> None:
    first = ask(f"{site.address}/?order=newest")
    again = ask(f"{site.address}/?order=newest", If_None_Match=first.headers["etag"])
    assert (again.status, again.body) == (304, b"")


def test_a_ledger_that_is_away_is_a_page_and_the_process_lives(tmp_path: Path) -> None:
    away = "postgresql+psycopg://nobody@127.0.0.1:1/nothing"
    with running_page(Settings(home=tmp_path, ledger={"url": away})) as site:
        answer = ask(site.address)
        assert answer.status == 503
        assert b"The ledger is away" in answer.body
        assert ask(f"{site.address}/api/series").status == 503
        assert ask(f"{site.address}/health/live").status == 200


def test_an_error_that_nobody_expected_is_a_page_and_its_words_stay_out_of_the_log(
    site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("the patient is Roe^Jane")

    monkeypatch.setattr(Desk, "worklist", fail)
    with caplog.at_level(logging.INFO):
        answer = ask(site.address)
        wait_for(lambda: "RuntimeError" in caplog.text, 10)  # the answer comes first
    assert answer.status == 500
    assert b"That went wrong" in answer.body
    assert answer.headers["x-frame-options"] == "DENY"
    assert "Roe" not in caplog.text and b"Roe" not in answer.body


def test_kinds_of_results_are_those_of_reports() -> None:
    assert (CAPTURE, EVIDENCE) == (Kind.SECONDARY_CAPTURE, Kind.EVIDENCE_MAP)
    assert set(KINDS) == set(Kind)
