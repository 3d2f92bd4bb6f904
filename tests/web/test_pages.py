"""The pages in Chromium, over series that went their way: seen, keyed through, and read out."""

import re
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from node.ledger import State
from tests.web.conftest import Series, Visit, follow
from tests.web.node import Site, Stations, running_page

pytestmark = pytest.mark.long

Visiting = Callable[..., Visit]

PHONE = {"width": 390, "height": 844}


def rows(page: Page) -> list[str]:
    """The ids of the rows of a worklist."""
    found = page.locator(".worklist tbody tr")
    return [row.get_attribute("id") or "" for row in found.all()]


def row(series: object) -> str:
    return f"series-{series.id}"  # type: ignore[attr-defined]


# -- the worklist ------------------------------------------------------------------


def test_the_worklist_begins_with_what_is_flagged_and_says_why_the_rest_is_not(
    site: Site, series: Series, visit: Visiting
) -> None:
    page = visit(site.address).page
    expect(page).to_have_title("Worklist · ichnode")
    assert rows(page)[0] == row(series.flagged)
    flagged = page.locator(f"#{row(series.flagged)}")
    expect(flagged).to_contain_text("Flagged")
    expect(flagged).to_contain_text(">99 %")
    expect(page.locator(f"#{row(series.skipped)}")).to_contain_text("contrast")
    expect(page.locator(f"#{row(series.failed)}")).to_contain_text("pixel-error")
    expect(page.get_by_text("Not for clinical use").first).to_be_visible()


def test_a_state_a_time_and_an_order_can_be_chosen(
    site: Site, series: Series, visit: Visiting
) -> None:
    page = visit(site.address).page
    follow(page, "Skipped")
    assert set(rows(page)) == {row(series.skipped), row(series.hostile)}
    follow(page, "All time")
    assert set(rows(page)) == {row(series.skipped), row(series.hostile)}
    follow(page, "All")
    follow(page, "Newest first")
    assert rows(page)[0] == row(series.flagged)
    follow(page, "Ready")
    expect(page.get_by_text("Nothing here")).to_be_visible()


def test_an_urgent_series_is_marked_with_its_rule_and_can_be_listed_alone(
    site: Site, series: Series, visit: Visiting
) -> None:
    page = visit(site.address).page
    expect(page.locator(f"#{row(series.flagged)} .priority")).to_have_text("priority: emergency")
    expect(page.locator(f"#{row(series.calm)} .priority")).to_have_count(0)
    follow(page, "emergency")
    assert rows(page) == [row(series.flagged)]
    follow(page, "Newest first")
    expect(page).to_have_url(re.compile("priority=emergency"))
    assert rows(page) == [row(series.flagged)]
    follow(page, "Any priority")
    assert row(series.calm) in rows(page)
    page.goto(f"{site.address}/series/{series.flagged.id}")
    expect(page.locator("#head .priority")).to_have_text("priority: emergency")


def test_a_uid_of_a_series_a_study_or_an_image_finds_the_series(
    site: Site, series: Series, stations: Stations, visit: Visiting
) -> None:
    page = visit(site.address).page
    image = stations.ledger.instances(series.calm)[3].sop_instance_uid
    for uid in (series.calm.series_instance_uid, series.calm.study_instance_uid, image):
        page.get_by_role("searchbox").fill(f" {uid} ")
        page.keyboard.press("Enter")
        expect(page).to_have_url(re.compile(f"/series/{series.calm.id}(\\?|$)"))
        page.goto(site.address)
    page.get_by_role("searchbox").fill("P-4711")
    page.keyboard.press("Enter")
    expect(page.get_by_text("Nothing was found")).to_be_visible()  # patients are hidden


# -- one series --------------------------------------------------------------------


def test_a_series_shows_its_slices_beside_their_probabilities(
    site: Site, series: Series, visit: Visiting
) -> None:
    page = visit(f"{site.address}/series/{series.flagged.id}").page
    expect(page.locator(".course")).to_have_count(6)
    expect(page.locator(".course").first).to_contain_text("present")
    picture = page.locator(".stage img")
    expect(picture).to_have_attribute("alt", re.compile("flagged: .*Any hemorrhage"))
    assert picture.evaluate("image => image.complete && image.naturalWidth") == 912
    expect(page.locator(".timeline li")).to_have_text(
        [re.compile(rf"^\s*{word}") for word in ("Receiving", "Ready", "Analyzing", "Reported")]
    )
    expect(page.get_by_role("row", name="pacs")).to_be_visible()


