"""What the command lines of all steps share."""

import argparse
import os
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

from ml.errors import IchnodeError


def parser(step: str, description: str) -> argparse.ArgumentParser:
    """An argument parser for ``python -m training.<step>``."""
    return argparse.ArgumentParser(
        prog=f"python -m training.{step}",
        description=description,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )


def existing(text: str) -> Path:
    """A file or folder that must be there; argparse answers with exit code 2 where it is not."""
    path = Path(text)
    if not path.exists():
        raise argparse.ArgumentTypeError(f"{text} is not there")
    return path


def positive(text: str) -> int:
    """A whole number above 0."""
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return value


def run(step: Callable[[], None]) -> int:
    """Do a step: 0 when done, 1 with one line on stderr when it could not be."""
    try:
        step()
    except IchnodeError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"error: {error.filename}: {os.strerror(error.errno or 0)}", file=sys.stderr)
        return 1
    return 0


def command_line(step: str, arguments: list[str]) -> str:
    """What was typed, for a model to remember; folders by their last name only."""
    told = [Path(a).name if "/" in a else a for a in arguments]
    return shlex.join(["python", "-m", f"training.{step}", *told])
