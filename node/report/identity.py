"""UIDs of results, derived from what was judged and by which model.

Building the results of a judgement again gives the same UIDs, so that a PACS
never shows a result twice; another set of instances, another model or another
operating point gives other ones.

References
----------
UUIDs as UIDs under the root 2.25: DICOM PS3.5, B.2. Name-based UUIDs: RFC 9562,
5.5.
"""

import uuid
from enum import StrEnum

from ml.labels import Label
from node.judgement import Judgement, Model

_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "ichnode.results")
"""Ours alone; another name would give every result another UID."""


class Kind(StrEnum):
    """What a result object is."""

    STRUCTURED_REPORT = "sr"
    TEXT_REPORT = "text"
    SECONDARY_CAPTURE = "sc"
    KEY_OBJECTS = "ko"
    PRESENTATION_STATE = "pr"
    EVIDENCE_MAP = "map"
    NOTICE = "notice"


def instance_uid(judgement: Judgement, kind: Kind, number: int = 1) -> str:
    """SOP Instance UID of a result.

    Parameters
    ----------
    judgement : Judgement
        What it shows.
    kind : Kind
        What it is.
    number : int
        Of the slice, from 1; 1 for a report.
    """
    return _uid("instance", *_judged(judgement), kind, str(number))


def series_uid(judgement: Judgement, kind: Kind) -> str:
    """Series Instance UID of the results of a kind."""
    return _uid("series", *_judged(judgement), kind)


def tracking_uid(judgement: Judgement, label: Label, number: int) -> str:
    """Tracking Unique Identifier of a finding on a slice (0: in the study)."""
    return _uid("tracking", *_judged(judgement), label, str(number))


def device_uid(model: Model) -> str:
    """UID of the model as a device: the same wherever it runs."""
    return _uid("device", model.name, model.version, model.digest)


def _judged(judgement: Judgement) -> tuple[str, ...]:
    model = judgement.model
    point = "" if model.operating_point is None else model.operating_point.name
    return judgement.series_instance_uid, judgement.input_digest, model.digest, point


def _uid(*parts: str) -> str:
    return f"2.25.{uuid.uuid5(_NAMESPACE, chr(10).join(parts)).int}"
