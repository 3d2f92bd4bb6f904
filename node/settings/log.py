"""[log]: what the parts of a node write to stderr."""

from enum import StrEnum

from pydantic import Field

from node.settings.fields import Section


class LogForm(StrEnum):
    """What a line of the log is like."""

    TEXT = "text"
    JSON = "json"


class LogLevel(StrEnum):
    """What is logged: this, and what is more serious."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class LogSettings(Section):
    """What `up` and its parts log."""

    format: LogForm = Field(
        LogForm.TEXT, description="text, or json: a line each, with OpenTelemetry's names"
    )
    level: LogLevel = Field(
        LogLevel.INFO,
        description="debug, info, warning or error; debug may quote patient data in tracebacks",
    )
