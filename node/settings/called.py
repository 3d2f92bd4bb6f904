"""A DICOM application that the node calls: over an association, or by DICOMweb."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from node.settings.fields import AETitle, Port, Section
from node.settings.security import TakesTLS
from node.settings.web import is_this_machine

_HTTPS = "https://"
_WRONG = "takes https://host/path or http://host/path, and no more"


def _check_url(value: str) -> str:
    try:
        url = urlsplit(value)
        is_reachable = bool(url.hostname) and url.port != 0
    except ValueError:
        raise ValueError(_WRONG) from None
    is_plain = value.isascii() and value.isprintable() and not set(value) & set(' "\\<>{}|^`')
    if not is_plain or not is_reachable or url.scheme not in ("http", "https"):
        raise ValueError(_WRONG)
    if url.username is not None:
        raise ValueError("takes a URL without a password: see user and password_file")
    if "?" in value or "#" in value:
        raise ValueError(_WRONG)
    return value.rstrip("/")


def _check_user(value: str) -> str:
    """A user-id (RFC 7617, 2): the first colon ends it."""
    if not value or not value.isprintable() or ":" in value:
        raise ValueError("takes a name without a colon")
    return value


@dataclass(frozen=True)
class Application:
    """An application entity and where it listens."""

    ae_title: str
    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.ae_title} at {self.host}:{self.port}"


class _Address(Section):
    """Where an application is called, and as whom."""

    ae_title: AETitle | None = Field(None, description="AE title of the peer", examples=["PACS"])
    host: str | None = Field(None, min_length=1, description="its address", examples=["10.0.0.5"])
    port: Port | None = Field(None, description="its port", examples=[104])
    url: Annotated[str, AfterValidator(_check_url)] | None = Field(
        None,
        description="or where its DICOMweb begins, instead of ae_title, host and port",
        examples=["https://pacs.example/dicom-web"],
    )
    user: Annotated[str, AfterValidator(_check_user)] | None = Field(
        None, description="to log in as at url", examples=["ichnode"]
    )
    password_file: Path | None = Field(
        None,
        description="a file with the password of user, read at every request",
        examples=["/etc/ichnode/pacs.password"],
    )
    token_file: Path | None = Field(
        None,
        description="or a file with a bearer token, read at every request",
        examples=["/etc/ichnode/pacs.token"],
    )


class Called(TakesTLS, _Address):
    """A DICOM application that the node calls."""

    @property
    def is_web(self) -> bool:
        """Whether it is called by DICOMweb."""
        return self.url is not None

    @property
    def question(self) -> str:
        """What it is asked to see whether it answers."""
        return "C-ECHO" if self.url is None else "QIDO-RS search"

    @property
    def application(self) -> Application:
        """Who is called over an association; not one with a URL."""
        assert self.ae_title is not None
        assert self.host is not None
        assert self.port is not None
        return Application(self.ae_title, self.host, self.port)

    @property
    def address(self) -> tuple[str, int]:
        """Host and port, whatever it speaks there."""
        if self.url is None:
            return self.application.host, self.application.port
        url = urlsplit(self.url)
        return url.hostname or "", url.port or (443 if url.scheme == "https" else 80)

    @property
    def where(self) -> str:
        """What it is called by in messages."""
        return self.url or str(self.application)

    @model_validator(mode="before")
    @classmethod
    def _https_is_tls(cls, values: Any) -> Any:
        if isinstance(values, dict) and str(values.get("url") or "").startswith(_HTTPS):
            return {"tls": True, **values}
        return values

    @model_validator(mode="after")
    def _is_called_in_one_way(self) -> Self:
        parts = {"ae_title": self.ae_title, "host": self.host, "port": self.port}
        missing = [name for name, value in parts.items() if value is None]
        if self.url is not None and len(missing) < len(parts):
            raise ValueError("takes ae_title, host and port, or url, not both")
        if self.url is None and len(missing) == len(parts):
            raise ValueError("takes ae_title, host and port, or url")
        if self.url is None and missing:
            raise ValueError(f"takes {' and '.join(missing)} as well")
        return self

    @model_validator(mode="after")
    def _proves_who_it_is(self) -> Self:
        if (self.user is None) != (self.password_file is None):
            raise ValueError("takes user and password_file together")
        if self.user is not None and self.token_file is not None:
            raise ValueError("takes user and password_file, or token_file, not both")
        has_secret = self.user is not None or self.token_file is not None
        if self.url is None:
            if has_secret:
                raise ValueError("takes url where there is a password or a token")
            return self
        is_secure = self.url.startswith(_HTTPS)
        if self.tls != is_secure:
            raise ValueError("takes https:// in url with tls = true, and http:// without")
        if has_secret and not is_secure and not is_this_machine(self.address[0]):
            raise ValueError("takes https:// in url where there is a password or a token")
        return self
