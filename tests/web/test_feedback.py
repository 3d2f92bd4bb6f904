"""Radiologists say on the page what is on a series, and see how often the model said the same."""

import json
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from hypothesis import given
from hypothesis import strategies as st
from playwright.sync_api import Page, expect

from ml.identity import identify
from ml.labels import LABELS, Label
from ml.phantom import make_phantom, write_dicom
from node.feedback.figures import Figures, as_json
from node.ledger import JudgingModel, Ledger, Reading, ReadingSource, Revision, Tally, open_ledger
from node.passwords import hash_password
from node.settings import Settings
from node.web import values
from node.web.running import RUNNING, draw
from tests.node.test_feedback_ledger import judge
from tests.web.conftest import Visit, follow
from tests.web.node import Site, Stations, running_page
from tests.web.test_door import PASSWORD, ask, basic, cookie_of
from tests.web.year import judged_for_a_year

pytestmark = pytest.mark.long

Visiting = Callable[..., Visit]

PHONE = {"width": 390, "height": 844}


@dataclass(frozen=True)
class Node:
    """A node that has judged for a year, and whose readers have labelled some of it."""

    site: Site
    ledger: Ledger
    flagged: Revision
    calm: Revision


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    settings = Settings(home=tmp_path_factory.mktemp("node"), assemble={"grace_s": 0, "quiet_s": 0})
    ledger = open_ledger(settings.ledger_url)
    found = identify("phantom")
    model = JudgingModel(found.name, found.version, found.digest, "balanced")
    judged_for_a_year(ledger, model)
    judge(ledger, "1.3.1", Label.ANY, model=replace(model, version="0", digest="0" * 64))
    stations = Stations(settings)

    def send(seed: int, *findings: Label) -> Revision:
        phantom = make_phantom(seed, size=128, findings=findings)
        return stations.send(write_dicom(phantom, tmp_path_factory.mktemp("head")))

    calm, flagged = send(3), send(8, Label.INTRAPARENCHYMAL)
    with running_page(settings, users={"anna": hash_password(PASSWORD)}) as site:
        yield Node(site, ledger, flagged, calm)
    ledger.close()


@pytest.fixture
def come_in(node: Node, visit: Visiting) -> Callable[..., Page]:
    def go(path: str, **context: Any) -> Page:
        page = visit(f"{node.site.address}/login", **context).page
        page.get_by_label("Name").fill("anna")
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Log in").click()
        page.goto(node.site.address + path)
        return page

    return go


def choose(page: Page, finding: str, answer: str) -> None:
    group = page.get_by_role("group", name=finding)
    group.get_by_text(answer, exact=True).click()
    expect(group.get_by_label(answer)).to_be_checked()


def counts(page: Page, label: Label) -> list[int]:
    """TP, FP, FN and TN of a row of the table."""
    cells = page.locator(f"#finding-{label.value} td").all_inner_texts()
    return [int(cell) for cell in cells[:4]]


# -- a label ---------------------------------------------------------------------------


def test_a_radiologist_labels_one_series_after_the_other(
    node: Node, come_in: Callable[..., Page]
) -> None:
    page = come_in(f"/series/{node.flagged.id}")
    form = page.locator("#label")
    expect(form).to_contain_text("flagged")  # what the model says stands beside
    page.get_by_role("button", name="Save", exact=True).click()
    assert "said=" not in page.url  # any has to be answered
    choose(page, "Any hemorrhage", "Present")
    choose(page, "Intraparenchymal", "Present")
    choose(page, "Epidural", "Absent")
    page.get_by_label("Remark").fill("left temporal")
    page.get_by_role("button", name="Save, next without a label").click()

    expect(page.get_by_text("The label is entered.")).to_be_visible()
    assert not page.url.startswith(f"{node.site.address}/series/{node.flagged.id}?")
    expect(page.locator(".chip.flag").first).to_be_visible()  # the next flagged one
    page.goto(f"{node.site.address}/series/{node.flagged.id}")
    said = page.locator(".readings li").first
    expect(said).to_contain_text("Counts")
    expect(said).to_contain_text("anna")
    expect(said).to_contain_text(
        re.compile("Any hemorrhage present, Epidural absent, Intraparenchymal present")
    )
    expect(said).to_contain_text("left temporal")
    expect(page.get_by_role("group", name="Epidural").get_by_label("Absent")).to_be_checked()
    audit = (node.site.settings.home / "audit.log").read_text()
    (record,) = [line for line in audit.splitlines() if 'type="Label"' in line]
    assert 'UserID="anna"' in record
    assert node.flagged.study_instance_uid in record


