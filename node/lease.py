"""A claim in the ledger that is kept alive while the work goes on."""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import copy_context

from ml.errors import first_line

log = logging.getLogger(__name__)


@contextmanager
def staying_alive(extend: Callable[[], object], lease_s: float) -> Iterator[None]:
    """Extend a lease three times in its length, from a thread of its own.

    Parameters
    ----------
    extend : callable
        Extends the lease by `lease_s` from now.
    lease_s : float
        After this time without a sign its holder is taken for dead, seconds.
    """
    done = threading.Event()

    def keep() -> None:
        while not done.wait(lease_s / 3):
            try:
                extend()
            except Exception as error:  # the next one may succeed
                log.warning("a lease was not extended: %s", first_line(error))

    # In the same context: what it logs is about the same series.
    thread = threading.Thread(target=copy_context().run, args=(keep,), daemon=True, name="lease")
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
