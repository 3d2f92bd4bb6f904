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
from typing import Protocol

from node.judgement import Model
from node.settings import Kind

_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "ichnode.results")
"""Ours alone; another name would give every result another UID."""


class Subject(Protocol):
    """What a result is about; a `node.judgement.Judgement` is one."""

    @property
    def series_instance_uid(self) -> str:
        """The series."""

    @property
    def input_digest(self) -> str:
        """Stands for the set of its instances."""

    @property
    def model(self) -> Model | None:
        """The model that looked at it, None where none did."""


def instance_uid(subject: Subject, kind: Kind, number: int = 1, variant: str = "") -> str:
    """SOP Instance UID of a result.

    Parameters
    ----------
    subject : Subject
        What it is about.
    kind : Kind
        What it is.
    number : int
        Of the slice, from 1; 1 for a report.
    variant : str
        Of the kind: the same content in another SOP class is another object.
    """
    return _uid("instance", *_parts(subject), f"{kind}{variant}", str(number))


def series_uid(subject: Subject, kind: Kind, variant: str = "") -> str:
    """Series Instance UID of the results of a kind."""
    return _uid("series", *_parts(subject), f"{kind}{variant}")


def tracking_uid(subject: Subject, what: str, number: int) -> str:
    """Tracking Unique Identifier of something that is said of a slice (0: of the study)."""
    return _uid("tracking", *_parts(subject), what, str(number))


def device_uid(model: Model | None) -> str:
    """UID of the model as a device, or of the node: the same wherever it runs."""
    return (
        _uid("device") if model is None else _uid("device", model.name, model.version, model.digest)
    )


def _parts(subject: Subject) -> tuple[str, ...]:
    model = subject.model
    digest = "" if model is None else model.digest
    point = None if model is None else model.operating_point
    return (
        subject.series_instance_uid,
        subject.input_digest,
        digest,
        "" if point is None else point.name,
    )


def _uid(*parts: str) -> str:
    return f"2.25.{uuid.uuid5(_NAMESPACE, chr(10).join(parts)).int}"
