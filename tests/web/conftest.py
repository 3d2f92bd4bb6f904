"""A node with series of every kind, its page, and a browser before it."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pydicom
import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from ml.labels import Label
from ml.phantom import make_phantom, write_dicom
from node.ledger import Revision
from node.settings import Settings
from tests.viewer.ohif import CHROMIUM
from tests.web.node import Site, Stations, running_page

DESK: dict[str, Any] = {"viewport": {"width": 1400, "height": 900}, "color_scheme": "dark"}

HOSTILE = "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">"

PEER = {"ae_title": "A", "host": "127.0.0.1", "port": 1}
URL = "https://127.0.0.1:1/dicom-web"

ROUTES = [
    {"name": "everything", "to": ["pacs", "archive"]},
    {
        "name": "emergency-department-at-night",
        "to": ["archive"],
        "senders": ["CT_EMERGENCY_1", "CT_EMERGENCY_2"],
        "descriptions": [r"\bstroke\b", r"(poly)?trauma(tolog(y|ie))?"],
        "kinds": ["sr", "text", "sc"],
        "findings": ["subdural", "epidural"],
    },
]
"""The first of them is what would be without any; the second has much to say."""


@dataclass(frozen=True)
class Series:
    """Series of every kind, as they were after they had gone their way."""

    flagged: Revision
    calm: Revision
    skipped: Revision
    failed: Revision
    hostile: Revision


@pytest.fixture(scope="module")
def stations(tmp_path_factory: pytest.TempPathFactory) -> Stations:
    """The stations of a node with two destinations that are not there."""
    return Stations(
        Settings(
            home=tmp_path_factory.mktemp("node"),
            routes=ROUTES,
            sources=[{"name": "archive", **PEER, "poll_s": 60}, {"name": "pacs", **PEER}],
            destinations=[{"name": "pacs", **PEER}, {"name": "archive", "url": URL}],
            assemble={"grace_s": 0, "quiet_s": 0},
            priorities=[{"name": "emergency", "head_start_min": 60, "places": [r"\bED\b"]}],
        )
    )


@pytest.fixture(scope="module")
def series(stations: Stations, tmp_path_factory: pytest.TempPathFactory) -> Series:
    """What was sent to it."""

    def head(seed: int, *findings: Label, size: int = 64) -> list[Path]:
        phantom = make_phantom(seed, size=size, findings=findings)
        return write_dicom(phantom, tmp_path_factory.mktemp("head"))

    def contrast(image: pydicom.Dataset) -> None:
        image.ContrastBolusAgent = "Iohexol"

    def cut_short(image: pydicom.Dataset) -> None:
        image.PixelData = image.PixelData[:100]

    def hostile(image: pydicom.Dataset) -> None:
        image.ContrastBolusAgent = HOSTILE[:64]
        image.PatientName = "<b>Bold</b>^<i>Ivan</i>"

    def named(image: pydicom.Dataset) -> None:
        image.PatientName, image.PatientID = "Roe^Jane", "P-4711"
        image.AccessionNumber, image.RequestingService = "A-42", "ED"

    return Series(
        hostile=stations.send(head(4), hostile),
        skipped=stations.send(head(4), contrast),
        calm=stations.send(head(3, size=128)),
        failed=stations.send(head(4), cut_short),
        flagged=stations.send(head(8, Label.INTRAPARENCHYMAL, size=128), named),
    )


@pytest.fixture(scope="module")
def site(stations: Stations, series: Series) -> Iterator[Site]:
    """The page of that node."""
    with running_page(stations.settings) as running:
        yield running


@pytest.fixture(scope="module")  # a process has room for one Playwright at a time
def chromium() -> Iterator[Browser]:
    """A browser that reaches this machine alone."""
    if CHROMIUM is None:
        pytest.skip("not installed: chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=["--no-sandbox", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"],
        )
        expect.set_options(timeout=10_000)
        yield browser
        browser.close()


@dataclass
class Visit:
    """A page in the browser, and what it complains of."""

    page: Page
    errors: list[str] = field(default_factory=list)
    asked: set[str] = field(default_factory=set)
    """Addresses that were asked for."""


def follow(page: Page, name: str | re.Pattern[str]) -> None:
    """Follow a link that chooses what a list shows, and wait until all of that is there."""
    link = page.get_by_role("link", name=name, exact=True)
    link.click()
    expect(link).to_have_attribute("aria-current", "true")
    page.wait_for_load_state()


@pytest.fixture
def visit(chromium: Browser) -> Iterator[Callable[..., Visit]]:
    """Open an address; at the end no page must have complained of anything."""
    visits = []

    def go(address: str, *, may_refuse: bool = False, **context: Any) -> Visit:
        page = chromium.new_context(**(DESK | context))
        visit = Visit(page.new_page())
        visit.page.on("pageerror", lambda error: visit.errors.append(str(error)))
        visit.page.on(
            "console",
            lambda line: (
                visit.errors.append(line.text)
                if line.type in ("error", "warning") and not may_refuse
                else None
            ),
        )
        visit.page.on("request", lambda request: visit.asked.add(request.url))
        visit.page.goto(address)
        visits.append(visit)
        return visit

    yield go
    for visit in visits:
        visit.page.context.close()
    assert [error for visit in visits for error in visit.errors] == []
