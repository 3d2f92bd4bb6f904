"""Fair measuring on a machine whose speed drifts: in turns, and by the median."""

import statistics
import time
from collections.abc import Callable, Mapping


def seconds(work: Callable[[], object]) -> float:
    """How long it takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def in_turns(
    sides: Mapping[str, Callable[[], float]], times: int = 3, *, warm_up: bool = True
) -> dict[str, float]:
    """Measure several sides one after the other, again and again.

    Parameters
    ----------
    sides : mapping of str to callable
        Each does its work once and returns its figure.
    times : int
        How often each has its turn.
    warm_up : bool
        Let each do its work once before it counts.

    Returns
    -------
    dict of str to float
        The median of each.
    """
    if warm_up:
        for measure in sides.values():
            measure()
    figures: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(times):
        names = list(sides) if turn % 2 == 0 else list(reversed(sides))
        for name in names:
            figures[name].append(sides[name]())
    return {name: statistics.median(values) for name, values in figures.items()}
