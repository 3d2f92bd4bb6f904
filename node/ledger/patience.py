"""Waiting for a database that restarts."""

import sqlite3
import time
from collections.abc import Callable
from typing import TypeVar

from sqlalchemy.exc import OperationalError

PATIENCE_S = 10.0
"""A database server is back within this time after a restart, seconds."""

_PAUSE_S = 0.25

T = TypeVar("T")


def patiently(work: Callable[[], T], patience_s: float = PATIENCE_S) -> T:
    """Do something to the ledger, again and again while its server is away.

    Parameters
    ----------
    work : callable
        That changes nothing when it is done twice.
    patience_s : float
        How long to try, seconds.

    Raises
    ------
    sqlalchemy.exc.OperationalError
        If the server is still away then; at once where there is no server (SQLite).
    """
    deadline = time.monotonic() + patience_s
    while True:
        try:
            return work()
        except OperationalError as error:
            if isinstance(error.orig, sqlite3.Error) or time.monotonic() > deadline:
                raise
        time.sleep(_PAUSE_S)
