"""Evidence maps: where on a flagged slice the evidence lies, as secondary captures.

They are a series of their own, so that a reader of the overlay does not meet them
unasked. Each has the number of its slice in the source, as the overlay has.

References
----------
DICOM PS3.3: Secondary Capture Image IOD (A.8.1). What a map means: `ml.evidence`.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from pydicom.dataset import FileDataset
from pydicom.uid import SecondaryCaptureImageStorage

from node.report.capture import capture_numbers, compress, fill_capture, fill_pixels
from node.report.errors import ReportError
from node.report.header import NOT_FOR_CLINICAL_USE, Series, new_result, plain
from node.report.orientation import Edges
from node.report.origin import Origin
from node.report.picture.heat import NOT_A_SEGMENTATION, draw_evidence
from node.settings import Kind, ReportSettings

if TYPE_CHECKING:  # at run time it would bring PyTorch
    from ml.evidence import Evidence

_SERIES = Series(
    Kind.EVIDENCE_MAP,
    SecondaryCaptureImageStorage,
    modality="OT",
    offset=7,
    description=f"ichnode evidence maps - {NOT_FOR_CLINICAL_USE}",
)


def build_evidence_maps(
    origin: Origin,
    evidence: "Sequence[Evidence]",
    settings: ReportSettings,
    *,
    revision: int,
    created: datetime,
) -> Iterator[tuple[str, FileDataset]]:
    """Build the evidence maps of a judgement.

    Parameters
    ----------
    origin : Origin
        The judgement and what it was made from.
    evidence : sequence of Evidence
        Of some of its slices (`ml.evidence.explain`).
    settings : ReportSettings
        How they are compressed; each is an object of its own.
    revision : int
        From 1.
    created : datetime.datetime
        When they were created.

    Yields
    ------
    tuple of str and pydicom.dataset.FileDataset
        A file's name and content, in the order of `evidence`.

    Raises
    ------
    ReportError
        If a map is of another size than its slice.
    """
    slices = origin.judgement.slices
    numbers = capture_numbers(slices)
    flagged = len(origin.judgement.flagged_slices())
    shown = f"{len(evidence)} of {flagged} flagged slices are shown so"
    digits = max(3, len(str(len(slices))))
    for one in evidence:
        hu, item = origin.volume.hu[one.index], slices[one.index]
        if one.heat.shape != hu.shape:
            raise ReportError(
                f"the evidence map of slice {one.index + 1} has shape {one.heat.shape}, "
                f"the slice {hu.shape}"
            )
        capture = new_result(origin, _SERIES, one.index + 1, revision=revision, created=created)
        capture.InstanceNumber = numbers[one.index]
        fill_capture(capture, origin, [item], f"{_derivation(origin, one)}; {shown}")
        plane = origin.plane(item)
        edges = Edges() if plane is None else Edges.of(plane.orientation)
        capture.PatientOrientation = [edges.right, edges.bottom] if edges.right else None
        spacing_mm = origin.volume.spacing_mm
        fill_pixels(capture, draw_evidence(origin.judgement, one, hu, spacing_mm, edges))
        compress(capture, settings.compression)
        yield f"map-{one.index + 1:0{digits}}.dcm", capture


def _derivation(origin: Origin, one: "Evidence") -> str:
    model = origin.model
    return (
        f"Slice in the brain window, and with a map over it of where the evidence for "
        f"{one.label.words.lower()} lies by integrated gradients of model {model.name} "
        f"{plain(model.version)} ({model.digest[:12]}). {NOT_A_SEGMENTATION} "
        f"{NOT_FOR_CLINICAL_USE.capitalize()}"
    )
