"""The text report: for readers, in every viewer that shows a report as text.

TID 2000 (Basic Diagnostic Imaging Report) in a Basic Text SR. Tables stand in
lines of one width; viewers that know about it keep the columns.

References
----------
DICOM PS3.3, A.35.1 (IOD); PS3.16, TID 2000 and CID 7000 to 7002.
"""

from collections.abc import Iterator
from datetime import datetime

from pydicom.dataset import FileDataset
from pydicom.uid import BasicTextSRStorage

from ml.labels import Label
from node.judgement import Judgement
from node.report import codes
from node.report.header import NOT_FOR_CLINICAL_USE, Series
from node.report.origin import Origin
from node.report.result import ResultReference
from node.report.sr.content import container
from node.report.sr.document import fill, new_document, remark
from node.report.sr.words import (
    READING_ORDER,
    THIN,
    conclusion,
    flagged_for,
    peak,
    percent,
    place,
    remarks,
    runs,
)
from node.settings import Kind

SERIES = Series(
    Kind.TEXT_REPORT,
    BasicTextSRStorage,
    modality="SR",
    offset=4,
    description=f"ichnode ICH report - {NOT_FOR_CLINICAL_USE}",
)

_SHORT = {
    Label.ANY: "any",
    Label.EPIDURAL: "epidural",
    Label.INTRAPARENCHYMAL: "intrapar.",
    Label.INTRAVENTRICULAR: "intravent.",
    Label.SUBARACHNOID: "subarach.",
    Label.SUBDURAL: "subdural",
}


def build_text_report(
    origin: Origin,
    *,
    revision: int,
    predecessor: ResultReference | None,
    created: datetime,
) -> FileDataset:
    """Build the text report of a judgement.

    Parameters
    ----------
    origin, revision, predecessor, created
        As `node.report.sr.build_findings_report` takes them.
    """
    report = new_document(
        origin, SERIES, revision=revision, predecessor=predecessor, created=created
    )
    judgement = origin.judgement
    impression = f"{NOT_FOR_CLINICAL_USE.upper()}. {conclusion(judgement)}"
    sections = [
        container(codes.IMPRESSIONS_HEADING, [remark(codes.IMPRESSION, impression)]),
        container(
            codes.FINDINGS_HEADING,
            [remark(codes.FINDING, "\n".join(lines)) for lines in _tables(judgement)],
        ),
        container(
            codes.PROCEDURE_HEADING,
            [remark(codes.PROCEDURE_DESCRIPTION, said) for said in remarks(judgement)],
        ),
    ]
    fill(report, origin, codes.DIAGNOSTIC_IMAGING_REPORT, "2000", sections)
    return report


def _tables(judgement: Judgement) -> Iterator[list[str]]:
    yield list(_study_table(judgement))
    flagged = list(_flagged_list(judgement))
    if flagged:
        yield flagged
    if len(judgement.slices) <= THIN:
        yield list(_slice_table(judgement))


def _study_table(judgement: Judgement) -> Iterator[str]:
    """Each finding's maximum, its threshold, and where it stands."""
    yield "Finding             Maximum  Threshold  Assessment     On"
    for label in READING_ORDER:
        threshold = judgement.model.threshold(label)
        yield (
            f"{label:<18} {percent(judgement.maximum(label)):>8}  "
            f"{'-' if threshold is None else percent(threshold):>9}  "
            f"{judgement.assessment(label) or '-':<13}  "
            f"{place(judgement, judgement.key_slice(label))}"
        )


def _flagged_list(judgement: Judgement) -> Iterator[str]:
    """The flagged slices, or runs of them in a thin series."""
    found = runs(judgement)
    if found:
        yield "Flagged, foot to head"
    for indices in found:
        labels = flagged_for(judgement, indices)
        index = peak(judgement, indices, labels[0])
        run = "" if len(indices) == 1 else f"slices {indices[0] + 1} to {indices[-1] + 1}, most on "
        said = ", ".join(f"{x} {percent(judgement.probability(index, x))}" for x in labels)
        yield f"{run}{place(judgement, index)}: {said}"


def _slice_table(judgement: Judgement) -> Iterator[str]:
    """Every slice's six probabilities, foot to head; flagged ones with a star."""
    yield "Every slice in percent, foot to head; * reaches its threshold"
    yield "slice image    mm  " + "".join(f"{_SHORT[label]:>11}" for label in READING_ORDER)
    for index, item in enumerate(judgement.slices):
        image = "-" if item.instance_number is None else item.instance_number
        cells = "".join(
            f"{percent(judgement.probability(index, label)).removesuffix(' %'):>10}"
            f"{'*' if judgement.is_flagged(index, label) else ' '}"
            for label in READING_ORDER
        )
        yield f"{index + 1:>5} {image:>5} {item.position_mm:>+6.1f} {cells}".rstrip()
