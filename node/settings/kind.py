"""The kinds of objects that are made of a series: reports, pictures, and what goes with them."""

from enum import StrEnum


class Kind(StrEnum):
    """What a result object is."""

    STRUCTURED_REPORT = "sr"
    SLICE_REPORT = "slices"
    TEXT_REPORT = "text"
    SECONDARY_CAPTURE = "sc"
    KEY_OBJECTS = "ko"
    PRESENTATION_STATE = "pr"
    EVIDENCE_MAP = "map"
    NOTICE = "notice"
    WORKITEM = "ups"


IN_FORMS = (Kind.STRUCTURED_REPORT, Kind.SLICE_REPORT)
"""Kinds that a destination may have in an SR class of its own."""
