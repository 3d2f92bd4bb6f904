"""[[notify]] and [smtp]: who is told of what, and how."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from ml.labels import Label
from node.settings.fields import Port, Section
from node.settings.security import NAME
from node.settings.web import is_this_machine


class Occasion(StrEnum):
    """What may be told."""

    FLAGGED = "flagged"
    FAILED = "failed"
    SKIPPED = "skipped"


class Detail(StrEnum):
    """How much a notification says: each says what stands before it, too."""

    EVENT = "event"
    STUDY = "study"
    PATIENT = "patient"


class Way(StrEnum):
    """How a notification goes, as the scheme of its address."""

    HTTP = "http"
    HTTPS = "https"
    MAIL = "mailto"
    HL7 = "mllp"
    HL7_TLS = "mllps"


MLLP = (Way.HL7, Way.HL7_TLS)

_WRONG = "takes https://host/path, mailto:someone@example, mllp://host:port or mllps://host:port"


def _check_address(value: str) -> str:
    try:
        url = urlsplit(value)
        way, port = Way(url.scheme), url.port
    except ValueError:
        raise ValueError(_WRONG) from None
    if not value.isprintable() or " " in value:
        raise ValueError(_WRONG)
    if way is Way.MAIL:
        people = url.path.split(",")
        if not all(0 < person.find("@") < len(person) - 1 for person in people):
            raise ValueError(_WRONG)
    elif not url.hostname or url.username is not None or (way in MLLP and not port):
        raise ValueError(_WRONG)
    return value


class NotifyRule(Section):
    """Who is told when a series is flagged or fails."""

    name: str = Field(pattern=NAME, description="what you call it", examples=["stroke-team"])
    to: Annotated[str, AfterValidator(_check_address)] = Field(
        description="https://host/path, mailto:someone@example, mllp://host:port (HL7 v2 ORU) or "
        "mllps://host:port (by TLS)",
        examples=["https://hooks.example/ich"],
    )
    on: tuple[Occasion, ...] = Field(
        (Occasion.FLAGGED, Occasion.FAILED), min_length=1, description="flagged, failed, skipped"
    )
    findings: tuple[Label, ...] = Field(
        (), description="flagged is told for these alone; empty: for each of the six"
    )
    tell: Detail = Field(
        Detail.EVENT,
        description="event: no more; study: its UIDs and accession number; patient: ID and name",
    )
    secret_file: Path | None = Field(
        None,
        description="a file with whsec_ and the key in base64 that a webhook is signed with",
        examples=["/etc/ichnode/hook.secret"],
    )
    ca: Path | None = Field(
        None,
        description="certificates to check a webhook's, or that of mllps, by; absent: the system's",
        examples=["/etc/ichnode/ca.pem"],
    )
    certificate: Path | None = Field(
        None,
        description="the node's own, where mllps asks for one",
        examples=["/etc/ichnode/node.pem"],
    )
    key: Path | None = Field(
        None, description="the key of certificate", examples=["/etc/ichnode/node.key"]
    )

    @property
    def way(self) -> Way:
        """How it goes."""
        return Way(urlsplit(self.to).scheme)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        is_hook = self.way in (Way.HTTP, Way.HTTPS)
        if self.secret_file is not None and not is_hook:
            raise ValueError("takes secret_file for a webhook alone")
        if self.ca is not None and self.way not in (Way.HTTPS, Way.HL7_TLS):
            raise ValueError("takes ca for https and mllps alone")
        if (self.certificate is None) != (self.key is None):
            raise ValueError("takes certificate and key together")
        if self.certificate is not None and self.way is not Way.HL7_TLS:
            raise ValueError("takes certificate and key for mllps alone")
        if self.way in MLLP and self.tell is not Detail.PATIENT:
            raise ValueError('takes tell = "patient" with mllp: an ORU is about a patient')
        is_far = not is_this_machine(urlsplit(self.to).hostname or "")
        if self.way is Way.HTTP and is_far and self.tell is not Detail.EVENT:
            raise ValueError('takes https where tell is not "event"')
        return self


class MailSecurity(StrEnum):
    """How the connection to the mail server is protected."""

    NONE = "none"
    STARTTLS = "starttls"
    TLS = "tls"


class SmtpSettings(Section):
    """The mail server for notifications."""

    host: str = Field("localhost", min_length=1, description="its address")
    port: Port = Field(25, description="its port; 587 with starttls, 465 with tls")
    security: MailSecurity = Field(MailSecurity.NONE, description="none, starttls or tls")
    ca: Path | None = Field(
        None,
        description="certificates to check its own by; absent: the system's",
        examples=["/etc/ichnode/ca.pem"],
    )
    user: str | None = Field(None, description="to log in as", examples=["ichnode"])
    password_file: Path | None = Field(
        None,
        description="a file with the password of user",
        examples=["/etc/ichnode/smtp.password"],
    )
    sender: str = Field("ichnode@localhost", min_length=3, description="who the mail is from")

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if (self.user is None) != (self.password_file is None):
            raise ValueError("takes user and password_file together")
        if self.user is not None and self.security is MailSecurity.NONE:
            raise ValueError("takes security = starttls or tls where there is a password")
        if self.ca is not None and self.security is MailSecurity.NONE:
            raise ValueError("takes security = starttls or tls where there is a ca")
        return self
