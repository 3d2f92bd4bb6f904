"""The same judgement with no network: files in, probabilities and result files out."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset

from ml.errors import IchnodeError, NotAHeadError, SeriesError
from ml.frames import read_header
from node.analyze import Analysis, Analyzer, analyze
from node.assemble import Reason, look_at
from node.errors import ConfigError
from node.headers import SeriesHeaders, read_headers, text
from node.judgement import digest_of_instances
from node.report import ReportError, ResultObject, build, save_overlays
from node.settings import ReportSettings, Settings
from node.spool import digest_of, is_uid
from node.summary import model_json, series_json, skipped_json


@dataclass(frozen=True)
class FoundSeries:
    """The files of one series below a path.

    Parameters
    ----------
    study_instance_uid, series_instance_uid : str
    description : str
        Series Description.
    files : tuple of pathlib.Path
    """

    study_instance_uid: str
    series_instance_uid: str
    description: str
    files: tuple[Path, ...]


@dataclass(frozen=True)
class Scan:
    """What lies below a path.

    Parameters
    ----------
    series : tuple of FoundSeries
    unreadable : tuple of pathlib.Path
        Files that are not DICOM, or broken.
    """

    series: tuple[FoundSeries, ...]
    unreadable: tuple[Path, ...]


@dataclass(frozen=True)
class Outcome:
    """What became of a series.

    Parameters
    ----------
    found : FoundSeries
    analysis : Analysis, optional
        None if it was skipped or failed.
    reason : str, optional
        Why it was.
    warnings : tuple of str
    objects : tuple of ResultObject
        The files that were written.
    failed : bool
        It may be judged, but could not be.
    """

    found: FoundSeries
    analysis: Analysis | None = None
    reason: str | None = None
    warnings: tuple[str, ...] = ()
    objects: tuple[ResultObject, ...] = ()
    failed: bool = False

    def as_json(self) -> dict[str, Any]:
        """One entry of ``series`` in the output of ``--json``."""
        if self.analysis is None:
            return skipped_json(
                self.found.study_instance_uid,
                self.found.series_instance_uid,
                self.reason or "",
                self.warnings,
                state="failed" if self.failed else "skipped",
            )
        return {**series_json(self.analysis.judgement), "warnings": list(self.warnings)}


def scan(path: Path, progress: Callable[[int, int], None] | None = None) -> Scan:
    """Find the series below a file or folder.

    Raises
    ------
    ConfigError
        If the path is not there.
    """
    if not path.exists():
        raise ConfigError(f"no file or folder {path}")
    files = sorted(_files_below(path))
    by_series: dict[tuple[str, str], list[Path]] = defaultdict(list)
    descriptions: dict[tuple[str, str], str] = {}
    unreadable = []
    for number, file in enumerate(files, start=1):
        header = _image_header(file)
        if header is None:
            unreadable.append(file)
        else:
            key = (text(header, "StudyInstanceUID"), text(header, "SeriesInstanceUID"))
            by_series[key].append(file)
            descriptions.setdefault(key, text(header, "SeriesDescription"))
        if progress is not None:
            progress(number, len(files))
    return Scan(
        tuple(
            FoundSeries(study, series, descriptions[study, series], tuple(found))
            for (study, series), found in by_series.items()
        ),
        tuple(unreadable),
    )


def _files_below(path: Path) -> Iterator[Path]:
    if path.is_dir():
        yield from (p for p in path.rglob("*") if p.is_file() and p.name != "DICOMDIR")
    else:
        yield path


def _image_header(file: Path) -> Dataset | None:
    try:
        header = read_header(file)
    except SeriesError:
        return None
    return header if text(header, "SeriesInstanceUID") else None


def judge_series(
    found: FoundSeries,
    analyzer: Analyzer,
    settings: Settings,
    out: Path | None,
    progress: Callable[[int], None] | None = None,
    *,
    png: bool = False,
) -> Outcome:
    """Judge one series and write its results.

    Parameters
    ----------
    found : FoundSeries
    analyzer : Analyzer
    settings : Settings
    out : pathlib.Path, optional
        Folder for the results; a folder is made in it for each series.
    progress : callable, optional
        Called with the number of slices done so far.
    png : bool
        Write each overlay as a PNG too.

    Raises
    ------
    ConfigError
        If the results cannot be written.
    """
    files, repeated = _distinct_instances(found.files)
    series = read_headers(files)
    verdict = look_at(series, settings.eligibility)
    warnings = (*verdict.warnings, *repeated)
    if verdict.reason is not None:
        return Outcome(found, reason=f"{verdict.reason}: {verdict.detail}", warnings=warnings)
    try:
        digest = digest_of_instances(_digests(series))
        analysis = analyze(analyzer, series, digest, warnings, progress)
    except NotAHeadError as error:
        return Outcome(found, reason=f"{Reason.NOT_A_HEAD}: {error}", warnings=warnings)
    except IchnodeError as error:
        return Outcome(found, reason=str(error), warnings=warnings, failed=True)
    warnings = analysis.judgement.warnings
    objects: list[ResultObject] = []
    if out is not None:
        try:
            uid = found.series_instance_uid
            folder = out / (uid if is_uid(uid) else "series")
            objects = _write(analysis, folder, settings.report, png=png)
        except ReportError as error:
            warnings = (*warnings, f"no SR and no secondary capture: {error}")
    return Outcome(found, analysis, warnings=warnings, objects=tuple(objects))


def _write(
    analysis: Analysis, folder: Path, wanted: ReportSettings, *, png: bool
) -> list[ResultObject]:
    made = (analysis.judgement, analysis.volume, analysis.sources)
    try:
        objects = build(
            *made,
            folder,
            settings=wanted,
            evidence=analysis.evidence,
            created=datetime.now().astimezone(),
        )
        if png:
            save_overlays(*made, folder)
    except OSError as error:
        raise ConfigError(f"{folder} cannot be written: {error.strerror or error}") from error
    return objects


def _distinct_instances(files: Sequence[Path]) -> tuple[list[Path], tuple[str, ...]]:
    """Each SOP instance once: a copy in another folder is no second slice."""
    first: dict[str, Path] = {}
    for file in files:
        first.setdefault(text(read_header(file), "SOPInstanceUID") or str(file), file)
    extra = len(files) - len(first)
    return list(first.values()), (f"{extra} copies of images passed over",) if extra else ()


def _digests(series: SeriesHeaders) -> Iterator[tuple[str, str]]:
    for header, file in zip(series.headers, series.files, strict=True):
        yield text(header, "SOPInstanceUID"), digest_of(file.read_bytes())


def as_json(analyzer: Analyzer, outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """The document that ``--json`` prints."""
    return {
        "model": model_json(analyzer.model),
        "series": [outcome.as_json() for outcome in outcomes],
    }
