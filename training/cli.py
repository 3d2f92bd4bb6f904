"""What the command lines of all steps share."""

import argparse
import errno
import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

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


def not_negative(text: str) -> int:
    """A whole number, 0 or above."""
    return 0 if text.strip() == "0" else positive(text)


def share(text: str) -> float:
    """A number from 0 to 1."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to 1")
    return value


def run(step: Callable[[], None]) -> int:
    """Do a step: 0 when done, 1 with one line on stderr when it could not be.

    130 where it was interrupted at the keyboard, as shells have it.
    """
    try:
        step()
    except IchnodeError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        what = f"{error.filename}: " if error.filename else ""
        todo = ""
        if error.errno == errno.ENOSPC:
            todo = "; make room and run the same command again"
        print(f"error: {what}{error.strerror or error}{todo}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; what was done stays, run the same command again", file=sys.stderr)
        return 130
    return 0


@contextmanager
def progress(
    description: str, total: int, *, done: int = 0, show: bool = True
) -> Iterator[Callable[..., None]]:
    """A bar on stderr for long work; nothing where stderr is not a terminal.

    Parameters
    ----------
    description : str
        What is being done.
    total : int
        How many steps it takes.
    done : int
        How many were done before.
    show : bool
        False for none at all, where several processes share a terminal.

    Yields
    ------
    callable
        To be called after each step: ``advance(steps=1, text="")``, with what to
        say at the end of the bar.
    """
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[text]}"),
    )
    with Progress(*columns, console=console, disable=not (show and console.is_terminal)) as bar:
        task = bar.add_task(description, total=total, completed=done, text="")

        def advance(steps: int = 1, text: str | None = None) -> None:
            bar.update(task, advance=steps, **({} if text is None else {"text": text}))

        yield advance


def command_line(step: str, arguments: list[str]) -> str:
    """What was typed, for a model to remember; folders by their last name only."""
    told = [Path(a).name if "/" in a else a for a in arguments]
    return shlex.join(["python", "-m", f"training.{step}", *told])
