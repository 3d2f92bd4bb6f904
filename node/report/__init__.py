"""Station report: a judgement becomes DICOM objects in files.

The way of a judgement through this package::

    origin.py       the judged instances: are they fit to be referred to?
    identity.py     UIDs, derived from what was judged and by which model
    codes.py        every code that a result carries, with where it was checked
    header.py       what all results share: patient, study, equipment
    sr/             the structured reports: for software and viewers, for readers, notices
    orientation.py  which side of the patient an edge of a slice shows
    picture/        slices, probabilities and their course -> pictures
    capture.py      the pictures as secondary captures
    evidence_map.py where on a slice the evidence lies, as secondary captures
    key_objects.py  the flagged slices as key objects
    presentation.py the flagged slices as a viewer is to present them
    workitem.py     what asks a worklist to look at a series
    files.py        to disk, whole or not at all
    check.py        read back and looked at: what fails is held, not sent

Everything is a function of its arguments: the same judgement, sources, settings
and time write the same bytes.
"""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from pydicom.dataset import Dataset

from ml.series import Volume
from node.judgement import Judgement
from node.report.capture import build_captures, capture_numbers, save_overlays
from node.report.check import check, check_workitem
from node.report.errors import ReportError, ResultHeld
from node.report.evidence_map import build_evidence_maps
from node.report.files import write
from node.report.key_objects import build_key_objects
from node.report.origin import Basis, Origin, Unjudged
from node.report.presentation import build_presentation_states
from node.report.result import ResultObject, ResultReference
from node.report.sr import (
    build_findings_report,
    build_notice_report,
    build_slice_report,
    build_text_report,
)
from node.report.workitem import build_workitem
from node.routing import Workitem
from node.settings import Kind, ReportForm, ReportSettings

if TYPE_CHECKING:  # at run time it would bring PyTorch
    from ml.evidence import Evidence

__all__ = [
    "Kind",
    "ReportError",
    "ResultHeld",
    "ResultObject",
    "ResultReference",
    "build",
    "build_notice",
    "capture_numbers",
    "save_overlays",
]

_KEEPING = 4
"""Results that are written and read back at a time, while the next ones are drawn.

Each is synchronised, which takes as long as the disk has other work.
"""


