"""The measurement reports: for archives, for software, and for viewers of measurements.

Both follow TID 1500 (Measurement Report), as IHE AI Results asks for, and differ
in what they measure:

- the report of *findings*, for readers: the likeliest slice of the study, then
  each flagged slice (each run of flagged slices in a thin series), one group a
  slice. It stays short, so that one can step through it in a viewer;
- the report of *slices*, for software: each finding's maximum in the study, then
  all six probabilities of every slice.

Every probability stands in a planar ROI group (TID 1410) whose region is the
whole head or the whole slice. The model knows no smaller one; viewers find a
slice by the region only, and OHIF shows nothing of a report in which one group
has none.

References
----------
Templates: DICOM PS3.16, annex A (TID 300, 1410, 1500, 1600, 4019, 4108).
"""

from collections.abc import Iterator, Sequence
from datetime import datetime
from functools import cache

import highdicom.sr as hd
import numpy as np
from pydicom.dataset import FileDataset
from pydicom.uid import Comprehensive3DSRStorage, ComprehensiveSRStorage, EnhancedSRStorage
from scipy import ndimage

from ml.labels import LABELS, Label
from node.judgement import Judgement, Model
from node.report import codes
from node.report.header import NOT_FOR_CLINICAL_USE, Series, plain, software_version
from node.report.identity import Kind, tracking_uid
from node.report.origin import Origin
from node.report.result import ResultReference
from node.report.sr.document import CONTAINS, container, fill, new_document, text
from node.report.sr.words import (
    READING_ORDER,
    flagged_for,
    maxima,
    peak,
    percent,
    place,
    remarks,
    runs,
)
from node.settings import ReportForm

_AIR_HU = -300
"""Below it there is air, HU."""

_CONTEXT = hd.RelationshipTypeValues.HAS_OBS_CONTEXT
_MODIFIER = hd.RelationshipTypeValues.HAS_CONCEPT_MOD

_SOP_CLASSES = {
    ReportForm.COMPREHENSIVE_3D: Comprehensive3DSRStorage,
    ReportForm.COMPREHENSIVE: ComprehensiveSRStorage,
    ReportForm.ENHANCED: EnhancedSRStorage,
}


def build_findings_report(
    origin: Origin,
    form: ReportForm,
    *,
    revision: int,
    predecessor: ResultReference | None,
    created: datetime,
) -> FileDataset:
    """Build the report of findings: the likeliest slice and the flagged ones.

    Parameters
    ----------
    origin : Origin
        The judgement and what it was made from.
    form : ReportForm
        Which SOP class it has; the content is the same.
    revision : int
        From 1.
    predecessor : ResultReference, optional
        The report that it replaces.
    created : datetime.datetime
        When it was created.
    """
    series = _series(
        Kind.STRUCTURED_REPORT, form, 2, f"ichnode ICH findings - {NOT_FOR_CLINICAL_USE}"
    )
    report = new_document(
        origin, series, revision=revision, predecessor=predecessor, created=created
    )
    _fill(report, origin, list(_reading_groups(origin)))
    return report


def build_slice_report(
    origin: Origin,
    form: ReportForm,
    *,
    revision: int,
    predecessor: ResultReference | None,
    created: datetime,
) -> FileDataset:
    """Build the report of slices: each finding's maximum, then all six of every slice.

    Parameters
    ----------
    origin, form, revision, predecessor, created
        As `build_findings_report` takes them.
    """
    series = _series(
        Kind.SLICE_REPORT,
        form,
        3,
        f"ichnode ICH for software - {NOT_FOR_CLINICAL_USE}",
    )
    report = new_document(
        origin, series, revision=revision, predecessor=predecessor, created=created
    )
    _fill(report, origin, [*_study_groups(origin), *_slice_groups(origin)])
    return report


def _series(kind: Kind, form: ReportForm, offset: int, description: str) -> Series:
    return Series(
        kind,
        _SOP_CLASSES[form],
        modality="SR",
        offset=offset,
        description=description,
        variant="" if form is ReportForm.COMPREHENSIVE_3D else form,
    )