def test_slices_scroll_by_slider_keys_and_curves_and_all_of_them_follow(
    site: Site, series: Series, visit: Visiting
) -> None:
    page = visit(f"{site.address}/series/{series.flagged.id}?slice=5").page
    slider = page.get_by_role("slider")
    expect(slider).to_have_attribute("aria-valuetext", re.compile("^Slice 5 of"))
    page.keyboard.press("ArrowUp")
    expect(page.locator("#place")).to_contain_text("Slice 6 of")
    slider.focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator("#place")).to_contain_text("Slice 7 of")
    expect(page.locator(".stage img")).to_have_attribute("src", re.compile(r"/pictures/7\.png$"))
    page.locator("body").press("n")
    expect(page.locator(".stage img")).to_have_attribute("alt", re.compile("flagged"))
    strip = page.locator(".curve").nth(3)
    box = strip.bounding_box()
    assert box is not None
    page.mouse.click(box["x"] + box["width"] - 2, box["y"] + 10)
    count = int(slider.get_attribute("max") or 0)
    expect(page.locator("#place")).to_contain_text(f"Slice {count} of {count}")
    cursors = {c.get_attribute("x1") for c in page.locator(".curve .cursor").all()}
    assert len(cursors) == 1
    expect(page).to_have_url(re.compile(f"slice={count}$"))


def test_without_a_script_slices_are_links(site: Site, series: Series, visit: Visiting) -> None:
    page = visit(
        f"{site.address}/series/{series.flagged.id}?slice=5", java_script_enabled=False
    ).page
    page.get_by_role("link", name="One slice towards the head").click()
    expect(page.locator("#place")).to_contain_text("Slice 6 of")
    expect(page.locator(".stage img")).to_have_attribute("src", re.compile(r"/pictures/6\.png$"))


def test_a_series_whose_files_were_cleaned_up_says_so(
    site: Site, stations: Stations, series: Series, visit: Visiting
) -> None:
    calm = series.calm
    folder = stations.spool.results_folder(
        calm.study_instance_uid, calm.series_instance_uid, calm.number
    )
    away = folder.with_name("away")
    folder.rename(away)
    try:
        page = visit(f"{site.address}/series/{calm.id}").page
        expect(page.get_by_text("The results are not here any more")).to_be_visible()
    finally:
        away.rename(folder)


# -- buttons and what changes meanwhile ----------------------------------------------


def test_retry_begins_again_and_the_page_follows_by_itself(
    site: Site, stations: Stations, series: Series, visit: Visiting
) -> None:
    page = visit(f"{site.address}/series/{series.failed.id}").page
    page.get_by_role("button", name="Analyze again").click()
    expect(page.get_by_role("status").filter(has_text="Begun again")).to_be_visible()
    expect(page.locator("#head .chip")).to_have_text("Ready")
    assert stations.go_on(series.failed.id).state is State.FAILED
    expect(page.locator("#head .chip")).to_have_text("Failed")  # nobody has reloaded it
    audit = (site.settings.home / "audit.log").read_text()
    assert series.failed.study_instance_uid in audit


def test_a_new_series_shows_up_in_a_worklist_that_is_open_and_is_told_of(
    site: Site, stations: Stations, series: Series, visit: Visiting, tmp_path: Path
) -> None:
    page = visit(f"{site.address}/?order=newest").page
    focused = page.get_by_role("link", name="30 days")
    focused.focus()
    retried = stations.ledger.revision(series.skipped.id)
    assert retried is not None
    assert stations.ledger.retry(retried, [])
    chip = page.locator(f"#{row(series.skipped)} .chip")
    expect(chip).to_have_text("Receiving")
    expect(page.locator("#told")).to_contain_text("1 under way")
    expect(focused).to_be_focused()  # who reads with the keyboard stays where they were
    stations.go_on(series.skipped.id)
    expect(chip).to_have_text("Skipped")


def test_a_page_whose_node_is_gone_says_when_it_was_true(
    stations: Stations, series: Series, visit: Visiting
) -> None:
    with running_page(stations.settings) as passing:
        page = visit(passing.address, may_refuse=True).page
    expect(page.get_by_text("The node does not answer")).to_be_visible()


# -- the node ------------------------------------------------------------------------


def test_the_system_page_shows_the_node_and_sends_a_c_echo(site: Site, visit: Visiting) -> None:
    page = visit(f"{site.address}/system").page
    for what in ("Model", "Disk", "Queues", "Workers", "Destinations", "Sources"):
        expect(page.get_by_role("heading", name=what, exact=True)).to_be_visible()
    expect(page.get_by_text("Broker away")).to_be_visible()
    page.get_by_role("button", name="C-ECHO to pacs").click()
    expect(page.get_by_role("status").filter(has_text="does not answer")).to_be_visible()
    destinations = page.get_by_role("region", name="Destinations")
    expect(destinations.locator("li").filter(has_text="pacs")).to_contain_text("Silent")
    archive = destinations.locator("li").filter(has_text="archive")
    expect(archive).to_contain_text("https://127.0.0.1:1/dicom-web")
    page.get_by_role("button", name="QIDO-RS search to archive").click()
    expect(archive).to_contain_text("nothing listens there")


