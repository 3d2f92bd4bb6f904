"""[dicomweb]: where the node takes instances by STOW-RS, and who may send."""

import re
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from node.settings.fields import Port, Section
from node.settings.security import ClientCertificates, Networks, TLSSettings
from node.settings.web import PasswordHash, is_this_machine

_TOKEN_HASH = re.compile(r"sha256\$[0-9a-f]{64}")


def _check_token_hash(value: str) -> str:
    if _TOKEN_HASH.fullmatch(value) is None:
        raise ValueError("takes what `ichnode dicomweb --new-token` prints")
    return value


SenderName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._@-]{0,15}$")]
"""Stands where the AE title of a sender stands, and so is no longer than one."""

TokenHash = Annotated[str, AfterValidator(_check_token_hash)]


class DicomwebSettings(Section):
    """Instances by STOW-RS: where the node takes them, and who may send."""

    host: str = Field("127.0.0.1", min_length=1, description="address to listen on")
    port: Port | None = Field(
        None, description="port to listen on; absent: nothing comes in this way", examples=[8043]
    )
    networks: Networks = Field(
        (), description="where senders call from; empty: anywhere", examples=[["10.0.1.0/24"]]
    )
    users: dict[SenderName, PasswordHash] = Field(
        {},
        description="who may send, each with a hash by `ichnode web --hash-password`",
        examples=[{"pacs": "scrypt$15$..."}],
    )
    tokens: dict[SenderName, TokenHash] = Field(
        {},
        description="the same by a bearer token, each as `ichnode dicomweb --new-token` prints",
        examples=[{"router": "sha256$..."}],
    )
    tls: TLSSettings = TLSSettings()

    @property
    def asks_who(self) -> bool:
        """Whether a sender has to say who it is."""
        return bool(self.users or self.tokens)

    @property
    def is_open_to_all(self) -> bool:
        """Whether other machines may send without being asked who they are."""
        asks_for_certificates = (
            self.tls.is_on and self.tls.client_certificates is ClientCertificates.REQUIRED
        )
        return not (
            self.asks_who or self.networks or asks_for_certificates or is_this_machine(self.host)
        )

    @model_validator(mode="after")
    def _is_closed(self) -> Self:
        twice = self.users.keys() & self.tokens.keys()
        if twice:
            raise ValueError(f"takes each name once: {min(twice)} is in users and in tokens")
        if self.port is not None and self.is_open_to_all:
            raise ValueError(
                f"takes users, tokens, networks or certificates of senders with host "
                f"{self.host!r}: others than this machine reach the port"
            )
        return self
