"""A wall clock that can be set, for the processes of a node that is put to the test.

Python imports a module of this name at its start, wherever it finds one first
(library reference, module `site`). `time.time` is moved by the seconds that the
file $SOAK_CLOCK holds; `time.monotonic` goes on as it does when a real clock is set.
"""

import os
import time

_LOOK_S = 0.05

_true_time, _true_time_ns = time.time, time.time_ns
_file = os.environ.get("SOAK_CLOCK", "")
_offset_s = 0
_looked_at = float("-inf")


def _offset() -> int:
    global _offset_s, _looked_at
    now = time.monotonic()
    if now - _looked_at > _LOOK_S:
        _looked_at = now
        try:
            with open(_file) as file:
                _offset_s = int(file.read())
        except (OSError, ValueError):  # none yet: as it is
            pass
    return _offset_s


if _file:
    time.time = lambda: _true_time() + _offset()
    time.time_ns = lambda: _true_time_ns() + _offset() * 1_000_000_000