def test_keys_are_enough_to_label(node: Node, come_in: Callable[..., Page]) -> None:
    page = come_in(f"/series/{node.calm.id}")
    page.get_by_role("group", name="Any hemorrhage").get_by_label("Present").focus()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("group", name="Any hemorrhage").get_by_label("Absent")).to_be_checked()
    page.get_by_role("button", name="Save", exact=True).focus()
    page.keyboard.press("Enter")
    expect(page.get_by_text("The label is entered.")).to_be_visible()
    (reading,) = node.ledger.readings(node.calm.study_instance_uid, node.calm.series_instance_uid)
    assert reading.findings == dict.fromkeys(LABELS, False)


def test_a_series_takes_two_keys_to_label_and_what_follows_needs_none(
    node: Node, come_in: Callable[..., Page]
) -> None:
    page = come_in(f"/series/{node.calm.id}")
    whole = page.get_by_role("group", name="Any hemorrhage")
    page.keyboard.press("5")
    expect(page.get_by_role("group", name="Subdural").get_by_label("Present")).to_be_checked()
    expect(whole.get_by_label("Present")).to_be_checked()
    page.keyboard.press("a")
    expect(page.get_by_role("group", name="Subdural").get_by_label("Present")).not_to_be_checked()
    page.get_by_label("Remark").fill("pause")  # where keys are letters
    expect(whole.get_by_label("Absent")).to_be_checked()
    page.get_by_label("Remark").fill("")
    whole.get_by_label("Absent").focus()
    page.keyboard.press("p")
    page.keyboard.press("Enter")
    expect(page.get_by_text("The label is entered.")).to_be_visible()
    assert f"/series/{node.calm.id}?" not in page.url
    said, *_ = node.ledger.readings(node.calm.study_instance_uid, node.calm.series_instance_uid)
    assert said.findings == {Label.ANY: True}


def test_an_answer_is_not_lost_when_the_series_goes_on_its_way(
    node: Node, come_in: Callable[..., Page]
) -> None:
    page = come_in(f"/series/{node.flagged.id}")
    choose(page, "Subdural", "Unsure")
    page.evaluate("document.getElementById('head').dataset.key = 'analyzing False'")
    expect(page.locator("#head")).to_have_attribute("data-key", "reported True")  # drawn anew
    expect(page.get_by_role("group", name="Subdural").get_by_label("Unsure")).to_be_checked()


def test_who_skips_a_series_comes_to_the_one_behind_it(
    node: Node, come_in: Callable[..., Page]
) -> None:
    first, second, third = node.ledger.unread(None, 3).revisions
    page = come_in(f"/series/{first.id}")
    page.get_by_role("link", name="Skip", exact=True).click()
    assert page.url == f"{node.site.address}/series/{second.id}"
    page.wait_for_load_state()
    page.keyboard.press("s")
    page.wait_for_url(f"{node.site.address}/series/{third.id}")
    choose(page, "Any hemorrhage", "Unsure")
    page.get_by_role("button", name="Save, next without a label").click()
    expect(page.get_by_text("The label is entered.")).to_be_visible()
    assert f"/series/{first.id}?" not in page.url  # not from the beginning again
    assert node.ledger.unread(None, 1).revisions == (first,)


