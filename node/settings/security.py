"""Who may talk to the node."""

import ipaddress
from typing import Annotated

from pydantic import BeforeValidator, Field

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


class Peer(Section):
    """A system that may send to the node."""

    name: str = Field(pattern=NAME, description="what you call it")
    ae_title: AETitle = Field(description="AE title that it calls itself by")
    networks: Networks = Field(
        (), description="where it calls from; with host, its address counts too; neither: anywhere"
    )
    host: str | None = Field(
        None, min_length=1, description="its address, for storage commitment reports to it"
    )
    port: Port | None = Field(None, description="its port; absent: it is never called")
