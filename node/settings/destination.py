"""[[destinations]]: who results are sent to."""

from pydantic import Field

from node.settings.fields import AETitle, Port
from node.settings.security import TakesTLS


class Destination(TakesTLS):
    """A peer that results are sent to."""

    ae_title: AETitle = Field(description="AE title of the peer", examples=["PACS"])
    host: str = Field(min_length=1, description="its address", examples=["10.0.0.5"])
    port: Port = Field(description="its port", examples=[104])
    commit: bool = Field(
        False,
        description="ask it to commit to what it has stored; where there are peers, it is one",
    )
