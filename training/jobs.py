"""Work in several processes."""

import multiprocessing
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import TypeVar

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
    """
    if jobs == 1:
        yield from map(function, *columns)
        return
    # A forked process would inherit threads, torch's among them, in an unknown state.
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=spawn) as pool:
        yield from pool.map(function, *columns, chunksize=chunk)
