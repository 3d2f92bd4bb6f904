"""Radiologists say on the page what is on a series, and see how often the model said the same."""

import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
from playwright.sync_api import Page

from ml.identity import identify
from ml.labels import LABELS, Label
from ml.phantom import make_phantom, write_dicom
from node.ledger import (
    DAY_S,
    JudgingModel,
    Ledger,
    Reading,
    Revision,
    Source,
    open_ledger,
)
from node.settings import Settings
from node.web.passwords import hash_password
from tests.conftest import Clock
from tests.node.test_feedback_ledger import judge
from tests.web.conftest import Visit
from tests.web.node import Site, Stations, running_page

pytestmark = pytest.mark.long

Visiting = Callable[..., Visit]

PHONE = {"width": 390, "height": 844}
PASSWORD = "a good long password"


@dataclass(frozen=True)
class Node:
    """A node that has judged for a year, and whose readers have labelled some of it."""

    site: Site
    ledger: Ledger
    flagged: Revision
    calm: Revision


def judged_for_a_year(ledger: Ledger, model: JudgingModel) -> None:
    """Of what was flagged most was labelled, of the rest a tenth."""
    chance, clock = random.Random(11), Clock()
    ledger.clock = clock
    for n in range(420):
        clock.now = time.time() - (420 - n) * 0.85 * DAY_S
        bleeds = chance.random() < 0.35
        flags = chance.random() < (0.9 if bleeds else 0.12)
        kind = chance.choice(LABELS[:5])
        series = f"1.2.{n}"
        judge(ledger, series, *([Label.ANY, kind] if flags else []), model=model, study=f"1.{n}")
        if chance.random() < (0.8 if flags else 0.3):
            findings = {Label.ANY: True, kind: True} if bleeds else dict.fromkeys(LABELS, False)
            ledger.enter_reading(Reading(f"1.{n}", series, Source.CSV, "anna", clock.now, findings))
    ledger.clock = time.time


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


def test_look(node: Node, come_in: Callable[..., Page]) -> None:
    page = come_in("/feedback")
    page.screenshot(path="/tmp/fb-feedback.png", full_page=True)
    page.goto(f"{node.site.address}/series/{node.flagged.id}")
    page.wait_for_timeout(700)
    page.screenshot(path="/tmp/fb-series.png", full_page=True)