def test_behind_the_last_series_comes_the_first_one(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    ledger = open_ledger(settings.ledger_url)
    one, other = (judge(ledger, f"1.2.{n}", study="1.2") for n in (1, 2))
    with running_page(settings) as site:

        def behind(revision: Revision) -> str:
            address = f"{site.address}/series/{revision.id}/next"
            return ask(address).headers["location"].removeprefix(site.address)

        assert (behind(other), behind(one)) == (f"/series/{one.id}", f"/series/{other.id}")
        said = Reading("1.2", "1.2.2", ReadingSource.CSV, "ben", time.time(), {Label.ANY: False})
        ledger.enter_reading(said)
        assert behind(one) == "/feedback?said=all-others-read"
        assert ask(f"{site.address}/series/999/next").status == 404
    ledger.close()


def test_of_two_readers_of_one_series_the_second_one_sees_what_the_first_has_said(
    node: Node, come_in: Callable[..., Page]
) -> None:
    revision = node.ledger.unread(None, 9).revisions[-1]
    page = come_in(f"/series/{revision.id}")
    choose(page, "Any hemorrhage", "Present")
    study, series = revision.study_instance_uid, revision.series_instance_uid
    said = Reading(study, series, ReadingSource.HL7, "RIS", time.time(), {Label.ANY: False})
    node.ledger.enter_reading(said)

    page.get_by_role("button", name="Save", exact=True).click()

    expect(page.get_by_text("Somebody has labelled this series meanwhile")).to_be_visible()
    assert node.ledger.readings(study, series) == [said]
    expect(page.locator(".readings li").first).to_contain_text("RIS")
    choose(page, "Any hemorrhage", "Present")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_text("The label is entered.")).to_be_visible()
    assert [reading.reader for reading in node.ledger.readings(study, series)] == ["anna", "RIS"]


def test_what_contradicts_itself_is_not_entered(node: Node, come_in: Callable[..., Page]) -> None:
    before = node.ledger.readings(node.calm.study_instance_uid, node.calm.series_instance_uid)
    page = come_in(f"/series/{node.calm.id}", java_script_enabled=False)
    choose(page, "Any hemorrhage", "Absent")
    choose(page, "Subdural", "Present")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_text("nothing is entered")).to_be_visible()
    after = node.ledger.readings(node.calm.study_instance_uid, node.calm.series_instance_uid)
    assert after == before


def test_no_page_of_another_site_labels(node: Node) -> None:
    address = f"{node.site.address}/series/{node.calm.id}/label"
    form = {"any": "present"}
    assert ask(address, form, Origin="http://evil.example").status == 403
    assert ask(address, form, Origin=node.site.address).status == 303  # to the login
    cookie = cookie_of(node.site)
    assert ask(address, form, Cookie=cookie).status == 403
    said = ask(address, {"any": "owned"}, Cookie=cookie, Origin=node.site.address)
    assert said.headers["location"].endswith("said=contradiction")
    said = ask(address, {}, Cookie=cookie, Origin=node.site.address)
    assert said.headers["location"].endswith("said=unsaid")
    many = {f"field-{n}": "x" for n in range(30)}
    assert ask(address, many, Cookie=cookie, Origin=node.site.address).status == 400


# -- the figures -----------------------------------------------------------------------