def _fill(report: FileDataset, origin: Origin, groups: list[hd.ContentItem]) -> None:
    """The content tree around measurement groups (TID 1500)."""
    procedure = hd.CodeContentItem(
        name=codes.PROCEDURE_REPORTED,
        value=codes.CT_UNSPECIFIED_BODY_REGION,
        relationship_type=_MODIFIER,
    )
    fill(
        report,
        origin,
        codes.IMAGING_MEASUREMENT_REPORT,
        "1500",
        [
            procedure,
            _image_library(origin),
            container(codes.IMAGING_MEASUREMENTS, groups),
            _evaluations(origin.judgement),
        ],
    )


# -- measurement groups ----------------------------------------------------


def _reading_groups(origin: Origin) -> Iterator[hd.ContentItem]:
    """The likeliest slice, then the flagged ones, foot to head.

    One group a slice: viewers write the numbers of two groups over each other.
    """
    judgement = origin.judgement
    likeliest = judgement.key_slice(Label.ANY)
    said = ", ".join(_told(judgement, likeliest, flagged_for(judgement, [likeliest])))
    yield _group(
        judgement,
        likeliest,
        Label.ANY,
        _head(origin, likeliest),
        tracking_uid(judgement, "likeliest", 0),
        f"likeliest {place(judgement, likeliest)}: {said or 'not flagged'}",
        is_maximum=True,
        algorithm=_algorithm(judgement.model),
    )
    for indices in runs(judgement):
        labels = flagged_for(judgement, indices)
        index = peak(judgement, indices, labels[0])
        if index == likeliest:
            continue
        run = "" if len(indices) == 1 else f", of slices {indices[0] + 1} to {indices[-1] + 1}"
        yield _group(
            judgement,
            index,
            labels[0],
            _head(origin, index),
            tracking_uid(judgement, "flagged", index + 1),
            f"flagged {place(judgement, index)}{run}: "
            + ", ".join(_told(judgement, index, labels)),
        )


def _told(judgement: Judgement, index: int, labels: Sequence[Label]) -> list[str]:
    return [f"{label} {percent(judgement.probability(index, label))}" for label in labels]


def _study_groups(origin: Origin) -> Iterator[hd.ContentItem]:
    """Each finding's maximum, with the slice that it comes from."""
    judgement = origin.judgement
    algorithm = _algorithm(judgement.model)
    for label in READING_ORDER:
        index = judgement.key_slice(label)
        yield _group(
            judgement,
            index,
            label,
            _whole(origin, index),
            tracking_uid(judgement, label, 0),
            f"{label}: maximum of the study, {place(judgement, index)}",
            is_maximum=True,
            algorithm=algorithm,
        )


def _slice_groups(origin: Origin) -> Iterator[hd.ContentItem]:
    """Every slice's six probabilities, foot to head."""
    judgement = origin.judgement
    for index in range(len(judgement.slices)):
        region = _whole(origin, index)
        where = place(judgement, index)
        for label in LABELS:
            uid = tracking_uid(judgement, label, index + 1)
            yield _group(judgement, index, label, region, uid, f"{label}: {where}")


def _group(
    judgement: Judgement,
    index: int,
    label: Label,
    region: hd.ScoordContentItem,
    uid: str,
    identifier: str,
    *,
    is_maximum: bool = False,
    algorithm: hd.AlgorithmIdentification | None = None,
) -> hd.ContentItem:
    """The probability of a finding on a slice (TID 1410).

    Item by item: highdicom's class for it takes three times as long, and a thin
    series has thousands.
    """
    probability = hd.NumContentItem(
        name=codes.PROBABILITY,
        value=in_percent(judgement.probability(index, label)),
        unit=codes.PERCENT,
        relationship_type=CONTAINS,
    )
    if is_maximum:
        derivation = hd.CodeContentItem(
            name=codes.DERIVATION, value=codes.MAXIMUM, relationship_type=_MODIFIER
        )
        probability.ContentSequence = hd.ContentSequence([derivation])
    return container(
        codes.MEASUREMENT_GROUP,
        [
            hd.TextContentItem(
                name=codes.TRACKING_IDENTIFIER, value=identifier, relationship_type=_CONTEXT
            ),
            hd.UIDRefContentItem(name=codes.TRACKING_UID, value=uid, relationship_type=_CONTEXT),
            _finding(label),
            *(algorithm or ()),
            region,
            probability,
        ],
        template="1410",
    )


@cache
def _finding(label: Label) -> hd.ContentItem:
    """A finding, the same in every group that is about it."""
    return hd.CodeContentItem(
        name=codes.FINDING, value=codes.FINDINGS[label], relationship_type=CONTAINS
    )


