"""OHIF as a site of its own before an Orthanc's DICOMweb, looked at with Chromium."""

import shutil
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from playwright.sync_api import Locator, Page, expect, sync_playwright

OHIF = Path(__file__).resolve().parents[2] / ".viewer" / "package" / "dist"
"""Where `make viewer` puts it."""

CHROMIUM = shutil.which("chromium")
SIZE = {"width": 1400, "height": 900}
PATIENCE_MS = 60_000

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

    def _forward(self) -> None:
        request = urllib.request.Request(self.archive + self.path)
        for name in ("Accept", "Host"):
            if name in self.headers:
                request.add_header(name, self.headers[name])
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
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


@contextmanager
def site(archive_port: int) -> Iterator[str]:
    """Serve OHIF before an Orthanc; the address of the site."""
    handler = partial(_Site, archive=f"http://127.0.0.1:{archive_port}")
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


@dataclass
class Viewer:
    """OHIF in a browser."""

    page: Page
    address: str
    errors: list[str] = field(default_factory=list)
    """What the page complained of."""

    def open_list(self) -> Locator:
        """Open the list of studies."""
        self.page.goto(f"{self.address}/")
        self._skip_tour()
        return self.page.locator("body")

    def open_study(self, study: str) -> None:
        """Open a study and wait for the thumbnails of its series."""
        self.page.goto(f"{self.address}/viewer?StudyInstanceUIDs={study}")
        self._skip_tour()
        expect(self.thumbnails.first).to_be_visible(timeout=PATIENCE_MS)

    def _skip_tour(self) -> None:
        skip = self.page.get_by_text("Skip all")
        try:
            skip.click(timeout=8000)
        except Exception:  # it comes on the first visit only
            return

    @property
    def thumbnails(self) -> Locator:
        """The series of the study, as the browser on the left shows them."""
        return self.page.locator(
            "[data-cy^='study-browser-thumbnail'], [data-cy='study-browser-thumbnail-no-image']"
        )

    def series(self, description: str) -> Locator:
        """The thumbnail of a series by what its description begins with."""
        return self.thumbnails.filter(has_text=description).first

    def show(self, description: str) -> None:
        """Open a series in the viewport."""
        thumbnail = self.series(description)
        expect(thumbnail).to_be_visible(timeout=PATIENCE_MS)
        thumbnail.scroll_into_view_if_needed()
        thumbnail.dblclick()
        self.page.wait_for_load_state("networkidle")

    @property
    def viewport(self) -> Locator:
        """The part of the page that shows a series."""
        return self.page.locator("[data-cy='viewport-grid'], [data-cy='viewport-pane']").first

    def picture(self) -> np.ndarray:
        """What the viewport shows: uint8, shape (rows, columns, 3)."""
        with Image.open(BytesIO(self.viewport.screenshot())) as image:
            return np.asarray(image.convert("RGB"))

    def screenshot(self, path: Path) -> None:
        """Keep the whole page as a PNG of few colours."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with Image.open(BytesIO(self.page.screenshot())) as image:
            image.convert("RGB").quantize(128).save(path, optimize=True)


@contextmanager
def browser(address: str) -> Iterator[Viewer]:
    """Open a browser on the site."""
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=[
                "--no-sandbox",
                "--use-gl=angle",
                "--use-angle=swiftshader",
                "--enable-unsafe-swiftshader",
            ],
        )
        page = chromium.new_page(viewport=SIZE)
        page.set_default_timeout(PATIENCE_MS)
        viewer = Viewer(page, address)
        page.on("pageerror", lambda error: viewer.errors.append(str(error)))
        page.on(
            "console",
            lambda line: viewer.errors.append(line.text) if line.type == "error" else None,
        )
        try:
            yield viewer
        finally:
            chromium.close()
