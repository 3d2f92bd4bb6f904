"""Station 3: the files of a series to a judgement, on the GPU if there is one."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from pydicom.dataset import Dataset

from ml.anatomy import Finding, look_at_anatomy
from ml.bundle import load_bundle
from ml.detector import Detector
from ml.errors import GeometryError, NotAHeadError
from ml.evidence import Evidence, explain, worth_explaining
from ml.series import Volume, load_volume
from node.headers import SeriesHeaders
from node.judgement import Judgement, Model
from node.settings import Settings


@dataclass(frozen=True)
class Analyzer:
    """A model that is loaded, and what to call it.

    Parameters
    ----------
    detector : Detector
    model : Model
    evidence_maps : bool
        Say too where on a flagged slice the evidence lies.
    check_pixels : bool
        Judge only what may show a head.
    """

    detector: Detector
    model: Model
    evidence_maps: bool = False
    check_pixels: bool = True

    @classmethod
    def load(cls, settings: Settings) -> "Analyzer":
        """Load the configured bundle.

        Raises
        ------
        BundleError
            If it is missing, altered or not understood.
        DeviceError
            If the configured device or runtime is not there.
        """
        bundle = load_bundle(settings.model.bundle)
        wanted = settings.analyze
        if wanted.threads:
            torch.set_num_threads(wanted.threads)
        detector = Detector(bundle, wanted.device, wanted.batch_size, wanted.runtime)
        model = Model.of(bundle, settings.model.operating_point)
        return cls(
            detector,
            model,
            evidence_maps=settings.report.evidence_maps,
            check_pixels=settings.eligibility.check_pixels,
        )


@dataclass(frozen=True)
class Analysis:
    """A judged series, with all that a report is made from.

    Parameters
    ----------
    judgement : Judgement
    volume : Volume
    sources : tuple of pydicom.Dataset
        The headers of the judged instances.
    evidence : tuple of Evidence
        Where it lies on flagged slices, foot to head; empty where it is not wanted.
    """

    judgement: Judgement
    volume: Volume
    sources: tuple[Dataset, ...]
    evidence: tuple[Evidence, ...] = ()


def analyze(
    analyzer: Analyzer,
    series: SeriesHeaders,
    input_digest: str,
    warnings: Sequence[str],
    progress: Callable[[int], None] | None = None,
) -> Analysis:
    """Judge a series.

    Parameters
    ----------
    analyzer : Analyzer
    series : SeriesHeaders
        As assemble has read it.
    input_digest : str
        Stands for the instances of the series.
    warnings : sequence of str
        What assemble warned of.
    progress : callable, optional
        Called with the number of slices done so far.

    Raises
    ------
    SeriesError
        If the series cannot be ordered or decoded.
    NotAHeadError
        If its pixels show something else; the message says what.
    """
    if series.arrangement is None:
        raise GeometryError("the slices cannot be ordered")
    volume = load_volume(series.arrangement)
    doubts = _doubts(volume) if analyzer.check_pixels else ()
    described = analyzer.detector.describe(volume.hu, progress)
    probabilities = analyzer.detector.fuse(described)
    point = analyzer.model.operating_point
    evidence: tuple[Evidence, ...] = ()
    if analyzer.evidence_maps and point is not None:
        wanted = worth_explaining(probabilities, point.thresholds)
        evidence = explain(analyzer.detector, volume.hu, described, wanted)
    judged = {item.sop_instance_uid for item in volume.slices}
    sources = tuple(h for h in series.headers if str(h.get("SOPInstanceUID", "")) in judged)
    header = sources[0] if sources else series.headers[0]
    judgement = Judgement(
        study_instance_uid=str(header.get("StudyInstanceUID", "")),
        series_instance_uid=str(header.get("SeriesInstanceUID", "")),
        model=analyzer.model,
        input_digest=input_digest,
        slices=volume.slices,
        probabilities=probabilities,
        warnings=(*warnings, *volume.warnings, *doubts),
    )
    return Analysis(judgement, volume, sources, evidence)


def _doubts(volume: Volume) -> tuple[str, ...]:
    """What a reader has to know if it is not plain that this is a head."""
    positions_mm = [one.position_mm for one in volume.slices]
    anatomy = look_at_anatomy(volume.hu, volume.spacing_mm, positions_mm)
    if anatomy.finding is Finding.NOT_A_HEAD:
        raise NotAHeadError(anatomy.detail)
    if anatomy.finding is Finding.DOUBTFUL:
        return (f"this may not be a head: {anatomy.detail}",)
    return ()
