"""A scanner for trying things out: sends a phantom head CT with a bleed to each TITLE@HOST:PORT."""

import re
import sys
import tempfile
from datetime import datetime
from pathlib import Path

from ml.labels import Label
from ml.phantom import make_phantom, write_dicom
from node.deliver import store_files
from node.settings import Destination

SIZE = 256


def main(peers: list[str]) -> None:
    """Draw the phantom and send it."""
    phantom = make_phantom(8, size=SIZE, findings=(Label.INTRAPARENCHYMAL,))
    with tempfile.TemporaryDirectory() as folder:
        files = write_dicom(phantom, Path(folder), when=datetime.now())
        for peer in peers:
            title, host, port = re.split("[@:]", peer)
            destination = Destination(name="peer", ae_title=title, host=host, port=int(port))
            refused = store_files("SCANNER", destination, files, lambda: None)
            if refused:
                sys.exit(f"{peer} did not take {len(refused)} images: {refused[0][1]}")
            print(f"{len(files)} images of a phantom with a bleed were sent to {peer}")


if __name__ == "__main__":
    main(sys.argv[1:])
