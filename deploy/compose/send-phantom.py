"""A scanner for trying things out: sends a phantom head CT with a bleed to HOST PORT."""

import sys
import tempfile
from datetime import datetime
from pathlib import Path

from ml.labels import Label
from ml.phantom import make_phantom, write_dicom
from node.deliver import store_files
from node.settings import Destination

SIZE = 256


def main(host: str, port: int) -> None:
    """Draw the phantom, send it, and say how to find it."""
    phantom = make_phantom(8, size=SIZE, findings=(Label.INTRAPARENCHYMAL,))
    node = Destination(name="node", ae_title="ICHNODE", host=host, port=port)
    with tempfile.TemporaryDirectory() as folder:
        files = write_dicom(phantom, Path(folder), when=datetime.now())
        refused = store_files("SCANNER", node, files, lambda: None)
    for file, why in refused:
        print(f"not taken: {file.name}: {why}", file=sys.stderr)
    if refused:
        sys.exit(1)
    print(f"{len(files)} images of a phantom with a bleed were sent to {host}:{port}")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
