"""Every object that the node makes, in every form, from sources rich and poor.

What the page says of attributes, codes and templates is read off them.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileDataset

from ml.bundle import OperatingPoint
from ml.evidence import Evidence
from ml.labels import LABELS, Label
from node import report
from node.report import Kind, ResultObject, ResultReference
from node.settings import ReportSettings
from tests.cases import MODEL, Case, make_case

CREATED = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)

FORMS: tuple[dict[str, object], ...] = (
    {"key_objects": True, "presentation_state": True, "evidence_maps": True},
    {"structured_report": "comprehensive"},
    {"structured_report": "enhanced"},
    {"capture": "multi-frame"},
    *(
        {"capture": capture, "compression": compression, "evidence_maps": True}
        for capture in ("single-frame", "multi-frame")
        for compression in ("rle", "jpeg-ls", "jpeg-2000")
    ),
)
"""Settings of the report that give each SOP class and transfer syntax."""

_RESCALED = {"RescaleSlope": 1, "RescaleIntercept": -1024}
_LOSSY = {
    "LossyImageCompression": "01",
    "LossyImageCompressionRatio": 4,
    "LossyImageCompressionMethod": "ISO_15444_1",
}
_LESS = (
    *("PatientAge", "StudyDescription", "SpecificCharacterSet", "Manufacturer"),
    *("ManufacturerModelName", "BodyPartExamined", "SeriesNumber", "PatientName", "PatientID"),
    *("PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID", "AccessionNumber"),
    "ReferringPhysicianName",
)


@dataclass(frozen=True)
class Made:
    """An object.

    Parameters
    ----------
    kind : Kind
    dataset : pydicom.dataset.FileDataset
        As it was read back from its file.
    path : pathlib.Path
    """

    kind: Kind
    dataset: FileDataset
    path: Path


def sources() -> Iterator[Case]:
    """A source with much, one with the least, one that is re-judged, one of many frames."""
    yield make_case(
        2, TimezoneOffsetFromUTC="+0100", StationName="CT1", InstitutionName="H", **_RESCALED
    )
    yield make_case(2, **dict.fromkeys(_LESS), **_RESCALED)
    yield make_case(2, **_LOSSY, **_RESCALED)
    case = make_case(2, enhanced=True, **_RESCALED)
    # One finding present, one undetermined, the others absent.
    probabilities = np.zeros((2, len(LABELS)), np.float32)
    probabilities[0, LABELS.index(Label.ANY)] = 0.9
    probabilities[1, LABELS.index(Label.SUBDURAL)] = 0.1
    sensitive = OperatingPoint(
        name="sensitive", chosen_on="phantoms", thresholds=dict.fromkeys(LABELS, 0.05)
    )
    model = replace(MODEL, most_sensitive=sensitive)
    yield case.judged(probabilities=probabilities, model=model)


def everything(folder: Path) -> list[Made]:
    """Make every object of every source, in every form."""
    made = []
    for number, case in enumerate(sources()):
        # A source's SOP class has no influence on the form of results: all are made of one.
        for form, settings in enumerate(FORMS if number == 0 else FORMS[:1]):
            place = folder / f"{number}-{form}"
            for result in _results(case, place, ReportSettings(**settings), again=number == 2):
                made.append(Made(result.kind, pydicom.dcmread(result.path), result.path))
    return made


def _results(
    case: Case, place: Path, settings: ReportSettings, *, again: bool
) -> list[ResultObject]:
    heat = np.full(case.volume.hu[0].shape, 0.5, np.float32)
    before = ResultReference("1.2.840.10008.5.1.4.1.1.88.34", "1.2.3", "1.2.4") if again else None
    kinds = (Kind.STRUCTURED_REPORT, Kind.SLICE_REPORT, Kind.TEXT_REPORT)
    built = case.build(
        place,
        settings=settings,
        evidence=[Evidence(0, Label.ANY, heat)] if settings.evidence_maps else (),
        revision=2 if again else 1,
        predecessors=dict.fromkeys(kinds, before) if before else None,
        created=CREATED,
    )
    notice = report.build_notice(
        case.sources,
        place,
        study_instance_uid=case.judgement.study_instance_uid,
        series_instance_uid=case.judgement.series_instance_uid,
        input_digest=case.judgement.input_digest,
        reason="pixel-error",
        detail="too many slices cannot be read",
        predecessor=before,
        created=CREATED,
    )
    return [*built, *notice]


def items_within(dataset: Dataset) -> Iterator[Dataset]:
    """A dataset, and every item of its sequences, and of theirs."""
    yield dataset
    for element in dataset:
        if element.VR == "SQ":
            for item in element.value:
                yield from items_within(item)
