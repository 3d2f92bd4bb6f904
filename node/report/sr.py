"""The structured report: every probability of every slice, and what to know about them.

A Comprehensive 3D SR whose root is TID 1500 (Measurement Report), as IHE AI
Results asks for. One measurement group (TID 1501) says one thing: how probable
one finding is, first in the study, then on each slice, so that a receiver
finds what it wants by the group's finding alone.

References
----------
Templates: DICOM PS3.16, annex A. Modules: PS3.3, A.35.13 (IOD), C.17.2 and
C.17.3 (document and content).
"""

from collections.abc import Iterator
from datetime import datetime

import highdicom.sr as hd
from pydicom.dataset import Dataset, FileDataset
from pydicom.sr.coding import Code
from pydicom.uid import Comprehensive3DSRStorage

from ml.labels import LABELS, Label
from ml.series import Slice
from node.judgement import Judgement, Model
from node.report import codes
from node.report.header import (
    MANUFACTURER,
    NOT_FOR_CLINICAL_USE,
    Series,
    new_result,
    plain,
    software_version,
)
from node.report.identity import Kind, device_uid, tracking_uid
from node.report.origin import Origin
from node.report.result import ResultReference

SERIES = Series(
    Kind.STRUCTURED_REPORT,
    Comprehensive3DSRStorage,
    modality="SR",
    offset=2,
    description=f"ichnode ICH probabilities - {NOT_FOR_CLINICAL_USE}",
)


def build_report(
    origin: Origin,
    *,
    revision: int,
    predecessor: ResultReference | None,
    created: datetime,
) -> FileDataset:
    """Build the structured report of a judgement.

    Parameters
    ----------
    origin : Origin
        The judgement and what it was made from.
    revision : int
        From 1.
    predecessor : ResultReference, optional
        The report of the revision before.
    created : datetime.datetime
        When it was created.
    """
    report = new_result(origin, SERIES, 1, revision=revision, created=created)
    judgement = origin.judgement

    # SR Document Series Module (C.17.1) and SR Document General Module (C.17.2)
    report.ReferencedPerformedProcedureStepSequence = []
    report.PerformedProcedureCodeSequence = []
    report.CompletionFlag = "COMPLETE"
    report.VerificationFlag = "UNVERIFIED"
    report.PreliminaryFlag = "PRELIMINARY"  # no reader stands behind it
    report.CurrentRequestedProcedureEvidenceSequence = [
        _references(
            judgement,
            judgement.series_instance_uid,
            [(str(h.SOPClassUID), uid) for uid, h in origin.headers.items()],
        )
    ]
    if predecessor is not None:
        report.PredecessorDocumentsSequence = [
            _references(
                judgement,
                predecessor.series_instance_uid,
                [(predecessor.sop_class_uid, predecessor.sop_instance_uid)],
            )
        ]

    # SR Document Content Module (C.17.3)
    root = hd.MeasurementReport(
        observation_context=_observer(judgement.model),
        procedure_reported=codes.CT_UNSPECIFIED_BODY_REGION,
        title=codes.IMAGING_MEASUREMENT_REPORT,
        imaging_measurements=[*_study_groups(origin), *_slice_groups(origin)],
    )[0]
    root.ContentSequence.append(_remarks(judgement))
    report.update(root)
    return report


def _references(judgement: Judgement, series_uid: str, sops: list[tuple[str, str]]) -> Dataset:
    """A reference to objects of one series of the study (PS3.3, C.17.2.1)."""
    items = []
    for class_uid, instance_uid in sops:
        sop = Dataset()
        sop.ReferencedSOPClassUID = class_uid
        sop.ReferencedSOPInstanceUID = instance_uid
        items.append(sop)
    series = Dataset()
    series.ReferencedSOPSequence = items
    series.SeriesInstanceUID = series_uid
    study = Dataset()
    study.StudyInstanceUID = judgement.study_instance_uid
    study.ReferencedSeriesSequence = [series]
    return study


def _observer(model: Model) -> hd.ObservationContext:
    """The model as the device that observed (TID 1001, 1002, 1004)."""
    device = hd.DeviceObserverIdentifyingAttributes(
        uid=device_uid(model),
        name=MANUFACTURER,
        manufacturer_name=MANUFACTURER,
        model_name=f"{model.name} {plain(model.version)}",
        serial_number=model.digest,
    )
    return hd.ObservationContext(
        hd.ObserverContext(hd.CodedConcept.from_code(codes.DEVICE), device)
    )


