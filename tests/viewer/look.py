"""Look at DICOM files in OHIF: `python -m tests.viewer.look FOLDER --out PICTURES`.

A tool for whoever changes what results look like: it loads the files into an
Orthanc of its own, opens each series and keeps a screenshot of it.
"""

import argparse
import tempfile
from pathlib import Path

import pydicom

from tests.e2e.peers import running_orthanc
from tests.viewer.ohif import browser, site


def main() -> None:
    """Load, open, keep."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="+", type=Path, help="DICOM files of one study")
    parser.add_argument("--out", type=Path, required=True, help="folder for the screenshots")
    arguments = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        running_orthanc(Path(folder), dicomweb=True) as orthanc,
        site(orthanc.http_port) as address,
        browser(address) as viewer,
    ):
        files = [f for one in arguments.folders for f in sorted(one.rglob("*.dcm"))]
        described = {}
        for file in files:
            orthanc.get("/instances", file.read_bytes())
            header = pydicom.dcmread(file, stop_before_pixels=True)
            study = str(header.StudyInstanceUID)
            described[str(header.get("SeriesDescription", ""))] = str(header.Modality)
        viewer.open_study(study)
        viewer.page.wait_for_load_state("networkidle")
        viewer.screenshot(arguments.out / "study.png")
        print([thumbnail.inner_text() for thumbnail in viewer.thumbnails.all()])
        for number, description in enumerate(described):
            viewer.errors.clear()
            if not viewer.series(description).count():
                print("not shown:", description)
                continue
            viewer.show(description)
            viewer.page.wait_for_timeout(3000)
            viewer.screenshot(arguments.out / f"{number}-{described[description]}.png")
            print(description, viewer.errors)


if __name__ == "__main__":
    main()
