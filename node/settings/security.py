"""Who may talk to the node, what it shows of itself by TLS, and where its secrets lie."""

import ipaddress
import os
import re
import stat
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, model_validator

from node.settings.fields import AETitle, Port, Section

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address

NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"


def as_address(value: str) -> Address:
    """Read an address; one of IPv4 in the form of IPv6 is the same as itself.

    Raises
    ------
    ValueError
        If it is none.
    """
    address = ipaddress.ip_address(value.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def _network(value: object) -> Network:
    try:
        return ipaddress.ip_network(str(value), strict=False)
    except ValueError:
        raise ValueError("takes an address or a network as in 10.0.0.0/24") from None


Networks = tuple[Annotated[Network, BeforeValidator(_network)], ...]


class TakesTLS(Section):
    """A system that the node may call, with TLS or without."""

    name: str = Field(pattern=NAME, description="what you call it", examples=["pacs"])
    tls: bool = Field(False, description="whether it takes TLS")
    tls_ca: Path | None = Field(
        None,
        description="certificates to check its own by; absent: the system's",
        examples=["/etc/ichnode/pacs-ca.pem"],
    )
    tls_certificate: Path | None = Field(
        None,
        description="the node's own, where it asks for one",
        examples=["/etc/ichnode/node.pem"],
    )
    tls_key: Path | None = Field(
        None, description="the key of tls_certificate", examples=["/etc/ichnode/node.key"]
    )
    tls_check_host: bool = Field(True, description="its certificate has to name its host")

    @model_validator(mode="after")
    def _tls_is_whole(self) -> Self:
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("takes tls_certificate and tls_key together")
        if not self.tls and (self.tls_ca or self.tls_certificate or not self.tls_check_host):
            raise ValueError("takes tls = true where there are other keys of TLS")
        return self


class Peer(TakesTLS):
    """A system that may send to the node; without any, whoever reaches the port may."""

    name: str = Field(pattern=NAME, description="what you call it", examples=["ct1"])
    ae_title: AETitle = Field(description="AE title that it calls itself by", examples=["CT1"])
    networks: Networks = Field(
        (),
        description="where it calls from; with host, its address counts too; neither: anywhere",
        examples=[["10.0.1.0/24"]],
    )
    host: str | None = Field(
        None,
        min_length=1,
        description="its address, for storage commitment reports to it",
        examples=["10.0.1.7"],
    )
    port: Port | None = Field(
        None, description="its port; absent: it is never called", examples=[104]
    )


class ClientCertificates(StrEnum):
    """What a peer that calls has to show of itself."""

    REQUIRED = "required"
    OPTIONAL = "optional"
    NONE = "none"


class TLSSettings(Section):
    """TLS for those who call the node; without a certificate there is none."""

    certificate: Path | None = Field(
        None,
        description="the node's, with what stands above it; PEM",
        examples=["/etc/ichnode/node.pem"],
    )
    key: Path | None = Field(
        None,
        description="its key, for the node's user alone; PEM",
        examples=["/etc/ichnode/node.key"],
    )
    ca: Path | None = Field(
        None,
        description="certificates to check those of peers by; PEM",
        examples=["/etc/ichnode/ca.pem"],
    )
    client_certificates: ClientCertificates = Field(
        ClientCertificates.REQUIRED, description="of peers that call: required, optional, none"
    )

    @property
    def is_on(self) -> bool:
        """Whether peers have to call with TLS."""
        return self.certificate is not None

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("takes certificate and key together")
        if self.certificate is None and self.ca is not None:
            raise ValueError("takes certificate and key where there is a ca")
        if (
            self.is_on
            and self.ca is None
            and self.client_certificates is not (ClientCertificates.NONE)
        ):
            # Never the system's: anyone gets a certificate from one of those.
            raise ValueError('takes ca to check peers by, or client_certificates = "none"')
        return self


def check_private(path: Path) -> None:
    """See that a file with a secret cannot be read by everybody.

    The rule is PostgreSQL's for keys: the service's own file is for its user
    alone; one of root may be read by a group.

    Raises
    ------
    OSError
        If it is not there.
    ValueError
        If others can read it, with what to do about it.
    """
    status = path.stat()
    allowed = stat.S_IRWXU | (stat.S_IRGRP if status.st_uid == 0 else 0)
    if status.st_uid not in (0, os.geteuid()):
        raise ValueError(f"{path} belongs to another user: chown it to the node's or to root")
    if stat.S_IMODE(status.st_mode) & ~allowed & (stat.S_IRWXG | stat.S_IRWXO):
        raise ValueError(f"{path} can be read or changed by others: chmod 600 it")


def with_url_of_file(section: Any, pattern: str) -> Any:
    """A section of the configuration whose ``url_file`` was read.

    Parameters
    ----------
    section : object
        As it was given.
    pattern : str
        What a URL has to be like.

    Raises
    ------
    ValueError
        If there is a ``url`` too, or the file cannot be used. It does not quote the file.
    """
    if not isinstance(section, dict) or not section.get("url_file"):
        return section
    if section.get("url"):
        raise ValueError("takes url or url_file, not both")
    path = Path(str(section["url_file"]))
    try:
        check_private(path)
        url = path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ValueError(f"takes a file that can be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ValueError("takes a file with a URL in UTF-8") from None
    if re.match(pattern, url) is None:
        raise ValueError(f"takes a file with a URL that matches {pattern}")
    return {**section, "url": url}
