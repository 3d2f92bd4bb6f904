"""[[destinations]]: who results are sent to."""

from enum import StrEnum
from typing import Self

from pydantic import Field, model_validator

from node.settings.called import Called
from node.settings.report import ReportForm


class TransferSyntax(StrEnum):
    """How objects are encoded on their way to a destination; all of these are lossless."""

    AS_IS = "as-is"
    EXPLICIT = "explicit"
    IMPLICIT = "implicit"
    RLE = "rle"
    JPEG_LS = "jpeg-ls"
    JPEG_2000 = "jpeg-2000"

    @property
    def is_of_pictures(self) -> bool:
        """Whether nothing but pictures is encoded so."""
        return self in (TransferSyntax.RLE, TransferSyntax.JPEG_LS, TransferSyntax.JPEG_2000)


class Destination(Called):
    """A peer that results are sent to."""

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
    ups: bool = Field(False, description="whether it takes workitems: UPS Push, or UPS-RS at url")

    @model_validator(mode="after")
    def _has_an_association(self) -> Self:
        """Storage commitment goes over one."""
        if self.commit and self.url is not None:
            raise ValueError(
                "takes ae_title, host and port where commit = true: DICOMweb has no such service"
            )
        return self
