"""Look at DICOM files in OHIF: `python -m tests.viewer.look FOLDER... --out PICTURES`.

A tool for whoever changes what results look like: it loads the files into an
Orthanc of its own, opens every series, steps through structured reports, keeps
screenshots and prints what OHIF says.
"""

import argparse
import tempfile
from pathlib import Path

import pydicom
from pydicom.errors import InvalidDicomError

from tests.e2e.peers import Orthanc, running_orthanc
from tests.viewer.ohif import Viewer, browser, missing, site

STEPS = 4
"""How many measurements of a report are looked at."""

PATIENCE_S = 10
"""Until a series counts as one that OHIF does not show."""


def main() -> None:
    """Load, open, keep."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="+", type=Path, help="DICOM files of one or more studies")
    parser.add_argument("--out", type=Path, required=True, help="folder for the screenshots")
    arguments = parser.parse_args()
    if missing():
        parser.exit(1, f"not installed: {', '.join(missing())}\n")
    with (
        tempfile.TemporaryDirectory() as folder,
        running_orthanc(Path(folder), dicomweb=True) as orthanc,
        site(orthanc.http_port) as address,
        browser(address) as viewer,
    ):
        studies = _load(orthanc, arguments.folders)
        print("list of studies:", *viewer.open_list(), sep="\n  ")
        viewer.screenshot(arguments.out / "list.png")
        for number, study in enumerate(studies):
            _look_at(viewer, study, arguments.out / (f"study{number}" if number else "."))


def _load(orthanc: Orthanc, folders: list[Path]) -> list[str]:
    """Store every DICOM file; the studies they are of."""
    studies: dict[str, None] = {}
    for file in (f for folder in folders for f in sorted(folder.rglob("*")) if f.is_file()):
        try:
            header = pydicom.dcmread(file, stop_before_pixels=True)
        except InvalidDicomError:
            continue
        orthanc.get("/instances", file.read_bytes())
        studies[str(header.StudyInstanceUID)] = None
    return list(studies)


def _look_at(viewer: Viewer, study: str, out: Path) -> None:
    """Open every series of a study."""
    viewer.open_study(study)
    viewer.page.wait_for_load_state("networkidle")
    viewer.screenshot(out / "study.png")
    for number, (modality, description) in enumerate(viewer.series()):
        if modality not in {"CT", "OT"}:
            viewer.open_study(study, afresh=True)
        viewer.said.clear()
        print(f"\n{modality} {description}")
        name = f"{number}-{modality}"
        try:
            viewer.show(description, PATIENCE_S)
        except AssertionError:
            print("  is not shown")
        viewer.settled()
        viewer.screenshot(out / f"{name}.png")
        if viewer.page.locator("[data-cy='no-hydrate-btn']").count():
            viewer.decline()
        if viewer.arrows.count():
            print("  opens at", viewer.place(), viewer.written())
            for step in range(1, STEPS):
                viewer.step()
                viewer.settled()
                print("  then", viewer.place(), viewer.written())
                viewer.screenshot(out / f"{name}-{step}.png")
        elif viewer.page.locator("[data-cy='viewport-overlay-bottom-right']").count():
            print("  opens at", viewer.place())
        else:
            print("  reads:", *viewer.text().splitlines(), sep="\n    ")
        for line in dict.fromkeys(viewer.said):
            print("  console:", line[:300])


if __name__ == "__main__":
    main()
