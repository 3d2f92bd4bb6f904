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

import highdicom.sr as hd
import numpy as np
from pydicom.dataset import FileDataset
from scipy import ndimage

from ml.labels import LABELS, Label
from node.judgement import Judgement, Model
from node.report import codes
from node.report.header import NOT_FOR_CLINICAL_USE, Series, plain, software_version
from node.report.identity import tracking_uid
from node.report.origin import Origin
from node.report.result import ResultReference
from node.report.sr.content import (
    Item,
    Relation,
    code,
    container,
    encoded,
    image,
    number,
    polyline,
    text,
    uid,
)
from node.report.sr.document import fill, new_document, remark
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
from node.settings import Kind, ReportForm

_AIR_HU = -300
"""Below it there is air, HU."""


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
        form.sop_class_uid,
        modality="SR",
        offset=offset,
        description=description,
        variant="" if form is ReportForm.COMPREHENSIVE_3D else form,
    )


def _fill(report: FileDataset, origin: Origin, groups: list[Item]) -> None:
    """The content tree around measurement groups (TID 1500)."""
    procedure = code(codes.PROCEDURE_REPORTED, codes.CT_UNSPECIFIED_BODY_REGION, Relation.MODIFIER)
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


def _reading_groups(origin: Origin) -> Iterator[Item]:
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


def _study_groups(origin: Origin) -> Iterator[Item]:
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


def _slice_groups(origin: Origin) -> Iterator[Item]:
    """Every slice's six probabilities, foot to head."""
    judgement = origin.judgement
    for index in range(len(judgement.slices)):
        region = _whole(origin, index)
        where = place(judgement, index)
        for label in LABELS:
            tracked_as = tracking_uid(judgement, label, index + 1)
            yield _group(judgement, index, label, region, tracked_as, f"{label}: {where}")


def _group(
    judgement: Judgement,
    index: int,
    label: Label,
    region: Item,
    tracked_as: str,
    identifier: str,
    *,
    is_maximum: bool = False,
    algorithm: Sequence[Item] = (),
) -> Item:
    """The probability of a finding on a slice (TID 1410)."""
    derivation = [code(codes.DERIVATION, codes.MAXIMUM, Relation.MODIFIER)] if is_maximum else []
    value = in_percent(judgement.probability(index, label))
    return container(
        codes.MEASUREMENT_GROUP,
        [
            text(codes.TRACKING_IDENTIFIER, identifier, Relation.CONTEXT),
            uid(codes.TRACKING_UID, tracked_as, Relation.CONTEXT),
            code(codes.FINDING, codes.FINDINGS[label]),
            *algorithm,
            region,
            number(codes.PROBABILITY, value, codes.PERCENT, derivation),
        ],
        template="1410",
    )


def _whole(origin: Origin, index: int) -> Item:
    """The whole of a slice."""
    rows, columns = origin.volume.hu.shape[1:]
    return _region(origin, index, (0, rows), (0, columns))


def _head(origin: Origin, index: int) -> Item:
    """The smallest box around the head on a slice: viewers write beside a region."""
    return _region(origin, index, *head_box(origin.volume.hu[index]))


def _region(origin: Origin, index: int, rows: tuple[int, int], columns: tuple[int, int]) -> Item:
    """A rectangle on a slice, from row to row and from column to column."""
    item = origin.judgement.slices[index]
    (top, bottom), (left, right) = rows, columns
    corners = [(left, top), (right, top), (right, bottom), (left, bottom), (left, top)]
    shown = image(
        codes.SOURCE,
        str(origin.header(item).SOPClassUID),
        item.sop_instance_uid,
        item.frame_number,
        Relation.SELECTED_FROM,
    )
    return polyline(codes.IMAGE_REGION, corners, shown)


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


def _algorithm(model: Model) -> list[Item]:
    """The model as an algorithm (TID 4019)."""
    parameters = [f"model digest (SHA-256) {model.digest}", f"ichnode {software_version()}"]
    point = model.operating_point
    if point is not None:
        thresholds = ", ".join(f"{label} {point.thresholds[label]:.4g}" for label in LABELS)
        parameters.append(plain(f"operating point {point.name}: {thresholds}"))
    return encoded(
        hd.AlgorithmIdentification(
            name=model.name,
            version=f"{plain(model.version)} ({model.digest[:12]})",
            parameters=parameters,
        )
    )


# -- around them -----------------------------------------------------------


def _image_library(origin: Origin) -> Item:
    """The images that were judged (TID 1600)."""
    images = [  # TID 1601 gives its entries no name
        image(None, str(header.SOPClassUID), sop_instance_uid)
        for sop_instance_uid, header in origin.headers.items()
    ]
    group = container(codes.IMAGE_LIBRARY_GROUP, images)
    return container(codes.IMAGE_LIBRARY, [group], template="1600")


def _evaluations(judgement: Judgement) -> Item:
    """Present, absent or undetermined, and what to know (TID 1500, row 12 and following)."""
    assessed = [
        code(codes.FINDINGS[label], codes.ASSESSMENTS[assessment])
        for label in READING_ORDER
        if (assessment := judgement.assessment(label)) is not None
    ]
    said = [*remarks(judgement), *maxima(judgement)]
    comments = [remark(codes.COMMENT, one) for one in said]
    return container(codes.QUALITATIVE_EVALUATIONS, [*assessed, *comments])
