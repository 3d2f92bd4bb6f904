"""Station report: a judgement becomes DICOM objects in files.

The way of a judgement through this package::

    origin.py       the judged instances: are they fit to be referred to?
    identity.py     UIDs, derived from what was judged and by which model
    codes.py        every code that a result carries, with where it was checked
    header.py       what all results share: patient, study, equipment
    sr.py           the structured report
    orientation.py  which side of the patient an edge of a slice shows
    overlay.py      slice and probabilities -> picture
    capture.py      the pictures as secondary captures
    files.py        to disk, whole or not at all, and read back

Everything is a function of its arguments: the same judgement, sources and time
write the same bytes.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path

from pydicom.dataset import Dataset

from ml.series import Volume
from node.judgement import Judgement
from node.report.capture import build_capture, save_overlay
from node.report.errors import ReportError
from node.report.files import check, write
from node.report.identity import Kind
from node.report.origin import Origin
from node.report.result import ResultObject, ResultReference
from node.report.sr import build_report

__all__ = [
    "Kind",
    "ReportError",
    "ResultObject",
    "ResultReference",
    "build",
    "save_overlay",
]


def build(
    judgement: Judgement,
    volume: Volume,
    sources: Sequence[Dataset],
    folder: Path,
    *,
    revision: int = 1,
    predecessor: ResultReference | None = None,
    created: datetime,
) -> list[ResultObject]:
    """Write the results of a judgement.

    Parameters
    ----------
    judgement : Judgement
        What the model says.
    volume : Volume
        The HU that were judged, slice by slice as in the judgement.
    sources : sequence of pydicom.Dataset
        Headers of the series' instances, one for each SOP instance.
    folder : pathlib.Path
        Made if it is not there; files of the same name are replaced.
    revision : int
        From 1; grows when the series is judged again with more instances.
    predecessor : ResultReference, optional
        The structured report of the revision before.
    created : datetime.datetime
        The date and time that the results carry.

    Returns
    -------
    list of ResultObject
        The structured report (``sr.dcm``), then the secondary captures from
        foot to head (``sc-001.dcm`` ...).

    Raises
    ------
    ReportError
        If the results cannot refer to the sources, or what was written does
        not read back as theirs.
    """
    origin = Origin.of(judgement, volume, sources)
    folder.mkdir(parents=True, exist_ok=True)

    def datasets() -> Iterator[tuple[Kind, str, Dataset]]:
        report = build_report(origin, revision=revision, predecessor=predecessor, created=created)
        yield Kind.STRUCTURED_REPORT, "sr.dcm", report
        digits = max(3, len(str(len(volume))))
        for index in range(len(volume)):
            capture = build_capture(origin, index, revision=revision, created=created)
            yield Kind.SECONDARY_CAPTURE, f"sc-{index + 1:0{digits}}.dcm", capture

    results = []
    for kind, name, dataset in datasets():
        path = folder / name
        write(dataset, path)
        check(path, dataset, origin)
        results.append(
            ResultObject(
                kind,
                str(dataset.SOPClassUID),
                str(dataset.SOPInstanceUID),
                path,
                str(dataset.SeriesInstanceUID),
            )
        )
    return results