def _whole(origin: Origin, index: int) -> hd.ScoordContentItem:
    """The whole of a slice."""
    rows, columns = origin.volume.hu.shape[1:]
    return _region(origin, index, (0, rows), (0, columns))


def _head(origin: Origin, index: int) -> hd.ScoordContentItem:
    """The smallest box around the head on a slice: viewers write beside a region."""
    return _region(origin, index, *head_box(origin.volume.hu[index]))


def _region(
    origin: Origin, index: int, rows: tuple[int, int], columns: tuple[int, int]
) -> hd.ScoordContentItem:
    """A rectangle on a slice, from row to row and from column to column."""
    item = origin.judgement.slices[index]
    (top, bottom), (left, right) = rows, columns
    corners = [(left, top), (right, top), (right, bottom), (left, bottom), (left, top)]
    region = hd.ScoordContentItem(
        name=codes.IMAGE_REGION,
        graphic_type=hd.GraphicTypeValues.POLYLINE,
        graphic_data=np.array(corners, dtype=np.float32),
        relationship_type=CONTAINS,
    )
    image = hd.ImageContentItem(
        name=codes.SOURCE,
        referenced_sop_class_uid=str(origin.header(item).SOPClassUID),
        referenced_sop_instance_uid=item.sop_instance_uid,
        referenced_frame_numbers=None if item.frame_number is None else [item.frame_number],
        relationship_type=hd.RelationshipTypeValues.SELECTED_FROM,
    )
    region.ContentSequence = hd.ContentSequence([image])
    return region


def head_box(hu: np.ndarray) -> tuple[tuple[int, int], tuple[int, int]]:
    """Rows and columns, first and past the last, of the largest body on a slice.

    Parameters
    ----------
    hu : numpy.ndarray
        HU, shape (rows, columns). Where all is air the box is the whole slice.
    """
    bodies, count = ndimage.label(hu > _AIR_HU)
    if not count:
        return (0, hu.shape[0]), (0, hu.shape[1])
    largest = int(np.bincount(bodies.ravel())[1:].argmax())
    rows, columns = ndimage.find_objects(bodies)[largest]
    return (rows.start, rows.stop), (columns.start, columns.stop)


def in_percent(value: float) -> float:
    """A single-precision probability in percent, in as few digits as bring it back.

    Nine do (IEEE 754); the double that a float32 widens to has up to fifty.
    """
    return float(f"{100 * value:.9g}")


def _algorithm(model: Model) -> hd.AlgorithmIdentification:
    """The model as an algorithm (TID 4019)."""
    parameters = [f"model digest (SHA-256) {model.digest}", f"ichnode {software_version()}"]
    point = model.operating_point
    if point is not None:
        thresholds = ", ".join(f"{label} {point.thresholds[label]:.4g}" for label in LABELS)
        parameters.append(plain(f"operating point {point.name}: {thresholds}"))
    return hd.AlgorithmIdentification(
        name=model.name,
        version=f"{plain(model.version)} ({model.digest[:12]})",
        parameters=parameters,
    )


# -- around them -----------------------------------------------------------


def _image_library(origin: Origin) -> hd.ContentItem:
    """The images that were judged (TID 1600)."""
    images = [
        hd.ImageContentItem(
            name=codes.SOURCE,
            referenced_sop_class_uid=str(header.SOPClassUID),
            referenced_sop_instance_uid=uid,
            relationship_type=CONTAINS,
        )
        for uid, header in origin.headers.items()
    ]
    group = container(codes.IMAGE_LIBRARY_GROUP, images)
    for image in images:
        del image.ConceptNameCodeSequence  # TID 1601 gives its entries no name
    return container(codes.IMAGE_LIBRARY, [group], template="1600")


def _evaluations(judgement: Judgement) -> hd.ContentItem:
    """Present, absent or undetermined, and what to know (TID 1500, row 12 and following)."""
    assessed = [
        hd.CodeContentItem(
            name=codes.FINDINGS[label],
            value=codes.ASSESSMENTS[assessment],
            relationship_type=CONTAINS,
        )
        for label in READING_ORDER
        if (assessment := judgement.assessment(label)) is not None
    ]
    said = [*remarks(judgement), *maxima(judgement)]
    comments = [text(codes.COMMENT, remark) for remark in said]
    return container(codes.QUALITATIVE_EVALUATIONS, [*assessed, *comments])
