"""What the node logs: one place for the form of a line, and for the series that it is about.

References
----------
Names of the fields of a JSON line: OpenTelemetry, Logs Data Model, and its semantic conventions
for resources and exceptions.
"""

import hashlib
import json
import logging
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any, Protocol

from node.settings import LogForm

QUOTING = (
    *("pydicom", "py.warnings", "pynetdicom", "highdicom"),
    *("dicomweb_client", "retrying", "urllib3"),
)
"""Libraries whose messages quote values of datasets and searches, which may be the patient's."""

_TEXT = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"

_SEVERITY = {
    "DEBUG": ("DEBUG", 5),
    "INFO": ("INFO", 9),
    "WARNING": ("WARN", 13),
    "ERROR": ("ERROR", 17),
    "CRITICAL": ("FATAL", 21),
}


class OfSeries(Protocol):
    """What belongs to a series: a revision, an instance."""

    @property
    def study_instance_uid(self) -> str:
        """Of its study; it is not logged."""

    @property
    def series_instance_uid(self) -> str:
        """Of its series."""


_about: ContextVar[OfSeries | None] = ContextVar("about", default=None)


def trace_id(found: OfSeries) -> str:
    """What all lines about a series share, whichever process writes them.

    Made of its UIDs alone: 16 bytes, hexadecimal.
    """
    uids = f"{found.study_instance_uid}/{found.series_instance_uid}"
    return hashlib.sha256(uids.encode()).hexdigest()[:32]


@contextmanager
def about(item: OfSeries) -> Iterator[None]:
    """Say of every line that is logged meanwhile, which series it is about."""
    token = _about.set(item)
    try:
        yield
    finally:
        _about.reset(token)


class TextFormatter(logging.Formatter):
    """A line for people; it names the series where its message does not."""

    def __init__(self) -> None:
        super().__init__(_TEXT)

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  its name in logging
        """The line without what is told of an exception."""
        line = super().formatMessage(record)
        uid = None if (found := _about.get()) is None else found.series_instance_uid
        return line if uid is None or uid in line else f"{line} [series {uid}]"


class JSONFormatter(logging.Formatter):
    """A JSON document in one line, for machines.

    Parameters
    ----------
    part : str
        Which part of the node this process is.
    """

    def __init__(self, part: str) -> None:
        super().__init__()
        self._resource = {
            "service.name": "ichnode",
            "service.version": version("ichnode"),
            "host.name": socket.gethostname(),
            "process.pid": os.getpid(),
            "ichnode.part": part,
        }

    def format(self, record: logging.LogRecord) -> str:
        """The line of a record."""
        severity_text, severity_number = _SEVERITY.get(record.levelname, (record.levelname, 0))
        line: dict[str, Any] = {
            "timestamp": datetime.fromtimestamp(record.created, UTC).isoformat(
                timespec="microseconds"
            ),
            "severity_text": severity_text,
            "severity_number": severity_number,
            "body": record.getMessage(),
            "attributes": self._attributes(record),
            "resource": self._resource,
            "instrumentation_scope": {"name": record.name},
        }
        found = _about.get()
        if found is not None:
            line["trace_id"] = trace_id(found)
        return json.dumps(line)

    def _attributes(self, record: logging.LogRecord) -> dict[str, str]:
        attributes = {}
        if (found := _about.get()) is not None:
            attributes["dicom.series_instance_uid"] = found.series_instance_uid
        if record.exc_info is not None and record.exc_info[0] is not None:
            attributes["exception.type"] = record.exc_info[0].__name__
            attributes["exception.stacktrace"] = self.formatException(record.exc_info)
        return attributes


def start_logging(level: int, part: str, form: LogForm = LogForm.TEXT) -> None:
    """Log to stderr; libraries only when something is wrong, and never what they quote.

    Parameters
    ----------
    level : int
        Of the node's own lines.
    part : str
        Which part of the node this process is.
    form : LogForm
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JSONFormatter(part) if form is LogForm.JSON else TextFormatter())
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    logging.captureWarnings(capture=True)
    for library in QUOTING:
        logging.getLogger(library).setLevel(logging.CRITICAL)
    logging.getLogger("node").setLevel(level)
    if form is LogForm.JSON:
        _silence_stdout()


def _silence_stdout() -> None:
    """Keep what Celery prints past the log when it ends from coming between the lines."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)


def is_for_machines() -> bool:
    """Whether lines are JSON, so that nothing else may be written among them."""
    return any(isinstance(h.formatter, JSONFormatter) for h in logging.getLogger().handlers)
