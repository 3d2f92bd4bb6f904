"""[feedback]: where radiologists' labels come in by HL7 v2."""

from typing import Self

from pydantic import Field, model_validator

from node.settings.fields import Port, PositiveSeconds, Section
from node.settings.security import Networks, TLSSettings
from node.settings.web import is_this_machine


class FeedbackSettings(Section):
    """What radiologists say of series, by HL7 v2 over MLLP."""

    hl7_port: Port | None = Field(
        None, description="port to take ORU^R01 on; absent: none is taken", examples=[2575]
    )
    hl7_host: str = Field("127.0.0.1", min_length=1, description="address to listen on")
    hl7_networks: Networks = Field(
        (),
        description="who may send; empty: this machine alone",
        examples=[["10.0.0.5/32"]],
    )
    max_message_kb: int = Field(256, ge=1, le=16_384, description="larger ones are rejected")
    max_connections: int = Field(20, ge=1, le=1000, description="at the same time")
    idle_s: PositiveSeconds = Field(600, description="a sender that is silent for longer is left")
    message_s: PositiveSeconds = Field(30, description="a message has to be whole after this time")
    tls: TLSSettings = TLSSettings()

    @model_validator(mode="after")
    def _is_closed(self) -> Self:
        if not is_this_machine(self.hl7_host) and self.hl7_port and not self.hl7_networks:
            raise ValueError(
                f"takes hl7_networks with hl7_host {self.hl7_host!r}: others than this machine "
                "reach the port, and HL7 asks nobody who they are"
            )
        return self
