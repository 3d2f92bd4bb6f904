"""[web]: where the page listens, and who may look at it."""

import ipaddress
import re
from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from node.settings.fields import Port, PositiveSeconds, Section
from node.settings.security import Networks

HASHED = r"^scrypt\$(1[4-9]|20)\$[0-9A-Za-z+/]{22,44}={0,2}\$[0-9A-Za-z+/]{43}=$"
"""As `ichnode web --hash-password` writes it: cost, salt, hash."""

_HOST_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?(:[0-9]{1,5})?")


def _check_hash(value: str) -> str:
    if re.match(HASHED, value) is None:
        raise ValueError("takes what `ichnode web --hash-password` prints")
    return value


def _check_name(value: str) -> str:
    if _HOST_NAME.fullmatch(value.lower()) is None:
        raise ValueError("takes a name of a host as in ichnode.hospital.example")
    return value.lower()


UserName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$")]
PasswordHash = Annotated[str, AfterValidator(_check_hash)]
HostName = Annotated[str, AfterValidator(_check_name)]


def is_this_machine(host: str) -> bool:
    """Whether only this machine reaches an address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class WebSettings(Section):
    """Where the web page listens, and who may look at it."""

    host: str = Field("127.0.0.1", min_length=1, description="address to listen on")
    port: Port = Field(8042, description="port to listen on")
    with_up: bool = Field(True, description="`ichnode up` runs the page too")
    users: dict[UserName, PasswordHash] = Field(
        {},
        description="who may look, each with a hash by `ichnode web --hash-password`",
        examples=[{"anna": "scrypt$15$..."}],
    )
    user_header: str | None = Field(
        None,
        pattern=r"^[A-Za-z][A-Za-z0-9-]{0,63}$",
        description="in which a proxy names the user that it has let in",
        examples=["X-Remote-User"],
    )
    trusted_proxies: Networks = Field(
        (), description="where that proxy calls from", examples=[["127.0.0.1/32"]]
    )
    session_h: PositiveSeconds = Field(12, description="hours until a login ends")
    names: tuple[HostName, ...] = Field(
        (),
        description="by which browsers call the page; empty: any, on loopback its own",
        examples=[["ichnode.hospital.example"]],
    )
    certificate: Path | None = Field(
        None,
        description="for https, with what stands above it; PEM",
        examples=["/etc/ichnode/node.pem"],
    )
    key: Path | None = Field(
        None,
        description="its key, for the node's user alone; PEM",
        examples=["/etc/ichnode/node.key"],
    )
    show_patient: bool = Field(False, description="names, IDs and accession numbers on the page")
    metrics: bool = Field(True, description="answer /metrics and /health: counts, no login")

    @property
    def asks_who(self) -> bool:
        """Whether one has to say who one is."""
        return bool(self.users) or self.user_header is not None

    @model_validator(mode="after")
    def _is_closed(self) -> Self:
        if self.user_header is not None and not self.trusted_proxies:
            raise ValueError("takes trusted_proxies where there is a user_header")
        if (self.certificate is None) != (self.key is None):
            raise ValueError("takes certificate and key together")
        if not is_this_machine(self.host) and not self.asks_who:
            raise ValueError(
                f"takes users or user_header with host {self.host!r}: "
                "others than this machine reach the page"
            )
        return self