def test_the_page_shows_the_figures_of_the_configured_model(
    node: Node, come_in: Callable[..., Page]
) -> None:
    page = come_in("/")
    page.get_by_role("link", name="Feedback").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Feedback")
    (known,) = [k for k in node.ledger.models() if k.model.version != "0"]
    for label, tally in node.ledger.tallies(known.id).items():
        assert counts(page, label) == [
            tally.true_positives,
            tally.false_positives,
            tally.false_negatives,
            tally.true_negatives,
        ]
    whole = node.ledger.tallies(known.id)[Label.ANY]
    with_finding = whole.true_positives + whole.false_negatives
    expect(page.locator("#sensitivity")).to_contain_text(
        f"{whole.true_positives} of {with_finding} series"
    )
    expect(page.get_by_text("Flagged series are labelled more often")).to_be_visible()
    shown = page.locator("#adjusted-sensitivity").inner_text()
    assert int(shown.split()[0]) < int(page.locator("#sensitivity .big").inner_text().split()[0])
    for what in ("Sensitivity", "Specificity", "Positive predictive value"):
        course = page.get_by_role(
            "img", name=re.compile(f"{what} of any hemorrhage along the year")
        )
        expect(course).to_be_visible()
    expect(page.get_by_text("dotted: prevalence")).to_be_visible()


def test_a_time_a_finding_and_another_model_can_be_chosen(
    node: Node, come_in: Callable[..., Page]
) -> None:
    page = come_in("/feedback")
    all_of_them = sum(counts(page, Label.ANY))
    follow(page, "90 days")
    assert 0 < sum(counts(page, Label.ANY)) < all_of_them
    follow(page, "Subdural")
    expect(page.get_by_role("heading", name="Subdural along the year")).to_be_visible()
    follow(page, re.compile("phantom 0"))
    assert counts(page, Label.ANY) == [0, 0, 0, 0]
    expect(page.get_by_text("not the model that is configured now")).to_be_visible()
    expect(page.locator("#sensitivity")).to_contain_text("no such series is labelled")
    expect(page.get_by_text("Nothing to draw")).to_be_visible()


def test_what_nobody_has_labelled_is_listed_flagged_first(
    node: Node, come_in: Callable[..., Page]
) -> None:
    page = come_in("/feedback#unlabelled")
    rows = page.locator(".worklist tbody tr")
    expect(rows.first).to_have_class("flagged")
    first = rows.first.get_attribute("id")
    page.get_by_role("link", name="Next page").click()
    expect(page.get_by_role("link", name="First page")).to_be_visible()
    assert rows.first.get_attribute("id") != first
    rows.first.get_by_role("link").click()
    expect(page.locator("#label")).to_be_visible()


def test_before_a_model_was_noted_the_page_says_why_it_is_empty(
    tmp_path: Path, visit: Visiting
) -> None:
    with running_page(Settings(home=tmp_path)) as site:
        page = visit(f"{site.address}/feedback").page
        expect(page.get_by_text("No figures yet.")).to_be_visible()
        expect(page.get_by_text("Nothing is left to label.")).to_be_visible()
        page.close()


@pytest.mark.parametrize(
    ("size", "scheme"), [({"width": 1400, "height": 900}, "dark"), (PHONE, "light")]
)
def test_axe_finds_nothing_to_complain_of(
    node: Node, come_in: Callable[..., Page], size: dict[str, int], scheme: str
) -> None:
    page = come_in("/", viewport=size, color_scheme=scheme, reduced_motion="reduce")
    for path in (f"/series/{node.flagged.id}", "/feedback"):
        page.goto(node.site.address + path)
        found = Axe().run(page, options={"runOnly": ["wcag2a", "wcag2aa", "wcag21aa", "wcag22aa"]})
        assert found.violations_count == 0, f"{path}: {found.generate_report()}"
        width = page.evaluate("document.documentElement.scrollWidth")
        assert width <= size["width"], path


# -- as JSON ---------------------------------------------------------------------------


