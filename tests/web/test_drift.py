"""The page of what has changed: read in Chromium as somebody would who runs a node."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from ml.labels import LABELS
from ml.phantom import make_phantom, write_dicom
from node.analyze import Analyzer
from node.drift import Level, Of
from node.drift.look import Window, windows
from node.ledger import Ledger, Revision
from node.settings import Settings
from node.shadow import ShadowWorker, settings_of_shadow
from node.vitals import Background
from node.web import values
from node.web.desk import Desk
from tests import drift as invented
from tests.models import write_bundle
from tests.web.conftest import HOSTILE, Visit
from tests.web.node import Site, Stations, running_page
from tests.web.test_door import ask

pytestmark = pytest.mark.long

Visiting = Callable[..., Visit]

PHONE = {"width": 390, "height": 844}

POINT = {"name": "balanced", "chosen_on": "-", "thresholds": {label.value: 0.5 for label in LABELS}}


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("bundles")
    write_bundle(folder / "first", name="in-use", operating_points=[POINT])
    write_bundle(folder / "second", name="candidate", temperature=2.0, operating_points=[POINT])
    return folder / "first", folder / "second"


def settings_in(home: Path, bundles: tuple[Path, Path], **more: Any) -> Settings:
    return Settings(
        home=home,
        assemble={"grace_s": 0, "quiet_s": 0},
        analyze={"runtime": "torch"},
        model={"bundle": str(bundles[0])},
        **{"shadow": {"bundle": str(bundles[1])}, "drift": {"reference_days": 30}, **more},
    )


def days_of(settings: Settings) -> Window:
    reference, recent = windows(settings.drift, time.time())
    return Window(reference.first, recent.last)


def fill(
    ledger: Ledger,
    settings: Settings,
    bundles: tuple[Path, Path],
    site: Any,
    each: int = 9,
    point: str = "balanced",
) -> None:
    days = days_of(settings)
    both = invented.judge(bundles[0], point), invented.judge(bundles[1], point)
    invented.fill(ledger, range(days.first, days.last + 1), each, site, judges=both)


@pytest.fixture(scope="module")
def second(
    bundles: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Settings, Revision]:
    """A site with a new scanner for two weeks, and a series that really went its way."""
    settings = settings_in(tmp_path_factory.mktemp("home"), bundles)
    stations = Stations(settings)
    recent = windows(settings.drift, time.time())[1]
    changed = invented.changed(
        invented.Site(), recent.first, scanner=HOSTILE[:60], soft_hu=35.0, kvp=80
    )
    fill(stations.ledger, settings, bundles, changed)
    revision = stations.send(write_dicom(make_phantom(3, size=64), settings.home / "head"))
    worker = ShadowWorker(
        settings, stations.ledger, stations.spool, Analyzer.load(settings_of_shadow(settings))
    )
    for shadow_id in stations.ledger.due_shadows():
        worker.judge(shadow_id)
    stations.ledger.close()
    return settings, revision


@pytest.fixture(scope="module")
def site(second: tuple[Settings, Revision]) -> Iterator[Site]:
    with running_page(second[0]) as running:
        yield running


def told(site: Site) -> values.Drift:
    answer = ask(f"{site.address}/api/drift")
    assert answer.status == 200, answer.body
    return values.Drift.model_validate(json.loads(answer.body))


def desk_of(settings: Settings) -> Desk:
    return Desk(settings, Background(settings))


def test_the_page_begins_with_what_has_changed_and_names_it(site: Site, visit: Visiting) -> None:
    page = visit(f"{site.address}/system").page
    page.get_by_role("link", name="Drift").click()
    expect(page).to_have_title("Drift · ichnode")
    notice = page.locator(".notice")
    expect(notice.get_by_role("heading")).to_have_text("3 of 24 traits have changed much")
    for words in ("Soft tissue, mean", "Tube voltage", "Manufacturer and model"):
        expect(notice).to_contain_text(words)
    row = page.get_by_role("row").filter(has_text="Tube voltage")
    expect(row).to_contain_text("Large")
    expect(row).to_contain_text("80")
    expect(page.get_by_role("row").filter(has_text="Slice thickness")).to_contain_text("Stable")
    expect(page).not_to_have_title("owned")
    expect(page.locator(".words").filter(has_text="<script>")).to_have_count(1)


def test_both_models_are_compared_and_series_that_differ_are_a_click_away(
    site: Site, visit: Visiting
) -> None:
    page = visit(f"{site.address}/drift").page
    expect(page.get_by_role("heading", name="Shadow never sent", exact=True)).to_be_visible()
    expect(page.locator(".models")).to_contain_text("in-use 0.0.1")
    expect(page.locator(".models")).to_contain_text("candidate 0.0.1")
    row = page.locator(".agreement tbody tr").filter(has_text="Anything flagged")
    expect(row.get_by_role("cell")).to_have_count(7)
    page.get_by_role("link", name="Series ").first.click()
    expect(page.get_by_role("heading", name="Shadow never sent")).to_be_visible()


def test_a_series_shows_what_the_shadow_says_and_that_it_is_never_sent(
    site: Site, second: tuple[Settings, Revision], visit: Visiting
) -> None:
    revision = second[1]
    page = visit(f"{site.address}/series/{revision.id}").page
    shadow = page.locator("#second")
    expect(shadow).to_contain_text("never sent")
    expect(shadow).to_contain_text("candidate 0.0.1")
    expect(shadow.locator("tbody tr")).to_have_count(2)
    found = values.Series.model_validate(
        json.loads(ask(f"{site.address}/api/series/{revision.id}").body)
    )
    assert found.shadow is not None and found.shadow.model is not None
    assert found.shadow.model.name == "candidate"
    assert found.shadow.compared_with == found.findings != found.shadow.findings


def test_the_same_stands_in_the_json(site: Site) -> None:
    drift = told(site)
    levels = {(trait.of, trait.name): trait.level for trait in drift.traits}
    assert {key for key, level in levels.items() if level is Level.LARGE} == {
        (Of.INPUT, "soft_tissue_hu"),
        (Of.INPUT, "kvp"),
        (Of.INPUT, "scanner"),
    }
    assert drift.shadow is not None
    whole, any_, *_ = drift.shadow.agreements
    assert whole.finding is None and sum(whole.counts.values()) == drift.shadow.judged
    assert any_.kappa is not None and any_.kappa_low is not None and any_.kappa > 0.9
    assert any_.rank_correlation is not None and 0 < any_.rank_correlation < 1
    soft = next(trait for trait in drift.traits if trait.name == "soft_tissue_hu")
    assert soft.course[-1].mean > soft.course[0].mean + 2
    assert sum(item.recent for item in soft.bins) == drift.recent.series
    assert [item.id for item in drift.shadow.apart], "some differ"


def test_without_a_change_the_page_says_so(
    bundles: tuple[Path, Path], tmp_path: Path, visit: Visiting
) -> None:
    settings = settings_in(tmp_path, bundles, shadow={})
    ledger = desk_of(settings).ledger
    fill(ledger, settings, bundles, invented.Site())
    with running_page(settings) as calm:
        page = visit(f"{calm.address}/drift").page
        expect(page.locator(".notice")).to_contain_text("No change that is larger")
        expect(page.get_by_text("[shadow] bundle")).to_be_visible()
        expect(page.get_by_role("heading", name="Shadow")).to_have_count(0)
        page.close()
    ledger.close()


def test_too_few_series_are_said_to_be_too_few(
    bundles: tuple[Path, Path], tmp_path: Path, visit: Visiting
) -> None:
    settings = settings_in(tmp_path, bundles)
    ledger = desk_of(settings).ledger
    fill(ledger, settings, bundles, invented.Site(), each=1)
    with running_page(settings) as small:
        page = visit(f"{small.address}/drift").page
        expect(page.locator(".notice")).to_contain_text("Too few series to say")
        assert {trait.level for trait in told(small).traits} == {Level.TOO_FEW}
        metrics = ask(f"{small.address}/metrics").body.decode()
        page.close()
    assert "ichnode_drift_psi{" not in metrics
    assert 'ichnode_shadow_series{state="judged"} 14.0' in metrics
    ledger.close()


def test_a_shadow_that_cannot_be_read_is_said_on_the_page(
    bundles: tuple[Path, Path], tmp_path: Path, visit: Visiting
) -> None:
    settings = settings_in(tmp_path, bundles, shadow={"bundle": str(tmp_path / "nowhere")})
    with running_page(settings) as broken:
        page = visit(f"{broken.address}/drift").page
        expect(page.locator("main")).to_contain_text("no model bundle")
        page.close()


def test_models_that_flag_by_nothing_are_not_said_to_agree(tmp_path: Path) -> None:
    for name in ("first", "second"):
        write_bundle(tmp_path / name, name=name, operating_points=[])
    both = tmp_path / "first", tmp_path / "second"
    settings = settings_in(tmp_path, both)
    desk = desk_of(settings)
    fill(desk.ledger, settings, both, invented.Site(), point="")
    shadow = desk.drift().shadow
    desk.ledger.close()
    assert shadow is not None and shadow.judged > 0
    assert shadow.course == (), "whether anything is flagged"
    assert all(item.agreed is item.kappa is None and item.apart != 0 for item in shadow.agreements)


@pytest.mark.parametrize(
    ("size", "scheme"), [({"width": 1400, "height": 900}, "dark"), (PHONE, "light")]
)
def test_axe_finds_nothing_to_complain_of_and_nothing_sticks_out(
    site: Site,
    second: tuple[Settings, Revision],
    visit: Visiting,
    size: dict[str, int],
    scheme: str,
) -> None:
    page = visit(
        f"{site.address}/drift", viewport=size, color_scheme=scheme, reduced_motion="reduce"
    ).page
    for path in ("/drift", f"/series/{second[1].id}"):
        page.goto(site.address + path)
        for summary in page.locator("summary").all():
            summary.click()
        found = Axe().run(page, options={"runOnly": ["wcag2a", "wcag2aa", "wcag21aa", "wcag22aa"]})
        assert found.violations_count == 0, f"{path}: {found.generate_report()}"
        assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]


def test_the_page_asks_as_much_of_the_ledger_with_many_series_as_with_few(
    bundles: tuple[Path, Path], tmp_path: Path
) -> None:
    asked = {}
    for each in (1, 30):
        settings = settings_in(tmp_path / str(each), bundles, drift={"reference_days": 10})
        settings.home.mkdir()
        desk = desk_of(settings)
        fill(desk.ledger, settings, bundles, invented.Site(), each)
        for look in ("first", "again"):
            asked[each, look] = _statements(desk)
        desk.ledger.close()
    assert asked[1, "first"] == asked[30, "first"]
    assert asked[1, "again"] == asked[30, "again"] < asked[1, "first"], "the reference"


def _statements(desk: Desk) -> int:
    count = 0

    def note(*_: Any) -> None:
        nonlocal count
        count += 1

    engine = desk.ledger.engine
    sa.event.listen(engine, "before_cursor_execute", note)
    desk.drift()
    sa.event.remove(engine, "before_cursor_execute", note)
    return count
