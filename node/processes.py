"""Processes that end with the one that started them."""

import ctypes
import signal
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_libc = ctypes.CDLL(None, use_errno=True)


def start_process(
    command: Sequence[str], log: Path | None = None, descriptors: Sequence[int] = ()
) -> "subprocess.Popen[bytes]":
    """Start a process that is told to end when this one is gone, however it went.

    Parameters
    ----------
    command : sequence of str
    log : pathlib.Path, optional
        Takes what the process prints; without it goes to this one's stderr.
    descriptors : sequence of int
        Open files that it gets too.
    """
    output = log.open("ab") if log is not None else None
    try:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT if output is not None else None,
            pass_fds=descriptors,
            start_new_session=True,  # Ctrl-C is for the supervisor, which ends them in order
            preexec_fn=_end_with_parent,  # noqa: PLW1509  no threads are started before
        )
    finally:
        if output is not None:
            output.close()


def _end_with_parent() -> None:
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def end_process(process: "subprocess.Popen[bytes]", timeout_s: float) -> None:
    """Ask a process to end, and end it if it does not."""
    if process.poll() is None:
        process.terminate()
    try:
        process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def keep_freed_memory(largest: int) -> None:
    """Keep memory that is freed for what comes next, and give back only what is much.

    Each image that comes in takes and frees pieces of its own size. The C library gives
    such pieces back at once, and to have them again, page by page, takes longer than to
    fill them.

    Parameters
    ----------
    largest : int
        Pieces up to this size are kept, bytes; in each arena twice as much at most.
    """
    with suppress(AttributeError):  # another C library than GNU's
        _libc.mallopt(_M_MMAP_THRESHOLD, largest)
        _libc.mallopt(_M_TRIM_THRESHOLD, 2 * largest)
