"""OHIF as a site of its own before an Orthanc's DICOMweb, looked at with Chromium."""

import re
import shutil
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
from PIL import Image
from playwright.sync_api import ConsoleMessage, Locator, Page, expect, sync_playwright

from tests.e2e.peers import DICOMWEB

T = TypeVar("T")

OHIF = Path(__file__).resolve().parents[2] / ".viewer" / "ohif" / "dist"
"""Where `get-ohif` beside this file puts it."""

CHROMIUM = shutil.which("chromium")
SIZE = {"width": 1400, "height": 900}
PATIENCE_S = 60

REOPENED = 3
DRAWN_S = 15.0
"""How often a report is opened until its measurements are drawn, each within so many seconds."""

_CONFIG = """window.config = {
  routerBasename: '/', extensions: [], modes: [], customizationService: {},
  showStudyList: true, maxNumberOfWebWorkers: 1, showWarningMessageForCrossOrigin: false,
  showCPUFallbackMessage: false, showLoadingIndicator: true, strictZSpacingForVolumeViewport: true,
  defaultDataSourceName: 'dicomweb', investigationalUseDialog: {option: 'never'},
  dataSources: [{
    namespace: '@ohif/extension-default.dataSourcesModule.dicomweb', sourceName: 'dicomweb',
    configuration: {
      friendlyName: 'Orthanc', name: 'Orthanc',
      qidoRoot: '/dicom-web', wadoRoot: '/dicom-web', wadoUriRoot: '/dicom-web',
      qidoSupportsIncludeField: false, supportsReject: false, supportsFuzzyMatching: false,
      supportsWildcard: true, imageRendering: 'wadors', thumbnailRendering: 'wadors',
      enableStudyLazyLoad: true, dicomUploadEnabled: false, bulkDataURI: {enabled: true},
    },
  }],
};
"""

_NO_TOUR = "localStorage.setItem('shownTours', JSON.stringify(['basicViewerTour']))"
"""OHIF then takes the visitor for one who has been shown around."""


def missing() -> list[str]:
    """What a look through OHIF needs and is not there."""
    found = {
        "chromium": CHROMIUM is not None,
        "OHIF (tests/viewer/get-ohif)": (OHIF / "index.html").is_file(),
        "orthanc-dicomweb": DICOMWEB.is_file(),
    }
    return [name for name, is_there in found.items() if not is_there]


