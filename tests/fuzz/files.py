"""Bad files through all that reads files, in a process that is watched."""

import argparse
import faulthandler
import json
import logging
import random
import resource
import sys
import warnings
from pathlib import Path

from ml.errors import SeriesError
from ml.series import load_volume
from node.assemble import look_at
from node.errors import RefusedInstance
from node.headers import read_headers
from node.reading import read_identity
from node.settings import Settings
from tests.fuzz.mutate import mutated
from tests.fuzz.seeds import seeds

HANG_S = 60
"""A file that takes longer hangs; a compressed frame may take ten seconds of it."""

MOST_ADDRESS_SPACE = 3 << 30
"""Of the process, bytes: beyond it, memory runs out, and that is a finding."""


def read(path: Path) -> str:
    """Do with a file all that the node does before the model sees its pixels.

    Returns
    -------
    str
        How far it came.
    """
    content = path.read_bytes()
    try:
        read_identity(content)
    except RefusedInstance:
        door = "refused"
    else:
        door = "taken"
    series = read_headers([path])
    look_at(series, Settings().eligibility)
    if not series.headers:
        return f"{door}, unreadable"
    if series.arrangement is None:
        return f"{door}, without geometry"
    try:
        volume = load_volume(series.arrangement)
    except SeriesError:
        return f"{door}, not decoded"
    return f"{door}, decoded" + (" with warnings" if volume.warnings else "")


def generator(seed: str, number: int) -> random.Random:
    """The random generator of input `number`."""
    return random.Random(f"file {seed} {number}")


def run(seed: str, first: int, count: int, folder: Path) -> None:
    """Read `count` bad files; each lies in `folder`, under its number, while it is read.

    Prints a line of JSON for each: its outcome, and the most memory so far in MiB. An
    exception ends the process, with the file left where it is.
    """
    for number in range(first, first + count):
        path = folder / f"{number}.dcm"
        path.write_bytes(mutated(generator(seed, number), seeds()))
        faulthandler.dump_traceback_later(HANG_S, exit=True)
        outcome = read(path)
        faulthandler.cancel_dump_traceback_later()
        path.unlink()
        most_mib = _most_mib()
        print(json.dumps({"outcome": outcome, "most_mib": most_mib}), flush=True)


def _most_mib() -> int:
    """The most memory this program has held; `getrusage` counts what it was forked off too."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) >> 10


def _main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("seed")
    parser.add_argument("first", type=int)
    parser.add_argument("count", type=int)
    parser.add_argument("folder", type=Path)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")  # pydicom tells of what it stumbles over
    logging.disable(logging.CRITICAL)
    resource.setrlimit(resource.RLIMIT_AS, (MOST_ADDRESS_SPACE, MOST_ADDRESS_SPACE))
    run(arguments.seed, arguments.first, arguments.count, arguments.folder)


if __name__ == "__main__":
    sys.exit(_main())
