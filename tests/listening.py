"""A receiver in this process, for tests of what reaches its port."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from node.audit import Auditor
from node.broker import free_port
from node.ledger import open_ledger
from node.receive import Receiver, start_receiver
from node.settings import Settings
from node.spool import Spool


@contextmanager
def listening(home: Path, peers: tuple[Any, ...] = (), **dicom: object) -> Iterator[Receiver]:
    """Run a receiver.

    Parameters
    ----------
    home : pathlib.Path
    peers : tuple of dict
        Rows of ``[[peers]]``.
    **dicom
        Keys of ``[dicom]``.
    """
    settings = Settings(home=home, peers=peers, dicom={"port": free_port(), **dicom})
    ledger = open_ledger(settings.ledger_url)
    with Auditor.open(settings, "receive") as auditor:
        receiver = start_receiver(settings, Spool(home), ledger, auditor)
        try:
            yield receiver
        finally:
            receiver.stop()
            ledger.close()