class _Site(SimpleHTTPRequestHandler):
    """OHIF's files, and /dicom-web of an Orthanc on the same origin."""

    protocol_version = "HTTP/1.1"

    def __init__(self, *args: Any, archive: str, **more: Any) -> None:
        self.archive = archive
        super().__init__(*args, directory=str(OHIF), **more)

    def do_GET(self) -> None:
        if self.path.startswith("/dicom-web"):
            self._forward()
        elif self.path.startswith("/app-config.js"):
            self._answer(200, "application/javascript", _CONFIG.encode())
        else:
            if not Path(self.translate_path(self.path)).is_file():
                self.path = "/index.html"  # a page of the application
            super().do_GET()

    def end_headers(self) -> None:
        # Files are named by their content: the browser need not ask for them again.
        is_bundle = not self.path.startswith(("/dicom-web", "/app-config.js", "/index.html"))
        self.send_header("Cache-Control", "max-age=3600" if is_bundle else "no-store")
        super().end_headers()

    def _forward(self) -> None:
        request = urllib.request.Request(self.archive + self.path)
        for name in ("Accept", "Host"):
            if name in self.headers:
                request.add_header(name, self.headers[name])
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
                self._answer(answer.status, answer.headers["Content-Type"], answer.read())
        except urllib.error.HTTPError as error:
            self._answer(error.code, "text/plain", error.read())

    def _answer(self, status: int, content_type: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing of each request."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: Any) -> None:
        """A browser that goes away leaves requests open: say nothing of it."""


@contextmanager
def site(archive_port: int) -> Iterator[str]:
    """Serve OHIF before an Orthanc; the address of the site."""
    handler = partial(_Site, archive=f"http://127.0.0.1:{archive_port}")
    server = _Server(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


class Place(NamedTuple):
    """Where in a stack a viewport is, as it says in its corner: `I:13 (17/29)`."""

    instance: int
    """Instance Number."""
    index: int
    """From 1."""
    count: int


@dataclass
class Viewer:
    """OHIF in a browser."""

    page: Page
    address: str
    said: list[str] = field(default_factory=list)
    """Warnings and errors on the console, and requests that failed."""
    errors: list[str] = field(default_factory=list)
    """Those of them that are errors."""
    study: str | None = None
    """The one that is open."""

    def open_list(self) -> list[list[str]]:
        """Open the list of studies: its rows, cell by cell."""
        self.page.goto(f"{self.address}/")
        self.study = None
        rows = self.page.locator("tbody tr[aria-selected]")
        expect(rows.first).to_be_visible()
        return [row.locator("td").all_inner_texts() for row in rows.all()]

    def open_study(self, study: str, *, afresh: bool = False) -> None:
        """Open a study, where it is not open, and wait until its first series is shown."""
        if study == self.study and not afresh:
            return
        self.page.goto(f"{self.address}/viewer?StudyInstanceUIDs={study}")
        expect(self.thumbnails.first).to_be_visible()
        self.place()
        self.study = study

    @property
    def thumbnails(self) -> Locator:
        """The series of the study, as the browser on the left shows them."""
        return self.page.locator("[data-cy^='study-browser-thumbnail']")

    def series(self) -> list[tuple[str, str]]:
        """Modality and description of every series in the browser on the left."""
        pairs = []
        for thumbnail in self.thumbnails.all():
            labels = thumbnail.locator("[data-cy^='series-']")
            pairs.append((labels.nth(0).inner_text(), labels.nth(1).text_content() or ""))
        return sorted((a, b) if a.isupper() and len(a) <= 3 else (b, a) for a, b in pairs)

    def show(self, description: str, patience_s: float = PATIENCE_S) -> None:
        """Open a series in the viewport by what its description begins with.

        A structured report wants a study that was just opened: OHIF does not go to
        the slice of a second one.
        """
        thumbnail = self.thumbnails.filter(has_text=description).first
        thumbnail.scroll_into_view_if_needed()
        thumbnail.dblclick()
        title = self.page.get_by_title("Series description").filter(has_text=description)
        report = self.viewport.filter(has_text=re.compile(r"^1\.")).filter(
            has_not=self.page.locator("[data-cy^='viewport-overlay']")
        )
        shown = title.or_(self.arrows).or_(report).first
        expect(shown).to_be_visible(timeout=patience_s * 1000)

    def open_report(self, study: str, description: str) -> None:
        """Open a structured report of measurements in a study that is opened for it.

        Once in some hundred times, on a busy machine, OHIF goes to the slice and draws
        nothing there, however long one waits; opened again it does.
        """
        for _ in range(REOPENED):
            self.open_study(study, afresh=True)
            self.show(description)
            self.decline()
            if self.until(self.written, bool, patience_s=DRAWN_S):
                return

    @property
    def arrows(self) -> Locator:
        """What one steps through the measurements of a structured report with."""
        return self.page.locator("[data-cy='viewport-action-arrows-right']")

    def decline(self) -> None:
        """Say no to the question whether measurements are to be tracked."""
        no = self.page.locator("[data-cy='no-hydrate-btn']")
        no.click()
        expect(no).to_have_count(0)

    @property
    def viewport(self) -> Locator:
        """The part of the page that shows a series."""
        return self.page.locator("[data-cy='viewport-pane']").first

    def text(self) -> str:
        """What the viewport says in words, such as a report."""
        return self.viewport.inner_text()

    def place(self) -> Place:
        """Where in its stack the viewport is."""
        corner = self.page.locator("[data-cy='viewport-overlay-bottom-right']").first
        pattern = re.compile(r"I:\s*(\d+)\s*\((\d+)/(\d+)\)")
        expect(corner).to_have_text(pattern)
        found = pattern.search(corner.inner_text().replace("\n", ""))
        assert found is not None
        return Place(*map(int, found.groups()))

    def written(self) -> list[str]:
        """What is written beside the regions of a structured report."""
        return [text for text in self.page.locator("svg text").all_text_contents() if text]

    def step(self) -> None:
        """Go to the next measurement of a structured report."""
        self.arrows.click()

    def scroll(self, images: int) -> Place:
        """Scroll the stack towards its end."""
        self.viewport.hover()
        for _ in range(images):
            was = self.place()
            self.page.mouse.wheel(0, 100)
            self.until(self.place, lambda now, was=was: now != was)
        return self.place()

    def picture(self) -> np.ndarray:
        """What the viewport shows: uint8, shape (rows, columns, 3)."""
        box = self.viewport.bounding_box()
        assert box is not None
        with Image.open(BytesIO(self.page.screenshot(clip=box))) as image:
            return np.asarray(image.convert("RGB"))

    def until(
        self, look: Callable[[], T], is_right: Callable[[T], bool], patience_s: float = PATIENCE_S
    ) -> T:
        """Look until what is seen is right; after some time, what was seen last."""
        deadline = time.monotonic() + patience_s
        while not is_right(seen := look()) and time.monotonic() < deadline:
            self.page.wait_for_timeout(100)  # the browser needs its turns to draw
        return seen

    def settled(self, is_right: Callable[[np.ndarray], bool] = lambda _: True) -> np.ndarray:
        """The picture once it is right and no longer changes."""
        before = self.picture()

        def is_at_rest(after: np.ndarray) -> bool:
            nonlocal before
            same = np.array_equal(before, after)
            before = after
            return same and is_right(after)

        return self.until(self.picture, is_at_rest)

    def screenshot(self, path: Path) -> None:
        """Keep the whole page as a PNG of 256 colours."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with Image.open(BytesIO(self.page.screenshot())) as image:
            few = image.convert("RGB").quantize(
                256, Image.Quantize.MAXCOVERAGE, kmeans=2, dither=Image.Dither.NONE
            )  # keeps greys grey and rare colours alive
            few.save(path, optimize=True)

    def _hear(self, line: ConsoleMessage) -> None:
        if line.type in {"warning", "error"}:
            self._complain(line.text, is_error=line.type == "error")

    def _complain(self, text: str, *, is_error: bool = True) -> None:
        self.said.append(text)
        if is_error:
            self.errors.append(text)


@contextmanager
def browser(address: str) -> Iterator[Viewer]:
    """Open a browser on the site; it reaches nothing else."""
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=[
                "--no-sandbox",
                "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
                "--use-gl=angle",
                "--use-angle=swiftshader",
                "--enable-unsafe-swiftshader",
            ],
        )
        try:
            page = chromium.new_page(viewport=SIZE)
            page.set_default_timeout(PATIENCE_S * 1000)
            expect.set_options(timeout=PATIENCE_S * 1000)
            page.add_init_script(_NO_TOUR)
            viewer = Viewer(page, address)
            page.on("pageerror", lambda error: viewer._complain(str(error)))
            page.on("console", viewer._hear)
            page.on(
                "response",
                lambda answer: (
                    viewer._complain(f"{answer.status} {answer.url}")
                    if answer.status >= 400
                    else None
                ),
            )
            yield viewer
        finally:
            chromium.close()
