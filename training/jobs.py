"""Work in several processes."""

import multiprocessing
import os
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait
from typing import TypeVar

from ml.codec import limit_codecs
from training.errors import TrainingError

T = TypeVar("T")


def mapped(
    function: Callable[..., T], *columns: Iterable[object], jobs: int, chunk: int = 1
) -> Iterator[T]:
    """`map`, in this process or in several others.

    Parameters
    ----------
    function : callable
        At the top of a module, so that another process finds it.
    *columns : iterable
        Its arguments, as for `map`.
    jobs : int
        Processes; with 1 the work is done in this one.
    chunk : int
        Calls that a process takes at a time.

    Raises
    ------
    TrainingError
        If a process was killed; whatever `function` raises besides.
    """
    if jobs == 1:
        yield from map(function, *columns)
        return
    # A forked process would inherit threads, torch's among them, in an unknown state.
    spawn = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(jobs, mp_context=spawn, initializer=_begin)
    try:
        # A process that is still starting would answer Ctrl-C with a traceback: it hears it later.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            results = pool.map(function, *columns, chunksize=chunk)
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        yield from results
    except BrokenProcessPool as error:
        time.sleep(0.2)  # Ctrl-C ends all processes: if it was that, this one hears of it now
        raise TrainingError(
            "a process was killed, for want of memory perhaps; what is done stays, "
            "run the same command again with fewer --jobs"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _begin() -> None:
    limit_codecs(1)  # there are as many of these processes as there are to be
    warnings.filterwarnings("ignore", module="pydicom")  # tells of each of RSNA's identifiers
    signal.signal(signal.SIGINT, lambda *_: os._exit(130))  # the parent says it, and only once
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Leave no process behind a parent that was killed: it would wait for work for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
