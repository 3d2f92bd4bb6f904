"""The notice: a text report that says that a series was not analyzed, and why.

Where results are expected, silence reads as "nothing was found".
"""

from dataclasses import replace
from datetime import datetime

from pydicom.dataset import FileDataset
from pydicom.uid import BasicTextSRStorage

from node.report import codes
from node.report.header import NOT_FOR_CLINICAL_USE, Series
from node.report.origin import Unjudged
from node.report.result import ResultReference
from node.report.sr.content import container
from node.report.sr.document import fill, new_document, remark
from node.settings import Kind

SERIES = Series(
    Kind.NOTICE,
    BasicTextSRStorage,
    modality="SR",
    offset=9,
    description=f"ichnode: NOT ANALYZED - {NOT_FOR_CLINICAL_USE}",
)


def build_notice_report(
    series: Unjudged,
    reason: str,
    detail: str,
    *,
    revision: int,
    predecessor: ResultReference | None,
    created: datetime,
) -> FileDataset:
    """Build the notice on a series that was not analyzed.

    Parameters
    ----------
    series : Unjudged
        Which one.
    reason : str
        Why, as a word.
    detail : str
        Why, in a sentence; it goes into the report as it is.
    revision, predecessor, created
        As `node.report.sr.build_findings_report` takes them.
    """
    kind = replace(SERIES, variant=f" {reason} {detail}")  # another reason, another notice
    report = new_document(series, kind, revision=revision, predecessor=predecessor, created=created)
    said = (
        "This series was NOT ANALYZED for intracranial hemorrhage. "
        "This says nothing about whether there is one."
    )
    why = f"Reason: {reason}" + (f" ({detail})" if detail else "")
    fill(
        report,
        series,
        codes.DIAGNOSTIC_IMAGING_REPORT,
        "2000",
        [
            container(
                codes.IMPRESSIONS_HEADING,
                [remark(codes.IMPRESSION, f"{said} {NOT_FOR_CLINICAL_USE.upper()}.")],
            ),
            container(
                codes.PROCEDURE_HEADING,
                [
                    remark(codes.PROCEDURE_DESCRIPTION, why),
                    remark(
                        codes.PROCEDURE_DESCRIPTION,
                        f"Instances of the series: {len(series.headers)}. "
                        "Made by software without a reader.",
                    ),
                ],
            ),
        ],
    )
    return report