def call(node: Node, path: str, body: object = None) -> tuple[int, Any]:
    content = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(
        node.site.address + path,
        content,
        {"Authorization": basic("anna", PASSWORD), "Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def test_the_same_can_be_asked_for_and_said_as_json(node: Node) -> None:
    status, document = call(node, "/api/feedback?span=365d")
    found = values.Feedback.model_validate(document)
    assert (status, found.days, len(found.models), len(found.course)) == (200, 365, 2, 53)
    assert found.model is not None
    assert found.model.is_current
    assert found.findings[Label.ANY].is_one_sided
    first = values.Unlabelled.model_validate(call(node, "/api/feedback/unlabelled?limit=3")[1])
    assert all(row.flagged for row in first.series)
    after = call(node, f"/api/feedback/unlabelled?limit=3&after={first.next}")[1]
    assert not {row["id"] for row in after["series"]} & {row.id for row in first.series}

    path = f"/api/series/{first.series[-1].id}/labels"
    said = {"findings": {"any": True, "subdural": None}}
    assert call(node, path, said) == (200, {"done": True, "said": "entered"})
    assert call(node, path, said) == (200, {"done": False, "said": "that was said before"})
    assert call(node, path, said | {"remark": "left"})[1]["done"] is True
    series = values.Series.model_validate(call(node, path.removesuffix("/labels"))[1])
    assert series.readings[0].findings == {Label.ANY: True}
    assert (series.readings[0].reader, series.readings[0].source) == ("anna", ReadingSource.PAGE)
    for wrong in (
        {"findings": {"any": False, "subdural": True}},
        {"findings": {"brain": True}},
        {"findings": {}, "patient": "Doe"},
        {"findings": {}, "remark": "x" * 501},
    ):
        assert call(node, path, wrong)[0] == 422
    assert call(node, "/api/series/999999/labels", said)[0] == 404


def test_who_says_the_same_again_after_another_one_has_the_last_word(node: Node) -> None:
    revision = node.ledger.unread(None, 1).revisions[0]
    path = f"/api/series/{revision.id}/labels"
    for findings in ({"any": True}, {"any": True}):
        assert call(node, path, {"findings": findings})[0] == 200
        study, series = revision.study_instance_uid, revision.series_instance_uid
        assert node.ledger.readings(study, series)[0].reader == "anna"
        said = Reading(study, series, ReadingSource.CSV, "ben", time.time(), {Label.ANY: False})
        node.ledger.enter_reading(said)
    assert [r.reader for r in node.ledger.readings(study, series)] == ["ben", "anna"] * 2


# -- drawing ---------------------------------------------------------------------------


def point(day: int, hits: int, of: int) -> values.Point:
    figures = as_json(Figures(Tally(2 * of, hits, hits, 0, of, of - hits)))
    return values.Point.model_validate(
        {
            "day": date(2026, 1, 1) + timedelta(days=day),
            **{name: figures[name] for name in RUNNING},
        }
    )


def test_a_course_has_gaps_where_too_few_were_labelled() -> None:
    counted = [(10, 20), (15, 20), (1, 2), (20, 20)]
    drawn = draw([point(7 * n, hits, of) for n, (hits, of) in enumerate(counted)])
    assert drawn.sensitivity[0].line == "0.0,100.0 333.3,50.0"
    assert len(drawn.sensitivity) == 2
    assert drawn.sensitivity[1].line == "833.3,0.0 1000.0,0.0"
    assert not draw([point(0, 1, 2)])
    assert not draw([])


def test_a_predictive_value_runs_along_too() -> None:
    drawn = draw([point(7 * n, 15, 20) for n in range(2)])
    assert drawn.ppv[0].line == "0.0,0.0 1000.0,0.0"  # all that were flagged
    assert drawn.prevalence[0].line == "0.0,100.0 1000.0,100.0"  # 20 of 40


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), max_size=60))
def test_whatever_the_figures_are_they_stay_in_the_drawing(counted: list[tuple[int, int]]) -> None:
    drawn = draw([point(7 * n, min(a, b), max(a, b)) for n, (a, b) in enumerate(counted)])
    for stretch in (*drawn.sensitivity, *drawn.specificity, *drawn.ppv):
        for xy in (*stretch.line.split(), *stretch.band.split()):
            x, y = map(float, xy.split(","))
            assert 0 <= x <= 1000
            assert 0 <= y <= 200
    assert all(0 <= at <= 100 for at, _ in drawn.months)