# -- measurements ----------------------------------------------------------


def _study_groups(origin: Origin) -> Iterator[hd.MeasurementsAndQualitativeEvaluations]:
    """The study's probabilities: the maxima, each with the slice that it comes from."""
    judgement = origin.judgement
    algorithm = _algorithm(judgement.model)
    for label in LABELS:
        index = judgement.key_slice(label)
        yield _group(
            origin,
            label,
            number=0,
            name=f"study: {label}, maximum, from slice {index + 1} of {len(judgement.slices)}",
            value=judgement.maximum(label),
            image=judgement.slices[index],
            derivation=codes.MAXIMUM,
            algorithm=algorithm,
        )


def _slice_groups(origin: Origin) -> Iterator[hd.MeasurementsAndQualitativeEvaluations]:
    """Every slice's probabilities, foot to head."""
    judgement = origin.judgement
    count = len(judgement.slices)
    for number, (image, row) in enumerate(
        zip(judgement.slices, judgement.probabilities, strict=True), start=1
    ):
        for label, value in zip(LABELS, row, strict=True):
            yield _group(
                origin,
                label,
                number=number,
                name=f"slice {number} of {count} at {image.position_mm:+.1f} mm: {label}",
                value=float(value),
                image=image,
            )


def _group(
    origin: Origin,
    label: Label,
    *,
    number: int,
    name: str,
    value: float,
    image: Slice,
    derivation: Code | None = None,
    algorithm: hd.AlgorithmIdentification | None = None,
) -> hd.MeasurementsAndQualitativeEvaluations:
    """The probability of one finding (TID 1501 with one TID 300)."""
    source = hd.SourceImageForMeasurement(
        origin.header(image).SOPClassUID,
        image.sop_instance_uid,
        None if image.frame_number is None else [image.frame_number],
    )
    probability = hd.Measurement(
        name=codes.PROBABILITY,
        value=_shortest(value),
        unit=codes.NO_UNITS,
        derivation=derivation,
        referenced_images=[source],
    )
    return hd.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=hd.TrackingIdentifier(
            uid=tracking_uid(origin.judgement, label, number), identifier=name
        ),
        finding_type=codes.FINDINGS[label],
        algorithm_id=algorithm,
        measurements=[probability],
    )


def _shortest(value: float) -> float:
    """A single-precision number in as few digits as bring it back exactly.

    Nine do (IEEE 754); the double that a float32 widens to has up to fifty.
    """
    return float(f"{value:.9g}")


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


# -- remarks ---------------------------------------------------------------


def _remarks(judgement: Judgement) -> Dataset:
    """What a reader has to know, as text items (TID 1500, rows 12 and following)."""
    container = hd.ContainerContentItem(
        name=codes.QUALITATIVE_EVALUATIONS,
        relationship_type=hd.RelationshipTypeValues.CONTAINS,
    )
    container.ContentSequence = hd.ContentSequence(
        [
            hd.TextContentItem(
                name=codes.COMMENT,
                value=plain(text),
                relationship_type=hd.RelationshipTypeValues.CONTAINS,
            )
            for text in remarks(judgement)
        ]
    )
    return container


def remarks(judgement: Judgement) -> Iterator[str]:
    """What a reader of a judgement has to know, a sentence or two at a time."""
    model = judgement.model
    yield f"{NOT_FOR_CLINICAL_USE.upper()}. Intended use of the model: {model.intended_use}"
    yield (
        f"Made by software without a reader. Model {model.name} {model.version}, "
        f"trained on: {model.trained_on}"
    )
    yield (
        "Each probability stands for one finding on one slice; that of the study is the maximum "
        "over its slices."
    )
    point = model.operating_point
    if point is not None:
        flagged = [x for x in LABELS if judgement.maximum(x) >= point.thresholds[x]]
        yield (
            f"At the operating point {point.name} (chosen on: {point.chosen_on}) the study is "
            f"flagged for: {', '.join(flagged) or 'nothing'}."
        )
    for warning in judgement.warnings:
        yield f"Warning: {warning}"
