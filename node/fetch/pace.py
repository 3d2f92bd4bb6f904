"""How fast may be fetched: so many images a second, so many series an hour, on average."""

import threading
import time
from collections.abc import Callable


class Pace:
    """Makes whoever fetches wait; of one thread.

    Parameters
    ----------
    images_per_second, series_per_hour : float
        0 for no limit.
    clock : callable
        Gives seconds that never go back.
    """

    def __init__(
        self,
        images_per_second: float = 0,
        series_per_hour: float = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._image_s = 1 / images_per_second if images_per_second else 0.0
        self._series_s = 3600 / series_per_hour if series_per_hour else 0.0
        self._clock = clock
        self._images_until = 0.0
        self._series_until = 0.0

    def begin_series(self, stop: threading.Event) -> None:
        """Wait until a further series may be fetched."""
        self._wait(self._series_until, stop)
        self._series_until = self._clock() + self._series_s

    def spend(self, images: int, stop: threading.Event) -> None:
        """Wait as long as images that have come should have taken."""
        self._images_until = max(self._images_until, self._clock()) + images * self._image_s
        self._wait(self._images_until, stop)

    def _wait(self, until: float, stop: threading.Event) -> None:
        left = until - self._clock()
        if left > 0:
            stop.wait(left)
