"""Which results are made, and in what form."""

from enum import StrEnum

from pydantic import Field

from node.settings.fields import Section


class ReportForm(StrEnum):
    """SOP class of the structured report."""

    COMPREHENSIVE_3D = "comprehensive-3d"
    COMPREHENSIVE = "comprehensive"
    ENHANCED = "enhanced"

    @property
    def sop_class_uid(self) -> str:
        """As the standard names it (PS3.4, B.5); pydicom, which knows it, takes long to import."""
        return f"1.2.840.10008.5.1.4.1.1.88.{_SOP_CLASSES[self]}"


_SOP_CLASSES = {
    ReportForm.COMPREHENSIVE_3D: 34,
    ReportForm.COMPREHENSIVE: 33,
    ReportForm.ENHANCED: 22,
}


class CaptureForm(StrEnum):
    """SOP class of the secondary captures."""

    SINGLE_FRAME = "single-frame"
    MULTI_FRAME = "multi-frame"


class Compression(StrEnum):
    """Transfer syntax of the secondary captures; all of them are lossless."""

    NONE = "none"
    RLE = "rle"
    JPEG_LS = "jpeg-ls"
    JPEG_2000 = "jpeg-2000"


class Notices(StrEnum):
    """Which series that were not analyzed are reported on."""

    NONE = "none"
    FAILED = "failed"
    ALL = "all"


class ReportSettings(Section):
    """Which results are made of a judgement, and in what form."""

    structured_report: ReportForm = Field(
        ReportForm.COMPREHENSIVE_3D,
        description="comprehensive-3d, or comprehensive or enhanced for archives that refuse it",
    )
    text_report: bool = Field(True, description="a report in words for viewers that show text")
    capture: CaptureForm = Field(
        CaptureForm.SINGLE_FRAME, description="secondary captures: single-frame or multi-frame"
    )
    compression: Compression = Field(
        Compression.NONE, description="of secondary captures: none, rle, jpeg-ls, jpeg-2000"
    )
    key_objects: bool = Field(False, description="a key object selection of the flagged slices")
    presentation_state: bool = Field(
        False, description="a softcopy presentation state that marks the flagged slices"
    )
    evidence_maps: bool = Field(
        False, description="secondary captures of where on a flagged slice the evidence lies"
    )
    not_analyzed: Notices = Field(
        Notices.FAILED, description="report on series without a result: none, failed, all"
    )
