"""What a peer can spend of the node's port: the limits, and what is counted against them."""

import threading
from io import BytesIO

LONGEST_PDU = 256 * 1024
"""What the node says that it takes, and takes, bytes. Larger ones are not received faster."""

LONGEST_COMMAND = 64 * 1024
"""Of a command set, bytes: those of real messages have some hundred."""

MOST_REQUESTS = 2
"""That wait at the same time, or come one after the other before the one before is answered:
the node invites no more than one (PS3.7, D.3.3.3)."""

SLOWEST_RATE = 4 * 1024
"""A PDU that comes with fewer bytes in a second is not waited for."""

HANDSHAKE_S = 15.0
"""For a TLS handshake, and for the request of an association after it."""

WAIT_S = 0.05
"""Threads of an association look at their timers after this time at the latest."""

PAUSE_S = 0.0001
"""Of a thread that has nothing to wait for any more, before it looks again."""


class Memory:
    """How much of messages is held in memory, of all associations together.

    Parameters
    ----------
    size : int
        Bytes.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._taken = 0
        self._lock = threading.Lock()

    def take(self, size: int) -> bool:
        """Take some for good; False if there is not enough."""
        with self._lock:
            if self._taken + size > self._size:
                return False
            self._taken += size
            return True

    def give_back(self, share: list[int]) -> None:
        """Give back all that a message took."""
        with self._lock:
            self._taken -= sum(share)


class Cut(BytesIO):
    """Stands for a dataset that was too large to be kept."""
