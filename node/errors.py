"""What can go wrong in the node; each message says what to do."""

from collections.abc import Sequence
from pathlib import Path

from ml.errors import IchnodeError


class ConfigError(IchnodeError):
    """The configuration cannot be used: a bad key, a bad value, a missing part."""


class SpoolError(IchnodeError):
    """The spool cannot be written or does not hold what the ledger says."""


class RefusedInstance(IchnodeError):
    """An instance that must not enter the spool.

    Parameters
    ----------
    reason : str
    status : int
        The answer to C-STORE (PS3.4, table B.2-1).
    """

    def __init__(self, reason: str, status: int) -> None:
        super().__init__(reason)
        self.status = status


class NotStoredError(IchnodeError):
    """An instance that cannot be stored now; whoever brought it has to bring it again."""


class DeliveryError(IchnodeError):
    """A destination did not take an object; it will be tried again.

    Parameters
    ----------
    why : str
    after_s : float
        The destination wants to be left alone for so long, seconds.
    unanswered : sequence of pathlib.Path
        Files that went with it, and that the destination did not answer for either.
    """

    def __init__(self, why: str, after_s: float = 0, unanswered: Sequence[Path] = ()) -> None:
        super().__init__(why)
        self.after_s = after_s
        self.unanswered = unanswered


class NotificationError(IchnodeError):
    """A notification was not taken; it will be tried again."""


class SourceError(IchnodeError):
    """A source does not answer, or breaks off; it will be asked again."""


class NotFetchedError(SourceError):
    """A source answers, and did not give this series; others may still be had."""