def test_the_system_page_shows_how_each_source_is(
    site: Site, stations: Stations, visit: Visiting
) -> None:
    stations.ledger.source_answers("pacs")
    stations.ledger.source_rests("archive", 2, stations.ledger.clock() + 60, "it is <b>away</b>")
    page = visit(f"{site.address}/system").page
    sources = page.get_by_role("region", name="Sources").locator("li")
    ill = sources.filter(has_text="archive")
    expect(ill).to_contain_text("Ill")
    expect(ill).to_contain_text("polled every 60 s")
    expect(ill).to_contain_text("it is <b>away</b>")
    well = sources.filter(has_text="pacs")
    expect(well).to_contain_text("Answers")
    expect(well).to_contain_text("asked by hand")


# -- everybody ------------------------------------------------------------------------

SHOWN = ("/", "/series/{flagged}", "/series/{failed}", "/drift", "/system", "/nowhere")


@pytest.mark.parametrize(
    ("size", "scheme"), [({"width": 1400, "height": 900}, "dark"), (PHONE, "light")]
)
def test_axe_finds_nothing_to_complain_of(
    site: Site, series: Series, visit: Visiting, size: dict[str, int], scheme: str
) -> None:
    page = visit(
        site.address, may_refuse=True, viewport=size, color_scheme=scheme, reduced_motion="reduce"
    ).page
    for path in SHOWN:
        page.goto(site.address + path.format(flagged=series.flagged.id, failed=series.failed.id))
        for summary in page.locator("summary").all():
            summary.click()
        found = Axe().run(page, options={"runOnly": ["wcag2a", "wcag2aa", "wcag21aa", "wcag22aa"]})
        assert found.violations_count == 0, f"{path}: {found.generate_report()}"


def test_on_a_phone_nothing_sticks_out_and_what_is_pressed_is_large(
    site: Site, series: Series, visit: Visiting
) -> None:
    for path in ("/", f"/series/{series.flagged.id}", "/drift", "/system"):
        page = visit(site.address + path, viewport=PHONE, has_touch=True).page
        page.wait_for_timeout(300)
        width = page.evaluate("document.documentElement.scrollWidth")
        assert width <= PHONE["width"], path
        for button in page.locator("button:visible").all():
            box = button.bounding_box()
            assert box is not None and box["height"] >= 44, button.inner_text()


def test_the_keyboard_reaches_a_series_from_the_top(
    site: Site, series: Series, visit: Visiting
) -> None:
    page = visit(site.address).page
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    for _ in range(30):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.closest('.worklist') !== null"):
            break
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(f"/series/{series.flagged.id}"))


def test_nothing_is_asked_of_anybody_else(site: Site, series: Series, visit: Visiting) -> None:
    seen = visit(f"{site.address}/series/{series.flagged.id}")
    seen.page.wait_for_timeout(500)
    for path in ("/", "/system"):
        seen.page.goto(site.address + path)
    assert {urlsplit(address).netloc for address in seen.asked} == {urlsplit(site.address).netloc}


def test_what_peers_write_is_text_and_nothing_else(
    site: Site, series: Series, visit: Visiting
) -> None:
    page = visit(site.address).page
    expect(page.locator(f"#{row(series.hostile)}")).to_contain_text("<script>")
    page.goto(f"{site.address}/series/{series.hostile.id}")
    expect(page.locator(".notice")).to_contain_text("<script>")
    expect(page).not_to_have_title("owned")


# -- patients -------------------------------------------------------------------------


def test_patients_are_shown_only_where_the_configuration_says_so(
    site: Site, stations: Stations, series: Series, visit: Visiting
) -> None:
    page = visit(site.address).page
    expect(page.locator("main")).not_to_contain_text("Roe")
    with running_page(stations.settings, show_patient=True) as telling:
        page = visit(telling.address).page
        expect(page.locator(f"#{row(series.flagged)}")).to_contain_text("Roe, Jane")
        expect(page.locator(f"#{row(series.hostile)}")).to_contain_text("<b>Bold</b>, <i>Ivan</i>")
        page.get_by_role("searchbox").fill("P-4711")
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", level=1)).to_have_text("Roe, Jane")
        assert "P-4711" not in page.url
        page.close()
