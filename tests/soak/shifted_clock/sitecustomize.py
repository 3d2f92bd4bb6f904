"""A wall clock that can be set, for the processes of a node that is put to the test.

Python imports a module of this name at its start, wherever it finds one first
(library reference, module `site`). `time.time` is moved by the seconds that the
file $SOAK_CLOCK holds; `time.monotonic` goes on as it does when a real clock is set.
"""

import os
import time

_LOOK_S = 0.05

_true_time, _true_time_ns = time.time, time.time_ns


class _Offset:
    """What the file says, looked at seldom: the time is asked for all the time."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._seconds = 0
        self._looked_at = float("-inf")

    def __call__(self) -> int:
        now = time.monotonic()
        if now - self._looked_at > _LOOK_S:
            self._looked_at = now
            try:
                with open(self._file) as file:
                    self._seconds = int(file.read())
            except (OSError, ValueError):  # none yet: as it is
                pass
        return self._seconds


if "SOAK_CLOCK" in os.environ:
    _offset = _Offset(os.environ["SOAK_CLOCK"])
    time.time = lambda: _true_time() + _offset()
    time.time_ns = lambda: _true_time_ns() + _offset() * 1_000_000_000
