"""How soon a command answers."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.bench.row import Comparison, Figure, Row
from tests.bench.turns import in_turns, seconds

TIMES = 7


def rows(_folder: Path) -> Iterator[Row]:
    """`ichnode --help`, and a Python that only imports its library of commands."""
    commands = {
        "ichnode": [str(Path(sys.executable).with_name("ichnode")), "--help"],
        "limit": [sys.executable, "-c", "import typer.rich_utils"],
    }

    def run(command: list[str]) -> float:
        return seconds(lambda: subprocess.run(command, check=True, capture_output=True))

    found = in_turns({name: lambda c=c: run(c) for name, c in commands.items()}, TIMES)
    yield Row(
        "start of `ichnode --help`",
        Figure("ichnode", found["ichnode"], "s"),
        [Comparison(Figure("Python importing Typer alone", found["limit"], "s"))],
        most=0.5,
    )
