"""Who may open an association with the node, and how many of them.

References
----------
A-ASSOCIATE-RJ, its results, sources and reasons: DICOM PS3.8, 9.3.4.
"""

import socket
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from enum import Enum

from node.settings import DicomSettings, Peer, Settings
from node.settings.security import Address, as_address

MINUTE_S = 60.0

STRANGERS = 4
"""Connections at the same time from addresses that no peer has, where all of them tell theirs."""

HALF_OPEN = 2
"""As many connections as associations are allowed, times this: the rest has not asked yet."""


class Rejection(Enum):
    """Why an association is rejected: result, source, reason (PS3.8, table 9-21)."""

    CALLED_TITLE = (1, 1, 7)
    """Permanent, service user: called AE title not recognized."""

    CALLING_TITLE = (1, 1, 3)
    """Permanent, service user: calling AE title not recognized."""

    ADDRESS = (1, 1, 3, "address")
    """The same: the title does not call from that address."""

    TOO_FAST = (2, 3, 1)
    """Transient, service provider: temporary congestion."""

    TOO_MANY = (2, 3, 2)
    """Transient, service provider: local limit exceeded."""

    @property
    def answer(self) -> tuple[int, int, int]:
        """Result, source and reason."""
        result, source, reason = self.value[:3]
        return int(result), int(source), int(reason)

    @property
    def text(self) -> str:
        """For the log, with what to do."""
        return _TEXTS[self]


_TEXTS = {
    Rejection.CALLED_TITLE: "it calls the node by another title: see [dicom] ae_title and "
    "require_called_ae",
    Rejection.CALLING_TITLE: "no peer has its title: add a [[peers]] table",
    Rejection.ADDRESS: "that peer does not call from there: see its networks in [[peers]]",
    Rejection.TOO_FAST: "it opens too many in a minute: see [dicom] associations_per_minute",
    Rejection.TOO_MANY: "too many are open: see [dicom] max_associations and "
    "max_associations_per_address",
}


@dataclass(frozen=True)
class Caller:
    """Who asks for an association, as far as it says.

    Parameters
    ----------
    address : str
        Where it calls from.
    title : str
        What it calls itself.
    called : str
        What it calls the node.
    """

    address: str
    title: str
    called: str


def who_is_unknown(settings: Settings, caller: Caller) -> Rejection | None:
    """Why a caller is not one to talk to; None if it is."""
    if settings.dicom.require_called_ae and caller.called.strip() != settings.dicom.ae_title:
        return Rejection.CALLED_TITLE
    if not settings.peers:
        return None
    peer = settings.peer(caller.title)
    if peer is None:
        return Rejection.CALLING_TITLE
    return None if calls_from(peer, caller.address) else Rejection.ADDRESS


def calls_from(peer: Peer, address: str) -> bool:
    """Whether a peer may call from an address."""
    if not peer.networks and peer.host is None:
        return True
    found = as_address(address)
    if any(found in network for network in peer.networks):
        return True
    return peer.host is not None and found in _addresses(peer.host)


def is_stranger(settings: Settings, address: str) -> bool:
    """Whether no peer calls from an address, where it is known of all where they call from."""
    return bool(settings.peers) and not any(calls_from(peer, address) for peer in settings.peers)


def is_open_to_all(settings: Settings) -> bool:
    """Whether other machines may send to the node without being asked who they are."""
    if settings.peers or settings.dicom.tls.is_on:
        return False
    return not all(address.is_loopback for address in _addresses(settings.dicom.host))


def _addresses(host: str) -> set[Address]:
    try:
        return {as_address(host)}
    except ValueError:
        pass
    try:
        return {as_address(str(found[4][0])) for found in socket.getaddrinfo(host, None)}
    except OSError:
        return set()


class Crowd:
    """Counts who is there, so that nobody takes all the room.

    Parameters
    ----------
    limits : DicomSettings
    clock : callable
        Gives seconds that never go back.
    """

    def __init__(self, limits: DicomSettings, clock: Callable[[], float] = time.monotonic) -> None:
        self._limits = limits
        self._clock = clock
        self._inside: dict[Hashable, str] = {}  # association -> address
        self._arrivals: dict[str, deque[float]] = {}
        self._lock = threading.Lock()

    def enter(self, who: Hashable, address: str) -> Rejection | None:
        """Let an association in, or say why not."""
        with self._lock:
            if self._is_too_fast(address):
                return Rejection.TOO_FAST
            from_there = Counter(self._inside.values())[address]
            if (
                len(self._inside) >= self._limits.max_associations
                or from_there >= self._limits.max_associations_per_address
            ):
                return Rejection.TOO_MANY
            self._inside[who] = address
            return None

    def leave(self, who: Hashable) -> None:
        """Note that an association has ended; does nothing if it never was let in."""
        with self._lock:
            self._inside.pop(who, None)

    def _is_too_fast(self, address: str) -> bool:
        now = self._clock()
        for other in [a for a, times in self._arrivals.items() if times[-1] <= now - MINUTE_S]:
            del self._arrivals[other]
        times = self._arrivals.setdefault(address, deque())
        while times and times[0] <= now - MINUTE_S:
            times.popleft()
        # Those that are rejected are not counted: a sender that waits gets in.
        if len(times) >= self._limits.associations_per_minute:
            return True
        times.append(now)
        return False


class Seldom:
    """Tells whether something was not said in the last minute.

    Parameters
    ----------
    clock : callable
        Gives seconds that never go back.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._said: dict[Hashable, float] = {}
        self._lock = threading.Lock()

    def is_new(self, what: Hashable) -> bool:
        """Whether it should be said now."""
        now = self._clock()
        with self._lock:
            for old in [w for w, said in self._said.items() if said <= now - MINUTE_S]:
                del self._said[old]
            if what in self._said:
                return False
            self._said[what] = now
            return True


def has_room(limits: DicomSettings, address: str, connections: Counter[str]) -> bool:
    """Whether one more connection may be opened, before anything is read from it.

    Parameters
    ----------
    limits : DicomSettings
    address : str
    connections : Counter
        How many there are from each address.
    """
    return (
        connections.total() < HALF_OPEN * limits.max_associations
        and connections[address] < HALF_OPEN * limits.max_associations_per_address
    )
