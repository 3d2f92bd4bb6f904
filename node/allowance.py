"""How much a folder may hold: what peers can fill must have an end."""

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

LOOK_AGAIN_S = 600.0
"""After this a folder is measured again: others write to it and people clear it."""

BLOCK = 4096
"""Bytes that a small file or a folder takes of the disk."""


class Allowance:
    """Room in a folder, of which what is there already is measured.

    Parameters
    ----------
    folder : pathlib.Path
    size : float
        Bytes.
    clock : callable
        Gives seconds that never go back.
    """

    def __init__(
        self, folder: Path, size: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._folder = folder
        self._size = size
        self._clock = clock
        self._held = 0
        self._looked_at: float | None = None
        self._lock = threading.Lock()

    def take(self, size: int) -> bool:
        """Take room for a file in a folder of its own; False if there is not enough."""
        with self._lock:
            now = self._clock()
            if self._looked_at is None or now - self._looked_at > LOOK_AGAIN_S:
                self._held, self._looked_at = _measure(self._folder), now
            needed = _blocks(size) + 2 * BLOCK
            if self._held + needed > self._size:
                return False
            self._held += needed
            return True


def _measure(folder: Path) -> int:
    """Bytes of the disk that a folder takes."""
    held = 0
    for path, _folders, files in os.walk(folder):
        held += BLOCK
        for name in files:
            try:
                held += _blocks((Path(path) / name).stat().st_size)
            except OSError:  # just taken away
                continue
    return held


def _blocks(size: int) -> int:
    return -(-size // BLOCK) * BLOCK
