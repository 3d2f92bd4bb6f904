"""Structured reports: for software and viewers, for readers, and when there is nothing to say.

content.py      content items, encoded
document.py     what every structured report is, whatever it says
words.py        what a reader has to know, in sentences
measurement.py  the measurement report: TID 1500, for archives, software, viewers
text.py         the text report: TID 2000, for readers
notice.py       the text report on a series that was not analyzed
"""

from node.report.sr.measurement import build_findings_report, build_slice_report
from node.report.sr.notice import build_notice_report
from node.report.sr.text import build_text_report

__all__ = [
    "build_findings_report",
    "build_notice_report",
    "build_slice_report",
    "build_text_report",
]
