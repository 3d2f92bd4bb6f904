"""Pictures of the web page for the docs: a node whose series are phantoms with made-up names.

``python -m tests.web.gallery FOLDER``
"""

import sys
import tempfile
import time
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import pydicom
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright
from pydicom.uid import generate_uid

from ml.labels import Label
from ml.phantom import make_phantom, write_dicom
from node.broker import free_port
from node.drift.look import windows
from node.ledger import open_ledger
from node.settings import Settings
from tests.drift import Site, changed, fill, judge
from tests.e2e.peers import ENDS, running_node, running_storescp
from tests.models import write_bundle
from tests.viewer.ohif import CHROMIUM
from tests.web.node import running_page
from tests.web.year import judged_for_a_year

LARGEST = 1_000_000
"""Bytes of all pictures together."""

DESK: dict[str, Any] = {"viewport": {"width": 1440, "height": 1000}, "color_scheme": "dark"}
PHONE: dict[str, Any] = {"viewport": {"width": 390, "height": 844}, "color_scheme": "dark"}


def _contrast(image: pydicom.Dataset) -> None:
    image.ContrastBolusAgent = "Iohexol"


def _cut_short(image: pydicom.Dataset) -> None:
    image.PixelData = image.PixelData[:100]


def _as_it_is(_: pydicom.Dataset) -> None:
    """Nothing is changed."""


SENT: tuple[tuple[str, int, int, tuple[Label, ...], Callable[[pydicom.Dataset], None]], ...] = (
    ("Lindqvist^Elsa", 3, 256, (), _as_it_is),
    ("Moreau^Hugo", 4, 64, (), _contrast),
    ("Okafor^Chidi", 5, 256, (Label.SUBDURAL,), _as_it_is),
    ("Tanaka^Yui", 6, 64, (), _cut_short),
    ("Almeida^Rui", 21, 256, (), _as_it_is),
    ("Novak^Jana", 8, 512, (Label.INTRAPARENCHYMAL,), _as_it_is),
    ("Haddad^Leila", 13, 256, (Label.EPIDURAL,), _as_it_is),
)
"""Name, seed, size, findings, and what is done to the images."""


def _series(number: int, folder: Path) -> list[Path]:
    name, seed, size, findings, change = SENT[number]
    files = write_dicom(make_phantom(seed, size=size, findings=findings), folder / str(number))
    study, series = generate_uid(), generate_uid()
    for file in files:
        image = pydicom.dcmread(file)
        image.PatientName, image.PatientID = name, f"PH-{1040 + number}"
        image.AccessionNumber = f"A{220 + number}"
        image.StudyInstanceUID, image.SeriesInstanceUID = study, series
        image.SOPInstanceUID = generate_uid()
        image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
        change(image)
        image.save_as(file)
    return files


def _keep(page: Page, path: Path, part: str | None = None) -> None:
    """Keep a picture of what is seen of a page, or of a part of it, as a PNG of 256 colours."""
    page.wait_for_timeout(1000)
    shown = page if part is None else page.locator(part)
    with Image.open(BytesIO(shown.screenshot())) as image:
        few = image.convert("RGB").quantize(
            256, Image.Quantize.MAXCOVERAGE, kmeans=2, dither=Image.Dither.NONE
        )  # keeps greys grey and rare colours alive
        few.save(path, optimize=True)


def _label(browser: Browser, address: str, id: int, folder: Path) -> None:
    """What the pages look like where radiologists say what is on a series."""
    page = browser.new_context(**DESK).new_page()
    page.goto(f"{address}/series/{id}")
    for finding, answer in (("Any hemorrhage", "Present"), ("Intraparenchymal", "Present")):
        group = page.get_by_role("group", name=finding)
        group.get_by_text(answer, exact=True).click()
    page.get_by_role("button", name="Save", exact=True).click()
    page.locator("#label").scroll_into_view_if_needed()
    _keep(page, folder / "label.png")
    page.goto(f"{address}/feedback")
    _keep(page, folder / "feedback.png")
    page.context.close()


def _shoot(browser: Browser, address: str, id: int, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, path, context in (
        ("worklist", "/", DESK),
        ("series", f"/series/{id}", DESK),
        ("light", f"/series/{id}", DESK | {"color_scheme": "light"}),
        ("phone-worklist", "/", PHONE),
        ("phone-series", f"/series/{id}", PHONE),
        ("system", "/system", DESK),
    ):
        page = browser.new_context(**context).new_page()
        page.goto(address + path)
        if name == "system":
            page.get_by_role("button", name="C-ECHO to pacs").click()
            page.wait_for_selector(".chip.delivered")
        _keep(page, folder / f"{name}.png")
        page.context.close()


def _drift(browser: Browser, home: Path, folder: Path) -> None:
    """What the page looks like two weeks after another scanner came; a second model judges too."""
    write_bundle(home / "next", name="next", version="1.1.0")
    settings = Settings(home=home / "site", shadow={"bundle": str(home / "next")})
    judges = judge(settings.model.bundle), judge(home / "next")
    reference, recent = windows(settings.drift, time.time())
    site = changed(Site(), recent.first, scanner="Scanner Works Ring 2", soft_hu=33.5)
    ledger = open_ledger(settings.ledger_url)
    fill(ledger, range(reference.first, recent.last + 1), 12, site, judges=judges, apart=1.0)
    ledger.close()
    with running_page(settings) as running:
        page = browser.new_context(**DESK).new_page()
        page.goto(f"{running.address}/drift")
        _keep(page, folder / "shadow.png")
        _keep(page, folder / "drift.png", "section:has(#input)")
        page.context.close()


def main(folder: Path) -> None:
    """Run a node, send the phantoms to it, and look at it."""
    with tempfile.TemporaryDirectory() as temporary:
        home, port = Path(temporary), free_port()
        with (
            running_storescp(home / "pacs") as pacs,
            running_node(
                home,
                [("pacs", "PACS", pacs.port)],
                f"[web]\nport = {port}\nshow_patient = true\n",
            ) as node,
            sync_playwright() as playwright,
        ):
            for number in range(len(SENT)):
                files = _series(number, home)
                node.send(files, "-aet", "CT_ER_1")
                uid = str(pydicom.dcmread(files[0]).SeriesInstanceUID)
                revision = node.wait_for(uid, *ENDS, timeout_s=180)
                if Label.INTRAPARENCHYMAL in SENT[number][3]:
                    shown = revision.id
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
            _shoot(browser, f"http://127.0.0.1:{port}", shown, folder)
            browser.close()
            settings = node.settings
        ledger = open_ledger(settings.ledger_url)
        judged_for_a_year(ledger, ledger.models()[-1].model)
        ledger.close()
        with running_page(settings) as site, sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
            _label(browser, site.address, shown, folder)
            _drift(browser, home, folder)
            browser.close()
    kept = sum(path.stat().st_size for path in folder.glob("*.png"))
    assert kept < LARGEST, f"{kept} bytes are too many"


if __name__ == "__main__":
    main(Path(sys.argv[1]))
