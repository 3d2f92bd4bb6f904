"""[[destinations]]: who results are sent to."""

from enum import StrEnum

from pydantic import Field

from node.settings.fields import AETitle, Port
from node.settings.report import ReportForm
from node.settings.security import TakesTLS


class TransferSyntax(StrEnum):
    """How objects are encoded on their way to a destination; all of these are lossless."""

    AS_IS = "as-is"
    EXPLICIT = "explicit"
    IMPLICIT = "implicit"
    RLE = "rle"
    JPEG_LS = "jpeg-ls"
    JPEG_2000 = "jpeg-2000"


class Destination(TakesTLS):
    """A peer that results are sent to."""

    ae_title: AETitle = Field(description="AE title of the peer", examples=["PACS"])
    host: str = Field(min_length=1, description="its address", examples=["10.0.0.5"])
    port: Port = Field(description="its port", examples=[104])
    commit: bool = Field(
        False,
        description="ask it to commit to what it has stored; where there are peers, it is one",
    )
    transfer_syntax: TransferSyntax = Field(
        TransferSyntax.AS_IS,
        description="as-is, explicit, implicit; of pictures alone: rle, jpeg-ls, jpeg-2000",
    )
    structured_report: ReportForm | None = Field(
        None,
        description="SR class that it gets; absent: that of [report]",
        examples=["comprehensive"],
    )
    ups: bool = Field(False, description="whether it takes workitems: UPS Push")
