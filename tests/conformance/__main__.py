"""`make conformance`: write what is made of docs/conformance.md."""

import tempfile
from pathlib import Path

from tests.conformance.page import write

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder))
