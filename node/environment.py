"""Errors that are no fault of the series: the machine is ill, and gets well again."""

import errno

from sqlalchemy.exc import DataError, DBAPIError

from node.errors import SpoolError

_PASSING = frozenset(
    (
        errno.ENOSPC,
        errno.EDQUOT,
        errno.EROFS,
        errno.EMFILE,
        errno.ENFILE,
        errno.ENOMEM,
        errno.ESTALE,
    )
)


def is_passing(error: BaseException) -> bool:
    """Whether an error comes from a full disk, a database that is away or the like.

    The same step can be done later, as often as it takes.
    """
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, DataError):
            return False  # what is written is no value, and will be none the next time
        if isinstance(cause, (DBAPIError, SpoolError)):
            return True
        if isinstance(cause, OSError) and cause.errno in _PASSING:
            return True
        cause = cause.__cause__
    return False