def build(
    judgement: Judgement,
    volume: Volume,
    sources: Sequence[Dataset],
    folder: Path,
    *,
    settings: ReportSettings | None = None,
    evidence: "Sequence[Evidence]" = (),
    further: Mapping[ReportForm, Mapping[Kind, ResultReference]] | None = None,
    workitems: Sequence[Workitem] = (),
    revision: int = 1,
    predecessors: Mapping[Kind, ResultReference] | None = None,
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
    settings : ReportSettings, optional
        Which results there are to be, and in what form.
    evidence : sequence of Evidence
        Where on slices the evidence lies, for the maps of it.
    further : mapping, optional
        Other SR classes that there are to be measurement reports in, each with what it
        replaces, as `predecessors`.
    workitems : sequence of Workitem
        What recipients that keep worklists are to be asked to look at.
    revision : int
        From 1; grows when the series is judged again with more instances.
    predecessors : mapping, optional
        By kind of report the one that it replaces.
    created : datetime.datetime
        The date and time that the results carry.

    Returns
    -------
    list of ResultObject
        The structured reports, then the secondary captures from foot to head; workitems last.

    Raises
    ------
    ReportError
        If the results cannot refer to the sources, or what was written does
        not read back as theirs.
    """
    origin = Origin.of(judgement, volume, sources)
    settings = settings or ReportSettings()

    def measured(
        form: ReportForm, before: Mapping[Kind, ResultReference], suffix: str = ""
    ) -> Iterator[tuple[Kind, str, Dataset]]:
        for kind, name, build_report in (
            (Kind.STRUCTURED_REPORT, "sr", build_findings_report),
            (Kind.SLICE_REPORT, "slices", build_slice_report),
        ):
            report = build_report(
                origin, form, revision=revision, predecessor=before.get(kind), created=created
            )
            yield kind, f"{name}{suffix}.dcm", report

    def reports() -> Iterator[tuple[Kind, str, Dataset]]:
        before = predecessors or {}
        yield from measured(settings.structured_report, before)
        if settings.text_report:
            text = build_text_report(
                origin,
                revision=revision,
                predecessor=before.get(Kind.TEXT_REPORT),
                created=created,
            )
            yield Kind.TEXT_REPORT, "text.dcm", text
        for form, before_form in (further or {}).items():
            yield from measured(form, before_form, f"-{form}")

    def others() -> Iterator[tuple[Kind, str, Dataset]]:
        for name, capture in build_captures(origin, settings, revision=revision, created=created):
            yield Kind.SECONDARY_CAPTURE, name, capture
        for name, map_ in build_evidence_maps(
            origin, evidence, settings, revision=revision, created=created
        ):
            yield Kind.EVIDENCE_MAP, name, map_
        if settings.key_objects:
            selection = build_key_objects(origin, revision=revision, created=created)
            if selection is not None:
                yield Kind.KEY_OBJECTS, "ko.dcm", selection
        if settings.presentation_state:
            states = build_presentation_states(origin, revision=revision, created=created)
            for number, state in enumerate(states, start=1):
                yield Kind.PRESENTATION_STATE, f"pr-{number:03d}.dcm", state

    # The reports first: without them nothing else is drawn.
    kept = [_kept(*item, folder, origin) for item in reports()]
    kept += _kept_meanwhile(others(), folder, origin)
    for workitem in workitems:
        dataset = build_workitem(origin, workitem, kept, revision=revision, created=created)
        path = folder / f"ups-{workitem.recipient}.dcm"
        write(dataset, path)
        check_workitem(path, dataset, origin)
        kept.append(
            ResultObject(
                Kind.WORKITEM,
                str(dataset.SOPClassUID),
                str(dataset.SOPInstanceUID),
                path,
                origin.series_instance_uid,
                workitem.recipient,
            )
        )
    return kept


def build_notice(
    sources: Sequence[Dataset],
    folder: Path,
    *,
    study_instance_uid: str,
    series_instance_uid: str,
    input_digest: str,
    reason: str,
    detail: str,
    revision: int = 1,
    predecessor: ResultReference | None = None,
    created: datetime,
) -> list[ResultObject]:
    """Write the notice that a series was not analyzed.

    Parameters
    ----------
    sources : sequence of pydicom.Dataset
        Headers of the series' instances, as many as can be read.
    folder : pathlib.Path
        Made if it is not there.
    study_instance_uid, series_instance_uid : str
        What the series is called.
    input_digest : str
        Stands for the set of its instances.
    reason, detail : str
        Why, as a word and in a sentence; both go into the report.
    revision, created
        As `build` takes them.
    predecessor : ResultReference, optional
        The notice or report that it replaces.

    Raises
    ------
    ReportError
        If a notice cannot refer to the series.
    """
    series = Unjudged.of(study_instance_uid, series_instance_uid, input_digest, sources)
    notice = build_notice_report(
        series, reason, detail, revision=revision, predecessor=predecessor, created=created
    )
    # A series may fail again for another reason, while the notice before is still on its way.
    name = f"notice-{notice.SOPInstanceUID[-8:]}.dcm"
    return [_kept(Kind.NOTICE, name, notice, folder, series)]


def _kept_meanwhile(
    items: Iterator[tuple[Kind, str, Dataset]], folder: Path, basis: Basis
) -> list[ResultObject]:
    """Results in their files, read back, each while the next ones are drawn."""
    kept: list[ResultObject] = []
    waiting: deque[Future[ResultObject]] = deque()
    with ThreadPoolExecutor(_KEEPING) as threads:
        for kind, name, dataset in items:
            waiting.append(threads.submit(_kept, kind, name, dataset, folder, basis))
            if len(waiting) > 2 * _KEEPING:  # no more of them in memory
                kept.append(waiting.popleft().result())
        return [*kept, *(one.result() for one in waiting)]


def _kept(kind: Kind, name: str, dataset: Dataset, folder: Path, basis: Basis) -> ResultObject:
    """A result in its file, read back."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    write(dataset, path)
    check(path, dataset, basis)
    return ResultObject(
        kind,
        str(dataset.SOPClassUID),
        str(dataset.SOPInstanceUID),
        path,
        str(dataset.SeriesInstanceUID),
    )
