"""Whether the process answers, and whether the node can take and judge series now."""

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy.exc import SQLAlchemyError

from ml.errors import IchnodeError, first_line
from ml.identity import identify
from node.broker import broker_url, check_broker
from node.errors import SpoolError
from node.ledger import Ledger
from node.settings import Settings
from node.spool import Spool

BROKER_TIMEOUT_S = 2.0


@dataclass(frozen=True)
class Finding:
    """How one part is.

    Parameters
    ----------
    subject : str
    trouble : str, optional
        What is wrong with it; None if nothing is.
    """

    subject: str
    trouble: str | None


def ready(settings: Settings, ledger: Ledger) -> tuple[Finding, ...]:
    """Look at each part that the node cannot work without.

    A process that answers at all is alive; it is ready if no part has trouble.

    Parameters
    ----------
    settings : Settings
    ledger : Ledger
    """
    return (
        *ready_to_take(settings, ledger),
        _look("broker", lambda: check_broker(broker_url(settings), BROKER_TIMEOUT_S)),
        _look("model", lambda: identify(settings.model.bundle)),
    )


def ready_to_take(settings: Settings, ledger: Ledger) -> tuple[Finding, ...]:
    """Look at each part that images cannot be taken without.

    Parameters
    ----------
    settings : Settings
    ledger : Ledger
    """
    return (
        _look("ledger", ledger.check_writable),
        _look("spool", lambda: _check_spool(settings)),
    )


def is_ready(findings: tuple[Finding, ...]) -> bool:
    """Whether no part has trouble."""
    return all(finding.trouble is None for finding in findings)


def _look(subject: str, check: Callable[[], object]) -> Finding:
    try:
        check()
    except SQLAlchemyError as error:
        return Finding(subject, first_line(getattr(error, "orig", None) or error))
    except (IchnodeError, OSError) as error:
        return Finding(subject, first_line(error))
    return Finding(subject, None)


def _check_spool(settings: Settings) -> None:
    folder = Spool(settings.home).folder
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Named like a file that is half written: if it is left, reconciling removes it.
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".ready.", suffix=".part"):
            pass
        free = shutil.disk_usage(folder).free
    except OSError as error:
        raise SpoolError(f"the spool {folder} cannot be written: {error.strerror}") from error
    if free < settings.dicom.min_free_gb * 1024**3:
        raise SpoolError(
            f"{free / 1024**3:.1f} GB are free in {settings.home}, less than "
            f"{settings.dicom.min_free_gb:g}: images are not taken"
        )
