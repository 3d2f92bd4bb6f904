"""The audit trail: where its records go, and what they say of the patient."""

from enum import StrEnum
from logging.handlers import SysLogHandler
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from node.settings.fields import Section

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]

NOWHERE = "none"
"""Stands for: no file, no syslog."""


class Transport(StrEnum):
    """How a syslog server is reached."""

    UNIX = "unix"
    UDP = "udp"
    TCP = "tcp"
    TLS = "tls"


class Patient(StrEnum):
    """What a record says of the patient; a name is in none."""

    ID = "id"
    NONE = "none"


def _check_syslog(value: str) -> str:
    if value == NOWHERE:
        return value
    wrong = ValueError("takes none, unix:/dev/log, or udp, tcp or tls as in udp://host:514")
    try:
        url = urlsplit(value)
        transport, host, _port = Transport(url.scheme), url.hostname, url.port
    except ValueError:
        raise wrong from None
    if transport is Transport.UNIX:
        if url.netloc or not url.path.startswith("/"):
            raise wrong
    elif not host or url.path or url.query or url.username is not None:
        raise wrong
    return value


def _check_facility(value: str) -> str:
    if value not in SysLogHandler.facility_names:
        raise ValueError(f"takes one of {', '.join(SysLogHandler.facility_names)}")
    return value


class AuditSettings(Section):
    """Records of who sent what, what went where and which model judged (PS3.15, A.5)."""

    file: str = Field(
        "audit.log", min_length=1, description="in home, or a whole path; none: no file"
    )
    rotate_mb: Positive = Field(100, description="a file is put aside at this size")
    rotate_days: Positive = Field(30, description="and at this age; none is ever deleted")
    syslog: Annotated[str, AfterValidator(_check_syslog)] = Field(
        NOWHERE, description="none, unix:/dev/log, udp://host:514, tcp://host:514, tls://host:6514"
    )
    facility: Annotated[str, AfterValidator(_check_facility)] = Field(
        "authpriv", description="of syslog; authpriv is the standard's (PS3.15, A.6)"
    )
    tls_ca: Path | None = Field(
        None,
        description="certificates to check a tls:// server by; absent: the system's",
        examples=["/etc/ichnode/syslog-ca.pem"],
    )
    tls_certificate: Path | None = Field(
        None,
        description="the node's own, where a server asks",
        examples=["/etc/ichnode/node.pem"],
    )
    tls_key: Path | None = Field(
        None, description="the key of tls_certificate", examples=["/etc/ichnode/node.key"]
    )
    patient: Patient = Field(Patient.ID, description="what records say of the patient: id, none")
    max_waiting: int = Field(
        2000, ge=1, le=1_000_000, description="records kept while file or syslog fail, then lost"
    )

    @model_validator(mode="after")
    def _certificate_with_key(self) -> "AuditSettings":
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("takes tls_certificate and tls_key together")
        return self
